"""`bdn verify` for a run: the ledger's own checks with the mining contract's vectors bound."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bdn.chain import (
    Context,
    Header,
    LedgerError,
    Store,
    UpdateTransaction,
    chain_id,
)
from bdn.chain.verify import verify_ledger
from bdn.errors import BdnError, UsageError
from bdn.nodes.ciphers import Ciphers, key_in, update_context
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost

AT_ONCE = 16
"""Updates whose norm proofs are verified together; they and their sealed vectors are in memory."""


class AuditingHost(VectorHost):
    """A `VectorHost` for a stored ledger, where all updates of an epoch are at hand.

    When the mining contract asks for the first of them, the norm proofs of all are verified
    together, which is faster. Each update is then verified as ever, and one that does not hold is
    refused at its place.
    """

    def __init__(self, ciphers: Ciphers, store: Store) -> None:
        super().__init__(ciphers, store.blob)
        self._store = store
        self._height = -1  # of the last block that was read
        self._updates: dict[tuple[int, str], list[tuple[bytes, UpdateRecord]]] = {}

    def functions(self, context: object = None) -> Mapping[str, Any]:
        """Return the host functions by name, having read the blocks up to the context's."""
        if isinstance(context, Context):
            while self._height < context.height:
                self._height += 1
                self._read_block(self._height)
        return super().functions(context)

    def _read_block(self, height: int) -> None:
        for envelope in self._store.block(height).envelopes:
            payload = envelope.payload
            if isinstance(payload, UpdateTransaction):
                self._updates.setdefault((payload.epoch, payload.phase), []).append(
                    (envelope.address, UpdateRecord.of(payload)))

    def verify(
        self, terms: Sequence[bytes], epoch: int, phase: str, device: bytes, update: UpdateRecord
    ) -> None:
        """`VectorHost.verify`, after the norm proofs of all updates of the phase."""
        waiting = self._updates.pop((epoch, phase), [])
        for start in range(0, len(waiting), AT_ONCE):
            self._verify_norms(terms, epoch, phase, waiting[start : start + AT_ONCE])
        super().verify(terms, epoch, phase, device, update)

    def _verify_norms(
        self, terms: Sequence[bytes], epoch: int, phase: str,
        updates: Sequence[tuple[bytes, UpdateRecord]],
    ) -> None:
        try:
            cipher = self.ciphers.get(terms, epoch, phase)
            cipher.verify_norms(
                [self._sealed(cipher, update) for _, update in updates],
                [update_context(self.ciphers.chain, epoch, phase, device)
                 for device, _ in updates])
        except BdnError:
            return  # the one that is wrong will be refused where the contract verifies it


def verify_run(path: Path, progress: Callable[[Header], None] | None = None) -> int:
    """Recompute the ledger at ``path`` from genesis; returns the last block's height.

    Raises `LedgerError` naming the first place that does not hold, `UsageError` where there is no
    ledger.
    """
    if not path.is_file():
        raise UsageError(f"there is no ledger at {path}")
    with Store.open(path, read_only=True) as store, store.snapshot():
        genesis = store.genesis()
        try:
            settings = Settings.from_plain(genesis.settings)
        except UsageError as error:
            raise LedgerError("genesis record, settings", str(error)) from error
        host = AuditingHost(Ciphers(chain_id(genesis), settings, key_in(store.blob)), store)
        verify_ledger(store, host.functions, progress=progress)
        return store.height()
