"""Feed changed bytes to everything that decodes a message or reads a file, and look for accidents.

    python tests/fuzz/fuzz.py --cases 200000          CI's large mode
    python tests/fuzz/fuzz.py --only ledger --case 17    one case again, as a finding names it

A small real run in a temporary folder gives the good bytes: every message that its nodes exchanged,
its ledger, journals and files. A case takes good bytes of a target and changes them, most often by
structure: CBOR, JSON and SQLite values are decoded (those nested in byte strings too), one value in
them is replaced, doubled, removed or moved, and all is encoded again; otherwise bytes are flipped,
cut or inserted. The target may accept the result or refuse it with a `BdnError`. Anything else is a
finding: another exception, more CPU time than `SECONDS`, more memory than `MEGABYTES`, an error
message that is longer than `MESSAGE` or cannot be printed.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import cbor2

from bdn import chain, cli, encoding
from bdn.chain import contracts
from bdn.errors import BdnError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import Run, opened_run
from bdn.nodes import messages
from bdn.nodes.device import journal
from bdn.nodes.events import Received
from bdn.paillier import PublicKey
from bdn.paillier.storage import lock_share, unlock_share
from bdn.pbft import journal as pbft_journal
from bdn.pbft import wire
from bdn.pbft.simulator.scenario import parse_scenario

SECONDS = 5.0
"""CPU time of one case. Most take less than a millisecond; a command line may take a second."""

MEGABYTES = 400
"""By how much one case may raise the process's highest memory use."""

MESSAGE = 4000
"""Characters of an error message. Good ones are shorter; this is for those that quote a reason."""

Rng = random.Random


# --- changing values ----------------------------------------------------------------------------

INTEGERS = (0, 1, -1, 23, 24, 255, 256, 1 << 16, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1, 1 << 64, -(1 << 64), 1 << 256, 10 ** 4299, 10 ** 4301, 1 << 20_000,
            -(1 << 20_000))
TEXTS = ("", "\0", "\x1b[2J", "\u202e", "[red]", "x" * 5000, "é" * 300, "NaN", "1e999", "../..")
BYTES = (b"", b"\0", bytes(31), bytes(32), bytes(33), b"\xff" * 2000, bytes(70_000), b"\x9f",
         b"\xd8\x1c\x81\xd8\x1d\x00")
OTHERS = (None, True, False, 1.5, [], {}, [[]], {"": None}, cbor2.CBORTag(28, [0]),
          cbor2.CBORTag(2, b"\0" * 9), cbor2.undefined)


def changed_bytes(rng: Rng, data: bytes) -> bytes:
    """Flip, insert, remove, repeat or overwrite some bytes."""
    if not data:
        return rng.randbytes(rng.randrange(1, 40))
    at = rng.randrange(len(data))
    match rng.randrange(7):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:]
        case 1:
            return data[:at] + rng.randbytes(1 << rng.randrange(5)) + data[at:]
        case 2:
            return data[:at] + data[at + (1 << rng.randrange(8)):]
        case 3:
            return data[:at]
        case 4:
            return data[:at] + bytes(min(len(data) - at, 1 << rng.randrange(12)))
        case 5:
            return data + data[at:] * rng.randrange(1, 4)
        case _:
            head = rng.choice((b"\x9b\x7f" + b"\xff" * 7, b"\x5a\xff\xff\xff\xff", b"\x81" * 300,
                               b"\xbb" + b"\0" * 8, b"\xfb" + b"\xff" * 8, b"\xc2\x59\x08\x00"))
            return data[:at] + head + data[at + len(head):]


def other_value(rng: Rng, value: Any) -> Any:
    """A value in the place of ``value``: most often of its type, at an edge of its range."""
    if rng.random() < 0.15:
        return rng.choice((*INTEGERS, *TEXTS, *BYTES, *OTHERS))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = (value + 1, value - 1, -value, value * 2, value ^ 1 << rng.randrange(64))
        return rng.choice((*INTEGERS, *near))
    if isinstance(value, str):
        return rng.choice((*TEXTS, value[:-1], value + "x", value * 2, value.upper()))
    if isinstance(value, bytes):
        return rng.choice((*BYTES, changed_bytes(rng, value), changed_bytes(rng, value)))
    return rng.choice(OTHERS)


