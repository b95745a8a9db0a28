"""The sequence diagram and the latencies say what the trace says (the paper's Fig. 4)."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import Store
from bdn.nodes.messages import (
    MESSAGES,
    Blob,
    Consensus,
    GetHeaders,
    encode_message,
    message_kind,
)
from bdn.pbft.messages import Checkpoint, PrePrepare
from bdn.pbft.wire import encode_message as encode_vote
from bdn.report import sequence_diagram as module
from bdn.report.inputs import read_inputs
from bdn.report.latency import STAGES, latency_by_epoch
from bdn.report.rounds import Round, Rounds, read_rounds
from bdn.report.sequence_diagram import Mark, Sequence, read_sequence

Trace = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rounds(run_folder: Path) -> Rounds:
    with Store.open(read_inputs(run_folder).ledger, read_only=True) as store:
        return read_rounds(store)


@pytest.fixture(scope="module")
def drawn(trace: Trace, rounds: Rounds) -> dict[str, Any]:
    return read_sequence(trace, rounds, measured=False).to_plain(closing=3)


def labels(drawn: dict[str, Any], epoch: int) -> list[str]:
    """The bands' labels of an epoch, in order."""
    return [band["label"] for item in drawn["epochs"] if item["epoch"] == epoch
            for band in item["bands"]]


def test_rounds_are_the_epochs_and_the_closing_one(rounds: Rounds) -> None:
    """Section 5 of the design: one Tx_co an epoch, and a loss-only round at the end."""
    assert [(item.epoch, item.phase) for item in rounds.rounds] == [
        (1, "weights"), (2, "weights"), (3, "loss")]
    assert rounds.after(1, "weights") == 1
    assert rounds.after(2, "loss") == 3
    assert rounds.epoch_of(rounds.of_block(0)) == 0


def test_every_message_of_the_trace_is_drawn_once(trace: Trace, drawn: dict[str, Any]) -> None:
    told = [record for record in trace if record["event"] == "message"]
    bands = [band for item in drawn["epochs"] for band in item["bands"] if "bytes" in band]
    assert sum(band["count"] for band in bands) == len(told)
    assert sum(len(band["items"]) for band in bands) == len(told), "all lanes have room here"
    assert sum(band["bytes"] for band in bands) == sum(record["bytes"] for record in told)
    lost = sum(item[4] for band in bands for item in band["items"])
    assert lost == sum(record["lost"] for record in told) > 0


def test_an_epoch_reads_as_algorithm_2_does(drawn: dict[str, Any]) -> None:
    """Train, seal, submit, pass on, agree, fetch, share, open: in this order."""
    found = labels(drawn, 3)
    order = [
        "Loss of the last model", "Sealing under the joint key, with proof",
        "Sealed updates to the edge servers", "Passed on to the other edge servers",
        "PRE-PREPARE", "PREPARE", "COMMIT", "Header and seal to the devices",
        "Verify Tx_co, make a partial decryption", "Partial decryptions to the edge servers",
        "Combine shares and open the sum",
    ]
    rest = iter(found)  # a device that waits long asks again meanwhile, so labels may stand twice
    assert [label for label in order if label not in rest] == []
    assert labels(drawn, 1)[:2] == ["Local training", "Sealing under the joint key, with proof"]


def test_the_view_change_is_drawn_where_it_happened(drawn: dict[str, Any]) -> None:
    """Castro–Liskov, section 4.4: VIEW-CHANGE, NEW-VIEW, then the phases in the new view."""
    first = next(item for item in drawn["epochs"] if item["epoch"] == 1)
    assert first["view_change"]
    found = labels(drawn, 1)
    at = found.index("VIEW-CHANGE")
    assert found.index("View 1 begins on edge-1") > at
    assert found.index("NEW-VIEW") > at
    assert "PRE-PREPARE" in found[:at], "the attempt of view 0"
    assert "PRE-PREPARE" in found[at:], "and again in view 1"
    assert any(label.startswith("Block 4 sealed in view 1") for label in found[at:])


def test_lanes_are_devices_then_edge_servers(drawn: dict[str, Any]) -> None:
    assert drawn["lanes"] == [f"device-{k}" for k in range(1, 5)] + [f"edge-{i}" for i in range(4)]


