"""What this package refuses, one class for each cause (DESIGN.md section 6).

The two roots of `bdn.errors` are kept apart: the caller's misuse (`UsageError`) and a peer's
misbehaviour (`PeerError`). Errors about shares of a decryption name the parties by index.
"""

from collections.abc import Sequence

from bdn.errors import BdnError, IntegrityError, PeerError, UsageError


class PaillierError(BdnError):
    """Root of this package's errors."""


# --- keys ---------------------------------------------------------------------------------------


class KeyParameterError(PaillierError, UsageError):
    """Parties, threshold, length or primes from which no key can be made."""


class ModulusLengthError(PaillierError, PeerError, ValueError):
    """A modulus N that is not of the demanded length."""


class ModulusParityError(PaillierError, PeerError, ValueError):
    """An even modulus: no product of two odd primes."""


class PublicKeyError(PaillierError, PeerError, ValueError):
    """A public key whose other fields contradict its modulus."""


class KeyMismatchError(PaillierError, UsageError):
    """Two ciphertexts, or a ciphertext and a share, of different keys."""


class StoredShareError(PaillierError, IntegrityError):
    """An encrypted key share that does not open: wrong passphrase, or changed bytes."""


class KeyGenerationError(PaillierError, PeerError):
    """A party of the joint key generation sent something that the protocol forbids."""


# --- plaintexts and ciphertexts -----------------------------------------------------------------


class PlaintextRangeError(PaillierError, UsageError):
    """A plaintext outside the signed range (−N/2, N/2)."""


class WeightError(PaillierError, UsageError):
    """A weight that no weighted product takes: negative, or none at all."""


class CiphertextError(PaillierError, PeerError, ValueError):
    """A value that is no ciphertext under this key."""


class CiphertextRangeError(CiphertextError):
    """A ciphertext outside [1, N²)."""


class CiphertextUnitError(CiphertextError):
    """A ciphertext that shares a factor with N."""


class PlaintextProofError(PaillierError, PeerError):
    """A proof of plaintext knowledge that does not hold for these ciphertexts and context."""


# --- shares of a decryption ---------------------------------------------------------------------


class ShareError(PaillierError, PeerError):
    """Shares that do not open a ciphertext.

    Attributes:
        indices: the parties whose shares were refused, ascending.
    """

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(sorted(set(indices)))


class DuplicateShareError(ShareError):
    """Two shares of one party."""


class ForeignShareError(ShareError):
    """A share whose index belongs to none of the key's parties."""


class ZeroIndexError(ShareError):
    """A share with index 0, where the secret itself lies."""


class TooFewSharesError(ShareError):
    """Fewer than t shares."""


class WrongCiphertextError(ShareError):
    """A share of another ciphertext."""


class WrongKeyError(ShareError):
    """A share under another key."""


class WrongSessionError(ShareError):
    """A share that was made for another session."""


class ShareProofError(ShareError):
    """A share whose proof does not hold."""


class ShareRangeError(ShareError):
    """A share outside [1, N²), or one that has a factor in common with N."""


class BadSharesError(ShareError):
    """Shares refused for several different reasons, so that fewer than t remain."""


class CombinationError(ShareError):
    """No subset of the shares opens: N does not divide c′ − 1."""
