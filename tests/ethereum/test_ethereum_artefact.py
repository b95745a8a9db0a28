"""The checked-in contract is what its sources compile to."""

import json
from pathlib import Path
from typing import Any

import pytest

from bdn.errors import UsageError
from bdn.ethereum.artefact import ARTEFACT, contracts_folder, load_artefact
from bdn.ethereum.compiling import COMPILER, SETTINGS, SOURCES, compile_sources

EIP_170_BYTES = 24_576


def checked_in() -> str:
    text: str = contracts_folder().joinpath(ARTEFACT).read_text()
    return text


@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(solcjs: Path) -> None:
    """ABI, bytecode, compiler and settings, byte for byte."""
    assert compile_sources(solcjs) == checked_in()


def test_the_artefact_names_its_compiler_and_settings() -> None:
    document = json.loads(checked_in())
    assert document["compiler"].startswith(f"{COMPILER}+commit.")
    assert document["settings"] == SETTINGS
    assert len(load_artefact().runtime) <= EIP_170_BYTES


def test_every_source_is_compiled() -> None:
    """A file that nobody compiles would be read as if it counted."""
    there = {path.name for path in contracts_folder().iterdir() if path.name.endswith(".sol")}
    assert there == set(SOURCES)


def test_npm_and_the_code_pin_the_same_compiler() -> None:
    pins: dict[str, Any] = json.loads(Path(__file__).with_name("package.json").read_text())
    assert pins["devDependencies"]["solc"] == COMPILER


def test_another_compiler_is_refused(tmp_path: Path) -> None:
    """Other versions give other bytes; a command that is none is named."""
    fake = tmp_path / "solcjs"
    fake.write_text("#!/bin/sh\necho 0.4.0+commit.0\n")
    fake.chmod(0o755)
    with pytest.raises(UsageError, match=r"version 0\.4\.0"):
        compile_sources(fake)
    with pytest.raises(UsageError, match="cannot run"):
        compile_sources(tmp_path / "absent")
