"""The light client's refusals, each by a header, seal or proof of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdn.chain import (
    EquivocationError,
    EquivocationEvidence,
    LightClient,
    LightClientError,
    header_digest,
    merkle,
    mine,
    verify_evidence,
    verify_inclusion,
)
from bdn.chain.contracts import encode_value, storage_key
from bdn.encoding import decode_record, encode_record
from bdn.errors import UsageError
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, sign_commit

NOW = 1_000_000


@pytest.fixture
def light(chain: Any) -> LightClient:
    """A light client at the genesis block of a chain that has two more."""
    client = LightClient(chain.genesis, chain.ledger.head, header_digest(chain.ledger.head))
    chain.add([chain.transfer(0, b"bob", 30), chain.transfer(0, b"bob", 500)])
    chain.add_epoch(1)
    return client


def feed(client: LightClient, chain: Any) -> None:
    """All sealed headers that the client has not seen."""
    store = chain.ledger.store
    for height in range(client.height + 1, store.height() + 1):
        client.accept(store.header(height), store.seal(height), NOW)


def test_sealed_headers_are_accepted_in_order(light: LightClient, chain: Any) -> None:
    """Height = last + 1, parent = last digest."""
    feed(light, chain)
    assert light.head == chain.ledger.head
    assert light.confirmations(1) == 2
    assert light.confirmations(9) == 0


def test_it_starts_only_from_the_trusted_genesis(chain: Any) -> None:
    """A trusted genesis digest, to which record and header must lead."""
    header, trusted = chain.ledger.head, header_digest(chain.ledger.head)
    with pytest.raises(LightClientError, match="not the trusted one"):
        LightClient(chain.genesis, header, bytes(32))
    with pytest.raises(LightClientError, match="chain"):
        LightClient(replace(chain.genesis, edges=chain.genesis.edges[::-1]), header, trusted)
    other = replace(header, time=5)
    with pytest.raises(LightClientError, match="time"):
        LightClient(chain.genesis, other, header_digest(other))
    with pytest.raises(UsageError):
        LightClient(chain.genesis, header, trusted, drift=-1)


def sealed(chain: Any, change: dict[str, Any]) -> tuple[Any, Seal]:
    """Header 1 with a change, sealed by a quorum all the same."""
    header = replace(chain.ledger.store.header(1), **change)
    return header, chain.sign_seal(header_digest(header), header.height)


@pytest.mark.parametrize(("change", "reason"), [
    ({"height": 2}, "does not follow"),
    ({"height": 3}, "does not follow"),
    ({"parent": bytes(32)}, "parent"),
    ({"chain": bytes(32)}, "another chain"),
    ({"time": 1_000}, "not after"),
    ({"time": 5}, "not after"),
    ({"time": NOW + 60_001}, "60001 ms in the future"),
    ({"kind": "genesis"}, "one genesis"),
    ({"generation_rate": 1}, "generation rate"),
    ({"proposer": bytes(20)}, "proposer"),
], ids=repr)
def test_bad_headers_are_refused_though_a_quorum_sealed_them(
    light: LightClient, chain: Any, change: dict[str, Any], reason: str
) -> None:
    """Non-monotone height or time, a header from the future, another chain, …"""
    with pytest.raises(LightClientError, match=reason):
        light.accept(*sealed(chain, change), NOW)
    assert light.height == 0
    feed(light, chain)


def test_time_may_run_ahead_by_the_drift_only(light: LightClient, chain: Any) -> None:
    """The clock is an argument."""
    header, seal = chain.ledger.store.header(1), chain.ledger.store.seal(1)
    with pytest.raises(LightClientError, match="in the future"):
        light.accept(header, seal, header.time - light.drift - 1)
    light.accept(header, seal, header.time - light.drift)


def test_an_earlier_epoch_is_refused(chain: Any) -> None:
    """Epochs do not run backwards."""
    client = LightClient(chain.genesis, chain.ledger.head, header_digest(chain.ledger.head))
    chain.add(epoch=2)
    feed(client, chain)
    chain.add(epoch=2)
    header = replace(chain.ledger.head, epoch=1)
    with pytest.raises(LightClientError, match="epoch 1 comes before"):
        client.accept(header, chain.sign_seal(header_digest(header), 2), NOW)


def test_bad_seals_are_refused(light: LightClient, chain: Any) -> None:
    """Too few signers, foreign ones, duplicate ones, another header's or view's."""
    header = chain.ledger.store.header(1)
    name = header_digest(header)
    good = chain.sign_seal(name, 1)
    stranger = Identity.generate(SeededRandomness(5))
    foreign = (3, sign_commit(stranger, chain.ledger.chain, 0, 1, name))
    outside = (4, sign_commit(stranger, chain.ledger.chain, 0, 1, name))
    other_view = chain.sign_seal(name, 1, signers=(3,), view=1).signatures
    two = good.signatures[:2]
    for seal, reason in (
        (chain.sign_seal(name, 1, signers=(0, 1)), "quorum of 4 is 3"),
        (replace(good, signatures=()), "quorum"),
        (replace(good, signatures=(*two, foreign)), "replica 3's signature"),
        (replace(good, signatures=(*two, outside)), "none of the 4"),
        (replace(good, signatures=(*two, two[1])), "not distinct"),
        (replace(good, signatures=good.signatures[::-1]), "not distinct"),
        (replace(good, signatures=(*two, *other_view)), "replica 3's signature"),
        (replace(good, view=7), "replica 0's signature"),
        (replace(good, view=-1), "replica 0's signature"),
        (replace(good, view=1 << 70), "replica 0's signature"),
        (replace(good, sequence=2), "sequence 2"),
        (replace(good, digest=bytes(32)), "another header"),
        (chain.sign_seal(bytes(32), 1), "another header"),
        (mine(header, 16), "sealed by signatures"),
    ):
        with pytest.raises(LightClientError, match=reason):
            light.accept(header, seal, NOW)
    assert light.height == 0
    light.accept(header, good, NOW)


def test_a_known_header_may_come_again_with_another_seal(light: LightClient, chain: Any) -> None:
    """Edges may seal the same block in different views; that is no evidence."""
    feed(light, chain)
    header = chain.ledger.store.header(1)
    light.accept(header, chain.sign_seal(header_digest(header), 1, signers=(1, 2, 3), view=3), NOW)
    with pytest.raises(LightClientError, match="quorum"):
        light.accept(header, chain.sign_seal(header_digest(header), 1, signers=(1,)), NOW)
    assert light.height == 2


def test_two_valid_seals_at_one_height_are_evidence(light: LightClient, chain: Any) -> None:
    """More than f faults, shown to anyone who knows the genesis record."""
    feed(light, chain)
    header, seal = sealed(chain, {"time": 1_234})
    seal = chain.sign_seal(header_digest(header), 1, signers=(1, 2, 3))
    with pytest.raises(EquivocationError) as caught:
        light.accept(header, seal, NOW)
    evidence = caught.value.evidence
    verify_evidence(evidence, chain.genesis)
    assert evidence.signers_of_both() == (1, 2)
    assert light.header(1) == chain.ledger.store.header(1)


def test_what_is_no_evidence_is_refused(light: LightClient, chain: Any) -> None:
    """An honest edge cannot be framed."""
    feed(light, chain)
    first, first_seal = light.header(1), light.seals[1]
    second, second_seal = sealed(chain, {"time": 1_234})
    assert isinstance(first_seal, Seal)
    good = EquivocationEvidence(first, first_seal, second, second_seal)
    verify_evidence(good, chain.genesis)
    assert decode_record(EquivocationEvidence, encode_record(good)) == good
    weak = replace(second_seal, signatures=second_seal.signatures[:2])
    for change in (
        {"second": first, "second_seal": first_seal},
        {"second_seal": first_seal},
        {"second_seal": weak},
        {"second": light.header(2), "second_seal": light.seals[2]},
        {"second": replace(second, chain=bytes(32))},
    ):
        with pytest.raises(LightClientError):
            verify_evidence(replace(good, **change), chain.genesis)
    with pytest.raises(LightClientError, match="does not follow"):
        light.accept(second, weak, NOW)


def test_transactions_and_receipts_are_proven(light: LightClient, chain: Any) -> None:
    """A device verifies Tx_co and its receipt; inclusion is not success."""
    feed(light, chain)
    for height in (0, 1, 2):
        block, receipts = chain.ledger.store.block(height), chain.ledger.store.receipts(height)
        for position, envelope in enumerate(block.envelopes):
            proof = chain.ledger.proof(height, position)
            assert light.verify_transaction(proof) == (envelope, receipts[position])
    assert [light.verify_transaction(chain.ledger.proof(1, i))[1].ok for i in (0, 1)] == [
        True, False]


def test_proofs_of_headers_that_were_not_accepted_are_refused(
    light: LightClient, chain: Any
) -> None:
    """Nothing is believed of a block whose seal was not seen."""
    with pytest.raises(LightClientError, match="no header 1 was accepted"):
        light.verify_transaction(chain.ledger.proof(1, 0))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_altered_inclusion_proofs_are_refused(
    light: LightClient, chain: Any, data: st.DataObject
) -> None:
    """Any one changed byte, place or receipt of a proof is refused."""
    feed(light, chain)
    proof = chain.ledger.proof(2, data.draw(st.integers(0, 3)))
    name = data.draw(st.sampled_from(
        ("transaction", "receipt", "transaction_path", "receipt_path", "position", "height")))
    old = getattr(proof, name)
    if isinstance(old, int):
        new: Any = data.draw(st.integers(-1, 5).filter(lambda number: number != old))
    else:
        pieces = [old] if isinstance(old, bytes) else list(old)
        which = data.draw(st.integers(0, len(pieces) - 1))
        piece = bytearray(pieces[which])
        piece[data.draw(st.integers(0, len(piece) - 1))] ^= data.draw(st.integers(1, 255))
        pieces[which] = bytes(piece)
        new = pieces[0] if isinstance(old, bytes) else tuple(pieces)
    with pytest.raises(LightClientError):
        light.verify_transaction(replace(proof, **{name: new}))


def test_a_proof_is_for_its_own_block(light: LightClient, chain: Any) -> None:
    """A proof names its height, and a caller with another header is told."""
    feed(light, chain)
    proof = chain.ledger.proof(1, 0)
    verify_inclusion(proof, light.header(1))
    with pytest.raises(LightClientError, match="for block 2, not 1"):
        verify_inclusion(replace(proof, height=2), light.header(1))


def test_a_receipt_cannot_be_shown_for_another_transaction(
    light: LightClient, chain: Any
) -> None:
    """The failed one's sender cannot show the other's receipt."""
    feed(light, chain)
    good, bad = chain.ledger.proof(1, 0), chain.ledger.proof(1, 1)
    mixed = replace(bad, receipt=good.receipt, receipt_path=good.receipt_path)
    with pytest.raises(LightClientError, match="another root"):
        light.verify_transaction(mixed)
    receipts = [bad.receipt, good.receipt]
    header, seal = sealed(chain, {"receipts_root": merkle.root(receipts)})
    deceived = LightClient(chain.genesis, light.header(0), header_digest(light.header(0)))
    deceived.accept(header, seal, NOW)
    for proof in (good, bad):
        path = tuple(merkle.inclusion_proof(receipts, proof.position))
        swapped = replace(proof, receipt=receipts[proof.position], receipt_path=path)
        with pytest.raises(LightClientError, match="another transaction's"):
            deceived.verify_transaction(swapped)


def test_state_entries_are_proven(light: LightClient, chain: Any) -> None:
    """Presence and absence against the header's state root."""
    feed(light, chain)
    bob = chain.ledger.state_proof("learning", storage_key("balances", b"bob"))
    assert bob.value == encode_value(30)
    light.verify_state(bob, 2)
    nobody = chain.ledger.state_proof("learning", storage_key("balances", b"nobody"))
    assert nobody.value is None
    light.verify_state(nobody, 2)
    for wrong, height in ((replace(bob, value=encode_value(31)), 2), (bob, 0), (bob, 9),
                          (replace(nobody, value=b"\x00"), 2), (replace(bob, value=None), 2)):
        with pytest.raises(LightClientError):
            light.verify_state(wrong, height)


