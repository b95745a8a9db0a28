"""The stores: atomic per block, kill -9 safe, clear when the disk is not."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import (
    Ledger,
    LedgerError,
    MissingError,
    Store,
    StoreError,
    pack_blob,
    verify_ledger,
)
from bdn.chain.contracts import decode_value, storage_key

NOBODY = 65534


def test_a_ledger_reopens_where_it_stopped(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    """State, blocks, seals, receipts and blobs come back as they were."""
    path = tmp_path / "ledger.sqlite"
    chain = make_chain(path)
    chain.add_epoch(1)
    candidate = chain.add([chain.note(0, "a", b"one")], epoch=1)
    seal = chain.ledger.store.seal(2)
    chain.ledger.close()
    chain.ledger = Ledger.open(path)
    assert chain.ledger.head == candidate.block.header
    assert chain.ledger.state.root == candidate.state.root
    assert chain.ledger.store.block(2) == candidate.block
    assert chain.ledger.store.seal(2) == seal
    assert chain.ledger.store.receipts(2) == candidate.receipts
    chain.add([chain.note(0, "a", b"two")], epoch=1)
    verify_ledger(chain.ledger.store)
    chain.ledger.close()


def test_state_is_kept_by_height(chain: Any) -> None:
    """State by (contract, key, height): every past value can be shown."""
    for text in (b"one", b"two"):
        chain.add([chain.note(0, "a", text)])
    chain.add([])
    history = chain.ledger.store.history("learning", storage_key("notes", "a"))
    assert [(height, decode_value(value)) for height, value in history] == [(1, b"one"),
                                                                           (2, b"two")]


def test_what_is_missing_is_said(chain: Any) -> None:
    """A store names what it lacks."""
    store = chain.ledger.store
    for ask in (store.header, store.block, store.seal, store.raw):
        with pytest.raises(MissingError, match="there is no block 9"):
            ask(9)
    for ask in (store.blob, store.blob_shape):
        with pytest.raises(MissingError, match="there is no blob 00"):
            ask(bytes(32))
    assert store.blob_size(bytes(32)) is None
    with pytest.raises(MissingError):
        chain.ledger.proof(0, 99)


def test_what_no_ledger_can_hold_is_missing(chain: Any) -> None:
    """A peer may ask for any number of 64 bits; SQLite holds 63."""
    store = chain.ledger.store
    for number in (1 << 63, (1 << 64) - 1, -1, 1 << 200):
        for ask in (store.header, store.block, store.seal, store.raw):
            with pytest.raises(MissingError):
                ask(number)


def test_damaged_blobs_are_never_handed_out(chain: Any) -> None:
    """A blob is its root's, at every reading."""
    root = chain.ledger.put_blob(pack_blob([b"one", b"two"]))
    assert chain.ledger.blob(root) == pack_blob([b"one", b"two"])
    chain.ledger.store._blobs._held[root] = pack_blob([b"one", b"tow"])
    with pytest.raises(LedgerError, match="another Merkle root"):
        chain.ledger.blob(root)
    chain.ledger.store.drop_blobs([root])
    with pytest.raises(MissingError):
        chain.ledger.blob(root)


