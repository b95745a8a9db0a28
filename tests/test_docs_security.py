"""docs/security.md: what it refers to exists, each promise has evidence, and each open hole a test.

The tests marked ``xfail`` state promises that do not hold yet; the page names each as an open hole.
They are strict: who mends a hole sees its test pass, takes the mark away and changes the page.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bdn.chain import (
    AUXILIARY,
    PROOF_OF_WORK,
    CallTransaction,
    Genesis,
    Header,
    LightClient,
    blob_root,
    build_genesis,
    device_numbers,
    encode_envelope,
    header_digest,
    mine,
    pack_blob,
    sign_transaction,
)
from bdn.experiments import lab
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.lab.poison import SealUnscaled, forged
from bdn.experiments.lab.small_runs import hear
from bdn.experiments.run import Run, opened_run
from bdn.experiments.runner import StalledError
from bdn.identity import Identity
from bdn.learning import PaperCNN, apply_update, load, local_update, split
from bdn.learning.federated import device_generator
from bdn.nodes.device.device import Stage
from bdn.nodes.device.work import SealedUpdate
from bdn.nodes.events import Compute, Received, Send
from bdn.nodes.messages import (
    Blob,
    Refusal,
    Submit,
    Transactions,
    decode_message,
    encode_message,
)
from bdn.nodes.requests import decode_request, sign_request
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS
from bdn.randomness import SeededRandomness
from bdn.report import norm_bound_cell, spoiled_epochs

ROOT = Path(__file__).parents[1]
ROLES = (
    "outsider", "one edge server", "f edge servers", "f + 1 edge servers",
    "a quorum of edge servers", "one device", "t − 1 key holders", "t key holders",
    "all contributors but one", "edge servers and one device", "the dealer", "latecomer",
)
TINY = RunConfig(norm_bound=None, devices=4, threshold=2, epochs=1, iterations=2, batch_size=8,
                 samples=20, model="softmax", key_bits=512, deterministic=True, seed=3)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "security.md").read_text("utf-8")


# --- what the page refers to --------------------------------------------------------------------


def dangling(checker: ModuleType, text: str) -> list[str]:
    """References to tests, lab experiments and code that lead nowhere."""
    found = []
    for name in checker.quoted(text):
        if name.startswith("tests/") and "::" in name:
            good = checker.test_exists(name)
        elif name.startswith("bdn lab "):
            good = name.removeprefix("bdn lab ") in lab.EXPERIMENTS
        elif re.fullmatch(r"bdn\.[\w.]+|\w+\.contract:\w+|(bdn|tests|docs)/[\w/.-]+", name):
            good = checker.code_exists(name)
        else:
            continue
        found += [] if good else [name]
    return found


def test_everything_the_page_refers_to_exists(checker: ModuleType, page: str) -> None:
    """Each promise is linked to the test or experiment that shows it."""
    assert dangling(checker, page) == []


def test_a_dangling_reference_is_seen(checker: ModuleType) -> None:
    for name in ("bdn lab nothing", "tests/test_floors.py::test_nothing", "bdn.nodes.nothing",
                 "mining.contract:nothing", "bdn/nodes/nothing.py"):
        assert dangling(checker, f"see `{name}`") == [name]
    good = "`bdn lab edge-weights`, `bdn.nodes.device.device.Device`, `--key dealer`"
    assert dangling(checker, good) == []


def test_each_promise_has_evidence(checker: ModuleType, page: str) -> None:
    """The last cell of every row of the promises names a test, an experiment, or an argument."""
    rows = [row for row in checker.table_rows(page) if re.fullmatch(r"P\d+", row.place)]
    assert [row.place for row in rows] == [f"P{k}" for k in range(1, len(rows) + 1)]
    assert len(rows) >= 8
    for row in rows:
        evidence = [name for name in checker.quoted(row.test)
                    if "::" in name or name.startswith("bdn lab ")]
        assert evidence, row


def test_every_role_is_there_for_one_and_for_several_epochs(
    checker: ModuleType, page: str
) -> None:
    """Edge, f and f + 1 edges, t − 1 and t key holders, device, outsider, latecomer."""
    rows = {row.place: row for row in checker.table_rows(page)}
    for role in ROLES:
        row = rows[role]
        assert all((row.says, row.code, row.test)), role


def test_open_holes_and_expected_failures_are_the_same(page: str) -> None:
    """The page hides none, and none is listed that was mended."""
    listed = set(re.findall(r"\*\*(O\d+)\*\*", page))
    marked = set(re.findall(r'hole\("(O\d+)', Path(__file__).read_text("utf-8")))
    assert listed == marked


def hole(name: str) -> Any:
    """The mark of a promise that does not hold yet; today there is none."""
    return pytest.mark.xfail(strict=True, raises=(StalledError, AssertionError),
                             reason=f"open hole {name} of docs/security.md")


@contextmanager
def meddled(change: Callable[[Run], None]) -> Iterator[Run]:
    """A tiny run in which ``change`` has made somebody malicious."""
    with opened_run(TINY) as run:
        change(run)
        yield run


# --- what several epochs add --------------------------------------------------------------------


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_device_that_misses_an_epoch_shows_its_update_when_steps_are_small() -> None:
    """The difference of two epochs' sums, the second without device 0, points along its update.

    Not protected: the sums are what everybody is meant to learn. One sum alone says little.
    """
    data = load("digits")
    parts = [part.subset(np.arange(40)) for part in split(data.train, 5, "class", 0.5, 1)]
    cnn, rng = PaperCNN(classes=10, seed=1), SeededRandomness(1)

    def updates(w: np.ndarray, epoch: int) -> np.ndarray:
        results = [local_update(cnn, w, part, "sgd", 1, 0.01, 40,
                                device_generator(rng, str(k), epoch))
                   for k, part in enumerate(parts)]
        return np.array([40 * (r.w.astype(np.float64) - w) for r in results])

    w = cnn.parameters()
    first = updates(w, 1)
    second = updates(apply_update(w, first.sum(axis=0), 200), 2)
    difference = first.sum(axis=0) - second[1:].sum(axis=0)
    assert cosine(first[0], first.sum(axis=0)) < 0.5
    assert cosine(first[0], difference) > 0.95


# --- what lies on disk --------------------------------------------------------------------------


def test_secrets_lie_in_nodes_sqlite_in_clear_and_nowhere_else(tmp_path: Path) -> None:
    """Identities, key shares, the group key: one file, readable by its owner alone."""
    folder = RunFolder.create(tmp_path / "run", TINY)
    with opened_run(TINY, folder) as run:
        run.complete()
        names = [f"device/{k}" for k in range(4)] + [f"key share/{k}" for k in range(4)]
        secrets = [run.store.secret(name) for name in names]
        secrets += [device._keyring.group_key for device in run.devices]
        secrets += [device._keyring.exchange.secret for device in run.devices]
        during = {path.name: path.stat().st_mode & 0o077 for path in folder.path.glob("nodes*")}
    assert during
    assert set(during.values()) == {0}, during
    kept = (folder.path / "nodes.sqlite").read_bytes()
    others = [path for path in folder.path.rglob("*")
              if path.is_file() and not path.name.startswith("nodes.sqlite")]
    assert {"ledger.sqlite", "trace.jsonl"} <= {path.name for path in others}
    for secret in secrets:
        assert secret
        assert secret in kept
        assert not any(secret in path.read_bytes() for path in others)


# --- proof of work protects nobody --------------------------------------------------------------


def test_under_proof_of_work_an_outsider_can_make_a_block_that_devices_accept() -> None:
    """A proof of work is not signed: whoever hashes enough speaks in an edge server's name."""
    edge = Identity.from_secret(b"e" * 32)
    genesis = Genesis(
        name="work", salt=b"salt", consensus=PROOF_OF_WORK, gas_table=2, gas_limit=1 << 40,
        edges=(edge.public_key,), balances=(), contracts=(), generation_rate=3_600_000, time=1,
        settings={"difficulty": 16},
    )
    block = build_genesis(genesis, edge, []).block
    client = LightClient(genesis, block.header, block.digest)
    forged: Header = replace(block.header, kind=AUXILIARY, height=1, time=2,
                             parent=header_digest(block.header), state_root=bytes(32))
    client.accept(forged, mine(forged, 16), now=2)
    assert client.head == forged


