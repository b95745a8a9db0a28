"""The seal beside a block: a quorum's COMMIT signatures, or a proof of work.

Both name the header's digest and are stored in strict CBOR as ``[class, fields]``. A proof of work
carries the hash that it reached, so that no stored byte of it is free: with a small difficulty
another nonce could be good by chance.

Proof of work (the paper's section 5) stands in for the seals of PBFT so that the two can be
compared: one miner, the longest chain, and k confirmations. The difficulty follows from β and the
parent (`next_difficulty`), so headers alone tell which one is due.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from bdn.chain.blocks import PBFT, Genesis, Header, header_digest
from bdn.chain.errors import BlockError, WorkError
from bdn.encoding import Digest, bits, decode_union, digest, encode_union, transcript
from bdn.seal import Seal, SealError, verify_seal

MIN_DIFFICULTY = 16
"""Below this the integer steps of `next_difficulty` could no longer rise."""

HOURS = 1000
MILLISECONDS = 3_600_000
NONCE_BYTES = 8


@dataclass(frozen=True, slots=True)
class ProofOfWork:
    """That about ``difficulty`` hashes were spent on a header.

    Attributes:
        digest: 32 bytes, the header's.
        difficulty: expected number of hashes; ``work`` · difficulty < 2^256.
        nonce: what the miner found, below 2^64.
        work: 32 bytes, the hash of all three.
    """

    digest: Digest
    difficulty: Annotated[int, bits(256)]
    nonce: int
    work: Digest

    def __post_init__(self) -> None:
        if not (0 < self.difficulty < 1 << 256 and 0 <= self.nonce < 1 << 8 * NONCE_BYTES):
            raise ValueError("a proof of work's difficulty or nonce is out of range")


BlockSeal = Seal | ProofOfWork

SEALS: tuple[type[BlockSeal], ...] = (Seal, ProofOfWork)


def encode_seal(seal: BlockSeal) -> bytes:
    """Strict CBOR: [class name, fields]."""
    return encode_union(seal)


def decode_seal(data: bytes) -> BlockSeal:
    """What `encode_seal` wrote, or `EncodingError`."""
    return decode_union(SEALS, data)


# --- proof of work ------------------------------------------------------------------------------


def target_interval(generation_rate: int) -> int:
    """1/β in milliseconds, for β in blocks per 1,000 hours."""
    return max(1, HOURS * MILLISECONDS // generation_rate)


def next_difficulty(difficulty: int, interval: int, generation_rate: int) -> int:
    """Return the difficulty after a block that came ``interval`` milliseconds after its parent.

    d' = d + d · (1/β − interval) / (8/β), the interval capped at 4/β: up by at most an eighth, down
    by at most three eighths, unchanged when blocks come at the rate β. All in integers.
    """
    target = target_interval(generation_rate)
    step = difficulty * (target - min(interval, 4 * target)) // (8 * target)
    return max(MIN_DIFFICULTY, difficulty + step)


def first_difficulty(genesis: Genesis) -> int:
    """The difficulty of block 1: the genesis setting ``"difficulty"``."""
    setting = genesis.settings.get("difficulty", MIN_DIFFICULTY)
    if type(setting) is not int or setting < MIN_DIFFICULTY:
        raise BlockError(f"the setting 'difficulty' is an integer of at least {MIN_DIFFICULTY}")
    return setting


def expected_difficulty(
    parent: Header, parent_seal: BlockSeal | None, grandparent: Header | None, genesis: Genesis
) -> int:
    """Return the difficulty of the block after ``parent``.

    Block 1 has the first difficulty. From then on the parent's difficulty is moved by the time
    between the two blocks before, so that no block's own time can lower its own difficulty.
    """
    if not isinstance(parent_seal, ProofOfWork) or grandparent is None:
        return first_difficulty(genesis)
    interval = parent.time - grandparent.time
    return next_difficulty(parent_seal.difficulty, interval, genesis.generation_rate)


def work_of(header: bytes, difficulty: int, nonce: int) -> bytes:
    """The 32-byte hash that a proof of work must bring below 2^256 / difficulty."""
    numbers = difficulty.to_bytes(32, "big"), nonce.to_bytes(NONCE_BYTES, "big")
    return digest("bdn/work", header, *numbers)


def is_enough(work: bytes, difficulty: int) -> bool:
    """Whether ``work`` meets ``difficulty``."""
    return int.from_bytes(work, "big") * difficulty < 1 << 256


def verify_work(seal: ProofOfWork, difficulty: int) -> None:
    """Raise `WorkError` unless the proof was made with ``difficulty`` and meets it."""
    if seal.difficulty != difficulty:
        raise WorkError(f"difficulty {seal.difficulty}; the chain asks for {difficulty}")
    if work_of(seal.digest, seal.difficulty, seal.nonce) != seal.work:
        raise WorkError("the stated hash is not the hash of header, difficulty and nonce")
    if not is_enough(seal.work, seal.difficulty):
        raise WorkError(f"the hash does not meet difficulty {seal.difficulty}")


# --- either kind --------------------------------------------------------------------------------


def verify_block_seal(
    seal: BlockSeal, header: Header, parent: Header, parent_seal: BlockSeal | None,
    grandparent: Header | None, genesis: Genesis,
) -> None:
    """Raise `SealError` or `WorkError` unless ``seal`` seals ``header`` by the chain's consensus.

    ``parent_seal`` and ``grandparent`` (None for blocks 0 and 1) matter to proof of work only,
    whose difficulty follows from them.
    """
    name = header_digest(header)
    if seal.digest != name:
        raise SealError("the seal is for another header")
    if genesis.consensus == PBFT:
        if not isinstance(seal, Seal):
            raise SealError("the chain is sealed by signatures, not by work")
        if seal.sequence != header.height:
            raise SealError(f"the seal is for sequence {seal.sequence}, not {header.height}")
        verify_seal(seal, header.chain, genesis.edges)
        return
    if not isinstance(seal, ProofOfWork):
        raise SealError("the chain is sealed by work, not by signatures")
    verify_work(seal, expected_difficulty(parent, parent_seal, grandparent, genesis))


BATCH = 20_000
"""Nonces tried between two looks at the caller."""


def attempts(header: Header, difficulty: int, start: int = 0) -> Iterator[ProofOfWork | None]:
    """Mine, giving control back after each `BATCH` nonces: None, …, None, the proof.

    A generator, so that a miner can stop when another's block arrives, without a thread. ``start``
    is where this miner begins; randomness there keeps miners from repeating each other.
    """
    name = header_digest(header)
    prefix = transcript("bdn/work", name, difficulty.to_bytes(32, "big"), bytes(NONCE_BYTES))
    state = hashlib.sha256(prefix[:-NONCE_BYTES])
    limit = ((1 << 256) - 1) // difficulty
    nonce = start
    while True:
        for _ in range(BATCH):
            trial = state.copy()
            trial.update(nonce.to_bytes(NONCE_BYTES, "big"))
            if int.from_bytes(trial.digest(), "big") <= limit:
                work = work_of(name, difficulty, nonce)
                if is_enough(work, difficulty):
                    yield ProofOfWork(name, difficulty, nonce, work)
                    return
            nonce = (nonce + 1) % (1 << 8 * NONCE_BYTES)
        yield None


def mine(header: Header, difficulty: int, start: int = 0) -> ProofOfWork:
    """The first proof of work at or after nonce ``start``; takes about ``difficulty`` hashes."""
    for proof in attempts(header, difficulty, start):
        if proof is not None:
            return proof
    raise AssertionError("the search has no end but a proof")
