"""What one faulty edge server, a stranger, or a cheating key holder must not be able to stop.

docs/security.md names each of these; whole runs against the same attackers are in
tests/test_docs_security.py.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bdn.chain import (
    CallTransaction,
    Payload,
    RegisterKey,
    ShareTransaction,
    TransactionError,
    UpdateTransaction,
    blob_root,
    encode_envelope,
    pack_blob,
    sign_transaction,
)
from bdn.errors import PeerError
from bdn.experiments.config import RunConfig
from bdn.experiments.run import Run, opened_run
from bdn.identity import Identity
from bdn.nodes.device.device import Stage
from bdn.nodes.device.interface import SUBMISSION, ContractInterface
from bdn.nodes.edge.blob_sizes import BLOBS_AT_ONCE, most_bytes
from bdn.nodes.edge.server import EdgeServer
from bdn.nodes.events import Effect, Received, Send
from bdn.nodes.messages import (
    Blob,
    GetBlob,
    GetBlocks,
    GetTransactions,
    Message,
    Relay,
    SealedBlocks,
    Submit,
    Transactions,
    decode_message,
    encode_message,
)
from bdn.nodes.requests import Request, decode_request, sign_request

EDGES = ("edge-0", "edge-1", "edge-2", "edge-3")


def targets(effects: list[Effect]) -> list[str]:
    """To whom a transaction goes."""
    return [effect.target for effect in effects
            if isinstance(effect, Send) and isinstance(decode_message(effect.data), Submit)]


def submitting(edges: tuple[str, ...] = EDGES) -> ContractInterface:
    """A device that has just sent a transaction to its own edge server."""
    light: Any = SimpleNamespace(chain=bytes(32), height=3)
    interface = ContractInterface("device", Identity.from_secret(b"d" * 32), light, edges, 1 << 40)
    sent = interface.submit(CallTransaction("learning", "confirm_key", (b"root",)))
    assert targets(sent) == [edges[0]]
    return interface


# --- refusals -------------------------------------------------------------------------------------


def test_one_refusal_sends_the_transaction_to_the_next_edge_server() -> None:
    """Section 3.2: with f = 1, two different edge servers must refuse before a device gives up."""
    interface = submitting()
    assert targets(interface.refused("edge-0")) == ["edge-1"]
    assert interface.refused("edge-0") == []  # the same word again counts once
    assert interface.submission is not None
    interface.refused("edge-1")
    assert interface.submission is None


def test_a_refusal_of_who_was_not_asked_counts_nothing() -> None:
    interface = submitting()
    for stranger in ("mallory", "edge-2", "edge-3", ""):
        assert interface.refused(stranger) == []
    assert interface.submission is not None
    assert targets(interface.refused("edge-0")) == ["edge-1"]


def test_refusals_of_an_earlier_transaction_do_not_count_for_the_next() -> None:
    interface = submitting()
    interface.refused("edge-0")
    interface.refused("edge-1")
    interface.submit(CallTransaction("learning", "confirm_key", (b"root",)))
    interface.refused("edge-1")
    interface.refused("edge-2")
    assert interface.submission is not None


def test_after_silence_every_edge_server_has_been_asked() -> None:
    interface = submitting()
    assert targets(interface.on_timeout(SUBMISSION)) == list(EDGES)
    interface.refused("edge-3")
    assert interface.submission is not None
    interface.refused("edge-2")
    assert interface.submission is None


def test_a_single_edge_server_has_the_last_word() -> None:
    """Of one to three edge servers none may be faulty."""
    interface = submitting(EDGES[:1])
    interface.refused("edge-0")
    assert interface.submission is None


# --- runs -----------------------------------------------------------------------------------------

TINY = RunConfig(norm_bound=None, devices=4, threshold=2, epochs=1, iterations=2, batch_size=8,
                 samples=20, model="softmax", key_bits=512, deterministic=True, seed=3)
GAS = 1 << 40


@pytest.fixture
def run() -> Iterator[Run]:
    """Four devices and four edge servers, up to where updates are awaited."""
    with opened_run(TINY) as run:
        run.runner.run(lambda: run.edges[0].application.awaited.what == "updates")
        yield run


def tell(run: Run, edge: EdgeServer, message: Message, source: str = "mallory") -> list[Effect]:
    """The edge server's answer to a message."""
    return edge.step(Received(source, encode_message(message)), int(run.runner.now_ms))