# --- what a quorum can do -------------------------------------------------------------------------


def test_a_quorum_cannot_register_a_key_of_its_own() -> None:
    """A receipt that says ok is not enough: the first device itself must have signed."""
    with opened_run(TINY) as run:
        run.runner.run(lambda: run.edges[0].ledger.height == 1)
        device, edge = run.devices[1], run.material.edges[0]
        chain = run.edges[0].ledger.chain
        keys = [one._keyring.exchange.public_key for one in run.devices]
        rng = SeededRandomness(1)
        payload, _ = device._keyring.register(keys, run.material.settings, rng)
        envelope = sign_transaction(edge, chain, 0, 1 << 40, payload)
        run.runner.run(lambda: run.edges[0].ledger.height == 2)
        believed = run.edges[0].ledger.store.receipts(2)[0]
        assert believed.ok
        device._read_transaction(envelope, believed, 2)
        assert device._keyring.registered is None


# --- what holders of the key can do --------------------------------------------------------------


def lying_key_holder(run: Run) -> None:
    """Device 2 sends bytes that are no share."""
    liar = run.devices[1]
    honest = liar._send_share
    liar._send_share = lambda _blob: honest(  # type: ignore[method-assign]
        pack_blob([b"this is no share"]))


def test_a_key_holder_that_sends_a_wrong_share_stops_nobody() -> None:
    """The other three hold shares enough; those whose turn comes later are heard."""
    with meddled(lying_key_holder) as run:
        run.runner.run(run.is_over)
        assert run.devices[0].stage is Stage.FINISHED


