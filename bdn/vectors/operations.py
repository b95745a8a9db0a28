"""What the cases of all files ask: one function per operation, bytes as hexadecimal texts.

Each docstring goes into the files, so it states the input and the output for people who have
docs/format.md and no code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from gmpy2 import mpz

from bdn.chain import (
    Envelope,
    Genesis,
    Header,
    Ledger,
    ProofOfWork,
    apply_sealed_block,
    chain_id,
    decode_block,
    decode_envelope,
    decode_genesis,
    decode_seal,
    encode_envelope,
    encode_seal,
    header_digest,
    merkle,
    mine,
    sign_transaction,
    transaction_digest,
    verify_blob,
    verify_envelope,
)
from bdn.chain.blocks import Receipt, encode_receipt
from bdn.chain.contracts import compile_contract
from bdn.chain.contracts.gas import LATEST, GasTable, gas_table
from bdn.chain.contracts.machine import MemoryState
from bdn.chain.contracts.values import decode_value, encode_value, to_plain
from bdn.chain.ledger import SealedBlock
from bdn.chain.light import InclusionProof
from bdn.chain.seals import next_difficulty, verify_work, work_of
from bdn.chain.state import LedgerState, StateProof, verify_state
from bdn.chain.transactions import DeployContract, Payload, call_of
from bdn.encoding import (
    NAMED,
    decode,
    decode_as,
    decode_record,
    digest,
    encode,
    transcript,
)
from bdn.errors import EncodingError, UsageError
from bdn.identity import Identity, verify_ed25519, verify_signature
from bdn.nodes.ciphers import Ciphers, key_in, share_session, update_context
from bdn.nodes.device.keyring import wrap_context
from bdn.nodes.device.opening import holder_context
from bdn.nodes.group_key import (
    ExchangeKey,
    open_for_group,
    seal_for_group,
    unwrap,
    wrap,
)
from bdn.nodes.participation import rank
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import VectorHost
from bdn.paillier import Ciphertext, KeyShare, PublicKey, VectorCipher, vector_cipher
from bdn.paillier.batch import PlaintextProof, prove_plaintexts, verify_plaintexts
from bdn.paillier.joint.public import v_and_seed
from bdn.paillier.keys import derive_h, djn_table, unpack_values
from bdn.paillier.threshold import PartialVector, combine_many, partially_decrypt_many
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import Replies, Snapshot, type_name
from bdn.pbft.signing import Ed25519Signing, statement, verify_message
from bdn.pbft.wire import checkpoint_digest, decode_message
from bdn.pbft.wire import decode_as as decode_pbft
from bdn.randomness import ByteStream
from bdn.seal import Seal, commit_statement, quorum, verify_seal
from bdn.vectors.vector_set import number

raw = bytes.fromhex


class GivenBytes(ByteStream):
    """Randomness that was written down; raises `UsageError` at its end."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def bytes(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > len(self._left):
            raise UsageError("the given randomness ends too early")
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def substream(self, name: str) -> "GivenBytes":  # noqa: ARG002 - all of it is given
        """Return itself."""
        return self


# --- encoding, digests, trees -------------------------------------------------------------------


