"""The public key and its ciphertexts: encryption and the homomorphism.

| letter | meaning |
|---|---|
| N, p, q | the modulus N = pq; g = N + 1 |
| M, c | a plaintext; a ciphertext in [1, N²) |
| r | the nonce of the reference mode |
| h, a | base and short exponent of the fast mode |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| f, s_i, θ | the shared polynomial, the share f(i) of party i, θ = f(0) mod N |
| v, v_i | the bases of share proofs |

There are two ways to encrypt. *Reference*: c = (1 + N)^M r^N (Paillier, Eurocrypt 1999). *Fast*:
c = (1 + N)^M h^a with h = (−x²)^N and a of half the length of N (Damgård, Jurik, Nielsen, Int. J.
Inf. Secur. 9, 2010). x is hashed from the key's seed, so that whoever uses the key derives h and
need not trust it. Hiding then rests on DJN's assumption that h^a looks like a random N-th residue,
which they state for p ≡ q ≡ 3 mod 4 and gcd(p − 1, q − 1) = 2. `deal` has that from safe primes,
and `bdn.paillier.joint` tests it. For primes given to `deal_from_primes` with
``require_safe_primes=False``, and for a foreign modulus, the caller must know it. The reference
mode asks for nothing but Paillier's own assumption.
"""

import functools
import hashlib
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, SupportsIndex

import gmpy2
from gmpy2 import mpz

from bdn.arguments import as_bytes, as_integer
from bdn.encoding import (
    at_most,
    bits,
    decode_record,
    digest,
    encode_record,
    signed_bits,
    transcript,
)
from bdn.errors import EncodingError, shown
from bdn.paillier.errors import (
    CiphertextError,
    ParameterError,
    PublicKeyError,
)
from bdn.paillier.numbers import PRIME_ROUNDS, FixedBase, fixed_base, signed, small_primes
from bdn.randomness import Randomness, as_randomness

MASK_BITS = 2 * 128 + 64
"""By how much a proof's mask of the a_j may be longer than a: combiners, hiding, 2^32 of them, and
the 256 rows of a norm proof."""

MAX_MODULUS_BITS = 8192
"""The longest N, in bits: beyond, a single encryption takes seconds."""

MAX_PARTIES = 500
"""The largest ℓ: Δ = ℓ! is a factor of every exponent."""

SMALL_FACTOR = 1 << 16
"""`PublicKey.check` looks for prime factors of N below this."""

SEED_BYTES = 32
"""Length of the seed from which x, and so h, is hashed."""

Residue = Annotated[int, bits(2 * MAX_MODULUS_BITS)]
"""An integer modulo N², as a field of a record."""

