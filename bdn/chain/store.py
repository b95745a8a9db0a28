"""The store of a full node: one SQLite file in write-ahead mode, and its blobs as files.

    meta          format and role of the file, and the genesis record
    blocks        height → encoded header, encoded seal
    transactions  (height, position) → encoded envelope, encoded receipt; Tx_co stands last
    state         (contract, key, height) → the value written by that block, null where deleted
    blobs         Merkle root → leaves and bytes of a blob that this node holds; its bytes are a
                  file (`bdn.chain.blob_files`), which other nodes of the run share

A block goes in as one SQLite transaction with ``synchronous=FULL``: after `append` returns, it is
on the disk; before, there is no trace of it. Only canonical encodings are stored and every column
can be recomputed from the chain, so `verify_ledger` leaves no byte unchecked.
"""

import functools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from bdn.chain.blob_files import BlobFiles, BlobMemory, Blobs, blobs_of
from bdn.chain.blocks import (
    CHAIN_FORMAT,
    Block,
    Genesis,
    Header,
    Receipt,
    decode_genesis,
    decode_header,
    decode_receipt,
    encode_genesis,
    encode_header,
    encode_receipt,
    is_aggregate,
)
from bdn.chain.errors import LedgerError, MerkleError, MissingError, StoreError
from bdn.chain.merkle import MAX_BLOB_BYTES, unpack_blob
from bdn.chain.merkle import root as merkle_root
from bdn.chain.seals import BlockSeal, decode_seal, encode_seal
from bdn.chain.state import LedgerState, Writes
from bdn.chain.transactions import (
    MAX_DEVICES,
    MAX_TRANSACTIONS,
    decode_envelope,
    encode_envelope,
)
from bdn.errors import BdnError, EncodingError, shown

FORMAT = f"bdn ledger {CHAIN_FORMAT}".encode()
MEMORY = ":memory:"
BUSY_SECONDS = 10.0
MAX_CONTRACTS = 1024
"""Deployments in a genesis block, beside the devices' statements."""

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (height INTEGER PRIMARY KEY, header BLOB NOT NULL, seal BLOB);
CREATE TABLE transactions (
    height INTEGER NOT NULL, position INTEGER NOT NULL,
    envelope BLOB NOT NULL, receipt BLOB NOT NULL,
    PRIMARY KEY (height, position)) WITHOUT ROWID;
CREATE TABLE state (
    contract BLOB NOT NULL, key BLOB NOT NULL, height INTEGER NOT NULL, value BLOB,
    PRIMARY KEY (contract, key, height)) WITHOUT ROWID;