def changed_value(rng: Rng, value: Any, depth: int = 0) -> Any:
    """``value`` with one thing changed, somewhere inside."""
    if isinstance(value, bytes) and rng.random() < 0.5:
        with contextlib.suppress(Exception):  # whatever is no CBOR is changed as bytes
            inner = cbor2.loads(value)
            if isinstance(inner, (list, dict)):
                return cbor2.dumps(changed_value(rng, inner, depth + 1), canonical=True)
    if not isinstance(value, (list, dict)) or not value or rng.random() < 0.05:
        return other_value(rng, value)
    if isinstance(value, list):
        items = list(value)
        i = rng.randrange(len(items))
        match rng.randrange(8):
            case 0:
                del items[i]
            case 1:
                items[i:i] = [items[i]] * rng.choice((1, 2, 5, 100))
            case 2:
                j = rng.randrange(len(items))
                items[i], items[j] = items[j], items[i]
            case _:
                items[i] = changed_value(rng, items[i], depth + 1)
        return items
    entries = dict(value)
    key = rng.choice(list(entries))
    match rng.randrange(10):
        case 0:
            del entries[key]
        case 1:
            entries[other_value(rng, key) if rng.random() < 0.5 else "more"] = entries[key]
        case 2:
            entries[key] = entries[rng.choice(list(entries))]
        case _:
            entries[key] = changed_value(rng, entries[key], depth + 1)
    return entries


def changed_cbor(rng: Rng, data: bytes) -> bytes:
    """CBOR that is wrong in its structure, or bytes that are wrong anywhere."""
    if rng.random() < 0.7:
        with contextlib.suppress(Exception):  # some wrong values have no encoding
            return cbor2.dumps(changed_value(rng, cbor2.loads(data)), canonical=True)
    return changed_bytes(rng, data)


def changed_json(rng: Rng, data: bytes) -> bytes:
    """JSON that is wrong in its structure, or text that is wrong anywhere; line by line too."""
    lines = data.splitlines(keepends=True)
    if rng.random() < 0.8 and lines:
        i = rng.randrange(len(lines))
        with contextlib.suppress(Exception):  # a document of several lines, or a value of CBOR only
            lines[i] = json.dumps(changed_value(rng, json.loads(lines[i]))).encode() + b"\n"
            return b"".join(lines)
        with contextlib.suppress(Exception):
            return json.dumps(changed_value(rng, json.loads(data))).encode()
    if rng.random() < 0.1:
        return rng.choice((b"", b"\xef\xbb\xbf" + data, b"[" * 100_000, b'{"a":' * 50_000, b"null",
                           data.decode(errors="replace").encode("utf-16"), b"\xff" * 100))
    return changed_bytes(rng, data)


def change_database(rng: Rng, path: Path) -> None:
    """A value, a row, a table or a byte of an SQLite file becomes wrong."""
    if rng.random() < 0.3:
        path.write_bytes(changed_bytes(rng, path.read_bytes()))
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        catalogue = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in catalogue]
        table = rng.choice(tables)
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
        if not rows or rng.random() < 0.15:
            statement = rng.choice((
                f"DROP TABLE {table}", f"DELETE FROM {table}",
                f"ALTER TABLE {table} ADD COLUMN more",
                "CREATE TABLE more (a)", "CREATE VIEW more AS SELECT 1",
                f"CREATE TRIGGER late AFTER INSERT ON {table} BEGIN SELECT 1; END"))
            db.execute(statement)
            return
        row, i = rng.choice(rows), rng.randrange(len(columns))
        value = row[i]
        if isinstance(value, bytes) and rng.random() < 0.7:
            value = changed_cbor(rng, value)
        else:
            value = other_value(rng, value)
        if not isinstance(value, (int, str, bytes, float, type(None))) or (
            isinstance(value, int) and abs(value) >= 1 << 63
        ):
            value = rng.choice((1 << 40, -1, "text", 1.5, b"\x81"))
        where = " AND ".join(f"{column} IS ?" for column in columns)
        with contextlib.suppress(sqlite3.Error):  # NOT NULL, or a key that is there already
            db.execute(f"UPDATE {table} SET {columns[i]} = ? WHERE {where}", (value, *row))


