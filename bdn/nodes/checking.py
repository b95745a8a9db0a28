"""The norm check at an edge server: probes, and Tx_co over the devices whose norms are in line.

docs/norm-check.md. Three kinds of blocks follow the one that fixes the updates: the probes, which
the proposer makes by itself; shares and norms, which key holders send; and Tx_co, by the proposer.
"""

from collections.abc import Sequence
from typing import Any

from bdn.chain import (
    Block,
    BlockError,
    Ledger,
    ProbeTransaction,
    UpdateTransaction,
    header_digest,
)
from bdn.errors import PeerError
from bdn.nodes.sealing import VectorHost

PROBES, TX_CO = "probes", "aggregate"
OWN_WORK = (PROBES, TX_CO)
"""What the learning contract may wait for that no device brings: the proposer makes it."""

Named = list[tuple[bytes, dict[str, Any]]]
"""(device, its update's record on the ledger), ascending by device."""


class NormCheck:
    """What an edge server does for the norm check, on its own copy of the ledger.

    Args:
        ledger: where the updates stand.
        host: computes on their ciphertexts.
    """

    def __init__(self, ledger: Ledger, host: VectorHost) -> None:
        self._ledger = ledger
        self._host = host

    def phase(self) -> tuple[int, str]:
        """(epoch, phase) whose updates are to be probed, or added up, next."""
        epoch, phase = self._ledger.call("learning", "checked_phase")
        return epoch, phase

    def probes(self) -> ProbeTransaction:
        """The probes that the block after the head must hold; their blob is stored.

        Raises `PeerError` where an update's blob lacks.
        """
        epoch, phase = self.phase()
        named = self._verified(epoch, phase)
        parent = header_digest(self._ledger.head)
        root, chunks, size = self._host.probes(self._terms(), epoch, phase, parent, named)
        self.keep(root)
        return ProbeTransaction(epoch, phase, tuple(device for device, _ in named), root, chunks,
                                size)

    def keep(self, root: bytes) -> None:
        """Store the blob ``root``, if the host has just made it."""
        blob = self._host.produced.pop(root, None)
        if blob is not None:
            self._ledger.put_blob(blob)

    def in_line(self, epoch: int, phase: str) -> Named:
        """The updates that Tx_co adds up."""
        return self._records(epoch, phase, self._ledger.call("learning", "in_line_of", epoch,
                                                             phase))

    def check_probes(self, stated: ProbeTransaction) -> None:
        """Compute the probes here before the contract asks for them; `BlockError` for others."""
        if (stated.epoch, stated.phase) != self.phase() or self.probes() != stated:
            raise BlockError("not the probes that the previous block's digest asks for")

    def check_commitment(self, block: Block) -> None:
        """A block that only fixes updates must hold none that does not verify.

        The contract would leave such an update out, yet it should not stand in a block at all.
        Raises `BlockError`.
        """
        for envelope in block.transactions:
            payload = envelope.payload
            if not isinstance(payload, UpdateTransaction):
                continue
            terms = self._terms()
            record = {"root": payload.root, "chunks": payload.chunks, "size": payload.size,
                      "samples": payload.sample_count}
            try:
                self._host.verify(terms, payload.epoch, payload.phase, envelope.address, record)
            except PeerError as error:
                raise BlockError(f"an update in the block does not verify: {error}") from error

    def _verified(self, epoch: int, phase: str) -> Named:
        terms = self._terms()
        committed = self._ledger.call("learning", "committed", epoch, phase)
        return [(device, record) for device, record in self._records(epoch, phase, committed)
                if self._verifies(terms, epoch, phase, device, record)]

    def _verifies(
        self, terms: Sequence[bytes], epoch: int, phase: str, device: bytes, record: dict[str, Any]
    ) -> bool:
        try:
            self._host.verify(terms, epoch, phase, device, record)
        except PeerError:
            return False
        return True

    def _records(self, epoch: int, phase: str, devices: Sequence[bytes]) -> Named:
        call = self._ledger.call
        return [(device, call("learning", "update_of", epoch, phase, device))
                for device in devices]

    def _terms(self) -> list[bytes]:
        terms: list[bytes] = self._ledger.call("learning", "sealing_terms")
        return terms
