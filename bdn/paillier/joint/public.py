"""What everybody computes from broadcasts alone: nothing here touches a secret.

Parties call these functions on what they heard, and `audit` replays them on a whole transcript.

| letter | meaning |
|---|---|
| N, p, q | the modulus N = pq |
| g, e_i | a base of the biprimality test; the exponent of party i in it |
| θ′ | the opened mask NΔR + Δφβ (Nishide–Sakurai) |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| s_i | the key share of party i |
| v, v_i | the bases of share proofs |
"""

import functools
import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import gmpy2
from gmpy2 import mpz

from bdn.encoding import digest, transcript
from bdn.errors import shown
from bdn.paillier.errors import KeyGenerationError, ShareError
from bdn.paillier.joint.arithmetic import value_at_zero
from bdn.paillier.joint.messages import (
    BATCH,
    HIDING_BITS,
    TRIAL_BOUND,
    Commitment,
    Message,
    Parameters,
    Private,
    Public,
    Reveal,
)
from bdn.paillier.keys import Ciphertext, PublicKey
from bdn.paillier.numbers import small_primes
from bdn.paillier.threshold import (
    Label,
    PartialDecryption,
    ShareProof,
    challenge_bits,
    combine,
    nonce_bits,
    verify_share,
)

_TRIAL_LOCK = threading.Lock()


# --- who said what ------------------------------------------------------------------------------

Spoken = TypeVar("Spoken", Private, Commitment, Public, Reveal)


def by_sender(
    messages: Sequence[Message], kind: type[Spoken], round_name: str, parties: int
) -> list[Spoken]:
    """Return the messages of one kind and round by sender 1 … ℓ.

    Raises `KeyGenerationError` naming the parties whose message is missing, repeated, or of
    another kind or round.
    """
    found: dict[int, list[Message]] = {sender: [] for sender in range(1, parties + 1)}
    for message in messages:
        found.setdefault(message.sender, []).append(message)
    wrong = [
        sender for sender, said in found.items()
        if len(said) != 1 or not isinstance(said[0], kind) or said[0].round != round_name
        or not 1 <= sender <= parties
    ]
    if wrong:
        raise _deviation(round_name, "no message of its round, or more than one", wrong)
    return [said for sender in range(1, parties + 1)
            for said in found[sender] if isinstance(said, kind)]


def check_commitments(
    messages: Sequence[Message], round_name: str, parties: int, count: int
) -> list[tuple[bytes, ...]]:
    """Return everybody's ``count`` digests; raises `KeyGenerationError` as `by_sender`."""
    heard = [message.digests for message in by_sender(messages, Commitment, round_name, parties)]
    wrong = [sender for sender, digests in enumerate(heard, 1)
             if len(digests) != count or any(len(one) != 32 for one in digests)]
    if wrong:
        raise _deviation(round_name, f"not {count} digests", wrong)
    return heard


def check_broadcast(
    messages: Sequence[Message],
    commitments: Sequence[tuple[bytes, ...]],
    round_name: str,
    limits: Sequence[range],
    units: Sequence[int] = (),
) -> list[tuple[int, ...]]:
    """Return everybody's values in a broadcast, by sender.

    Raises `KeyGenerationError` naming the parties whose message does not open their commitment, or
    whose values are not as many as ``limits``, each in its range and coprime to its modulus of
    ``units`` (where given).
    """
    heard = by_sender(messages, Public, round_name, len(commitments))
    wrong = [message.sender for message, digests in zip(heard, commitments, strict=True)
             if not are_within(message.values, limits) or (message.digest(),) != digests]
    wrong += [message.sender for message in heard if message.sender not in wrong and any(
        gmpy2.gcd(value, N) != 1 for value, N in zip(message.values, units, strict=False))]
    if wrong:
        raise _deviation(
            round_name, "values that are not allowed, or not those committed to", wrong)
    return [message.values for message in heard]


def check_private(
    messages: Sequence[Message],
    commitments: Sequence[tuple[bytes, ...]],
    round_name: str,
    receiver: int,
    limits: Callable[[int], Sequence[range]],
) -> list[tuple[int, ...]]:
    """Return everybody's private values for ``receiver``, by sender.

    ``limits`` gives the ranges of a sender's values. Raises `KeyGenerationError` naming the parties
    whose message is not as its commitment and its ranges say.
    """
    heard = by_sender(messages, Private, round_name, len(commitments))
    wrong = [message.sender for message, digests in zip(heard, commitments, strict=True)
             if message.receiver != receiver
             or not are_within(message.values, limits(message.sender))
             or message.digest() != digests[receiver - 1]]
    if wrong:
        raise _deviation(
            round_name, "private values that are not allowed, or not those committed to", wrong)
    return [message.values for message in heard]


