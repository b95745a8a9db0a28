"""What a malicious sender can do to a sum that is otherwise honest, for tests and for the lab.

DESIGN.md section 7: opened sums are exact for honest senders; a malicious one can spoil its slots
and their neighbours. Proofs of plaintext knowledge do not hinder it, since it knows what it seals.

- A level far beyond its slot pushes the sum out of range: opening raises `SpoiledSumError`, and the
  epoch is lost, but nobody is deceived.
- A level of exactly 2^w (w the slot's width) vanishes from its own slot of a packed vector and
  carries into the neighbour: the sum stays in range, and the *neighbour's* entry is wrong by the
  sender's weight, unnoticed. It could have sealed that entry so in the first place: what it gains
  is to step out of its clip without anybody noticing.
"""

import numpy as np

from bdn.paillier.sealed import SealedVector
from bdn.paillier.vector_base import VectorCipherBase
from bdn.randomness import Randomness


def seal_spoiled(
    cipher: VectorCipherBase,
    entry: int,
    excess: int,
    weight: int,
    rng: Randomness | None = None,
    context: bytes = b"",
) -> SealedVector:
    """A vector of zeros whose ``entry`` holds ``excess`` levels more than zero, unchecked.

    It verifies like any other: form, membership and proof are right.
    """
    levels = np.full(cipher.length, cipher.code.offset, dtype=np.int64)
    levels[entry] += excess
    return cipher.seal_encoded(levels, weight, rng, context)
