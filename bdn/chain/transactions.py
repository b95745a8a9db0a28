"""Transactions: signed envelopes around a closed set of payloads (paper, sections 3.2 and 4.2).

An envelope binds its payload to one chain, one sender and one place in the sender's own order (the
nonce), so it can be neither forged, nor shown to another chain, nor counted twice. What a payload
*does* is a call of a contract; `CALLS` is the one table that says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bdn.chain.errors import TransactionError
from bdn.encoding import decode, digest, encode, from_plain, to_plain
from bdn.errors import EncodingError, SignatureError
from bdn.identity import (
    ADDRESS_BYTES,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Identity,
    address_of,
    verify_signature,
)

DOMAIN = "bdn/transaction"
DIGEST_BYTES = 32
MAX_NUMBER = 1 << 63
"""Counts, sizes, epochs and nonces stay below this; a ledger need not count further."""

MAX_TRANSACTION_BYTES = 1 << 18
"""Bulky bytes travel as blobs."""


# --- payloads -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeployContract:
    """Puts a contract into the genesis block.

    Attributes:
        name: the contract's name.
        source: the 32-byte digest of its text, which the genesis record holds.
    """

    name: str
    source: bytes


@dataclass(frozen=True, slots=True)
class RegisterDevice:
    """A device's ownership statement in the genesis block (paper, section 4.2).

    Attributes:
        name: how people call the device.
        statement: the sentence that its owner signs.
        edge: index of the edge server that the device is associated with.
    """

    name: str
    statement: str
    edge: int

    def __post_init__(self) -> None:
        _check_counts(edge=self.edge)


@dataclass(frozen=True, slots=True)
class RegisterKey:
    """The devices' joint public key (Algorithm 2, line 6), as a blob.

    Attributes:
        generation: which key this is, from 0; a new group gets a new one.
        modulus_bits: |N|.
        threshold, parties: t of n.
        root, chunks, size: the blob of public key, verification keys v_k, the devices' X25519
            keys and the group key wrapped to each.
    """

    generation: int
    modulus_bits: int
    threshold: int
    parties: int
    root: bytes
    chunks: int
    size: int

    def __post_init__(self) -> None:
        _check_counts(generation=self.generation, modulus_bits=self.modulus_bits,
                      threshold=self.threshold, parties=self.parties)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class UpdateTransaction:
    """Tx_dk^(p): device k's sealed local update (Algorithm 2, line 9).

    Attributes:
        epoch: p.
        phase: which vector of the epoch, such as ``"gradient"``, ``"weights"`` or ``"loss"``.
        sample_count: s_k.
        local_seconds: T_local,dk in whole milliseconds (a ledger holds no floats).
        root, chunks, size: the sealed vector's blob.
    """

    epoch: int
    phase: str
    sample_count: int
    local_seconds: int
    root: bytes
    chunks: int
    size: int

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, sample_count=self.sample_count,
                      local_seconds=self.local_seconds)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class AggregateTransaction:
    """Tx_co^(p): the global update under encryption (Algorithm 2, line 19; Eq. (5)).

    Attributes:
        epoch, phase: as in the updates that it sums.
        root, chunks, size: the blob of the weighted product.
        contributors: the 20-byte addresses p_k of the included devices, in the product's order.
        total_samples: s = Σ s_k over the contributors.
    """

    epoch: int
    phase: str
    root: bytes
    chunks: int
    size: int
    contributors: tuple[bytes, ...]
    total_samples: int

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, total_samples=self.total_samples)
        _check_blob(self.root, self.chunks, self.size)
        if any(len(address) != ADDRESS_BYTES for address in self.contributors):
            raise ValueError(f"a contributor is an address of {ADDRESS_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class ShareTransaction:
    """A device's partial decryption with its proof, encrypted to the group (DESIGN section 5).

    Attributes:
        epoch, phase: of the aggregate that it helps to open.
        index: i of the key share s_i.
        root, chunks, size: the encrypted share's blob.
    """

    epoch: int
    phase: str
    index: int
    root: bytes
    chunks: int
    size: int

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, index=self.index)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class CallTransaction:
    """A call of any public function of a contract that has no payload of its own.

    Attributes:
        contract, function: whom to call.
        arguments: integers, booleans, text, bytes, None and tuples of them; lists become tuples.
    """

    contract: str
    function: str
    arguments: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", _frozen(self.arguments))


Payload = (DeployContract | RegisterDevice | RegisterKey | UpdateTransaction | AggregateTransaction
           | ShareTransaction | CallTransaction)

BlobPayload = RegisterKey | UpdateTransaction | AggregateTransaction | ShareTransaction
"""Payloads that name a blob by ``root``, ``chunks`` and ``size``."""

PAYLOADS: dict[str, type[Payload]] = {
    cls.__name__: cls
    for cls in (DeployContract, RegisterDevice, RegisterKey, UpdateTransaction,
                AggregateTransaction, ShareTransaction, CallTransaction)
}

GENESIS_ONLY = (DeployContract, RegisterDevice)


def _check_counts(**numbers: int) -> None:
    for name, number in numbers.items():
        if not 0 <= number < MAX_NUMBER:
            raise ValueError(f"{name} {number} is outside 0 … 2^63 - 1")


def _check_blob(root: bytes, chunks: int, size: int) -> None:
    _check_counts(chunks=chunks, size=size)
    if len(root) != DIGEST_BYTES:
        raise ValueError(f"a blob's root has {DIGEST_BYTES} bytes, not {len(root)}")


def _frozen(value: Any) -> Any:
    """Lists as tuples all the way down; `ValueError` for anything that cannot be an argument."""
    if type(value) in (list, tuple):
        return tuple(_frozen(item) for item in value)
    if value is None or type(value) in (bool, int, str, bytes):
        return value
    raise ValueError(f"a {type(value).__name__} cannot be an argument of a call")


# --- calls --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """What a payload asks of the contracts."""

    contract: str
    function: str
    arguments: tuple[Any, ...]


def _register_device(p: RegisterDevice, sender: bytes) -> tuple[Any, ...]:
    return sender, p.name, p.statement, p.edge


def _register_key(p: RegisterKey, _: bytes) -> tuple[Any, ...]:
    return p.generation, p.modulus_bits, p.threshold, p.parties, p.root, p.chunks, p.size


def _upload(p: UpdateTransaction, _: bytes) -> tuple[Any, ...]:
    return p.epoch, p.phase, p.sample_count, p.local_seconds, p.root, p.chunks, p.size


def _aggregate(p: AggregateTransaction, _: bytes) -> tuple[Any, ...]:
    contributors = list(p.contributors)
    return p.epoch, p.phase, p.root, p.chunks, p.size, contributors, p.total_samples


def _share(p: ShareTransaction, _: bytes) -> tuple[Any, ...]:
    return p.epoch, p.phase, p.index, p.root, p.chunks, p.size


CALLS: dict[type[Any], tuple[str, str, Callable[[Any, bytes], tuple[Any, ...]]]] = {
    RegisterDevice: ("learning", "register_device", _register_device),
    RegisterKey: ("learning", "register_key", _register_key),
    UpdateTransaction: ("learning", "upload", _upload),
    ShareTransaction: ("learning", "share", _share),
    AggregateTransaction: ("mining", "aggregate", _aggregate),
}
"""Payload class → (contract, function, arguments from payload and the sender's public key)."""

RESERVED = frozenset((contract, function) for contract, function, _ in CALLS.values())
"""Functions that only their own payload may call."""

INITIALIZE = "initialize"
"""The function that deployment calls, and no transaction after it."""


def call_of(payload: Payload, sender: bytes) -> Call:
    """The contract call that ``payload`` stands for; ``sender`` is the 32-byte public key.

    Raises `TransactionError` for a `CallTransaction` that borrows a function which has a payload
    of its own, and for `DeployContract`, which is no call.
    """
    if isinstance(payload, CallTransaction):
        if (payload.contract, payload.function) in RESERVED or payload.function == INITIALIZE:
            raise TransactionError(
                f"{payload.contract}.{payload.function} is not open to a CallTransaction")
        return Call(payload.contract, payload.function, _thawed(payload.arguments))
    if isinstance(payload, DeployContract):
        raise TransactionError("a deployment is no call")
    contract, function, arguments = CALLS[type(payload)]
    return Call(contract, function, arguments(payload, sender))


def _thawed(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The contract language has lists where records have tuples."""
    return tuple(_lists(item) for item in arguments)


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if type(value) is tuple else value


# --- envelopes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed transaction.

    Attributes:
        chain: 32 bytes, the chain that it is for.
        sender: the 32-byte public key.
        nonce: how many transactions of this sender the chain holds already, from 0.
        gas_limit: the most gas that it may use.
        payload: what it asks.
        signature: 64 bytes over everything above.
    """

    chain: bytes
    sender: bytes
    nonce: int
    gas_limit: int
    payload: Payload
    signature: bytes

    @property
    def address(self) -> bytes:
        """The sender's 20-byte address p_k."""
        return address_of(self.sender)


def sign_transaction(
    identity: Identity, chain: bytes, nonce: int, gas_limit: int, payload: Payload
) -> Envelope:
    """The envelope of ``payload``, signed by ``identity``."""
    body = _body(chain, identity.public_key, nonce, gas_limit, payload)
    signature = identity.sign(DOMAIN, encode(body))
    return Envelope(chain, identity.public_key, nonce, gas_limit, payload, signature)


def encode_envelope(envelope: Envelope) -> bytes:
    """Strict CBOR: [chain, sender, nonce, gas limit, [payload class, fields], signature]."""
    e = envelope
    return encode([*_body(e.chain, e.sender, e.nonce, e.gas_limit, e.payload), e.signature])


def decode_envelope(data: bytes) -> Envelope:
    """What `encode_envelope` wrote; `EncodingError` for anything else. Checks no signature."""
    value = decode(data)
    kinds = (bytes, bytes, int, int, list, bytes)
    if type(value) is not list or [type(item) for item in value] != list(kinds):
        raise EncodingError("an envelope is [chain, sender, nonce, gas limit, payload, signature]")
    chain, sender, nonce, gas_limit, payload, signature = value
    if len(payload) != 2 or type(payload[0]) is not str or payload[0] not in PAYLOADS:
        raise EncodingError("an envelope's payload is [a payload class, its fields]")
    lengths = (len(chain), len(sender), len(signature))
    if lengths != (DIGEST_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES):
        raise EncodingError("an envelope's chain, sender or signature has a wrong length")
    if not (0 <= nonce < MAX_NUMBER and 0 <= gas_limit < MAX_NUMBER):
        raise EncodingError("an envelope's nonce or gas limit is out of range")
    record = from_plain(PAYLOADS[payload[0]], payload[1])
    return Envelope(chain, sender, nonce, gas_limit, record, signature)


def transaction_digest(envelope: Envelope) -> bytes:
    """The 32 bytes that name a transaction."""
    return digest("bdn/transaction-digest", encode_envelope(envelope))


def verify_envelope(envelope: Envelope, chain: bytes) -> None:
    """Raise `TransactionError` unless the envelope is for ``chain`` and rightly signed."""
    if envelope.chain != chain:
        raise TransactionError("the transaction is for another chain")
    e = envelope
    body = encode(_body(e.chain, e.sender, e.nonce, e.gas_limit, e.payload))
    if len(body) > MAX_TRANSACTION_BYTES:
        raise TransactionError(f"a transaction of {len(body)} bytes is over the limit of "
                               f"{MAX_TRANSACTION_BYTES}; bulky bytes belong into a blob")
    try:
        verify_signature(e.sender, DOMAIN, body, e.signature)
    except SignatureError as error:
        raise TransactionError("the transaction's signature does not verify") from error


def _body(chain: bytes, sender: bytes, nonce: int, gas_limit: int, payload: Payload) -> list[Any]:
    return [chain, sender, nonce, gas_limit, [type(payload).__name__, to_plain(payload)]]
