"""Proof of work, the paper's section 5: one miner, the longest chain, and k confirmations.

It stands in for the seals of PBFT so that the two can be compared. The difficulty follows from β
and the parent (see `bdn.chain.seals.next_difficulty`), so headers alone tell which one is due. The
"longest" chain is the one with the most expected work (Nakamoto 2008, section 5, as every
implementation reads it); devices open an aggregate once it is k blocks deep.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from bdn.chain.blocks import Header, header_digest
from bdn.chain.errors import BlockError, WorkError
from bdn.chain.genesis import Genesis
from bdn.chain.rules import verify_genesis_header, verify_successor
from bdn.chain.seals import (
    NONCE_BYTES,
    BlockSeal,
    ProofOfWork,
    is_enough,
    verify_block_seal,
    work_of,
)
from bdn.encoding import transcript

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


@dataclass(frozen=True, slots=True)
class _Branch:
    """A header in the tree, with the expected work from the genesis block up to it."""

    header: Header
    seal: BlockSeal | None
    work: int


class HeaderTree:
    """All valid headers that a node has heard of, and the branch with the most work.

    The first of two equally heavy branches stays the best, as in Nakamoto's rule.
    """

    def __init__(self, genesis: Genesis, genesis_header: Header) -> None:
        verify_genesis_header(genesis_header, genesis)
        self.genesis = genesis
        self.best = header_digest(genesis_header)
        self._known = {self.best: _Branch(genesis_header, None, 0)}

    def add(self, header: Header, seal: ProofOfWork) -> bool:
        """Take a mined header; returns whether the best branch changed.

        Raises `BlockError` or `WorkError` for one that is not valid on a known parent.
        """
        name = header_digest(header)
        if name in self._known:
            return False
        parent = self._known.get(header.parent)
        if parent is None:
            raise BlockError("the header's parent is not known; ask for it first")
        verify_successor(header, parent.header, self.genesis)
        verify_block_seal(seal, header, parent.header, parent.seal, self.genesis)
        work = parent.work + seal.difficulty
        self._known[name] = _Branch(header, seal, work)
        if work <= self._known[self.best].work:
            return False
        self.best = name
        return True

    def branch(self) -> list[Header]:
        """The best branch from the genesis header to its tip."""
        headers = [self._known[self.best].header]
        while headers[-1].height:
            headers.append(self._known[headers[-1].parent].header)
        return headers[::-1]

    def seal(self, name: bytes) -> BlockSeal | None:
        """The seal of a known header by its digest; raises `WorkError` for an unknown one."""
        if name not in self._known:
            raise WorkError("no such header is known")
        return self._known[name].seal

    def confirmations(self, name: bytes) -> int:
        """Blocks of the best branch from ``name`` on, itself included; 0 if it is not in it."""
        for header in self.branch():
            if header_digest(header) == name:
                return self._known[self.best].header.height - header.height + 1
        return 0
