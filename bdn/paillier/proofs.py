"""Zero-knowledge proofs: that a share is right, and that a sealer knows what it sealed.

Letters: N the modulus, c a ciphertext, c_i the share of party i, s_i its secret, Δ = ℓ!, x = Δ s_i,
v and v_i = v^x the verification keys, e the challenge, z a response, ρ_j combiners, M_j plaintexts,
a_j exponents of the fast mode, h its base, A a commitment.

**A share** (Fouque–Poupard–Stern 2000, after Shoup, Eurocrypt 2000): log_{c⁴}(c_i²) = log_v(v_i).
The prover draws ω ← [0, 2^(|x| + |e| + 128)), hashes c^{4ω} and v^ω with everything else to e,
and answers z = ω + e·x. The 128 spare bits make z statistically independent of x. Squares modulo
N² form a group of order N·p′q′ for safe primes, without factors as small as e, so two answers to
two challenges determine x: a false share passes with chance 2^−|e| per hash call. |e| = 256, or two
bits less than p and q on toy keys. Jointly made primes are not safe: where the group's order has a
small factor d, a share that is wrong by an element of order d passes with chance 1/d. Combining
still checks N | c′ − 1, so robustness suffers, correctness does not.

**Many shares at once**: combiners ρ_j of 128 bits are hashed from all ciphertexts and all shares,
and one proof is made for C = ∏ c_j^{ρ_j}, D = ∏ c_{i,j}^{ρ_j} (the small-exponents test of
Bellare, Garay and Rabin, Eurocrypt 1998): if any c_{i,j}² ≠ c_j^{4x}, then D² ≠ C^{4x} except with
chance 2^−128.

**Plaintexts**: a Σ-protocol for the n-dimensional linear form. A = (1 + N)^y h^w; ρ_1 … ρ_n hashed
from all ciphertexts, the context and A; answers z = y + Σ ρ_j M_j mod N and u = w + Σ ρ_j a_j;
check (1 + N)^z h^u = A ∏ c_j^{ρ_j}.

- *What is proven*: knowledge of **every** M_j modulo N, in the random-oracle model, with knowledge
  error 2^−128 per hash call. Decryption is a homomorphism from *all* units modulo N² to Z_N that
  sends h, and −1, and every other N-th residue to 0; applied to the equation it gives
  z = Dec(A) + Σ ρ_j·Dec(c_j) mod N, whatever the ciphertexts are made of. A prover who answers
  more than 2^−128 of the combiner vectors can be rewound to n + 1 affinely independent ones (a
  hyperplane modulo p or q holds at most 2^−128 of them), and the linear system modulo N is solved
  for all Dec(c_j). Nothing is extracted over the rationals and no roots are taken, so the strong
  RSA assumption is not needed and elements of small order play no role.
- *What is not*: that c_j lies in the group of h, that the prover knows a_j, or that M_j is small
  or well packed. Opening needs none of the first two; the last needs range proofs.
- *Zero knowledge*: y is uniform modulo N and hides ΣρM perfectly; w has 128 bits more than
  Σ ρ_j a_j can, so u hides it statistically.
- *Heuristic*: the random oracle (SHA-256 and SHAKE-256); and the rewinding of n + 1 transcripts is
  polynomial but not tight, as for every batched Schnorr proof. On toy keys whose primes are
  shorter than 128 bits the error is 1/min(p, q) instead.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gmpy2
from gmpy2 import mpz

from bdn.encoding import decode_record, digest, encode_record
from bdn.paillier.errors import PlaintextProofError, ShareProofError
from bdn.paillier.keys import PublicKey, djn_table
from bdn.paillier.numbers import power_each
from bdn.paillier.powers import product_of_powers
from bdn.randomness import Randomness

if TYPE_CHECKING:
    from collections.abc import Iterable

CHALLENGE_BITS = 256
"""|e| of a share proof on keys of 1024 bits and more."""

COMBINER_BITS = 128
"""Length of the combiners ρ_j of batched proofs."""

STATISTICAL_BITS = 128
"""By how much a nonce is longer than what it hides."""


@dataclass(frozen=True, slots=True)
class ShareProof:
    """(e, z): the challenge, and the response z = ω + e·x, an integer of any size."""

    challenge: int
    response: int

    def to_bytes(self) -> bytes:
        """The strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ShareProof":
        """Decode; raises `bdn.errors.EncodingError`."""
        return decode_record(cls, data)


