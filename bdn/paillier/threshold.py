"""Opening together: key shares, partial decryptions with their proofs, and combining.

Fouque, Poupard, Stern, "Sharing Decryption in the Context of Voting or Lotteries", Financial
Cryptography 2000. Everything that concerns shares is in this file, for one ciphertext and for
vectors of them.

| letter | meaning |
|---|---|
| N, m | the modulus N = pq of safe primes p = 2p′ + 1, q = 2q′ + 1; m = p′q′ is secret |
| M, c | a plaintext and a ciphertext of it |
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| f, s_i | a polynomial of degree t − 1, f(0) = βm, β random; s_i = f(i) is the secret of party i |
| θ | f(0) mod N, public |
| c_i | the share of party i: c_i = c^(2Δ s_i) |
| λ_i | integer Lagrange coefficients: Σ λ_i f(i) = Δ f(0) over the parties i of a subset |
| L | L(x) = (x − 1)/N |
| v, v_i | the verification keys: v a square modulo N², v_i = v^(Δ s_i) |
| e, z, ω | challenge, response and nonce of a proof |
| ρ_j | combiners: random exponents of 128 bits, hashed from all that they combine |

Helpers from elsewhere: `power_each` raises every base to one exponent; `product_of_powers` returns
∏ base_j^{x_j} mod N²; `combiners` draws ρ_j from a seed; `check_ciphertexts` raises unless all
values are units in [1, N²); `pack_values` writes numbers in the key's fixed width, which
`unpack_values` reads. Of a `PublicKey`, ``delta`` is Δ, ``theta`` is θ and ``parties`` is ℓ.

**Opening.** Any t parties' shares give

    c′ = ∏ c_i^(2λ_i) = c^(4Δ²f(0)) = (1 + N)^(4Δ²θM),    M = L(c′)·(4Δ²θ)⁻¹ mod N.

**The proof of a share** (after Shoup, Eurocrypt 2000) shows that log_{c⁴}(c_i²) = log_v(v_i). The
prover draws ω ← [0, 2^(|x| + |e| + 128)) for x = Δ s_i, hashes c^{4ω} and v^ω with everything else
to e, and answers z = ω + e·x. The 128 spare bits make z statistically independent of x. Squares
modulo N² form a group of order N·p′q′ for safe primes. It has no factors as small as e, so two
answers to two challenges determine x: a false share passes with chance 2^−|e| per hash call. |e| is
256, or two bits less than p and q on toy keys.

Jointly made primes are not safe primes. If the group's order has a small factor d, a share that is
wrong by an element of order d passes with chance 1/d. Combining then notices, because N does not
divide c′ − 1, and tries other subsets of the shares. Such a share may cost an opening; it never
leads to a wrong plaintext.

**Many shares, one proof.** Combiners ρ_j are hashed from all ciphertexts and all shares, and one
proof is made for C = ∏ c_j^{ρ_j} and D = ∏ c_{i,j}^{ρ_j} (the small-exponents test of Bellare,
Garay and Rabin, Eurocrypt 1998). If any c_{i,j}² ≠ c_j^{4x}, then D² ≠ C^{4x} except with chance
2^−128.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import gmpy2
from gmpy2 import mpz

from bdn.arguments import as_bytes, as_integer, check_type
from bdn.encoding import Digest, bits, decode_record, digest, encode_record
from bdn.errors import shown
from bdn.paillier.errors import CiphertextError, ParameterError, ShareError
from bdn.paillier.keys import (
    Ciphertext,
    PublicKey,
    Residue,
    Response,
    check_ciphertexts,
    pack_values,
    signed_plaintext,
    unpack_values,
)
from bdn.paillier.numbers import combiners, power_each, product_of_powers
from bdn.randomness import Randomness, as_randomness

CHALLENGE_BITS = 256
"""|e| on keys of 1024 bits and more."""

STATISTICAL_BITS = 128
"""By how much a nonce is longer than what it hides."""

MAX_SUBSETS = 1000
"""Subsets of shares that combining tries before it gives up: with up to 44 shares, enough to leave
out every pair of parties."""


# --- what parties hold and send -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyShare:
    """What one party keeps to itself.

    Attributes:
        public_key: the key that it is a share of.
        index: i in 1 … ℓ.
        secret: s_i, an integer with |Δ s_i| < 2^``public_key.share_bits``; negative ones occur in
            jointly made keys. It is never printed.
    """

    public_key: PublicKey
    index: int
    secret: int = field(repr=False)

    def __post_init__(self) -> None:
        check_type(self.public_key, PublicKey, "public_key")
        for name in ("index", "secret"):
            object.__setattr__(self, name, as_integer(getattr(self, name), name))
        if not 1 <= self.index <= self.public_key.parties:
            raise ParameterError(
                f"index {shown(self.index)} is none of 1 … {self.public_key.parties}")

    @property
    def exponent(self) -> int:
        """2Δ s_i, the power that makes a share of a decryption."""
        return 2 * self.public_key.delta * self.secret

    def partially_decrypt(
        self, c: Ciphertext, session: bytes = b"", rng: Randomness | None = None
    ) -> "PartialDecryption":
        """Return c_i = c^(2Δ s_i) with its proof, bound to ``session``.

        Raises `ParameterError` for a ciphertext of another key.
        """
        check_type(c, Ciphertext, "c")
        key = self.public_key
        if c.public_key != key:
            raise ParameterError("the ciphertext is of another key than this share")
        ciphertexts = [mpz(c.value)]
        check_ciphertexts(key, ciphertexts)
        label = Label.of(key, ciphertexts, session)
        c_i = int(gmpy2.powmod(c.value, self.exponent, key.N2))
        proof = prove_share(
            key, self.index, self.secret, c.value, c_i, session, as_randomness(rng))
        return PartialDecryption(self.index, c_i, proof, label)


@dataclass(frozen=True, slots=True)
class ShareProof:
    """(e, z): the challenge, and the response z = ω + e·x, an integer of any size."""

    challenge: Annotated[int, bits(CHALLENGE_BITS)]
    response: Response

    def to_bytes(self) -> bytes:
        """Return the strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ShareProof":
        """Decode ``data``; raises `bdn.errors.EncodingError`."""
        return decode_record(cls, data)


