"""Fixed point: float vectors as small integers whose weighted sums are exact.

| letter | meaning | here |
|---|---|---|
| v | bits of a value | `value_bits` |
| q | a signed level, \\|q\\| ≤ 2^(v−1) − 1; the value is q·step | `quantise` |
| m | its offset-binary form m = q + 2^(v−1), in [1, 2^v − 1] | `encode` |
| s_k, W | a weight; the most that the weights may add up to | `weight`, `total_weight` |

step = clip / (2^(v−1) − 1), so that ±clip are levels themselves. A weighted sum Σ s_k m_k of honest
vectors lies in [S, S·(2^v − 1)] for S = Σ s_k ≤ W: it fits v + |W| bits, never borrows from a
neighbour, and Σ s_k q_k = Σ s_k m_k − S·2^(v−1), with the weights *actually included*. Nothing is
clamped: an entry beyond its clip raises, and so does a sum that honest vectors cannot give.
"""

from collections.abc import Sequence
from typing import Any

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import ArrayLike, NDArray

from bdn.arguments import as_integer
from bdn.encoding import digest, encode
from bdn.errors import shown
from bdn.paillier.errors import (
    OutOfRangeError,
    ParameterError,
    SpoiledSumError,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_VALUE_BITS, MAX_VALUE_BITS = 2, 32
"""One bit has no symmetric levels; beyond 32 a float32 model has nothing left to keep."""

MAX_SUM_BITS = 62
"""Sums are handled as signed 64-bit integers, with one bit to spare for the offset."""


class FixedPoint:
    """The code of one vector: its length, the clip of each entry, and the budget of its sums.

    Attributes:
        length: entries of the vector.
        clip: float64, shape () or (length,): the largest |value| of each entry.
        value_bits: v.
        total_weight: W.
        step: float64, shape of ``clip``: the value of one level.
        offset: 2^(v−1).
        sum_bits: v + |W|, the width of a slot that holds any honest sum.
        reach: the largest |level| that a sum may hold per unit of weight: that of honest vectors,
            or more where a norm bound lets single entries be larger.
    """

    def __init__(
        self, length: int, clip: ArrayLike, value_bits: int, total_weight: int
    ) -> None:
        """Raises `ParameterError` for a bad length or clip, `ParameterError` for a bad budget."""
        length = as_integer(length, "length", least=1)
        total_weight = as_integer(total_weight, "total_weight", least=1)
        value_bits = as_integer(value_bits, "value_bits")
        if not MIN_VALUE_BITS <= value_bits <= MAX_VALUE_BITS:
            raise ParameterError(
                f"value_bits must be {MIN_VALUE_BITS} to {MAX_VALUE_BITS}, not {shown(value_bits)}"
            )
        self.length, self.value_bits, self.total_weight = length, value_bits, total_weight
        self.max_level = (1 << (self.value_bits - 1)) - 1
        self.offset = self.max_level + 1
        self.reach = self.max_level
        self.sum_bits = self.value_bits + total_weight.bit_length()
        if self.sum_bits > MAX_SUM_BITS:
            raise ParameterError(
                f"{value_bits}-bit values and weights up to {shown(total_weight)} in sum need "
                f"{self.sum_bits} bits; at most {MAX_SUM_BITS} are exact here"
            )
        self.clip = _checked_clip(clip, length, total_weight)
        self.step: Floats = self.clip / self.max_level

    def fingerprint(self) -> bytes:
        """Return 32 bytes that depend on everything in this code, for proofs to bind.

        The clip is hashed by *segments*, runs of entries with one clip: the number of entries in
        eight bytes, and the clip as a binary64 (IEEE 754), both big-endian. A model's vector has
        one or two segments.
        """
        numbers = encode([self.length, self.value_bits, self.total_weight])
        clip = np.broadcast_to(self.clip, (self.length,))
        starts = np.flatnonzero(np.diff(clip, prepend=np.nan) != 0)
        ends = np.append(starts[1:], self.length)
        segments = np.empty((len(starts), 2), dtype=">u8")
        segments[:, 0], segments[:, 1] = ends - starts, clip[starts].view(np.uint64)
        return digest("bdn/fixed-point", numbers, segments.tobytes())

    def quantise(self, vector: ArrayLike) -> Integers:
        """Return the nearest levels q, int64 of shape (length,); ties go to the even level.

        A vector of a shorter float type may reach the clip as that type rounds it: with a clip of
        0.1, ``np.float32(0.1)``, which is a little larger, has the highest level. Raises
        `ParameterError` for another shape or type, `OutOfRangeError` for an entry that is not
        finite or beyond its clip.
        """
        values, kind = _as_floats(vector, "the vector")
        if values.shape != (self.length,):
            raise ParameterError(
                f"the vector has shape {values.shape}; this cipher takes ({self.length},)"
            )
        with np.errstate(over="ignore"):  # a clip beyond float16 or float32 bounds nothing there
            limit = np.maximum(self.clip, self.clip.astype(kind).astype(np.float64))
        if not bool(np.all((np.abs(values) <= limit) & np.isfinite(values))):
            raise self._out_of_range(values)
        levels: Integers = np.rint(values / self.step).astype(np.int64)
        return np.clip(levels, -self.max_level, self.max_level)

    def encode(self, vector: ArrayLike) -> Integers:
        """Return the offset-binary levels m = q + 2^(v−1) of `quantise`, int64 in [1, 2^v − 1]."""
        return self.quantise(vector) + self.offset

    def check_weight(self, weight: int) -> None:
        """Raise `ParameterError` unless 1 ≤ ``weight`` ≤ W."""
        if not 1 <= as_integer(weight, "a weight") <= self.total_weight:
            raise ParameterError(
                f"weight {shown(weight)} is outside 1…{self.total_weight}, the declared total"
            )

    def check_weights(self, weights: Sequence[int]) -> int:
        """Return Σ ``weights``.

        Raises `ParameterError` where the sum exceeds W or a weight is not a positive integer.
        """
        for weight in weights:
            self.check_weight(weight)
        total = sum(int(weight) for weight in weights)
        if total > self.total_weight:
            raise ParameterError(
                f"the weights add up to {total}; {self.total_weight} were declared when sealing"
            )
        return total

    def decode_sums(self, sums: Integers, weight: int) -> Integers:
        """Return Σ s_k q_k from Σ s_k m_k, given Σ s_k = ``weight``; exact.

        Raises `SpoiledSumError` naming entries that honest senders cannot have produced.
        """
        levels = sums - weight * self.offset
        spoiled = np.flatnonzero(np.abs(levels) > weight * self.reach)
        if spoiled.size:
            raise SpoiledSumError(
                f"{spoiled.size} opened sums are out of range, the first at entry {spoiled[0]}: "
                "a contributor sealed values beyond its slots",
                spoiled.tolist(),
            )
        return levels

    def to_values(self, levels: Integers) -> Floats:
        """Return ``levels``·step, float64 of shape (length,)."""
        values: Floats = levels * self.step
        return values

    def _out_of_range(self, values: Floats) -> OutOfRangeError:
        strange = np.flatnonzero(~np.isfinite(values))
        if strange.size:
            worst = int(strange[0])
        else:
            worst = int(np.argmax(np.abs(values) / self.clip))
        clip = self.clip if self.clip.ndim == 0 else self.clip[worst]
        return OutOfRangeError(worst, float(values[worst]), float(clip))


def _as_floats(given: ArrayLike, what: str) -> tuple[Floats, np.dtype[Any]]:
    """``given`` as a new float64 array, and the float type that its numbers were rounded to.

    Raises `ParameterError` where the conversion would lose more than precision: complex numbers,
    masked entries, texts, truth values, integers beyond any float.
    """
    try:
        array = np.asanyarray(given)
        if np.ma.is_masked(array):
            raise ParameterError(f"{what} has masked entries; fill them in or leave them out")
        if array.dtype.kind not in "iufO":
            raise ParameterError(f"{what} has entries of type {array.dtype}; give real numbers")
        if array.dtype.kind == "O" and any(isinstance(x, str | bytes) for x in array.flat):
            raise ParameterError(f"{what} has text among its entries; give real numbers")
        floats = np.array(array, dtype=np.float64)
    except OverflowError as error:
        raise ParameterError(f"{what} has an entry beyond every 64-bit float") from error
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"{what} is not an array of numbers: {shown(str(error))}") from error
    short = array.dtype.kind == "f" and array.dtype.itemsize < floats.dtype.itemsize
    return floats, array.dtype if short else floats.dtype


