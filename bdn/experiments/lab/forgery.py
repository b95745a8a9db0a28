"""Transactions that are not what they say: forged, copied, replayed; strangers; false shares.

    δ_k    the update of device k        s_k    its samples        t    shares that open a sum
"""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bdn.chain import (
    CANDIDATE,
    AggregateTransaction,
    CallTransaction,
    Envelope,
    LedgerError,
    UpdateTransaction,
    blob_root,
    device_numbers,
    sign_transaction,
    unpack_blob,
)
from bdn.chain.blob_files import blobs_of
from bdn.experiments.folder import RunFolder
from bdn.experiments.lab.attackers import Adversary, Outsider, submission, submitted, wrapped
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.small_runs import (
    drive,
    hear,
    is_same,
    outcome,
    reasons,
    same_model,
    small_run,
)
from bdn.experiments.run import Run, opened_run
from bdn.experiments.setup import EdgeClasses
from bdn.experiments.verification import verify_run
from bdn.identity import Identity
from bdn.nodes.device.opening import make_share
from bdn.nodes.events import Compute, Effect, Send
from bdn.nodes.messages import Submit
from bdn.nodes.vector_host import VectorHost
from bdn.paillier import KeyShare, VectorCipher
from bdn.randomness import Randomness, SeededRandomness
from bdn.runfolder.findings import POISONING, Finding

GROUP = "forged and replayed"
CLAIMED = ("Table 1, data poisoning: each entity communicates securely by transactions of the "
           "blockchain; Algorithm 2, lines 14–17: the mining contract verifies each update.")
THIEF = "device-4"
FALSE_KEY = bytes(31) + b"\x09"
"""An X25519 key that no device made."""


# --- forged -------------------------------------------------------------------------------------


def forged_transaction(key_bits: int) -> Finding:
    """Updates under another's name, by a stranger, and with another device's ciphertexts."""
    with opened_run(small_run(key_bits)) as run:
        stranger = Identity.generate(SeededRandomness(99))
        mallory = Outsider([])
        _when_first_updates(run, 0, lambda message, envelope: _send(run, mallory, [
            _changed(run, stranger, message, envelope),
            _as_stranger(run, stranger, message, envelope),
        ]))
        run.runner.run(run.is_over)
        said, same = mallory.refusals, same_model(run)
    copied, refused = _copy(key_bits, verified=True)
    unverified, _ = _copy(key_bits, verified=False)
    return Finding(
        tried="A stranger changes s_1 in device 1's transaction and leaves its signature; sends "
              "device 1's ciphertexts under a key of its own; and device 4, a registered one, "
              "sends device 1's ciphertexts as its own update.",
        happened=(
            f"The stranger's two: {'; '.join(said) or 'no refusal'}.",
            f"The model is {is_same(same)} as without the stranger.",
            (f"The copied ciphertexts: {refused or 'no refusal'}; contributors "
             f"{', '.join(copied)}."),
            ("Control, edge servers that do not check the proof of plaintext knowledge: the copy "
             f"is in the sum; contributors {', '.join(unverified)}."),
        ),
        claimed=CLAIMED,
        not_covered="A stolen identity signs as its owner does. Devices are registered in "
                    "genesis; who may be registered is not the chain's question.",
        held=len(said) == 2 and same and "proof" in refused
        and THIEF not in copied and THIEF in unverified,
    )


def _when_first_updates(
    run: Run, position: int, action: Callable[[Submit, Envelope], None]
) -> None:
    """Do ``action`` once, as soon as a device sends its first update."""
    done: list[bool] = []

    def change(effect: Effect) -> list[Effect]:
        found = submitted(effect)
        if found is not None and not done:
            done.append(True)
            action(*found)
        return [effect]

    run.runner.add(Adversary(run.devices[position], change=change))


def _send(run: Run, mallory: Outsider, messages: Sequence[bytes]) -> None:
    """Let the outsider send ``messages`` to an edge server, at once."""
    mallory.sends = [Send("edge-1", message) for message in messages]
    run.runner.at(run.runner.now_ms, lambda: run.runner.add(mallory))