def typed(value: Any) -> Any:
    """Return a plain value as JSON with its type beside it."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return {"int": str(value)}
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if type(value) is str:
        return {"text": value}
    if isinstance(value, dict):
        return {"map": [[key, typed(item)] for key, item in value.items()]}
    return {"list": [typed(item) for item in value]}


def untyped(item: Any) -> Any:
    """Return the value that `typed` wrote."""
    if item is None or type(item) is bool:
        return item
    (kind, value), = item.items()
    readers: dict[str, Callable[[Any], Any]] = {
        "int": int, "bytes": raw, "text": str, "list": lambda v: [untyped(each) for each in v],
        "map": lambda v: {key: untyped(each) for key, each in v}}
    return readers[kind](value)


def encode_plain(value: Any) -> str:
    """Encode a value (section 1). A value is null, true, false, {"int": decimal}, {"bytes": hex},
    {"text": text}, {"list": [...]} or {"map": [[key, value], ...]}. Output: its encoding."""
    return encode(untyped(value)).hex()


def decode_plain(cbor: str) -> Any:
    """Decode bytes that may be any value (section 1). Output: the value, as for encode."""
    return typed(decode(raw(cbor)))


def recode(cbor: str) -> str:
    """Decode bytes that may be any value (section 1) and encode the value again."""
    return encode(decode(raw(cbor))).hex()


def transcript_of(domain: str, parts: Sequence[str]) -> str:
    """Return the transcript (section 2)."""
    return transcript(domain, *map(raw, parts)).hex()


def digest_of(domain: str, parts: Sequence[str]) -> str:
    """Return the digest (section 2)."""
    return digest(domain, *map(raw, parts)).hex()


def merkle_root(leaves: Sequence[str]) -> str:
    """Return the Merkle root of leaves (section 6)."""
    return merkle.root([raw(leaf) for leaf in leaves]).hex()


def merkle_path(leaf: str, index: int, size: int, path: Sequence[str], root: str) -> str:
    """Verify an inclusion path from a leaf to a root (RFC 9162, 2.1.3.2). Output: valid."""
    merkle.verify_inclusion(merkle.leaf_hash(raw(leaf)), index, size, [raw(x) for x in path],
                            raw(root))
    return "valid"


def merkle_consistency(
    old_size: int, new_size: int, old_root: str, new_root: str, path: Sequence[str]
) -> str:
    """Verify a consistency path between two roots (RFC 9162, 2.1.4.2). Output: valid."""
    merkle.verify_consistency(old_size, new_size, raw(old_root), raw(new_root),
                              [raw(x) for x in path])
    return "valid"


def blob(data: str, root: str, chunks: int, size: int) -> str:
    """Verify that data is the blob which a payload names (section 6). Output: valid."""
    verify_blob(raw(data), raw(root), chunks, size)
    return "valid"


def state_root(writes: Sequence[Sequence[Any]]) -> str:
    """Return the state root after writes [contract, key, value] in order, null deleting (section
    8)."""
    state = LedgerState()
    for contract, key, value in writes:
        state = state.apply({(contract, raw(key)): None if value is None else raw(value)})
    return state.root.hex()


def state_proof(proof: str, root: str) -> Any:
    """Verify an encoded StateProof against a state root (section 8). Output: the value, or null
    where absence is proven."""
    found = decode_record(StateProof, raw(proof))
    verify_state(found, raw(root))
    return None if found.value is None else found.value.hex()


# --- identities ---------------------------------------------------------------------------------


def identity(seed: str) -> Any:
    """Make the Ed25519 key of a 32-byte seed. Output: public_key and address (section 3)."""
    made = Identity.from_secret(raw(seed))
    return {"public_key": made.public_key.hex(), "address": made.address.hex()}


def sign(seed: str, domain: str, message: str) -> str:
    """Sign a message under a domain (sections 2 and 3). Output: the signature."""
    return Identity.from_secret(raw(seed)).sign(domain, raw(message)).hex()


def verify(public_key: str, domain: str, message: str, signature: str) -> str:
    """Verify a signature under a domain (section 3). Output: valid."""
    verify_signature(raw(public_key), domain, raw(message), raw(signature))
    return "valid"


def verify_bare(public_key: str, message: str, signature: str) -> str:
    """Verify an Ed25519 signature of the message itself by the rule of section 3. Output: valid."""
    verify_ed25519(raw(public_key), raw(message), raw(signature))
    return "valid"


def draw_rank(seed: str, address: str) -> str:
    """Return a device's rank in a draw (section 16)."""
    return rank(raw(seed), raw(address)).hex()


# --- transactions and the ledger ----------------------------------------------------------------


def signed_transaction(seed: str, chain: str, nonce: int, gas_limit: int, payload: str) -> str:
    """Sign a payload, given as an encoded named value, with the key of a seed (section 4). Output:
    the encoded envelope."""
    decoded = decode_as(_NAMED_PAYLOAD, raw(payload))
    return encode_envelope(sign_transaction(
        Identity.from_secret(raw(seed)), raw(chain), nonce, gas_limit, decoded)).hex()


_NAMED_PAYLOAD = Annotated[Payload, NAMED]


