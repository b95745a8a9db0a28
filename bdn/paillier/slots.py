"""Many small integers side by side in one Paillier plaintext: slots of equal width.

Slot 0 is the lowest. Sums of packed plaintexts are sums of the slots as long as no slot outgrows
its width; how wide it must be is the cipher's business. Two forms:

- *unsigned* slots hold 0 … 2^w − 1;
- *signed* slots hold −2^(w−1) … 2^(w−1) − 1 and are packed as Σ x_i 2^(wi) over the integers, so
  that the plaintext itself may be negative. An offset of 2^(w−1) in every slot, added *once* after
  decryption, makes them unsigned again: adding it when packing would add it once a contributor.
"""

from collections.abc import Sequence

import gmpy2
import numpy as np
from gmpy2 import mpz

from bdn.paillier.fixedpoint import Integers
from bdn.paillier.vector_errors import SpoiledSumError


def slots_in(modulus_bits: int, width: int) -> int:
    """Slots of ``width`` bits whose every content stays below 2^(modulus_bits − 2) < N/2."""
    return max(0, (modulus_bits - 2) // width)


def pack(values: Integers, width: int, slots: int) -> list[mpz]:
    """Unsigned ``values`` (length,) as plaintexts of ``slots`` slots; the last may be partial.

    A value that outgrows its slot carries into the next, as sums do.
    """
    numbers = values.tolist()
    pieces = [numbers[at : at + slots] for at in range(0, len(numbers), slots)]
    if numbers and min(numbers) >= 0 and max(numbers) < 1 << width:
        return [gmpy2.pack(piece, width) for piece in pieces]
    return [sum((mpz(x) << (width * i) for i, x in enumerate(piece)), mpz(0)) for piece in pieces]


def unpack(plaintexts: Sequence[int | mpz], width: int, slots: int, length: int) -> Integers:
    """The ``length`` unsigned values that `pack` placed; int64, so ``width`` ≤ 63.

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


def pack_signed(values: Integers, width: int, slots: int) -> list[mpz]:
    """Signed ``values`` (length,) as plaintexts, which may be negative."""
    half = 1 << (width - 1)
    return [
        plaintext - half * _ones(min(slots, len(values) - at * slots), width)
        for at, plaintext in enumerate(pack(values + half, width, slots))
    ]


def unpack_signed(plaintexts: Sequence[int | mpz], width: int, slots: int, length: int) -> Integers:
    """The ``length`` signed values that sums of `pack_signed` plaintexts hold."""
    half = 1 << (width - 1)
    offset = half * _ones(slots, width)
    return unpack([mpz(p) + offset for p in plaintexts], width, slots, length) - half


def _ones(count: int, width: int) -> mpz:
    """1 in each of ``count`` slots: (2^(width·count) − 1) / (2^width − 1)."""
    return ((mpz(1) << (width * count)) - 1) // ((mpz(1) << width) - 1)
