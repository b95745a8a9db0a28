"""A run folder's files may have been edited: what passes the readers' checks can be shown.

Every value in `history.json`, and every field that readers use in `trace.jsonl`, takes each of
`VALUES` in turn. A reader's check refuses it, or the page and the terminal can show it.
"""

import copy
import dataclasses
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import Store
from bdn.cli.screen import PlainConsole
from bdn.cli.tables import print_history
from bdn.experiments.history import Meter
from bdn.report import Inputs, page, read_inputs, read_rounds, read_sequence
from bdn.runfolder.files import checked
from bdn.runfolder.history import SHAPE
from bdn.runfolder.trace import FIELDS, is_sound

VALUES = (None, -10**18, 10**18, 10**400, 5e-324, -0.5, float("nan"), "other", [], {})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside ``value``; of lists only the first item's."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of ``whole`` with ``value`` at ``path``, and in all items of the lists on the way."""
    result = copy.deepcopy(whole)

    def put(inside: Any, rest: tuple[Any, ...]) -> None:
        if not isinstance(inside, dict | list):
            return  # the closing row holds None where the others hold a list
        names = range(len(inside)) if isinstance(inside, list) else rest[:1]
        for name in names:
            if len(rest) == 1:
                inside[name] = value
            elif name in inside or isinstance(inside, list):
                put(inside[name], rest[1:])

    put(result, path)
    return result


@pytest.fixture(scope="module")
def inputs(run_folder: Path) -> Inputs:
    """The run, with an update that was scaled down."""
    read = read_inputs(run_folder)
    scaled = [{"event": "scaled", "node": "device-1", "epoch": 1, "factor": 0.5, "limit": "clip"}]
    return dataclasses.replace(read, history={**read.history, "scaled": scaled})


def test_a_history_that_passes_its_check_can_be_shown(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(inputs.ledger, read_only=True) as store:
        for name in ("read_blocks", "read_rounds", "read_facts"):
            once = getattr(page, name)(store)
            monkeypatch.setattr(page, name, lambda _, once=once: once)
    sequence = read_sequence(inputs.trace, page.read_rounds(None), measured=False)  # type: ignore[arg-type]
    monkeypatch.setattr(page, "read_sequence", lambda *_: sequence)
    monkeypatch.setattr(sequence, "to_plain", lambda _: {})
    shown = refused = 0
    for path in places(inputs.history):
        for value in VALUES:
            history = changed(inputs.history, path, value)
            if checked(history, SHAPE) or not history["devices"] or not history["edges"]:
                refused += 1
                continue
            shown += 1
            page.render(dataclasses.replace(inputs, history=history))
            with redirect_stdout(io.StringIO()):
                print_history(history, inputs.folder, PlainConsole())
    assert shown > 100
    assert refused > 300


def test_an_event_that_passes_its_check_can_be_read(run_folder: Path, inputs: Inputs) -> None:
    with Store.open(inputs.ledger, read_only=True) as store:
        rounds = read_rounds(store)
    trace = [*inputs.trace, *inputs.history["scaled"]]
    read = refused = 0
    for event, fields in FIELDS.items():
        record = next((one for one in trace if one["event"] == event), None)
        good = record or {"event": event, **{name: "" if kind is str else 0
                                             for name, kind in fields.items()}}
        assert is_sound(dict(good))
        for name in good:
            for value in VALUES:
                damaged = {**good, name: value}
                if not is_sound(damaged):
                    refused += 1
                    continue
                read += 1
                meter = Meter()
                meter.hear(damaged)
                meter.why_stalled()
                read_sequence([damaged, *inputs.trace[:20]], rounds, measured=True).to_plain(9)
                assert not checked([damaged] * (event == "scaled"), SHAPE["scaled"])
                assert not checked(meter.refused, SHAPE["refused"])
    assert read > 50
    assert refused > 200
