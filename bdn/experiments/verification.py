"""`bdn verify` for a run: the ledger's own checks with the mining contract's vectors bound."""

from collections.abc import Callable
from pathlib import Path

from bdn.chain import Header, LedgerError, Store, chain_id
from bdn.chain.verify import verify_ledger
from bdn.errors import UsageError
from bdn.nodes.ciphers import Ciphers, key_in
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import VectorHost


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
        host = VectorHost(Ciphers(chain_id(genesis), settings, key_in(store.blob)), store.blob)
        verify_ledger(store, host.functions, progress=progress)
        return store.height()
