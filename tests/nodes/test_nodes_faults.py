"""Whatever a peer's input causes is that peer's fault: it is recorded, and the node goes on.

No list of expected errors is ever complete. So exceptions that nobody expects are put into every
place where a node decodes or verifies what a peer sent.
"""

import importlib
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from bdn.errors import EncodingError, IntegrityError, PeerError
from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.experiments.runner import do_work
from bdn.nodes.device.device import Device
from bdn.nodes.device.interface import FIRST_PAUSE_MS, MAX_DOUBLINGS, PAUSE
from bdn.nodes.edge.server import EdgeServer
from bdn.nodes.events import Compute, Effect, Received, Send, SetTimer, Started, Task, TimedOut
from bdn.nodes.faults import MAX_REASON, MAX_TRACEBACK, Guard
from bdn.nodes.messages import (
    Blob,
    Consensus,
    GetBlob,
    GetBlocks,
    GetHeaders,
    GetState,
    GetTransactions,
    Message,
    Refusal,
    Relay,
    SealedBlocks,
    SealedHeaders,
    StateCells,
    Submit,
    Transactions,
    decode_message,
    encode_message,
)
from bdn.trace import Recorder

CONFIG = RunConfig(norm_bound=None, devices=4, threshold=2, epochs=1, iterations=1, batch_size=8,
                   samples=12, model="softmax", key_bits=512, deterministic=True, seed=5,
                   shared_work=False)  # so that each node reads what others send by itself

SITES = (
    "edge.server.decode_message", "edge.admission.decode_request", "edge.admission.decode_envelope",
    "edge.admission.verify_envelope", "edge.admission.verify_admissible",
    "edge.admission.check_size", "edge.admission.verify_blob", "edge.admission.blob_root",
    "edge.admission.UpdateRecord.of", "edge.application.decode_block",
    "edge.application.compute_transactions_root", "vector_host.VectorHost.verify",
    "vector_host.unpack_blob", "ciphers.unpack_blob",
    "device.reader.decode_message", "device.reader.blob_root",
    "device.light_node.LightNode.accept", "device.light_node.LightNode.read",
    "device.light_node.LightNode.read_cells", "device.light_node.decode_header",
    "device.light_node.decode_seal", "device.light_node.decode_record",
    "device.opening.open_held", "device.opening.unpack_blob", "device.opening.open_for_group",
    "device.keyring.decode_value",
)  # fmt: skip
"""Everything under bdn.nodes that decodes or verifies what came from elsewhere."""


class UnforeseenError(Exception):
    """What nobody catches by name."""


VICTIMS = ("edge-1", "device-2")
"""Where it fails: f edge servers, and as many devices as an epoch can do without."""


