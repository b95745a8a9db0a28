"""Vectors of ciphertexts: what the vector ciphers are built on.

Plain integers and `mpz` in lists, no objects per ciphertext. Powers run on every core through
threads (``threads`` arguments, all cores by default); the rest is single products, for which
Python holds its lock.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from gmpy2 import mpz

from bdn.encoding import decode_record, encode_record
from bdn.errors import EncodingError
from bdn.paillier import proofs
from bdn.paillier.errors import PlaintextRangeError, ShareError, WeightError
from bdn.paillier.keys import PublicKey, check_ciphertexts, djn_table, signed_plaintext
from bdn.paillier.numbers import PIECES_PER_THREAD, default_threads, pieces, power_each
from bdn.paillier.powers import addition_sequence, run_sequence
from bdn.paillier.proofs import PlaintextProof, ShareProof
from bdn.paillier.threshold import (
    KeyShare,
    Label,
    check_index,
    check_indices,
    check_values,
    open_shares,
    raise_if_too_few,
)
from bdn.randomness import Randomness, as_randomness


@dataclass(frozen=True, slots=True)
class PartialVector:
    """One party's shares of a vector of ciphertexts, with one proof for all.

    Attributes:
        index: the party i.
        values: c_{i,j} in [1, N²), in the order of the ciphertexts.
        proof: of the random combination of all of them.
        label: which key, ciphertexts and session it is for.
    """

    index: int
    values: tuple[mpz, ...]
    proof: ShareProof
    label: Label

    def to_bytes(self, public_key: PublicKey) -> bytes:
        """The strict encoding, the values in the key's fixed width."""
        packed = proofs.fixed_width(public_key, self.values)
        return encode_record(_PartialVectorRecord(self.index, packed, self.proof, self.label))

    @classmethod
    def from_bytes(cls, public_key: PublicKey, data: bytes) -> "PartialVector":
        """Decode; raises `bdn.errors.EncodingError`. The proof is checked by `combine_many`."""
        record = decode_record(_PartialVectorRecord, data)
        values = unpack_values(public_key, record.values)
        return cls(record.index, tuple(values), record.proof, record.label)


@dataclass(frozen=True, slots=True)
class _PartialVectorRecord:
    index: int
    values: bytes
    proof: ShareProof
    label: Label


# --- the wire -----------------------------------------------------------------------------------


def pack_values(public_key: PublicKey, values: Sequence[mpz]) -> bytes:
    """Values modulo N², big-endian, ``public_key.width`` bytes each."""
    return proofs.fixed_width(public_key, values)


def unpack_values(public_key: PublicKey, data: bytes) -> list[mpz]:
    """What `pack_values` wrote; raises `bdn.errors.EncodingError` for a broken length."""
    width = public_key.width
    if len(data) % width:
        raise EncodingError(f"{len(data)} bytes are no whole number of {width}-byte ciphertexts")
    return [mpz(int.from_bytes(data[k : k + width], "big")) for k in range(0, len(data), width)]


# --- sealing ------------------------------------------------------------------------------------


