"""Transactions: signed envelopes around a closed set of payloads (paper, sections 3.2 and 4.2).

An envelope binds its payload to one chain, one sender and one place in the sender's own order (the
nonce), so it can be neither forged, nor shown to another chain, nor counted twice. What a payload
*does* is a call of a contract; `CALLS` is the one table that says which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from bdn.chain.errors import TransactionError
from bdn.chain.payloads import (
    DIGEST_BYTES,
    GENESIS_ONLY,
    MAX_NUMBER,
    MAX_TRANSACTION_BYTES,
    MAX_TRANSACTIONS,
    PAYLOADS,
    AggregateTransaction,
    BlobPayload,
    CallTransaction,
    DeployContract,
    Name,
    Number,
    Payload,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
)
from bdn.encoding import NAMED, Digest, at_most, decode_as, digest, encode_as
from bdn.errors import SignatureError
from bdn.identity import (
    Identity,
    PublicKeyBytes,
    Signature,
    address_of,
    verify_signature,
)

__all__ = [
    "CALLS", "DIGEST_BYTES", "GENESIS_ONLY", "INITIALIZE", "MAX_NUMBER", "MAX_TRANSACTIONS",
    "MAX_TRANSACTION_BYTES", "PAYLOADS", "RESERVED", "AggregateTransaction",
    "BlobPayload", "Call", "CallTransaction", "DeployContract", "EncodedTransaction", "Envelope",
    "Name", "Number", "Payload", "RegisterDevice",
    "RegisterKey", "ShareTransaction", "UpdateTransaction", "call_of", "decode_envelope",
    "encode_envelope", "sign_transaction", "transaction_digest", "verify_envelope",
]

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
    body = encode_as(_BODY, (e.chain, e.sender, e.nonce, e.gas_limit, e.payload))
    if len(body) > MAX_TRANSACTION_BYTES:
        raise TransactionError(f"a transaction of {len(body)} bytes is over the limit of "
                               f"{MAX_TRANSACTION_BYTES}; bulky bytes belong into a blob")
    try:
        verify_signature(e.sender, DOMAIN, body, e.signature)
    except SignatureError as error:
        raise TransactionError("the transaction's signature does not verify") from error