# --- what is fuzzed -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Something that reads what came from outside.

    Attributes:
        name: what it is called on the command line.
        seeds: good inputs.
        read: takes changed bytes; raises a `BdnError` where they are wrong.
        change: how an input is changed.
        share: cases of this target among all, relative to the others'.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes, Rng], Any]
    change: Callable[[Rng, bytes], bytes] = changed_cbor
    share: float = 10.0


class StopHere(Exception):  # noqa: N818 - no error: the run has come far enough
    """A run is left in the middle, with nodes that have work to do."""


@dataclass
class Materials:
    """A finished run in a folder, two that were left in the middle, and what nodes were sent.

    A node takes any exception from a peer's input as the peer's fault and traces it; those that are
    no `BdnError` are the ``accidents``.
    """

    folder: Path
    half: Path
    middle: Run
    frames: dict[str, list[bytes]]
    accidents: list[str]
    files: Path


TINY = {"devices": 4, "threshold": 2, "epochs": 1, "iterations": 1, "batch_size": 16,
        "samples": 20, "key_bits": 512, "deterministic": True, "seed": 3}


@contextlib.contextmanager
def materials(folder: Path) -> Iterator[Materials]:
    """Make the runs; the one that was left in the middle is open as long as the body lasts."""
    config = RunConfig(**TINY)
    frames: dict[str, list[bytes]] = {"edge-0": [], "device-1": []}
    with opened_run(config, RunFolder.create(folder / "run", config)) as whole:
        steps = _record(whole, frames, most=1 << 30)
    accidents: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        if "traceback" in event:
            accidents.append(event["traceback"])

    with opened_run(config, RunFolder.create(folder / "half", config)) as half:
        _record(half, frames, most=steps // 2)
    with opened_run(config, listen=listen) as middle:
        _record(middle, frames, most=steps * 2 // 3)
        yield Materials(folder / "run", folder / "half", middle, frames, accidents, folder)


def _record(run: Run, frames: dict[str, list[bytes]], most: int) -> int:
    """Let the run take ``most`` steps or end; keep what its first two nodes receive."""
    taken = 0

    def listening(step: Any) -> Any:
        def listen(node: Any, event: Any, now_ms: int) -> Any:
            nonlocal taken
            taken += 1
            if taken > most:
                raise StopHere
            if isinstance(event, Received) and node.name in frames:
                frames[node.name].append(event.data)
            return step(node, event, now_ms)
        return listen

    with contextlib.ExitStack() as stack:
        for cls in (type(run.edges[0]), type(run.devices[0])):
            stack.enter_context(mock.patch.object(cls, "step", listening(cls.step)))
        with contextlib.suppress(StopHere):
            run.complete()
    return taken


def targets(made: Materials) -> list[Target]:
    """Everything that decodes or reads."""
    store = made.middle.edges[0].ledger.store
    heights = range(store.height() + 1)
    blocks = [store.block(height) for height in heights]
    envelopes = [chain.encode_envelope(e) for block in blocks for e in block.envelopes]
    blobs = [store.blob(root) for root in store.blob_roots()]
    frames = [frame for frames in made.frames.values() for frame in frames]
    consensus = [m.data for m in map(messages.decode_message, frames)
                 if isinstance(m, messages.Consensus)]
    records = [record for device in made.middle.devices
               for record in made.middle.store.journal(device.name)]
    edges = [record for edge in made.middle.edges
             for record in made.middle.store.journal(edge.name)]

    def verify_proof(proof: chain.InclusionProof) -> None:
        chain.verify_inclusion(proof, store.header(proof.height))

    found = [
        Target("cbor", [chain.encode_genesis(store.genesis()), *envelopes[:50]],
               lambda data, _: encoding.decode(data)),
        Target("header", [chain.encode_header(store.header(h)) for h in heights],
               lambda data, _: chain.decode_header(data)),
        Target("block", [chain.encode_block(block) for block in blocks],
               lambda data, _: chain.decode_block(data)),
        Target("envelope", envelopes, lambda data, _: chain.decode_envelope(data)),
        Target("receipt", [chain.encode_receipt(r) for h in heights for r in store.receipts(h)],
               lambda data, _: chain.decode_receipt(data)),
        Target("genesis", [chain.encode_genesis(store.genesis())],
               lambda data, _: chain.decode_genesis(data), share=4),
        Target("seal", [chain.encode_seal(store.seal(h)) for h in heights if h],
               lambda data, _: chain.decode_seal(data)),
        Target("proof", [chain.encode_proof(made.middle.edges[0].ledger.proof(h, 0))
                         for h in heights if blocks[h].envelopes],
               lambda data, _: verify_proof(chain.decode_proof(data))),
        Target("blob", blobs, lambda data, _: chain.unpack_blob(data)),
        Target("message", frames, lambda data, _: messages.decode_message(data), share=30),
        Target("pbft", consensus, lambda data, _: wire.decode_message(data), share=30),
        Target("edge", made.frames["edge-0"], _node(made, made.middle.edges[0]), share=30),
        Target("device", made.frames["device-1"], _node(made, made.middle.devices[0]), share=15),
        Target("device-journal", records, lambda data, _: journal.decode(data)),
        Target("edge-journal", edges, lambda data, _: pbft_journal.decode_journal(data)),
        Target("scenario", [path.read_bytes() for path in sorted(
            (Path(__file__).parents[1] / "pbft" / "scenarios").rglob("*.json"))],
            _scenario, changed_json, share=5),
        Target("contract", [source.encode() for _, source in store.genesis().contracts],
               _contract, changed_bytes, share=1),
        *_paillier_targets(made),
        *_file_targets(made),
    ]
    return [target for target in found if target.seeds]


class AccidentError(Exception):
    """What a node met was no expected error."""


def _node(made: Materials, node: Any) -> Callable[[bytes, Rng], None]:
    """Let a node receive what is no good message, from anybody."""
    def receive(data: bytes, rng: Rng) -> None:
        now = made.middle.material.genesis.time + 10_000
        node.step(Received(rng.choice(("edge-0", "edge-1", "device-1", "stranger")), data), now)
        if made.accidents:
            raise AccidentError(made.accidents.pop())
    return receive


def _scenario(data: bytes, _: Rng) -> None:
    parse_scenario(data.decode(errors="replace"))


def _contract(data: bytes, _: Rng) -> None:
    contracts.compile_contract(data.decode(errors="replace"), "fuzzed")


def _paillier_targets(made: Materials) -> list[Target]:
    """Keys, shares and sealed vectors, through the cipher of the run's first epoch."""
    ledger = made.middle.edges[0].ledger
    host = made.middle.edges[0].application.host
    found = [Target("public-key", [made.middle.material.public_key],
                    lambda data, _: PublicKey.from_bytes(data), share=5)]
    locked = lock_share(made.middle.material.shares[0], "correct horse", cost=1)
    found.append(Target("stored-share", [locked], lambda data, _: unlock_share(
        data, "correct horse"), share=0.5))
    cipher = host.ciphers.get(ledger.call("learning", "sealing_terms"), 1, "weights")
    named = {e.payload.root: type(e.payload).__name__ for height in range(ledger.height + 1)
             for e in ledger.store.block(height).envelopes if hasattr(e.payload, "root")}
    sealed = [ledger.blob(root) for root, kind in named.items() if kind == "UpdateTransaction"]
    sums = [ledger.blob(root) for root, kind in named.items() if kind == "AggregateTransaction"]

    def leaves(read: Callable[[list[bytes]], Any]) -> Callable[[bytes, Rng], Any]:
        return lambda data, _: read(chain.unpack_blob(data))

    return [*found, Target("sealed", sealed, leaves(cipher.sealed_from_leaves), changed_leaves),
            Target("sum", sums, leaves(cipher.sum_from_leaves), changed_leaves)]


def changed_leaves(rng: Rng, data: bytes) -> bytes:
    """A blob whose leaves are wrong: most often the last one, which says what the others are."""
    leaves = chain.unpack_blob(data)
    i = len(leaves) - 1 if rng.random() < 0.6 else rng.randrange(len(leaves))
    leaves[i] = rng.choice((
        changed_bytes(rng, leaves[i]), changed_bytes(rng, leaves[i]), bytes(1 << 20),
        b"\xff" * 2000, changed_cbor(rng, leaves[i])))
    if rng.random() < 0.1:
        leaves = leaves[:rng.randrange(len(leaves) + 1)]
    return chain.pack_blob(leaves)


# --- files --------------------------------------------------------------------------------------


def _file_targets(made: Materials) -> list[Target]:
    """A run folder with one wrong file, for every command that reads one."""
    run = made.folder
    found = []
    for name in ("config.json", "history.json", "trace.jsonl"):
        for command in ("show", "report", "resume"):
            if command == "resume" and name == "history.json":
                continue  # a run that is not finished has none
            found.append(Target(
                f"{command}:{name}", [(run / name).read_bytes()], _command(made, command, name),
                changed_json, share=0.05 if command == "resume" else 0.3))
    for name in sorted(path.name for path in run.glob("*.sqlite")):
        for command in ("show", "report", "verify", "resume"):
            if command == "resume" or name == "ledger.sqlite":
                found.append(Target(f"{command}:{name}", [b"-"],
                                    _damaged_database(made, command, name),
                                    lambda _, data: data,
                                    share=0.05 if command == "resume" else 0.3))
    return [*found, *_data_targets(made)]


def _command(made: Materials, command: str, name: str) -> Callable[[bytes, Rng], None]:
    def read(data: bytes, _: Rng) -> None:
        with _copy(made, command) as folder:
            (folder / name).write_bytes(data)
            run_command([command, str(folder)])
    return read


def _damaged_database(made: Materials, command: str, name: str) -> Callable[[bytes, Rng], None]:
    def read(_: bytes, rng: Rng) -> None:
        with _copy(made, command) as folder:
            change_database(rng, folder / name)
            run_command([command, str(folder)])
    return read


@contextlib.contextmanager
def _copy(made: Materials, command: str) -> Iterator[Path]:
    """A copy to be damaged: of the half run where it is to be resumed."""
    original = made.half if command == "resume" else made.folder
    with tempfile.TemporaryDirectory(dir=made.files) as place:
        yield Path(shutil.copytree(original, Path(place) / "run"))


def run_command(arguments: list[str]) -> None:
    """Run ``bdn`` in this process; its refusals are one line and status 1 or 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.invoke(arguments)
    assert status in (0, 1, 2), f"bdn {arguments[0]} ended with status {status}"
    if status:
        raise BdnError(err.getvalue().strip() or "refused")


def _data_targets(made: Materials) -> list[Target]:
    """Pictures and arrays; formats that need Pillow are left out where it is missing."""
    import numpy as np

    from bdn.learning.datasets.arrays import load_csv, load_npz
    from bdn.learning.datasets.idx import read_idx
    from bdn.learning.model_files import load_checkpoint

    def at(suffix: str, read: Callable[[Path], Any]) -> Callable[[bytes, Rng], Any]:
        path = made.files / f"fuzzed{suffix}"

        def from_file(data: bytes, _: Rng) -> None:
            path.write_bytes(data)
            read(path)
        return from_file

    pixels = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28)
    npz = io.BytesIO()
    np.savez(npz, x_train=pixels, y_train=np.arange(4), x_test=pixels, y_test=np.arange(4))
    idx = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape) + pixels.tobytes()
    table = b"label,a,b\n" + b"".join(b"%d,%d,1.5\n" % (i % 2, i) for i in range(20))
    found = [
        Target("idx", [idx], at("-idx3-ubyte", read_idx), changed_bytes, share=2),
        Target("npz", [npz.getvalue()], at(".npz", load_npz), changed_zip, share=1),
        Target("csv", [table], at(".csv", load_csv), changed_bytes, share=1),
    ]
    found.append(Target("model", [(made.folder / "model.npz").read_bytes()],
                        at(".npz", load_checkpoint), changed_zip, share=1))
    with contextlib.suppress(ImportError):
        from PIL import Image

        from bdn.learning.datasets.pictures import read_grey
        for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
            stream = io.BytesIO()
            Image.fromarray(pixels[0]).save(stream, kind)
            found.append(Target(f"picture-{kind}", [stream.getvalue()],
                                at(f".{kind.lower()}", read_grey), changed_bytes, share=0.5))
    return found


def changed_zip(rng: Rng, data: bytes) -> bytes:
    """An archive with one changed member, or a broken archive."""
    if rng.random() < 0.3:
        return changed_bytes(rng, data)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, changed_bytes(rng, member[:128]) + member[128:]
                         if name == chosen else member)
    return stream.getvalue()


# --- running ------------------------------------------------------------------------------------


class TooSlowError(Exception):
    """A case used more CPU time than it may."""


@dataclass
class Count:
    """What came of a target's cases."""

    cases: int = 0
    refused: int = 0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)


def _too_slow(*_: object) -> None:
    raise TooSlowError(f"more than {SECONDS} s of CPU time")


def run_case(target: Target, seed: int, case: int, count: Count) -> None:
    """Run one case; whatever is wrong with it goes to the findings."""
    rng = random.Random(f"{seed}/{target.name}/{case}")
    data = target.change(rng, rng.choice(target.seeds))
    if rng.random() < 0.2:
        data = changed_bytes(rng, data)
    before, peak = time.process_time(), _memory()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    problem = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data, rng)
    except BdnError as error:
        count.refused += 1
        text = str(error)
        if len(text) > MESSAGE or not text.replace("\n", " ").isprintable():
            problem = f"{type(error).__name__} of {len(text)} characters: {text[:300]!a}"
    except Exception:  # noqa: BLE001 - this is what is looked for
        problem = traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    count.cases += 1
    count.slowest = max(count.slowest, time.process_time() - before)
    if _memory() - peak > MEGABYTES:
        problem = f"{_memory() - peak} MB more memory\n{problem}"
    if problem:
        count.findings.append(f"--seed {seed} --only {target.name} --case {case}\n{problem}")


