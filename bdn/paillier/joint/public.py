"""What everybody computes from broadcasts alone: nothing here touches a secret.

Parties call these functions on what they heard, and `audit` replays them on a whole transcript.

Letters: N = pq, g a base of the biprimality test, e_i the exponent of party i in it, θ′ the opened
mask NΔR + Δφβ (Nishide–Sakurai), Δ = ℓ!, s_i the key share of party i, v and v_i the bases of
share proofs.
"""

import functools
import hashlib
import math
import threading
from collections.abc import Sequence

import gmpy2
from gmpy2 import mpz

from bdn.encoding import digest, transcript
from bdn.paillier.errors import KeyGenerationError, ShareError
from bdn.paillier.joint.arithmetic import value_at_zero
from bdn.paillier.joint.messages import HIDING_BITS, TRIAL_BOUND, Parameters, Public
from bdn.paillier.keys import Ciphertext, PublicKey
from bdn.paillier.numbers import small_primes
from bdn.paillier.threshold import (
    Label,
    PartialDecryption,
    ShareProof,
    combine,
    verify_share,
)

_TRIAL_LOCK = threading.Lock()


def values_of(
    messages: Sequence[Public], round_name: str, parties: int, count: int | None = None
) -> list[tuple[int, ...]]:
    """The broadcasts of one round by sender 1 … ℓ.

    Raises `KeyGenerationError` when one is missing, repeated, of another round, or (with
    ``count``) of another length.
    """
    senders = [message.sender for message in messages if message.round == round_name]
    if len(senders) != len(messages) or sorted(senders) != list(range(1, parties + 1)):
        raise KeyGenerationError(f"round {round_name!r}: broadcasts of parties {senders}")
    heard = [m.values for m in sorted(messages, key=lambda message: message.sender)]
    if len({len(values) for values in heard}) != 1 or count not in (None, len(heard[0])):
        raise KeyGenerationError(f"round {round_name!r}: broadcasts of different lengths")
    return heard


# --- the modulus --------------------------------------------------------------------------------


def open_moduli(parameters: Parameters, heard: Sequence[Sequence[int]]) -> list[mpz]:
    """The candidates N of one batch, from everybody's points."""
    field = parameters.product_field
    return [value_at_zero(column, field) for column in zip(*heard, strict=True)]


def without_small_factors(moduli: Sequence[mpz]) -> list[mpz]:
    """The candidates that survive public trial division.

    Parties that live in one process ask this about the same public numbers; it is computed once.
    """
    with _TRIAL_LOCK:
        return list(_without_small_factors(tuple(moduli)))


@functools.lru_cache(maxsize=1)
def _without_small_factors(moduli: tuple[mpz, ...]) -> tuple[mpz, ...]:
    return tuple(N for N in moduli if gmpy2.gcd(N, _trial_product(N)) == 1)


def biprimality_base(N: int, number: int) -> mpz:
    """The ``number``-th public base g for N: hashed from both, with Jacobi symbol (g/N) = 1."""
    width = (int(N).bit_length() + 7) // 8
    counter = 0
    while True:
        block = transcript("bdn/paillier/biprimality", int(N).to_bytes(width, "big"),
                           number.to_bytes(8, "big"), counter.to_bytes(8, "big"))
        g = mpz(int.from_bytes(hashlib.shake_256(block).digest(width + 16), "big")) % N
        if gmpy2.jacobi(g, N) == 1:
            return g
        counter += 1


def passes_test(N: mpz, powers: Sequence[int]) -> bool:
    """Boneh–Franklin: g^{e_1} = ± ∏_{i>1} g^{e_i}, from the powers of parties 1 … ℓ."""
    product = mpz(1)
    for power in powers[1:]:
        product = product * power % N
    return powers[0] in (product, N - product)


def passing(moduli: Sequence[mpz], heard: Sequence[Sequence[int]]) -> list[mpz]:
    """Those of ``moduli`` that pass, from everybody's list of powers (one for each modulus)."""
    columns = zip(*heard, strict=True)
    return [N for N, column in zip(moduli, columns, strict=True) if passes_test(N, column)]


def is_coprime(modulus: mpz, heard: Sequence[Sequence[int]]) -> bool:
    """gcd(modulus, x) = 1, from everybody's points of random multiples of x."""
    divisor = mpz(modulus)
    for column in zip(*heard, strict=True):
        divisor = gmpy2.gcd(divisor, value_at_zero(column, int(modulus)))
    return bool(divisor == 1)


def common_modulus(parameters: Parameters, N: int) -> mpz:
    """N − 1 without its factors 2 and r ≤ ℓ: what an odd common factor of p − 1 and q − 1 divides.

    An odd prime r divides both exactly when it divides N − 1 and p + q − 2. Primes up to ℓ divide
    neither, since p ≡ q ≡ −1 there, and leaving them out makes BGW possible.
    """
    rest = mpz(N - 1)
    for prime in small_primes(max(3, parameters.parties + 1)).tolist():
        rest = gmpy2.remove(rest, prime)[0]
    return rest


def _trial_product(N: mpz) -> mpz:
    """∏ of the primes below the trial bound and below √N."""
    return _primorial(min(TRIAL_BOUND, 1 << (math.isqrt(N).bit_length() - 1)))


