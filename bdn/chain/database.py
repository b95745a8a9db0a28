"""SQLite as the stores use it: how a file is opened, and what its errors mean to us."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from bdn.chain.blocks import Header, decode_header
from bdn.chain.errors import LedgerError, MissingError, StoreError
from bdn.chain.genesis import Genesis, decode_genesis, encode_genesis
from bdn.chain.seals import BlockSeal, decode_seal
from bdn.errors import BdnError, EncodingError

FORMAT = b"bdn ledger 1"
MEMORY = ":memory:"
BUSY_SECONDS = 10.0

COMMON_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (height INTEGER PRIMARY KEY, header BLOB NOT NULL, seal BLOB);
"""

Decoded = TypeVar("Decoded")

_MEANING = {
    "SQLITE_FULL": "the disk is full; free some space and run again, nothing sealed is lost",
    "SQLITE_READONLY": "it cannot be written; open it read-only or mend the permissions",
    "SQLITE_CANTOPEN": "it cannot be opened here; mend the folder's permissions",
    "SQLITE_BUSY": "another process writes to it; wait or end that one",
    "SQLITE_IOERR": "the disk failed to read or write; nothing sealed before is lost",
}


def connect(path: Path | str, read_only: bool) -> sqlite3.Connection:
    """Open ``path`` in write-ahead mode with full synchronisation, or for reading only.

    A file on a medium that cannot be written has no room for SQLite's shared-memory index either;
    it is then opened as immutable, unless a write-ahead log beside it still holds blocks.
    """
    with translated():
        if str(path) == MEMORY:
            return sqlite3.connect(MEMORY, isolation_level=None)
        address = "file:" + quote(str(Path(path).absolute()))
        if read_only:
            return _connect_read_only(Path(path), address)
        db = sqlite3.connect(address + "?mode=rwc", uri=True, isolation_level=None,
                             timeout=BUSY_SECONDS)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            db.close()
            raise
        return db


def _connect_read_only(path: Path, address: str) -> sqlite3.Connection:
    db = sqlite3.connect(address + "?mode=ro", uri=True, isolation_level=None,
                         timeout=BUSY_SECONDS)
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        db.close()
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        db = sqlite3.connect(address + "?mode=ro&immutable=1", uri=True, isolation_level=None)
    return db


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into ours: `StoreError` for circumstances, `LedgerError` for damage."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # damaged names come in odd letters
        code = getattr(error, "sqlite_errorname", "") or ""
        for prefix, meaning in _MEANING.items():
            if code.startswith(prefix):
                raise StoreError(f"the ledger's file: {meaning} ({error})") from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise StoreError(f"the ledger's file is closed, or another thread's ({error})"
                             ) from error
        if isinstance(error, sqlite3.IntegrityError):
            raise StoreError(f"the ledger holds that already ({error})") from error
        raise LedgerError("the ledger's file", f"not readable as a ledger ({error})") from error


def decoded(decode: Callable[[bytes], Decoded], data: Any, place: str) -> Decoded:
    """``decode(data)``; a `LedgerError` naming ``place`` if the stored bytes are damaged."""
    if type(data) is not bytes:
        raise LedgerError(place, "not a byte string")
    try:
        return decode(data)
    except EncodingError as error:
        raise LedgerError(place, str(error)) from error


class Database:
    """What the stores of full and light nodes share: one file, its meta data, headers and seals.

    Subclasses say their ``role`` and the ``schema`` of what they hold besides.
    """

    role: bytes
    schema: str

    def __init__(self, connection: sqlite3.Connection, read_only: bool) -> None:
        self._db = connection
        self.read_only = read_only

    # --- opening --------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path | str, genesis: Genesis) -> Self:
        """A new store at ``path`` (or ``":memory:"``); `StoreError` if a file is there already."""
        if str(path) != MEMORY and Path(path).exists():
            raise StoreError(f"{Path(path).name} exists already; choose another folder")
        store = cls(connect(path, read_only=False), False)
        rows = (("format", FORMAT), ("role", cls.role), ("genesis", encode_genesis(genesis)))
        try:
            with store._write() as db:
                for statement in (COMMON_SCHEMA + cls.schema).split(";"):
                    db.execute(statement)
                db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        except StoreError:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path | str, read_only: bool = False) -> Self:
        """Open an existing store; ``read_only`` for looking and verifying.

        Raises `StoreError` when there is none, when it cannot be read, or is of another kind.
        """
        if not Path(path).is_file():
            raise StoreError(f"there is no ledger at {Path(path).name}")
        store = cls(connect(path, read_only), read_only)
        try:
            if (store._meta("format"), store._meta("role")) != (FORMAT, cls.role):
                raise StoreError(f"{Path(path).name} is no ledger of a {cls.role.decode()} node")
        except BdnError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> Self:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # --- reading --------------------------------------------------------------------------------

    def genesis(self) -> Genesis:
        """The genesis record; `LedgerError` if its bytes are damaged."""
        return decoded(decode_genesis, self._meta("genesis"), "genesis record")

    def height(self) -> int:
        """The last block's height; -1 while there is none."""
        row = self._one("SELECT MAX(height) FROM blocks")
        return -1 if row is None or row[0] is None else int(row[0])

    def header(self, height: int) -> Header:
        """The header at ``height``, or `MissingError`."""
        return decoded(decode_header, self._sealed(height)[0], f"block {height}, header")

    def seal(self, height: int) -> BlockSeal | None:
        """The seal beside block ``height``; None for the genesis block."""
        data = self._sealed(height)[1]
        return None if data is None else decoded(decode_seal, data, f"block {height}, seal")

    def verify_file(self) -> None:
        """Raise `LedgerError` unless SQLite finds its own file consistent."""
        for (verdict,) in self._rows("PRAGMA integrity_check(1)"):
            if verdict != "ok":
                raise LedgerError("the ledger's file", str(verdict))

    # --- SQLite ---------------------------------------------------------------------------------

    def _sealed(self, height: int) -> tuple[Any, Any]:
        """Header and seal of block ``height`` as stored, or `MissingError`."""
        row = self._one("SELECT header, seal FROM blocks WHERE height = ?", height)
        if row is None:
            raise MissingError(f"there is no block {height}")
        return row[0], row[1]

    def _meta(self, name: str) -> bytes:
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        if row is None or type(row[0]) is not bytes:
            raise LedgerError(f"{name} record", "missing in the store")
        return row[0]

    def _one(self, query: str, *parameters: object) -> tuple[Any, ...] | None:
        with translated():
            row = self._db.execute(query, parameters).fetchone()
        return None if row is None else tuple(row)

    def _rows(self, query: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        with translated():
            yield from self._db.execute(query, parameters)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One SQLite transaction: all of the body's statements, or none."""
        with translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
