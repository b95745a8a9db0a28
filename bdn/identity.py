"""Ed25519 identities (RFC 8032): who signs what.

An address p_k is the first 20 bytes of the SHA-256 of the public key. Every signature covers a
*domain*, so that a signature made for one purpose can never be shown for another.
"""

from dataclasses import dataclass, field
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bdn.encoding import digest, exactly, transcript
from bdn.errors import SignatureError
from bdn.randomness import Randomness, as_randomness

ADDRESS_BYTES = 20
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

Address = Annotated[bytes, exactly(ADDRESS_BYTES)]
PublicKeyBytes = Annotated[bytes, exactly(PUBLIC_KEY_BYTES)]
Signature = Annotated[bytes, exactly(SIGNATURE_BYTES)]
"""Types of a record's fields; a decoder demands these lengths."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A signing key with its public half.

    Attributes:
        secret: the 32-byte Ed25519 seed; never printed, never encoded.
        public_key: 32 bytes.
        address: 20 bytes, the paper's p_k.
    """

    secret: bytes = field(repr=False)
    public_key: bytes
    address: bytes
    _key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, rng: Randomness | None = None) -> "Identity":
        """A fresh identity from ``rng`` (the system's by default)."""
        return cls.from_secret(as_randomness(rng).bytes(32))

    @classmethod
    def from_secret(cls, secret: bytes) -> "Identity":
        """The identity of a 32-byte seed."""
        key = Ed25519PrivateKey.from_private_bytes(secret)
        public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(secret, public_key, address_of(public_key), key)

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte signature of ``message`` under ``domain``."""
        return self._key.sign(transcript(domain, message))


def address_of(public_key: bytes) -> bytes:
    """The 20-byte address of a 32-byte public key."""
    return digest("bdn/address", public_key)[:ADDRESS_BYTES]


def verify_signature(public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
    """Raise `SignatureError` unless ``signature`` is ``public_key``'s on (domain, message)."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, transcript(domain, message))
    except (InvalidSignature, ValueError) as error:
        raise SignatureError(f"the {domain} signature does not verify") from error