def transaction(envelope: str, chain: str) -> Any:
    """Decode an envelope and verify it for a chain (section 4). Output: digest, the sender's
    address, nonce, gas_limit, and call: [contract, function, encoded list of arguments], or null
    for a DeployContract."""
    decoded = decode_envelope(raw(envelope))
    verify_envelope(decoded, raw(chain))
    return {"digest": transaction_digest(decoded).hex(), "address": decoded.address.hex(),
            "nonce": decoded.nonce, "gas_limit": number(decoded.gas_limit),
            "call": _call(decoded)}


def _call(envelope: Envelope) -> Any:
    if isinstance(envelope.payload, DeployContract):
        return None
    call = call_of(envelope.payload, envelope.sender)
    return [call.contract, call.function, encode(list(call.arguments)).hex()]


def genesis(record: str) -> Any:
    """Decode a genesis record (section 5). Output: the chain id and the edge servers' addresses."""
    decoded: Genesis = decode_genesis(raw(record))
    return {"chain": chain_id(decoded).hex(), "edges": [x.hex() for x in decoded.edge_addresses]}


def header(record: str) -> str:
    """Decode a header (section 6). Output: its digest."""
    return header_digest(decode_record(Header, raw(record))).hex()


def ledger(
    record: str, blocks: Sequence[Mapping[str, Any]], change: Sequence[Any] | None = None
) -> Any:
    """Verify a ledger: a genesis record and blocks, each with block, seal (null for genesis) and
    the blobs that it names (sections 4 to 16), after a change: [block, "block", "seal" or "blobs",
    which blob, byte], whose lowest bit is turned. Output: for each block the header's digest, the
    encoded receipts, and the cells that it changes as [contract, key, value or null]."""
    if change is not None:
        blocks = _changed(blocks, *change)
    first = decode_genesis(raw(record))
    settings = Settings.from_plain(first.settings)
    known: dict[bytes, bytes] = {}
    ciphers = Ciphers(chain_id(first), settings, key_in(known.__getitem__))
    host = VectorHost(ciphers, known.__getitem__)
    book = Ledger.create(":memory:", first, decode_block(raw(blocks[0]["block"])), host.functions)
    try:
        told = [_told(book, 0)]
        for each in blocks[1:]:
            blobs = [raw(data) for data in each["blobs"]]
            known |= {merkle.blob_root(data): data for data in blobs}
            apply_sealed_block(book, SealedBlock(raw(each["block"]), raw(each["seal"])), blobs)
            told.append(_told(book, book.height))
    finally:
        book.close()
    return told


def _changed(
    blocks: Sequence[Mapping[str, Any]], height: int, part: str, which: int, at: int
) -> Sequence[Mapping[str, Any]]:
    block = {**blocks[height], "blobs": list(blocks[height]["blobs"])}
    data = bytearray(raw(block["blobs"][which] if part == "blobs" else block[part]))
    data[at] ^= 1
    if part == "blobs":
        block["blobs"][which] = data.hex()
    else:
        block[part] = data.hex()
    return [*blocks[:height], block, *blocks[height + 1:]]


def _told(book: Ledger, height: int) -> Any:
    store = book.store
    receipts: Sequence[Receipt] = store.receipts(height)
    return {"digest": header_digest(store.header(height)).hex(),
            "receipts": [encode_receipt(receipt).hex() for receipt in receipts],
            "cells": [[contract.decode(), key.hex(), None if value is None else value.hex()]
                      for contract, key, value in store.writes(height)]}


def inclusion(proof: str, header: str) -> str:
    """Verify an encoded InclusionProof against a trusted header (section 8). Output: valid."""
    from bdn.chain.light import verify_inclusion

    verify_inclusion(decode_record(InclusionProof, raw(proof)), decode_record(Header, raw(header)))
    return "valid"


# --- seals and PBFT -----------------------------------------------------------------------------


