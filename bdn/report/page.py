"""Puts the page together: a template, its style and scripts, and the data, in one file."""

import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from bdn.chain import Store
from bdn.errors import UsageError
from bdn.report import sections
from bdn.report.blocks import read_blocks
from bdn.report.facts import read_facts
from bdn.report.inputs import Inputs, read_inputs
from bdn.report.latency import latency_by_epoch
from bdn.report.rounds import read_rounds
from bdn.report.sequence_diagram import read_sequence
from bdn.report.table_one import evidence, table_one
from bdn.runfolder import REPORT
from bdn.runfolder.files import demand_own, writable, write_atomically

SCRIPTS = ("proof.js", "sequence.js", "explorer.js", "page.js")
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def write_report(run_folder: Path, target: Path | None = None) -> Path:
    """Write the report of a finished run, whole or not at all.

    Args:
        run_folder: with `ledger.sqlite`, `history.json` and, for the diagrams, `trace.jsonl`.
        target: where to; `report.html` in the folder by default.

    Returns the file's path. Raises `UsageError` where the folder holds no history or ``target`` is
    no file, `LedgerError` or `StoreError` where its ledger cannot be read.
    """
    target = run_folder / REPORT if target is None else target
    if not target.name:
        raise UsageError("the report needs a file's name, not a folder's")
    inputs = read_inputs(run_folder)
    if target == run_folder / REPORT:
        demand_own(target, "a file")
    writable(target)
    write_atomically(target, render(inputs))
    return target


def render(inputs: Inputs) -> str:
    """The page's text."""
    history = inputs.history
    with Store.open(inputs.ledger, read_only=True) as store:
        explorer, rounds, facts = read_blocks(store), read_rounds(store), read_facts(store)
    measured = not history["config"]["deterministic"]
    sequence = read_sequence(inputs.trace, rounds, measured)
    latency = latency_by_epoch(sequence.marks, rounds)
    messages = sum(record["event"] == "message" for record in inputs.trace)
    closing = rounds.rounds[-1].epoch if rounds.rounds and rounds.rounds[-1].phase == "loss" else -1
    data = {"explorer": explorer, "sequence": sequence.to_plain(closing)}
    return fill(_resource("page.html"), {
        "title": escape(f"BlockDeepNet: {inputs.folder.resolve().name}"),
        "style": _resource("page.css"),
        "script": "\n".join(_resource(name) for name in SCRIPTS),
        "data": embedded(data),
        "heading": sections.heading(history),
        "subtitle": sections.subtitle(history),
        "warnings": sections.warnings(history, inputs.warnings),
        "headline": sections.headline(history, latency, messages,
                                      explorer["blocks"][1:]),
        "learning": sections.learning_charts(history),
        "epochs": sections.epoch_table(history),
        "judged": sections.judged(history),
        "table_one": table_one(inputs.lab, evidence(history, facts), inputs.folder.name),
        "latency": sections.latency_bars(latency),
        "phases": sections.phase_bars(history),
        "devices": sections.device_table(history),
        "edges": sections.edge_table(history),
        "rewards": sections.rewards_note(history),
        "refusals": sections.refusals(history),
        "folder": escape(inputs.folder.name),
    })


def fill(template: str, parts: dict[str, str]) -> str:
    """``template`` with each ``{{name}}`` replaced, in one pass: what is put in is not searched."""
    return _PLACE.sub(lambda match: parts[match[1]], template)


def embedded(data: Any) -> str:
    """JSON that may stand inside a ``<script>`` element: no ``<``, ``>`` or ``&`` is left in it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return files("bdn.report").joinpath(name).read_text(encoding="utf-8")
