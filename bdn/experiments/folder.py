"""Making, locking and replacing run folders. `bdn.runfolder` lists the files in one.

**Nothing is lost.** A folder is replaced only if its marker says that bdn made it, and then only
the files that bdn writes are removed (`_own_files`). Symbolic links inside it are not followed:
where one has the name of such a file, every command that writes refuses. A new run is made in a
subfolder (`DRAFT`) first, with data, keys and ledgers, and moves up when nothing can be refused any
more; until then the old run is untouched. Each step of the move can be taken again, so a kill in
the middle is made good by whoever opens the folder next (`_recover`).

**One process works in a folder.** It holds a lock that the operating system frees when the process
has ended, however it ended. Whoever only reads needs no lock, since files appear as a whole.
"""

import contextlib
import io
import os
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bdn.chain.blob_files import BlobFiles
from bdn.errors import BdnError, UsageError, shown
from bdn.experiments.config import RunConfig
from bdn.runfolder import (
    BLOBS,
    CONFIG,
    DRAFT,
    EDGES,
    FILES,
    FORMAT,
    HISTORY,
    JOURNALS,
    LEDGER,
    LOCK,
    MARKER,
    METRICS,
    MODELS,
    REPLACED,
    STATE_DICT,
)
from bdn.runfolder.files import (
    UNFINISHED,
    demand_own,
    kind_of,
    read_json,
    read_text,
    sync_folder,
    write_atomically,
    write_json,
)
from bdn.runfolder.history import read_history
from bdn.runfolder.metrics import write_metrics

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_DATABASE = r"\.sqlite(\.lost-[0-9a-f]{8})?(-wal|-shm|-journal)?"
_STORE = re.compile(rf"(edge|device)-\d+{_DATABASE}")
_OWN_FILES = {
    "": re.compile("|".join(re.escape(name.removesuffix(".sqlite"))
                            + (_DATABASE if name.endswith(".sqlite") else "") for name in FILES)),
    EDGES: _STORE,
    JOURNALS: _STORE,
    MODELS: re.compile(r"epoch-\d+\.npz"),
}
"""The names of the files that bdn writes, by the folder inside the run folder."""

MARKER_SHAPE = {
    "format": str, "chain": str, "processes": bool, "ended": bool, "config": {str: object},
    "extended?": int,
    "participants": {"source": str, "learners": {str: int}, "model_size": int, "classes": int,
                     "digest": str},
}


class FolderError(BdnError):
    """The run folder cannot be read or written."""