@dataclass(frozen=True, slots=True)
class Label:
    """What a share claims to be for.

    It serves only a better error message: every check uses the verifier's own values.

    Attributes:
        key: the digest of the public key.
        ciphertexts: the digest of the ciphertext, or of the vector of them.
        session: the digest of the session.
    """

    key: Digest
    ciphertexts: Digest
    session: Digest

    @classmethod
    def of(cls, public_key: PublicKey, ciphertexts: Sequence[mpz], session: bytes) -> "Label":
        """Return the label of these ciphertexts in this session."""
        values = pack_values(public_key, ciphertexts)
        return cls(public_key.digest, digest("bdn/paillier/ciphertexts", values),
                   digest("bdn/paillier/session", as_bytes(session, "session")))

    def check(self, expected: "Label", index: int) -> None:
        """Raise a `ShareError` for party ``index`` unless this label is the ``expected`` one."""
        if self.key != expected.key:
            raise ShareError(f"the share of party {index} is under another key", [index])
        if self.ciphertexts != expected.ciphertexts:
            raise ShareError(f"the share of party {index} is of another ciphertext", [index])
        if self.session != expected.session:
            raise ShareError(f"the share of party {index} is for another session", [index])


@dataclass(frozen=True, slots=True)
class PartialDecryption:
    """One party's share of one decryption.

    Attributes:
        index: the party i.
        value: c_i in [1, N²).
        proof: the proof that log_{c⁴}(c_i²) = log_v(v_i).
        label: which key, ciphertext and session it is for.
    """

    index: int
    value: Residue
    proof: ShareProof
    label: Label

    def to_bytes(self) -> bytes:
        """Return the strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PartialDecryption":
        """Decode ``data``; raises `bdn.errors.EncodingError`. `combine` checks the proof."""
        return decode_record(cls, data)


@dataclass(frozen=True, slots=True)
class PartialVector:
    """One party's shares of a vector of ciphertexts, with one proof for all.

    Attributes:
        index: the party i.
        values: c_{i,j} in [1, N²), in the order of the ciphertexts.
        proof: the proof for the random combination of all of them.
        label: which key, ciphertexts and session it is for.
    """

    index: int
    values: tuple[mpz, ...]
    proof: ShareProof
    label: Label

    def to_bytes(self, public_key: PublicKey) -> bytes:
        """Return the strict encoding, with the values in the key's fixed width."""
        packed = pack_values(public_key, self.values)
        return encode_record(_PartialVectorRecord(self.index, packed, self.proof, self.label))

    @classmethod
    def from_bytes(cls, public_key: PublicKey, data: bytes) -> "PartialVector":
        """Decode ``data``; raises `bdn.errors.EncodingError`. `combine_many` checks the proof."""
        record = decode_record(_PartialVectorRecord, data)
        values = unpack_values(public_key, record.values)
        return cls(record.index, tuple(values), record.proof, record.label)


