"""Somebody with write access to a stored ledger changes a byte."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bdn.chain import LedgerError
from bdn.experiments.folder import RunFolder
from bdn.experiments.lab.finding import POISONING, Experiment, Finding
from bdn.experiments.lab.hands import small_run
from bdn.experiments.run import opened_run
from bdn.experiments.verification import verify_run

GROUP = "the stored ledger"

TARGETS = {
    "a header": ("blocks", "header", "height = 4"),
    "a seal": ("blocks", "seal", "height = 4"),
    "a device's update transaction": ("transactions", "envelope", "height = 4 AND position = 0"),
    "Tx_co": ("transactions", "envelope", "height = 4 ORDER BY position DESC"),
    "a receipt": ("transactions", "receipt", "height = 4 AND position = 0"),
    "a sealed update's blob": ("blobs", "data", "LENGTH(data) > 100000"),
    "a cell of contract state": ("state", "value", "height = 4 AND LENGTH(value) > 8"),
    "the last block's header": ("blocks", "header", "1 ORDER BY height DESC"),
}
"""What is changed: table, column, and which row (the first one)."""


def tampered_ledger(key_bits: int) -> Finding:
    """Somebody changes one byte of a finished run's ledger file."""
    with TemporaryDirectory() as place:
        config = small_run(key_bits)
        folder = RunFolder.create(Path(place) / "run", config)
        with opened_run(config, folder) as run:
            run.runner.run(run.is_over)
        path = folder.ledger(0)
        height = verify_run(path)
        found = {what: _verdict(path, Path(place) / "copy.sqlite", table, column, where)
                 for what, (table, column, where) in TARGETS.items()}
    named = {what: text for what, text in found.items() if text.startswith("block ")}
    return Finding(
        tried=f"The middle byte of {len(TARGETS)} stored values is flipped, each in a copy of its "
              "own, and the ledger is recomputed as bdn verify does.",
        happened=(
            f"Control, untouched: all {height} blocks verify.",
            *(f"{what[0].upper()}{what[1:]}: {text or 'NOT NOTICED'}."
              for what, text in found.items()),
        ),
        claimed="Section 1: the immutable distributed ledger prevents malicious tampering, which "
                "responds very well to data poisoning attacks; Table 1, data poisoning.",
        not_covered="A ledger that a quorum of edge servers writes anew from genesis on verifies; "
                    "whoever has kept a header of the old one holds the evidence.",
        held=len(named) == len(TARGETS),
    )


def _verdict(path: Path, copy: Path, table: str, column: str, where: str) -> str:
    """What recomputing says of a copy of ``path`` with one byte flipped; "" for nothing."""
    shutil.copy(path, copy)
    with closing(sqlite3.connect(copy)) as database, database:
        keys = {"blocks": "height", "transactions": "height, position", "blobs": "root",
                "state": "contract, key, height"}[table].split(", ")
        query = f"SELECT {', '.join(keys)}, {column} FROM {table} WHERE {where} LIMIT 1"  # noqa: S608 - from the table above
        *name, value = database.execute(query).fetchone()
        changed = bytearray(value)
        changed[len(changed) // 2] ^= 1
        here = " AND ".join(f"{key} = ?" for key in keys)
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {here}",  # noqa: S608 - as above
                         (bytes(changed), *name))
    try:
        verify_run(copy)
    except LedgerError as error:
        return str(error)
    return ""


EXPERIMENTS = (Experiment("tampered-ledger", GROUP, POISONING, tampered_ledger),)