def quorum_of(n: int) -> Any:
    """Return f and q of n edge servers (section 7)."""
    return {"f": (n - 1) // 3, "q": quorum(n)}


def commit(instance: str, view: int, sequence: int, digest: str) -> str:
    """Return the COMMIT statement (section 7)."""
    return commit_statement(raw(instance), view, sequence, raw(digest)).hex()


def seal(seal: str, instance: str, replicas: Sequence[str]) -> Any:
    """Verify an encoded Seal against the edge servers' public keys (section 7). Output: view,
    sequence and digest."""
    found = decode_seal(raw(seal))
    if not isinstance(found, Seal):
        raise EncodingError("no Seal")
    verify_seal(found, raw(instance), [raw(key) for key in replicas])
    return {"view": number(found.view), "sequence": number(found.sequence),
            "digest": found.digest.hex()}


def pbft_message(message: str, instance: str, replicas: Sequence[str]) -> Any:
    """Decode a PBFT message and verify its own signature (section 17); signatures inside it are
    not looked at. Output: type, domain, statement."""
    decoded = decode_message(raw(message))
    cluster = Cluster(raw(instance), tuple(map(raw, replicas)))
    verify_message(decoded, cluster, Ed25519Signing(Identity.from_secret(bytes(32))))
    domain, text = statement(raw(instance), decoded)
    return {"type": type_name(decoded), "domain": domain, "statement": text.hex()}


def checkpoint(state: str, replies: str) -> str:
    """Return a CHECKPOINT's digest for a state digest and an encoded list of replies (section
    17)."""
    return checkpoint_digest(Snapshot(b"", raw(state), decode_pbft(Replies, raw(replies)))).hex()


# --- proof of work ------------------------------------------------------------------------------


def mined(header: str, difficulty: int | str, start: int) -> str:
    """Find the first proof of work of a header at or after a nonce (section 7). Output: the
    encoded proof."""
    return encode_seal(mine(decode_record(Header, raw(header)), int(difficulty), start)).hex()


def work(seal: str, header_digest: str, difficulty: int | str) -> str:
    """Verify an encoded ProofOfWork for a header and the difficulty that is due (section 7).
    Output: valid."""
    found = decode_seal(raw(seal))
    if not isinstance(found, ProofOfWork) or found.digest != raw(header_digest):
        raise EncodingError("no proof of work for that header")
    verify_work(found, int(difficulty))
    return "valid"


def work_hash(header_digest: str, difficulty: int | str, nonce: int | str) -> str:
    """Return the hash of a proof of work (section 7)."""
    return work_of(raw(header_digest), int(difficulty), int(nonce)).hex()


def difficulty(difficulty: int | str, interval: int, generation_rate: int) -> Any:
    """Return the next difficulty after the two blocks before stood interval milliseconds apart
    (section 7)."""
    return number(next_difficulty(int(difficulty), interval, generation_rate))


# --- contracts ----------------------------------------------------------------------------------


def contract_call(
    source: Sequence[str], function: str, arguments: str, gas: int | str, others: Any = None,
    state: Sequence[Any] = (),
) -> Any:
    """Call a function of the contract "main", whose source is the joined lines, on a state of
    [contract, key, value] entries, with an encoded list of contract values as arguments; others are
    contracts by name. The sender is twenty bytes 01, the context's fields are 0 or empty.
    Output: ok, status, gas_used, result (encoded), events [[contract, name, encoded fields]],
    reason [code, arguments, contract, line] or null, and the state's root afterwards."""
    texts = {"main": "\n".join(source) + "\n", **{
        name: "\n".join(lines) + "\n" for name, lines in (others or {}).items()}}
    compiled = {name: compile_contract(text, name) for name, text in texts.items()}
    memory = MemoryState()
    for name, key, value in state:
        memory.put(name, raw(key), raw(value))
    receipt = compiled["main"].call(function, decode_value(raw(arguments)), gas=int(gas),
                                    sender=bytes([1]) * 20, state=memory, contracts=compiled,
                                    host={"refuses": _Refuses()})
    reason = receipt.reason
    return {
        "ok": receipt.ok, "status": receipt.status, "gas_used": number(receipt.gas_used),
        "result": encode_value(receipt.result).hex(),
        "events": [[event.contract, event.name,
                    encode({key: to_plain(item) for key, item in event.fields.items()}).hex()]
                   for event in receipt.events],
        "reason": None if reason is None else [reason.code, list(reason.arguments),
                                               reason.contract, reason.line],
        "state": LedgerState().apply(memory.entries).root.hex()}


def update_price(size: int, bounded: bool) -> Any:
    """Return the price of verify_update and of weighted_sum for one update of size bytes (section
    10); bounded says whether a norm bound holds in its phase."""
    settings = Settings(
        rule="sgd", iterations=1, epochs=1, step_size=0.1, batch_size=1, tolerance=0.0, classes=2,
        model_size=3, cipher="packed", value_bits=12, weight_clip=1.0, gradient_clip=1.0,
        loss_clip=8.0, total_weight=20, devices=3, threshold=1, key_holders=3,
        minimum_contributors=2, sample_ratio=10, samples_per_second=1000, deadline_ms=1000,
        gather_ms=100, data_reward=2, processing_reward=30, confirmations=0, difficulty=16,
        norm_bound=(1.0,) if bounded else ())
    functions = VectorHost(Ciphers(bytes(32), settings, lambda root: root), lambda root: root
                           ).functions()
    update = {"root": bytes(32), "chunks": 3, "size": size, "samples": 5, "local_ms": 1}
    table, terms = gas_table(LATEST), [b"", b""]
    return {
        "verify_update": number(functions["verify_update"].price(
            [terms, 1, "weights", bytes(20), update], table)),
        "weighted_sum": number(functions["weighted_sum"].price(
            [terms, 1, "weights", [update]], table))}


class _Refuses:
    """A host function that costs nothing and always refuses."""

    def price(self, args: Sequence[Any], table: GasTable) -> int:  # noqa: ARG002 - protocol
        return 0

    def __call__(self, args: Sequence[Any]) -> Any:  # noqa: ARG002 - protocol
        raise UsageError("it always refuses")


def receipt_record(record: str) -> str:
    """Decode a receipt (section 9) and encode it again. Output: the encoding."""
    return encode_receipt(decode_record(Receipt, raw(record))).hex()


def contract_value(cbor: str) -> str:
    """Decode a contract value (section 8) and encode it again. Output: the encoding."""
    return encode_value(decode_value(raw(cbor))).hex()


# --- Paillier -----------------------------------------------------------------------------------


def paillier_key(key: str) -> Any:
    """Decode a public key and check it (section 11). Output: digest and h."""
    made = PublicKey.from_bytes(raw(key))
    made.check()
    return {"digest": made.digest.hex(), "h": str(derive_h(made.N, made.seed))}


def encrypt(key: str, plaintext: int | str, r: str) -> str:
    """Encrypt in the reference mode with nonce r (section 11). Output: the ciphertext in its fixed
    width."""
    return PublicKey.from_bytes(raw(key)).encrypt(int(plaintext), int(r)).to_bytes().hex()


def encrypt_fast(key: str, plaintext: int | str, a: str) -> str:
    """Encrypt in the fast mode with exponent a (section 11). Output: as for encrypt."""
    made = PublicKey.from_bytes(raw(key))
    return Ciphertext(made, int(djn_table(made).power(int(a), int(plaintext)))).to_bytes().hex()


def ciphertext(key: str, value: str) -> str:
    """Check that a value in its fixed width is a ciphertext (section 11). Output: valid."""
    Ciphertext.from_bytes(PublicKey.from_bytes(raw(key)), raw(value))
    return "valid"


def prove_contents(
    key: str, ciphertexts: str, plaintexts: Sequence[str], nonces: Sequence[str], context: str,
    randomness: str,
) -> str:
    """Prove knowledge of plaintexts, with nonces a_j, drawing from the given bytes (section 11).
    Output: the encoded proof."""
    made = PublicKey.from_bytes(raw(key))
    return prove_plaintexts(
        made, unpack_values(made, raw(ciphertexts)), list(map(int, plaintexts)),
        list(map(int, nonces)), raw(context), GivenBytes(raw(randomness))).to_bytes().hex()


def verify_contents(key: str, ciphertexts: str, context: str, proof: str) -> str:
    """Verify a plaintext proof (section 11). Output: valid."""
    made = PublicKey.from_bytes(raw(key))
    verify_plaintexts(made, unpack_values(made, raw(ciphertexts)),
                      PlaintextProof.from_bytes(raw(proof)), raw(context))
    return "valid"


def make_part(
    key: str, index: int, secret: str, ciphertexts: str, session: str, randomness: str
) -> str:
    """Make party index's PartialVector from its secret s_i, drawing from the given bytes (section
    11). Output: its encoding."""
    made = PublicKey.from_bytes(raw(key))
    return partially_decrypt_many(
        KeyShare(made, index, int(secret)), unpack_values(made, raw(ciphertexts)), raw(session),
        GivenBytes(raw(randomness)), threads=1).to_bytes(made).hex()


def open_parts(key: str, ciphertexts: str, session: str, parts: Sequence[str]) -> Any:
    """Verify PartialVectors and open the ciphertexts with the right ones (section 11). Output: the
    plaintexts in [0, N) in decimal."""
    made = PublicKey.from_bytes(raw(key))
    found = [PartialVector.from_bytes(made, raw(part)) for part in parts]
    return [str(M) for M in combine_many(
        made, unpack_values(made, raw(ciphertexts)), found, raw(session), threads=1)]


def joint_base(modulus: str, coins: str) -> Any:
    """Return v and the seed of a joint key of modulus N, hashed from 32 bytes of common coins."""
    v, seed = v_and_seed(mpz(modulus), raw(coins))
    return {"v": str(v), "seed": seed.hex()}


# --- the vector ciphers -------------------------------------------------------------------------


def _cipher(key: str, cipher: Mapping[str, Any]) -> VectorCipher:
    made = PublicKey.from_bytes(raw(key))
    options = {name: value for name, value in cipher.items() if name not in ("name", "seed")}
    return vector_cipher(cipher["name"], made, seed=raw(cipher["seed"]), **options)


def seal_vector(
    key: str, cipher: Any, levels: Sequence[int], weight: int, context: str, entropy: str
) -> Any:
    """Seal signed levels q (sections 13 to 15) with 32 bytes of entropy. cipher holds name, seed,
    length, clip (a number or a list of numbers), value_bits, total_weight, contributors, and for a
    norm bound norm_bound, largest_bound and singles. Output: the Merkle root of the leaves, which
    stand among the constants."""
    return merkle.root(leaves_of_sealed(key, cipher, levels, weight, context, entropy)).hex()


def leaves_of_sealed(
    key: str, cipher: Any, levels: Sequence[int], weight: int, context: str, entropy: str
) -> list[bytes]:
    """Return the leaves that `seal_vector` is about."""
    made = _cipher(key, cipher)
    encoded = np.array(levels, dtype=np.int64) + made.code.offset
    return made.seal_encoded(
        encoded, weight, GivenBytes(raw(entropy)), raw(context)).leaves()


def quantise(key: str, cipher: Any, vector: Sequence[float]) -> Any:
    """Return the signed levels of a vector (section 13)."""
    return _cipher(key, cipher).quantise(np.array(vector)).tolist()


def verify_vector(
    key: str, cipher: Any, leaves: Sequence[str], weight: int, context: str,
    change: Sequence[Any] | None = None,
) -> str:
    """Verify a sealed vector's leaves for a stated weight and context (sections 13 to 15), after a
    change: ["byte", leaf, position (from the end, if negative), mask] combines a byte and a mask by
    exclusive or, ["drop", leaf] leaves one out, ["swap", leaf, leaf] exchanges two. Output:
    valid."""
    made = _cipher(key, cipher)
    made.verify(made.sealed_from_leaves(_with_change(leaves, change)), raw(context), weight)
    return "valid"


def _with_change(leaves: Sequence[str], change: Sequence[Any] | None) -> list[bytes]:
    data = [raw(leaf) for leaf in leaves]
    match change:
        case ["byte", leaf, at, mask]:
            changed = bytearray(data[leaf])
            changed[at] ^= mask
            data[leaf] = bytes(changed)
        case ["drop", leaf]:
            del data[leaf]
        case ["swap", one, two]:
            data[one], data[two] = data[two], data[one]
    return data


def add_vectors(
    key: str, cipher: Any, vectors: Sequence[Sequence[str]], weights: Sequence[int]
) -> Any:
    """Add sealed vectors, Eq. (5) (sections 14 and 15). Output: the Merkle root of the sum's
    leaves, which stand among the constants."""
    return merkle.root(leaves_of_sum(key, cipher, vectors, weights)).hex()


def leaves_of_sum(
    key: str, cipher: Any, vectors: Sequence[Sequence[str]], weights: Sequence[int]
) -> list[bytes]:
    """Return the leaves that `add_vectors` is about."""
    made = _cipher(key, cipher)
    sealed = [made.sealed_from_leaves([raw(leaf) for leaf in leaves]) for leaves in vectors]
    return made.weighted_sum(sealed, weights).leaves()


def share_of_sum(
    key: str, cipher: Any, total: Sequence[str], index: int, secret: str, session: str,
    randomness: str,
) -> str:
    """Make party index's VectorShare of a sealed sum (section 15), drawing from the given bytes.
    Output: its encoding."""
    made = _cipher(key, cipher)
    return made.partially_decrypt(
        KeyShare(made.public_key, index, int(secret)),
        made.sum_from_leaves([raw(leaf) for leaf in total]), raw(session),
        GivenBytes(raw(randomness))).to_bytes().hex()


def open_sum(
    key: str, cipher: Any, total: Sequence[str], shares: Sequence[str], session: str,
    change: Sequence[Any] | None = None,
) -> Any:
    """Open a sealed sum with VectorShares (sections 14 and 15), after a change as for
    verify_vector. Output: the exact sums of weighted
    levels."""
    made = _cipher(key, cipher)
    opened = made.open_integers(made.sum_from_leaves(_with_change(total, change)),
                                [made.share_from_bytes(raw(share)) for share in shares],
                                raw(session))
    return opened.tolist()


def contexts(chain: str, epoch: int, phase: str, address: str, index: int, device: int) -> Any:
    """Return the context of an update, the session of an opening, the holder context of a share,
    and the associated data of a wrapped key (sections 12 and 16)."""
    session = share_session(raw(chain), epoch, phase)
    return {"update": update_context(raw(chain), epoch, phase, raw(address)).hex(),
            "share": session.hex(), "holder": holder_context(session, index, raw(address)).hex(),
            "wrap": wrap_context(raw(chain), device).hex()}


# --- the group key ------------------------------------------------------------------------------


def wrap_key(group_key: str, recipient: str, context: str, ephemeral: str) -> str:
    """Wrap a group key to an X25519 public key, with a given ephemeral secret (section 16)."""
    return wrap(raw(group_key), raw(recipient), raw(context), GivenBytes(raw(ephemeral))).hex()


def unwrap_key(wrapped: str, secret: str, context: str) -> str:
    """Unwrap a group key with an X25519 secret (section 16). Output: the group key."""
    return unwrap(raw(wrapped), ExchangeKey.from_secret(raw(secret)), raw(context)).hex()


def seal_share(group_key: str, plaintext: str, context: str, nonce: str) -> str:
    """Seal bytes for the group under a holder context, with a given nonce (section 16)."""
    return seal_for_group(raw(group_key), raw(plaintext), raw(context),
                          GivenBytes(raw(nonce))).hex()


def open_share(group_key: str, sealed: str, context: str) -> str:
    """Open what was sealed for the group (section 16). Output: the bytes."""
    return open_for_group(raw(group_key), raw(sealed), raw(context)).hex()


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "encode": encode_plain, "decode": decode_plain, "recode": recode, "transcript": transcript_of,
    "digest": digest_of, "merkle_root": merkle_root, "merkle_path": merkle_path,
    "merkle_consistency": merkle_consistency, "blob": blob, "state_root": state_root,
    "state_proof": state_proof, "identity": identity, "sign": sign, "verify": verify,
    "verify_ed25519": verify_bare, "draw_rank": draw_rank, "sign_transaction": signed_transaction,
    "transaction": transaction, "genesis": genesis, "header": header, "ledger": ledger,
    "inclusion": inclusion, "quorum": quorum_of, "commit_statement": commit, "seal": seal,
    "pbft_message": pbft_message, "checkpoint_digest": checkpoint, "mine": mined, "work": work,
    "work_hash": work_hash, "next_difficulty": difficulty, "contract_call": contract_call,
    "update_price": update_price, "receipt": receipt_record, "contract_value": contract_value,
    "paillier_key": paillier_key, "encrypt": encrypt, "encrypt_fast": encrypt_fast,
    "ciphertext": ciphertext, "prove_plaintexts": prove_contents,
    "verify_plaintexts": verify_contents, "partial_vector": make_part, "open": open_parts,
    "joint_base": joint_base, "seal_vector": seal_vector, "quantise": quantise,
    "verify_vector": verify_vector, "add_vectors": add_vectors, "share_of_sum": share_of_sum,
    "open_sum": open_sum, "contexts": contexts, "wrap": wrap_key, "unwrap": unwrap_key,
    "seal_share": seal_share, "open_share": open_share,
}
"""By the name that stands in the files."""