def check_reveals(
    messages: Sequence[Message], commitments: Sequence[tuple[bytes, ...]]
) -> list[bytes]:
    """Return everybody's seeds; raises `KeyGenerationError` naming who opens no commitment."""
    heard = by_sender(messages, Reveal, "reveal", len(commitments))
    wrong = [message.sender for message, digests in zip(heard, commitments, strict=True)
             if (message.digest(),) != digests]
    if wrong:
        raise _deviation("reveal", "another seed than it committed to", wrong)
    return [message.seed for message in heard]


def are_within(values: tuple[int, ...], limits: Sequence[range]) -> bool:
    """Whether ``values`` are integers, as many as ``limits``, and each in its range."""
    return len(values) == len(limits) and all(
        type(value) is int and value in limit
        for value, limit in zip(values, limits, strict=True))


def _deviation(round_name: str, what: str, parties: Sequence[int]) -> KeyGenerationError:
    named = ", ".join(shown(party) for party in sorted(set(parties))[:5])
    return KeyGenerationError(f"round {round_name!r}: party {named} sent {what}", parties)


# --- the modulus --------------------------------------------------------------------------------


def moduli_limits(parameters: Parameters) -> list[range]:
    """Return the ranges of the points of a batch of candidates."""
    return [range(parameters.product_field)] * BATCH


def open_moduli(parameters: Parameters, heard: Sequence[Sequence[int]]) -> list[mpz]:
    """Return the candidates N of one batch, from everybody's points.

    Raises `KeyGenerationError` for a candidate that honest parties cannot have made: one of another
    length, with a factor in the sieve, or other than 1 modulo Q (which 4 divides).
    """
    field, M, Q = (parameters.product_field, parameters.sieve_modulus, parameters.residue_modulus)
    moduli = [value_at_zero(column, field) for column in zip(*heard, strict=True)]
    for N in moduli:
        if N.bit_length() != parameters.bits or N % Q != 1 or gmpy2.gcd(N, M) != 1:
            raise KeyGenerationError(
                "a candidate for N has a wrong length, a wrong residue or a factor in the sieve")
    return moduli


COINS = [range(1 << 256)]
"""The range of one party's coins."""


def coins_of(heard: Sequence[Sequence[int]]) -> bytes:
    """Return everybody's coins as one seed. Nobody chose it unless everybody colluded."""
    return digest("bdn/paillier/joint/coins", *(row[0].to_bytes(32, "big") for row in heard))


def without_small_factors(moduli: Sequence[mpz]) -> list[mpz]:
    """Return the candidates that survive public trial division.

    Parties that live in one process ask this about the same public numbers; it is computed once.
    """
    with _TRIAL_LOCK:
        return list(_without_small_factors(tuple(moduli)))


@functools.lru_cache(maxsize=1)
def _without_small_factors(moduli: tuple[mpz, ...]) -> tuple[mpz, ...]:
    return tuple(N for N in moduli if gmpy2.gcd(N, _trial_product(N)) == 1)


def biprimality_base(N: int, number: int, coins: bytes = b"") -> mpz:
    """Return the ``number``-th public base g for N, with Jacobi symbol (g/N) = 1.

    It is hashed from both and from ``coins`` that were drawn when N was fixed.
    """
    width = (int(N).bit_length() + 7) // 8
    counter = 0
    while True:
        block = transcript("bdn/paillier/biprimality", coins, int(N).to_bytes(width, "big"),
                           number.to_bytes(8, "big"), counter.to_bytes(8, "big"))
        g = mpz(int.from_bytes(hashlib.shake_256(block).digest(width + 16), "big")) % N
        if gmpy2.jacobi(g, N) == 1:
            return g
        counter += 1


def passes_test(N: mpz, powers: Sequence[int]) -> bool:
    """Return whether g^{e_1} = ± ∏_{i>1} g^{e_i} (Boneh–Franklin), from the parties' powers."""
    product = mpz(1)
    for power in powers[1:]:
        product = product * power % N
    return powers[0] in (product, N - product)


def passing(moduli: Sequence[mpz], heard: Sequence[Sequence[int]]) -> list[mpz]:
    """Return those of ``moduli`` that pass, from everybody's powers (one for each modulus)."""
    columns = zip(*heard, strict=True)
    return [N for N, column in zip(moduli, columns, strict=True) if passes_test(N, column)]


def is_coprime(modulus: mpz, heard: Sequence[Sequence[int]]) -> bool:
    """Return whether gcd(modulus, x) = 1, from everybody's points of random multiples of x."""
    divisor = mpz(modulus)
    for column in zip(*heard, strict=True):
        divisor = gmpy2.gcd(divisor, value_at_zero(column, int(modulus)))
    return bool(divisor == 1)