def test_a_long_run_keeps_the_view_change(
    trace: Trace, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is left out, counted, and never the epoch that people look for."""
    monkeypatch.setattr(module, "MESSAGE_BUDGET", 1)
    small = read_sequence(trace, rounds, measured=False).to_plain(closing=3)
    assert small["all"] == 4
    assert all(item["view_change"] for item in small["epochs"])
    assert small["epochs"]


def test_many_devices_are_counted_but_not_all_drawn() -> None:
    sequence = Sequence(Rounds((), (-1,)), measured=True)
    for k in range(1, 31):
        sequence.hear({"event": "message", "source": f"device-{k}", "target": "edge-0",
                       "bytes": 5, "lost": False, "kind": "Submit", "virtual_ms": 1.0})
    drawn = sequence.to_plain(closing=-1)
    assert drawn["hidden"] == 20
    assert drawn["lanes"][-2:] == ["device-10", "edge-0"]
    assert drawn["epochs"][0]["bands"][0]["count"] == 30
    assert len(drawn["epochs"][0]["bands"][0]["items"]) == 10


@pytest.mark.parametrize(("later_ms", "bands"), [(module.PAUSE_MS, 1), (module.PAUSE_MS + 1, 2)])
def test_a_repetition_after_a_silence_is_a_band_of_its_own(later_ms: int, bands: int) -> None:
    sequence = Sequence(Rounds((), (-1,)), measured=True)
    for at in (0, later_ms):
        sequence.hear({"event": "message", "source": "edge-0", "target": "edge-1", "bytes": 5,
                       "lost": False, "kind": "Prepare", "virtual_ms": at})
    assert len(sequence.to_plain(closing=-1)["epochs"][0]["bands"]) == bands


# --- latency ------------------------------------------------------------------------------------

times = st.floats(1, 1e6)


@given(st.lists(st.builds(Mark, *[times] * 8), max_size=6))
def test_stages_add_up_to_the_whole(marks: list[Mark]) -> None:
    """Fig. 4: no stage is negative, and together they are the time from first to last."""
    rounds = Rounds(tuple(Round(p, "weights", p) for p in range(1, len(marks) + 1)), ())
    found = latency_by_epoch(dict(enumerate(marks)), rounds)
    assert [item["epoch"] for item in found] == list(range(1, len(marks) + 1))
    assert all(len(item["stages"]) == len(STAGES) and min(item["stages"]) >= 0 for item in found)
    if marks:
        last = max(max(m.trained, m.sealed, m.proposed, m.agreed, m.shared, m.opened)
                   for m in marks)
        total = sum(sum(item["stages"]) for item in found)
        expected = max(0.0, last - marks[0].first)
        assert total == pytest.approx(expected, abs=0.01 * 6 * len(marks))


def test_the_time_of_a_cut_off_primary_is_consensus(trace: Trace, rounds: Rounds) -> None:
    """The devices wait for the view change, which is the longest part of agreeing."""
    found = latency_by_epoch(read_sequence(trace, rounds, measured=False).marks, rounds)
    stages = dict(zip(STAGES, found[0]["stages"], strict=True))
    assert stages["consensus"] > 10_000
    assert stages["training"] == stages["sealing"] == 0, "a deterministic run's work takes none"


# --- what the trace calls a message -------------------------------------------------------------


def test_the_trace_names_each_message(trace: Trace) -> None:
    kinds = {record["kind"] for record in trace if record["event"] == "message"}
    known = {cls.__name__ for cls in MESSAGES} | {
        "Request", "PrePrepare", "Prepare", "Commit", "Checkpoint", "ViewChange", "NewView",
        "Status", "Fetch", "State"}
    assert {"Submit", "Relay", "PrePrepare", "Prepare", "Commit", "ViewChange"} <= kinds <= known


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 70_000])
def test_a_messages_kind_is_read_from_its_first_bytes(size: int) -> None:
    assert message_kind(encode_message(Blob(bytes(size)))) == "Blob"
    assert message_kind(encode_message(GetHeaders(size))) == "GetHeaders"
    vote = PrePrepare(0, 1, bytes(32), bytes(size), bytes(64))
    assert message_kind(encode_message(Consensus(encode_vote(vote)))) == "PrePrepare"
    checkpoint = Checkpoint(4, bytes(32), 1, bytes(64))
    assert message_kind(encode_message(Consensus(encode_vote(checkpoint)))) == "Checkpoint"


@given(st.binary(max_size=80))
def test_what_is_no_message_has_no_kind_and_raises_nothing(data: bytes) -> None:
    assert isinstance(message_kind(data), str)
    assert message_kind(b"\x00" + data) == ""
    json.dumps(message_kind(data))