def _changed(run: Run, sender: Identity, message: Submit, envelope: Envelope) -> bytes:
    """The transaction with ten times the samples, under its old signature."""
    assert isinstance(envelope.payload, UpdateTransaction)
    more = replace(envelope.payload, sample_count=10 * envelope.payload.sample_count)
    return wrapped(run, sender, replace(envelope, payload=more), message.blobs)


def _as_stranger(run: Run, sender: Identity, message: Submit, envelope: Envelope) -> bytes:
    """The same payload under a key that no device has."""
    return submission(run, sender, 0, envelope.payload, message.blobs)


def _copy(key_bits: int, verified: bool) -> tuple[list[str], str]:
    """A device sends device 1's ciphertexts: the first aggregate's contributors, the refusal.

    Without ``verified``, the edge servers check neither form nor proof of an update.
    """
    classes = EdgeClasses() if verified else EdgeClasses(host=_Careless)
    with opened_run(small_run(key_bits), edge_classes=classes) as run:
        stolen: list[Submit] = []
        _when_first_updates(run, 0, lambda message, _: stolen.append(message))

        def change(effect: Effect) -> list[Effect]:
            found = submitted(effect)
            if found is None or not stolen or not isinstance(effect, Send):
                return [effect]
            blob, payload = stolen[0].blobs[0], found[1].payload
            assert isinstance(payload, UpdateTransaction)
            copy = replace(payload, root=blob_root(blob), chunks=len(unpack_blob(blob)),
                           size=len(blob))
            return [Send(effect.target, submission(
                run, run.material.devices[3], found[1].nonce, copy, [blob]))]

        run.runner.add(Adversary(run.devices[3], change=change))
        refused = hear(run, "refused", "transaction-refused")
        ledger = run.edges[0].ledger
        drive(run, lambda: ledger.head.kind == CANDIDATE)
        block, said = ledger.store.block(ledger.height), reasons(refused)
        assert block.aggregate is not None
        assert isinstance(block.aggregate.payload, AggregateTransaction)
        named = sorted(run.material.device_names[number] for number in
                       device_numbers(block.aggregate.payload.contributors))
        return named, said[0] if said else ""


class _Careless(VectorHost):
    """An edge server's vector operations without Algorithm 2, line 16."""

    def verify(self, *_arguments: object) -> None:
        """Nothing is checked."""


# --- replayed -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Replay:
    """What device 4 does in epoch 2 with what it sent in epoch 1."""

    run: Run
    old: tuple[Submit, Envelope] | None = None

    def change(self, effect: Effect) -> list[Effect]:
        """Send the old transaction again, then its payload signed anew, then its ciphertexts."""
        found = submitted(effect)
        if found is None or not isinstance(effect, Send):
            return [effect]
        message, envelope = found
        payload = envelope.payload
        assert isinstance(payload, UpdateTransaction)
        if payload.epoch == 1 and self.old is None and payload.phase == "weights":
            self.old = found
        if payload.epoch == 1 or self.old is None:
            return [effect]
        run, (before, signed) = self.run, self.old
        me, past = run.material.devices[3], signed.payload
        assert isinstance(past, UpdateTransaction)
        elsewhere = sign_transaction(me, bytes(32), envelope.nonce, envelope.gas_limit, payload)
        again = replace(payload, root=past.root, chunks=past.chunks, size=past.size)
        return [Send(effect.target, data) for data in (
            wrapped(run, me, signed, before.blobs),
            submission(run, me, envelope.nonce, past, before.blobs),
            wrapped(run, me, elsewhere, message.blobs),
            submission(run, me, envelope.nonce, again, before.blobs),
        )]