def encrypt_many(
    public_key: PublicKey,
    plaintexts: Sequence[int],
    rng: Randomness | None = None,
    executor: Executor | None = None,
) -> tuple[list[mpz], list[int]]:
    """Fast-mode ciphertexts of ``plaintexts``, and the nonces a_j that `prove_plaintexts` needs.

    A plaintext may be signed or a residue: −N/2 < M < N; anything else raises
    `PlaintextRangeError`. The nonces are as secret as the plaintexts.

    Table products hold Python's lock, so threads do not help here. An ``executor`` of processes
    does: each builds the table once and then takes its share of every list.
    """
    N, source = public_key.N, as_randomness(rng)
    wrong = [j for j, M in enumerate(plaintexts) if not -N // 2 < M < N]
    if wrong:
        raise PlaintextRangeError(f"plaintext {wrong[0]} lies outside (−N/2, N)")
    bits = public_key.nonce_bits
    nonces = [source.bits(bits) for _ in plaintexts]
    if executor is None:
        return _encrypt_piece(public_key, plaintexts, nonces), nonces
    cuts = list(pieces(len(plaintexts), default_threads() * PIECES_PER_THREAD))
    jobs = [executor.submit(_encrypt_piece, public_key, plaintexts[cut], nonces[cut])
            for cut in cuts]
    return [c for job in jobs for c in job.result()], nonces


def _encrypt_piece(
    public_key: PublicKey, plaintexts: Sequence[int], nonces: Sequence[int]
) -> list[mpz]:
    """Pure, so that it may run in another process."""
    table = djn_table(public_key)
    return [table.power(a, M) for a, M in zip(nonces, plaintexts, strict=True)]


def prove_plaintexts(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    plaintexts: Sequence[int],
    nonces: Sequence[int],
    context: bytes,
    rng: Randomness | None = None,
) -> PlaintextProof:
    """One proof that its maker knows all ``plaintexts``, bound to ``context``.

    What it proves and what it does not: `bdn.paillier.proofs`.
    """
    return proofs.prove_plaintexts(
        public_key, ciphertexts, plaintexts, nonces, context, as_randomness(rng)
    )


def verify_plaintexts(
    public_key: PublicKey, ciphertexts: Sequence[mpz], proof: PlaintextProof, context: bytes
) -> None:
    """Raise unless every ciphertext is a unit in [1, N²) and the prover knew every plaintext.

    Raises `CiphertextRangeError`, `CiphertextUnitError`, `PlaintextProofError`.
    """
    check_ciphertexts(public_key, list(ciphertexts))
    proofs.verify_plaintexts(public_key, ciphertexts, proof, context)


# --- aggregating --------------------------------------------------------------------------------


def weighted_product(
    public_key: PublicKey, vectors: Sequence[Sequence[mpz]], weights: Sequence[int]
) -> list[mpz]:
    """∏_k c_{k,j}^{w_k} mod N² for every position j: Eq. (5)'s product.

    ``vectors`` holds one list of ciphertexts per weight, all of one length. Raises `WeightError`
    for a negative weight, for lists of different lengths, or for none at all.
    """
    if not vectors or len(vectors) != len(weights):
        raise WeightError(f"{len(vectors)} vectors for {len(weights)} weights")
    if min(weights) < 0:
        raise WeightError(f"weight {min(weights)} is negative")
    if len({len(vector) for vector in vectors}) != 1:
        raise WeightError("the vectors have different lengths")
    program, N2 = addition_sequence(weights), mpz(public_key.N2)
    return [run_sequence(program, bases, N2) for bases in zip(*vectors, strict=True)]


# --- opening ------------------------------------------------------------------------------------


def partially_decrypt_many(
    share: KeyShare,
    ciphertexts: Sequence[mpz],
    session: bytes = b"",
    rng: Randomness | None = None,
    threads: int | None = None,
) -> PartialVector:
    """One party's shares c_j^(2Δ s_i), with one proof for the whole vector.

    Raises `CiphertextRangeError` or `CiphertextUnitError` for values that are no ciphertexts.
    """
    key = share.public_key
    check_ciphertexts(key, list(ciphertexts))
    values = power_each(ciphertexts, share.exponent, key.N2, threads)
    C, D, seed = proofs.combined_statement(key, share.index, ciphertexts, values, session)
    proof = proofs.prove_share(key, share.index, share.secret, C, D, seed, as_randomness(rng))
    return PartialVector(share.index, tuple(values), proof, Label.of(key, ciphertexts, session))


def verify_vector(
    public_key: PublicKey, ciphertexts: Sequence[mpz], part: PartialVector, session: bytes = b""
) -> None:
    """Raise a `ShareError` unless ``part`` holds a right share of every ciphertext.

    Raises a `CiphertextError` if one of ``ciphertexts`` is none.
    """
    check_ciphertexts(public_key, list(ciphertexts))
    check_index(public_key, part.index)
    part.label.check(Label.of(public_key, ciphertexts, session), part.index)
    if len(part.values) != len(ciphertexts):
        message = f"party {part.index} gives {len(part.values)} of {len(ciphertexts)} shares"
        raise ShareError(message, [part.index])
    check_values(public_key, part.index, list(part.values))
    C, D, seed = proofs.combined_statement(
        public_key, part.index, ciphertexts, part.values, session
    )
    proofs.verify_share(public_key, part.index, C, D, seed, part.proof)


def combine_many(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    parts: Sequence[PartialVector],
    session: bytes = b"",
    as_signed: bool = False,
    threads: int | None = None,
) -> list[int]:
    """Open a vector with any t right parts: plaintexts in [0, N), or signed if ``as_signed``.

    Raises as `bdn.paillier.combine`.
    """
    check_indices(public_key, [part.index for part in parts])
    right, errors = [], []
    for part in parts:
        try:
            verify_vector(public_key, ciphertexts, part, session)
        except ShareError as error:
            errors.append(error)
        else:
            right.append(part)
    raise_if_too_few(public_key, len(right), errors)
    opened = open_shares(public_key, {part.index: part.values for part in right}, threads)
    return [signed_plaintext(public_key, M) for M in opened] if as_signed else opened
