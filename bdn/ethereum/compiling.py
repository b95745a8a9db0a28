"""How `contracts/Anchor.json` is made from the sources.

Compiled by the `solc` package of npm at a pinned version, with everything that changes the bytes
fixed in `SETTINGS`; no metadata is appended, so that the bytes depend on code and compiler alone.
To make it again after a change of the sources::

    npm install --prefix DIR solc@VERSION          # VERSION: COMPILER, below
    python -m bdn.ethereum.compiling DIR/node_modules/.bin/solcjs
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.ethereum.artefact import ARTEFACT, contracts_folder

COMPILER = "0.8.37"
"""The version of npm's ``solc``."""

CONTRACT = "Anchor"
SOURCES = ("Anchor.sol", "Equation.sol", "Merkle.sol", "Modular.sol")

SETTINGS: dict[str, Any] = {
    "evmVersion": "prague",
    "viaIR": True,
    "optimizer": {"enabled": True, "runs": 1000},
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"Anchor.sol": {"Anchor": [
        "abi", "evm.bytecode.object", "evm.deployedBytecode.object",
        "evm.deployedBytecode.immutableReferences",
    ]}},
}
"""``prague`` uses no instruction that Osaka lacks, so the same bytes run under both."""


def compile_sources(solcjs: Path) -> str:
    """The text of `contracts/Anchor.json`, from the sources.

    ``solcjs`` is the command of npm's ``solc``. Raises `UsageError` for another version than
    `COMPILER`, and for sources that do not compile without a warning.
    """
    version = _run([str(solcjs), "--version"]).strip()
    if not version.startswith(f"{COMPILER}+"):
        raise UsageError(f"{solcjs.name} is version {version}; the artefact wants {COMPILER}")
    question = {
        "language": "Solidity", "settings": SETTINGS,
        "sources": {name: {"content": contracts_folder().joinpath(name).read_text()}
                    for name in SOURCES},
    }
    text = _run([str(solcjs), "--standard-json"], json.dumps(question))
    answer = json.loads(text[text.index("{") :])  # solcjs may print a notice before it
    complaints = [item["formattedMessage"] for item in answer.get("errors", [])]
    if complaints:
        raise UsageError("the contract's sources do not compile cleanly:\n" + "\n".join(complaints))
    return _document(version, answer["contracts"][f"{CONTRACT}.sol"][CONTRACT])


def _document(version: str, compiled: dict[str, Any]) -> str:
    runtime = compiled["evm"]["deployedBytecode"]
    holes = [[place["start"], place["length"]]
             for places in runtime["immutableReferences"].values() for place in places]
    document = {
        "compiler": version, "settings": SETTINGS, "abi": compiled["abi"],
        "bytecode": compiled["evm"]["bytecode"]["object"], "runtime": runtime["object"],
        "holes": sorted(holes),
    }
    return json.dumps(document, indent=1) + "\n"


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the compiler that the caller names
            command, input=text, capture_output=True, text=True, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"cannot run {command[0]}: {error}") from error
    return done.stdout


def main(arguments: Sequence[str]) -> None:
    """Write the artefact anew: ``python -m bdn.ethereum.compiling SOLCJS``."""
    if len(arguments) != 1:
        raise UsageError("say where solcjs is")
    Path(__file__).with_name("contracts").joinpath(ARTEFACT).write_text(
        compile_sources(Path(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
