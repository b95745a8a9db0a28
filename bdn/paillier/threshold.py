"""Opening together: key shares, partial decryptions with their proofs, and combining.

Fouque, Poupard, Stern, "Sharing Decryption in the Context of Voting or Lotteries", Financial
Cryptography 2000.

Letters: N the modulus, m = p′q′, f the polynomial with f(0) = βm, s_i = f(i), Δ = ℓ!, t threshold,
θ = f(0) mod N, c a ciphertext of M, c_i = c^(2Δ s_i), λ_i the integer Lagrange coefficients,
L(x) = (x − 1)/N.

    c′ = ∏ c_i^(2λ_i) = c^(4Δ²f(0)) = (1 + N)^(4Δ²θM),    M = L(c′)·(4Δ²θ)⁻¹ mod N.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import gmpy2
from gmpy2 import mpz

from bdn.encoding import decode_record, digest, encode_record
from bdn.paillier import proofs
from bdn.paillier.errors import (
    BadSharesError,
    CiphertextError,
    CombinationError,
    DuplicateShareError,
    ForeignShareError,
    KeyMismatchError,
    KeyParameterError,
    ShareError,
    ShareRangeError,
    TooFewSharesError,
    WrongCiphertextError,
    WrongKeyError,
    WrongSessionError,
    ZeroIndexError,
)
from bdn.paillier.keys import Ciphertext, PublicKey, check_ciphertexts, signed_plaintext
from bdn.paillier.numbers import lagrange_at_zero, power_each
from bdn.paillier.proofs import ShareProof
from bdn.randomness import Randomness, as_randomness

MAX_SUBSETS = 1000
"""Subsets of shares that combining tries before it gives up."""


@dataclass(frozen=True, slots=True)
class KeyShare:
    """What one party keeps to itself.

    Attributes:
        public_key: the key that it is a share of.
        index: i in 1 … ℓ.
        secret: s_i, an integer (negative ones occur in jointly made keys); never printed.
    """

    public_key: PublicKey
    index: int
    secret: int = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.public_key.parties:
            raise KeyParameterError(f"index {self.index} is none of 1 … {self.public_key.parties}")

    def partially_decrypt(
        self, c: Ciphertext, session: bytes = b"", rng: Randomness | None = None
    ) -> "PartialDecryption":
        """c_i = c^(2Δ s_i) with its proof, bound to ``session``.

        Raises `KeyMismatchError` for a ciphertext of another key.
        """
        key = self.public_key
        if c.public_key != key:
            raise KeyMismatchError("the ciphertext is of another key than this share")
        check_ciphertexts(key, [mpz(c.value)])
        c_i = int(gmpy2.powmod(c.value, self.exponent, key.N2))
        proof = proofs.prove_share(
            key, self.index, self.secret, c.value, c_i, session, as_randomness(rng)
        )
        return PartialDecryption(self.index, c_i, proof, Label.of(key, [mpz(c.value)], session))

    @property
    def exponent(self) -> int:
        """2Δ s_i, the power that makes a share of a decryption."""
        return 2 * self.public_key.delta * self.secret


@dataclass(frozen=True, slots=True)
class Label:
    """What a share says that it is for: only to tell a mix-up from a lie, never trusted.

    Attributes:
        key: the digest of the public key.
        ciphertexts: the digest of the ciphertext, or of the vector of them.
        session: the digest of the session.
    """

    key: bytes
    ciphertexts: bytes
    session: bytes

    @classmethod
    def of(cls, public_key: PublicKey, ciphertexts: Sequence[mpz], session: bytes) -> "Label":
        """The label of these ciphertexts in this session."""
        values = proofs.fixed_width(public_key, ciphertexts)
        return cls(public_key.digest, digest("bdn/paillier/ciphertexts", values),
                   digest("bdn/paillier/session", session))

    def check(self, expected: "Label", index: int) -> None:
        """Raise a `WrongKeyError`, `WrongCiphertextError` or `WrongSessionError` for ``index``."""
        if self.key != expected.key:
            raise WrongKeyError(f"the share of party {index} is under another key", [index])
        if self.ciphertexts != expected.ciphertexts:
            raise WrongCiphertextError(
                f"the share of party {index} is of another ciphertext", [index])
        if self.session != expected.session:
            raise WrongSessionError(f"the share of party {index} is for another session", [index])


@dataclass(frozen=True, slots=True)
class PartialDecryption:
    """One party's share of one decryption.

    Attributes:
        index: the party i.
        value: c_i in [1, N²).
        proof: that log_{c⁴}(c_i²) = log_v(v_i).
        label: which key, ciphertext and session it is for.
    """

    index: int
    value: int
    proof: ShareProof
    label: Label

    def to_bytes(self) -> bytes:
        """The strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PartialDecryption":
        """Decode; raises `bdn.errors.EncodingError`. The proof is checked by `combine`."""
        return decode_record(cls, data)


# --- one ciphertext -----------------------------------------------------------------------------