def copying_key_holder(run: Run) -> None:
    """Device 2 submits key holder 1's sealed share as its own."""
    thief = run.devices[1]

    def make_share() -> list[Any]:
        aggregate = thief._current
        if aggregate is None or 2 in aggregate.shares or thief._interface.submission is not None:
            return []
        others = [root for root in aggregate.shares.values() if root in thief._reader.blobs]
        return thief._send_share(thief._reader.blobs[others[0]]) if others else []

    thief._make_share = make_share  # type: ignore[method-assign]


def test_a_key_holder_that_copies_anothers_share_stops_nobody() -> None:
    """Two good shares remain of the other three; the copy should be left out."""
    with meddled(copying_key_holder) as run:
        run.runner.run(run.is_over)
        assert run.devices[0].stage is Stage.FINISHED


# --- what an edge server can do ------------------------------------------------------------------


def edge_that_omits(kind: str) -> Callable[[Run], None]:
    """Edge server 0 leaves transactions of the class ``kind`` out of its answers to device 1."""

    def change(run: Run) -> None:
        edge = run.edges[0]
        honest = edge.step

        def step(event: Any, now_ms: int) -> list[Any]:
            return [without(effect) for effect in honest(event, now_ms)]

        def without(effect: Any) -> Any:
            if not (isinstance(effect, Send) and effect.target == "device-1"):
                return effect
            message = decode_message(effect.data)
            if not isinstance(message, Transactions):
                return effect
            proofs = tuple(p for p in message.proofs if kind.encode() not in p)
            return Send(effect.target, encode_message(Transactions(message.height, proofs)))

        edge.step = step  # type: ignore[method-assign]

    return change


