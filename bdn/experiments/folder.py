"""The run folder: what a run writes, and how it is found again.

| file | what |
|---|---|
| `config.json` | what was asked for |
| `ledger.sqlite` | edge server 0's ledger: what `bdn verify` recomputes |
| `edges/` | the other edge servers' ledgers, while the run lasts: at its end they are equal |
| `nodes.sqlite` | identities, key shares and journals: everything secret, for `bdn resume` |
| `history.json` | figures by epoch and device |
| `model.npz` | the best model, and the last one |
| `trace.jsonl` | what happened, one event a line |
| `report.html` | the report |

In a real deployment each node keeps its own part of `nodes.sqlite`; one file holds them all here
because one process plays all nodes. It is readable by its owner alone.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bdn.errors import BdnError, UsageError
from bdn.experiments.config import RunConfig

CONFIG, LEDGER, NODES = "config.json", "ledger.sqlite", "nodes.sqlite"
HISTORY, MODEL, TRACE, REPORT = "history.json", "model.npz", "trace.jsonl", "report.html"


class FolderError(BdnError):
    """The run folder cannot be read or written."""


class RunFolder:
    """A run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: RunConfig, force: bool = False) -> "RunFolder":
        """A new folder with its config.

        Raises `UsageError` where ``path`` exists; with ``force``, only if it is no run folder.
        """
        folder = cls(path)
        if check_free(path, force):
            shutil.rmtree(path)
        try:
            (path / "edges").mkdir(parents=True)
            folder.write_text(CONFIG, config.to_json())
        except OSError as error:
            raise FolderError(f"cannot write to {path}: {error.strerror}") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing folder; raises `UsageError` where there is none."""
        if not (path / CONFIG).is_file() or not (path / LEDGER).is_file():
            raise UsageError(f"{path} is no run folder: it holds no {CONFIG} and {LEDGER}")
        return cls(path)

    @property
    def config(self) -> RunConfig:
        """What was asked for."""
        return RunConfig.from_json((self.path / CONFIG).read_text())

    def ledger(self, edge: int) -> Path:
        """Where an edge server's ledger lies."""
        return self.path / LEDGER if edge == 0 else self.path / "edges" / f"edge-{edge}.sqlite"

    def drop_copies(self) -> None:
        """Remove the other edge servers' ledgers, which a finished run has compared."""
        for path in (self.path / "edges").glob("edge-*.sqlite*"):
            path.unlink()

    def write_text(self, name: str, text: str) -> None:
        """Write a file as a whole: readers see the old one or the new one, never a half."""
        target = self.path / name
        temporary = target.with_suffix(target.suffix + ".new")
        temporary.write_text(text)
        temporary.replace(target)

    def write_history(self, history: dict[str, Any]) -> None:
        """`history.json`."""
        self.write_text(HISTORY, json.dumps(history, indent=1) + "\n")

    def read_history(self) -> dict[str, Any]:
        """What `write_history` wrote; raises `UsageError` where the run has not got that far."""
        try:
            history: dict[str, Any] = json.loads((self.path / HISTORY).read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.path} holds no readable {HISTORY}: the run did not end; "
                             f"try bdn resume {self.path}") from error
        return history

    def write_model(
        self, best: np.ndarray, last: np.ndarray, classes: int,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        """`model.npz`: ``w`` (the best), ``w_last``, ``classes`` and, if known, their names."""
        temporary = self.path / "model.new.npz"
        arrays = {"w": best, "w_last": last, "classes": np.int64(classes)}
        if class_names is not None:
            arrays["class_names"] = np.array(class_names)
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # the stub's allow_pickle
        temporary.replace(self.path / MODEL)


def check_free(path: Path, force: bool = False) -> bool:
    """Whether a run lies at ``path`` that is to be replaced; nothing is changed.

    Raises `UsageError` where ``path`` is taken; with ``force``, only if it is no run folder.
    """
    if not path.exists() or not any(path.iterdir() if path.is_dir() else [path]):
        return False
    if not (path / CONFIG).is_file():
        raise UsageError(f"{path} exists and is no run folder; choose another --out")
    if not force:
        raise UsageError(f"{path} holds a run already; choose another --out, or --force "
                         "to replace it")
    return True


class NodeStore:
    """Secrets and journals of all nodes, in one SQLite file that its owner alone can read.

    Journals are append-only; a record is durable when `append` returns.
    """

    def __init__(self, path: Path | None) -> None:
        if path is not None and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._database = sqlite3.connect(path if path is not None else ":memory:")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        with self._database:
            self._database.execute("CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, "
                                   "value BLOB NOT NULL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY "
                                   "KEY, node TEXT NOT NULL, slot TEXT NOT NULL, "
                                   "record BLOB NOT NULL)")
            self._database.execute("CREATE INDEX IF NOT EXISTS by_node ON journal (node, number)")

    def keep(self, secrets: Iterable[tuple[str, bytes]]) -> None:
        """Store secrets by name, all or none."""
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO secret VALUES (?, ?)", secrets)

    def secret(self, name: str) -> bytes | None:
        """The secret called ``name``, if there is one."""
        row = self._database.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def append(self, node: str, record: bytes, slot: str = "") -> None:
        """Add a record to a node's journal, in place of the earlier one in the same slot."""
        with self._database:
            if slot:
                self._database.execute("DELETE FROM journal WHERE node = ? AND slot = ?",
                                       (node, slot))
            self._database.execute("INSERT INTO journal (node, slot, record) VALUES (?, ?, ?)",
                                   (node, slot, record))

    def journal(self, node: str) -> list[bytes]:
        """A node's records in order."""
        rows = self._database.execute("SELECT record FROM journal WHERE node = ? ORDER BY number",
                                      (node,))
        return [bytes(row[0]) for row in rows]

    def close(self) -> None:
        """Release the file."""
        self._database.close()