def _checked_clip(clip: ArrayLike, length: int, total_weight: int) -> Floats:
    result, _ = _as_floats(clip, "clip")
    if result.shape not in ((), (length,)):
        raise ParameterError(
            f"clip has shape {result.shape}; give one number or an array of shape ({length},)"
        )
    if not bool(np.all(np.isfinite(result) & (result > 0))):
        raise ParameterError("every clip must be a finite number above zero")
    smallest_normal = np.finfo(np.float64).tiny * 2.0**MAX_VALUE_BITS
    if not bool(np.all(result >= smallest_normal)):
        raise ParameterError("a clip is too small: its step would not be a normal float64")
    if not bool(np.all(result <= np.finfo(np.float64).max / total_weight / 2)):
        raise ParameterError("a clip is too large: a weighted sum of it would not be a float64")
    result.setflags(write=False)
    return result


# --- slots --------------------------------------------------------------------------------------


def slots_in(modulus_bits: int, width: int) -> int:
    """Return how many slots of ``width`` bits stay below 2^(modulus_bits − 2) < N/2."""
    return max(0, (modulus_bits - 2) // width)


def pack_slots(values: Integers, width: int, slots: int) -> list[mpz]:
    """Return unsigned ``values`` (length,) as plaintexts of ``slots`` slots each.

    The last one may be partial.

    A value that outgrows its slot carries into the next, as sums do.
    """
    numbers = values.tolist()
    pieces = [numbers[at : at + slots] for at in range(0, len(numbers), slots)]
    if numbers and min(numbers) >= 0 and max(numbers) < 1 << width:
        return [gmpy2.pack(piece, width) for piece in pieces]
    return [sum((mpz(x) << (width * i) for i, x in enumerate(piece)), mpz(0)) for piece in pieces]


def unpack_slots(plaintexts: Sequence[int | mpz], width: int, slots: int, length: int) -> Integers:
    """Return the ``length`` unsigned values that `pack_slots` placed; int64, so ``width`` ≤ 63.

    Raises `SpoiledSumError` for a plaintext outside [0, 2^(width·slots)), as no honest sum is.
    """
    numbers: list[int] = []
    for at, plaintext in enumerate(plaintexts):
        if plaintext < 0 or plaintext.bit_length() > width * slots:
            raise SpoiledSumError(
                f"plaintext {at} is outside its {slots} slots of {width} bits: "
                "a contributor sealed values beyond its slots",
                range(at * slots, min(length, (at + 1) * slots)),
            )
        digits = gmpy2.unpack(mpz(plaintext), width)
        numbers += digits
        numbers += [0] * (slots - len(digits))
    return np.array(numbers[:length], dtype=np.int64)


def pack_signed_slots(values: Integers, width: int, slots: int) -> list[mpz]:
    """Return signed ``values`` (length,) as plaintexts, which may be negative."""
    half = 1 << (width - 1)
    return [
        plaintext - half * ones(min(slots, len(values) - at * slots), width)
        for at, plaintext in enumerate(pack_slots(values + half, width, slots))
    ]


def unpack_signed_slots(
    plaintexts: Sequence[int | mpz], width: int, slots: int, length: int
) -> Integers:
    """Return the ``length`` signed values that sums of `pack_signed_slots` plaintexts hold."""
    half = 1 << (width - 1)
    offset = half * ones(slots, width)
    return unpack_slots([mpz(p) + offset for p in plaintexts], width, slots, length) - half


def ones(count: int, width: int) -> mpz:
    """1 in each of ``count`` slots: (2^(width·count) − 1) / (2^width − 1)."""
    return ((mpz(1) << (width * count)) - 1) // ((mpz(1) << width) - 1)