CREATE INDEX state_by_height ON state (height);
CREATE TABLE blobs (root BLOB PRIMARY KEY, chunks INTEGER NOT NULL, size INTEGER NOT NULL);
"""

Decoded = TypeVar("Decoded")

_MEANING = {
    "SQLITE_FULL": "the disk is full; free some space and run again, nothing sealed is lost",
    "SQLITE_READONLY": "it cannot be written; open it read-only or correct the permissions",
    "SQLITE_CANTOPEN": "it cannot be opened here; correct the folder's permissions",
    "SQLITE_BUSY": "another process writes to it; wait or end that one",
    "SQLITE_LOCKED": "another connection writes to it; wait or end that one",
    "SQLITE_IOERR": "the disk failed to read or write, or the file is larger than ulimit -f allows;"
                    " nothing sealed before is lost",
}


# --- SQLite -------------------------------------------------------------------------------------


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into ours: `StoreError` for circumstances, `LedgerError` for damage."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, MemoryError) as error:  # names in odd letters
        reason = shown(str(error), 200)
        code = getattr(error, "sqlite_errorname", "") or ""
        for prefix, meaning in _MEANING.items():
            if code.startswith(prefix):
                raise StoreError(f"the ledger's file: {meaning} ({reason})") from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise StoreError(f"the ledger's file is closed, or another thread's ({reason})"
                             ) from error
        if isinstance(error, sqlite3.IntegrityError):
            raise StoreError(f"the ledger holds that already ({reason})") from error
        raise LedgerError("the ledger's file", f"not readable as a ledger ({reason})") from error
    except OverflowError as error:  # a number from a peer that SQLite cannot hold
        raise MissingError("the ledger holds nothing at a number beyond 2^63") from error


def _connect(path: Path | str, read_only: bool) -> sqlite3.Connection:
    """Open ``path`` in write-ahead mode with full synchronisation, or for reading only.

    A file on a medium that cannot be written has no room for SQLite's shared-memory index either;
    it is then opened as immutable, unless a write-ahead log beside it still holds blocks.
    """
    if str(path) == MEMORY:
        return sqlite3.connect(MEMORY, isolation_level=None)
    address = "file:" + quote(os.fsencode(Path(path).absolute()))  # names need not be UTF-8
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
    except sqlite3.Error:
        db.close()
        raise
    return db


def _blobs_for(path: Path | str) -> Blobs:
    return BlobMemory() if str(path) == MEMORY else BlobFiles.at(blobs_of(Path(path)))


def _make_tables(db: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        db.execute(statement)


_CATALOGUE = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name LIMIT 20"
"""All tables, indexes, views and triggers of a file; a ledger has fewer than the limit."""


@functools.cache
def _catalogue() -> list[tuple[Any, ...]]:
    """What `_CATALOGUE` finds in a ledger."""
    with closing(sqlite3.connect(MEMORY)) as db:
        _make_tables(db)
        return db.execute(_CATALOGUE).fetchall()


def decoded(decode: Callable[[bytes], Decoded], data: Any, place: str) -> Decoded:
    """Return ``decode(data)``; a `LedgerError` naming ``place`` if the stored bytes are damaged."""
    try:
        return decode(_as_bytes(data, place))
    except EncodingError as error:
        raise LedgerError(place, str(error)) from error


def _as_bytes(data: Any, place: str) -> bytes:
    """A column is what its row says, whatever SQLite's table says: text, a number, null."""
    if type(data) is not bytes:
        raise LedgerError(place, "not a byte string")
    return data


