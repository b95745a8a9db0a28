"""A run in the terminal: what the report's page shows, for those who stay there."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bdn.chain import Store
from bdn.cli.screen import styled
from bdn.cli.tables import print_classes, print_learning, print_nodes, print_outcome
from bdn.errors import UsageError
from bdn.report import (
    CHALLENGES,
    STAGES,
    Inputs,
    SequenceOfRun,
    evidence,
    latency_by_epoch,
    median_epoch,
    read_facts,
    read_inputs,
    read_rounds,
    read_sequence,
    rewards_note,
    run_summary,
    size_text,
)
from bdn.runfolder import TRACE
from bdn.runfolder.findings import BEYOND, Finding, Lab

MANY_EPOCHS = 14
MANY_BLOCKS = 30
MANY_REFUSALS = 12
"""Of longer lists the beginning and the end are shown."""

COLOURS = ("blue", "magenta", "cyan", "yellow", "red", "white")
LETTERS = "TSUCPO"
"""An epoch's stages in its bar: training, sealing, upload, consensus, parts (shares), opening."""

BAR = 60


def print_run(inputs: Inputs, store: Store, blocks: Sequence[Mapping[str, Any]],
              console: Console) -> None:
    """Everything that the page has, as far as text can show it."""
    folder, history = inputs.folder, inputs.history
    for warning in inputs.warnings:
        console.print(warning, style="yellow")
    console.print(run_summary(history))
    print_learning(history, console)
    if history.get("by_class"):
        print_classes(history, console)
    sequence = _read_sequence(inputs, store)
    _print_latency(latency_by_epoch(sequence.marks, sequence.rounds), console)
    if sequence.view_changes:
        epochs = ", ".join(str(epoch) for epoch in sorted(sequence.view_changes))
        console.print(f"A primary was replaced in epoch {epochs}: see bdn show {folder} --epoch "
                      f"{min(sequence.view_changes)}")
    print_nodes(history, console)
    console.print(rewards_note(history))
    print_blocks(blocks, console)
    _print_refusals(history["refused"], console)
    _print_table_one(inputs.lab, evidence(history, read_facts(store)), folder, console)
    for note in history.get("notes") or []:
        console.print(f"Note: {note}.", style="dim")
    print_outcome(history, folder, console)


def print_blocks(blocks: Sequence[Mapping[str, Any]], console: Console) -> None:
    """One row a block."""
    table = Table(title="Blocks", title_justify="left")
    for name in ("height", "kind", "epoch", "view", "transactions", "bytes", "digest"):
        table.add_column(name, justify="left" if name in ("kind", "digest") else "right")
    for row in _ends(blocks, MANY_BLOCKS):
        if row is None:
            table.add_row("…", *[""] * 6)
            continue
        view = "" if row["view"] is None else str(row["view"])
        table.add_row(str(row["height"]), row["kind"], str(row["epoch"]), view,
                      str(row["transactions"]), f"{row['bytes']:,}", row["digest"][:16])
    console.print(table)


def _read_sequence(inputs: Inputs, store: Store) -> SequenceOfRun:
    return read_sequence(inputs.trace, read_rounds(store),
                         not inputs.history["config"]["deterministic"])


def print_epoch(folder: Path, store: Store, epoch: int, console: Console) -> None:
    """The sequence diagram of an epoch as rows: when, what, how often, by whom to whom.

    Raises `UsageError` where the trace has no such epoch.
    """
    inputs = read_inputs(folder)
    rounds = read_rounds(store)
    closing = rounds.rounds[-1].epoch if rounds.rounds and rounds.rounds[-1].phase == "loss" else -1
    plain = _read_sequence(inputs, store).to_plain(closing)
    found = next((item for item in plain["epochs"] if item["epoch"] == epoch), None)
    if found is None:
        known = [item["epoch"] for item in plain["epochs"]]
        shown = f"it has {known[0]} to {known[-1]}" if known else "it has none"
        raise UsageError(f"{folder / TRACE} shows no epoch {epoch}; {shown}")
    table = Table(title=found["title"], title_justify="left", title_style="bold", box=None,
                  pad_edge=False)
    for name in ("+ms", "until", "what", "times", "bytes", "who"):
        table.add_column(name, justify="left" if name in ("what", "who") else "right")
    for band in found["bands"]:
        table.add_row(f"{band['at']:.0f}", f"{band['until']:.0f}", *_band(band, plain["lanes"]))
    console.print(table)
    console.print("Virtual clock: all nodes work side by side, each as long as its work took.",
                  style="dim")


