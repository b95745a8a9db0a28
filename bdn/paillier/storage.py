"""A key share at rest: scrypt (RFC 7914) makes a key of a passphrase, AES-256-GCM locks the share.

The public key and the index stand in clear, authenticated, so that a program can say *which* share
it asks the passphrase for.
"""

import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bdn.arguments import as_integer
from bdn.encoding import decode_as, decode_record, encode_as, encode_record, transcript
from bdn.errors import EncodingError, shown
from bdn.paillier.errors import ParameterError, PublicKeyError, StoredShareError
from bdn.paillier.keys import PublicKey, Response
from bdn.paillier.threshold import KeyShare
from bdn.randomness import Randomness, as_randomness

DOMAIN = "bdn/paillier/stored-share"

SCRYPT_COST = 17
"""log₂ of scrypt's n; with r = 8 it takes 128 MiB and about half a second."""

MAX_SCRYPT_COST = 20
"""A stored file may not ask for more than 1 GiB."""

SALT_BYTES = 16
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class StoredShare:
    """What lies on disk.

    Attributes:
        public_key: the encoded public key, in clear.
        index: the party, in clear.
        cost: log₂ of scrypt's n.
        salt: 16 bytes for scrypt.
        nonce: 12 bytes for GCM.
        locked: the encrypted secret with its tag.
    """

    public_key: bytes
    index: int
    cost: int
    salt: bytes
    nonce: bytes
    locked: bytes


def lock_share(
    share: KeyShare, passphrase: str, rng: Randomness | None = None, cost: int = SCRYPT_COST
) -> bytes:
    """Return ``share`` locked by ``passphrase``: bytes for a file.

    Raises `ParameterError` for an empty passphrase or a cost outside 1 … 20.
    """
    if not _normalised(passphrase):
        raise ParameterError("an empty passphrase protects nothing")
    cost = as_integer(cost, "scrypt's cost")
    if not 1 <= cost <= MAX_SCRYPT_COST:
        raise ParameterError(f"scrypt's cost must be 1 … {MAX_SCRYPT_COST}, not {shown(cost)}")
    source = as_randomness(rng)
    salt, nonce = source.bytes(SALT_BYTES), source.bytes(NONCE_BYTES)
    header = StoredShare(share.public_key.to_bytes(), share.index, cost, salt, nonce, b"")
    aead = AESGCM(_derive(passphrase, salt, cost))
    locked = aead.encrypt(nonce, encode_as(Response, share.secret), _associated(header))
    return encode_record(StoredShare(header.public_key, share.index, cost, salt, nonce, locked))


def unlock_share(data: bytes, passphrase: str) -> KeyShare:
    """Return the share in ``data``.

    Raises `StoredShareError` for a wrong passphrase or changed bytes, and `ParameterError` for a
    passphrase that is not text.
    """
    _normalised(passphrase)
    try:
        stored = decode_record(StoredShare, data)
        _check_header(stored)
        aead = AESGCM(_derive(passphrase, stored.salt, stored.cost))
        secret = decode_as(Response, aead.decrypt(stored.nonce, stored.locked, _associated(stored)))
        return KeyShare(PublicKey.from_bytes(stored.public_key), stored.index, secret)
    except InvalidTag as error:
        raise StoredShareError("wrong passphrase, or the stored share was changed") from error
    except (EncodingError, PublicKeyError) as error:
        raise StoredShareError(f"no stored share: {error}") from error


def _check_header(stored: StoredShare) -> None:
    """Raise `StoredShareError` for a header that `lock_share` cannot have written."""
    if not 1 <= stored.cost <= MAX_SCRYPT_COST or not 1 <= stored.index < 1 << 32:
        raise StoredShareError("the stored share's cost or index is out of range")
    if len(stored.salt) != SALT_BYTES or len(stored.nonce) != NONCE_BYTES:
        raise StoredShareError("the stored share's salt or nonce has the wrong length")


def _derive(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << cost, r=8, p=1).derive(_normalised(passphrase))


def _normalised(passphrase: object) -> bytes:
    """The bytes that scrypt hashes: UTF-8 of Unicode's composed form (NFC).

    An é can be typed as one character or as two, depending on the keyboard and the system; both
    must open the share. Raises `ParameterError` for what is not text.
    """
    if not isinstance(passphrase, str):
        kind = type(passphrase).__name__
        raise ParameterError(f"a passphrase must be text, not a value of type {kind}")
    try:
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError as error:
        raise ParameterError("the passphrase has a lone surrogate; it is not text") from error


def _associated(header: StoredShare) -> bytes:
    """Everything but the locked bytes."""
    return transcript(DOMAIN, header.public_key, header.index.to_bytes(8, "big"),
                      header.cost.to_bytes(8, "big"), header.salt, header.nonce)
