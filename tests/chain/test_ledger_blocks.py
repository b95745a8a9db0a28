"""Transactions, blocks, receipts and their codecs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import (
    MAX_CALL_GAS,
    AggregateTransaction,
    Block,
    CallTransaction,
    DeployContract,
    Envelope,
    Genesis,
    Header,
    Receipt,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    TransactionError,
    UpdateTransaction,
    block_size,
    chain_id,
    decode_block,
    decode_envelope,
    decode_genesis,
    decode_header,
    decode_receipt,
    decode_seal,
    device_bits,
    encode_block,
    encode_envelope,
    encode_genesis,
    encode_header,
    encode_receipt,
    encode_seal,
    header_digest,
    sign_transaction,
    transaction_digest,
    verify_envelope,
)
from bdn.chain.blocks import Event
from bdn.chain.contracts.gas import LATEST, gas_table
from bdn.chain.contracts.receipt import Reason
from bdn.chain.seals import ProofOfWork
from bdn.chain.transactions import CALLS, PAYLOADS, call_of
from bdn.encoding import encode, to_plain
from bdn.errors import EncodingError
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import Seal

ALICE = Identity.generate(SeededRandomness(7))
CHAIN = bytes(range(32))

COUNT = st.integers(0, (1 << 63) - 1)
ROOT = st.binary(min_size=32, max_size=32)
ADDRESS = st.binary(min_size=20, max_size=20)
SIGNATURE = st.binary(min_size=64, max_size=64)
TEXT = st.text(max_size=10)
BLOB = {"root": ROOT, "chunks": COUNT, "size": COUNT}
ARGUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3), max_leaves=6)

PAYLOAD = st.one_of(
    st.builds(DeployContract, name=TEXT, source=ROOT),
    st.builds(RegisterDevice, name=TEXT, statement=TEXT, edge=COUNT),
    st.builds(RegisterKey, generation=COUNT, modulus_bits=COUNT, threshold=COUNT, parties=COUNT,
              **BLOB),
    st.builds(UpdateTransaction, epoch=COUNT, phase=TEXT, sample_count=COUNT, local_ms=COUNT,
              **BLOB),
    st.builds(AggregateTransaction, epoch=COUNT, phase=TEXT, total_samples=COUNT,
              contributors=st.sets(st.integers(0, 99), max_size=3).map(device_bits), **BLOB),
    st.builds(ShareTransaction, epoch=COUNT, phase=TEXT, index=COUNT, **BLOB),
    st.builds(CallTransaction, contract=TEXT, function=TEXT,
              arguments=st.lists(ARGUMENT, max_size=3).map(tuple)),
)
ENVELOPE = st.builds(
    lambda payload, nonce, gas: sign_transaction(ALICE, CHAIN, nonce, gas, payload),
    PAYLOAD, COUNT, COUNT)
HEADER = st.builds(
    Header, chain=ROOT, height=COUNT, epoch=COUNT,
    kind=st.sampled_from(("genesis", "candidate", "auxiliary")), parent=ROOT,
    transactions_root=ROOT, state_root=ROOT, receipts_root=ROOT, generation_rate=COUNT,
    proposer=ADDRESS, time=COUNT)
BLOCK = st.builds(Block, HEADER, st.lists(ENVELOPE, max_size=3).map(tuple),
                  st.none() | ENVELOPE)
RECEIPT = st.builds(
    Receipt, transaction=ROOT, ok=st.booleans(), status=TEXT, gas_used=COUNT, result=ARGUMENT,
    events=st.lists(st.builds(Event, TEXT, TEXT, st.dictionaries(TEXT, ARGUMENT, max_size=2)),
                    max_size=2).map(tuple),
    reason=st.none() | st.builds(Reason, TEXT, st.lists(TEXT, max_size=2).map(tuple), TEXT,
                                 st.none() | st.integers(0, 2**32 - 1)))
SEAL = st.one_of(
    st.builds(Seal, view=COUNT, sequence=COUNT, digest=ROOT,
              signatures=st.lists(st.tuples(COUNT, SIGNATURE), max_size=3).map(tuple)),
    st.builds(ProofOfWork, digest=ROOT, difficulty=COUNT.filter(bool), nonce=COUNT, work=ROOT))

CODECS = [
    (ENVELOPE, encode_envelope, decode_envelope), (HEADER, encode_header, decode_header),
    (BLOCK, encode_block, decode_block), (RECEIPT, encode_receipt, decode_receipt),
    (SEAL, encode_seal, decode_seal),
]


@pytest.mark.parametrize("codec", CODECS, ids=["envelope", "header", "block", "receipt", "seal"])
@given(data=st.data())
def test_records_come_back_from_their_bytes(codec: Any, data: st.DataObject) -> None:
    """One value, one encoding, for everything that is stored or sent."""
    values, encode, decode = codec
    value = data.draw(values)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("codec", CODECS, ids=["envelope", "header", "block", "receipt", "seal"])
@given(data=st.data())
def test_altered_bytes_are_another_record_or_one_error(codec: Any, data: st.DataObject) -> None:
    """Whatever decodes encodes to the same bytes; the rest is an `EncodingError`."""
    values, encode, decode = codec
    encoded = bytearray(encode(data.draw(values)))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        again = decode(bytes(encoded))
    except EncodingError:
        return
    assert encode(again) == bytes(encoded)


@given(ENVELOPE, st.data())
def test_a_signature_covers_every_field(envelope: Envelope, data: st.DataObject) -> None:
    """Chain, sender, nonce, gas limit and payload are all signed."""
    verify_envelope(envelope, CHAIN)
    other = data.draw(PAYLOAD.filter(lambda payload: payload != envelope.payload))
    for change in (
        {"nonce": envelope.nonce ^ 1}, {"gas_limit": envelope.gas_limit ^ 1}, {"payload": other},
        {"sender": Identity.generate(SeededRandomness(8)).public_key},
        {"signature": bytes(64)},
    ):
        with pytest.raises(TransactionError, match="signature"):
            verify_envelope(replace(envelope, **change), CHAIN)
    with pytest.raises(TransactionError, match="out of range"):
        verify_envelope(replace(envelope, nonce=1 << 63), CHAIN)
    with pytest.raises(TransactionError, match="another chain"):
        verify_envelope(envelope, bytes(32))
    with pytest.raises(TransactionError, match="signature"):
        verify_envelope(replace(envelope, chain=bytes(32)), bytes(32))


def test_transactions_have_a_size_limit() -> None:
    """STYLE: limits on everything; ciphertexts are blobs."""
    call = CallTransaction("a", "b", (bytes(1 << 19),))
    with pytest.raises(TransactionError, match="belong into a blob"):
        verify_envelope(sign_transaction(ALICE, CHAIN, 0, 1, call), CHAIN)


def test_a_signature_counts_only_as_a_transaction() -> None:
    """Ground floor: a signature under another domain is no transaction."""
    envelope = sign_transaction(ALICE, CHAIN, 0, 1, CallTransaction("a", "b", ()))
    forged = replace(envelope, signature=ALICE.sign("bdn/commit", encode_envelope(envelope)))
    with pytest.raises(TransactionError):
        verify_envelope(forged, CHAIN)


@pytest.mark.parametrize("fields", [
    {"sample_count": -1}, {"epoch": 1 << 63}, {"root": b"short"}, {"local_ms": -5},
    {"size": -1}, {"chunks": 1 << 64},
], ids=repr)
def test_payloads_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    """STYLE: limits on everything, at construction and so at decoding."""
    good = {"epoch": 1, "phase": "weights", "sample_count": 3, "local_ms": 4,
            "root": bytes(32), "chunks": 1, "size": 2}
    UpdateTransaction(**good)
    with pytest.raises(ValueError, match=r"outside|bytes"):
        UpdateTransaction(**{**good, **fields})


def test_arguments_of_calls_are_frozen() -> None:
    """A record is immutable, so lists become tuples; what contracts cannot have is refused."""
    call = CallTransaction("learning", "f", (1, [2, [b"3"]], None))
    assert call.arguments == (1, (2, (b"3",)), None)
    assert call_of(call, ALICE.public_key).arguments == (1, [2, [b"3"]], None)
    for wrong in (1.5, {"a": 1}, object()):
        with pytest.raises(ValueError, match="argument"):
            CallTransaction("learning", "f", (wrong,))


def test_each_payload_has_one_call() -> None:
    """The table covers all payloads but deployment and the free call."""
    assert set(CALLS) == set(PAYLOADS.values()) - {DeployContract, CallTransaction}
    call = call_of(RegisterDevice("d", "mine", 2), ALICE.public_key)
    assert (call.contract, call.function) == ("learning", "register_device")
    assert call.arguments == (ALICE.public_key, "d", "mine", 2, 0)
    for contract, function, _ in CALLS.values():
        with pytest.raises(TransactionError, match="not open"):
            call_of(CallTransaction(contract, function, ()), ALICE.public_key)
    with pytest.raises(TransactionError, match="not open"):
        call_of(CallTransaction("learning", "initialize", ()), ALICE.public_key)


@given(BLOCK, SEAL)
def test_size_is_h_plus_sn_plus_aggregate_plus_seal(block: Block, seal: Seal) -> None:
    """Paper, section 4.2, mended: size = h + S·n + |Tx_co| + seal, blobs included."""
    size = block_size(block, encode_seal(seal))
    updates = [e for e in block.transactions if isinstance(e.payload, UpdateTransaction)]

    def bytes_of(envelope: Envelope) -> int:
        return len(encode_envelope(envelope)) + getattr(envelope.payload, "size", 0)

    h, n = len(encode_header(block.header)), len(updates)
    rest = sum(bytes_of(e) for e in block.transactions) - sum(map(bytes_of, updates))
    aggregate = bytes_of(block.aggregate) if block.aggregate else 0
    assert (size.header, size.updates, size.aggregate) == (h, n, aggregate)
    assert size.average_update * n == sum(map(bytes_of, updates))
    assert size.total == h + size.average_update * n + aggregate + len(encode_seal(seal)) + rest


def test_size_is_what_the_store_holds(chain: Any) -> None:
    """The formula counts the very bytes that lie in the store."""
    candidate = chain.add_epoch(1)
    raw = chain.ledger.store.raw(1)
    roots = [e.payload.root for e in candidate.block.envelopes]
    stored = len(raw.header) + len(raw.seal) + sum(len(e) for e, _ in raw.transactions)
    stored += sum(len(chain.ledger.blob(root)) for root in roots)
    assert block_size(candidate.block, raw.seal).total == stored


@given(HEADER, HEADER)
def test_digests_name_headers(a: Header, b: Header) -> None:
    """The header's digest is the block's name."""
    assert (header_digest(a) == header_digest(b)) == (a == b)


def test_transaction_digests_name_signed_transactions() -> None:
    """Two transactions that differ anywhere have two names."""
    one = sign_transaction(ALICE, CHAIN, 0, 1, CallTransaction("a", "b", (1,)))
    two = sign_transaction(ALICE, CHAIN, 0, 1, CallTransaction("a", "b", (True,)))
    assert transaction_digest(one) != transaction_digest(two)


def test_the_chain_id_binds_the_genesis_record(chain: Any) -> None:
    """Chain id, edges, balances, contract sources and settings hang together."""
    genesis: Genesis = chain.genesis
    assert decode_genesis(encode_genesis(genesis)) == genesis
    for change in ({"name": "x"}, {"salt": b"x"}, {"gas_limit": 5}, {"edges": genesis.edges[1:]},
                   {"balances": ()}, {"contracts": genesis.contracts[:1]}, {"time": 0},
                   {"generation_rate": 1}, {"settings": {}}, {"consensus": "pow"}):
        assert chain_id(replace(genesis, **change)) != chain_id(genesis)


@pytest.mark.parametrize("change", [
    {"edges": ()}, {"edges": (bytes(31),)}, {"edges": (bytes(32), bytes(32))},
    {"consensus": "votes"}, {"contracts": (("ledger", ""),)}, {"contracts": (("", ""),)},
    {"contracts": (("a", ""), ("a", ""))}, {"balances": ((b"a", -1),)},
    {"balances": ((b"a", 1), (b"a", 1))}, {"balances": ((b"", 1),)}, {"gas_limit": 0},
    {"gas_limit": MAX_CALL_GAS + 1}, {"generation_rate": 0}, {"time": -1},
], ids=repr)
def test_impossible_genesis_records_are_refused(chain: Any, change: dict[str, Any]) -> None:
    """A caller's mistake is refused before any key signs it."""
    with pytest.raises(ValueError):
        replace(chain.genesis, **change)


def test_a_genesis_that_allows_calls_without_end_is_refused_in_one_line(chain: Any) -> None:
    """Otherwise one transaction that loops keeps a verifier busy for years."""
    fields = to_plain(chain.genesis) | {"gas_limit": 1 << 62}
    with pytest.raises(EncodingError, match=f"a gas limit of .*; choose 1 to {MAX_CALL_GAS}"):
        decode_genesis(encode(fields))


def test_the_largest_gas_limit_pays_for_a_thousand_updates_of_8_mb() -> None:
    """With their norm proofs: what the documentation of `MAX_CALL_GAS` says."""
    table = gas_table(LATEST)
    each = table.verified_byte + table.added_byte + table.bounded_byte
    assert 1000 * (table.sealed + table.bounded + 8_000_000 * each) <= MAX_CALL_GAS
