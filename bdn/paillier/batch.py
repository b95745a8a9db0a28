"""Vectors of ciphertexts: sealing with a proof of plaintext knowledge, and weighted products.

Plaintexts and ciphertexts are plain integers and `mpz` in lists, without an object per ciphertext.
Opening a vector is in `bdn.paillier.threshold`.

| letter | meaning |
|---|---|
| N, c_j | the modulus, the ciphertexts |
| M_j, a_j | their plaintexts, and the exponents of the fast mode |
| h | the base of the fast mode |
| A | a commitment |
| y, w | its plaintext and its exponent |
| ρ_j | combiners of 128 bits |
| z, u | responses |

**The proof of plaintext knowledge** is a Σ-protocol for the n-dimensional linear form.
A = (1 + N)^y h^w; ρ_1 … ρ_n are hashed from all ciphertexts, the context and A; the answers are
z = y + Σ ρ_j M_j mod N and u = w + Σ ρ_j a_j; the check is (1 + N)^z h^u = A ∏ c_j^{ρ_j}.

- *What is proven*: knowledge of **every** M_j modulo N, in the random-oracle model, with knowledge
  error 2^−128 per hash call. Decryption is a homomorphism from *all* units modulo N² to Z_N that
  sends h, and −1, and every other N-th residue to 0; applied to the equation it gives
  z = Dec(A) + Σ ρ_j·Dec(c_j) mod N, whatever the ciphertexts are made of. A prover who answers
  more than 2^−128 of the combiner vectors can be rewound to n + 1 affinely independent ones (a
  hyperplane modulo p or q holds at most 2^−128 of them), and the linear system modulo N is solved
  for all Dec(c_j). Nothing is extracted over the rationals and no roots are taken, so the strong
  RSA assumption is not needed and elements of small order play no role.
- *What is not*: that c_j lies in the group of h, that the prover knows a_j, or that M_j is small
  or well packed. Opening needs none of the first two; the last is what norm proofs show.
- *Zero knowledge*: y is uniform modulo N and hides ΣρM perfectly; w has 128 bits more than
  Σ ρ_j a_j can, so u hides it statistically.
- *Heuristic*: the random oracle (SHA-256 and SHAKE-256); and the rewinding of n + 1 transcripts is
  polynomial but not tight, as for every batched Schnorr proof. On toy keys whose primes are
  shorter than 128 bits the error is 1/min(p, q) instead.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from gmpy2 import mpz

from bdn.encoding import bits, decode_record, digest, encode_record
from bdn.errors import shown
from bdn.paillier.errors import ParameterError, ProofError
from bdn.paillier.keys import (
    MAX_MODULUS_BITS,
    PublicKey,
    Residue,
    Response,
    check_ciphertexts,
    djn_table,
    pack_values,
)
from bdn.paillier.numbers import (
    COMBINER_BITS,
    PIECES_PER_THREAD,
    addition_sequence,
    combiners,
    default_threads,
    pieces,
    product_of_powers,
    run_sequence,
)
from bdn.randomness import Randomness, as_randomness

STATISTICAL_BITS = 128
"""By how much a nonce is longer than what it hides."""


# --- sealing ------------------------------------------------------------------------------------


def encrypt_many(
    public_key: PublicKey,
    plaintexts: Sequence[int],
    rng: Randomness | None = None,
    executor: Executor | None = None,
) -> tuple[list[mpz], list[int]]:
    """Encrypt ``plaintexts`` in the fast mode; return also the nonces a_j, for `prove_plaintexts`.

    A plaintext may be signed or a residue: −N/2 < M < N; anything else raises
    `ParameterError`. The nonces are as secret as the plaintexts.

    Table products hold Python's lock, so threads do not help here. An ``executor`` of processes
    does: each builds the table once and then takes its share of every list.
    """
    N, source = public_key.N, as_randomness(rng)
    wrong = [j for j, M in enumerate(plaintexts) if not -N // 2 < M < N]
    if wrong:
        raise ParameterError(f"plaintext {wrong[0]} lies outside (−N/2, N)")
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


# --- proving plaintexts -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaintextProof:
    """(A, z, u): commitment in [1, N²), z in [0, N), u an integer."""

    commitment: Residue
    z: Annotated[int, bits(MAX_MODULUS_BITS)]
    u: Response

    def to_bytes(self) -> bytes:
        """Return the strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PlaintextProof":
        """Decode ``data``; raises `bdn.errors.EncodingError`."""
        return decode_record(cls, data)


