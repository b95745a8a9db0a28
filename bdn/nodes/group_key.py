"""The devices' group key: wrapped to each member, and used to carry shares past the edge servers.

Partial decryptions travel over the ledger, where every edge server reads. Were they plain, the edge
could combine them and read the global model. So the devices share one symmetric key, made afresh
for each key generation. One member draws it and wraps it to each other member with the pattern of
HPKE's base mode (RFC 9180: ephemeral X25519, HKDF-SHA-256, AES-256-GCM); shares are then sealed
under it with AES-256-GCM. Every ciphertext is bound to a context, so none can be moved to another
chain, epoch, phase or sender: a copy of another key holder's share does not open as the copier's.

What it does not give: a member who leaks the key leaks the opened models, as it could anyway.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bdn.encoding import transcript
from bdn.errors import PeerError
from bdn.randomness import Randomness

GROUP_KEY_BYTES = 32
PUBLIC_KEY_BYTES = 32
NONCE_BYTES = 12
WRAP_INFO = "bdn/group-key"
SHARE_INFO = "bdn/group-share"


class GroupError(PeerError):
    """A wrapped key or a group ciphertext that does not open."""


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """An X25519 key pair; ``public_key`` is 32 bytes."""

    secret: bytes = field(repr=False)
    public_key: bytes

    @classmethod
    def generate(cls, rng: Randomness) -> "ExchangeKey":
        """A fresh pair from ``rng``."""
        return cls.from_secret(rng.bytes(32))

    @classmethod
    def from_secret(cls, secret: bytes) -> "ExchangeKey":
        """The pair of a 32-byte secret."""
        public = X25519PrivateKey.from_private_bytes(secret).public_key()
        return cls(secret, public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def wrap(group_key: bytes, recipient: bytes, context: bytes, rng: Randomness) -> bytes:
    """``group_key`` for the holder of the X25519 key ``recipient``: 32 + 32 + 16 bytes.

    Raises `GroupError` where the recipient's key is no usable point.
    """
    ephemeral = ExchangeKey.generate(rng)
    key, nonce = _wrapping_key(ephemeral.secret, recipient, ephemeral.public_key, recipient)
    return ephemeral.public_key + AESGCM(key).encrypt(nonce, group_key, context)


def unwrap(wrapped: bytes, own: ExchangeKey, context: bytes) -> bytes:
    """The 32-byte group key inside ``wrapped``; raises `GroupError` if it was not made for us."""
    ephemeral, sealed = wrapped[:PUBLIC_KEY_BYTES], wrapped[PUBLIC_KEY_BYTES:]
    key, nonce = _wrapping_key(own.secret, ephemeral, ephemeral, own.public_key)
    try:
        group_key = AESGCM(key).decrypt(nonce, sealed, context)
    except InvalidTag as error:
        raise GroupError("the wrapped group key does not open with our exchange key") from error
    if len(group_key) != GROUP_KEY_BYTES:
        raise GroupError(f"a group key has {GROUP_KEY_BYTES} bytes, not {len(group_key)}")
    return group_key


def _wrapping_key(secret: bytes, peer: bytes, ephemeral: bytes, recipient: bytes) -> tuple[
    bytes, bytes
]:
    """AES key and nonce from the Diffie–Hellman secret, bound to both public keys."""
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(
            X25519PublicKey.from_public_bytes(peer)
        )
    except ValueError as error:  # wrong length, or a point of small order
        raise GroupError(f"unusable X25519 key: {error}") from error
    info = transcript(WRAP_INFO, ephemeral, recipient)
    derived = HKDF(SHA256(), GROUP_KEY_BYTES + NONCE_BYTES, salt=None, info=info).derive(shared)
    return derived[:GROUP_KEY_BYTES], derived[GROUP_KEY_BYTES:]


def seal_for_group(group_key: bytes, plaintext: bytes, context: bytes, rng: Randomness) -> bytes:
    """``plaintext`` under the group key: nonce, ciphertext, tag (12 + n + 16 bytes)."""
    nonce = rng.bytes(NONCE_BYTES)
    return nonce + AESGCM(group_key).encrypt(nonce, plaintext, transcript(SHARE_INFO, context))


def open_for_group(group_key: bytes, sealed: bytes, context: bytes) -> bytes:
    """What a member sealed for ``context``; raises `GroupError` for anything else."""
    nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return AESGCM(group_key).decrypt(nonce, ciphertext, transcript(SHARE_INFO, context))
    except (InvalidTag, ValueError) as error:
        raise GroupError("not sealed by that member for this epoch and phase") from error