class RunFolder:
    """A run folder: `create` for a new run, `open` for one to go on with or to read.

    Neither changes anything yet. A run works inside ``with folder.locked():``; a new one then
    fills `draft` and calls `install`.
    """

    def __init__(self, path: Path, is_new: bool = False, force: bool = False) -> None:
        self.path = path
        self.is_new = is_new
        self._force = force
        self._lock_handle: int | None = None

    @classmethod
    def create(cls, path: Path, config: RunConfig, force: bool = False) -> "RunFolder":  # noqa: ARG003 - a run needs a checked config
        """A folder for a new run.

        Raises `UsageError` where ``path`` is taken; with ``force``, only where it is no run folder.
        """
        check_free(path, force)
        return cls(path, is_new=True, force=force)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing folder; raises `UsageError` where there is none."""
        if not any((path / name).exists() for name in (MARKER, REPLACED, f"{DRAFT}/{MARKER}")):
            started = (path / LOCK).exists()
            raise UsageError(f"{path} is no run folder: it holds no {MARKER}" + (
                "; the run that began there was ended before anything was sealed: start it anew "
                "with bdn run" if started else ""))
        return cls(path)

    # --- what lies where ------------------------------------------------------------------------

    @property
    def draft(self) -> Path:
        """Where a new run's files are made, in the same places as below `path`."""
        return self.path / DRAFT

    def ledger(self, edge: int, base: Path | None = None) -> Path:
        """Where an edge server's ledger lies, below `path` or ``base``."""
        base = self.path if base is None else base
        return base / LEDGER if edge == 0 else base / EDGES / f"edge-{edge}.sqlite"

    @property
    def config(self) -> RunConfig:
        """What was asked for, with the epochs that were added since; raises `UsageError` where
        `config.json` is damaged."""
        path = self.path / CONFIG
        try:
            config = RunConfig.from_json(read_text(path, 1 << 20))
            extended = self.marker().get("extended")
            return config if extended is None else replace(config, epochs=extended)
        except UsageError as error:
            raise UsageError(f"{path}: {error}; {self.path / MARKER} has the values that the run "
                             "began with") from error

    def marker(self) -> dict[str, Any]:
        """What the run was made of; raises `UsageError` where the marker is damaged."""
        return read_marker(self.path)

    # --- writing --------------------------------------------------------------------------------

    def write_history(self, history: Mapping[str, Any]) -> None:
        """`history.json`, and the figures of its epochs as `metrics.csv`."""
        write_json(self.path / HISTORY, history)
        write_metrics(self.path / METRICS, history)

    def read_history(self) -> dict[str, Any]:
        """What `write_history` wrote; raises `UsageError` where it is missing or damaged."""
        return read_history(self.path)

    def write_model(
        self, path: Path, models: Mapping[str, np.ndarray], epochs: Mapping[str, int],
        classes: int, class_names: tuple[str, ...] | None = None,
        sample_shape: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        """A model's file at ``path``: `model.npz`, or one of `epoch_model`.

        Args:
            path: of the file.
            models: the parameters by the array's name: ``w``, ``w_last``.
            epochs: after which epoch each was made, as ``epoch_best`` and ``epoch_last``.
            classes, class_names: how many, and what they are called where that is known.
            sample_shape: of what the model takes, where it is known.
        """
        arrays: dict[str, Any] = {**models, **epochs, "classes": np.int64(classes)}
        if class_names is not None:
            arrays["class_names"] = np.array(class_names)
        if sample_shape is not None:
            arrays["sample_shape"] = np.array(sample_shape, np.int64)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, stream.getvalue())

    def epoch_model(self, epoch: int) -> Path:
        """Where the model after ``epoch`` is kept, if it is (``--keep-models``)."""
        return self.path / MODELS / f"epoch-{epoch}.npz"

    def write_exports(self, files: Mapping[str, bytes]) -> None:
        """A model in forms of its own (`bdn.learning.Classifier.exports`), by file name."""
        for name, data in files.items():
            if name != STATE_DICT:
                raise UsageError(f"a model is exported as {STATE_DICT}, not as {shown(name)}")
            write_atomically(self.path / name, data)

    def end(self) -> None:
        """Remove the other edge servers' ledgers, which a finished run has compared."""
        write_json(self.path / MARKER, {**self.marker(), "ended": True})
        for ledger in _own_files(self.path, EDGES):
            ledger.unlink()

    def extend(self, epochs: int) -> None:
        """Note that the run is to have ``epochs`` epochs in all; the folder must be locked.

        A run that has ended gets its other edge servers' ledgers back: they were found equal to the
        one that is left. Raises `UsageError` where the run has as many epochs already.
        """
        config, marker = self.config, self.marker()
        if epochs <= config.epochs:
            raise UsageError(f"the run in {self.path} has {config.epochs} epochs; --epochs must "
                             f"be more than that, not {epochs}")
        replace(config, epochs=epochs)  # checks the bounds
        if marker["ended"]:
            for edge in range(1, config.edges):
                copy = self.ledger(edge)
                copy.parent.mkdir(exist_ok=True)
                write_atomically(copy, self.ledger(0).read_bytes())
        write_json(self.path / MARKER, {**marker, "ended": False, "extended": epochs})

    # --- working in it --------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work in the folder, alone: an interrupted replacement is finished first.

        A new run that is not installed by the end leaves nothing behind. Raises `UsageError` where
        another process works in the folder, where it is taken, or where a link or anything else
        that bdn did not make has the name of one of its files.
        """
        with ExitStack() as stack:
            if self.is_new:
                check_free(self.path, self._force)
                stack.callback(_remove_empty, _make_folders(self.path))
            elif not self.path.is_dir():
                raise UsageError(f"{self.path} is no run folder")
            demand_own(self.path / LOCK, "a file")
            self._lock_handle = _lock(self.path)
            stack.callback(self._unlock)
            _demand_own_places(self.path)
            self._recover()
            if not self.is_new:
                self.marker()
                yield
                return
            check_free(self.path, self._force)
            (self.draft / EDGES).mkdir(parents=True, exist_ok=True)
            stack.callback(_discard, self.draft)
            yield

    def install(self, marker: Mapping[str, Any]) -> None:
        """Let the finished draft take its place, instead of the run that was there."""
        write_json(self.draft / MARKER, {"format": FORMAT, "ended": False, **marker})
        if (self.path / MARKER).exists():
            (self.path / MARKER).replace(self.path / REPLACED)
            sync_folder(self.path)
        self._finish_install()
        self.is_new = False

    def _finish_install(self) -> None:
        """Remove the old run's files, then move the new one's; the marker moves last."""
        if (self.path / REPLACED).exists():
            _remove_run(self.path)
            (self.path / REPLACED).unlink()
        if (self.draft / MARKER).exists():
            for source in _own_files(self.draft):
                target = self.path / source.relative_to(self.draft)
                target.parent.mkdir(exist_ok=True)
                source.replace(target)
            sync_folder(self.path)
            (self.draft / MARKER).replace(self.path / MARKER)
        sync_folder(self.path)
        _discard(self.draft)

    def _recover(self) -> None:
        """Finish a replacement that was interrupted, or throw away a draft that was not ready.

        Raises `UsageError` where `REPLACED` is there without the new run that it makes room for:
        bdn leaves no folder like that, and to finish would delete a run for nothing.
        """
        mark = self.path / REPLACED
        is_ready, is_whole = (self.draft / MARKER).exists(), (self.path / MARKER).exists()
        if mark.exists() and is_whole:
            raise UsageError(f"{mark} lies beside {MARKER}, though that run is not being replaced: "
                             "nothing was changed; remove the former, or move it away")
        if mark.exists() and not is_ready:
            raise UsageError(f"{mark} marks a run that is being replaced, but the new one is not "
                             f"in {self.draft}: nothing was changed; rename the file to {MARKER} "
                             "to keep the run, or remove the folder")
        _remove_unfinished(self.path)
        if not is_whole and is_ready:
            self._finish_install()
        else:
            _discard(self.draft)

    def _unlock(self) -> None:
        handle, self._lock_handle = self._lock_handle, None
        if handle is None:
            return
        if not (self.path / MARKER).exists():
            (self.path / LOCK).unlink(missing_ok=True)  # nothing was made: leave no trace
        _HELD.discard(handle)
        os.close(handle)


def read_marker(path: Path) -> dict[str, Any]:
    """The marker of the run in ``path``; `UsageError` where there is none, or it is damaged."""
    if not (path / MARKER).exists():
        raise UsageError(f"{path} is no run folder: it holds no {MARKER}")
    made_by = read_json(path / MARKER, {"format": str}, 1 << 20)["format"]
    if made_by != FORMAT:  # before anything else: another version's marker has other fields
        raise UsageError(f"{path / MARKER} is of another version of bdn: its format is not "
                         f"{FORMAT!r}")
    marker: dict[str, Any] = read_json(path / MARKER, MARKER_SHAPE, 1 << 20)
    return marker


def check_free(path: Path, force: bool = False) -> bool:
    """Whether a run lies at ``path`` that is to be replaced; nothing is changed.

    Raises `UsageError` where ``path`` is taken; with ``force``, only where it is no run folder or
    holds things in the place of bdn's files that bdn did not make.
    """
    if not path.exists():
        if path.is_symlink():
            raise UsageError(f"{path} is a symbolic link that leads nowhere; choose another --out")
        parent = next(parent for parent in path.absolute().parents if parent.exists())
        if not parent.is_dir():
            raise UsageError(f"cannot make {path}: {parent} is {kind_of(parent)}, not a folder")
        return False
    if not path.is_dir():
        raise UsageError(f"{path} is {kind_of(path)}, not a folder; choose another --out")
    names = {entry.name for entry in path.iterdir()}
    ours = {LOCK, DRAFT, REPLACED} | {entry.name for entry in _unfinished(path)}
    if not names - ours:
        return False
    if (path / REPLACED).exists() or (path / DRAFT / MARKER).exists():
        return False  # the next one to lock the folder finishes what was interrupted
    if MARKER not in names:
        raise UsageError(f"{path} exists and is no run folder that bdn made: it holds no {MARKER}; "
                         "choose another --out")
    read_marker(path)
    if not force:
        raise UsageError(f"{path} holds a run already; choose another --out, go on with it by bdn "
                         f"resume {path}, or replace it with --force")
    _demand_own_places(path)
    return True


def _demand_own_places(path: Path) -> None:
    """Raise `UsageError` where something else has the name of one of bdn's files or folders."""
    for base in (path, path / DRAFT):
        for name in (EDGES, JOURNALS, MODELS, BLOBS, DRAFT):
            demand_own(base / name, "a folder")
        for name in (MARKER, REPLACED):
            demand_own(base / name, "a file")
        for file in _own_files(base):
            demand_own(file, "a file")


