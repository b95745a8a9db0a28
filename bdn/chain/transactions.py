"""Transactions: signed envelopes around a closed set of payloads (paper, sections 3.2 and 4.2).

A payload is what a transaction asks. An envelope binds it to one chain, one sender and one place in
the sender's own order (the nonce), so that it can be neither forged, nor shown to another chain,
nor counted twice. What a payload *does* is a call of a contract; `CALLS` is the one table that says
which.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from bdn.chain.errors import TransactionError
from bdn.encoding import NAMED, Digest, at_most, bits, decode_as, digest, encode_as
from bdn.errors import EncodingError, SignatureError, shown
from bdn.identity import (
    Identity,
    PublicKeyBytes,
    Signature,
    address_of,
    verify_signature,
)

DIGEST_BYTES = 32
MAX_NUMBER = 1 << 63
"""Counts, sizes, epochs and nonces stay below this; a ledger need not count further."""

MAX_TRANSACTION_BYTES = 1 << 19
"""Of one signed transaction; bulky bytes travel as blobs. A Tx_co that names `MAX_DEVICES` devices
takes a quarter of it."""

MAX_TRANSACTIONS = 1 << 14
"""In one block that the edge servers agree on. A peer's larger block is refused before its
signatures are checked; what does not fit waits for the next one."""

MAX_DEVICES = 1 << 20
"""That genesis can register; a device is numbered by its place there, from 0 on."""

Number = Annotated[int, bits(63)]
Name = Annotated[str, at_most(256)]
DeviceBits = Annotated[bytes, at_most(MAX_DEVICES // 8)]
"""Types of a payload's fields, as a decoder bounds them. For the last one, see `device_bits`."""


@dataclass(frozen=True, slots=True)
class DeployContract:
    """Puts a contract into the genesis block.

    Attributes:
        name: the contract's name.
        source: the 32-byte digest of its text, which the genesis record holds.
    """

    name: Name
    source: Digest


@dataclass(frozen=True, slots=True)
class RegisterDevice:
    """A device's ownership statement in the genesis block (paper, section 4.2).

    Attributes:
        name: how people call the device.
        statement: the sentence that its owner signs.
        edge: index of the edge server that the device is associated with.
        samples: s_k, which every update of the device must state; 0 leaves it open.
    """

    name: Name
    statement: str
    edge: Number
    samples: Number = 0

    def __post_init__(self) -> None:
        _check_counts(edge=self.edge, samples=self.samples)


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

    generation: Number
    modulus_bits: Number
    threshold: Number
    parties: Number
    root: Digest
    chunks: Number
    size: Number

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
        local_ms: T_local,dk in whole milliseconds (a ledger holds no floats).
        root, chunks, size: the sealed vector's blob.
    """

    epoch: Number
    phase: Name
    sample_count: Number
    local_ms: Number
    root: Digest
    chunks: Number
    size: Number

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, sample_count=self.sample_count,
                      local_ms=self.local_ms)
        _check_blob(self.root, self.chunks, self.size)


@dataclass(frozen=True, slots=True)
class AggregateTransaction:
    """Tx_co^(p): the global update under encryption (Algorithm 2, line 19; Eq. (5)).

    Attributes:
        epoch, phase: as in the updates that it sums.
        root, chunks, size: the blob of the weighted product.
        contributors: the included devices, as `device_bits` of their numbers in genesis: every
            device reads Tx_co, so that one bit per device is all it may cost.
        total_samples: s = Σ s_k over the contributors.
    """

    epoch: Number
    phase: Name
    root: Digest
    chunks: Number
    size: Number
    contributors: DeviceBits
    total_samples: Number

    def __post_init__(self) -> None:
        _check_counts(epoch=self.epoch, total_samples=self.total_samples)
        _check_blob(self.root, self.chunks, self.size)
        if self.contributors[-1:] == b"\0":
            raise ValueError("the contributors' last byte is zero: a set has one form")


@dataclass(frozen=True, slots=True)
class ShareTransaction:
    """A device's partial decryption with its proof, encrypted to the group.

    Attributes:
        epoch, phase: of the aggregate that it helps to open.
        index: i of the key share s_i.
        root, chunks, size: the encrypted share's blob.
    """

    epoch: Number
    phase: Name
    index: Number
    root: Digest
    chunks: Number
    size: Number

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

    contract: Name
    function: Name
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
            raise ValueError(f"{name} {shown(number)} is outside 0 … 2^63 - 1")


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

# --- sets of devices ----------------------------------------------------------------------------


def device_bits(numbers: Iterable[int]) -> bytes:
    """The set of the devices ``numbers`` as bytes: bit k of byte i stands for device 8 i + k.

    The last byte is not zero, so that a set has one form. Raises `ValueError` for a number outside
    0 … `MAX_DEVICES` − 1.
    """
    bits = bytearray()
    for number in numbers:
        if not 0 <= number < MAX_DEVICES:
            raise ValueError(f"there is no device number {shown(number)}")
        bits.extend(bytes(max(0, number // 8 + 1 - len(bits))))
        bits[number // 8] |= 1 << number % 8
    return bytes(bits)


def device_numbers(bits: bytes) -> list[int]:
    """The numbers in a set that `device_bits` made, ascending."""
    return [8 * i + k for i, byte in enumerate(bits) for k in range(8) if byte >> k & 1]


DOMAIN = "bdn/transaction"

# --- calls --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """What a payload asks of the contracts."""

    contract: str
    function: str
    arguments: tuple[Any, ...]


def _register_device(p: RegisterDevice, sender: bytes) -> tuple[Any, ...]:
    return sender, p.name, p.statement, p.edge, p.samples


def _register_key(p: RegisterKey, _: bytes) -> tuple[Any, ...]:
    return p.generation, p.modulus_bits, p.threshold, p.parties, p.root, p.chunks, p.size


def _upload(p: UpdateTransaction, _: bytes) -> tuple[Any, ...]:
    return p.epoch, p.phase, p.sample_count, p.local_ms, p.root, p.chunks, p.size


def _aggregate(p: AggregateTransaction, _: bytes) -> tuple[Any, ...]:
    return p.epoch, p.phase, p.root, p.chunks, p.size, p.contributors, p.total_samples


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


_BODY = tuple[Digest, PublicKeyBytes, Number, Number, Annotated[Payload, NAMED]]
"""What a transaction's signature covers: chain, sender, nonce, gas limit, payload."""