def _memory() -> int:
    """The process's highest memory use in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(found: Sequence[Target], cases: int, seed: int, say: Callable[[str], None]
        ) -> dict[str, Count]:
    """Run ``cases`` cases, spread over the targets by their shares; at least one each."""
    signal.signal(signal.SIGVTALRM, _too_slow)
    total = sum(target.share for target in found)
    counts = {}
    for target in found:
        count = counts[target.name] = Count()
        for case in range(max(1, round(cases * target.share / total))):
            run_case(target, seed, case, count)
            if len(count.findings) >= 20:
                break
        say(f"{target.name:24} {count.cases:7} cases, {count.refused:7} refused, slowest "
            f"{count.slowest * 1000:6.0f} ms, {len(count.findings)} findings")
    return counts


def main() -> int:
    """Fuzz from the command line; status 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="cases in all (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="other cases for another number")
    parser.add_argument("--only", nargs="+", default=[""], help="targets whose name begins so")
    parser.add_argument("--case", type=int, help="this one case of --only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bdn-fuzz-") as folder, materials(Path(folder)) as made:
        found = [target for target in targets(made)
                 if target.name.startswith(tuple(options.only))]
        if options.case is not None:
            signal.signal(signal.SIGVTALRM, _too_slow)
            counts = {target.name: Count() for target in found}
            for target in found:
                run_case(target, options.seed, options.case, counts[target.name])
        else:
            counts = run(found, options.cases, options.seed, print)
    findings = [finding for count in counts.values() for finding in count.findings]
    for finding in findings:
        print(f"\n{finding}")
    kinds = Counter(finding.rstrip().rsplit("\n", 1)[-1][:100] for finding in findings)
    for kind, number in kinds.most_common():
        print(f"{number:5} {kind}")
    print(f"{sum(count.cases for count in counts.values())} cases, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "100")
    sys.exit(main())