@dataclass(frozen=True, slots=True)
class _PartialVectorRecord:
    index: int
    values: bytes
    proof: ShareProof
    label: Label


# --- one ciphertext -----------------------------------------------------------------------------


def verify_share(
    public_key: PublicKey, c: Ciphertext, part: PartialDecryption, session: bytes = b""
) -> None:
    """Raise a `ShareError` unless ``part`` is a right share of ``c`` in ``session``.

    Raises a `CiphertextError` if ``c`` is not a ciphertext of this key.
    """
    _check_statement(public_key, [mpz(c.value)], part, [mpz(part.value)], session)
    check_proof(public_key, part.index, c.value, part.value, session, part.proof)


def combine(
    public_key: PublicKey,
    c: Ciphertext,
    parts: Sequence[PartialDecryption],
    session: bytes = b"",
) -> int:
    """Open ``c`` with any t right shares; return the plaintext in (−N/2, N/2).

    Every share's proof is checked against this caller's own key and ciphertext. Wrong shares are
    left out as long as t right ones remain.

    Raises:
        ParameterError: c is of another key, or the key only encrypts.
        CiphertextError: c is not a ciphertext.
        ShareError: an index is 0, unknown or given twice; fewer than t shares were given; or too
            many are wrong. ``indices`` names the parties whose shares were refused.
    """
    check_type(c, Ciphertext, "c")
    if c.public_key != public_key:
        raise ParameterError("the ciphertext is of another key")
    for part in parts:
        check_type(part, PartialDecryption, "a part")
    right = _right_parts(
        public_key, parts, lambda part: verify_share(public_key, c, part, session))
    values = {part.index: [mpz(part.value)] for part in right}
    plaintext = open_shares(public_key, values)[0]  # in [0, N)
    return signed_plaintext(public_key, plaintext)  # the upper half stands for negative numbers


# --- vectors of ciphertexts ---------------------------------------------------------------------


def partially_decrypt_many(
    share: KeyShare,
    ciphertexts: Sequence[mpz],
    session: bytes = b"",
    rng: Randomness | None = None,
    threads: int | None = None,
) -> PartialVector:
    """Return one party's shares c_j^(2Δ s_i), with one proof for the whole vector.

    Powers run on ``threads`` cores (all of them by default). Raises `CiphertextError` for values
    that are not ciphertexts.
    """
    key = share.public_key
    check_ciphertexts(key, list(ciphertexts))
    label = Label.of(key, ciphertexts, session)
    values = power_each(ciphertexts, share.exponent, key.N2, threads)
    C, D, seed = combination(key, share.index, ciphertexts, values, session)
    proof = prove_share(key, share.index, share.secret, C, D, seed, as_randomness(rng))
    return PartialVector(share.index, tuple(values), proof, label)


def verify_vector(
    public_key: PublicKey, ciphertexts: Sequence[mpz], part: PartialVector, session: bytes = b""
) -> None:
    """Raise a `ShareError` unless ``part`` holds a right share of every ciphertext.

    Raises a `CiphertextError` if one of ``ciphertexts`` is not a ciphertext of this key.
    """
    _check_statement(public_key, ciphertexts, part, part.values, session)
    C, D, seed = combination(public_key, part.index, ciphertexts, part.values, session)
    check_proof(public_key, part.index, C, D, seed, part.proof)