# --- moving and removing ------------------------------------------------------------------------


def _make_folders(path: Path) -> list[Path]:
    """Make ``path`` with its parents; returns those that were made, the innermost first."""
    missing = []
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            break
        missing.append(folder)
    path.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders that nobody has put anything into."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _own_files(path: Path, *folders: str) -> list[Path]:
    """What has the name of a file that bdn writes below ``path``, but for markers and blobs.

    Args:
        path: a run folder or a draft.
        folders: the folders inside it to look into; all by default, and ``path`` itself.
    """
    found: list[Path] = []
    for name in folders or _OWN_FILES:
        folder = path / name
        if folder.is_dir() and not (name and folder.is_symlink()):
            found += (entry for entry in sorted(folder.iterdir())
                      if _OWN_FILES[name].fullmatch(entry.name))
    return found


def _unfinished(folder: Path) -> list[Path]:
    """The files in ``folder`` that an interrupted `write_atomically` left."""
    if not folder.is_dir():
        return []
    return [entry for entry in folder.iterdir()
            if UNFINISHED.fullmatch(entry.name) and entry.is_file() and not entry.is_symlink()]


def _remove_unfinished(path: Path) -> None:
    """Remove what interrupted writes left in the run folder or draft ``path``."""
    for name in _OWN_FILES:
        for leftover in _unfinished(path / name):
            leftover.unlink(missing_ok=True)
    BlobFiles(path / BLOBS).remove_unfinished()


