"""Transactions: signed envelopes around a closed set of payloads (paper, sections 3.2 and 4.2).

An envelope binds its payload to one chain, one sender and one place in the sender's own order (the
nonce), so it can be neither forged, nor shown to another chain, nor counted twice. What a payload
*does* is a call of a contract; `CALLS` is the one table that says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bdn.chain.errors import TransactionError
from bdn.chain.payloads import (
    DIGEST_BYTES,
    GENESIS_ONLY,
    MAX_NUMBER,
    PAYLOADS,
    AggregateTransaction,
    BlobPayload,
    CallTransaction,
    DeployContract,
    Payload,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
)
from bdn.encoding import decode, digest, encode, from_plain, to_plain
from bdn.errors import EncodingError, SignatureError
from bdn.identity import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    Identity,
    address_of,
    verify_signature,
)

__all__ = [
    "CALLS", "DIGEST_BYTES", "GENESIS_ONLY", "INITIALIZE", "MAX_NUMBER", "MAX_TRANSACTION_BYTES",
    "PAYLOADS", "RESERVED", "AggregateTransaction", "BlobPayload", "Call",
    "CallTransaction", "DeployContract", "Envelope", "Payload",
    "RegisterDevice", "RegisterKey", "ShareTransaction", "UpdateTransaction", "call_of",
    "decode_envelope", "encode_envelope", "sign_transaction", "transaction_digest",
    "verify_envelope",
]

DOMAIN = "bdn/transaction"
MAX_TRANSACTION_BYTES = 1 << 18
"""Bulky bytes travel as blobs."""


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