def inject(patch: pytest.MonkeyPatch, site: str, reached: set[str], stepping: list[str]) -> None:
    """Let the first call at ``site`` fail that a victim makes; ``stepping``: who steps now."""
    parts = site.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module("bdn.nodes." + ".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        break
    for name in parts[cut:-1]:
        owner = getattr(owner, name)
    real = getattr(owner, parts[-1])

    def fails_once(*args: Any, **options: Any) -> Any:
        if site not in reached and stepping[-1] in VICTIMS:
            reached.add(site)
            raise UnforeseenError(f"injected at {site}")
        return real(*args, **options)

    patch.setattr(owner, parts[-1], fails_once)


def watch_steps(patch: pytest.MonkeyPatch, stepping: list[str]) -> None:
    """Note who steps; work that was handed out is done by nobody in particular, a victim."""
    for kind in (Device, EdgeServer):
        def step(self: Any, *args: Any, real: Any = kind.step) -> list[Effect]:
            stepping.append(self.name)
            try:
                return list(real(self, *args))
            finally:
                stepping.pop()

        patch.setattr(kind, "step", step)


def test_an_exception_at_any_place_that_reads_peers_input_stops_no_node() -> None:
    """One run with a failure at each site: it ends, and each failure is told with its place."""
    records: list[dict[str, Any]] = []
    reached: set[str] = set()
    stepping = [VICTIMS[1]]
    with pytest.MonkeyPatch.context() as patch, opened_run(CONFIG, listen=records.append) as run:
        watch_steps(patch, stepping)
        for site in SITES:
            inject(patch, site, reached, stepping)
        history = run.complete()
    assert history["best_epoch"] in (0, 1)
    assert reached == set(SITES)
    told = [r for r in records if "injected at" in str(r.get("reason", ""))]
    assert {r["reason"].rpartition(" ")[2] for r in told} == reached
    unforeseen = [r for r in told if "source" in r and r["event"] != "edge-left"]
    assert unforeseen
    assert all("fails_once" in r["traceback"] and len(r["traceback"]) <= MAX_TRACEBACK
               for r in unforeseen)


EVIL = (b"", b"\x00", b"\xff" * 40, bytes(200))
MESSAGES: tuple[Message, ...] = tuple(
    message for evil in EVIL for message in (
        Submit(evil, (evil,)), Relay(evil, (evil, evil)), GetBlob(bytes(32)),
        GetState("mining", (evil,)),
        GetState("nothing", ()), GetTransactions(0, ("x",), bytes(20)), Consensus(evil), Blob(evil),
        SealedBlocks((evil,)), SealedHeaders(((evil, evil),)), Transactions(1, (evil,)),
        StateCells(1, (evil,)), GetHeaders(1 << 40), GetBlocks(1 << 40), Refusal(1, "no"),
    ))


@pytest.fixture(scope="module")
def nodes() -> Any:
    """A device and an edge server in the middle of a run."""
    with opened_run(CONFIG) as run:
        run.runner.run(lambda: run.edges[0].ledger.height >= 3)
        yield run.devices[0], run.edges[0]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_no_message_of_nonsense_raises(nodes: Any, message: Message) -> None:
    data = encode_message(message)
    for node in nodes:
        for sent in (data, data[:-1], data + b"\x00", data[: len(data) // 2]):
            for source in ("edge-1", "device-1", "nobody", ""):
                node.step(Received(source, sent), 0)


MARK = 0x7ABBCCDD
NUMBERED: tuple[Message, ...] = (
    GetHeaders(MARK), GetTransactions(MARK, ("x",), bytes(20)), Transactions(MARK, ()),
    StateCells(MARK, ()), Refusal(MARK, "no"), GetBlocks(MARK),
)


@pytest.mark.parametrize("message", NUMBERED, ids=lambda m: type(m).__name__)
def test_a_number_that_python_refuses_to_print_stops_no_node(nodes: Any, message: Message) -> None:
    """2^20000 as a bignum: it is refused when it is decoded, so nothing ever formats it."""
    marked = b"\x1a" + MARK.to_bytes(4, "big")
    for bits in (64, 20_000, 2_000_000):
        number = (1 << bits).to_bytes(bits // 8 + 1, "big")
        bignum = b"\xc2\x5a" + len(number).to_bytes(4, "big") + number
        data = encode_message(message).replace(marked, bignum)
        assert len(data) > len(number)
        with pytest.raises(EncodingError) as refused:
            decode_message(data)
        assert len(str(refused.value)) < 300
        for node in nodes:
            node.step(Received("edge-1", data), 0)


def test_lists_and_texts_of_messages_are_bounded() -> None:
    """Encoding keeps the same bounds as decoding, so an honest node cannot break them either."""
    root = bytes(32)
    for build in (
        lambda: Submit(bytes((1 << 20) + 1), ()), lambda: Relay(b"", (b"",) * 5),
        lambda: GetBlob(root[1:]),
        lambda: GetState("x" * 65, ()), lambda: GetTransactions(1, ("x",) * 17, bytes(20)),
        lambda: GetTransactions(1, ("x" * 65,), bytes(20)), lambda: GetTransactions(1, (), root),
        lambda: Refusal(1, "x" * 5000), lambda: SealedHeaders(((b"", b""),) * 257),
        lambda: SealedBlocks((b"",) * 257), lambda: GetHeaders(-1), lambda: GetHeaders(1 << 63),
    ):
        with pytest.raises(EncodingError):
            encode_message(build())


# --- what is not a peer's fault -------------------------------------------------------------------


def failing(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def test_failures_of_this_machine_are_raised_and_a_peers_are_told() -> None:
    records: list[dict[str, Any]] = []
    guard = Guard("edge-0", Recorder(records.append))
    for own in (OSError("disk full"), sqlite3.OperationalError("locked"), MemoryError(),
                IntegrityError("damaged")):
        with pytest.raises(type(own)):
            guard.attempt("refused", "x", failing(own), None)
    assert not records
    for theirs in (PeerError("no"), KeyError("no"), RecursionError("no"), AssertionError("no"),
                   ValueError("x" * 100_000)):
        assert guard.attempt("refused", "x", failing(theirs), 7) == 7
        assert records[-1]["source"] == "x"
        assert len(records[-1]["reason"]) <= MAX_REASON
        assert ("traceback" in records[-1]) != isinstance(theirs, PeerError)


def test_work_that_fails_in_an_unforeseen_way_comes_back_as_a_value() -> None:
    """A share's bytes may make a library raise what it likes."""
    task = Task("open", 1, "weights")
    done = do_work(Compute(task, int, ("no number",)))
    assert isinstance(done.error, ValueError)
    with pytest.raises(OSError, match="no such"):
        do_work(Compute(task, _no_disk, ()))


def _no_disk() -> None:
    raise OSError("no such disk")


# --- a device that believes nobody ----------------------------------------------------------------


def questions(effects: list[Effect]) -> int:
    return sum(isinstance(effect, Send) for effect in effects)


def test_a_device_that_believes_nobody_asks_less_and_less(nodes: Any) -> None:
    """Its clock is behind, or it is of another chain: it must not ask as fast as it can."""
    with opened_run(CONFIG) as run:
        device: Device = run.devices[0]
        asked = questions(device.step(Started(), 0))
        pauses: list[int] = []
        nonsense = encode_message(Transactions(1, (b"nonsense",)))
        headers = encode_message(SealedHeaders(((b"nonsense", b""),)))
        for _ in range(10):
            for _ in range(len(run.edges)):
                edge = device._interface.edge
                effects = device.step(Received(edge, headers), 0)
                asked += questions(effects)
            pauses += [e.after_ms for e in effects if isinstance(e, SetTimer) and e.name == PAUSE]
            for name in ("edge-0", "edge-1"):  # nothing that comes meanwhile makes it ask
                assert questions(device.step(Received(name, nonsense), 0)) == 0
            asked += questions(device.step(TimedOut(PAUSE), 0))
        assert pauses[:4] == [FIRST_PAUSE_MS << k for k in range(4)]
        assert pauses[-1] == FIRST_PAUSE_MS << MAX_DOUBLINGS
        assert asked <= 2 + 10 * len(run.edges)
