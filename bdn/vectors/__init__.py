"""Known-answer vectors: what `bdn vectors` writes, and how a set is checked.

Others who implement docs/format.md test against the files in tests/vectors. `write_vectors` makes
them, always the same ones; `check_vectors` runs a set, of whatever maker, against this
implementation.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from bdn.errors import UsageError
from bdn.runfolder.files import write_atomically
from bdn.vectors import basic_cases, chain_cases, contract_cases, sealing_cases
from bdn.vectors.operations import OPERATIONS
from bdn.vectors.vector_set import CaseFile, read_file

MAKERS: tuple[Callable[[], CaseFile], ...] = (
    basic_cases.encoding, basic_cases.digests, basic_cases.trees, basic_cases.state,
    basic_cases.identities, basic_cases.group_key, chain_cases.payloads,
    chain_cases.genesis_and_headers, chain_cases.packed_ledger, chain_cases.masked_ledger,
    chain_cases.seals, chain_cases.pbft, chain_cases.proof_of_work, contract_cases.contracts,
    sealing_cases.paillier, sealing_cases.packed, sealing_cases.ring_masked,
    sealing_cases.packed_bounded, sealing_cases.ring_masked_bounded,
)
"""One function per file."""


def write_vectors(folder: Path) -> Iterator[CaseFile]:
    """Write all files into ``folder``, which is made if it is missing; yield each one."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in MAKERS:
        made = make()
        write_atomically(folder / f"{made.name}.json", made.to_text().encode())
        yield made


def check_vectors(folder: Path) -> Iterator[tuple[CaseFile, list[str]]]:
    """Yield each file of ``folder`` with the names of its cases that do not hold.

    Raises `UsageError` where the folder holds no vectors.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UsageError(f"{folder} holds no vectors; bdn vectors {folder} writes them")
    for path in paths:
        found = read_file(path, OPERATIONS)
        yield found, list(found.failures())