def common_modulus(parameters: Parameters, N: int) -> mpz:
    """Return N − 1 without its factors 2 and r ≤ ℓ.

    Every odd common factor of p − 1 and q − 1 divides it: an odd prime r divides both exactly when
    it divides N − 1 and p + q − 2. Primes up to ℓ divide neither, since p ≡ q ≡ −1 there, and
    leaving them out makes BGW possible.
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
    """Return a bound in bits on θ′ = NΔR + Δφβ: R < ℓ·2^(HIDING)·ℓN hides φβ/N < ℓN."""
    delta = math.factorial(parameters.parties)
    mask = N * delta * parameters.parties * mask_bound(parameters, N)
    return int(mask + delta * N * N * parameters.parties).bit_length() + 1


def mask_bound(parameters: Parameters, N: int) -> int:
    """Return what each party's R_i is below: it has 128 bits more than φβ/N."""
    return parameters.parties * N << HIDING_BITS


def coefficient_bound(parameters: Parameters, N: int) -> int:
    """Return the bound on coefficients of the integer sharing of ΔR.

    Knowing t − 1 shares, replacing R by R + δ changes the polynomial by −δΔ∏(1 − x/i), whose
    coefficients are integers below δΔ(ℓ + 1).
    """
    parties = parameters.parties
    delta = math.factorial(parties)
    return delta * (parties + 1) * mask_bound(parameters, N) << HIDING_BITS


def integer_share_bound(parameters: Parameters, N: int) -> int:
    """Return what one party's share of another's ΔR over the integers is below."""
    parties, degree = parameters.parties, parameters.degree
    highest: int = degree * parties**degree * coefficient_bound(parameters, N)
    return math.factorial(parties) * mask_bound(parameters, N) + highest


def share_bits(parameters: Parameters, N: int) -> int:
    """Return the public bound on |Δ s_i| in bits, s_i = N(ΔR + Σ r_k i^k) − θ′."""
    parties = parameters.parties
    delta = math.factorial(parties)
    polynomial = parties * integer_share_bound(parameters, N)
    bound = delta * (N * polynomial + (1 << theta_field_bits(parameters, N)))
    return int(bound).bit_length()


def open_theta(parameters: Parameters, N: int, field: int, points: Sequence[int]) -> mpz:
    """Return θ′ from everybody's points; raises `KeyGenerationError` if it is no unit modulo N."""
    theta = value_at_zero(points, field)
    if gmpy2.gcd(theta, N) != 1 or theta.bit_length() > theta_field_bits(parameters, N):
        raise KeyGenerationError("θ′ is no unit modulo N, or out of range")
    return theta


def v_and_seed(N: int, coins: bytes) -> tuple[int, bytes]:
    """Return v, a square modulo N², and the seed of h, hashed from everybody's coins."""
    width = (2 * int(N).bit_length() + 128 + 7) // 8
    modulus = int(N).to_bytes(width, "big")
    shared = digest("bdn/paillier/coins", modulus, coins)
    x = int.from_bytes(hashlib.shake_256(transcript("bdn/paillier/v", shared)).digest(width), "big")
    v = x % (N * N)
    if math.gcd(v, N) != 1:
        raise KeyGenerationError("the common coins give a factor of N")
    return int(v * v % (N * N)), digest("bdn/paillier/seed", shared)


def assemble(
    parameters: Parameters, N: int, theta: int, coins: bytes, keys: Sequence[int]
) -> PublicKey:
    """Return the public key.

    The shared polynomial is N·(…) − θ′, so f(0) = NΔR − θ′ = −Δφβ. Mind the sign: θ = f(0) mod N =
    −θ′ mod N.
    """
    N = int(N)
    v, seed = v_and_seed(N, coins)
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
    """Return a ciphertext that the key itself determines, and its plaintext."""
    message = int.from_bytes(key.digest, "big") % (key.N // 2)
    return key.encrypt(message, r=2), message


def trial_limits(key: PublicKey) -> list[range]:
    """Return the ranges of a share (c_i, e, z) of the trial ciphertext."""
    longest = 1 << nonce_bits(key) + 1
    return [range(1, key.N2), range(1 << challenge_bits(key)), range(-longest, longest)]


def check_trial(key: PublicKey, heard: Sequence[Sequence[int]]) -> None:
    """Check that the trial ciphertext opens with the broadcast shares (c_i, e, z).

    Raises `KeyGenerationError` naming the parties whose v_i does not fit their share, or nobody
    where the key does not work.
    """
    c, message = trial_ciphertext(key)
    label = Label.of(key, [mpz(c.value)], TRIAL_SESSION)
    parts = [PartialDecryption(i, int(c_i), ShareProof(int(e), int(z)), label)
             for i, (c_i, e, z) in enumerate(heard, 1)]
    wrong = []
    for part in parts:
        try:
            verify_share(key, c, part, TRIAL_SESSION)
        except ShareError:
            wrong.append(part.index)
    if wrong:
        raise _deviation("trial", "a share that does not fit its verification key", wrong)
    try:
        opened = combine(key, c, parts[: key.threshold], TRIAL_SESSION)
    except ShareError as error:
        raise KeyGenerationError(f"the trial decryption fails: {error}") from error
    if opened != message:
        raise KeyGenerationError("the finished key does not open a trial ciphertext")