@functools.cache
def _primorial(bound: int) -> mpz:
    return _product(small_primes(bound).tolist())


def _product(numbers: list[int]) -> mpz:
    """The product by halves, so that factors stay balanced."""
    if len(numbers) < 8:
        return mpz(math.prod(numbers))
    half = len(numbers) // 2
    return _product(numbers[:half]) * _product(numbers[half:])


# --- the key ------------------------------------------------------------------------------------


def theta_field_bits(parameters: Parameters, N: int) -> int:
    """θ′ = NΔR + Δφβ is below 2^this: R < ℓ·2^(HIDING)·ℓN hides φβ/N < ℓN."""
    delta = math.factorial(parameters.parties)
    mask = N * delta * parameters.parties * mask_bound(parameters, N)
    return int(mask + delta * N * N * parameters.parties).bit_length() + 1


def mask_bound(parameters: Parameters, N: int) -> int:
    """Each party's R_i is below this: 128 bits more than φβ/N has."""
    return parameters.parties * N << HIDING_BITS


def coefficient_bound(parameters: Parameters, N: int) -> int:
    """Coefficients of the integer sharing of ΔR: 128 bits more than any shift of R needs.

    Knowing t − 1 shares, replacing R by R + δ changes the polynomial by −δΔ∏(1 − x/i), whose
    coefficients are integers below δΔ(ℓ + 1).
    """
    parties = parameters.parties
    delta = math.factorial(parties)
    return delta * (parties + 1) * mask_bound(parameters, N) << HIDING_BITS


def share_bits(parameters: Parameters, N: int) -> int:
    """The public bound on |Δ s_i| in bits, s_i = N(ΔR + Σ r_k i^k) − θ′."""
    parties, degree = parameters.parties, parameters.degree
    delta = math.factorial(parties)
    polynomial = delta * mask_bound(parameters, N) * parties + degree * parties ** (
        degree + 1
    ) * coefficient_bound(parameters, N)
    bound = delta * (N * polynomial + (1 << theta_field_bits(parameters, N)))
    return int(bound).bit_length()


def open_theta(parameters: Parameters, N: int, field: int, points: Sequence[int]) -> mpz:
    """θ′ from everybody's points; raises `KeyGenerationError` if it shares a factor with N."""
    theta = value_at_zero(points, field)
    if gmpy2.gcd(theta, N) != 1 or theta.bit_length() > theta_field_bits(parameters, N):
        raise KeyGenerationError("θ′ is no unit modulo N, or out of range")
    return theta


def common_coins(N: int, coins: Sequence[int]) -> tuple[int, bytes]:
    """(v, seed): a square modulo N² and the seed of h, hashed from everybody's coins."""
    width = (2 * int(N).bit_length() + 128 + 7) // 8
    modulus = int(N).to_bytes(width, "big")
    shared = digest("bdn/paillier/coins", modulus, *(int(c).to_bytes(32, "big") for c in coins))
    x = int.from_bytes(hashlib.shake_256(transcript("bdn/paillier/v", shared)).digest(width), "big")
    v = x % (N * N)
    if math.gcd(v, N) != 1:
        raise KeyGenerationError("the common coins give a factor of N")
    return int(v * v % (N * N)), digest("bdn/paillier/seed", shared)


def assemble(
    parameters: Parameters, N: int, theta: int, coins: Sequence[int], keys: Sequence[int]
) -> PublicKey:
    """The public key. The shared polynomial is N·(…) − θ′, so f(0) = NΔR − θ′ = −Δφβ: mind the
    sign, θ = f(0) mod N = −θ′ mod N.
    """
    N = int(N)
    v, seed = common_coins(N, coins)
    return PublicKey(
        N=N,
        theta=int(-theta % N),
        v=v,
        verification_keys=tuple(int(key) for key in keys),
        threshold=parameters.threshold,
        seed=seed,
        share_bits=share_bits(parameters, N),
    )


# --- the trial ----------------------------------------------------------------------------------


TRIAL_SESSION = b"bdn/paillier/trial"


def trial_ciphertext(key: PublicKey) -> tuple[Ciphertext, int]:
    """A ciphertext that the key itself determines, and its plaintext."""
    message = int.from_bytes(key.digest, "big") % (key.N // 2)
    return key.encrypt(message, r=2), message


def check_trial(key: PublicKey, heard: Sequence[Sequence[int]]) -> None:
    """The trial ciphertext opens with the broadcast shares (c_i, e, z), and all proofs hold.

    Raises `KeyGenerationError`: the key does not work, or some v_i does not fit its share.
    """
    c, message = trial_ciphertext(key)
    label = Label.of(key, [mpz(c.value)], TRIAL_SESSION)
    parts = [PartialDecryption(i, int(c_i), ShareProof(int(e), int(z)), label)
             for i, (c_i, e, z) in enumerate(heard, 1)]
    try:
        opened = combine(key, c, parts[: key.threshold], TRIAL_SESSION)
        for part in parts[key.threshold :]:
            verify_share(key, c, part, TRIAL_SESSION)
    except ShareError as error:
        raise KeyGenerationError(f"the trial decryption fails: {error}") from error
    if opened != message:
        raise KeyGenerationError("the finished key does not open a trial ciphertext")