def signed(run: Run, who: Identity, payload: Payload, nonce: int | None = None) -> bytes:
    """A request of ``who``, with its next nonce."""
    ledger = run.edges[0].ledger
    number = ledger.next_nonce(who.address) if nonce is None else nonce
    envelope = sign_transaction(who, ledger.chain, number, GAS, payload)
    return sign_request(ledger.chain, who, number, encode_envelope(envelope))


# --- work that must not grow with the number of devices ---


def test_too_few_requests_are_told_by_their_number(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each request all servers ask whether a block is due: looking at all is quadratic."""
    application = run.edges[0].application
    looked: list[bytes] = []
    monkeypatch.setattr(application.admission, "envelope", looked.append)
    for count in range(len(application.awaited.who)):
        waiting = [Request("client", bytes(32), number, b"", bytes(64)) for number in range(count)]
        assert not application.is_due(waiting)
        assert application.propose(application.ledger.height + 1, waiting) is None
    assert looked == []


def test_a_blob_that_every_device_asks_for_is_read_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = run.edges[0]
    root = edge.ledger.call("learning", "key_of_run")["root"]
    blob, read = edge.ledger.blob(root), list[bytes]()

    def counted(wanted: bytes) -> bytes:
        read.append(wanted)
        return blob

    monkeypatch.setattr(edge.ledger, "blob", counted)
    for k in range(5):
        assert tell(run, edge, GetBlob(root), f"device-{k}") == [
            Send(f"device-{k}", encode_message(Blob(blob)))]
    assert len(read) <= 1


@pytest.mark.parametrize("kinds", [(), ("CallTransaction",), ("RegisterKey", "CallTransaction")])
def test_a_device_gets_its_own_transactions_and_those_of_the_kinds_it_names(
    run: Run, kinds: tuple[str, ...]
) -> None:
    ledger = run.edges[0].ledger
    for height in range(1, ledger.height + 1):
        block = ledger.proofs(height)
        for sender in (run.material.devices[1].address, bytes(20)):
            assert block.positions(kinds, sender) == [
                position for position, envelope in enumerate(block.envelopes)
                if envelope.address == sender or type(envelope.payload).__name__ in kinds]


def is_stored(edge: EdgeServer, blob: bytes) -> bool:
    return edge.ledger.store.blob_size(blob_root(blob)) is not None


def share_of(blob: bytes, **changes: Any) -> ShareTransaction:
    """A transaction that names ``blob``, as it is unless ``changes`` say otherwise."""
    return replace(ShareTransaction(1, "weights", 1, blob_root(blob), 1, len(blob)), **changes)


# --- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Submit, Relay])
def test_a_strangers_transaction_is_taken_from_nobody(
    run: Run, kind: Callable[[bytes, tuple[bytes, ...]], Message]
) -> None:
    """Section 3.2: also where another edge server passes it on."""
    stranger, edge = Identity.from_secret(b"s" * 32), run.edges[1]
    request = signed(run, stranger, CallTransaction("learning", "collect", (bytes(20),)))
    tell(run, edge, kind(request, ()), "edge-1")
    assert stranger.address not in edge.application.admission.waiting
    with pytest.raises(TransactionError, match="neither a registered device"):
        edge.application.check_request(decode_request(request))


def test_a_block_with_a_strangers_transaction_is_not_accepted(run: Run) -> None:
    """The same for every edge server: what genesis and the block say decides."""
    stranger, application = Identity.from_secret(b"s" * 32), run.edges[0].application
    call = CallTransaction("learning", "collect", (bytes(20),))
    good, bad = (sign_transaction(who, application.ledger.chain,
                                  application.ledger.next_nonce(who.address), GAS, call)
                 for who in (run.material.devices[0], stranger))
    for envelope in (good, bad):
        block = application._make("auxiliary", 0, [envelope], None).block
        if envelope is good:
            application.admission.check_senders(block)
        else:
            with pytest.raises(PeerError, match="neither a registered device"):
                application._check_product(block)


def test_edge_servers_are_members(run: Run) -> None:
    members = run.edges[0].application.admission.members
    everybody = [*run.material.devices, *run.material.edges]
    assert members == {identity.address for identity in everybody}


# --- blobs ----------------------------------------------------------------------------------------


def test_a_blob_is_kept_with_the_transaction_that_names_it_and_not_without(run: Run) -> None:
    """Right nonce, right size, a registered sender; anything else leaves nothing on the disk."""
    edge, device = run.edges[0], run.material.devices[0]
    blob = pack_blob([bytes(1000)])
    used = signed(run, device, share_of(blob), nonce=0)
    shorter = signed(run, device, share_of(blob, size=len(blob) - 1))
    stranger = signed(run, Identity.from_secret(b"s" * 32), share_of(blob))
    for request in (used, shorter, stranger):
        tell(run, edge, Submit(request, (blob,)))
        tell(run, edge, Relay(request, (blob,)), "edge-2")
        assert not is_stored(edge, blob)
    tell(run, edge, Submit(signed(run, device, share_of(blob)), (blob,)))
    assert is_stored(edge, blob)


def test_a_blob_beside_the_one_that_is_named_is_dropped(run: Run) -> None:
    edge, blob, more = run.edges[0], pack_blob([bytes(1000)]), pack_blob([bytes(999), b""])
    request = signed(run, run.material.devices[0], share_of(blob))
    tell(run, edge, Submit(request, (more, blob)))
    assert is_stored(edge, blob)
    assert not is_stored(edge, more)


def test_an_update_that_does_not_verify_is_not_stored(run: Run) -> None:
    """Algorithm 2, line 16 comes before the disk."""
    edge, blob = run.edges[0], pack_blob([bytes(1000)])
    payload = UpdateTransaction(1, "weights", 20, 1000, blob_root(blob), 1, len(blob))
    tell(run, edge, Submit(signed(run, run.material.devices[0], payload), (blob,)))
    assert not is_stored(edge, blob)


def test_a_member_fills_no_disk_either(run: Run) -> None:
    """A few blobs between two blocks; it can have no more than one transaction under way."""
    edge, device = run.edges[0], run.material.devices[0]
    blobs = [pack_blob([bytes([k]) * 100]) for k in range(BLOBS_AT_ONCE + 2)]
    for blob in blobs:
        tell(run, edge, Submit(signed(run, device, share_of(blob)), (blob,)))
    assert sum(is_stored(edge, blob) for blob in blobs) == BLOBS_AT_ONCE


@pytest.mark.parametrize("payload", [
    RegisterKey(0, 512, 2, 4, bytes(32), 1, 1 << 20),
    RegisterKey(0, 1 << 20, 2, 4, bytes(32), 1, 10),
    ShareTransaction(1, "weights", 1, bytes(32), 1, 1 << 30),
    ShareTransaction(1, "another phase", 1, bytes(32), 1, 10),
    UpdateTransaction(1, "weights", 20, 1000, bytes(32), 1, 1 << 30),
    UpdateTransaction(1, "another phase", 20, 1000, bytes(32), 1, 10),
])
def test_no_transaction_names_a_larger_blob_than_the_settings_call_for(
    run: Run, payload: Payload
) -> None:
    request = decode_request(signed(run, run.material.devices[0], payload))
    with pytest.raises(PeerError, match=r"at most|is the most|no phase"):
        run.edges[0].application.check_request(request)


def test_a_packed_update_is_within_its_limit_and_near_it(mini: Callable[..., Any]) -> None:
    chain = mini()
    chain.make_key()
    payload = chain.update(0, np.zeros(4), 10).payload
    limit = most_bytes(payload, chain.settings, chain.public_key)
    assert payload.size <= limit <= payload.size + 8_000


@pytest.mark.parametrize("options", [{}, {"rule": "svrg"}])
def test_honest_blobs_are_far_from_no_limit(options: dict[str, Any]) -> None:
    """The bounds let all of a run through, and are within a few kilobytes of it."""
    with opened_run(replace(TINY, **options)) as run:
        run.complete()
        ledger, application = run.edges[0].ledger, run.edges[0].application
        key = application.admission._public_key()
        seen = Counter[type]()
        for height in range(1, ledger.height + 1):
            for envelope in ledger.store.block(height).transactions:
                payload = envelope.payload
                if isinstance(payload, RegisterKey | ShareTransaction | UpdateTransaction):
                    limit = most_bytes(payload, application.settings, key)
                    assert payload.size <= limit <= 1.2 * payload.size + 12_000
                    seen[type(payload)] += 1
    assert len(seen) == 3


def test_blobs_of_sealed_blocks_are_fetched_and_no_others(run: Run) -> None:
    """Catching up: the blocks first, then what they were found to lack."""
    late = run.edges[3]
    run.runner.crash(late.name)
    start = late.ledger.height
    run.runner.run(lambda: run.edges[0].ledger.height > start + 1)
    ahead = run.edges[0]
    answer = tell(run, ahead, GetBlocks(start), late.name)
    assert [type(decode_message(e.data)) for e in answer if isinstance(e, Send)] == [SealedBlocks]
    sent = decode_message(next(e.data for e in answer if isinstance(e, Send)))
    assert isinstance(sent, SealedBlocks)
    asked = tell(run, late, sent, ahead.name)
    stopped = late.ledger.height  # blocks without blobs went in at once
    assert stopped < ahead.ledger.height
    roots = set(late.application.admission.wanted)
    assert roots
    assert {e.target for e in asked if isinstance(e, Send)
            and isinstance(decode_message(e.data), GetBlob)} == {ahead.name}
    junk = pack_blob([bytes(1000)])
    tell(run, late, Blob(junk), ahead.name)
    assert not is_stored(late, junk)
    waiting = list(roots)
    while waiting:
        for effect in tell(run, late, Blob(ahead.ledger.blob(waiting.pop())), ahead.name):
            message = decode_message(effect.data) if isinstance(effect, Send) else None
            if isinstance(message, GetBlob):
                waiting.append(message.root)
    assert late.ledger.height > stopped


# --- what an edge server hides --------------------------------------------------------------------


def test_where_all_is_well_no_block_is_asked_for_twice() -> None:
    """A second look is for devices that come no further."""
    asked: Counter[tuple[str, int]] = Counter()

    def count(source: str, _target: str, data: bytes, _now: int) -> int:
        if isinstance(message := decode_message(data), GetTransactions):
            asked[source, message.height] += 1
        return 1

    with opened_run(TINY, network=count) as run:
        run.complete()
    assert asked
    assert set(asked.values()) == {1}


def test_only_an_edge_server_that_was_asked_can_say_that_a_block_holds_nothing(run: Run) -> None:
    device = run.devices[0]
    own, height = device._interface.edge, device._reader.height
    device._interface.answered()
    device._reader.height = height - 1
    device.step(Received(own, encode_message(Transactions(height, ()))), 0)
    assert device._reader.height == height - 1  # it was not asked then
    question = device._interface.question
    assert isinstance(question, GetTransactions)
    for source in ("mallory", *(edge.name for edge in run.edges if edge.name != own)):
        device.step(Received(source, encode_message(Transactions(height, ()))), 0)
        assert device._reader.height == height - 1
    device.step(Received(own, encode_message(Transactions(height, ()))), 0)
    assert device._reader.height == height


def hiding(run: Run, kind: str) -> list[dict[str, Any]]:
    """Edge server 0 hides transactions of ``kind`` from device 1; what the device then finds."""
    edge, found = run.edges[0], []
    honest = edge._on_get_transactions

    def answer(message: GetTransactions, source: str) -> list[Effect]:
        effects = []
        for effect in honest(message, source):
            assert isinstance(effect, Send)
            full = decode_message(effect.data)
            assert isinstance(full, Transactions)
            proofs = tuple(p for p in full.proofs
                           if source != "device-1" or kind.encode() not in p)
            effects.append(Send(source, encode_message(Transactions(full.height, proofs))))
        return effects

    def listen(record: dict[str, Any]) -> None:
        if record["event"] == "was-hidden":
            found.append(record)

    edge._handlers[GetTransactions] = answer
    run.listen(listen)
    return found


@pytest.mark.parametrize("kind", ["CallTransaction", "UpdateTransaction"])
def test_what_one_edge_server_hides_another_shows(kind: str) -> None:
    """Of f + 1 answers one is honest; also the device's own transactions."""
    with opened_run(TINY) as run:
        found = hiding(run, kind)
        run.runner.run(run.is_over)
        assert run.devices[0].stage is Stage.FINISHED
        assert {record["kind"] for record in found} == {kind}
        models = [device.progress.w for device in run.devices]
        assert all((w == models[0]).all() for w in models)
