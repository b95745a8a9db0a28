"""The compiled contract: `contracts/Anchor.json`, as `bdn.ethereum.compiling` made it."""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

ARTEFACT = "Anchor.json"


@dataclass(frozen=True, slots=True)
class Artefact:
    """The compiled contract.

    Attributes:
        abi: its interface, as the compiler gives it.
        bytecode: what a deployment sends, before the constructor's arguments.
        runtime: the code that then stands on chain, zeros where immutable values go.
        holes: (start, length) of those places in ``runtime``.
    """

    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes
    holes: tuple[tuple[int, int], ...]

    def is_code(self, code: bytes) -> bool:
        """Whether ``code``, read off a chain, is this contract with its immutable values in."""
        if len(code) != len(self.runtime):
            return False
        blanked = bytearray(code)
        for start, length in self.holes:
            blanked[start : start + length] = bytes(length)
        return bytes(blanked) == self.runtime


@functools.cache
def load_artefact() -> Artefact:
    """The artefact that ships with this package."""
    document = json.loads(contracts_folder().joinpath(ARTEFACT).read_text())
    holes = tuple(sorted((start, length) for start, length in document["holes"]))
    return Artefact(
        document["abi"], bytes.fromhex(document["bytecode"]), bytes.fromhex(document["runtime"]),
        holes,
    )


def contracts_folder() -> Any:
    """Where sources and artefact lie."""
    return resources.files("bdn.ethereum").joinpath("contracts")
