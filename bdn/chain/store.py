"""The store of a full node: one SQLite file in write-ahead mode (DESIGN section 8).

    meta          format and role of the file, and the genesis record
    blocks        height → encoded header, encoded seal
    transactions  (height, position) → encoded envelope, encoded receipt; Tx_co stands last
    state         (contract, key, height) → the value written by that block, null where deleted
    blobs         Merkle root → blob

A block goes in as one SQLite transaction with ``synchronous=FULL``: after `append` returns, it is
on the disk; before, there is no trace of it. Only canonical encodings are stored and every column
can be recomputed from the chain, so `verify_ledger` leaves no byte unchecked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bdn.chain.blobs import leaf_count, unpack_blob
from bdn.chain.blocks import (
    Block,
    Receipt,
    decode_receipt,
    encode_header,
    encode_receipt,
    is_aggregate,
)
from bdn.chain.database import Database, decoded
from bdn.chain.errors import LedgerError, MerkleError, MissingError
from bdn.chain.merkle import root as merkle_root
from bdn.chain.seals import BlockSeal, encode_seal
from bdn.chain.state import State, Writes
from bdn.chain.transactions import decode_envelope, encode_envelope

FULL = b"full"

SCHEMA = """
CREATE TABLE transactions (
    height INTEGER NOT NULL, position INTEGER NOT NULL,
    envelope BLOB NOT NULL, receipt BLOB NOT NULL,
    PRIMARY KEY (height, position)) WITHOUT ROWID;
CREATE TABLE state (
    contract BLOB NOT NULL, key BLOB NOT NULL, height INTEGER NOT NULL, value BLOB,
    PRIMARY KEY (contract, key, height)) WITHOUT ROWID;
CREATE INDEX state_by_height ON state (height);
CREATE TABLE blobs (root BLOB PRIMARY KEY, data BLOB NOT NULL);
"""


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


class Store(Database):
    """A full node's blocks, receipts, states and blobs. Not for several threads at once."""

    role = FULL
    schema = SCHEMA

    # --- reading --------------------------------------------------------------------------------

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

    def state(self) -> State:
        """The state after the last block, rebuilt from the newest row of each slot."""
        newest = {}
        query = "SELECT contract, key, value, MAX(height) FROM state GROUP BY contract, key"
        for contract, key, value, height in self._rows(query):
            if any(type(item) is not bytes for item in (contract, key, value or b"")):
                raise LedgerError(f"block {height}, state", "an entry is no byte string")
            if value is not None:
                newest[contract.decode(errors="replace"), key] = value
        return State().apply(newest)

    def writes(self, height: int) -> list[tuple[bytes, bytes, bytes | None]]:
        """(contract, key, value) as block ``height`` wrote them, ordered by slot."""
        query = "SELECT contract, key, value FROM state WHERE height = ? ORDER BY contract, key"
        return list(self._rows(query, height))

    def history(self, contract: str, key: bytes) -> list[tuple[int, bytes | None]]:
        """(height, value) of every block that wrote this slot, oldest first."""
        query = "SELECT height, value FROM state WHERE contract = ? AND key = ? ORDER BY height"
        return list(self._rows(query, contract.encode(), key))

    def blob(self, root: bytes) -> bytes:
        """The blob of ``root``, checked against it; `MissingError` or `LedgerError`."""
        data = self.blob_bytes(root)
        place = f"blob {root.hex()}"
        try:
            found = merkle_root(unpack_blob(data))
        except MerkleError as error:
            raise LedgerError(place, str(error)) from error
        if found != root:
            raise LedgerError(place, "its leaves have another Merkle root")
        return data

    def blob_bytes(self, root: bytes) -> bytes:
        """The blob of ``root`` as stored, unchecked; `MissingError`."""
        row = self._one("SELECT data FROM blobs WHERE root = ?", root)
        if row is None:
            raise MissingError(f"there is no blob {root.hex()}")
        return bytes(row[0])

    def blob_size(self, root: bytes) -> int | None:
        """The stored blob's bytes, unchecked, or None when there is none."""
        row = self._one("SELECT LENGTH(data) FROM blobs WHERE root = ?", root)
        return None if row is None else int(row[0])

    def blob_shape(self, root: bytes) -> tuple[int, int]:
        """(leaves, bytes) of the stored blob, which `put_blob` has checked; or `MissingError`."""
        query = "SELECT SUBSTR(data, 1, 9), LENGTH(data) FROM blobs WHERE root = ?"
        row = self._one(query, root)
        if row is None:
            raise MissingError(f"there is no blob {root.hex()}")
        return leaf_count(row[0]), int(row[1])

    def blob_roots(self) -> Iterator[bytes]:
        """The roots of all stored blobs, in order."""
        for (root,) in self._rows("SELECT root FROM blobs ORDER BY root"):
            yield root

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        tables = ("blocks", "transactions", "state", "blobs")
        counts = {}
        for table in tables:
            for (count,) in self._rows(f"SELECT COUNT(*) FROM {table}"):  # noqa: S608 - as above
                counts[table] = int(count)
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
            db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (
                height, encode_header(block.header), None if seal is None else encode_seal(seal)))
            db.executemany("INSERT INTO transactions VALUES (?, ?, ?, ?)", [
                (height, position, encode_envelope(envelope), encode_receipt(receipt))
                for position, (envelope, receipt) in enumerate(pairs)])
            db.executemany("INSERT INTO state VALUES (?, ?, ?, ?)", [
                (contract.encode(), key, height, value)
                for (contract, key), value in writes.items()])

    def put_blob(self, data: bytes) -> bytes:
        """Store a blob and return its root; `MerkleError` if ``data`` is none."""
        root = merkle_root(unpack_blob(data))
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (root, data))
        return root

    def drop_blobs(self, roots: Sequence[bytes]) -> None:
        """Remove blobs, such as those of refused updates."""
        with self._write() as db:
            db.executemany("DELETE FROM blobs WHERE root = ?", [(root,) for root in roots])

    def rollback(self, height: int) -> None:
        """Forget all blocks above ``height``: proof of work found a longer chain."""
        with self._write() as db:
            for table in ("blocks", "transactions", "state"):
                db.execute(f"DELETE FROM {table} WHERE height > ?", (height,))  # noqa: S608 - names of our own

    def _transactions(self, height: int) -> list[tuple[bytes, bytes]]:
        query = "SELECT envelope, receipt FROM transactions WHERE height = ? ORDER BY position"
        return list(self._rows(query, height))