def test_a_pbft_chain_never_changes_its_tip(light: LightClient, chain: Any) -> None:
    """Agreed blocks are final."""
    feed(light, chain)
    with pytest.raises(LightClientError, match="final"):
        light.replace_tip(1, [], NOW)


def test_under_proof_of_work_more_work_wins(make_chain: Callable[..., Any]) -> None:
    """The longest chain, read as most work; a light node changes over to it."""
    one, two = (make_chain(consensus="pow") for _ in range(2))
    client = LightClient(one.genesis, one.ledger.head, header_digest(one.ledger.head))
    one.add([one.transfer(0, b"bob", 1)])
    feed(client, one)
    for _ in range(2):
        two.add([two.transfer(1, b"bob", 1)])
    branch = [(two.ledger.store.header(i), two.ledger.store.seal(i)) for i in (1, 2)]
    with pytest.raises(LightClientError, match="no more work"):
        client.replace_tip(0, branch[:1], NOW)
    with pytest.raises(LightClientError, match="no accepted block"):
        client.replace_tip(5, branch, NOW)
    with pytest.raises(LightClientError, match="follow"):
        client.accept(*branch[0], NOW)
    with pytest.raises(LightClientError):
        client.replace_tip(0, branch[1:], NOW)
    assert client.head == one.ledger.head
    client.replace_tip(0, branch, NOW)
    assert client.head == two.ledger.head
    assert client.confirmations(1) == 2