@pytest.mark.parametrize("kind", ["RegisterKey", "AggregateTransaction", "ShareTransaction"])
def test_an_edge_server_that_omits_transactions_stops_nobody(kind: str) -> None:
    """One faulty edge server of four costs time alone: its devices turn to another."""
    with meddled(edge_that_omits(kind)) as run:
        run.runner.run(run.is_over)
        assert run.devices[0].stage is Stage.FINISHED


def test_a_stranger_cannot_make_a_device_skip_a_block() -> None:
    """Nothing was asked, nothing is proven, and the header is not even known."""
    with opened_run(TINY) as run:
        device = run.devices[0]
        device.step(Received("a stranger", encode_message(Transactions(1, ()))), 0)
        assert device._reader.height == 0


def edge_that_refuses(payload: str) -> Callable[[Run], None]:
    """Edge server 0 answers device 1's transactions of the class ``payload`` with a refusal."""

    def change(run: Run) -> None:
        edge = run.edges[0]
        honest = edge.step

        def step(event: Any, now_ms: int) -> list[Any]:
            if isinstance(event, Received) and event.source == "device-1":
                message = decode_message(event.data)
                if isinstance(message, Submit) and payload.encode() in message.request:
                    nonce = decode_request(message.request).timestamp
                    return [Send("device-1", encode_message(Refusal(nonce, "no reason")))]
            return honest(event, now_ms)

        edge.step = step  # type: ignore[method-assign]

    return change


@pytest.mark.parametrize("payload", ["CallTransaction", "UpdateTransaction"])
def test_an_edge_server_that_refuses_without_reason_stops_nobody(payload: str) -> None:
    """The device should try the other edge servers, which see nothing wrong."""
    with meddled(edge_that_refuses(payload)) as run:
        run.runner.run(run.is_over)
        history = run.devices[1].progress.history
        assert [len(device_numbers(record.contributors)) for record in history] == [4, 4]


# --- what a stranger can do ----------------------------------------------------------------------


def test_an_edge_server_stores_nothing_that_it_did_not_ask_for() -> None:
    with opened_run(TINY) as run:
        blob = pack_blob([bytes(1000)])
        run.edges[0].step(Received("a stranger", encode_message(Blob(blob))), 0)
        assert run.edges[0].ledger.store.blob_size(blob_root(blob)) is None


def test_a_stranger_cannot_write_to_the_ledger() -> None:
    """Gas has no price: who is in no genesis block has no transactions."""
    with opened_run(TINY) as run:
        stranger, chain = Identity.from_secret(b"s" * 32), run.edges[0].ledger.chain
        call = CallTransaction("learning", "collect", (bytes(20),))
        envelope = sign_transaction(stranger, chain, 0, 1 << 40, call)
        request = sign_request(chain, stranger, 0, encode_envelope(envelope))
        run.edges[0].step(Received("a stranger", encode_message(Submit(request, ()))), 0)
        assert stranger.address not in run.edges[0].application.admission.waiting


# --- a spoiled sum ------------------------------------------------------------------------------


def seal_beyond_the_slots(
    cipher: Any, local: Any, clips: Any, with_loss: bool, weight: int, context: bytes, rng: Any
) -> Any:
    """As `bdn.nodes.device.work.seal_local`, with one entry far beyond its clip."""
    excess = (cipher.code.total_weight * (1 << cipher.code.value_bits)) // weight
    levels = np.full(cipher.length, cipher.code.offset, dtype=np.int64)
    levels[0] += excess
    sealed = cipher.seal_encoded(levels, weight, rng, context)
    return local.seconds, SealedUpdate(pack_blob(sealed.leaves()), 1.0)


def overflow(run: Run, *phases: tuple[int, str]) -> None:
    """Device 4 seals an entry beyond its slot, in these phases; its proofs are right."""
    device = run.devices[3]
    honest = device._seal

    def seal(local: Any) -> list[Any]:
        if (device.progress.epoch, device.progress.phase) not in phases:
            return honest(local)
        return [replace(effect, function=seal_beyond_the_slots)
                if isinstance(effect, Compute) else effect for effect in honest(local)]

    device._seal = seal  # type: ignore[method-assign]