def test_other_files_are_refused(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    """A clear error instead of a strange one."""
    with pytest.raises(StoreError, match="there is no ledger at none"):
        Store.open(tmp_path / "none")
    (tmp_path / "text").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(LedgerError, match="not readable as a ledger"):
        Store.open(tmp_path / "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: it is no file"):
        Store.open(tmp_path / "folder")
    (tmp_path / "empty").touch()
    with pytest.raises(LedgerError, match="is missing"):
        Store.open(tmp_path / "empty")
    chain = make_chain(tmp_path / "full")
    chain.ledger.close()
    with pytest.raises(StoreError):
        Store.create(tmp_path / "no" / "such" / "folder", chain.genesis)


def test_a_damaged_state_is_noticed_at_opening(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """Resuming on a damaged state would only delay the failure."""
    chain = make_chain(tmp_path / "ledger")
    chain.add([chain.note(0, "a", b"one")])
    chain.ledger.close()
    db = sqlite3.connect(tmp_path / "ledger")
    db.execute("UPDATE state SET value = x'00' WHERE height = 1")
    db.commit()
    db.close()
    with pytest.raises(LedgerError, match="state after block 1"):
        Ledger.open(tmp_path / "ledger")


def test_a_ledger_is_made_whole_or_not_at_all(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """Killed while it makes the ledger, a run leaves none, and can begin again."""
    path = tmp_path / "ledger.sqlite"
    (tmp_path / "ledger.sqlite.new").write_bytes(b"what a killed attempt left")
    (tmp_path / "ledger.sqlite.new-wal").write_bytes(b"and this")
    chain = make_chain(path)
    assert sorted(file.name for file in tmp_path.iterdir() if ".new" in file.name) == []
    verify_ledger(chain.ledger.store)
    chain.ledger.close()
    with pytest.raises(StoreError, match="closed"):
        chain.ledger.store.height()


# --- when the disk is not as one would like -----------------------------------------------------


def test_a_full_disk_loses_nothing_sealed(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    """SQLITE_FULL gives a clear error; the chain is as before and goes on later."""
    chain = make_chain(tmp_path / "ledger")
    chain.add([chain.note(0, "a", b"one")])
    root = chain.ledger.state.root
    db = chain.ledger.store._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    big = chain.note(0, "b", bytes(50_000))
    block = chain.propose([big]).block
    with pytest.raises(StoreError, match="the disk is full"):
        chain.ledger.commit(block, chain.seal(block))
    assert (chain.ledger.height, chain.ledger.state.root) == (1, root)
    assert chain.ledger.store.height() == 1
    db.execute("PRAGMA max_page_count = 100000")
    chain.ledger.commit(block, chain.seal(block))
    verify_ledger(chain.ledger.store)
    chain.ledger.close()


def test_a_disk_that_fails_beneath_sqlite(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    """A file-size limit of the system, met in the middle of a block, loses nothing."""
    chain = make_chain(tmp_path / "ledger.sqlite")
    chain.add([chain.note(0, "a", b"one")])
    chain.ledger.close()
    script = textwrap.dedent("""
        import resource, signal, sys
        from bdn.chain import Store, StoreError, pack_blob
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store.open(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            store.put_blob(pack_blob([bytes(1_000_000)]))
        except StoreError as error:
            print("clear:", error)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "ledger.sqlite")],
                          capture_output=True, text=True, check=True)
    assert done.stdout.startswith("clear: the blobs in ")
    assert "the disk refuses files as large (ulimit -f)" in done.stdout
    assert list((tmp_path / "blobs").iterdir()) == []
    with Store.open(tmp_path / "ledger.sqlite") as store:
        verify_ledger(store)
        assert store.height() == 1


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[str], str]:
    """Run a script as a user for whom permissions count (root ignores them)."""
    if os.geteuid() != 0:
        drop = ""
    else:
        drop = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    for folder in (tmp_path, *tmp_path.parents):
        if os.geteuid() == 0 and folder.is_relative_to(tmp_path.parents[2]):
            folder.chmod(0o755)

    def run(script: str) -> str:
        # everything is imported before the rights are dropped: the interpreter may be root's alone
        text = "import sys, bdn.chain\nfrom bdn.chain import *\n" + drop + textwrap.dedent(script)
        done = subprocess.run([sys.executable, "-c", text, str(tmp_path / "ledger.sqlite")],
                              capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run


def test_a_read_only_folder_gives_a_clear_error(
    make_chain: Callable[..., Any], tmp_path: Path, as_nobody: Callable[[str], str]
) -> None:
    """Verifying works on a read-only medium; writing says what is wrong."""
    path = tmp_path / "ledger.sqlite"
    chain = make_chain(path)
    chain.add([chain.note(0, "a", b"one")])
    chain.ledger.close()
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        said = as_nobody("""
            with Store.open(sys.argv[1], read_only=True) as store:
                verify_ledger(store)
                print("verified", store.height())
            try:
                ledger = Ledger.open(sys.argv[1])
                ledger.put_blob(pack_blob([b"x"]))
                print("written")
            except StoreError as error:
                print("clear:", error)
        """)
    finally:
        tmp_path.chmod(0o755)
    first, second = said.splitlines()[:2]
    assert first == "verified 1", said
    assert second.startswith("clear: the "), said
    assert ": it cannot be " in second, said


def test_writing_through_a_read_only_store_is_refused(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """`bdn verify` and `bdn show` cannot change what they look at."""
    chain = make_chain(tmp_path / "ledger")
    chain.ledger.close()
    with Store.open(tmp_path / "ledger", read_only=True) as store, pytest.raises(
        StoreError, match="cannot be written"
    ):
        store.put_blob(pack_blob([b"x"]))


def test_two_writers_are_told(make_chain: Callable[..., Any], tmp_path: Path) -> None:
    """A second process that writes waits, then says so; the first loses nothing."""
    chain = make_chain(tmp_path / "ledger")
    other = Store.open(tmp_path / "ledger")
    other._db.execute("PRAGMA busy_timeout = 10")
    chain.ledger.store._db.execute("BEGIN IMMEDIATE")
    other.put_blob(pack_blob([b"x"]))
    with pytest.raises(StoreError, match="another process writes"):
        other.keep_blobs()
    chain.ledger.store._db.execute("ROLLBACK")
    other.keep_blobs()
    other.close()
    chain.ledger.close()


def test_a_failed_append_leaves_no_trace(chain: Any) -> None:
    """A block goes in whole or not at all."""
    candidate = chain.add([chain.note(0, "a", b"one")])
    before = chain.ledger.store.counts()
    with pytest.raises(StoreError, match="holds that already"):
        chain.ledger.store.append(candidate.block, None, candidate.receipts, candidate.writes)
    header = replace(candidate.block.header, height=2)
    with pytest.raises(ValueError, match="zip"):
        chain.ledger.store.append(replace(candidate.block, header=header), None, (), {})
    assert chain.ledger.store.counts() == before
    verify_ledger(chain.ledger.store)


# --- kill -9 ------------------------------------------------------------------------------------

def kill_while_writing(path: Path, after: float) -> int:
    """Let a process add blocks, kill it ``after`` seconds; returns the height that it had told."""
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ledger_writer.py")), str(path)],
        stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = int(child.stdout.readline())
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    child.wait()
    for line in child.stdout:
        if line.endswith("\n"):
            told = int(line)
    child.stdout.close()
    return told


def test_kill_9_at_random_instants_loses_nothing_sealed(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """`kill -9` at any point; what was told as stored is there, and all verifies.

    A handful of kills here; ``python tests/chain/ledger_writer.py --kills 100`` does many.
    """
    path = tmp_path / "ledger.sqlite"
    make_chain(path).ledger.close()
    rng = random.Random(9)
    height = 0
    for _ in range(4):
        told = kill_while_writing(path, rng.uniform(0.0, 0.15))
        with Store.open(path, read_only=True) as store:  # as `bdn verify` opens it
            assert store.height() >= told >= height
            verify_ledger(store)
            height = store.height()
    assert height > 0


@pytest.mark.parametrize("column", ["contract", "key", "value"])
@pytest.mark.parametrize("other", ["7", "1.5", "'text'", "'\N{PILE OF POO}'"])
def test_state_of_another_type_is_damage(
    make_chain: Callable[..., Any], tmp_path: Path, column: str, other: str
) -> None:
    """SQLite keeps any type in any column; whoever reads what a block wrote is told."""
    chain = make_chain(tmp_path / "ledger.sqlite")
    chain.add([chain.note(0, "a", b"one")])
    chain.ledger.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db, db:
        db.execute(f"UPDATE state SET {column} = {other} WHERE height = 1")
    with (Store.open(tmp_path / "ledger.sqlite", read_only=True) as store,
          pytest.raises(LedgerError, match="block 1, state")):
        store.writes(1)


def test_readers_of_a_ledger_that_has_ended_leave_nothing_beside_it(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """A reader cannot remove the files that write-ahead mode needs; an ended run needs none."""
    path = tmp_path / "ledger.sqlite"
    chain = make_chain(path)
    chain.add([chain.note(0, "a", b"one")])
    chain.ledger.store.leave_write_ahead()
    chain.ledger.close()
    with Store.open(path, read_only=True) as store:
        verify_ledger(store)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    chain.ledger = Ledger.open(path)
    chain.add([chain.note(0, "a", b"two")])
    with Store.open(path, read_only=True):
        chain.ledger.store.leave_write_ahead()  # in use: the mode stays, and nothing is lost
    chain.add([chain.note(0, "a", b"three")])
    verify_ledger(chain.ledger.store)
    chain.ledger.close()