@dataclass(frozen=True, slots=True)
class PlaintextProof:
    """(A, z, u): commitment in [1, N²), z in [0, N), u an integer."""

    commitment: int
    z: int
    u: int

    def to_bytes(self) -> bytes:
        """The strict encoding."""
        return encode_record(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PlaintextProof":
        """Decode; raises `bdn.errors.EncodingError`."""
        return decode_record(cls, data)


# --- lengths and hashes -------------------------------------------------------------------------


def challenge_bits(public_key: PublicKey) -> int:
    """|e|: 256, but always shorter than p′ and q′, which have about |N|/2 − 1 bits."""
    return max(1, min(CHALLENGE_BITS, public_key.bits // 2 - 2))


def nonce_bits(public_key: PublicKey) -> int:
    """The length of ω: the public bound on |x|, the challenge, and 128 bits to hide behind."""
    return public_key.share_bits + challenge_bits(public_key) + STATISTICAL_BITS


def fixed_width(public_key: PublicKey, values: "Iterable[int | mpz]") -> bytes:
    """Values modulo N², big-endian, each in the width of a ciphertext."""
    width = public_key.width
    return b"".join([int(value).to_bytes(width, "big") for value in values])


def combiners(seed: bytes, count: int) -> list[int]:
    """``count`` integers of 128 bits: the SHAKE-256 stream of ``seed``."""
    size = COMBINER_BITS // 8
    stream = hashlib.shake_256(seed).digest(size * count)
    return [int.from_bytes(stream[k : k + size], "big") for k in range(0, size * count, size)]


# --- shares -------------------------------------------------------------------------------------


def prove_share(
    public_key: PublicKey,
    index: int,
    secret: int,
    c: int,
    c_i: int,
    session: bytes,
    rng: Randomness,
) -> ShareProof:
    """Prove that c_i = c^(2Δ·secret), where v_i = v^(Δ·secret)."""
    N2 = public_key.N2
    omega = rng.bits(nonce_bits(public_key))
    commitments = power_each([gmpy2.powmod(c, 4, N2), mpz(public_key.v)], omega, N2)
    e = _share_challenge(public_key, index, c, c_i, session, commitments)
    return ShareProof(e, omega + e * public_key.delta * secret)


def verify_share(
    public_key: PublicKey, index: int, c: int, c_i: int, session: bytes, proof: ShareProof
) -> None:
    """Raise `ShareProofError` unless ``proof`` shows that party ``index`` made c_i from c.

    v and v_i are taken from ``public_key``, c from the caller: a prover chooses none of them.
    The commitments are recomputed as c^{4z}·c_i^{−2e} and v^z·v_i^{−e}, and must hash to e.
    """
    N2 = public_key.N2
    e, z = proof.challenge, proof.response
    if not 0 <= e < 1 << challenge_bits(public_key):
        raise ShareProofError(f"the challenge of party {index} is out of range", [index])
    if z.bit_length() > nonce_bits(public_key) + 1:
        raise ShareProofError(f"the response of party {index} is too long", [index])
    v, v_i = public_key.v, public_key.verification_keys[index - 1]
    first, second = power_each([gmpy2.powmod(c, 4, N2), mpz(v)], z, N2)
    first = first * gmpy2.powmod(c_i, -2 * e, N2) % N2
    second = second * gmpy2.powmod(v_i, -e, N2) % N2
    if e != _share_challenge(public_key, index, c, c_i, session, (first, second)):
        raise ShareProofError(f"the proof of party {index} does not hold", [index])


def _share_challenge(
    public_key: PublicKey,
    index: int,
    c: int,
    c_i: int,
    session: bytes,
    commitments: Sequence[int],
) -> int:
    """e, hashed from domain, session, N, v, i, v_i, c, c_i and both commitments."""
    v_i = public_key.verification_keys[index - 1]
    numbers = (public_key.N, public_key.v, index, v_i, c, c_i, *commitments)
    parts = [fixed_width(public_key, [number]) for number in numbers]
    hashed = digest("bdn/paillier/share-proof", session, *parts)
    return int.from_bytes(hashed, "big") >> (CHALLENGE_BITS - challenge_bits(public_key))


def combined_statement(
    public_key: PublicKey,
    index: int,
    ciphertexts: Sequence[mpz],
    shares: Sequence[mpz],
    session: bytes,
) -> tuple[int, int, bytes]:
    """(C, D, seed): the random combination of a vector of shares, and the seed of its combiners.

    The seed is hashed from the session, the key, the party, and all ciphertexts and shares; it
    takes the session's place in the proof, and so binds the proof to all of them.
    """
    seed = digest("bdn/paillier/share-combiners", session, public_key.digest,
                  index.to_bytes(8, "big"), fixed_width(public_key, ciphertexts),
                  fixed_width(public_key, shares))
    rho = combiners(seed, len(ciphertexts))
    C = product_of_powers(ciphertexts, rho, public_key.N)
    D = product_of_powers(shares, rho, public_key.N)
    return int(C), int(D), seed


# --- plaintexts ---------------------------------------------------------------------------------


def prove_plaintexts(
    public_key: PublicKey,
    ciphertexts: Sequence[mpz],
    plaintexts: Sequence[int],
    nonces: Sequence[int],
    context: bytes,
    rng: Randomness,
) -> PlaintextProof:
    """Prove knowledge of all M_j with c_j = (1 + N)^{M_j} h^{a_j}; see the module's docstring."""
    N = public_key.N
    y, w = rng.below(N), rng.bits(_mask_bits(public_key, len(ciphertexts)))
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
    """Raise `PlaintextProofError` unless the prover knows every plaintext, in this context.

    The ciphertexts must have passed `bdn.paillier.keys.check_ciphertexts`.
    """
    N, N2 = public_key.N, mpz(public_key.N2)
    A, z, u = proof.commitment, proof.z, proof.u
    if not (0 < A < N2 and 0 <= z < N):
        raise PlaintextProofError("the commitment or the response is out of range")
    if u < 0 or u.bit_length() > _mask_bits(public_key, len(ciphertexts)) + 1:
        raise PlaintextProofError("the response for the nonces is out of range")
    rho = combiners(_plaintext_seed(public_key, ciphertexts, context, A), len(ciphertexts))
    if _commitment(public_key, z, u) != A * product_of_powers(ciphertexts, rho, N) % N2:
        raise PlaintextProofError("the proof does not hold for these ciphertexts and context")


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
                  len(ciphertexts).to_bytes(8, "big"), fixed_width(public_key, ciphertexts),
                  fixed_width(public_key, [A]))
