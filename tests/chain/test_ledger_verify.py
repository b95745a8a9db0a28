"""`bdn verify`: any flipped byte fails and its place is named."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdn.chain import (
    Header,
    LedgerError,
    MerkleError,
    MissingError,
    Store,
    StoreError,
    encode_header,
    header_digest,
    verify_ledger,
)
from bdn.chain.blocks import compute_transactions_root

COLUMNS = [  # what a flip there may be called
    ("blocks", "header", "header"), ("blocks", "seal", "seal"),
    ("transactions", "envelope", "transaction"), ("transactions", "receipt", "receipt"),
    ("state", "contract", "state"), ("state", "key", "state"), ("state", "value", "state"),
    ("blobs", "root", "blob"),
]


def filled(chain: Any, blocks: int = 4) -> Any:
    """A chain with candidate and auxiliary blocks, failed receipts, deletions and blobs."""
    chain.add([chain.note(0, "a", b"one"), chain.transfer(0, b"bob", 1_000)])
    chain.add_epoch(1)
    for i in range(blocks):
        chain.add([chain.note(i % 5, "abc"[i % 3], b"text %d" % i), chain.transfer(1, b"bob", 1)],
                  epoch=1)
    chain.add_epoch(2)
    chain.ledger.put_blob(b"\x81\x43abc")
    return chain


@pytest.fixture(scope="module", params=["pbft", "pow"])
def template(
    request: Any, make_chain: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A ledger's file under either consensus, made once."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    chain = filled(make_chain(path, consensus=request.param))
    chain.ledger.close()
    return path


@pytest.fixture
def stored(template: Path, tmp_path: Path) -> Path:
    """A copy of it with its blobs, to be damaged."""
    shutil.copytree(template.parent / "blobs", tmp_path / "blobs")
    return Path(shutil.copy(template, tmp_path))


def verify(path: Path, **options: Any) -> None:
    """Verify a file as `bdn verify` does."""
    with Store.open(path, read_only=True) as store:
        verify_ledger(store, **options)


def test_an_untouched_ledger_verifies(stored: Path) -> None:
    """Every block passes, and the caller hears of each."""
    heard: list[Header] = []
    verify(stored, progress=heard.append)
    assert [header.height for header in heard] == list(range(len(heard)))
    verify(stored, trusted=header_digest(heard[0]))
    with pytest.raises(LedgerError, match="not the genesis header that is trusted"):
        verify(stored, trusted=bytes(32))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_fails_and_is_placed(stored: Path, data: st.DataObject) -> None:
    """In any stored block, seal, receipt, state row or blob."""
    table, column, place = data.draw(st.sampled_from(COLUMNS))
    db = sqlite3.connect(stored, isolation_level=None)
    query = f"SELECT * FROM {table} WHERE LENGTH({column}) > 0"
    cursor = db.execute(query)
    names = [description[0] for description in cursor.description]
    row = data.draw(st.sampled_from(cursor.fetchall()))
    old = row[names.index(column)]
    at = data.draw(st.integers(0, len(old) - 1))
    new = bytearray(old)
    new[at] ^= data.draw(st.integers(1, 255))
    keys = {"blocks": ["height"], "transactions": ["height", "position"],
            "state": ["contract", "key", "height"], "blobs": ["root"]}[table]
    where = " AND ".join(f"{key} = ?" for key in keys)
    db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}",
               (bytes(new), *(row[names.index(key)] for key in keys)))
    db.commit()
    try:
        with pytest.raises(LedgerError) as caught:
            verify(stored)
        found = caught.value.place
        height = row[names.index("height")] if "height" in names else None
        if height is not None and table != "state":
            assert found.startswith(f"block {height}")
        assert place in found, found
        if table == "transactions":
            assert f"{place} {row[names.index('position')]}" in found
    finally:
        keys_now = [bytes(new) if key == column else row[names.index(key)] for key in keys]
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (old, *keys_now))
        db.close()
    verify(stored)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flip_in_the_genesis_record_fails(stored: Path, data: st.DataObject) -> None:
    """The record is bound by the chain id in every header."""
    db = sqlite3.connect(stored, isolation_level=None)
    (old,) = db.execute("SELECT value FROM meta WHERE name = 'genesis'").fetchone()
    new = bytearray(old)
    new[data.draw(st.integers(0, len(old) - 1))] ^= data.draw(st.integers(1, 255))
    db.execute("UPDATE meta SET value = ? WHERE name = 'genesis'", (bytes(new),))
    with pytest.raises(LedgerError) as caught:
        verify(stored)
    assert caught.value.place == "genesis record"
    db.execute("UPDATE meta SET value = ? WHERE name = 'genesis'", (old,))
    db.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_of_a_blob_fails_and_is_placed(stored: Path, data: st.DataObject) -> None:
    """Whether a transaction names it or not."""
    blob = data.draw(st.sampled_from(sorted((stored.parent / "blobs").iterdir())))
    old = blob.read_bytes()
    new = bytearray(old)
    new[data.draw(st.integers(0, len(old) - 1))] ^= data.draw(st.integers(1, 255))
    blob.write_bytes(new)
    try:
        with pytest.raises(LedgerError, match=blob.name):
            verify(stored)
    finally:
        blob.write_bytes(old)
    verify(stored)


def contents(path: Path) -> list[list[tuple[Any, ...]]]:
    """All rows of all tables."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    tables = ("meta", "blocks", "transactions", "state", "blobs")
    rows = [sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in tables]
    db.close()
    return rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flip_anywhere_in_the_file_is_found_or_harmless(
    template: Path, stored: Path, data: st.DataObject
) -> None:
    """Even SQLite's own bytes; a file that verifies has the very rows it had."""
    damaged = bytearray(template.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    stored.write_bytes(damaged)
    try:
        verify(stored)
    except (LedgerError, StoreError):
        return
    assert contents(stored) == contents(template)


FROM_1 = "FROM transactions WHERE height = 1 AND position = 1"
FIRST_OF_1 = "height = 1 AND position = 0"
LAST_SLOT_OF_2 = ("(SELECT contract, key FROM state WHERE height = 2 "
                  "ORDER BY contract DESC, key DESC LIMIT 1)")
LAST_OF_1 = f"envelope, receipt {FROM_1}"

DAMAGE = {
    "a block is missing": ("DELETE FROM blocks WHERE height = 3", "block 3"),
    "the last block is missing": (
        "DELETE FROM blocks WHERE height = (SELECT MAX(height) FROM blocks)", "table"),
    "the genesis block is missing": ("DELETE FROM blocks WHERE height = 0", "block 0"),
    "a seal is missing": ("UPDATE blocks SET seal = NULL WHERE height = 2", "block 2, seal"),
    "a seal is another block's": (
        "UPDATE blocks SET seal = (SELECT seal FROM blocks WHERE height = 3) WHERE height = 2",
        "block 2, header"),
    "the genesis block has a seal": (
        "UPDATE blocks SET seal = (SELECT seal FROM blocks WHERE height = 3) WHERE height = 0",
        "block 0, seal"),
    "a transaction is missing": (
        "DELETE FROM transactions WHERE height = 1 AND position = 0", "block 1, transaction 0"),
    "the last transaction is missing": (
        "DELETE FROM transactions WHERE height = 1 AND position = 1", "block 1, transactions"),
    "a transaction stands twice": (
        f"INSERT INTO transactions SELECT height, 2, {LAST_OF_1}", "block 1, transactions"),
    "a transaction of no block": (
        f"INSERT INTO transactions SELECT 99, 0, {LAST_OF_1}", "table transactions"),
    "a state row is missing": (
        "DELETE FROM state WHERE rowid_of = 1", "block 2, state"),
    "a state row too many": (
        "INSERT INTO state VALUES (x'61', x'62', 2, x'63')", "block 2, state"),
    "the last state row of a block is missing": (
        f"DELETE FROM state WHERE height = 2 AND (contract, key) = {LAST_SLOT_OF_2}",
        "block 2, state"),
    "a state row too many, at the end": (
        "INSERT INTO state VALUES (x'7a7a', x'62', 2, x'63')", "block 2, state"),
    "a state row of no block": (
        "INSERT INTO state VALUES (x'61', x'62', 77, x'63')", "table state"),
    "a state row of a negative height": (
        "INSERT INTO state VALUES (x'61', x'62', -1, x'63')", "table state"),
    "a value is a number": ("UPDATE state SET value = 5 WHERE height = 2", "block 2, state"),
    "an envelope is text": (
        "UPDATE transactions SET envelope = 'text' WHERE height = 1", "block 1, transaction 0"),
    "a receipt is text": (
        "UPDATE transactions SET receipt = 'text' WHERE height = 1", "block 1, receipt 0"),
    "a header is a number": ("UPDATE blocks SET header = 5 WHERE height = 1", "block 1, header"),
    "receipts change places": (
        f"UPDATE transactions SET receipt = (SELECT receipt {FROM_1}) WHERE {FIRST_OF_1}",
        "block 1, receipt 0"),
    "a blob is missing": ("DELETE FROM blobs WHERE size > 10", "block 2, transaction"),
    "an unnamed blob's length is damaged": (
        "UPDATE blobs SET size = 6 WHERE size = 5", "blob"),
    "a named blob's length is damaged": (
        "UPDATE blobs SET size = size + 1 WHERE chunks = 2", "block 2, transaction"),
    "a named blob's number of leaves is damaged": (
        "UPDATE blobs SET chunks = 3 WHERE chunks = 2", "block 2, transaction"),
    "a block too many": (
        "INSERT INTO blocks SELECT MAX(height) + 1, header, seal FROM blocks", "block"),
    "the genesis record is missing": ("DELETE FROM meta WHERE name = 'genesis'", "genesis"),
}


@pytest.mark.parametrize("kind", DAMAGE, ids=str)
def test_damage_beyond_single_bytes_fails_and_is_placed(stored: Path, kind: str) -> None:
    """Rows missing, moved, doubled or of a wrong type."""
    statement, place = DAMAGE[kind]
    statement = statement.replace(
        "WHERE rowid_of = 1",
        "WHERE (contract, key, height) IN (SELECT contract, key, height FROM state "
        "WHERE height = 2 LIMIT 1)")
    db = sqlite3.connect(stored, isolation_level=None)
    changed = db.execute(statement).rowcount
    db.close()
    assert changed > 0
    with pytest.raises(LedgerError) as caught:
        verify(stored)
    assert caught.value.place.startswith(place), str(caught.value)


FOREIGN = {
    "another table": "CREATE TABLE notes (text)",
    "another index": "CREATE INDEX by_seal ON blocks (seal)",
    "a trigger": "CREATE TRIGGER late AFTER INSERT ON blocks BEGIN SELECT 1; END",
    "a view": "CREATE VIEW heights AS SELECT height FROM blocks",
    "an endless view in a table's place": """
        DROP TABLE blobs;
        CREATE VIEW blobs AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)
        SELECT zeroblob(32) AS root, zeroblob(i) AS data FROM n""",
    "a table without its columns": "DROP TABLE state; CREATE TABLE state (contract, key)",
    "a table with one column more": "ALTER TABLE blobs ADD COLUMN more",
    "no table": "DROP TABLE transactions",
    "a row of meta data": "INSERT INTO meta VALUES ('color', x'00')",
    "many rows of meta data": """
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        INSERT INTO meta SELECT 'extra ' || i, x'00' FROM n""",
    "the format of another version": "UPDATE meta SET value = x'00' WHERE name = 'format'",
    "a format that is text": "UPDATE meta SET value = 'bdn ledger 1' WHERE name = 'format'",
    "a genesis record that is a number": "UPDATE meta SET value = 7 WHERE name = 'genesis'",
}


@pytest.mark.parametrize("kind", FOREIGN, ids=str)
def test_a_file_with_anything_else_in_it_is_refused_in_one_line(stored: Path, kind: str) -> None:
    """The schema is compared before anything is read, so no query of a stranger ever runs."""
    with closing(sqlite3.connect(stored)) as db:
        db.executescript(FOREIGN[kind])
    with pytest.raises(LedgerError) as caught:
        verify(stored)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("column", [
    "blobs.chunks", "blobs.size", "blobs.root", "transactions.envelope", "transactions.receipt",
    "blocks.header", "blocks.seal", "state.value", "state.key", "state.contract",
    "transactions.position", "state.height"])
@pytest.mark.parametrize("value", [1 << 40, -1, 1.5, "text", "\x00", b"", b"\x81"], ids=repr)
def test_a_value_of_any_type_in_any_column_fails_and_is_placed(
    stored: Path, column: str, value: Any
) -> None:
    """SQLite stores what it is given, whatever the table's declaration says."""
    table, name = column.split(".")
    with closing(sqlite3.connect(stored)) as db:
        db.execute(f"UPDATE OR REPLACE {table} SET {name} = ?", (value,))
        db.commit()
    with pytest.raises(LedgerError) as caught:
        verify(stored)
    assert len(str(caught.value)) < 400
    with Store.open(stored, read_only=True) as store:
        for read in (store.state, lambda: store.block(2), lambda: store.receipts(2),
                     lambda: [store.blob_shape(root) for root in store.blob_roots()],
                     lambda: [store.blob(root) for root in store.blob_roots()],
                     lambda: verify_ledger(store)):
            with suppress(LedgerError, MissingError, MerkleError):
                read()


def test_a_running_ledger_verifies_up_to_its_head(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """Blocks that another connection adds while the verifier reads are not seen by it."""
    chain = make_chain(tmp_path / "ledger.sqlite")
    chain.add([chain.note(0, "a", b"one")])
    heard: list[int] = []

    def add_meanwhile(header: Header) -> None:
        heard.append(header.height)
        chain.add([chain.note(0, "a", b"text %d" % header.height)])

    verify(tmp_path / "ledger.sqlite", progress=add_meanwhile)
    assert heard == [0, 1]
    assert chain.ledger.height == 3
    verify(tmp_path / "ledger.sqlite")
    chain.ledger.close()


@pytest.mark.parametrize("field", ["state_root", "receipts_root", "transactions_root"])
def test_a_lying_quorum_is_found_out(chain: Any, field: str) -> None:
    """Seals are not believed either; a sealed block with a wrong root is named."""
    candidate = chain.propose([chain.note(0, "a", b"one")])
    header = replace(candidate.block.header, **{field: bytes(32)})
    block = replace(candidate.block, header=header)
    seal = chain.sign_seal(header_digest(header), 1)
    chain.ledger.store.append(block, seal, candidate.receipts, candidate.writes)
    with pytest.raises(LedgerError) as caught:
        verify_ledger(chain.ledger.store)
    expected = "transactions" if field == "transactions_root" else f"header, {field}"
    assert caught.value.place == f"block 1, {expected}"


def test_a_sealed_block_of_an_invalid_kind_is_found_out(chain: Any) -> None:
    """What no honest edge would seal does not verify, though a quorum sealed it."""
    first = chain.note(0, "a", b"one")
    chain.add([first])
    good = chain.propose([], epoch=2)
    for block in (
        replace(good.block, header=replace(good.block.header, kind="candidate")),
        replace(good.block, transactions=(first,), header=replace(
            good.block.header, transactions_root=compute_transactions_root([first]))),
    ):
        seal = chain.sign_seal(block.digest, 2)
        chain.ledger.store.rollback(1)
        receipts = chain.ledger.store.receipts(1)[:len(block.transactions)]
        chain.ledger.store.append(block, seal, receipts, good.writes)
        with pytest.raises(LedgerError) as caught:
            verify_ledger(chain.ledger.store)
        assert caught.value.place == "block 2"


@pytest.mark.parametrize("field", ["state_root", "receipts_root", "transactions_root", "time",
                                   "generation_rate", "proposer", "epoch"])
def test_a_genesis_header_is_bound_on_its_own(make_chain: Callable[..., Any], field: str) -> None:
    """Block 0 has no seal and, alone, no successor; each field is recomputed."""
    chain = make_chain()
    header = chain.ledger.head
    value = bytes(20) if field == "proposer" else bytes(32) if field.endswith("root") else 7
    wrong = encode_header(replace(header, **{field: value}))
    chain.ledger.store._db.execute("UPDATE blocks SET header = ?", (wrong,))
    with pytest.raises(LedgerError) as caught:
        verify_ledger(chain.ledger.store)
    assert caught.value.place.startswith("block 0, header")


def test_a_shortened_chain_verifies_as_what_it_is(stored: Path) -> None:
    """A prefix of a chain is a chain: only a trusted head could tell that the end is cut off."""
    db = sqlite3.connect(stored, isolation_level=None)
    for table in ("blocks", "transactions", "state"):
        db.execute(f"DELETE FROM {table} WHERE height > 2")
    db.close()
    verify(stored)
