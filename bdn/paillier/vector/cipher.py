"""What both vector ciphers share: the Paillier part of a sealed vector, and canonical form.

A cipher fills in how levels become plaintexts (`seal_encoded`), how sealed vectors are added
(`_add_ciphertexts`, `_add_rings`), and how decrypted plaintexts become sums (`_sums`).
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np
from gmpy2 import mpz
from numpy.typing import ArrayLike

from bdn.arguments import as_bytes, check_type
from bdn.encoding import decode_record, digest, encode_record, transcript
from bdn.errors import EncodingError, shown
from bdn.paillier.batch import (
    PlaintextProof,
    most_proof_bytes,
    prove_plaintexts,
    verify_plaintexts,
    weighted_product,
)
from bdn.paillier.errors import (
    NormBoundError,
    NormProofError,
    ParameterError,
    SealedFormError,
    ShareError,
)
from bdn.paillier.keys import PublicKey, check_ciphertexts, pack_values, unpack_values
from bdn.paillier.norm_proof import (
    NormBound,
    NormProof,
    PackedStatement,
    RingStatement,
    Statement,
)
from bdn.paillier.norm_proof import prove as prove_norm
from bdn.paillier.norm_proof import verify as verify_norm
from bdn.paillier.norm_proof import verify_together as verify_norms_together
from bdn.paillier.threshold import (
    KeyShare,
    PartialVector,
    combine_many,
    most_part_bytes,
    partially_decrypt_many,
    verify_vector,
)
from bdn.paillier.vector.fixedpoint import FixedPoint, Floats, Integers
from bdn.paillier.vector.sampling import KeyStream
from bdn.paillier.vector.sealed import SealedSum, SealedVector, VectorShare
from bdn.randomness import Randomness, as_randomness

Item = TypeVar("Item", SealedVector, SealedSum, VectorShare)

ENTROPY_BYTES = 32
"""Fresh randomness of a sealing."""

COUNT_BYTES = 8
"""Bytes of a weight or another count in the last leaf."""

SEALINGS = 40
"""Attempts to seal a vector within its bound; all fail with a chance far below 2^−128."""

NORM_PROOF_BYTES = 32
"""At least the bytes of a response of a norm proof."""

MIN_HONEST = 2
"""Honest contributors for which a sum hides its terms: with one, the others subtract their own."""


@dataclass(frozen=True, slots=True)
class SealingProof:
    """What a sealed vector proves: that its maker knows the plaintexts, and that it is short.

    Attributes:
        plaintexts: the proof of plaintext knowledge.
        norm: the norm proof; None where there is no norm bound.
    """

    plaintexts: PlaintextProof
    norm: NormProof | None


ADDED_AT_ONCE = 128
"""Sealed vectors, of megabytes each, that are in memory while a sum is computed."""


class VectorCipher(ABC):
    """Seal, add, share, open: what both ciphers do, and the canonical form of what travels.

    Attributes:
        name: "packed" or "ring-masked".
        applies_weight: who multiplies by s_k, the contract or the device.
        min_honest: how many of a sum's contributors must be honest for it to hide its terms. The
            device enforces it, through the minimum of contributors, before it makes a share.
        public_key: the joint Paillier key.
        code: the fixed-point code.
        bound: what every sealed vector is proven to keep within; None where nothing is.
        widest: the largest bound of the phases that share this cipher's form (ring, slots).
    """

    name: ClassVar[str]
    applies_weight: ClassVar[Literal["contract", "device"]]
    min_honest: ClassVar[int] = MIN_HONEST

    def __init__(
        self, public_key: PublicKey, code: FixedPoint, norm_bound: float | None, singles: int,
        largest_bound: float | None,
    ) -> None:
        check_type(public_key, PublicKey, "public_key")
        self.public_key = public_key
        self.code = code
        self.bound = self.widest = None
        if norm_bound is not None:
            largest = norm_bound if largest_bound is None else largest_bound
            if largest < norm_bound:
                raise ParameterError(f"a norm bound of {norm_bound:g}, but {largest:g} at most")
            self.bound = _bound_in_levels(code, norm_bound, singles)
            self.widest = _bound_in_levels(code, largest, singles)
        self.ciphertext_bytes = public_key.width

    @property
    def length(self) -> int:
        """Entries of the vector."""
        return self.code.length

    @property
    def step(self) -> Floats:
        """The value of one level; float64 of shape () or (length,)."""
        return self.code.step

    @property
    @abstractmethod
    def ciphertext_count(self) -> int:
        """Paillier ciphertexts of a sealed vector."""

    @property
    def ring_bytes(self) -> int:
        """Bytes of a sealed vector's ring part."""
        return 0

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one whole ring chunk."""
        return 0

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """32 bytes that name everything public on which sealing, adding and opening depend."""
        return digest("bdn/vector-cipher", self.name.encode(), self._phase())

    def quantise(self, vector: ArrayLike) -> Integers:
        """Return the levels q, int64 of shape (length,), that `seal` would seal: value ≈ q·step."""
        return self.code.quantise(vector)

    def seal(
        self, vector: ArrayLike, weight: int, rng: Randomness | None = None, context: bytes = b""
    ) -> SealedVector:
        """Seal ``vector`` (length,) for a sum in which it counts ``weight`` times.

        ``context`` names chain, epoch, phase and device; the proof holds for no other. ``rng``
        defaults to the operating system's source. Raises `OutOfRangeError` naming the worst entry
        beyond its clip (nothing is ever clipped), `NormBoundError` for a vector beyond the norm
        bound, `ParameterError` for a weight that cannot fit.
        """
        self.code.check_weight(weight)
        context = as_bytes(context, "context")
        levels = self.code.quantise(vector)
        if self.bound is not None:
            self.bound.check(levels)
        source = as_randomness(rng)
        for _ in range(SEALINGS):
            try:
                return self.seal_encoded(levels + self.code.offset, int(weight), source, context)
            except NormBoundError:  # one in 2,100 sealings of a vector exactly at the bound
                continue
        raise NormBoundError(f"{SEALINGS} sealings of the vector could not be proven to be short")

    @abstractmethod
    def seal_encoded(
        self, levels: Integers, weight: int, rng: Randomness | None = None, context: bytes = b""
    ) -> SealedVector:
        """Seal offset-binary ``levels`` (length,) as they are, unchecked.

        A malicious sender can do this; honest ones call `seal`. Raises `NormBoundError` where the
        projections of this sealing are longer than the norm bound.
        """

    def _prove(
        self, ciphertexts: Sequence[mpz], plaintexts: Sequence[int], nonces: Sequence[int],
        bound_to: bytes, stream: KeyStream, statement: RingStatement | PackedStatement | None,
        hidden: Integers,
    ) -> bytes:
        """Return the encoded `SealingProof`; ``hidden`` is a ring's secret, or the signed levels.

        ``statement`` is what the norm proof is about; None without a bound.
        """
        known = prove_plaintexts(
            self.public_key, ciphertexts, plaintexts, nonces, bound_to, stream)
        short = None
        if statement is not None:
            short = prove_norm(statement, statement.witness(hidden, nonces), stream)
        return encode_record(SealingProof(known, short))

    def _fresh_stream(
        self, levels: Integers, weight: int, rng: Randomness | None, context: bytes
    ) -> KeyStream:
        """The randomness of one sealing: keyed by fresh entropy *and* by all that is sealed.

        Should ``rng`` ever repeat (a restored snapshot, a seeded experiment), another vector,
        weight, context or phase still gets other secrets and nonces; the same ones give the same
        bytes. So no two sealings ever share a nonce and differ in their plaintexts.
        """
        entropy = as_randomness(rng).bytes(ENTROPY_BYTES)
        message = levels.astype("<i8").tobytes()
        return KeyStream(
            digest(f"bdn/{self.name}/seal", entropy, self._phase(), context,
                   weight.to_bytes(8, "big"), message)
        )

    def verify(self, sealed: SealedVector, context: bytes = b"", weight: int | None = None) -> None:
        """Check form, membership in Z*_{N²} and proof of ``sealed``; for ``context`` only.

        ``weight``, where given, must be the one inside the message (ciphers whose devices apply
        it). With a norm bound, its proof must hold, too. Raises `SealedFormError`,
        `CiphertextError`, `ProofError`, or `NormProofError`.
        """
        context = as_bytes(context, "context")
        self._check_sealed(sealed)
        if weight is not None and sealed.weight not in (0, weight):
            raise SealedFormError(
                f"sealed with weight {sealed.weight}, but {shown(weight)} was declared for it"
            )
        proof = self._proof(sealed)
        ciphertexts, bound_to = self._ciphertexts(sealed), self._proof_context(sealed, context)
        verify_plaintexts(self.public_key, ciphertexts, proof.plaintexts, bound_to)
        statement = self._norm_statement(sealed, ciphertexts, bound_to)
        if statement is not None and proof.norm is not None:
            verify_norm(statement, proof.norm)

    def verify_norms(self, sealed: Sequence[SealedVector], contexts: Sequence[bytes]) -> None:
        """Check form and norm proofs of several sealed vectors together, each for its context.

        It is no substitute for `verify`, which is then faster for each of them. Raises
        `SealedFormError`, `CiphertextError`, or `NormProofError` with the positions of those that
        do not hold.
        """
        statements: list[Statement] = []
        proofs: list[NormProof] = []
        for item, context in zip(sealed, contexts, strict=True):
            self._check_sealed(item)
            ciphertexts, proof = self._ciphertexts(item), self._proof(item)
            check_ciphertexts(self.public_key, ciphertexts)
            statement = self._norm_statement(
                item, ciphertexts, self._proof_context(item, as_bytes(context, "context")))
            if statement is not None and proof.norm is not None:
                statements.append(statement)
                proofs.append(proof.norm)
        verify_norms_together(statements, proofs)

    def _proof(self, sealed: SealedVector) -> SealingProof:
        """Return the decoded proof of ``sealed``, which has a norm proof if there is a bound."""
        try:
            proof = decode_record(SealingProof, sealed.proof)
        except EncodingError as error:
            raise SealedFormError(f"the proof does not decode: {error}") from error
        if (proof.norm is None) != (self.bound is None):
            found = "carries no" if proof.norm is None else "carries a"
            raise NormProofError(f"the sealed vector {found} norm proof")
        return proof

    def weighted_sum(self, sealed: Sequence[SealedVector], weights: Sequence[int]) -> SealedSum:
        """Return Eq. (5): the sealed Σ s_k·vector_k of vectors that `verify` has passed.

        Deterministic: equal inputs give equal bytes. ``sealed`` is read once, `ADDED_AT_ONCE`
        vectors at a time, so that a sequence which loads them on demand need not hold them all.
        Raises `ParameterError` where the weights exceed the declared total, `SealedFormError` where
        a vector carries another weight.
        """
        if not len(sealed) or len(sealed) != len(weights):
            raise ParameterError(f"{len(sealed)} sealed vectors and {len(weights)} weights")
        total_weight = self.code.check_weights(weights)
        ciphertexts: list[mpz] = []
        rings = b""
        for start in range(0, len(sealed), ADDED_AT_ONCE):
            group = sealed[start:start + ADDED_AT_ONCE]
            group_weights = weights[start:start + ADDED_AT_ONCE]
            for k, (item, weight) in enumerate(zip(group, group_weights, strict=True)):
                self._check_addend(start + k, item, weight)
            added = self._add_ciphertexts(group, group_weights)
            chunks = self._add_rings([item.ring for item in group])
            if start:
                added = weighted_product(self.public_key, [ciphertexts, added], [1, 1])
                chunks = self._add_rings([rings, chunks])
            ciphertexts, rings = added, chunks
        return SealedSum(
            self.name, self.length, total_weight, len(sealed), self.ciphertext_bytes,
            self.chunk_bytes, self._joined(ciphertexts), rings,
        )

    def partially_decrypt(
        self,
        share: KeyShare,
        total: SealedSum,
        session: bytes = b"",
        rng: Randomness | None = None,
    ) -> VectorShare:
        """Return one party's share of ``total``, with one proof for the whole vector.

        Give a share only of a sum that was verified on the chain, with at least the minimum of
        contributors, and of one sum per (epoch, phase): the difference of two sums is a device's
        update. ``session`` is bound into the proof. Raises as `verify_share` for a bad sum.
        """
        self._check_sum(total)
        if share.public_key != self.public_key:
            raise ParameterError("the key share is of another key than this cipher's")
        partial = partially_decrypt_many(
            share, self._ciphertexts(total), _session(total, session), rng
        )
        return VectorShare(partial.index, partial.to_bytes(self.public_key))

    def verify_share(
        self, total: SealedSum, vector_share: VectorShare, session: bytes = b""
    ) -> None:
        """Check a share's form and proof; raises a `ShareError` that names the party."""
        self._check_sum(total)
        partial = self._parse_partial(vector_share)
        verify_vector(
            self.public_key, self._ciphertexts(total), partial, _session(total, session)
        )

    def open_integers(
        self, total: SealedSum, shares: Sequence[VectorShare], session: bytes = b""
    ) -> Integers:
        """Return the exact Σ s_k q_k, int64 of shape (length,), from t or more shares, checked.

        Bad shares are left out while t good ones remain. Raises a `ShareError` naming the bad ones
        when they do not, `SpoiledSumError` for a sum that honest contributors cannot have made.
        """
        self._check_sum(total)
        partials = []
        malformed = []
        for item in shares:
            try:
                partials.append(self._parse_partial(item))
            except ShareError as error:
                malformed.append(error)
        if malformed and len(partials) < self.public_key.threshold:
            raise malformed[0]
        plaintexts = combine_many(
            self.public_key, self._ciphertexts(total), partials, _session(total, session),
            as_signed=True,
        )
        return self.code.decode_sums(self._sums(total, plaintexts), total.total_weight)

    def open(
        self, total: SealedSum, shares: Sequence[VectorShare], session: bytes = b""
    ) -> Floats:
        """Return Σ s_k·vector_k, float64 of shape (length,): `open_integers` times the step."""
        return self.code.to_values(self.open_integers(total, shares, session))

    # --- bytes ---

    def sealed_from_bytes(self, data: bytes) -> SealedVector:
        """Decode what `SealedVector.to_bytes` wrote; `SealedFormError` for anything else."""
        sealed = _decoded(SealedVector, data)
        self._check_sealed(sealed)
        return sealed

    def sum_from_bytes(self, data: bytes) -> SealedSum:
        """Decode what `SealedSum.to_bytes` wrote; `SealedFormError` for anything else."""
        total = _decoded(SealedSum, data)
        self._check_sum(total)
        return total

    def sealed_from_leaves(self, leaves: Sequence[bytes]) -> SealedVector:
        """Return the vector with these `SealedVector.leaves`; raises `SealedFormError`."""
        ciphertexts, ring = self._split_leaves(leaves)
        weight, proof = _tail(leaves[-1], "bdn/sealed-tail", self.most_proof_bytes)
        sealed = SealedVector(
            self.name, self.length, int.from_bytes(weight, "big"), self.ciphertext_bytes,
            self.chunk_bytes, ciphertexts, ring, proof,
        )
        self._check_sealed(sealed)
        return sealed

    def sum_from_leaves(self, leaves: Sequence[bytes]) -> SealedSum:
        """Return the sum with these `SealedSum.leaves`; raises `SealedFormError`."""
        ciphertexts, ring = self._split_leaves(leaves)
        weight, contributors = _tail(leaves[-1], "bdn/sum-tail", COUNT_BYTES)
        if len(contributors) != COUNT_BYTES:
            raise SealedFormError("the last leaf is not the tail of a sealed sum")
        total = SealedSum(
            self.name, self.length, int.from_bytes(weight, "big"),
            int.from_bytes(contributors, "big"), self.ciphertext_bytes, self.chunk_bytes,
            ciphertexts, ring,
        )
        self._check_sum(total)
        return total

    def _split_leaves(self, leaves: Sequence[bytes]) -> tuple[bytes, bytes]:
        """The ciphertexts and the ring part; raises `SealedFormError` for leaves of other sizes."""
        count, chunk = self.ciphertext_count, self.chunk_bytes
        whole, rest = divmod(self.ring_bytes, chunk) if chunk else (0, 0)
        sizes = [self.ciphertext_bytes] * count + [chunk] * whole + [rest] * (rest > 0)
        if len(leaves) != len(sizes) + 1:
            raise SealedFormError(f"{len(leaves)} leaves; this cipher's have {len(sizes) + 1}")
        for at, size in enumerate(sizes):
            if len(leaves[at]) != size:
                raise SealedFormError(f"leaf {at} has {len(leaves[at])} bytes, not {size}")
        return b"".join(leaves[:count]), b"".join(leaves[count:-1])

    @property
    def most_proof_bytes(self) -> int:
        """The longest encoded `SealingProof`."""
        most = most_proof_bytes(self.public_key, self.ciphertext_count) + 64
        if self.bound is not None:
            most += NORM_PROOF_BYTES * (self._proven_integers + 64) + 16 * self.public_key.width
        return most

    def share_from_bytes(self, data: bytes) -> VectorShare:
        """Decode what `VectorShare.to_bytes` wrote; `SealedFormError` or `ShareError` else."""
        share = _decoded(VectorShare, data)
        self._parse_partial(share)
        return share

    # --- what the ciphers fill in ---

    @abstractmethod
    def _phase(self) -> bytes:
        """Everything public that a sealing depends on, besides vector, weight and context."""

    @property
    @abstractmethod
    def _proven_integers(self) -> int:
        """How many integers a norm proof commits to, without squares."""

    @abstractmethod
    def _norm_statement(
        self, sealed: SealedVector, ciphertexts: Sequence[mpz], bound_to: bytes
    ) -> Statement | None:
        """What the norm proof of ``sealed`` is about; None without a norm bound."""

    @abstractmethod
    def _proof_context(self, sealed: SealedVector, context: bytes) -> bytes:
        """Everything beside the ciphertexts that the proof of plaintext knowledge binds."""

    @abstractmethod
    def _add_ciphertexts(
        self, sealed: Sequence[SealedVector], weights: Sequence[int]
    ) -> list[mpz]:
        """The Paillier part of the weighted sum."""

    def _add_rings(self, rings: Sequence[bytes]) -> bytes:  # noqa: ARG002 - none here
        """The sum of ring parts, of vectors or of such sums."""
        return b""

    def _check_addend(self, position: int, item: SealedVector, weight: int) -> None:  # noqa: ARG002 - where the sum applies the weight, any will do
        """Raise unless ``item`` may be added with ``weight``; ``position`` is for the message."""
        self._check_sealed(item)

    @abstractmethod
    def _sums(self, total: SealedSum, plaintexts: Sequence[int]) -> Integers:
        """Σ s_k m_k, int64 of shape (length,), from the decrypted plaintexts of ``total``."""

    @abstractmethod
    def _check_own(self, item: SealedVector | SealedSum) -> None:
        """What the cipher checks beyond sizes; `SealedFormError`."""

    def _check_sealed_weight(self, weight: int) -> None:
        if weight != 0:
            raise SealedFormError(
                f"weight {shown(weight)} inside the message; the contract applies it")

    # --- form ---

    def _check_sealed(self, sealed: SealedVector) -> None:
        check_type(sealed, SealedVector, "a sealed vector")
        self._check_sizes(sealed)
        if len(sealed.proof) > self.most_proof_bytes:
            raise SealedFormError(
                f"a proof of {len(sealed.proof)} bytes; at most {self.most_proof_bytes}")
        self._check_sealed_weight(sealed.weight)

    def _check_sum(self, total: SealedSum) -> None:
        check_type(total, SealedSum, "total")
        self._check_sizes(total)
        if not 1 <= total.contributors <= total.total_weight <= self.code.total_weight:
            raise SealedFormError(
                f"a sum of {shown(total.contributors)} vectors with total weight "
                f"{shown(total.total_weight)}; at most {self.code.total_weight} was declared"
            )

    def _check_sizes(self, item: SealedVector | SealedSum) -> None:
        fields = (
            ("cipher", item.cipher, self.name),
            ("length", item.length, self.length),
            ("ciphertext width", item.ciphertext_bytes, self.ciphertext_bytes),
            ("chunk width", item.chunk_bytes, self.chunk_bytes),
            ("ciphertext bytes", len(item.ciphertexts),
             self.ciphertext_count * self.ciphertext_bytes),
            ("ring bytes", len(item.ring), self.ring_bytes),
        )
        for what, found, expected in fields:
            if found != expected:
                raise SealedFormError(f"{what}: {shown(found)}; this cipher has {expected}")
        self._check_own(item)

    def _ciphertexts(self, item: SealedVector | SealedSum) -> list[mpz]:
        return unpack_values(self.public_key, item.ciphertexts)

    def _joined(self, ciphertexts: Sequence[mpz]) -> bytes:
        return pack_values(self.public_key, ciphertexts)

    def _parse_partial(self, share: VectorShare) -> PartialVector:
        check_type(share, VectorShare, "a share")
        name = f"the share of party {shown(share.index)}"
        most = most_part_bytes(self.public_key, self.ciphertext_count)
        if len(share.partial) > most:
            raise ShareError(f"{name} has {len(share.partial)} bytes; at most {most}",
                             [share.index])
        try:
            partial = PartialVector.from_bytes(self.public_key, share.partial)
        except EncodingError as error:
            raise ShareError(f"{name} does not decode: {error}", [share.index]) from error
        if partial.index != share.index:
            raise ShareError(f"{name} holds one of party {shown(partial.index)}", [share.index])
        return partial


