"""What this package refuses.

The caller's mistakes, a peer's misbehaviour and damaged files are different branches, as in
`bdn.errors`. Errors about shares, parties and entries carry the numbers of those at fault.
"""

from collections.abc import Sequence

from bdn.errors import BdnError, IntegrityError, PeerError, UsageError


class PaillierError(BdnError):
    """Root of this package's errors."""


# --- the caller's mistakes ----------------------------------------------------------------------


class ParameterError(PaillierError, UsageError):
    """Arguments with which the operation is impossible.

    For example a threshold above the number of parties, a plaintext outside (−N/2, N/2), a vector
    of another shape, a weight beyond the declared total, or ciphertexts of two different keys.
    """


class OutOfRangeError(ParameterError):
    """A vector with an entry beyond its clip, or one that is not a finite number.

    Attributes:
        index: the worst entry: the first that is not finite, else the largest |value| / clip.
        value: its value.
        clip: its clip.
    """

    def __init__(self, index: int, value: float, clip: float) -> None:
        super().__init__(
            f"entry {index} is {value!r}, but its clip is ±{clip!r}; "
            "scale the vector down or declare a larger clip"
        )
        self.index, self.value, self.clip = index, value, clip


class NormBoundError(ParameterError):
    """A vector that is longer than the norm bound that its proof would have to show."""


# --- a peer's misbehaviour ----------------------------------------------------------------------


class PublicKeyError(PaillierError, PeerError, ValueError):
    """A public key that no dealer and no joint generation can have made."""


class CiphertextError(PaillierError, PeerError, ValueError):
    """A value outside [1, N²), or one that has a factor in common with N."""


class ProofError(PaillierError, PeerError):
    """A proof of plaintext knowledge that does not hold for these ciphertexts and context."""


class NormProofError(ProofError):
    """A norm proof that does not hold for this sealed vector, bound and context.

    Attributes:
        positions: of several proofs verified together, those that do not hold, ascending.
    """

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


class ShareError(PaillierError, PeerError):
    """Shares that do not open a ciphertext.

    Attributes:
        indices: the parties whose shares were refused, ascending.
    """

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(sorted(set(indices)))


class SealedFormError(PaillierError, PeerError):
    """A sealed vector, sum or share that is not canonical, or not of this cipher's shape."""


class SpoiledSumError(PaillierError, PeerError):
    """An opened sum that honest senders cannot have produced.

    Attributes:
        entries: the entries of the vector that are out of range, or the chunks whose noise is.
    """

    def __init__(self, message: str, entries: Sequence[int]) -> None:
        super().__init__(message)
        self.entries = tuple(entries)


class KeyGenerationError(PaillierError, PeerError):
    """A message that the joint key generation does not allow, or a key that does not work.

    Attributes:
        parties: those who deviated from the protocol, ascending; empty where nobody is known.
    """

    def __init__(self, message: str, parties: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.parties = tuple(sorted(set(parties)))


# --- stored data --------------------------------------------------------------------------------


class StoredShareError(PaillierError, IntegrityError):
    """An encrypted key share that does not open: wrong passphrase, or changed bytes."""
