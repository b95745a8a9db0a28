"""The Σ-protocol of the norm proof: committed integers, short blocks, and one link to Paillier.

A *statement* (`RingStatement`, `PackedStatement`) says which integers w are committed to, in which
blocks, how long each block may be, and how they are tied to the sealed vector. What is proven about
them here is the same for both ciphers. Letters: the package's table.

    prover                                           verifier
    C = Com(w, squares; r)                  →
                                            ←        γ, ρ, λ                   hashed from C
    C_η = Com(η; s)
    A = E[L(η)],  h = ⟨b, η⟩ mod p′
    E_1 = E[Σ λ 2ηw],  E_0 = E[Σ λ η²]      →
                                            ←        x                         hashed from all this
    ζ = η + x·w, and so for r and the nonces →       Com(ζ) = ± C_η·C^x
                                                     E[L(ζ)] = A·(∏ c_i^{ρ_i})^x
                                                     ⟨b, ζ⟩ = h + x·C_0 mod p′
                                                     E[Σ λ(ζ² − x²β²)] = E_1^x·E_0

Every mask is `SPARE_BITS` longer than what it hides, and a prover whose response would come near an
end of its range draws new masks. What is sent is then *exactly* uniform, whatever w is: Fiat–Shamir
with aborts (Lyubashevsky, Asiacrypt 2009). One attempt in some hundreds is thrown away.

**Threads.** `prove`, `verify` and `verify_together` may run in several threads at once. They gain
nothing there: half of their time are products of big integers, which hold the interpreter's lock.
The other half is array work in pieces of a tenth of a millisecond, and each waits for that lock
again. Use processes to make or verify proofs on several cores.
"""

import hashlib
import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import gmpy2
from gmpy2 import mpz

from bdn.encoding import at_most, bits, decode_record, digest, encode_record
from bdn.paillier.errors import CiphertextError, NormBoundError, NormProofError, ParameterError
from bdn.paillier.keys import (
    MAX_MODULUS_BITS,
    PublicKey,
    Residue,
    check_ciphertexts,
    djn_table,
)
from bdn.paillier.norm_proof.commitments import CommitmentKey, commitment_key, four_squares
from bdn.paillier.numbers import combiners, product_of_powers
from bdn.randomness import Randomness

P_PRIME = (1 << 127) - 1
"""p′, a prime: the ring part's equation is checked modulo it."""

CHALLENGE_BITS = 128
"""|x|, and |ρ|, |λ|. Keys below about 1024 bits have no room for all of x; see `challenge_bits`."""

LEAST_CHALLENGE_BITS = 16
"""A key that leaves less than this proves nothing worth the name, even as a toy."""

SPARE_BITS = 24
"""By how much a mask is longer than what it hides; 2^−23 of the masks must be drawn again."""

HIDING_BITS = 128
"""r is so much longer than N, so that H^r is uniform among the squares."""

SQUARES = 4
"""Squares that fill up each block to its bound."""


@dataclass(frozen=True, slots=True)
class WitnessPart:
    """Integers w that are proven to have ‖w‖² ≤ ``bound2``.

    Attributes:
        name: for error messages.
        count: how many there are.
        bits: an honest |w| is below 2^bits.
        bound2: β², which an honest prover's four squares fill up exactly.
    """

    name: str
    count: int
    bits: int
    bound2: int

    @property
    def square_bits(self) -> int:
        """|f| for each of the four squares."""
        return int(gmpy2.isqrt(self.bound2)).bit_length()


_Unit = Annotated[int, bits(MAX_MODULUS_BITS)]
_Answer = Annotated[int, bits(MAX_MODULUS_BITS + 1024)]