def replayed_transaction(key_bits: int) -> Finding:
    """An update of epoch 1 is sent again in epoch 2, in four ways."""
    with opened_run(small_run(key_bits, epochs=2)) as run:
        replay = _Replay(run)
        run.runner.add(Adversary(run.devices[3], change=replay.change))
        refused = hear(run, "refused")
        run.runner.run(run.is_over)
        said = reasons(r for r in refused if r["node"].startswith("edge"))
        result = outcome(run)
    expected = ("was used", "is not open", "another chain", "proof")
    matched = [next((text for text in said if part in text), "") for part in expected]
    ways = ("the same bytes", "signed anew with a fresh nonce", "signed for another chain",
            "the old ciphertexts as epoch 2's update")
    return Finding(
        tried="In epoch 2 device 4 sends its transaction of epoch 1 again: the same bytes; the "
              "same payload under a fresh nonce; a transaction of another chain; and the old "
              "ciphertexts in a new transaction.",
        happened=(
            *(f"{way[0].upper()}{way[1:]}: {text or 'no refusal'}."
              for way, text in zip(ways, matched, strict=True)),
            f"Contributors of epoch 2: {', '.join(result.contributors[1])}.",
        ),
        claimed=CLAIMED,
        not_covered="A device that seals the same update anew, or learns from the same samples in "
                    "every epoch: nobody can see that.",
        held=all(matched) and THIEF in result.contributors[0]
        and THIEF not in result.contributors[1],
    )


# --- strangers ----------------------------------------------------------------------------------


def impersonation(key_bits: int) -> Finding:
    """A stranger, and a device that registers twice, when the keys are put on the ledger."""
    with opened_run(small_run(key_bits)) as run:
        stranger, twice = Identity.generate(SeededRandomness(99)), run.material.devices[3]
        key = CallTransaction("learning", "register_exchange_key", (FALSE_KEY,))
        mallory = Outsider([Send("edge-1", submission(run, stranger, 0, key))])
        run.runner.add(mallory)
        ledger = run.edges[0].ledger
        drive(run, lambda: run.edges[0].application.awaited.what != "exchange keys")
        second = Outsider([Send("edge-3", submission(
            run, twice, ledger.next_nonce(twice.address), key))], "mallory-2")
        run.runner.add(second)
        run.runner.run(run.is_over)
        failed = [*_failures(run), *mallory.refusals, *second.refusals]
        registered = [ledger.call("learning", "exchange_key_of", d.address) != FALSE_KEY
                      for d in run.material.devices]
        same = same_model(run)
    return Finding(
        tried="A stranger registers an exchange key, to which the group key would be wrapped; and "
              "somebody with device 4's identity registers a second one.",
        happened=(
            f"Refused, or on the ledger with a failed receipt: {'; '.join(failed) or 'nothing'}.",
            (f"Devices whose exchange key is still their own: {sum(registered)} of 4; the model is "
             f"{is_same(same)}."),
        ),
        claimed="Section 4.2: each device has been registered before the genesis block, with an "
                "address from which it launches transactions; Table 1, data poisoning.",
        not_covered="Genesis is trusted: whoever writes it decides who the devices are. A failed "
                    "transaction has no effect but takes room on the ledger.",
        held=any("neither a registered device" in text for text in failed)
        and any("one exchange key a device" in text for text in failed)
        and all(registered) and same,
    )


def _failures(run: Run) -> list[str]:
    """Reasons in the failed receipts of the first edge server's ledger."""
    ledger = run.edges[0].ledger
    receipts = (r for h in range(1, ledger.height + 1) for r in ledger.store.receipts(h))
    return list(dict.fromkeys(str(r.error) for r in receipts if not r.ok))


# --- shares -------------------------------------------------------------------------------------


