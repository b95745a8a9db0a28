"""`anchor.json` in a run folder: where the run is anchored, one entry an Ethereum chain.

Written before the deployment is sent (a contract's address follows from sender and nonce), so that
an interrupted command finds its contract again instead of deploying a second one.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bdn.errors import UsageError
from bdn.runfolder.files import demand_own, read_json, write_json

FILE = "anchor.json"
MAX_RECORD = 1 << 20
"""Bytes of the file."""

SHAPE = {"deployments": [{"chain_id": int, "genesis": str, "contract": str}]}


@dataclass(frozen=True, slots=True)
class Deployment:
    """One contract.

    Attributes:
        chain_id: of the Ethereum chain.
        genesis: 0x…, the hash of that chain's block 0.
        contract: its address, checksummed hexadecimal.
    """

    chain_id: int
    genesis: str
    contract: str


class Record:
    """The deployments of one run; kept in memory alone where ``folder`` is None."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._deployments: list[Deployment] = []
        if self._path is not None and self._path.exists():
            self._deployments = _read(self._path)

    def find(self, chain_id: int, genesis: str) -> Deployment | None:
        """The deployment on this very chain."""
        for deployment in self._deployments:
            if (deployment.chain_id, deployment.genesis) == (chain_id, genesis):
                return deployment
        return None

    @property
    def all(self) -> tuple[Deployment, ...]:
        """Every deployment, on whichever chain."""
        return tuple(self._deployments)

    def keep(self, deployment: Deployment) -> None:
        """Record a deployment in place of an earlier one on the same chain."""
        same = (deployment.chain_id, deployment.genesis)
        others = [item for item in self._deployments if (item.chain_id, item.genesis) != same]
        self._deployments = [*others, deployment]
        if self._path is None:
            return
        demand_own(self._path, "a file")
        try:
            write_json(self._path, {"deployments": [asdict(item) for item in self._deployments]})
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror}") from error


def _read(path: Path) -> list[Deployment]:
    try:
        items = read_json(path, SHAPE, MAX_RECORD)["deployments"]
    except UsageError as error:
        raise UsageError(f"{error}; remove it and name the contract with --contract") from error
    return [Deployment(**{field.name: item[field.name] for field in fields(Deployment)})
            for item in items]