@dataclass(frozen=True, slots=True)
class NormProof:
    """What a device attaches to its sealed update.

    Attributes:
        commitment: C, of w and all squares.
        mask_commitment: C_η.
        link: A, the encryption of the masks' combination.
        cross: E_1, the encryption of F's coefficient of x.
        constant: E_0, the encryption of F's constant coefficient.
        linear: h, in [0, p′); 0 where the statement has no ring.
        responses: ζ, each in the fewest bytes that its range needs, big-endian.
        opening: the response for r.
        link_nonce: the response for the link's nonces.
        norm_nonce: the response for the nonces of E_1 and E_0.
    """

    commitment: _Unit
    mask_commitment: _Unit
    link: Residue
    cross: Residue
    constant: Residue
    linear: Annotated[int, bits(127)]
    responses: Annotated[bytes, at_most(1 << 24)]
    opening: _Answer
    link_nonce: _Answer
    norm_nonce: _Answer

    def to_bytes(self) -> bytes:
        """The strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "NormProof":
        """Decode; raises `bdn.errors.EncodingError`. The proof is checked by `verify`."""
        return decode_record(cls, data)


@dataclass(frozen=True, slots=True)
class Relation:
    """How w is tied to what was sealed, once C has fixed the combiners.

    Attributes:
        coefficients: b, γ and q·γ modulo p′, in the order of the blocks without their squares;
            empty where there is no ring.
        target: C_0 modulo p′.
        combine: L, from the blocks' integers to a plaintext.
        powers: the exponent of every ciphertext in ∏ c_i^{ρ_i}, of either sign.
        shift: what is subtracted from that product's plaintext, such as offsets.
    """

    coefficients: tuple[int, ...]
    target: int
    combine: Callable[[Sequence[Sequence[int]]], int]
    powers: tuple[int, ...]
    shift: int


@dataclass(frozen=True, slots=True)
class Witness:
    """What only the prover knows.

    Attributes:
        blocks: the integers w, block by block.
        nonces: the exponents a_i of the sealed ciphertexts.
    """

    blocks: tuple[tuple[int, ...], ...]
    nonces: tuple[int, ...]


class Statement(ABC):
    """What a proof is about: a sealed vector, its bounds, and who sealed it for what.

    Attributes:
        public_key: the joint Paillier key.
        ciphertexts: those of the sealed vector.
        blocks: the committed integers.
        power_bits: the exponents in `Relation.powers` stay below this length.
    """

    public_key: PublicKey
    ciphertexts: Sequence[mpz]
    blocks: tuple[WitnessPart, ...]
    power_bits: int

    @abstractmethod
    def root(self) -> bytes:
        """32 bytes that name everything public about the statement; all challenges start here."""

    @abstractmethod
    def relation(self, seed: bytes) -> Relation:
        """The relation whose combiners are expanded from ``seed``, a hash of root and C."""


RELATIONS_KEPT = 16
"""As many as devices of an epoch take: each is a few hundred kilobytes."""

_RELATIONS: dict[bytes, Relation] = {}

HELD_KEPT = 4096

_HELD: dict[bytes, None] = {}
"""Digests of statements and proofs that were verified in this process, whichever node asked."""

_LOCK = threading.Lock()
"""Held while one of the two is read or changed, never while anything is computed."""

T = TypeVar("T")


def _relation(statement: Statement, seed: bytes) -> Relation:
    """`Statement.relation`, made once for all nodes of a process.

    It follows from public values alone, all of which ``seed`` names. Who makes a proof and who
    verifies it in the same process (`bdn run` without ``--processes``) share this half of the work.
    """
    with _LOCK:
        relation = _RELATIONS.get(seed)
    if relation is None:
        relation = statement.relation(seed)
        _keep(_RELATIONS, seed, relation, RELATIONS_KEPT)
    return relation


def _keep(kept: dict[bytes, T], name: bytes, value: T, most: int) -> None:
    """Put ``value`` into ``kept``; the oldest go once there are more than ``most``."""
    with _LOCK:
        kept[name] = value
        while len(kept) > most:
            del kept[next(iter(kept))]


def forget_relations() -> None:
    """Let the next proof or verification do all of its work, as in a process of its own."""
    with _LOCK:
        _RELATIONS.clear()
        _HELD.clear()


# --- sizes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sizes:
    """The bit lengths of a statement's challenge and responses."""

    challenge: int
    responses: tuple[int, ...]
    opening: int
    link_nonce: int
    norm_nonce: int

    @classmethod
    def of(cls, statement: Statement) -> "Sizes":
        """Raises `ParameterError` for a key that is too short for the statement."""
        key, x = statement.public_key, challenge_bits(statement)
        hidden = x + SPARE_BITS
        responses: list[int] = []
        for block in statement.blocks:
            responses += [block.bits + hidden] * block.count
            responses += [block.square_bits + hidden] * SQUARES
        link = key.nonce_bits + statement.power_bits + len(statement.ciphertexts).bit_length()
        return cls(x, tuple(responses), key.bits + HIDING_BITS + hidden, link + hidden,
                   key.nonce_bits + hidden)

    @property
    def all(self) -> tuple[int, ...]:
        """Every length, in the order in which responses are drawn and checked."""
        return (*self.responses, self.opening, self.link_nonce, self.norm_nonce)