@pytest.mark.parametrize("cipher", ["ring-masked", "packed"])
def test_a_device_beyond_the_norm_bound_is_named_and_the_epoch_goes_on(cipher: str) -> None:
    """It boosts its update and forges a proof: the three others need not wait for the deadline."""
    config = replace(TINY, cipher=cipher, samples=8, norm_bound=0.05)
    made = forged(config, SealUnscaled())
    assert made.named
    assert "norm proof" in made.told
    assert made.outcome.contributors[0] == ("device-1", "device-2", "device-3")
    assert made.seconds < made.deadline


def test_the_norm_bound_of_each_epoch_holds_in_that_epoch() -> None:
    """Nobody is scaled down in the first; all are in the second, and the model moves no further."""
    config = replace(TINY, epochs=2, samples=8, norm_bound=(50.0, 0.02))
    with opened_run(config) as run:
        scaled = hear(run, "scaled")
        history = run.complete()
    assert {(r["node"], r["epoch"], r["limit"]) for r in scaled} == {
        (name, 2, "norm bound") for name in run.material.device_names}
    first, second, _closing = history["epochs"]
    assert (first["norm_bound"], second["norm_bound"]) == (50.0, 0.02)
    assert len(second["contributors"]) == config.devices
    assert 0 < second["norm"] <= 0.02 < first["norm"]
    assert norm_bound_cell(history, first) == "50"
    assert norm_bound_cell(history, second) == "0.02 (4 scaled down)"


@pytest.mark.parametrize("cipher", ["ring-masked", "packed"])
def test_a_device_that_overflows_its_slots_costs_an_epoch_and_not_the_run(cipher: str) -> None:
    """All devices see it alike, from the plaintext; the next epoch trains from where w stood."""
    with opened_run(replace(TINY, epochs=2, cipher=cipher, norm_bound=None)) as run:
        overflow(run, (1, WEIGHTS))
        started = run.devices[0].progress.w
        run.runner.run(run.is_over)
        assert {device.stage for device in run.devices} == {Stage.FINISHED}
        first, second, closing = run.devices[0].progress.history
        assert (first.spoiled, first.loss, first.norm) == (True, None, 0.0)
        assert (second.spoiled, closing.spoiled) == (False, False)
        assert second.norm == pytest.approx(
            np.linalg.norm(run.devices[0].progress.w - started), rel=1e-4)
        assert len({device.progress.w.tobytes() for device in run.devices}) == 1


def test_whoever_spoils_every_sum_keeps_the_model_where_it_is() -> None:
    """The run ends in order, with w^(0), and says of each epoch that it was lost."""
    with opened_run(replace(TINY, epochs=2, norm_bound=None)) as run:
        overflow(run, (1, WEIGHTS), (2, WEIGHTS), (2, LOSS))
        started = run.devices[0].progress.w
        history = run.complete()
        assert [row["spoiled"] for row in history["epochs"]] == [True, True, True]
        assert [row["closing"] for row in history["epochs"]] == [False, False, True]
        assert history["best_loss"] is None
        assert history["best_epoch"] == 0
        assert np.array_equal(run.devices[0].progress.w, started)
        assert len(spoiled_epochs(history)) == 3


def test_an_epoch_whose_gradient_is_spoiled_is_lost_and_the_next_is_not() -> None:
    """Rule svrg: without ∇F devices seal zeros, and F(w) is known all the same."""
    with opened_run(
            replace(TINY, epochs=2, rule="svrg", gradient_norm_bound=None)) as run:
        overflow(run, (1, GRADIENT))
        run.runner.run(run.is_over)
        first, second, _ = run.devices[0].progress.history
        assert (first.spoiled, first.norm) == (True, 0.0)
        assert first.loss == pytest.approx(second.loss), "both are F of w^(0)"
        assert second.norm > 0
        assert not second.spoiled