def most_proof_bytes(public_key: PublicKey, count: int) -> int:
    """Return the length that no encoded proof about ``count`` ciphertexts exceeds."""
    bits = 3 * public_key.bits + _mask_bits(public_key, count)
    return bits // 8 + 64  # with room for names, tags and lengths


def prove_plaintexts(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    plaintexts: Sequence[int],
    nonces: Sequence[int],
    context: bytes,
    rng: Randomness | None = None,
) -> PlaintextProof:
    """Prove knowledge of all M_j with c_j = (1 + N)^{M_j} h^{a_j}; see the module's docstring."""
    N, source = public_key.N, as_randomness(rng)
    y, w = source.below(N), source.bits(_mask_bits(public_key, len(ciphertexts)))
    A = _commitment(public_key, y, w)
    rho = combiners(_plaintext_seed(public_key, ciphertexts, context, A), len(ciphertexts))
    z, u = mpz(y), mpz(w)
    for e, M, a in zip(rho, plaintexts, nonces, strict=True):
        z += e * M
        u += e * a
    return PlaintextProof(int(A), int(z % N), int(u))


def verify_plaintexts(
    public_key: PublicKey, ciphertexts: Sequence[mpz], proof: PlaintextProof, context: bytes
) -> None:
    """Raise `ProofError` unless the prover knows every plaintext, in this context.

    Raises `CiphertextError` unless every ciphertext is a unit in [1, N²).
    """
    check_ciphertexts(public_key, ciphertexts)
    N, N2 = public_key.N, mpz(public_key.N2)
    A, z, u = proof.commitment, proof.z, proof.u
    if not (0 < A < N2 and 0 <= z < N):
        raise ProofError("the commitment or the response is out of range")
    if u < 0 or u.bit_length() > _mask_bits(public_key, len(ciphertexts)) + 1:
        raise ProofError("the response for the nonces is out of range")
    rho = combiners(_plaintext_seed(public_key, ciphertexts, context, A), len(ciphertexts))
    if _commitment(public_key, z, u) != A * product_of_powers(ciphertexts, rho, N) % N2:
        raise ProofError("the proof does not hold for these ciphertexts and context")


def _mask_bits(public_key: PublicKey, count: int) -> int:
    """The length of w: 128 bits more than Σ ρ_j a_j can have."""
    return public_key.nonce_bits + COMBINER_BITS + count.bit_length() + STATISTICAL_BITS


def _commitment(public_key: PublicKey, y: int, w: int) -> mpz:
    """(1 + N)^y h^w mod N², by the table of h."""
    return djn_table(public_key).power(w, y)


def _plaintext_seed(
    public_key: PublicKey, ciphertexts: Sequence[mpz], context: bytes, A: int
) -> bytes:
    return digest("bdn/paillier/plaintext-proof", public_key.digest, context,
                  len(ciphertexts).to_bytes(8, "big"), pack_values(public_key, ciphertexts),
                  pack_values(public_key, [A]))


# --- aggregating --------------------------------------------------------------------------------


def weighted_product(
    public_key: PublicKey, vectors: Sequence[Sequence[mpz]], weights: Sequence[int]
) -> list[mpz]:
    """Return ∏_k c_{k,j}^{w_k} mod N² for every position j: Eq. (5)'s product.

    ``vectors`` holds one list of ciphertexts per weight, all of one length. Raises `ParameterError`
    for a negative weight, for lists of different lengths, or for none at all.
    """
    if not vectors or len(vectors) != len(weights):
        raise ParameterError(f"{len(vectors)} vectors for {len(weights)} weights")
    if min(weights) < 0:
        raise ParameterError(f"weight {shown(min(weights))} is negative")
    if len({len(vector) for vector in vectors}) != 1:
        raise ParameterError("the vectors have different lengths")
    if not vectors[0]:
        return []
    program, N2 = addition_sequence(weights), mpz(public_key.N2)
    return [run_sequence(program, bases, N2) for bases in zip(*vectors, strict=True)]
