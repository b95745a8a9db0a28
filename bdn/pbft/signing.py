"""Who signs and who checks, behind two methods.

`Ed25519Signing` is the real one. The other two protect nothing: they exist so that millions of
schedules can be explored (`HashSigning`) and so that the protocol's own cost can be measured
(`NullSigning`).
"""

import hashlib
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bdn.encoding import transcript
from bdn.errors import SignatureError
from bdn.identity import Identity


class Signing(Protocol):
    """One participant's signing key, and the check of anyone's signature."""

    def sign(self, domain: str, message: bytes) -> bytes:
        """This participant's signature of ``message`` under ``domain``."""

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Raise `SignatureError` unless ``signature`` is ``public_key``'s on (domain, message)."""


@lru_cache(maxsize=256)
def _parsed(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


class Ed25519Signing:
    """RFC 8032 signatures, equal to `Identity.sign`; parsed keys are remembered."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte signature."""
        return self._identity.sign(domain, message)

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """As `bdn.identity.verify_signature`."""
        try:
            _parsed(public_key).verify(signature, transcript(domain, message))
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(f"the {domain} signature does not verify") from error


class HashSigning:
    """NOT SECURE: a keyed hash that anyone can compute. For exploration without forgers.

    It covers the contents, so a changed message is still refused unless it is signed again.
    """

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte keyed hash."""
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
        """Zeros."""
        return self.SIGNATURE

    def verify(
        self, public_key: bytes, domain: str, message: bytes, signature: bytes
    ) -> None:
        """Accept."""
