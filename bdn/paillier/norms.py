"""The norm of a sealed vector from a few random sums: what a key holder may learn, and no more.

A packed vector lies in n ciphertexts. A *probe* is one random ±1 combination of them, computed by
anybody under encryption: ∏ c_i^{ε_i}. Opened, it shows for each slot position l the sum

    S_l = Σ_i ε_i q_il,        E[Σ_l S_l²] = Σ_l Σ_i q_il² = ‖q‖²    (cross terms have mean zero)

so R probes estimate the norm as sqrt(Σ_j Σ_l S_jl² / R) in levels. This is the sketch of Alon,
Matias and Szegedy (1999), and Achlioptas' ±1 form of the Johnson–Lindenstrauss projection (2003).

| letter | meaning |
|---|---|
| q | the signed levels of the vector; q_il: ciphertext i, slot l |
| n | ciphertexts that hold probed entries |
| ε_i, R | a sign, −1 or 1; how many probes |
| K | the offsets' part of a probe's plaintext, which is public |
| w | width of a slot |

**How good.** One sum's square has a relative variance of at most 2, so with R·L slot sums that are
nearly independent, as for vectors that nobody shaped, the norm's relative deviation is about
sqrt(1 / (2·R·L)). But the slots of one probe share their signs: *independent* draws are only R. A
sender who knows the layout can put equal contents into two ciphertexts and nothing elsewhere; each
probe of it is zero with chance 1/2, and all R are with chance 2^−R. For every vector whatever,
E[Z²] ≤ 3·E[Z]² for one probe's Z = Σ_l S_l² (Khintchine), so that by the lower-tail bound for
non-negative variables (Maurer 2003) the estimate of ‖q‖² falls below x·‖q‖² with chance at most
exp(−R·(1 − x)²/6). `escape_bound` is that. It is a bound: 2^−R above is the worst case we know of.

**What it reveals** to whoever opens: n·R-fold signed sums, R·L linear functionals of q with public
coefficients. `check_probes` refuses what would give more than one in `HIDING` of the vector away.

**A malicious sender.** The plaintexts P_i of its ciphertexts are any integers modulo N. The probe
opens to Σ ε_i P_i, which is read in balanced digits of w bits: contents beyond the slots look large
or are out of range altogether (`UNREADABLE`). What every choice of signs hides is exactly a content
whose *double* is small modulo N: half a slot's range in even numbers, or (N + 1)/2. Eq. (5) with an
odd weight spoils its sum for all to see, and with an even one it adds what the doubles say.
"""

import hashlib
import math
from collections.abc import Sequence

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from bdn.encoding import transcript
from bdn.paillier import slots
from bdn.paillier.packed import PackedCipher
from bdn.paillier.vector_errors import BudgetError, SpoiledSumError, VectorShapeError

HIDING = 8
"""A probed vector has at least so many ciphertexts for each probe."""

UNREADABLE = 1 << 62
"""The norm of a vector whose probes lie outside their slots; also what larger norms count as."""

Signs = NDArray[np.int8]


def check_probes(cipher: PackedCipher, repetitions: int) -> None:
    """Raise `BudgetError` unless ``repetitions`` probes leave most of a vector hidden."""
    if repetitions < 1:
        raise BudgetError(f"{repetitions} probes estimate nothing; take at least one")
    needed = HIDING * repetitions
    if cipher.probed_ciphertexts < needed:
        raise BudgetError(
            f"{repetitions} probes of a vector in {cipher.probed_ciphertexts} ciphertexts reveal "
            f"too much of it: at least {needed} ciphertexts are needed; take fewer probes, a "
            "shorter key or a larger model"
        )


def probe_signs(seed: bytes, repetition: int, count: int) -> Signs:
    """ε, int8 of shape (count,): −1 or 1 by the bits of SHAKE-256 over seed and repetition."""
    text = transcript("bdn/norm-probe", seed, repetition.to_bytes(8, "big"))
    stream = hashlib.shake_256(text).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8), count=count)
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def make_probes(
    cipher: PackedCipher, ciphertexts: Sequence[mpz], seed: bytes, repetitions: int
) -> list[mpz]:
    """``repetitions`` probes of a sealed vector, whose offsets they do not contain.

    ``ciphertexts`` are all of the vector's, units modulo N² (`VectorCipher.verify` has said so);
    those of entries that are not probed are left alone. Deterministic. Raises `BudgetError` as
    `check_probes`, `VectorShapeError` for another number of ciphertexts.
    """
    check_probes(cipher, repetitions)
    if len(ciphertexts) != cipher.ciphertext_count:
        raise VectorShapeError(
            f"{len(ciphertexts)} ciphertexts; a vector has {cipher.ciphertext_count}")
    probed = list(ciphertexts[: cipher.probed_ciphertexts])
    return [_combination(cipher, probed, probe_signs(seed, j, len(probed)))
            for j in range(repetitions)]


def _combination(cipher: PackedCipher, ciphertexts: Sequence[mpz], signs: Signs) -> mpz:
    """∏ c_i^{ε_i} · (1 + N)^{−K} modulo N², with one inversion."""
    N, N2 = mpz(cipher.public_key.N), mpz(cipher.public_key.N2)
    above, below = mpz(1), mpz(1)
    for c, sign in zip(ciphertexts, signs.tolist(), strict=True):
        if sign > 0:
            above = above * c % N2
        else:
            below = below * c % N2
    K = _offsets(cipher, signs)
    return above * gmpy2.invert(below, N2) % N2 * ((1 - K * N) % N2) % N2


def _offsets(cipher: PackedCipher, signs: Signs) -> mpz:
    """K: 2^(v−1) in every slot that holds an entry, times the ciphertext's sign."""
    width, offset = cipher.slot_bits, cipher.code.offset
    whole, rest = divmod(cipher.probed, cipher.slots)
    full = slots.pack(np.full(cipher.slots, offset), width, cipher.slots)[0]
    K = int(signs[:whole].astype(np.int64).sum()) * full
    if rest:
        K += int(signs[whole]) * slots.pack(np.full(rest, offset), width, cipher.slots)[0]
    return K


def estimate_norm(cipher: PackedCipher, opened: Sequence[int]) -> int:
    """‖q‖ in whole levels from the opened probes, which are signed plaintexts.

    Exact integer arithmetic, so that everybody gets the same number. `UNREADABLE` where a probe is
    outside its slots, as none of an honest vector is, and for norms beyond it.
    """
    if not opened:
        raise BudgetError("no probe was opened")
    total = 0
    for plaintext in opened:
        try:
            sums = slots.unpack_signed([plaintext], cipher.slot_bits, cipher.slots, cipher.slots)
        except SpoiledSumError:
            return UNREADABLE
        total += sum(S * S for S in sums.tolist())
    return min(UNREADABLE, math.isqrt(total // len(opened)))


def escape_bound(repetitions: int, ratio: float) -> float:
    """Most chance with which *any* fixed vector's norm is estimated below ``ratio`` of itself.

    Over the signs alone: a sender who can try g sets of signs has at most g times that chance.
    """
    if not 0 < ratio < 1:
        raise VectorShapeError("a ratio lies between 0 and 1")
    return math.exp(-repetitions * (1 - ratio**2) ** 2 / 6)
