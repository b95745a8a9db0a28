"""Ed25519 identities (RFC 8032): who signs what.

An address p_k is the first 20 bytes of the SHA-256 of the public key. Every signature covers a
*domain*, so that a signature made for one purpose can never be shown for another.
"""

from dataclasses import dataclass, field
from functools import lru_cache
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
        verify_ed25519(public_key, transcript(domain, message), signature)
    except SignatureError as error:
        raise SignatureError(f"the {domain} signature does not verify") from error


# --- which signatures are valid -----------------------------------------------------------------

P = (1 << 255) - 19
"""The field of Curve25519."""

_ORDER_8 = int.from_bytes(
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
_SMALL_ORDER = frozenset((0, 1, P - 1, _ORDER_8, P - _ORDER_8))
"""y-coordinates of the eight points whose order divides 8."""


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Raise `SignatureError` unless the Ed25519 ``signature`` of ``message`` is valid.

    RFC 8032 leaves choices, on which libraries differ. This is the rule of every ledger, and the
    only place that checks it (Chalkias, Garillot, Nikolaenko, "Taming the Many EdDSAs", 2020):

    - the public key A is a canonical encoding (y < p) of a point whose order does not divide 8;
    - S < L;
    - the equation has no cofactor: the encoding of [S]B − [k]A, with k reduced modulo L, equals the
      first 32 bytes of the signature, so a non-canonical R is refused.
    """
    try:
        _parsed(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("the signature does not verify") from error


@lru_cache(maxsize=1024)
def _parsed(public_key: bytes) -> Ed25519PublicKey:
    """Return the key; raise `ValueError` for one that the rule refuses."""
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    if y >= P or y in _SMALL_ORDER:
        raise ValueError("not a canonical encoding, or a point of small order")
    return Ed25519PublicKey.from_public_bytes(public_key)
