"""What the vector ciphers refuse, one class for each cause (DESIGN.md section 7).

The caller's misuse (`UsageError`) and a sender's misbehaviour (`PeerError`) are kept apart, as in
`bdn.paillier.errors`, whose classes these ciphers pass on where a proof or a share is at fault.
"""

from collections.abc import Sequence

from bdn.errors import PeerError, UsageError
from bdn.paillier.errors import PaillierError, ShareError


class VectorShapeError(PaillierError, UsageError):
    """A vector, clip or weight list of the wrong shape or type."""


class BudgetError(PaillierError, UsageError):
    """Parameters, or a weight, for which the sum would not be exact."""


class OutOfRangeError(PaillierError, UsageError):
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


class SealedFormError(PaillierError, PeerError):
    """A sealed vector, sum or share that is not of the cipher's shape or not canonical."""


class SealedWeightError(PaillierError, PeerError):
    """A sealed vector that carries another weight than the one declared for it."""


class ShareFormError(ShareError):
    """A share of a sum that does not decode, or that two parties' names are on."""


class SpoiledSumError(PaillierError, PeerError):
    """An opened sum that no honest senders can have produced.

    Attributes:
        entries: the entries of the vector that are out of range, or the chunks whose noise is.
    """

    def __init__(self, message: str, entries: Sequence[int]) -> None:
        super().__init__(message)
        self.entries = tuple(entries)


class NoiseError(SpoiledSumError):
    """Ring chunks whose noise has more energy than honest senders' noise can have."""