def verify_share(
    public_key: PublicKey, c: Ciphertext, part: PartialDecryption, session: bytes = b""
) -> None:
    """Raise a `ShareError` unless ``part`` is a right share of ``c`` in ``session``.

    Raises a `CiphertextError` if ``c`` is none.
    """
    check_ciphertexts(public_key, [mpz(c.value)])
    check_index(public_key, part.index)
    part.label.check(Label.of(public_key, [mpz(c.value)], session), part.index)
    check_values(public_key, part.index, [mpz(part.value)])
    proofs.verify_share(public_key, part.index, c.value, part.value, session, part.proof)


def combine(
    public_key: PublicKey,
    c: Ciphertext,
    parts: Sequence[PartialDecryption],
    session: bytes = b"",
) -> int:
    """Open ``c`` with any t right shares; the plaintext in (−N/2, N/2).

    Every share's proof is checked against this caller's own key and ciphertext. Wrong shares are
    left out as long as t right ones remain.

    Raises:
        KeyMismatchError: c is of another key.
        CiphertextRangeError, CiphertextUnitError: c is no ciphertext.
        ZeroIndexError, ForeignShareError, DuplicateShareError: indices that cannot be.
        TooFewSharesError: fewer than t shares were given.
        WrongKeyError, WrongCiphertextError, WrongSessionError, ShareRangeError, ShareProofError,
        BadSharesError: too many shares are wrong; ``indices`` names them.
        CombinationError: the proofs hold but no subset opens (possible with jointly made keys).
    """
    if c.public_key != public_key:
        raise KeyMismatchError("the ciphertext is of another key")
    check_indices(public_key, [part.index for part in parts])
    right, errors = [], []
    for part in parts:
        try:
            verify_share(public_key, c, part, session)
        except ShareError as error:
            errors.append(error)
        else:
            right.append(part)
    raise_if_too_few(public_key, len(right), errors)
    values = {part.index: [mpz(part.value)] for part in right}
    return signed_plaintext(public_key, open_shares(public_key, values)[0])


# --- shared with the batch ----------------------------------------------------------------------


def check_index(public_key: PublicKey, index: int) -> None:
    """Raise `ZeroIndexError` or `ForeignShareError` unless 1 ≤ index ≤ ℓ."""
    if index == 0:
        raise ZeroIndexError("index 0 is where the secret lies; no party has it", [0])
    if not 1 <= index <= public_key.parties:
        raise ForeignShareError(f"party {index} is none of 1 … {public_key.parties}", [index])


def check_indices(public_key: PublicKey, indices: Sequence[int]) -> None:
    """As `check_index`, and raise `DuplicateShareError` or `TooFewSharesError`."""
    if public_key.threshold == 0:
        raise TooFewSharesError("this key only encrypts; there are no shares of it")
    for index in indices:
        check_index(public_key, index)
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise DuplicateShareError(f"two shares of party {twice[0]}", twice)
    if len(indices) < public_key.threshold:
        raise TooFewSharesError(f"{len(indices)} shares; {public_key.threshold} are needed")


def check_values(public_key: PublicKey, index: int, values: list[mpz]) -> None:
    """Raise `ShareRangeError` unless all values of party ``index`` are units in [1, N²)."""
    try:
        check_ciphertexts(public_key, values)
    except CiphertextError as error:
        raise ShareRangeError(f"the share of party {index}: {error}", [index]) from error


def raise_if_too_few(public_key: PublicKey, right: int, errors: Sequence[ShareError]) -> None:
    """Raise when fewer than t shares are right: the errors' own class where they agree."""
    if right >= public_key.threshold:
        return
    if len(errors) == 1:
        raise errors[0]
    indices = [index for error in errors for index in error.indices]
    reasons = "; ".join(str(error) for error in errors)
    message = f"{right} right shares, {public_key.threshold} needed: {reasons}"
    kinds = {type(error) for error in errors}
    raise (kinds.pop() if len(kinds) == 1 else BadSharesError)(message, indices)


def open_shares(
    public_key: PublicKey, values: Mapping[int, Sequence[mpz]], threads: int | None = None
) -> list[int]:
    """The plaintexts in [0, N) from the vectors of at least t parties, by index.

    Any t parties are taken; if theirs do not open, other subsets are tried. Raises
    `CombinationError` when none opens.
    """
    subsets = itertools.combinations(sorted(values), public_key.threshold)
    for subset in itertools.islice(subsets, MAX_SUBSETS):
        opened = _open_subset(public_key, subset, values, threads)
        if opened is not None:
            return opened
    raise CombinationError(f"no {public_key.threshold} of the shares open", list(values))


def _open_subset(
    public_key: PublicKey,
    subset: Sequence[int],
    values: Mapping[int, Sequence[mpz]],
    threads: int | None,
) -> list[int] | None:
    """The plaintexts, or None where N does not divide some c′ − 1.

    c′ is kept as a fraction a/b, b from the negative λ_i: N | a/b − 1 exactly when N | a − b, and
    then L(c′) = (a − b)/N · b⁻¹ mod N, an inversion of half the length.
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
        opened.append(int(quotient * gmpy2.invert(b, N) * unmask % N))
    return opened