def _bound_in_levels(code: FixedPoint, norm_bound: float, singles: int) -> NormBound:
    """The bound for all entries but the last ``singles``, whose own bounds are their clips."""
    entries = max(0, code.length - singles)
    steps = np.broadcast_to(code.step, (code.length,))[:entries]
    if not 0 <= singles <= code.length or not norm_bound > 0:
        raise ParameterError(f"a norm bound of {norm_bound} with {singles} single entries")
    if entries and not bool(np.all(steps == steps[0])):
        raise ParameterError("entries under one norm bound must have one clip")
    levels = int(norm_bound / steps[0]) if entries else 1
    if levels < 1:
        raise ParameterError(f"a norm bound of {norm_bound:g} is less than one level; raise it")
    return NormBound(entries, levels, (code.max_level,) * singles)


def _session(total: SealedSum, session: bytes) -> bytes:
    """What a share's proof is bound to: the whole sum, its ring part too, and the session."""
    return transcript("bdn/vector-session", total.digest(), as_bytes(session, "session"))


def _tail(leaf: bytes, domain: str, most: int) -> tuple[bytes, bytes]:
    """The two parts of a last leaf: `COUNT_BYTES` bytes, and ``most`` bytes or fewer."""
    start = len(transcript(domain)) + 8  # after the length of the first part
    first, second = leaf[start : start + COUNT_BYTES], leaf[start + COUNT_BYTES + 8 :]
    if len(second) > most or leaf != transcript(domain, first, second):
        raise SealedFormError(f"the last leaf is not a {domain} of two parts")
    return first, second


def _decoded(cls: type[Item], data: bytes) -> Item:
    try:
        return decode_record(cls, data)
    except EncodingError as error:
        raise SealedFormError(f"no {cls.__name__}: {error}") from error