def wrong_share(key_bits: int) -> Finding:
    """A key holder makes its share with another secret than its part of the key."""
    with opened_run(small_run(key_bits)) as run:
        liars: list[str] = []

        def change_of(name: str) -> Callable[[Effect], list[Effect]]:
            def change(effect: Effect) -> list[Effect]:
                if isinstance(effect, Compute) and effect.task.kind == "share" and (
                        not liars or name in liars):
                    liars[:] = [name]
                    return [replace(effect, function=_false_share)]
                return [effect]

            return change

        for device in run.devices:
            run.runner.add(Adversary(device, change=change_of(device.name)))
        notes = hear(run, "not-opened")
        run.runner.run(run.is_over)
        same, said = same_model(run), reasons(notes)
    return Finding(
        tried="The first key holder whose turn it is makes every share with a secret that is not "
              "its part of the key, with the best proof that it can give for it.",
        happened=(
            (f"{liars[0] if liars else 'Nobody'} lied. {len(notes)} attempts to open failed: "
             f"{said[0] if said else 'no word'}."),
            ("Another key holder made its share after the deadline, and t right ones opened the "
             f"sum: the model is {is_same(same)}."),
        ),
        claimed="Section 4.2: the devices decrypt with a cooperatively created secret key SK, by a "
                "secret sharing protocol. It says nothing of shares that are wrong.",
        not_covered="With fewer than t honest key holders left nothing is opened any more. A key "
                    "holder that lies costs a deadline in every epoch; it is named, not expelled.",
        held=bool(liars) and bool(said) and "party" in said[0] and same,
    )


def _false_share(
    cipher: VectorCipher, share: KeyShare, total: bytes, session: bytes, holder: bytes,
    group_key: bytes, rng: Randomness,
) -> bytes:
    """As `bdn.nodes.device.opening.make_share`, with another secret."""
    return make_share(cipher, replace(share, secret=share.secret + 1), total, session, holder,
                      group_key, rng)


# --- the stored ledger --------------------------------------------------------------------------

STORED = "the stored ledger"

TARGETS = {
    "a header": ("blocks", "header", "height = 4"),
    "a seal": ("blocks", "seal", "height = 4"),
    "a device's update transaction": ("transactions", "envelope", "height = 4 AND position = 0"),
    "Tx_co": ("transactions", "envelope", "height = 4 ORDER BY position DESC"),
    "a receipt": ("transactions", "receipt", "height = 4 AND position = 0"),
    "a sealed update's blob": ("blobs", "", "size > 100000"),
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
    shutil.rmtree(blobs_of(copy), ignore_errors=True)
    shutil.copytree(blobs_of(path), blobs_of(copy))
    with closing(sqlite3.connect(copy)) as database, database:
        if table == "blobs":  # a file, called by its root
            (root,) = database.execute(
                f"SELECT root FROM blobs WHERE {where} LIMIT 1").fetchone()  # noqa: S608 - from the table above
            blob = blobs_of(copy) / root.hex()
            blob.write_bytes(_flipped(blob.read_bytes()))
            return _recomputed(copy)
        keys = {"blocks": "height", "transactions": "height, position",
                "state": "contract, key, height"}[table].split(", ")
        query = f"SELECT {', '.join(keys)}, {column} FROM {table} WHERE {where} LIMIT 1"  # noqa: S608 - from the table above
        *name, value = database.execute(query).fetchone()
        here = " AND ".join(f"{key} = ?" for key in keys)
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {here}",  # noqa: S608 - as above
                         (_flipped(value), *name))
    return _recomputed(copy)


def _flipped(value: bytes) -> bytes:
    """``value`` with a bit of its middle byte flipped."""
    changed = bytearray(value)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _recomputed(ledger: Path) -> str:
    """What recomputing ``ledger`` complains of; "" for nothing."""
    try:
        verify_run(ledger)
    except LedgerError as error:
        return str(error)
    return ""


EXPERIMENTS = (
    Experiment("forged-transaction", GROUP, POISONING, forged_transaction),
    Experiment("replayed-transaction", GROUP, POISONING, replayed_transaction),
    Experiment("impersonation", GROUP, POISONING, impersonation),
    Experiment("wrong-share", GROUP, POISONING, wrong_share),
    Experiment("tampered-ledger", STORED, POISONING, tampered_ledger),
)
