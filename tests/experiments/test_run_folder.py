"""The run folder: deterministic ledgers, tampering, interruption and resumption."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import LedgerError, StoreError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NodeStore, RunFolder
from bdn.experiments.run import Run, opened_run
from bdn.experiments.setup import make_cluster, with_sealed_blocks
from bdn.experiments.verification import verify_run
from bdn.paillier import PublicKey
from bdn.paillier.norm_proof import protocol
from bdn.pbft.journal import Executed, decode_journal
from bdn.pbft.replica import Replica

Tiny = Callable[..., RunConfig]
OPTIONS = ["--devices", "4", "--threshold", "2", "--epochs", "3", "--iterations", "3",
           "--batch-size", "16", "--samples", "40", "--key-bits", "512", "--seed", "3",
           "--model", "softmax"]


def dump(path: Path) -> str:
    """A database as SQL text: equal text is equal content, whatever the pages look like."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return "\n".join(database.iterdump())


def test_a_finished_run_verifies(finished: Run, ledger_file: Path) -> None:
    assert verify_run(ledger_file) == finished.edges[0].ledger.height


def test_deterministic_runs_give_byte_equal_ledgers(
    finished: Run, ledger_file: Path, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny()
    with opened_run(config, RunFolder.create(tmp_path / "again", config)) as run:
        run.complete()
    assert dump(tmp_path / "again" / "ledger.sqlite") == dump(ledger_file)


def test_the_norm_proofs_of_an_epoch_are_verified_together(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One equation for the commitments of all devices, and then none for any of them."""
    config = tiny(norm_bound=1.0, epochs=2)
    with opened_run(config, RunFolder.create(tmp_path / "run", config)) as run:
        run.complete()
    counts, opens = [], protocol._commitments_open

    def counted(key: PublicKey, opened: Sequence[Any], tau: Sequence[int]) -> bool:
        counts.append(len(opened))
        return opens(key, opened, tau)

    monkeypatch.setattr(protocol, "_commitments_open", counted)
    protocol.forget_relations()
    verify_run(tmp_path / "run" / "ledger.sqlite")
    assert counts == [4] * len(counts)
    assert len(counts) >= 2, "each epoch has proofs"


def test_other_seeds_give_other_ledgers(finished: Run, tiny: Tiny) -> None:
    """Negative control of the test above."""
    with opened_run(tiny(seed=4, epochs=1)) as run:
        assert run.material.block.digest != finished.material.block.digest


# --- tampering ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def columns(ledger_file: Path) -> list[tuple[str, str]]:
    """Every (table, column) of the ledger that holds bytes."""
    found = []
    with closing(sqlite3.connect(f"file:{ledger_file}?mode=ro", uri=True)) as database:
        tables = [row[0] for row in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})"):
                kinds = database.execute(
                    f"SELECT DISTINCT typeof({column}) FROM {table}").fetchall()
                if ("blob",) in kinds:
                    found.append((table, column))
    assert found, "a ledger stores bytes"
    return found


@given(data=st.data())
def test_any_flipped_byte_fails_verification_and_is_named(
    data: st.DataObject, ledger_file: Path, columns: list[tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Blocks, seals, receipts, blobs and state; any position, any other value."""
    table, column = data.draw(st.sampled_from(columns), label="where")
    copy = tmp_path_factory.mktemp("flip") / "ledger.sqlite"
    with closing(sqlite3.connect(copy)) as database, database:
        with closing(sqlite3.connect(f"file:{ledger_file}?mode=ro", uri=True)) as original:
            original.backup(database)
        values = [row[0] for row in database.execute(
            f"SELECT DISTINCT {column} FROM {table} WHERE length({column}) > 0 "
            f"AND typeof({column}) = 'blob' ORDER BY 1")]
        value = data.draw(st.sampled_from(values), label="cell")
        position = data.draw(st.integers(0, len(value) - 1), label="position")
        flip = data.draw(st.integers(1, 255), label="flip")
        changed = bytearray(value)
        changed[position] ^= flip
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                         (bytes(changed), value))
    with pytest.raises((LedgerError, StoreError)) as caught:
        verify_run(copy)
    if isinstance(caught.value, LedgerError):
        assert caught.value.place
    else:  # the file's own label: it is no ledger any more
        assert table == "meta"
    copy.unlink()


# --- interruption -------------------------------------------------------------------------------


def start(folder: Path) -> subprocess.Popen[bytes]:
    """``bdn run`` in a process of its own."""
    command = [sys.executable, "-m", "bdn", "run", *OPTIONS, "--out", str(folder)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def wait_for_height(folder: Path, height: int, process: subprocess.Popen[bytes]) -> None:
    """Until the ledger in ``folder`` has a block ``height``, or the process has ended."""
    while process.poll() is None:
        time.sleep(0.02)
        path = folder / "ledger.sqlite"
        if not path.exists():
            continue
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                row = database.execute("SELECT max(height) FROM blocks").fetchone()
        except sqlite3.OperationalError:
            continue
        if row and row[0] is not None and row[0] >= height:
            return


@pytest.fixture(scope="module")
def undisturbed_model(tiny: Tiny) -> np.ndarray:
    """The model of the same options, with other keys: data, batches and sums are the same."""
    with opened_run(tiny(epochs=3)) as run:
        run.complete()
        return run.devices[0].progress.w


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_run_verifies_and_resumes_to_the_same_model(
    how: signal.Signals, tmp_path: Path, undisturbed_model: np.ndarray
) -> None:
    """Nothing sealed is lost, and the end is the same."""
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_height(folder, 5, process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (130 if how is signal.SIGINT else -9), errors.decode()
    assert b"Traceback" not in errors
    height = verify_run(folder / "ledger.sqlite")
    assert height >= 5

    config = RunFolder.open(folder).config
    with opened_run(config, RunFolder.open(folder)) as run:
        assert run.edges[0].ledger.height >= height
        run.complete()
        assert np.array_equal(run.devices[0].progress.w, undisturbed_model)
    assert verify_run(folder / "ledger.sqlite") > height
    saved = np.load(folder / "model.npz")
    assert np.array_equal(saved["w_last"], undisturbed_model)


def test_secrets_are_readable_by_their_owner_alone(finished: Run) -> None:
    assert finished.folder is not None
    assert (finished.folder.path / "nodes.sqlite").stat().st_mode & 0o077 == 0


def test_a_slot_keeps_the_last_record_only(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "nodes.sqlite")
    store.append("a", b"1", "model")
    store.append("a", b"promise")
    store.append("b", b"2", "model")
    store.append("a", b"3", "model")
    assert store.journal("a") == [b"promise", b"3"]
    assert store.journal("b") == [b"2"]
    store.close()


def test_a_ledger_ahead_of_its_journal_goes_on_from_the_ledger(tiny: Tiny) -> None:
    """A lone edge server that dies right after the ledger's commit has written no vote of it."""
    with opened_run(tiny()) as run:
        run.runner.run(lambda: run.edges[0].ledger.height == 3)
        edge, journal = run.edges[0], list(run.store.journal("edge-0"))
        executed = [at for at, data in enumerate(journal)
                    if isinstance(decode_journal(data), Executed)]
        whole = with_sealed_blocks(journal[: executed[1] + 1], edge.ledger)
        last = decode_journal(whole[-1])
        assert isinstance(last, Executed)
        assert last.seal == edge.ledger.store.seal(3)
        replica = Replica(0, make_cluster(run.material.common), run.material.edges[0],
                          edge.application, whole)
        assert replica.executed == 3
