"""Blobs as files: one folder, one file for each blob, named by the blob's Merkle root.

A name says what is inside, so a file is never changed once it is there, and all edge servers of a
run can share one folder, whether they live in one process or in several. A file is written under
another name and renamed, so that it is there as a whole or not at all. It becomes durable with
`sync`, which a store calls once for all blobs of a block, before a transaction that names them.
Whoever reads a blob compares it with its root (`bdn.chain.store`); here, only what is no regular
file of the right length is refused.
"""

import ctypes
import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol, Self
from weakref import WeakValueDictionary

from bdn.chain.errors import LedgerError, MissingError, StoreError
from bdn.errors import shown

BLOBS = "blobs"
"""The folder's name."""

SHARED_BY = "edges"
"""Ledgers in a folder of this name share the blobs that lie beside that folder."""

UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{8}\.bdn-part")
FINISHED = re.compile(r"[0-9a-f]{64}")
"""How the files are called that are being written, and that are there."""

ROOT_BYTES = 32

SYNCED_ONE_BY_ONE = 16
"""With more new files than that, the whole file system is synchronised at once."""

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Blobs(Protocol):
    """Where a store keeps the bytes of its blobs."""

    def write(self, root: bytes, data: bytes) -> None:
        """Keep ``data``; durable after the next `sync`. Raises `StoreError`."""

    def sync(self) -> None:
        """Make durable what was written since the last call."""

    def read(self, root: bytes, size: int) -> bytes:
        """Return the ``size`` bytes of a blob; `LedgerError` where they are not there."""

    def check(self, root: bytes, size: int) -> None:
        """Raise `LedgerError` where `read` would find nothing to read; reads nothing itself."""


