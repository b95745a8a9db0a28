"""A zero-knowledge proof that a sealed vector is short: nobody can poison beyond its share.

A device attaches a `NormProof` to its sealed update. Every edge server checks it, and learns
nothing but the statement: the 2-norm of the update is at most 2.46 times the bound B. Nothing is
opened. The proof works for both vector ciphers, under the Paillier key that they already have.

| letter | meaning |
|---|---|
| n, δ | entries of a vector; the signed levels of the update |
| B | the bound on ‖δ‖₂ in levels, to which honest devices scale down |
| N, p′ | the Paillier modulus; the prime 2^127 − 1 |
| E[M], h, a_i | a Paillier ciphertext of M; the base and the exponents of the fast mode |
| s, D, q | ring-masked: the weight inside the message; the message's scale; the ring's modulus |
| σ, β_σ, A | the short secret polynomial; the bound on ‖σ‖₂; A σ = a_j·σ, chunk after chunk |
| c, c′ | the masked vector; c′ = c − D·s·offset modulo q |
| u, β | u = c′ − A σ modulo q, centred: D·s·δ + e; the bound on an honest ‖u‖₂ |
| κ | the integers with c′ = A σ + u + q·κ |
| Q, S | packed: the levels, one row per ciphertext and one column per slot; S = R Q |
| R, β_v | 256 random rows, {−1, 0, 1} with probabilities ¼, ½, ¼; the bound on ‖R u‖₂ |
| w, f | all committed integers; the four squares that fill a block of them up to its bound |
| C, r | Com(w, f; r), one commitment to all of them |
| γ, ρ, λ | combiners of rows, of ciphertexts, of blocks, hashed from C |
| η, ζ, x | masks; the responses ζ = η + x·w; the challenge |

**Ring-masked.** The device commits to σ, v = R u and R κ, and shows four things in one round:
‖σ‖ ≤ β_σ, ‖v‖ ≤ β_v and ‖R κ‖ is not absurd (four squares each); the ciphertexts hold σ (a random
combination of all slots); R c′ = R A σ + v + q·R κ (a random combination of the rows, modulo p′).
**Packed.** It commits to S, and shows ‖S‖ ≤ β_v and that ∏ c_i^{R_ri} holds row r of S for every r.
**Single entries**, such as a loss, are committed to and bounded one by one. The messages are listed
in `bdn.paillier.norm_proof.protocol`.

R is hashed from everything that is sealed, with key, bound and context, so that u is fixed before R
is known. All hashes are over length-prefixed transcripts.

The argument
------------
**1. Responses to integers** (*assumption*: strong RSA, random oracle). A prover who answers two
challenges x ≠ x* for one (C, C_η) knows integers w = (ζ − ζ*)/(x − x*) with C = ± Com(w; r), or it
breaks strong RSA (Damgård and Fujisaki, Asiacrypt 2002). Their lengths are bounded by the lengths
of the responses. No device may know the factors of N: the proof binds nobody against t colluding
key holders, nor against a dealer who kept them. On jointly made keys, φ(N)/4 may have small
factors; that nobody can use one there is a further assumption.

**2. Equations to statements** (*theorem*, given 1; error at most 2^−126 per hash query for each).
*Norms*: F(ζ) − x²·Σ λβ² is the plaintext of E_1^x·E_0 for every x that is answered. Compared as
polynomials in x, Σ λ(‖w‖² + ‖f‖² − β²) = 0 modulo N; λ is random, so every summand is 0 modulo N;
and the responses are too short for a multiple of N, so ‖w‖² + ‖f‖² = β² over the integers.
*Ciphertexts*: likewise Σ ρ_i(M_i − pack_i(w)) = 0 modulo N, so every plaintext M_i is what the
committed integers say. Decryption is a homomorphism on *all* units modulo N², so that no root is
taken and elements of small order play no role. *Ring*: likewise, for every row, R c′ = R A σ + v +
q·R κ modulo p′; both sides are shorter than 2^100, so this holds over the integers, and
v = R u modulo q. σ is short and fixed by the ciphertexts, hence fixed before R.

**3. Short projections to a short vector** (*theorem*, up to a numerical maximum over one variable).
For every u with entries in [−q/2, q/2] and ‖u‖ ≥ U, q ≥ 5U: P(‖R u mod q‖ ≤ β_v) ≤ 2^−128 if
β_v² ≤ 27.917·U². *Proof.* Chernoff's bound for 256 independent rows gives, for any t > 0,
P ≤ (exp(t·β_v²/256)·E exp(−t·y²))^256 with y = ⟨r, u⟩ modulo q. By Poisson summation
exp(−t·y²) ≤ Σ_k g_k·exp(2πi·k·y/q) with Gaussian weights g_k > 0 that depend on t·q² alone, and
E exp(2πi·k·⟨r, u⟩/q) = ∏_j cos²(πk·u_j/q) because E exp(i·φ·r_j) = (1 + cos φ)/2 = cos²(φ/2).
Hölder's inequality with exponents u_j²/‖u‖² bounds Σ_k g_k ∏_j cos²(…) by the largest of
ψ(a) = Σ_k g_k |cos(πk·a/q)|^{2·max(1, U²/a²)} over a = |u_j| ∈ (0, q/2]. The number of entries has
vanished. For t = 2.31/U² and q ≥ 5U the maximum of ψ is 0.54965 (both ends come near it: many small
entries, which are Gaussian, and one large entry, which is a coin), and
exp(2.31·27.917)·0.54965^256 ≤ 2^−128. The tests compute the maximum, and check the bound against
exact enumeration and simulation. ∎ Gentry, Halevi and Lyubashevsky (Eurocrypt 2022, "PVSS with
thousands of parties") and Lyubashevsky, Nguyen and Plançon (Crypto 2022) have such lemmas with a
factor of the dimension, and Gaussian heuristics for the constants.

β_v² = 1.319·128·β², so U = 2.46·β. For packed vectors q is N and the columns of Q share R; the same
bound holds for ‖R Q‖ (take r ↦ ‖rᵀQ‖² for y², with a Gaussian vector for the Gaussian number). It
is applied over the integers: if some plaintext were not pack(Q_i) with entries up to 2β_v, each row
would be short with probability at most ½, since of y, y + M and y − M at most one half, by
probability, can be; and (2·ciphertexts + 1)·β_v below half a slot rules out carries.

**4. Zero knowledge.** Responses are exactly uniform (masks are redrawn near the ends of the range).
C is uniform up to 2^−128 on a dealer's key; on a jointly made one where a small factor d of φ(N)/4
exists, H may miss a subgroup of index d, and hiding then also rests on d-th residuosity.
E_1, E_0 and A hide their plaintexts as every fast-mode ciphertext does (*assumption*: DCR and DJN).
h follows from the rest. A vector exactly at the bound is sealed again if ‖R u‖ > β_v, once in 2,100
times: what is published then says that ‖R u‖ ≤ β_v, which is the statement itself.

**5. Heuristics.** Hash functions as random oracles; rows from AES-256-CTR; rewinding is not tight.

**What it does not prove**: the *direction* of an update, so that label flipping stays possible
within the bound; that a device has s_k samples; that two updates come from two devices.
"""

from bdn.paillier.norm_proof.protocol import (
    NormProof,
    Statement,
    Witness,
    forget_relations,
    proof_bytes,
    prove,
    verify,
    verify_together,
)
from bdn.paillier.norm_proof.statements import (
    HEADROOM,
    RANGE,
    SLACK,
    NormBound,
    PackedStatement,
    RingStatement,
)

__all__ = [
    "HEADROOM",
    "RANGE",
    "SLACK",
    "NormBound",
    "NormProof",
    "PackedStatement",
    "RingStatement",
    "Statement",
    "Witness",
    "forget_relations",
    "proof_bytes",
    "prove",
    "verify",
    "verify_together",
]