def _discard(draft: Path) -> None:
    """Remove a draft, but for files in it that bdn did not write."""
    with contextlib.suppress(OSError):  # what is left is removed by whoever locks the folder next
        (draft / MARKER).unlink(missing_ok=True)
        _remove_run(draft)
        _remove_empty([draft])


def _remove_run(path: Path) -> None:
    """Remove the files that bdn wrote for a run, and no others."""
    for file in _own_files(path):
        file.unlink(missing_ok=True)
    _remove_unfinished(path)
    _remove_empty([path / EDGES, path / JOURNALS, path / MODELS])
    BlobFiles(path / BLOBS).remove_all()


# --- the lock -----------------------------------------------------------------------------------


def _lock(path: Path) -> int:
    """Lock the folder for this process; returns the handle that holds the lock.

    Where the process that locked it was killed, its child processes may hold the lock for a few
    seconds more; they are waited for. Raises `UsageError`, naming the other process, where it is
    locked already.
    """
    patience = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o644)
        except FileNotFoundError:  # its last holder removed the folder just now
            path.mkdir(parents=True, exist_ok=True)
            continue
        except OSError:
            demand_own(path / LOCK, "a file")  # a link's target would be overwritten
            raise
        try:
            if not _try_lock(handle):
                os.lseek(handle, 0, os.SEEK_SET)
                holder = os.read(handle, 20).decode("ascii", "replace").strip()
                if time.monotonic() < patience and holder.isdecimal() and not _lives(int(holder)):
                    os.close(handle)
                    time.sleep(0.2)  # its orphans are about to end
                    continue
                raise UsageError(f"{path} is in use by process {holder or '(unknown)'}: wait until "
                                 "it has ended, or end it")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), (path / LOCK).stat()):
                    os.ftruncate(handle, 0)
                    os.lseek(handle, 0, os.SEEK_SET)
                    os.write(handle, f"{os.getpid()}\n".encode())
                    _HELD.add(handle)
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder removed the file just now: take the new one


ORPHAN_SECONDS = 10.0

_HELD: set[int] = set()


def held_locks() -> tuple[int, ...]:
    """File descriptors of the locks that this process holds.

    A child process that works in the folder inherits them: the folder stays locked until the last
    of them has ended.
    """
    return tuple(_HELD)


