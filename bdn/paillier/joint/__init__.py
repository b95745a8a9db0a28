"""A Paillier key that nobody dealt: parties make N = pq together, and none learns p or q.

Three protocols in a row. Up to t − 1 parties may collude.

| letter | meaning |
|---|---|
| ℓ, t, Δ | parties, threshold, Δ = ℓ! |
| p, q, N, φ | the secret primes, N = pq, φ = (p − 1)(q − 1) |
| p_i, q_i | party i's parts: p = Σ p_i, q = Σ q_i |
| M, Q | the sieve's modulus; 4 times the odd primes up to ℓ |
| s_i, v_i | key share and verification key of party i |
| β, R, θ′ | secret masks; the opened value θ′ = NΔR + Δφβ |

1. **The modulus** (Boneh and Franklin 2001). Each party has a random part p_i of p and q_i of q.
   *sieve*: the parts are made so that p and q are coprime to all primes up to about 700: t parties
   draw a unit each, the product is shared by BGW and becomes everybody's additive part.
   *product*, *moduli*: N = (Σ p_i)(Σ q_i) by BGW, opened. *bases*: coins, from which the bases g
   follow. *test*, *confirm*: the biprimality test g^((N + 1 − p_1 − q_1)/4) = ± ∏ g^((p_i + q_i)/4)
   with one base for every candidate that survives public trial division, then 39 more. *coprime*:
   gcd(N, p + q − 1) = 1 on a random multiple. *common*: gcd(p − 1, q − 1) = 2 on random multiples
   of p + q − 2 modulo N − 1, which is what the fast mode of encryption asks for.
2. **The shares** (Nishide and Sakurai 2010). *secret*, *theta*: θ′ is opened, whose residue is
   public anyway and whose quotient R hides; everybody's s_i = N(ΔR + …)(i) − θ′ is a share over the
   integers of −Δφβ, degree t − 1.
3. **The keys that verify.** *coins*: everybody's, from which v and the seed of h follow.
   *verification-key*: v_i = v^(Δ s_i). *trial*: a ciphertext is opened with all proofs.

Candidates come in batches of 128, so that a message serves many. `Party.run` is a generator: it
yields messages and is resumed with messages, so the same object works in one process or over
sockets. `run_parties` is the postman of one process; `audit` checks its public transcript.

**Parties that deviate.** The protocol is for honest but curious parties, and what others do is
limited as follows.

- Every broadcast is committed to by all before anybody opens it, so that who speaks last chooses
  nothing. Coins are drawn only when what they must not depend on is fixed.
- Every value has a range, and every candidate N has the right length, is 1 modulo Q (which 4
  divides) and has no factor in the sieve.
- Honest parties need few attempts; after `Parameters.most_attempts` the protocol ends.
- Whoever sends what cannot be is named by `KeyGenerationError.parties`. Where values contradict
  each other and no message is to blame by itself, the attempt is given up and all reveal the seeds
  from which everything in it followed. Whoever did not follow its own is named.

What is still assumed stands in docs/security.md: a broadcast channel, private channels, and that
deviations which leave every public value plausible tell the deviator nothing.

What is given up against a dealer: the primes are not safe, so share proofs are weaker (see
`bdn.paillier.threshold`), and p ≡ q ≡ −1 modulo 4 and the odd primes up to ℓ is public (as it is
modulo 12 for safe primes).
"""

from bdn.paillier.joint.generate import audit, generate_jointly, run_parties
from bdn.paillier.joint.messages import (
    Broadcast,
    Commitment,
    Parameters,
    Private,
    Public,
    Reveal,
)
from bdn.paillier.joint.party import Party

__all__ = [
    "Broadcast",
    "Commitment",
    "Parameters",
    "Party",
    "Private",
    "Public",
    "Reveal",
    "audit",
    "generate_jointly",
    "run_parties",
]