def combine_many(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    parts: Sequence[PartialVector],
    session: bytes = b"",
    as_signed: bool = False,
    threads: int | None = None,
) -> list[int]:
    """Open a vector with any t right parts; return plaintexts in [0, N), or signed ones.

    Raises as `combine`.
    """
    right = _right_parts(
        public_key, parts, lambda part: verify_vector(public_key, ciphertexts, part, session))
    opened = open_shares(public_key, {part.index: part.values for part in right}, threads)
    return [signed_plaintext(public_key, M) for M in opened] if as_signed else opened


def combination(
    public_key: PublicKey,
    index: int,
    ciphertexts: Sequence[mpz],
    shares: Sequence[mpz],
    session: bytes,
) -> tuple[int, int, bytes]:
    """Return (C, D, seed): the random combination of shares, and the seed of its combiners.

    The seed is hashed from the session, the key, the party, and all ciphertexts and shares. The
    proof then hashes the seed instead of the session, and so is bound to all of them.
    """
    seed = digest("bdn/paillier/share-combiners", session, public_key.digest,
                  index.to_bytes(8, "big"), pack_values(public_key, ciphertexts),
                  pack_values(public_key, shares))
    rho = combiners(seed, len(ciphertexts))
    C = product_of_powers(ciphertexts, rho, N=public_key.N)  # modulo N²
    D = product_of_powers(shares, rho, N=public_key.N)
    return int(C), int(D), seed


def most_part_bytes(public_key: PublicKey, count: int) -> int:
    """Return the length that no encoded `PartialVector` of ``count`` ciphertexts exceeds."""
    ciphertexts = count * public_key.width  # `width` is the length of one ciphertext in bytes
    proof = (challenge_bits(public_key) + nonce_bits(public_key)) // 8
    return ciphertexts + proof + 256  # with room for labels, names and lengths


# --- the proof of a share -----------------------------------------------------------------------