_ENVELOPE = tuple[
    Digest, PublicKeyBytes, Number, Number, Annotated[Payload, NAMED], Signature]
"""An envelope's fields in the order in which they lie in its encoding."""

EncodedTransaction = Annotated[bytes, at_most(MAX_TRANSACTION_BYTES + 256)]
"""An envelope as bytes inside a record; the signature and some heads come on top of its body."""


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
    """Return the envelope of ``payload``, signed by ``identity``.

    Raises `EncodingError` for a payload that no node would decode, such as one with a long name.
    """
    body = encode_as(_BODY, (chain, identity.public_key, nonce, gas_limit, payload))
    signature = identity.sign(DOMAIN, body)
    return Envelope(chain, identity.public_key, nonce, gas_limit, payload, signature)


def encode_envelope(envelope: Envelope) -> bytes:
    """Strict CBOR: [chain, sender, nonce, gas limit, [payload class, fields], signature]."""
    e = envelope
    return encode_as(
        _ENVELOPE, (e.chain, e.sender, e.nonce, e.gas_limit, e.payload, e.signature))


def decode_envelope(data: bytes) -> Envelope:
    """What `encode_envelope` wrote; `EncodingError` for anything else. Checks no signature."""
    return Envelope(*decode_as(_ENVELOPE, data))


def transaction_digest(envelope: Envelope) -> bytes:
    """The 32 bytes that name a transaction."""
    return digest("bdn/transaction-digest", encode_envelope(envelope))


def verify_envelope(envelope: Envelope, chain: bytes) -> None:
    """Raise `TransactionError` unless the envelope is for ``chain`` and rightly signed."""
    if envelope.chain != chain:
        raise TransactionError("the transaction is for another chain")
    e = envelope
    try:
        body = encode_as(_BODY, (e.chain, e.sender, e.nonce, e.gas_limit, e.payload))
    except EncodingError as error:
        raise TransactionError(f"no transaction of a chain: {error}") from error
    if len(body) > MAX_TRANSACTION_BYTES:
        raise TransactionError(f"a transaction of {len(body)} bytes is over the limit of "
                               f"{MAX_TRANSACTION_BYTES}; bulky bytes belong into a blob")
    try:
        verify_signature(e.sender, DOMAIN, body, e.signature)
    except SignatureError as error:
        raise TransactionError("the transaction's signature does not verify") from error