def _band(band: Mapping[str, Any], lanes: Sequence[str]) -> list[str | Text]:
    """[what, how often, bytes, who] of one stage of the diagram."""
    label = Text(band["label"])
    if band["kind"] == "mark":
        return [Text(band["label"], "green"), "", "", ""]
    if band["kind"] == "work":
        return [label, str(band["count"]), "", _who({item[0] for item in band["items"]}, lanes)]
    lost = sum(item[4] for item in band["items"])
    times = styled("{} [red]({} lost)[/red]" if lost else "{}", band["count"], lost)
    style = "yellow" if band["kind"] == "vote" else "blue"
    source, target = (_who({item[at] for item in band["items"]}, lanes) for at in (1, 2))
    label.stylize(style)
    return [label, times, size_text(band["bytes"]), f"{source} → {target}"]


def _who(places: Set[int], lanes: Sequence[str]) -> str:
    """A few names, or how many devices and edge servers there are."""
    names = [lanes[place] for place in sorted(places)]
    if len(names) <= 1:
        return "".join(names)
    edges = [name for name in names if name.startswith("edge-")]
    devices = len(names) - len(edges)
    kinds = [f"{devices} device{'s' * (devices > 1)}"] * bool(devices)
    kinds += [f"{len(edges)} edges" if len(edges) > 1 else edges[0]] if edges else []
    return ", ".join(kinds)


def _print_latency(latency: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not latency:
        console.print("The trace shows no epoch of this ledger.")
        return
    table = Table(title="Latency of each epoch in ms, on the virtual clock: nodes work side by "
                  "side", title_justify="left")
    for name in ("epoch", "total", *(stage.split()[0] for stage in STAGES)):
        table.add_column(name, justify="right")
    for item in _ends(latency, MANY_EPOCHS):
        if item is None:
            table.add_row("…", *[""] * 7)
        else:
            table.add_row(*_latency_row(str(item["epoch"]), item["stages"], sum(item["stages"])))
    total, middle = median_epoch(latency)
    if len(latency) > 1:
        table.add_section()
        table.add_row(*_latency_row("median", middle, total))
    console.print(table)
    console.print(_bar(middle))


def _latency_row(name: str, stages: Sequence[float], total: float) -> list[str]:
    return [name, f"{total:.0f}", *(f"{stage:.0f}" for stage in stages)]


def _bar(stages: Sequence[float]) -> Text:
    """The median epoch's stages as a bar: letters, so that it is read without colours too."""
    whole = sum(stages) or 1.0
    bar = Text()
    for value, letter, colour in zip(stages, LETTERS, COLOURS, strict=True):
        bar.append(letter * round(BAR * value / whole), style=f"{colour} reverse")
    bar.append("\n")
    for stage, letter, colour in zip(STAGES, LETTERS, COLOURS, strict=True):
        bar.append(f"{letter} {stage}  ", style=colour)
    return bar


def _print_refusals(refused: Sequence[Mapping[str, Any]], console: Console) -> None:
    if not refused:
        return
    table = Table(title=f"Refusals: {len(refused)}", title_justify="left")
    for name in ("node", "what", "why"):
        table.add_column(name, overflow="fold")
    for item in refused[:MANY_REFUSALS]:
        table.add_row(*(str(item.get(key) or "") for key in ("node", "event", "reason")))
    console.print(table)
    if len(refused) > MANY_REFUSALS:
        console.print(f"… and {len(refused) - MANY_REFUSALS} more in trace.jsonl.")


def _print_table_one(
    lab: Lab | None, shown: Mapping[str, Sequence[str]], folder: Path, console: Console
) -> None:
    console.print("\nTable 1 of the paper: its claims, this run, the attack lab", style="italic")
    for challenge in CHALLENGES:
        console.print(challenge.name, style="bold")
        _say("Paper", challenge.claim, console)
        for line in shown[challenge.name]:
            _say("This run", line, console)
        _print_findings(lab.of(challenge.name) if lab is not None else (), console)
    if lab is None:
        console.print(f"The attack lab was not played into this run: bdn lab all --into {folder}")
        return
    if lab.of(BEYOND):
        console.print(BEYOND, style="bold")
        _print_findings(lab.of(BEYOND), console)
    held = sum(finding.held for finding in lab.findings)
    console.print(f"Attack lab: {held} of {len(lab.findings)} came out as documented; "
                  f"{lab.key_bits}-bit key, {lab.date}, {lab.machine}. "
                  "One of them: bdn lab NAME.")


def _print_findings(findings: Sequence[Finding], console: Console) -> None:
    for finding in findings:
        style = ("green" if finding.prevented else "yellow") if finding.held else "red"
        _say("Lab", Text.assemble((finding.verdict, style), " ",
                                  f"{finding.experiment}: {finding.title}"), console)


def _say(who: str, what: str | Text, console: Console) -> None:
    """A sentence with its source before it, wrapped under itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", min_width=8, no_wrap=True)
    grid.add_column()
    grid.add_row(who, what)
    console.print(Padding(grid, (0, 0, 0, 2)))


def _ends(rows: Sequence[Any], most: int) -> list[Any]:
    """All rows, or the first and last ones with None between them."""
    if len(rows) <= most:
        return list(rows)
    return [*rows[:most // 2], None, *rows[-(most // 2):]]