def challenge_bits(statement: Statement) -> int:
    """|x|: 128, or as many bits as let sums of squared responses stay below N/2 on toy keys."""
    room = statement.public_key.bits - 3
    longest = min(
        (room - (block.count + SQUARES).bit_length()) // 2 - max(block.bits, block.square_bits)
        for block in statement.blocks
    )
    length = min(CHALLENGE_BITS, longest - SPARE_BITS)
    if length < LEAST_CHALLENGE_BITS:
        raise ParameterError(
            f"a key of {statement.public_key.bits} bits is too short to prove this norm bound; "
            "take a longer key, a smaller bound or none"
        )
    return length


def proof_bytes(statement: Statement) -> int:
    """About how long a proof of ``statement`` is; the encoding adds some dozens of bytes."""
    key, sizes = statement.public_key, Sizes.of(statement)
    lengths = (*sizes.all, 2 * key.bits, 6 * key.bits, 127)
    return sum((length + 7) // 8 for length in lengths)


# --- proving ------------------------------------------------------------------------------------


def prove(statement: Statement, witness: Witness, rng: Randomness) -> NormProof:
    """Prove that every block of ``witness`` is short, and tied to the sealed vector.

    Raises `NormBoundError` where a block is longer than its bound.
    """
    blocks = [_filled(block, values, rng) for block, values
              in zip(statement.blocks, witness.blocks, strict=True)]
    return prove_integers(statement, blocks, witness.nonces, rng)


def _filled(block: WitnessPart, values: Sequence[int], rng: Randomness) -> list[mpz]:
    """``values`` followed by the four squares that fill them up to the block's bound."""
    w = [mpz(value) for value in values]
    rest = block.bound2 - sum(value * value for value in w)
    if rest < 0:
        raise NormBoundError(f"the {block.name} exceed their bound")
    return w + four_squares(rest, rng)


def prove_integers(
    statement: Statement, blocks: Sequence[Sequence[mpz]], nonces: Sequence[int], rng: Randomness
) -> NormProof:
    """`prove` for integers with their squares, unchecked: a cheating prover begins here."""
    key, sizes = statement.public_key, Sizes.of(statement)
    w = list(itertools.chain.from_iterable(blocks))
    bases = commitment_key(key.N, key.seed, len(w))
    r = rng.bits(key.bits + HIDING_BITS)
    commitment = bases.commit(w, r)
    seed = _after_commitment(statement, commitment)
    weights, cross_nonce = _block_weights(statement, seed), rng.bits(key.nonce_bits)
    masks = [mpz(rng.bits(length)) for length in sizes.all]
    mask_commitment = _commit(bases, masks)
    relation = _relation(statement, seed)
    link_nonce = sum(power * a for power, a in zip(relation.powers, nonces, strict=True))
    hidden = [*w, mpz(r), mpz(link_nonce), mpz(cross_nonce)]
    while True:
        eta, (_, mu, nu) = masks[: len(w)], masks[len(w) :]
        split = _split(statement, eta)
        link = _encrypt(key, relation.combine([values for values, _ in split]), mu)
        linear = _linear(relation, split)
        cross = _encrypt(key, 2 * _weighted(statement, weights, eta, w), cross_nonce)
        constant = _encrypt(key, _weighted(statement, weights, eta, eta), nu)
        first = (int(mask_commitment), int(link), int(cross), int(constant))
        x = _challenge(statement, sizes, seed, (*first, linear))
        answers = [mask + x * value for mask, value in zip(masks, hidden, strict=True)]
        if all(map(_is_well_inside, answers, sizes.all)):
            break
        masks = [mpz(rng.bits(length)) for length in sizes.all]
        mask_commitment = _commit(bases, masks)
    *zeta, opening, link_answer, norm_answer = answers
    return NormProof(
        int(commitment), *first, linear, _pack_responses(zeta, sizes), int(opening),
        int(link_answer), int(norm_answer),
    )


def _commit(bases: CommitmentKey, values: Sequence[mpz]) -> mpz:
    """Com(w; r) for the integers w and r, the third last of ``values``; two nonces follow."""
    *w, r, _, _ = values
    return bases.commit(w, r)


def _is_well_inside(answer: mpz, length: int) -> bool:
    """Whether every hidden value would have given this answer equally often."""
    margin = mpz(1) << (length - SPARE_BITS)
    return bool(margin <= answer < (mpz(1) << length) - margin)


# --- verifying ----------------------------------------------------------------------------------


def verify(statement: Statement, proof: NormProof) -> None:
    """Raise `NormProofError` unless ``proof`` holds for ``statement``."""
    opened = _read(statement, proof)
    name = _verified_name(statement, proof)
    if _is_held(name):
        return
    _verify_equations(statement, proof, opened)
    if not _commitments_open(statement.public_key, [opened], [1]):
        raise NormProofError("the norm proof's commitment does not open to its responses")
    _keep(_HELD, name, None, HELD_KEPT)


def verify_together(statements: Sequence[Statement], proofs: Sequence[NormProof]) -> None:
    """`verify` several proofs under one key, with one equation for all their commitments.

    Their commitments are raised to 128-bit powers hashed from all of them and multiplied: what is
    wrong in one is wrong in the product, except with chance 2^−128 (Bellare, Garay, Rabin 1998).
    `verify` in the same process then finds each proof that holds verified.

    Use it where several unverified proofs are at hand, as when a stored ledger is verified
    (`bdn.experiments.verification`). It saves nearly all of the commitments' part, which is half of
    a verification (``python benchmarks/norm_proof.py``, "ten together" and "ten one by one"). An
    edge server verifies each update on arrival instead: while it waits for the others it has time,
    and after the last one nothing but that one is left to verify.

    Raises `NormProofError`, whose ``positions`` name the proofs that do not hold.
    """
    if len({statement.public_key.N for statement in statements}) > 1:
        raise ParameterError("proofs under different keys cannot be verified together")
    opened: dict[int, _Opened] = {}
    failures: dict[int, NormProofError] = {}
    for at, (statement, proof) in enumerate(zip(statements, proofs, strict=True)):
        try:
            one = _read(statement, proof)
            if not _is_held(_verified_name(statement, proof)):
                _verify_equations(statement, proof, one)
                opened[at] = one
        except NormProofError as error:
            failures[at] = error
    if opened:
        key = statements[0].public_key
        seed = digest("bdn/norm-proof/together", *(one.name for one in opened.values()))
        tau = combiners(seed, len(opened))
        if not _commitments_open(key, list(opened.values()), tau):
            for at, one in opened.items():
                if not _commitments_open(key, [one], [1]):
                    failures[at] = NormProofError(
                        "the norm proof's commitment does not open to its responses")
    for at in opened.keys() - failures.keys():
        _keep(_HELD, _verified_name(statements[at], proofs[at]), None, HELD_KEPT)
    if failures:
        first = min(failures)
        raise NormProofError(f"proof {first}: {failures[first]}", sorted(failures))


def _verified_name(statement: Statement, proof: NormProof) -> bytes:
    """32 bytes that name everything on which the verification of ``proof`` depends."""
    return digest("bdn/norm-proof/held", statement.root(), proof.to_bytes())


def _is_held(name: bytes) -> bool:
    with _LOCK:
        return name in _HELD


@dataclass(frozen=True, slots=True)
class _Opened:
    """A commitment's part of a proof whose other equations hold."""

    name: bytes
    commitment: int
    mask_commitment: int
    x: int
    zeta: tuple[mpz, ...]
    opening: int


def _read(statement: Statement, proof: NormProof) -> _Opened:
    """Return ζ and x of ``proof``, whose numbers are in their ranges."""
    key, sizes = statement.public_key, Sizes.of(statement)
    zeta = _checked_form(statement, sizes, proof)
    seed = _after_commitment(statement, proof.commitment)
    first = (proof.mask_commitment, proof.link, proof.cross, proof.constant)
    x = _challenge(statement, sizes, seed, (*first, proof.linear))
    name = digest("bdn/norm-proof/opened", seed, x.to_bytes(16, "big"), proof.responses,
                  _fixed(key, proof.mask_commitment), _fixed(key, proof.opening))
    return _Opened(name, proof.commitment, proof.mask_commitment, x, tuple(zeta), proof.opening)


def _verify_equations(statement: Statement, proof: NormProof, opened: _Opened) -> None:
    """Raise `NormProofError` unless all equations hold but that of the commitment."""
    key, x, zeta = statement.public_key, opened.x, opened.zeta
    N, N2 = mpz(key.N), mpz(key.N2)
    seed = _after_commitment(statement, proof.commitment)
    relation, weights = _relation(statement, seed), _block_weights(statement, seed)
    split = _split(statement, zeta)

    if _linear(relation, split) != (proof.linear + x * relation.target) % P_PRIME:
        raise NormProofError("the norm proof does not hold for the masked values")

    sealed = product_of_powers(statement.ciphertexts, relation.powers, key.N)
    sealed = sealed * (1 - relation.shift * N) % N2
    answer = _encrypt(key, relation.combine([values for values, _ in split]), proof.link_nonce)
    if answer != proof.link * gmpy2.powmod(sealed, x, N2) % N2:
        raise NormProofError("the norm proof does not hold for the ciphertexts")

    bound = sum(weight * block.bound2
                for weight, block in zip(weights, statement.blocks, strict=True))
    excess = _weighted(statement, weights, zeta, zeta) - x * x * bound
    answer = _encrypt(key, excess, proof.norm_nonce)
    if answer != gmpy2.powmod(proof.cross, x, N2) * proof.constant % N2:
        raise NormProofError("the norm proof's responses are longer than the bound allows")


def _checked_form(statement: Statement, sizes: Sizes, proof: NormProof) -> list[mpz]:
    """ζ, after every number of ``proof`` was found to be in its range."""
    key = statement.public_key
    N = key.N
    for value in (proof.commitment, proof.mask_commitment):
        if not 0 < value < N or gmpy2.gcd(value, N) != 1:
            raise NormProofError("a commitment of the norm proof is no unit modulo N")
    try:
        check_ciphertexts(key, [mpz(c) for c in (proof.link, proof.cross, proof.constant)])
    except CiphertextError as error:
        raise NormProofError("the norm proof holds a value that is no ciphertext") from error
    if not 0 <= proof.linear < P_PRIME:
        raise NormProofError("h of the norm proof is out of range")
    zeta = _unpack_responses(proof.responses, sizes)
    answers = (*zeta, proof.opening, proof.link_nonce, proof.norm_nonce)
    if any(answer < 0 or answer.bit_length() > length
           for answer, length in zip(answers, sizes.all, strict=True)):
        raise NormProofError("a response of the norm proof is out of range")
    return zeta


def _commitments_open(key: PublicKey, opened: Sequence[_Opened], tau: Sequence[int]) -> bool:
    """Whether ∏ Com(ζ_k)^{τ_k} = ± ∏ (C_η,k·C_k^{x_k})^{τ_k}.

    The sign stays open: −1 is the one root of unity that a prover knows, so a proof's meaning does
    not depend on it, and products of several proofs could not tell.
    """
    N = mpz(key.N)
    length = max(len(one.zeta) for one in opened)
    exponents = [mpz(0)] * length
    for one, power in zip(opened, tau, strict=True):
        for at, value in enumerate(one.zeta):
            exponents[at] += power * value
    opening = sum(power * one.opening for one, power in zip(opened, tau, strict=True))
    left = commitment_key(key.N, key.seed, length).commit(exponents, opening)
    right = mpz(1)
    for one, power in zip(opened, tau, strict=True):
        right = right * gmpy2.powmod(one.mask_commitment, power, N) % N
        right = right * gmpy2.powmod(one.commitment, power * one.x, N) % N
    return left in (right, N - right)


# --- the parts of an equation -------------------------------------------------------------------


def _split(
    statement: Statement, values: Sequence[mpz]
) -> list[tuple[Sequence[mpz], Sequence[mpz]]]:
    """(integers, squares) of each block."""
    parts, at = [], 0
    for block in statement.blocks:
        end = at + block.count
        parts.append((values[at:end], values[end : end + SQUARES]))
        at = end + SQUARES
    return parts


def _linear(
    relation: Relation, split: Iterable[tuple[Sequence[mpz], Sequence[mpz]]]
) -> int:
    """⟨b, ·⟩ modulo p′; 0 where there is no ring."""
    if not relation.coefficients:
        return 0
    values = itertools.chain.from_iterable(integers for integers, _ in split)
    return int(sum(map(mpz.__mul__, map(mpz, relation.coefficients), values)) % P_PRIME)


def _weighted(
    statement: Statement, weights: Sequence[int], left: Sequence[mpz], right: Sequence[mpz]
) -> int:
    """Σ λ·left·right over all blocks, each with its squares and its own λ."""
    total, at = mpz(0), 0
    for weight, block in zip(weights, statement.blocks, strict=True):
        end = at + block.count + SQUARES
        total += weight * sum(map(mpz.__mul__, left[at:end], right[at:end]))
        at = end
    return int(total)


def _encrypt(key: PublicKey, plaintext: int, nonce: int) -> mpz:
    """(1 + N)^plaintext·h^nonce modulo N²."""
    return djn_table(key).power(int(nonce), int(plaintext % key.N))


# --- hashing and bytes --------------------------------------------------------------------------


def _after_commitment(statement: Statement, commitment: int) -> bytes:
    return digest("bdn/norm-proof/commitment", statement.root(),
                  _fixed(statement.public_key, commitment))


def _block_weights(statement: Statement, seed: bytes) -> list[int]:
    """λ: 1 for the first block, 128 random bits for every other."""
    return [1, *combiners(digest("bdn/norm-proof/weights", seed), len(statement.blocks) - 1)]


def _challenge(statement: Statement, sizes: Sizes, seed: bytes, first: Sequence[int]) -> int:
    parts = [_fixed(statement.public_key, value) for value in first]
    hashed = digest("bdn/norm-proof/challenge", seed, *parts)
    return int.from_bytes(hashed, "big") >> (8 * len(hashed) - sizes.challenge)


def _fixed(key: PublicKey, value: int) -> bytes:
    """``value`` in the width of a ciphertext and sixteen bytes more, enough for every number."""
    return int(value).to_bytes(key.width + 64, "big")


def _pack_responses(zeta: Sequence[mpz], sizes: Sizes) -> bytes:
    return b"".join([int(value).to_bytes((length + 7) // 8, "big")
                     for value, length in zip(zeta, sizes.responses, strict=True)])


def _unpack_responses(data: bytes, sizes: Sizes) -> list[mpz]:
    if len(data) != sum((length + 7) // 8 for length in sizes.responses):
        raise NormProofError("the norm proof has another number of responses")
    zeta, at = [], 0
    for length in sizes.responses:
        end = at + (length + 7) // 8
        zeta.append(mpz(int.from_bytes(data[at:end], "big")))
        at = end
    return zeta


def expand(seed: bytes, count: int, length: int) -> list[int]:
    """``count`` integers of ``length`` bits (a multiple of 8) from the SHAKE-256 stream of seed."""
    size = length // 8
    stream = hashlib.shake_256(seed).digest(size * count)
    return [int.from_bytes(stream[at : at + size], "big") for at in range(0, size * count, size)]
