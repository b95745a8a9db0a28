"""The store of a light node: headers, seals and its own transactions (DESIGN section 8).

    meta, blocks  as in a full node's store
    own           (height, position) → encoded inclusion proof of a transaction that matters here

What is read back is verified anew, from the trusted genesis digest on: a device that restarts
believes its own disk no more than it believes an edge server.
"""

from collections.abc import Iterator, Sequence

from bdn.chain.blocks import Header, encode_header
from bdn.chain.database import Database, decoded
from bdn.chain.errors import LedgerError, LightClientError
from bdn.chain.inclusion import InclusionProof, decode_proof, encode_proof, verify_inclusion
from bdn.chain.light import MAX_DRIFT, LightClient
from bdn.chain.seals import BlockSeal, encode_seal
from bdn.errors import UsageError

LIGHT = b"light"

SCHEMA = """
CREATE TABLE own (
    height INTEGER NOT NULL, position INTEGER NOT NULL, proof BLOB NOT NULL,
    PRIMARY KEY (height, position)) WITHOUT ROWID;
"""


class LightStore(Database):
    """A light node's headers, seals and proofs; the genesis header has no seal."""

    role = LIGHT
    schema = SCHEMA

    # --- reading --------------------------------------------------------------------------------

    def client(self, trusted: bytes, drift: int = MAX_DRIFT) -> LightClient:
        """A light client at the last stored header, all of it verified anew.

        Headers that were accepted once are not from the future now, so their own time is the
        clock. Raises `LedgerError` with the place of damage.
        """
        first = self.header(0)
        try:
            client = LightClient(self.genesis(), first, trusted, drift)
        except LightClientError as error:
            raise LedgerError("block 0, header", str(error)) from error
        for height in range(1, self.height() + 1):
            header, seal = self.header(height), self.seal(height)
            if seal is None:
                raise LedgerError(f"block {height}, seal", "missing in the store")
            try:
                client.accept(header, seal, header.time)
            except LightClientError as error:
                raise LedgerError(f"block {height}", str(error)) from error
        return client

    def proofs(self) -> Iterator[InclusionProof]:
        """The kept transactions in order, each verified against its stored header."""
        rows = self._rows("SELECT height, position, proof FROM own ORDER BY height, position")
        for height, position, data in rows:
            place = f"block {height}, transaction {position}"
            proof = decoded(decode_proof, data, place)
            if (proof.height, proof.position) != (height, position):
                raise LedgerError(place, "the proof is another transaction's")
            try:
                verify_inclusion(proof, self.header(height))
            except LightClientError as error:
                raise LedgerError(place, str(error)) from error
            yield proof

    # --- writing --------------------------------------------------------------------------------

    def append(self, header: Header, seal: BlockSeal | None) -> None:
        """Store the next header, which a `LightClient` has accepted, with its seal."""
        if header.height != self.height() + 1:
            raise UsageError(f"header {header.height} does not follow {self.height()}")
        data = None if seal is None else encode_seal(seal)
        with self._write() as db:
            db.execute("INSERT INTO blocks VALUES (?, ?, ?)",
                       (header.height, encode_header(header), data))

    def keep(self, proof: InclusionProof) -> None:
        """Store a transaction of one's own with its proof; `LightClientError` if it is wrong."""
        verify_inclusion(proof, self.header(proof.height))
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO own VALUES (?, ?, ?)",
                       (proof.height, proof.position, encode_proof(proof)))

    def replace_tip(self, height: int, sealed: Sequence[tuple[Header, BlockSeal]]) -> None:
        """Under proof of work: what `LightClient.replace_tip` took, at once or not at all."""
        with self._write() as db:
            for table in ("blocks", "own"):
                db.execute(f"DELETE FROM {table} WHERE height > ?", (height,))  # noqa: S608 - names of our own
            db.executemany("INSERT INTO blocks VALUES (?, ?, ?)", [
                (header.height, encode_header(header), encode_seal(seal))
                for header, seal in sealed])