Response = Annotated[int, signed_bits(80_000)]
"""A key share or a response that hides one, as a field of a record; no key allows longer ones."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What everybody may know, and nothing else: a public m = p′q′ would factor N.

    Attributes:
        N: the modulus, a product of two odd primes.
        theta: θ = f(0) mod N for the polynomial f that is shared.
        v: a square modulo N², the base of the verification keys.
        verification_keys: v_i = v^(Δ s_i) mod N² for i = 1 … ℓ.
        threshold: t, the shares that open a ciphertext; 0 with no parties at all in a key that
            only encrypts (`encryption_only`).
        seed: 32 bytes from which h is derived.
        share_bits: |Δ s_i| < 2^share_bits for every i; share proofs draw longer nonces than that.
    """

    N: Annotated[int, bits(MAX_MODULUS_BITS)]
    theta: Annotated[int, bits(MAX_MODULUS_BITS)]
    v: Residue
    verification_keys: Annotated[tuple[Residue, ...], at_most(MAX_PARTIES)]
    threshold: int
    seed: Annotated[bytes, at_most(64)]
    share_bits: int

    def __post_init__(self) -> None:
        for name in ("N", "theta", "v", "threshold", "share_bits"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name))
        keys = tuple(as_integer(key, "a verification key") for key in self.verification_keys)
        object.__setattr__(self, "verification_keys", keys)
        object.__setattr__(self, "seed", as_bytes(self.seed, "seed"))
        N = self.N
        if N % 2 == 0:
            raise PublicKeyError("N is even; it must be a product of two odd primes")
        if N < 15:
            raise PublicKeyError(f"N = {shown(N)} is no product of two odd primes")
        if N.bit_length() > MAX_MODULUS_BITS:
            raise PublicKeyError(f"N has {N.bit_length()} bits; at most {MAX_MODULUS_BITS}")
        encryption_only = self.threshold == 0 == self.parties
        if not encryption_only and not 1 <= self.threshold <= self.parties <= MAX_PARTIES:
            raise PublicKeyError(
                f"a threshold of {shown(self.threshold)} with {self.parties} parties"
            )
        if not 1 <= self.theta < N or math.gcd(self.theta, N) != 1:
            raise PublicKeyError("θ is no unit modulo N")
        units = (self.v, *self.verification_keys)
        if any(not 1 <= unit < N * N for unit in units):
            raise PublicKeyError("a verification key is outside [1, N²)")
        if math.gcd(_product_mod(units, N), N) != 1:
            raise PublicKeyError("a verification key shares a factor with N")
        if len(self.seed) != SEED_BYTES:
            raise PublicKeyError(f"the seed must have {SEED_BYTES} bytes, not {len(self.seed)}")
        if not 1 <= self.share_bits <= 8 * self.bits + 4096:  # no made key comes near it
            raise PublicKeyError(f"a bound of {shown(self.share_bits)} bits on shares of this key")

    @classmethod
    def encryption_only(cls, N: int) -> "PublicKey":
        """Return the key of somebody else's modulus: it encrypts, and nobody has shares."""
        N = as_integer(N, "N", least=15)
        width = (N.bit_length() + 7) // 8
        seed = digest("bdn/paillier/encryption-only", N.to_bytes(width, "big"))
        return cls(N, 1, 1, (), 0, seed, 1)

    # --- accessors ---

    @property
    def parties(self) -> int:
        """ℓ, the number of key shares."""
        return len(self.verification_keys)

    @property
    def bits(self) -> int:
        """The length of N in bits."""
        return self.N.bit_length()

    @property
    def N2(self) -> int:
        """N²."""
        return self.N * self.N

    @property
    def delta(self) -> int:
        """Δ = ℓ!."""
        return math.factorial(self.parties)

    @property
    def width(self) -> int:
        """Bytes of a ciphertext on the wire."""
        return (2 * self.bits + 7) // 8

    @property
    def nonce_bits(self) -> int:
        """⌈|N|/2⌉: the length of the fast mode's exponent a."""
        return (self.bits + 1) // 2

    @property
    def digest(self) -> bytes:
        """32 bytes that name this key."""
        return digest("bdn/paillier/key", self.to_bytes())

    # --- encryption ---

    def encrypt(
        self, m: int, r: int | None = None, rng: Randomness | None = None
    ) -> "Ciphertext":
        """Return the ciphertext of ``m`` in (−N/2, N/2).

        With ``r`` (a unit modulo N), exactly (1 + N)^m r^N mod N²; without, the fast mode with an
        exponent drawn from ``rng``. Raises `ParameterError`, `CiphertextError`.
        """
        m = as_integer(m, "a plaintext")
        if abs(m) > self.N // 2:
            raise ParameterError(
                f"a plaintext of {m.bit_length()} bits lies outside (−N/2, N/2), |N| = {self.bits}"
            )
        if r is None:
            a = as_randomness(rng).bits(self.nonce_bits)
            return Ciphertext(self, int(djn_table(self).power(a, m)))
        r = as_integer(r, "the nonce r")
        if math.gcd(r, self.N) != 1:
            raise CiphertextError("the nonce r is no unit modulo N")
        N2 = self.N2
        return Ciphertext(self, int((1 + m * self.N) * gmpy2.powmod(r, self.N, N2) % N2))

    def ciphertext(self, value: int) -> "Ciphertext":
        """Return a received value as a ciphertext, after checking that it is a unit in [1, N²).

        Raises `CiphertextError`, `CiphertextError`.
        """
        value = as_integer(value, "a ciphertext")
        check_ciphertexts(self, [mpz(value)])
        return Ciphertext(self, value)

    # --- trust ---

    def check(self, bits: int | None = None) -> None:
        """Raise `PublicKeyError` for whatever can be seen to be wrong with a key of another maker.

        Construction only checks that the fields have the right sizes. This also refuses an N that
        is prime, a power, or has a small factor; verification keys that do not belong to one
        polynomial of degree t − 1 whose value at 0 is a multiple of p′q′; a v of small order; and
        a bound on shares below the one that honest makers use, with which proofs would give the
        shares away. ``bits`` demands a length of N. Nobody can see whether the maker kept a copy
        of the primes.
        """
        N = mpz(self.N)
        if bits is not None and self.bits != as_integer(bits, "bits"):
            raise PublicKeyError(f"N has {self.bits} bits; {bits} are demanded")
        if gmpy2.is_prime(N, PRIME_ROUNDS):
            raise PublicKeyError("N is prime, so that everybody can decrypt")
        if gmpy2.is_power(N):
            raise PublicKeyError("N is a power, so that everybody can decrypt")
        bound = min(SMALL_FACTOR, 1 << max(2, self.bits // 2 - 2))
        for prime in small_primes(max(bound, self.parties + 1)).tolist():
            if N % prime == 0:
                raise PublicKeyError(f"N has the small factor {prime}")
        if self.threshold == 0:
            return
        if gmpy2.jacobi(self.v, N) != 1 or self.v % N in (1, N - 1):
            raise PublicKeyError("v is no square, or of small order")
        if self.share_bits < (self.delta * self.N2).bit_length():
            raise PublicKeyError("the bound on shares is too short for their proofs to hide them")
        if not self._is_one_sharing():
            raise PublicKeyError("the verification keys do not belong to one secret")

    def _is_one_sharing(self) -> bool:
        """Whether v_i = v^(Δ f(i)) for an f of degree below t whose f(0) is a multiple of p′q′.

        The first t determine the others: f(j) = Σ λ_i f(i) over i = 1 … t, with coefficients that
        are integers because these points are consecutive. At j = 0 the square v is raised to a
        multiple of p′q′, which gives 1 modulo N.
        """
        N, N2 = self.N, mpz(self.N2)
        first = range(1, self.threshold + 1)
        for j in (0, *range(self.threshold + 1, self.parties + 1)):
            expected = mpz(1)
            for i in first:
                top = math.prod(k - j for k in first if k != i)
                coefficient = top // math.prod(k - i for k in first if k != i)
                key = self.verification_keys[i - 1]
                expected = expected * gmpy2.powmod(key, coefficient, N2) % N2
            if expected % N != 1 if j == 0 else expected != self.verification_keys[j - 1]:
                return False
        return True

    # --- the wire ---

    def to_bytes(self) -> bytes:
        """Return the strict encoding of all fields."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes, bits: int | None = None) -> "PublicKey":
        """Decode a key and check it; with ``bits``, demand that length of N.

        Raises `bdn.errors.EncodingError` for other bytes than `to_bytes` writes, and
        `PublicKeyError`, `PublicKeyError` or `PublicKeyError` for a key that is none.
        """
        try:
            key = decode_record(cls, data)
        except EncodingError as error:
            if isinstance(error.__cause__, (PublicKeyError, PublicKeyError,
                                            PublicKeyError)):
                raise error.__cause__ from None
            raise
        if bits is not None and key.bits != as_integer(bits, "bits"):
            raise PublicKeyError(f"N has {key.bits} bits; {bits} are demanded")
        return key


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """An encrypted integer; sums and integer multiples are computed without opening it.

    ``c + d``, ``c - d``, ``-c`` with ciphertexts and plain ints, ``c * k`` with ints: plaintexts
    follow modulo N, and are read as signed. These results are deterministic; to hide *which*
    operation was done, add a fresh encryption of 0.

    Attributes:
        public_key: the key.
        value: c in [1, N²). Received values come through `PublicKey.ciphertext`, which checks.
    """

    public_key: PublicKey
    value: int

    def __add__(self, other: "Ciphertext | SupportsIndex") -> "Ciphertext":
        N, N2 = self.public_key.N, self.public_key.N2
        if isinstance(other, Ciphertext):
            if other.public_key != self.public_key:
                raise ParameterError("ciphertexts of two different keys cannot be added")
            factor = mpz(other.value)
        elif isinstance(other, SupportsIndex):
            factor = mpz(1 + N * (operator.index(other) % N))
        else:
            return NotImplemented
        return Ciphertext(self.public_key, int(self.value * factor % N2))

    __radd__ = __add__

    def __neg__(self) -> "Ciphertext":
        return Ciphertext(self.public_key, int(gmpy2.invert(self.value, self.public_key.N2)))

    def __sub__(self, other: "Ciphertext | SupportsIndex") -> "Ciphertext":
        if isinstance(other, Ciphertext):
            return self + -other
        if isinstance(other, SupportsIndex):
            return self + -operator.index(other)
        return NotImplemented

    def __rsub__(self, other: SupportsIndex) -> "Ciphertext":
        return -self + other

    def __mul__(self, factor: SupportsIndex) -> "Ciphertext":
        if not isinstance(factor, SupportsIndex):
            return NotImplemented
        power = gmpy2.powmod(self.value, operator.index(factor), self.public_key.N2)
        return Ciphertext(self.public_key, int(power))

    __rmul__ = __mul__

    def to_bytes(self) -> bytes:
        """Return the value, big-endian, in exactly ``public_key.width`` bytes."""
        return self.value.to_bytes(self.public_key.width, "big")

    @classmethod
    def from_bytes(cls, public_key: PublicKey, data: bytes) -> "Ciphertext":
        """Decode and check; raises `bdn.errors.EncodingError` or as `PublicKey.ciphertext`."""
        if len(data) != public_key.width:
            raise EncodingError(f"a ciphertext has {public_key.width} bytes, not {len(data)}")
        return public_key.ciphertext(int.from_bytes(data, "big"))


# --- predicates ---------------------------------------------------------------------------------


def check_ciphertexts(public_key: PublicKey, values: Sequence[mpz]) -> None:
    """Raise unless every value is in [1, N²) and coprime to N.

    One gcd serves the whole list, since N shares a factor with a product exactly when it shares
    one with some member. Raises `CiphertextError`, which names the positions.
    """
    N, N2 = mpz(public_key.N), public_key.N2
    outside = [k for k, value in enumerate(values) if not 0 < value < N2]
    if outside:
        raise CiphertextError(f"ciphertexts outside [1, N²) at {_some(outside)}")
    if gmpy2.gcd(_product_mod(values, N), N) != 1:
        shared = [k for k, value in enumerate(values) if gmpy2.gcd(value, N) != 1]
        raise CiphertextError(f"ciphertexts with a factor of N at {_some(shared)}")


# --- values on the wire --------------------------------------------------------------------------


def pack_values(public_key: PublicKey, values: Iterable[int | mpz]) -> bytes:
    """Return values modulo N², big-endian, ``public_key.width`` bytes each."""
    width = public_key.width
    return b"".join([int(value).to_bytes(width, "big") for value in values])


def unpack_values(public_key: PublicKey, data: bytes) -> list[mpz]:
    """Return what `pack_values` wrote; raises `bdn.errors.EncodingError` for a broken length."""
    width = public_key.width
    if len(data) % width:
        raise EncodingError(f"{len(data)} bytes are no whole number of {width}-byte ciphertexts")
    return [mpz(int.from_bytes(data[k : k + width], "big")) for k in range(0, len(data), width)]


def _product_mod(values: Sequence[int], N: int) -> int:
    product = mpz(1)
    for value in values:
        product = product * value % N
    return int(product)


def _some(positions: list[int]) -> str:
    """The first few positions, for a message."""
    more = " …" if len(positions) > 5 else ""
    return ", ".join(map(str, positions[:5])) + more


# --- the fast mode's base -----------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def derive_h(N: int, seed: bytes) -> int:
    """Return h = (−x²)^N mod N², x hashed from (``seed``, N), so that everybody can check it."""
    size = (N.bit_length() + 128 + 7) // 8  # 128 bits more than N, so that x mod N is uniform
    modulus = N.to_bytes((N.bit_length() + 7) // 8, "big")
    counter = 0
    while True:
        block = transcript("bdn/paillier/h", seed, modulus, counter.to_bytes(8, "big"))
        x = int.from_bytes(hashlib.shake_256(block).digest(size), "big") % N
        if math.gcd(x, N) == 1:
            return int(gmpy2.powmod(-x * x, N, N * N))
        counter += 1


def djn_table(public_key: PublicKey) -> FixedBase:
    """Return the table of h: half a second and 25 MB, built once per key."""
    h = derive_h(public_key.N, public_key.seed)
    return fixed_base(h, public_key.N, public_key.nonce_bits + MASK_BITS)


def signed_plaintext(public_key: PublicKey, residue: int) -> int:
    """Return a plaintext modulo N as the signed integer that was meant."""
    return signed(residue, public_key.N)
