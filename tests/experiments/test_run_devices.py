"""What a device refuses to do, seen in whole runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bdn.chain import StateProof, decode_header, encode_header, encode_seal, header_digest
from bdn.encoding import decode_record, encode_record
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NodeStore
from bdn.experiments.run import Run, opened_run
from bdn.experiments.runner import StalledError
from bdn.experiments.setup import make_device
from bdn.nodes.device import journal
from bdn.nodes.device.device import Stage
from bdn.nodes.events import Received, Send
from bdn.nodes.messages import (
    Blob,
    SealedHeaders,
    StateCells,
    Transactions,
    decode_message,
    encode_message,
)
from bdn.seal import Seal, sign_commit

Tiny = Callable[..., RunConfig]


def listened(run: Run, *names: str) -> list[dict[str, Any]]:
    """The run's coming events of these names."""
    heard: list[dict[str, Any]] = []
    run.listen(lambda r: heard.append(r) if r["event"] in names else None)
    return heard


def test_a_device_never_helps_to_open_a_second_sum_even_after_a_restart(tiny: Tiny) -> None:
    """One per (epoch, phase), remembered across restarts.

    The journal of device-1 says that it promised another sum for epoch 1; the key holders whose
    turn comes later do without it.
    """
    with opened_run(tiny(epochs=1)) as run:
        store = NodeStore(None)
        store.append("device-1", journal.encode(journal.PromisedShare(1, "weights", bytes(32))))
        run.devices[0] = make_device(run.material, 0, store, run.trace)
        run.runner.add(run.devices[0])
        withheld = listened(run, "share-withheld")
        run.runner.run(run.is_over)
        reasons = {r["reason"] for r in withheld if r["node"] == "device-1"}
        ledger = run.edges[0].ledger
        share_of_one = [
            envelope for height in range(1, ledger.height + 1)
            for envelope in ledger.store.block(height).transactions
            if type(envelope.payload).__name__ == "ShareTransaction"
            and envelope.payload.phase == "weights"
            and envelope.address == run.material.devices[0].address
        ]
        assert share_of_one == []
        assert reasons <= {"another sum was shared"}
        candidate = next(height for height in range(1, ledger.height + 1)
                         if ledger.store.block(height).header.kind == "candidate")
        its_turn = (0 - candidate) % 4 < 2  # its rank is below the threshold
        assert bool(reasons) == its_turn


def lie_to_own_device(run: Run, index: int, change: Callable[[Any], Any]) -> None:
    """Make an edge server change what it answers to its own device."""
    edge = run.edges[index]
    step = edge.step

    def lie(event: Any, now_ms: int) -> list[Any]:
        effects = []
        for effect in step(event, now_ms):
            if isinstance(effect, Send) and effect.target == f"device-{index + 1}":
                effect = Send(effect.target, encode_message(change(decode_message(effect.data))))
            effects.append(effect)
        return effects

    edge.step = lie  # type: ignore[method-assign]


def other_state_root(message: Any) -> Any:
    if not isinstance(message, SealedHeaders):
        return message
    return SealedHeaders(tuple(
        (encode_header(replace(decode_header(header), state_root=bytes(32))), seal)
        for header, seal in message.items))


def failed_receipts(message: Any) -> Any:
    """Receipts that say ok: false, under their old proofs."""
    if not isinstance(message, Transactions):
        return message
    return Transactions(message.height, tuple(
        proof.replace(b"\x62ok\xf5", b"\x62ok\xf4") for proof in message.proofs))


def other_cells(message: Any) -> Any:
    if not isinstance(message, StateCells):
        return message
    proofs = [decode_record(StateProof, data) for data in message.proofs]
    return StateCells(message.height, tuple(
        encode_record(replace(proof, value=b"\x18\x63")) for proof in proofs))


def other_blob(message: Any) -> Any:
    if not isinstance(message, Blob):
        return message
    changed = bytearray(message.data)
    changed[-1] ^= 1
    return Blob(bytes(changed))


def test_a_device_believes_only_what_verifies_and_leaves_the_edge_that_lies(tiny: Tiny) -> None:
    """Header, seal, receipt, state and blob are each checked.

    Each edge server lies to its own device in a way of its own; each device turns to another edge
    server, and all end with the same model.
    """
    lies = (other_state_root, failed_receipts, other_cells, other_blob)
    with opened_run(tiny(epochs=1)) as run:
        for index, lie in enumerate(lies):
            lie_to_own_device(run, index, lie)
        left = listened(run, "edge-left")
        run.runner.run(run.is_over)
        for index, lie in enumerate(lies):
            assert any((r["node"], r["edge"]) == (f"device-{index + 1}", f"edge-{index}")
                       for r in left), lie
        models = [device.progress.w for device in run.devices]
        assert all(np.array_equal(w, models[0]) for w in models)


def test_two_seals_at_one_height_end_a_devices_trust(tiny: Tiny) -> None:
    """They are evidence of more than f faults; nothing more is opened.

    Three edge servers' keys seal a second block at height 1 for device-1 alone.
    """
    with opened_run(tiny(epochs=1)) as run:
        device, edge = run.devices[0], run.edges[0]
        run.runner.run(lambda: device.light.height >= 3)
        header = edge.ledger.store.header(1)
        other = replace(header, state_root=bytes(32))
        chain, digest = header.chain, header_digest(other)
        signatures = tuple((i, sign_commit(run.material.edges[i], chain, 0, 1, digest))
                           for i in range(3))
        forged = SealedHeaders(
            ((encode_header(other), encode_seal(Seal(0, 1, digest, signatures))),))
        heard = listened(run, "equivocation")
        device.step(Received("edge-1", encode_message(forged)), int(run.runner.now_ms))
        assert [r["height"] for r in heard] == [1]
        with pytest.raises(StalledError):
            run.runner.run(run.is_over)
        assert device.stage is not Stage.FINISHED
        assert run.devices[1].stage is Stage.FINISHED


def test_a_run_whose_devices_diverge_says_so_when_it_stalls(tiny: Tiny) -> None:
    """Not that they were gone: who raises λ too far should read what to lower."""
    with (opened_run(tiny(epochs=2, step_size=1e4, model="paper-cnn")) as run,
          pytest.raises(StalledError, match="diverged")):
        run.runner.run(run.is_over)