def _lives(process: int) -> bool:
    if sys.platform == "win32":
        return True  # there, asking would be a signal
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(handle, 1 << 20, os.SEEK_SET)  # a byte that nobody reads or writes
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# --- secrets and journals -----------------------------------------------------------------------


class NodeStore:
    """Secrets and journals of all nodes, in one SQLite file that its owner alone can read.

    Journals are append-only; a record is durable when `append` returns. Raises `FolderError` where
    the file is damaged or cannot be written.

    Args:
        path: of the file; in memory where it is None.
        must_exist: whether a missing file is an error, and not a new store.
    """

    def __init__(self, path: Path | None, must_exist: bool = False) -> None:
        self._path = path
        if path is not None and not path.exists():
            if must_exist:
                raise FolderError(
                    f"{path} is missing: keys and journals of the nodes were in it, so the run "
                    "cannot go on; bdn show and bdn verify still read what was sealed")
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with self._translated():
            self._database = sqlite3.connect(path if path is not None else ":memory:")
            try:
                self._prepare()
            except sqlite3.Error:
                self._database.close()
                raise

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        with self._database:
            self._database.execute("CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, "
                                   "value BLOB NOT NULL)")
            self._database.execute("CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY "
                                   "KEY, node TEXT NOT NULL, slot TEXT NOT NULL, "
                                   "record BLOB NOT NULL)")
            self._database.execute("CREATE INDEX IF NOT EXISTS by_node ON journal (node, number)")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "") or ""
            remedy = next((text for start, text in _REMEDIES.items() if code.startswith(start)),
                          "it is damaged; put back a copy of it")
            is_new = self._path is not None and self._path.parent.name == DRAFT
            remedy = remedy.format(again="run again" if is_new else "go on with bdn resume")
            raise FolderError(f"{self._path}: {remedy} ({error})") from error

    def keep(self, secrets: Iterable[tuple[str, bytes]]) -> None:
        """Store secrets by name, all or none."""
        with self._translated(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO secret VALUES (?, ?)", secrets)

    def secret(self, name: str) -> bytes | None:
        """The secret called ``name``, if there is one."""
        with self._translated():
            row = self._database.execute("SELECT value FROM secret WHERE name = ?",
                                         (name,)).fetchone()
        return None if row is None else self._bytes(row[0], f"secret {name!r}")

    def append(self, node: str, record: bytes, slot: str = "") -> None:
        """Add a record to a node's journal, in place of the earlier one in the same slot."""
        with self._translated(), self._database:
            if slot:
                self._database.execute("DELETE FROM journal WHERE node = ? AND slot = ?",
                                       (node, slot))
            self._database.execute("INSERT INTO journal (node, slot, record) VALUES (?, ?, ?)",
                                   (node, slot, record))

    def journal(self, node: str) -> list[bytes]:
        """A node's records in order."""
        with self._translated():
            rows = self._database.execute("SELECT record FROM journal WHERE node = ? ORDER BY "
                                          "number", (node,)).fetchall()
        return [self._bytes(row[0], f"journal of {node}") for row in rows]

    def _bytes(self, value: Any, place: str) -> bytes:
        if type(value) is not bytes:
            raise FolderError(f"{self._path} is damaged: {place} is no byte string")
        return value

    def close(self) -> None:
        """Release the file."""
        self._database.close()


_REMEDIES = {
    "SQLITE_FULL": "the disk is full; free some space and {again}",
    "SQLITE_IOERR": "the disk failed, is full, or a limit on file sizes was reached (ulimit -f); "
                    "{again} when that is put right",
    "SQLITE_READONLY": "it cannot be written; check the permissions of file and folder",
    "SQLITE_CANTOPEN": "it cannot be opened; check the permissions of the folder and the limit on "
                       "open files (ulimit -n)",
    "SQLITE_BUSY": "another process writes to it",
}


def lost_name(path: Path) -> Path:
    """A new name for a damaged store, beside it, so that it is kept as evidence."""
    return path.with_name(f"{path.name}.lost-{secrets.token_hex(4)}")


__all__ = ["FolderError", "NodeStore", "RunFolder", "check_free", "held_locks", "lost_name",
           "read_marker"]
