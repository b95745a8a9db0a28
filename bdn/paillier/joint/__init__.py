"""A Paillier key that nobody dealt: parties make N = pq together, and none learns p or q.

Three protocols in a row, for semi-honest parties of whom up to t − 1 may collude (DESIGN.md
section 6):

1. **The modulus** (Boneh and Franklin 2001). Each party has a random part p_i of p and q_i of q.
   *sieve*: the parts are made so that p and q are coprime to all primes up to about 700: t parties
   draw a unit each, the product is shared by BGW and becomes everybody's additive part.
   *product*, *moduli*: N = (Σ p_i)(Σ q_i) by BGW, opened. *test*, *confirm*: the biprimality test
   g^((N + 1 − p_1 − q_1)/4) = ± ∏ g^((p_i + q_i)/4), one base for every candidate that survives
   public trial division, then 39 more. *coprime*: gcd(N, p + q − 1) = 1 on a random multiple.
   *common*: gcd(p − 1, q − 1) = 2 on random multiples of p + q − 2 modulo N − 1, which is what the
   fast mode of encryption asks for.
2. **The shares** (Nishide and Sakurai 2010). *secret*, *theta*: θ′ = NΔR + Δφβ is opened, whose
   residue is public anyway and whose quotient R hides; everybody's s_i = N(ΔR + …)(i) − θ′ is a
   share over the integers of −Δφβ, degree t − 1.
3. **The keys that verify.** *verification-key*: v_i = v^(Δ s_i), with v and the seed of h hashed
   from everybody's coins; *trial*: a ciphertext is opened with all proofs.

Candidates come in batches of 128, so that a message serves many. `Party.run` is a generator: it
yields messages and is resumed with messages, so the same object works in one process or over
sockets. `run_parties` is the postman of one process; its public transcript can be checked by
anybody with `audit`.

What is given up against a dealer: the primes are not safe, so share proofs are weaker (see
`bdn.paillier.threshold`), and p ≡ q ≡ −1 modulo 4 and the odd primes up to ℓ is public (as it is
modulo 12 for safe primes). A party that lies can spoil the key or learn about it; only the shape of
its messages is checked.
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