class BlobMemory:
    """Blobs of a ledger that has no file."""

    def __init__(self) -> None:
        self._held: dict[bytes, bytes] = {}

    def write(self, root: bytes, data: bytes) -> None:
        """Keep ``data``."""
        self._held[root] = data

    def sync(self) -> None:
        """Do nothing: what is in memory is never durable."""

    def read(self, root: bytes, size: int) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the blob; raise `MissingError` where there is none."""
        if root not in self._held:
            raise MissingError(f"there is no blob {root.hex()}")
        return self._held[root]

    def check(self, root: bytes, size: int) -> None:
        """Raise `MissingError` where there is no such blob."""
        self.read(root, size)


class BlobFiles:
    """The blobs in a folder, which is made with the first of them.

    Stores of one process that share a folder share one `BlobFiles` (`at`).
    """

    _open: ClassVar["WeakValueDictionary[Path, BlobFiles]"] = WeakValueDictionary()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: set[bytes] = set()
        """Roots whose files this process has written, or compared with what it would write."""
        self._unsynced: set[bytes] = set()

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return this process's one `BlobFiles` for the folder ``path``.

        Raises `StoreError` where ``path`` is a symbolic link that leads in a circle.
        """
        try:
            key = path.resolve()
        except (OSError, RuntimeError) as error:
            raise StoreError(f"{path} is a symbolic link that leads in a circle: remove it and put "
                             "the folder back") from error
        found = cls._open.get(key)
        if found is None:
            found = cls._open[key] = cls(path)
        return found  # type: ignore[return-value]  # made by this class

    # --- writing --------------------------------------------------------------------------------

    def write(self, root: bytes, data: bytes) -> None:
        """Keep ``data`` under its ``root``, where it is not there already.

        A file that is not the blob (a crash of the machine can leave one with holes) is replaced.
        Raises `StoreError` where the disk refuses, or where something else has the file's name.
        """
        place = self.path / root.hex()
        with self._translated():
            if root in self._whole and place.is_file():
                return
            if not self._is_there(place, data):
                self._write(place, data)
        self._whole.add(root)
        self._unsynced.add(root)

    def _is_there(self, place: Path, data: bytes) -> bool:
        try:
            status = place.lstat()
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{place} is {_kind(status)}, which bdn did not make: move it away")
        return status.st_size == len(data) and place.read_bytes() == data

    def _write(self, place: Path, data: bytes) -> None:
        self.path.mkdir(exist_ok=True)
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.bdn-part")
        try:
            with part.open("xb") as stream:
                stream.write(data)
            part.replace(place)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def sync(self) -> None:
        """Make durable what was written since the last call."""
        if not self._unsynced:
            return
        with self._translated():
            if len(self._unsynced) <= SYNCED_ONE_BY_ONE or not _sync_file_system(self.path):
                for root in self._unsynced:
                    _sync(self.path / root.hex())
                _sync(self.path)
        self._unsynced.clear()

    # --- reading --------------------------------------------------------------------------------

    def read(self, root: bytes, size: int) -> bytes:
        """Return the ``size`` bytes of a blob's file.

        Raises `LedgerError` where it is missing, or is no regular file of that length: nothing else
        is opened for long, and no more is read.
        """
        name = f"blob {shown(root.hex(), 70)}"
        if len(root) != ROOT_BYTES:
            raise LedgerError(name, f"a root has {ROOT_BYTES} bytes")
        place = self.path / root.hex()
        try:
            handle = os.open(place, os.O_RDONLY | _NO_LINKS | _NO_WAITING)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise LedgerError(name, f"its file is missing: put a copy back into {self.path}"
                                  ) from error
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
                raise LedgerError(name, f"{place} is no regular file") from error
            raise StoreError(f"{place} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise LedgerError(name, f"{place} is {_kind(status)}, not a file")
            if status.st_size != size:
                raise LedgerError(name, f"its file has {status.st_size} bytes, not {size}")
            with os.fdopen(handle, "rb", closefd=False) as stream:
                return stream.read(size)
        except OSError as error:
            raise StoreError(f"{place} cannot be read: {error.strerror}") from error
        finally:
            os.close(handle)

    def check(self, root: bytes, size: int) -> None:
        """Raise `LedgerError` unless a regular file of that length is there."""
        place = self.path / root.hex()
        try:
            status = place.lstat()
        except OSError as error:
            raise LedgerError(f"blob {root.hex()}", f"its file is missing: put a copy back into "
                              f"{self.path}") from error
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise LedgerError(f"blob {root.hex()}", f"{place} is no file of {size} bytes: put a "
                              "copy back in its place")

    # --- keeping it tidy ------------------------------------------------------------------------

    def remove_unfinished(self) -> None:
        """Remove what an interrupted write left; nobody may be writing."""
        _remove(self.path, UNFINISHED)

    def remove_all(self) -> None:
        """Remove all blobs, and the folder where nothing else lies in it."""
        _remove(self.path, UNFINISHED)
        _remove(self.path, FINISHED)
        if self.path.is_dir() and not self.path.is_symlink() and not any(self.path.iterdir()):
            self.path.rmdir()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "check the folder and its permissions")
            raise StoreError(f"the blobs in {self.path}: {remedy} ({error.strerror})") from error


_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run again, nothing sealed is lost",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EFBIG: "the disk refuses files as large (ulimit -f); nothing sealed before is lost",
    errno.EROFS: "it cannot be written; open it read-only or correct the permissions",
    errno.EACCES: "it cannot be written; open it read-only or correct the permissions",
}


def blobs_of(ledger: Path) -> Path:
    """Return the folder with the blobs of the ledger in the file ``ledger``.

    It lies beside the file; the ledgers in a folder called `SHARED_BY` share the one beside that.
    """
    folder = ledger.parent
    return (folder.parent if folder.name == SHARED_BY else folder) / BLOBS


def _kind(status: os.stat_result) -> str:
    mode = status.st_mode
    return ("a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode)
            else "a pipe" if stat.S_ISFIFO(mode) else "no regular file")


def _remove(folder: Path, names: re.Pattern[str]) -> None:
    """Remove the regular files in ``folder`` that are called so; no folder is left for another."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for place in list(folder.iterdir()):
        if names.fullmatch(place.name) and stat.S_ISREG(place.lstat().st_mode):
            place.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file_system(folder: Path) -> bool:
    """Synchronise the file system of ``folder`` with one call; False where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(handle) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(handle)
    return True
