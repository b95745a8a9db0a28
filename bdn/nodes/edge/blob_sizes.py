"""How large a blob may be: no edge server stores more than the settings can call for.

The bounds are generous where a form varies (proofs, framing) and exact in what is large: the
ciphertexts and the masked vector.

    n    devices      ℓ    key holders      |N|    bits of the modulus
"""

import functools

from bdn.chain import BlobPayload, RegisterKey, ShareTransaction, UpdateTransaction
from bdn.errors import PeerError
from bdn.nodes.ciphers import make_cipher
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.paillier import PublicKey

MAX_MODULUS_BITS = 16_384
"""The longest modulus that a device may register: genesis does not fix its length."""

BLOBS_AT_ONCE = 4
"""Blobs that one sender can have stored between two blocks; it has one transaction at a time."""

LEAF_BYTES = 9
"""A leaf's head in a blob (RFC 8949, section 3)."""

FORM_BYTES = 4096
"""For field names, labels, seals, and what else is not large."""


def check_size(payload: BlobPayload, settings: Settings, public_key: PublicKey | None) -> None:
    """Raise `PeerError` where ``payload`` states more bytes than such a blob can have.

    ``public_key`` is the registered one, or None before there is one.
    """
    limit = most_bytes(payload, settings, public_key)
    if payload.size > limit:
        name = type(payload).__name__
        raise PeerError(f"a blob of {payload.size} bytes; that of a {name} has {limit} at most")


def most_bytes(payload: BlobPayload, settings: Settings, public_key: PublicKey | None) -> int:
    """The largest blob that ``payload`` may name; raises `PeerError` where it may name none."""
    if isinstance(payload, RegisterKey):
        return _key_bytes(payload.modulus_bits, settings)
    if not isinstance(payload, UpdateTransaction | ShareTransaction):
        raise PeerError(f"no device sends a {type(payload).__name__}")
    if public_key is None:
        raise PeerError("no key is registered yet")
    if payload.phase not in (GRADIENT, WEIGHTS, LOSS):
        raise PeerError(f"no phase is called {payload.phase!r}")
    width = public_key.width
    ciphertexts, rest = _sealed_form(settings, public_key, payload.phase)
    large = ciphertexts * width + (rest if isinstance(payload, UpdateTransaction) else 0)
    return large + _proof_bytes(settings, width)


def _key_bytes(modulus_bits: int, settings: Settings) -> int:
    """N, the ℓ verification keys v_k modulo N², and the group key wrapped to n devices."""
    if modulus_bits > MAX_MODULUS_BITS:
        raise PeerError(f"a modulus of {modulus_bits} bits; {MAX_MODULUS_BITS} is the most")
    width = -(-modulus_bits // 4)
    return ((settings.key_holders + 8) * (width + LEAF_BYTES)
            + settings.devices * (80 + LEAF_BYTES) + FORM_BYTES)


@functools.lru_cache(maxsize=8)
def _sealed_form(settings: Settings, public_key: PublicKey, phase: str) -> tuple[int, int]:
    """(ciphertexts, bytes beside them: ring part, heads of leaves, proofs) of a sealed vector."""
    cipher = make_cipher(settings, public_key, phase, 1, b"")
    rings = -(-cipher.ring_bytes // cipher.chunk_bytes) if cipher.chunk_bytes else 0
    leaves = cipher.ciphertext_count + rings + 1
    rest = cipher.ring_bytes + leaves * LEAF_BYTES + cipher.most_proof_bytes
    return cipher.ciphertext_count, rest


def _proof_bytes(settings: Settings, width: int) -> int:
    """A proof: a few integers, the response longer by Δ = ℓ! (under 64 bits for each holder)."""
    return 8 * width + 8 * settings.key_holders + FORM_BYTES
