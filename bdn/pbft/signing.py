"""What each signature covers, whose it must be, and who makes and checks it.

Every statement names the cluster (``instance``) and is signed under a domain of its own, so that
no signature can be shown as one for another message type or another cluster.

`Ed25519Signing` is the real one. The other two protect nothing: they exist so that millions of
schedules can be explored (`HashSigning`) and so that the protocol's own cost can be measured
(`NullSigning`).
"""

import hashlib
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from struct import Struct
from typing import Any, Protocol, TypeVar

from bdn.encoding import transcript
from bdn.errors import SignatureError
from bdn.identity import Identity, verify_signature
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    TYPE_NAMES,
    Checkpoint,
    Commit,
    Message,
    MessageError,
    NewView,
    Prepare,
    PrePrepare,
    Reply,
    Request,
)
from bdn.pbft.wire import encode_unsigned
from bdn.seal import COMMIT_DOMAIN, commit_statement

M = TypeVar("M", bound=Message)
Claim = tuple[bytes, str, int, bytes, bytes]
"""Public key, domain, the message's length, the message or its digest, and the signature."""
DOMAINS = {cls: COMMIT_DOMAIN if cls is Commit else f"bdn/pbft/{name}"
           for cls, name in TYPE_NAMES.items()}
"""The domain under which each type of message is signed."""


class Signing(Protocol):
    """One participant's signing key, and the check of anyone's signature."""

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return this participant's signature of ``message`` under ``domain``."""

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Raise `SignatureError` unless ``signature`` is ``public_key``'s on (domain, message)."""


# --- messages -----------------------------------------------------------------------------------


def signed(message: M, instance: bytes, signing: Signing) -> M:
    """Return ``message`` with its signature made by ``signing``."""
    signature = signing.sign(*statement(instance, message))
    cls: Any = type(message)
    made: M = cls(*_unsigned_fields(cls)(message), signature)
    return made


@cache
def _unsigned_fields(cls: Any) -> Callable[[Message], tuple[Any, ...]]:
    """Return a getter of a message's fields but the last, which is the signature in every type."""
    return attrgetter(*cls.__slots__[:-1])


def verify_message(message: Message, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless the message is signed by the participant that it names."""
    domain, text = statement(cluster.instance, message)
    signing.verify(signer_of(message, cluster), domain, text, message.signature)


def statement(instance: bytes, message: Message) -> tuple[str, bytes]:
    """Return (domain, bytes) that ``message``'s signature covers.

    A COMMIT's is `bdn.seal.commit_statement`, so that q COMMITs are a seal.
    """
    match message:
        case Commit():
            return COMMIT_DOMAIN, commit_statement(
                instance, message.view, message.sequence, message.digest)
        case PrePrepare() | Prepare():
            text = instance + _eights(message.view, message.sequence) + message.digest
        case Checkpoint():
            text = instance + _eights(0, message.sequence) + message.digest
        case Request(client, _, timestamp, operation):
            text = transcript("", instance, client.encode(), _eight(timestamp), operation)
        case Reply(view, client, timestamp, result, replica):
            text = transcript("", instance, client.encode(), _eight(view), _eight(timestamp),
                              result, _eight(replica))
        case _:
            text = transcript("", instance, encode_unsigned(message))
    return DOMAINS[type(message)], text


def signer_of(message: Message, cluster: Cluster) -> bytes:
    """Return the public key that must have signed; raise `MessageError` for an unknown replica."""
    match message:
        case Request():
            return message.public_key
        case PrePrepare() | NewView():
            return cluster.public_keys[cluster.primary(message.view)]
        case _:
            if message.replica >= cluster.n:
                raise MessageError(f"replica {message.replica} is none of the {cluster.n}")
            return cluster.public_keys[message.replica]


_eight = Struct(">Q").pack
_eights = Struct(">QQ").pack
"""Numbers as eight bytes each, so that the parts of a statement have fixed widths or lengths."""


# --- who signs ----------------------------------------------------------------------------------


class Ed25519Signing:
    """RFC 8032 signatures, equal to `Identity.sign`."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 64-byte signature."""
        return self._identity.sign(domain, message)

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Do as `bdn.identity.verify_signature`."""
        verify_signature(public_key, domain, message, signature)


class CachedSigning:
    """A `Signing` that checks no signature twice; for votes that come again in certificates.

    In a view change each of n replicas shows q − 1 PREPAREs for each prepared entry, and these are
    nearly the same ones: n votes instead of n(q − 1) are checked. Only what verified is
    remembered, and the oldest makes room.

    Args:
        signing: makes the signatures, and checks those that are new.
        memory: claims that verified; to be shared by several participants in one process.
    """

    LIMIT = 50_000
    SHORT = 512
    """Bytes of a message that is kept as it is. The length in the claim tells digests apart."""

    def __init__(self, signing: Signing, memory: dict[Claim, None] | None = None) -> None:
        self._signing = signing
        self._memory: dict[Claim, None] = {} if memory is None else memory

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the wrapped signature."""
        return self._signing.sign(domain, message)

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Do as the wrapped one, once."""
        # A vote is short; a VIEW-CHANGE of tens of kilobytes is remembered by its digest.
        told = message if len(message) <= self.SHORT else hashlib.sha256(message).digest()
        claim = (public_key, domain, len(message), told, signature)
        if claim in self._memory:
            return
        self._signing.verify(public_key, domain, message, signature)
        if len(self._memory) >= self.LIMIT:
            del self._memory[next(iter(self._memory))]
        self._memory[claim] = None


class HashSigning:
    """NOT SECURE: a keyed hash that anyone can compute. For exploration without forgers.

    It covers the contents, so a changed message is still refused unless it is signed again.
    """

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 64-byte keyed hash."""
        return _hash(self._public_key, domain, message)

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Raise `SignatureError` for any other hash."""
        if _hash(public_key, domain, message) != signature:
            raise SignatureError(f"the {domain} signature does not verify")


def _hash(public_key: bytes, domain: str, message: bytes) -> bytes:
    return hashlib.blake2b(domain.encode() + message, key=public_key).digest()


class NullSigning:
    """NOT SECURE: 64 zero bytes, never checked. For measuring what the protocol itself costs."""

    SIGNATURE = bytes(64)

    def sign(self, domain: str, message: bytes) -> bytes:  # noqa: ARG002 - covers nothing
        """Return zeros."""
        return self.SIGNATURE

    def verify(
        self, public_key: bytes, domain: str, message: bytes, signature: bytes
    ) -> None:
        """Accept."""
