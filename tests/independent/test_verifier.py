"""A verifier written from docs/format.md alone agrees with `bdn verify` on what is valid."""

import ast
import importlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.errors import BdnError
from bdn.experiments.verification import verify_run
from bdn.vectors.basic_cases import bytes_of
from bdn.vectors.chain_cases import SAMPLES, SETTINGS, VECTORS, SmallLedger

CHANGED_BYTES = int(os.environ.get("CHANGED_BYTES", "20"))
VERIFIER = Path(__file__).with_name("verifier.py")
KINDS = {
    "packed": (SETTINGS, "pbft"),
    "ring-masked": (replace(SETTINGS, cipher="ring-masked"), "pbft"),
    "svrg": (replace(SETTINGS, rule="svrg", cipher="ring-masked"), "pbft"),
    "proof of work": (SETTINGS, "pow"),
    "bounded": (replace(SETTINGS, norm_bound=(2.0,)), "pbft"),
}


@pytest.fixture
def verifier(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module."""
    monkeypatch.syspath_prepend(VERIFIER.parent)
    return importlib.import_module("verifier")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders with a ledger of each kind, made when they are first asked for."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("ledger")
            small = SmallLedger(*KINDS[kind], path=made[kind] / "ledger.sqlite")
            small.play()
            small.book.close()
        return made[kind]

    return folder


def verdicts(verifier: Any, path: Path) -> tuple[bool, bool]:
    """What bdn says, and what the independent program says."""
    try:
        verify_run(path)
        ours = True
    except BdnError:
        ours = False
    try:
        verifier.Ledger(str(path)).verify()
        theirs = True
    except Exception:  # noqa: BLE001 - as its own main
        theirs = False
    return ours, theirs


def test_it_uses_nothing_of_bdn() -> None:
    """No import, static or by name; and it is small enough to be read."""
    assert len(VERIFIER.read_text("utf-8").splitlines()) < 900
    both = [path.read_text("utf-8") for path in (VERIFIER, VERIFIER.with_name("opening.py"))]
    tree = ast.parse("\n".join(both))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.split(".")[0] in ("bdn", "importlib")}
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {
        "__import__", "exec", "eval"}


@pytest.mark.parametrize("kind", KINDS)
def test_it_accepts_ledgers_of_every_kind(
    kind: str, verifier: Any, stored: Callable[[str], Path]
) -> None:
    assert verdicts(verifier, stored(kind) / "ledger.sqlite") == (True, True)


@pytest.mark.parametrize("kind", ["packed", "ring-masked", "bounded"])
def test_it_opens_what_the_devices_open(
    kind: str, verifier: Any, stored: Callable[[str], Path]
) -> None:
    """With the group key: Σ s_k x_k, to half a level per unit of weight."""
    ledger = verifier.Ledger(str(stored(kind) / "ledger.sqlite"))
    ledger.verify()
    opening = importlib.import_module("opening")
    ((epoch, phase, values),) = opening.openings(ledger, bytes_of("group"))
    assert (epoch, phase) == (1, "weights")
    expected = np.array(VECTORS).T @ np.array(SAMPLES)
    step = np.array([1.0, 1.0, 1.0, 8.0]) / (2**11 - 1)
    assert np.all(np.abs(values - expected) <= sum(SAMPLES) * step / 2)


def change(folder: Path, rng: random.Random) -> str:
    """Change one byte of a stored value or of a blob; return where."""
    path = folder / "ledger.sqlite"
    blobs = sorted((folder / "blobs").iterdir())
    if rng.random() < 0.3:
        blob = rng.choice(blobs)
        data = bytearray(blob.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        blob.chmod(0o600)
        blob.write_bytes(bytes(data))
        return f"blob {blob.name[:8]}, byte {at}"
    table, columns, keys = rng.choice([
        ("meta", ["value"], "name"), ("blocks", ["header", "seal"], "height"),
        ("transactions", ["envelope", "receipt"], "height, position"),
        ("state", ["contract", "key", "value"], "contract, key, height")])
    column = rng.choice(columns)
    db = sqlite3.connect(path)
    with db:
        rows = db.execute(f"SELECT {keys}, {column} FROM {table} WHERE LENGTH({column}) > 0 "
                          f"ORDER BY {keys}").fetchall()
        *place, data = rng.choice(rows)
        at = rng.randrange(len(data))
        changed = bytes(data[:at]) + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1:]
        where = " AND ".join(f"{key} = ?" for key in keys.split(", "))
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed, *place))
    db.close()
    return f"{table}.{column} at {place}, byte {at}"


def agree_on_changes(verifier: Any, folder: Path, tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        copy = tmp_path / str(seed)
        shutil.copytree(folder, copy)
        told = change(copy, random.Random(seed))
        ours, theirs = verdicts(verifier, copy / "ledger.sqlite")
        assert ours == theirs, f"{told}: bdn says {ours}, the independent verifier {theirs}"
        shutil.rmtree(copy)


def test_it_agrees_on_changed_bytes(
    verifier: Any, stored: Callable[[str], Path], tmp_path: Path
) -> None:
    agree_on_changes(verifier, stored("packed"), tmp_path, range(10))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_on_changed_bytes_of_every_kind(
    kind: str, verifier: Any, stored: Callable[[str], Path], tmp_path: Path
) -> None:
    """A hundred in all here; as many as one likes with ``CHANGED_BYTES=100 pytest …``."""
    agree_on_changes(verifier, stored(kind), tmp_path, range(10, 10 + CHANGED_BYTES))


def test_bdn_itself_notices_a_changed_byte(stored: Callable[[str], Path], tmp_path: Path) -> None:
    """The comparison above compares something: nearly every change is refused by both."""
    shutil.copytree(stored("packed"), tmp_path / "copy")
    change(tmp_path / "copy", random.Random(1))
    with pytest.raises(BdnError):
        verify_run(tmp_path / "copy" / "ledger.sqlite")


