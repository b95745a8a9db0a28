"""Threshold Paillier: add up what nobody may see alone, and open it only together.

`deal` or `generate_jointly` make one public key and n shares; whoever has the public key encrypts
integers and computes weighted sums of ciphertexts; any t holders of shares open a result, each with
a proof that its part is right. Paper section 4.2, Eq. (5).

    >>> from bdn.paillier import combine, deal
    >>> public_key, shares = deal(parties=3, threshold=2, bits=256)    # 2048 outside of examples
    >>> c = 3 * public_key.encrypt(40) - public_key.encrypt(78)
    >>> parts = [share.partially_decrypt(c, session=b"epoch 1") for share in shares[1:]]
    >>> combine(public_key, c, parts, session=b"epoch 1")
    42
    >>> combine(public_key, c, parts, session=b"epoch 2")
    Traceback (most recent call last):
        ...
    bdn.paillier.errors.ShareError: ...

**Keys.** A `PublicKey` holds N, θ, v, the verification keys, t, the seed of h and the bound on the
shares, and nothing else. A `KeyShare` is one party's secret; `lock_share` encrypts it for disk.
`deal_from_primes` takes given primes (safe ones unless told otherwise), `deal` makes them.
`generate_jointly` needs no dealer: see `bdn.paillier.joint`, where parties exchange explicit
messages and no object ever holds a factor of N.

**Encryption.** ``encrypt(m)`` is the fast mode of Damgård, Jurik and Nielsen through a table of the
powers of h, which everybody derives from the key's seed; ``encrypt(m, r=…)`` is exactly Paillier's
(1 + N)^m r^N. `Ciphertext` adds, subtracts and multiplies by integers as python-paillier's do;
`bdn.paillier.interop` exchanges keys and raw ciphertexts with it.

**Opening.** `combine` checks every share's proof against the caller's own key and ciphertext. Bad
shares are named by party, and left out where t good ones remain.

**Vectors.** `bdn.paillier.batch` seals lists of integers with one proof that the sealer knows every
plaintext, and computes weighted products by one addition sequence. `bdn.paillier.threshold` opens
lists on every core with one proof per party. Both modules say what their proofs show, and what is
heuristic. `bdn.paillier.vector` builds on them: `PackedCipher` and `RingMaskedCipher` seal vectors
of floats. The first is the paper's. In the second, Paillier carries only a short secret, and a ring
masks the model at memory speed (docs/ring-masked.md). With a ``norm_bound``, every sealed vector
proves in zero knowledge that it is short (`bdn.paillier.norm_proof`, docs/norm-proof.md).

**Errors** are in `bdn.paillier.errors`.

Where we differ
---------------
- *From FPS 2000*: the nonce of a share proof is sized by a public bound on the share that the key
  carries, since jointly made shares are longer than N·m; a whole vector has one proof.
- *From the paper*: one public key with n shares, t-of-n, where section 4.2 speaks of pairs of keys
  and of all devices.
- *From Eq. (5)*: with `RingMaskedCipher` the device applies its weight, inside the message, since
  weights applied by the edge would give the secrets away. It rests on ring-LWE beside Paillier, and
  both ciphers need two honest contributors for a sum to hide its terms.
- *Jointly made keys* have primes that are not safe. A share that is wrong by an element of small
  order d passes its proof with chance 1/d: robustness degrades, correctness does not, since
  combining checks N | c′ − 1. That gcd(p − 1, q − 1) = 2, which the fast mode asks for, is tested
  by the parties.
- *Not constant time*: Python's big integers take a time that depends on their values. Do not hold a
  key share where an attacker can time you.
"""

from bdn.paillier.dealer import deal, deal_from_primes
from bdn.paillier.joint import generate_jointly
from bdn.paillier.keys import Ciphertext, PublicKey
from bdn.paillier.storage import lock_share, unlock_share
from bdn.paillier.threshold import KeyShare, PartialDecryption, combine, verify_share
from bdn.paillier.vector import (
    PackedCipher,
    RingMaskedCipher,
    SealedSum,
    SealedVector,
    VectorCipher,
    VectorShare,
    vector_cipher,
)

__all__ = [
    "Ciphertext",
    "KeyShare",
    "PackedCipher",
    "PartialDecryption",
    "PublicKey",
    "RingMaskedCipher",
    "SealedSum",
    "SealedVector",
    "VectorCipher",
    "VectorShare",
    "combine",
    "deal",
    "deal_from_primes",
    "generate_jointly",
    "lock_share",
    "unlock_share",
    "vector_cipher",
    "verify_share",
]