# --- the store ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block's rows, as the bytes that they are.

    Attributes:
        height: of the block.
        header: encoded.
        seal: encoded; None for the genesis block.
        transactions: (encoded envelope, encoded receipt) in order.
        positions: what the store calls their places: 0, 1, … unless it is damaged.
    """

    height: int
    header: bytes
    seal: bytes | None
    transactions: tuple[tuple[bytes, bytes], ...]
    positions: tuple[int, ...]


class Store:
    """A full node's blocks, receipts, states and blobs. Not for several threads at once.

    Whoever opens a store closes it, best in a ``with`` statement.
    """

    def __init__(
        self, connection: sqlite3.Connection, blobs: Blobs, read_only: bool = False
    ) -> None:
        self._db = connection
        self._blobs = blobs
        self._read_only = read_only
        self._fresh: dict[bytes, tuple[int, int]] = {}
        """Leaves and bytes of the blobs that `keep_blobs` will make durable."""

    # --- opening --------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path | str, genesis: Genesis) -> Self:
        """Return a new store at ``path`` (or ``":memory:"``).

        Raises `StoreError` if a file is there already, or cannot be made.
        """
        if str(path) != MEMORY and Path(path).exists():
            raise StoreError(f"{Path(path).name} exists already; choose another folder")
        with translated():
            store = cls(_connect(path, read_only=False), _blobs_for(path))
        rows = (("format", FORMAT), ("genesis", encode_genesis(genesis)))
        try:
            with store._write() as db:
                _make_tables(db)
                db.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        except BdnError:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path | str, read_only: bool = False) -> Self:
        """Return the existing store at ``path``; ``read_only`` for looking and verifying.

        Raises `StoreError` when there is none or it cannot be read, `LedgerError` when the file is
        no ledger or holds more than a ledger does.
        """
        if not Path(path).is_file():
            kind = "it is no file" if Path(path).exists() else "there is no file"
            raise StoreError(f"there is no ledger at {Path(path).name}: {kind}")
        with translated():
            store = cls(_connect(path, read_only), _blobs_for(path), read_only)
        try:
            store.verify_schema()
        except BdnError:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Keep what was put and not kept yet, and release the file."""
        with suppress(BdnError):  # no block names it: whoever sent it has it still
            self.keep_blobs()
        self._db.close()

    def leave_write_ahead(self) -> None:
        """Leave write-ahead mode, where nobody else has the file open.

        Whoever only reads a file in that mode makes a ``-wal`` and a ``-shm`` file beside it and
        cannot remove them. `open` enters the mode again.
        """
        with suppress(sqlite3.Error):  # in use: it is tidier without, but not needed
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA journal_mode = DELETE")
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_SECONDS)}")

    def __enter__(self) -> Self:
        """Return the store, for ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all that is read in the body be of one moment, whatever another process writes."""
        if self._db.in_transaction:
            yield
            return
        with translated():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):  # closed, or damaged: nothing was written
                self._db.execute("ROLLBACK")

    def verify_schema(self) -> None:
        """Raise `LedgerError` unless the file has a ledger's tables, meta rows, and nothing else.

        Run before anything else is read: a view called ``blobs`` could answer without end.
        """
        found = list(self._rows(_CATALOGUE))
        for row in found:
            if row not in _catalogue():
                raise LedgerError("the ledger's file",
                                  f"not a ledger of bdn: it has the {shown(row[0], 20)} "
                                  f"{shown(row[1])}, which no ledger has in this form")
        for row in _catalogue():
            if row not in found:
                raise LedgerError("the ledger's file", f"the {row[0]} {row[1]!r} is missing")
        names = [name for (name,) in self._rows("SELECT name FROM meta ORDER BY name LIMIT 9")]
        for name in ("format", "genesis"):
            if name not in names:
                raise LedgerError(f"{name} record", "missing in the store")
        if len(names) > 2:
            raise LedgerError("table meta", "it has rows that no ledger has")
        if self._meta("format") != FORMAT:
            raise LedgerError("format record", f"the ledger was written by another version of bdn; "
                              f"this one reads format {CHAIN_FORMAT} (docs/format.md)")

    # --- reading --------------------------------------------------------------------------------

    def genesis(self) -> Genesis:
        """Return the genesis record; `LedgerError` if its bytes are damaged."""
        return decoded(decode_genesis, self._meta("genesis"), "genesis record")

    def height(self) -> int:
        """Return the last block's height; -1 while there is none."""
        row = self._one("SELECT MAX(height) FROM blocks")
        return -1 if row is None or row[0] is None else int(row[0])

    def header(self, height: int) -> Header:
        """Return the header at ``height``, or raise `MissingError`."""
        header = decoded(decode_header, self._sealed(height)[0], f"block {height}, header")
        if header.height != height:
            raise LedgerError(f"block {height}, header", "it is another block's")
        return header

    def seal(self, height: int) -> BlockSeal | None:
        """Return the seal beside block ``height``; None for the genesis block."""
        data = self._sealed(height)[1]
        return None if data is None else decoded(decode_seal, data, f"block {height}, seal")

    def block(self, height: int) -> Block:
        """The block at ``height``, or `MissingError`."""
        header = self.header(height)
        envelopes = []
        for position, (data, _) in enumerate(self._transactions(height)):
            place = f"block {height}, transaction {position}"
            envelopes.append(decoded(decode_envelope, data, place))
        if envelopes and is_aggregate(envelopes[-1]):
            return Block(header, tuple(envelopes[:-1]), envelopes[-1])
        return Block(header, tuple(envelopes))

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        """The receipts of block ``height``, in the order of its transactions."""
        return tuple(
            decoded(decode_receipt, data, f"block {height}, receipt {position}")
            for position, (_, data) in enumerate(self._transactions(height))
        )

    def raw(self, height: int) -> StoredBlock:
        """The rows of block ``height`` as bytes, undecoded, or `MissingError`."""
        header, seal = self._sealed(height)
        query = "SELECT position FROM transactions WHERE height = ? ORDER BY position"
        positions = tuple(position for (position,) in self._rows(query, height))
        return StoredBlock(height, header, seal, tuple(self._transactions(height)), positions)

    def state(self) -> LedgerState:
        """The state after the last block, rebuilt from the newest row of each slot."""
        newest = {}
        query = "SELECT contract, key, value, MAX(height) FROM state GROUP BY contract, key"
        for contract, key, value, height in self._rows(query):
            if any(type(item) is not bytes for item in (contract, key, value or b"")):
                raise LedgerError(f"block {height}, state", "an entry is no byte string")
            if value is not None:
                newest[contract.decode(errors="replace"), key] = value
        return LedgerState().apply(newest)

    def writes(self, height: int) -> list[tuple[bytes, bytes, bytes | None]]:
        """(contract, key, value) as block ``height`` wrote them, ordered by slot."""
        query = "SELECT contract, key, value FROM state WHERE height = ? ORDER BY contract, key"
        rows = list(self._rows(query, height))
        if any(type(item) is not bytes for row in rows for item in row if item is not None):
            raise LedgerError(f"block {height}, state", "an entry is no byte string")
        return rows

    def history(self, contract: str, key: bytes) -> list[tuple[int, bytes | None]]:
        """(height, value) of every block that wrote this slot, oldest first."""
        query = "SELECT height, value FROM state WHERE contract = ? AND key = ? ORDER BY height"
        return list(self._rows(query, contract.encode(), key))

    def blob(self, root: bytes) -> bytes:
        """The blob of ``root``, checked against it; `MissingError` or `LedgerError`."""
        data = self.blob_bytes(root)
        place = f"blob {root.hex()}"
        try:
            leaves = unpack_blob(data)
        except MerkleError as error:
            raise LedgerError(place, str(error)) from error
        if merkle_root(leaves) != root:
            raise LedgerError(place, "its leaves have another Merkle root")
        if self.blob_shape(root) != (len(leaves), len(data)):
            raise LedgerError(place, "it has another number of leaves than its row says")
        return data

    def blob_bytes(self, root: bytes) -> bytes:
        """The blob of ``root`` as stored, unchecked; `MissingError`."""
        return self._blobs.read(root, self.blob_shape(root)[1])

    def blob_size(self, root: bytes) -> int | None:
        """The stored blob's bytes, unchecked, or None when there is none."""
        try:
            return self.blob_shape(root)[1]
        except MissingError:
            return None

    def blob_shape(self, root: bytes) -> tuple[int, int]:
        """(leaves, bytes) of the stored blob, which `put_blob` has checked; or `MissingError`."""
        if root in self._fresh:
            return self._fresh[root]
        row = self._one("SELECT chunks, size FROM blobs WHERE root = ?", root)
        if row is None:
            raise MissingError(f"there is no blob {root.hex()}")
        if any(type(number) is not int or not 0 <= number <= MAX_BLOB_BYTES for number in row):
            raise LedgerError(f"blob {root.hex()}", "no numbers of leaves and bytes")
        return row[0], row[1]

    def blob_roots(self) -> Iterator[bytes]:
        """The roots of all stored blobs, in order; those that are not kept yet last."""
        for (root,) in self._rows("SELECT root FROM blobs ORDER BY root"):
            yield _as_bytes(root, "table blobs")
        yield from sorted(self._fresh)

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        tables = ("blocks", "transactions", "state", "blobs")
        counts = {}
        for table in tables:
            for (count,) in self._rows(f"SELECT COUNT(*) FROM {table}"):  # noqa: S608 - as above
                counts[table] = int(count)
        counts["blobs"] += len(self._fresh)
        return counts

    # --- writing --------------------------------------------------------------------------------

    def append(
        self, block: Block, seal: BlockSeal | None, receipts: Sequence[Receipt], writes: Writes
    ) -> None:
        """Store one block with everything that belongs to it, at once or not at all.

        Raises `StoreError` when the disk is full or read-only; the store is then as before.
        """
        height = block.header.height
        pairs = zip(block.envelopes, receipts, strict=True)
        with self._write() as db:
            self._insert_fresh(db)
            db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (
                height, encode_header(block.header), None if seal is None else encode_seal(seal)))
            db.executemany("INSERT INTO transactions VALUES (?, ?, ?, ?)", [
                (height, position, encode_envelope(envelope), encode_receipt(receipt))
                for position, (envelope, receipt) in enumerate(pairs)])
            db.executemany("INSERT INTO state VALUES (?, ?, ?, ?)", [
                (contract.encode(), key, height, value)
                for (contract, key), value in writes.items()])
        self._fresh.clear()

    def put_blob(self, data: bytes) -> bytes:
        """Take in a blob and return its root; `MerkleError` if ``data`` is none.

        It can be read at once, and is durable after the next `keep_blobs` or `append`.
        """
        leaves = unpack_blob(data)
        root = merkle_root(leaves)
        if self._read_only:
            raise StoreError("the ledger's file: it cannot be written; it was opened read-only")
        if self.blob_size(root) is None:
            self._blobs.write(root, data)
            self._fresh[root] = len(leaves), len(data)
        return root

    def keep_blobs(self) -> None:
        """Make durable all blobs that were put since the last call, by one synchronisation.

        A node calls it before it votes for a block that names them.
        """
        if self._fresh:
            with self._write() as db:
                self._insert_fresh(db)
            self._fresh.clear()

    def _insert_fresh(self, db: sqlite3.Connection) -> None:
        self._blobs.sync()
        db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", [
            (root, chunks, size) for root, (chunks, size) in self._fresh.items()])

    def drop_blobs(self, roots: Sequence[bytes]) -> None:
        """Forget blobs, as if this node had never held them; their files stay for other nodes."""
        with self._write() as db:
            db.executemany("DELETE FROM blobs WHERE root = ?", [(root,) for root in roots])
        for root in roots:
            self._fresh.pop(root, None)

    def rollback(self, height: int) -> None:
        """Forget all blocks above ``height``: proof of work found a longer chain."""
        with self._write() as db:
            for table in ("blocks", "transactions", "state"):
                db.execute(f"DELETE FROM {table} WHERE height > ?", (height,))  # noqa: S608 - names of our own

    def verify_file(self) -> None:
        """Raise `LedgerError` unless SQLite finds its own file consistent."""
        for (verdict,) in self._rows("PRAGMA integrity_check(1)"):
            if verdict != "ok":
                raise LedgerError("the ledger's file", shown(str(verdict), 200))

    def verify_blob_files(self) -> None:
        """Raise `LedgerError` where a blob that this node holds has no file of its length."""
        for root in self.blob_roots():
            self._blobs.check(root, self.blob_shape(root)[1])

    # --- queries --------------------------------------------------------------------------------

    def _sealed(self, height: int) -> tuple[Any, Any]:
        """Header and seal of block ``height`` as stored, or `MissingError`."""
        row = self._one("SELECT header, seal FROM blocks WHERE height = ?", height)
        if row is None:
            raise MissingError(f"there is no block {height}")
        return row[0], row[1]

    def _transactions(self, height: int) -> list[tuple[bytes, bytes]]:
        query = ("SELECT envelope, receipt FROM transactions WHERE height = ? ORDER BY position "
                 "LIMIT ?")
        most = MAX_TRANSACTIONS if height else MAX_DEVICES + MAX_CONTRACTS
        rows = list(self._rows(query, height, most + 1))
        if len(rows) > most:
            raise LedgerError(f"block {height}", f"more than {most} transactions")
        return rows

    def _meta(self, name: str) -> bytes:
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        if row is None:
            raise LedgerError(f"{name} record", "missing in the store")
        return _as_bytes(row[0], f"{name} record")

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