def challenge_bits(public_key: PublicKey) -> int:
    """Return |e|: 256, but always shorter than p′ and q′, which have about |N|/2 − 1 bits."""
    return max(1, min(CHALLENGE_BITS, public_key.bits // 2 - 2))


def nonce_bits(public_key: PublicKey) -> int:
    """Return the length of ω: the bound on |x|, the challenge, and 128 bits to hide behind.

    x = Δ s_i, and every |Δ s_i| is below 2^``share_bits``: Δ is counted in that already.
    """
    return public_key.share_bits + challenge_bits(public_key) + STATISTICAL_BITS


def prove_share(
    public_key: PublicKey,
    index: int,
    secret: int,
    c: int,
    c_i: int,
    session: bytes,
    rng: Randomness,
) -> ShareProof:
    """Prove that c_i = c^(2Δ s_i), where v_i = v^(Δ s_i) and s_i is the ``secret``."""
    N2 = public_key.N2
    omega = rng.bits(nonce_bits(public_key))
    commitments = power_each([gmpy2.powmod(c, 4, N2), mpz(public_key.v)], omega, N2)
    e = _challenge(public_key, index, c, c_i, session, commitments)
    return ShareProof(e, omega + e * public_key.delta * secret)


def check_proof(
    public_key: PublicKey, index: int, c: int, c_i: int, session: bytes, proof: ShareProof
) -> None:
    """Raise `ShareError` unless ``proof`` shows that party ``index`` made c_i from c.

    c and c_i are units, as `check_ciphertexts` has made sure, so they have inverses. v and v_i are
    taken from ``public_key``, c from the caller: a prover chooses none of them.
    The commitments are recomputed as c^{4z}·c_i^{−2e} and v^z·v_i^{−e}, and must hash to e.
    """
    N2 = public_key.N2
    e, z = proof.challenge, proof.response  # z may be negative, as secrets of joint keys may be
    if not 0 <= e < 1 << challenge_bits(public_key):
        raise ShareError(f"the challenge of party {index} is out of range", [index])
    if z.bit_length() > nonce_bits(public_key) + 1:
        raise ShareError(f"the response of party {index} is too long", [index])
    v, v_i = public_key.v, public_key.verification_keys[index - 1]
    first, second = power_each([gmpy2.powmod(c, 4, N2), mpz(v)], z, N2)
    first = first * gmpy2.powmod(c_i, -2 * e, N2) % N2  # it has an inverse: c_i is a unit
    second = second * gmpy2.powmod(v_i, -e, N2) % N2
    if e != _challenge(public_key, index, c, c_i, session, (first, second)):
        raise ShareError(f"the proof of party {index} does not hold", [index])


def _challenge(
    public_key: PublicKey,
    index: int,
    c: int,
    c_i: int,
    session: bytes,
    commitments: Sequence[int],
) -> int:
    """Return e, hashed from domain, session, N, v, i, v_i, c, c_i and both commitments.

    For a vector, ``session`` is the seed of `combination`, which already covers the session.
    """
    v_i = public_key.verification_keys[index - 1]
    numbers = (public_key.N, public_key.v, index, v_i, c, c_i, *commitments)
    parts = [pack_values(public_key, [number]) for number in numbers]
    hashed = digest("bdn/paillier/share-proof", session, *parts)
    return int.from_bytes(hashed, "big") >> (CHALLENGE_BITS - challenge_bits(public_key))


# --- which shares count -------------------------------------------------------------------------

Part = TypeVar("Part", PartialDecryption, PartialVector)


def _right_parts(
    public_key: PublicKey, parts: Sequence[Part], verify: Callable[[Part], None]
) -> list[Part]:
    """The parts that pass ``verify``; raises `ShareError` when they are fewer than t."""
    check_indices(public_key, [part.index for part in parts])
    right, errors = [], []
    for part in parts:
        try:
            verify(part)
        except ShareError as error:
            errors.append(error)
        else:
            right.append(part)
    if len(right) < public_key.threshold:
        reasons = "; ".join(str(error) for error in errors)
        raise ShareError(
            f"{len(right)} right shares, {public_key.threshold} needed: {reasons}",
            [index for error in errors for index in error.indices],
        )
    return right


def check_index(public_key: PublicKey, index: int) -> None:
    """Raise `ShareError` unless 1 ≤ index ≤ ℓ."""
    if index == 0:
        raise ShareError("index 0 is where the secret lies; no party has it", [0])
    if not 1 <= index <= public_key.parties:
        raise ShareError(f"party {shown(index)} is none of 1 … {public_key.parties}", [index])


def check_indices(public_key: PublicKey, indices: Sequence[int]) -> None:
    """Raise `ShareError` unless the indices are of t or more different parties."""
    if public_key.threshold == 0:  # a key of `PublicKey.encryption_only`
        raise ShareError("this key only encrypts; there are no shares of it")
    for index in indices:
        check_index(public_key, index)
    twice = sorted(index for index, count in Counter(indices).items() if count > 1)
    if twice:
        raise ShareError(f"two shares of party {twice[0]}", twice)
    if len(indices) < public_key.threshold:
        raise ShareError(f"{len(indices)} shares; {public_key.threshold} are needed")


def _check_statement(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    part: PartialDecryption | PartialVector,
    values: Sequence[mpz],
    session: bytes,
) -> None:
    """Raise `CiphertextError` or `ShareError` for whatever is wrong before the proof is looked at.

    Afterwards ciphertexts and ``values`` are units in [1, N²), as many of one as of the other, and
    the part claims to be of these ciphertexts, this key and this session.
    """
    index = part.index
    check_ciphertexts(public_key, ciphertexts)
    check_index(public_key, index)
    part.label.check(Label.of(public_key, ciphertexts, session), index)
    if len(values) != len(ciphertexts):
        raise ShareError(
            f"party {index} gives {len(values)} of {len(ciphertexts)} shares", [index])
    try:
        check_ciphertexts(public_key, values)
    except CiphertextError as error:
        raise ShareError(f"the share of party {index}: {error}", [index]) from error


# --- opening ------------------------------------------------------------------------------------


def open_shares(
    public_key: PublicKey, values: Mapping[int, Sequence[mpz]], threads: int | None = None
) -> list[int]:
    """Return the plaintexts in [0, N) from the vectors of at least t parties, by index.

    The first t parties are taken. Where theirs do not open (a wrong share can pass its proof under
    a jointly made key), other subsets are tried: each party, then each pair of parties and so on is
    left out. They are tried on one random combination of each vector, not on all its ciphertexts,
    so that a try costs t powers. Raises `ShareError` when no subset opens.
    """
    subsets = itertools.islice(
        subsets_leaving_out(sorted(values), public_key.threshold), MAX_SUBSETS)
    opened = _open_subset(public_key, next(subsets), values, threads)
    if opened is not None:
        return opened
    packed = [pack_values(public_key, values[index]) for index in sorted(values)]
    count = len(values[next(iter(values))])
    rho = combiners(digest("bdn/paillier/search", *packed), count)
    combined = {index: [product_of_powers(vector, rho, N=public_key.N)]  # modulo N²
                for index, vector in values.items()}
    for subset in subsets:
        if _open_subset(public_key, subset, combined, threads) is not None:
            opened = _open_subset(public_key, subset, values, threads)
            if opened is not None:
                return opened
    raise ShareError(f"no {public_key.threshold} of the shares open", list(values))


def subsets_leaving_out(indices: Sequence[int], threshold: int) -> Iterator[tuple[int, ...]]:
    """Yield subsets of ``threshold`` indices, no subset twice; exhausting it yields every one.

    The first ``threshold`` of all indices come first, then the first ``threshold`` of those that
    are left without each single one, without each pair, and so on. So b bad parties are left out
    within the first Σ_{k≤b} C(n, k) subsets of n indices.
    """
    seen = set()
    for count in range(len(indices) - threshold + 1):
        for left_out in itertools.combinations(indices, count):
            subset = tuple(i for i in indices if i not in left_out)[:threshold]
            if subset not in seen:
                seen.add(subset)
                yield subset


def lagrange_at_zero(indices: Sequence[int], parties: int) -> list[int]:
    """Return the integers λ_i = Δ ∏_{j≠i} j / (j − i) for i in ``indices``.

    Σ λ_i f(i) = Δ f(0) for every polynomial f of degree below ``len(indices)``. Δ = ``parties``!
    makes each λ_i an integer (Shoup, Eurocrypt 2000): ∏ (j − i) divides i! (ℓ − i)!, which
    divides ℓ!.
    """
    delta = math.factorial(parties)
    result = []
    for i in indices:
        top = delta * math.prod(j for j in indices if j != i)
        result.append(top // math.prod(j - i for j in indices if j != i))
    return result


def _open_subset(
    public_key: PublicKey,
    subset: Sequence[int],
    values: Mapping[int, Sequence[mpz]],
    threads: int | None,
) -> list[int] | None:
    """Return the plaintexts in [0, N), or None where N does not divide some c′ − 1.

    c′ is kept as a fraction a/b, b from the negative λ_i: N divides a/b − 1 exactly when it divides
    a − b, and then L(c′) = (a − b)/N · b⁻¹ mod N, an inversion of half the length.
    """
    N, N2 = mpz(public_key.N), mpz(public_key.N2)
    count = len(values[subset[0]])
    above, below = [mpz(1)] * count, [mpz(1)] * count
    for index, coefficient in zip(
        subset, lagrange_at_zero(subset, public_key.parties), strict=True
    ):
        powers = power_each(values[index], 2 * abs(coefficient), N2, threads)
        side = above if coefficient > 0 else below
        for k, power in enumerate(powers):
            side[k] = side[k] * power % N2
    unmask = gmpy2.invert(4 * public_key.delta**2 * public_key.theta, N)
    opened = []
    for a, b in zip(above, below, strict=True):
        quotient, rest = gmpy2.f_divmod(a - b, N)
        if rest:
            return None
        # b is a unit: every share in it is, as `check_ciphertexts` has made sure.
        opened.append(int(quotient * gmpy2.invert(b, N) * unmask % N))
    return opened
