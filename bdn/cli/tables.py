"""The tables that a run ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bdn.cli.screen import PlainConsole, styled
from bdn.report import (
    best_alone,
    failed_alone,
    norm_bound_cell,
    scaling_warnings,
    shared_work,
    spoiled_epochs,
)
from bdn.runfolder import REPORT

PHASES = ("key", "training", "sealing", "verification", "aggregation", "consensus",
          "opening", "evaluation", "detection", "baseline")
BARS = "▁▂▃▄▅▆▇█"
MANY_DEVICES = 20

MATRIX_CLASSES, MISTAKES = 12, 20
"""A matrix of so many classes fits 80 columns; of more, so many kinds of mistakes are listed."""


def print_history(
    history: dict[str, Any], folder: Path, console: Console | None = None
) -> None:
    """Accuracy by epoch and device, time by phase, blocks and rewards: a run's last words."""
    console = console if console is not None else PlainConsole()
    print_learning(history, console)
    print_nodes(history, console)
    if history.get("detection"):
        console.print(_detection_line(history["detection"]))
    print_outcome(history, folder, console)


def print_nodes(history: dict[str, Any], console: Console) -> None:
    """Devices, edge servers, and the work of all of them by phase."""
    console.print(_devices(history))
    console.print(_phases(history))
    console.print(_servers(history))


def print_outcome(history: dict[str, Any], folder: Path, console: Console) -> None:
    """The result in a few sentences, and where to look next."""
    alone = best_alone(history)
    heights = len(history["blocks"])
    views = sorted({block["view"] for block in history["blocks"] if block["view"] is not None})
    console.print(styled(
        "Global model of epoch {}: accuracy [bold]{}[/bold] on held-out samples; best device "
        "alone {}.", history["best_epoch"], _figure(history["accuracy"]) or "unknown",
        _figure(alone) or "unknown"))
    plural = "s" if len(views) > 1 else ""
    sealed = f" in view{plural} {', '.join(map(str, views))}" if views else ""
    console.print(f"{heights} blocks sealed{sealed}; {history['seconds']:.1f} s in all.")
    for line in shared_work(history):
        console.print(line)
    for line in (*spoiled_epochs(history), *failed_alone(history), *scaling_warnings(history)):
        console.print(line, style="yellow")
    if history["refused"]:
        console.print(f"{len(history['refused'])} refusals; see trace.jsonl.")
    console.print(f"Run folder: {folder}. Check it with: bdn verify {folder}")
    if (folder / REPORT).is_file():
        console.print(f"The report: {folder / REPORT}")


def print_learning(history: dict[str, Any], console: Console) -> None:
    """One row an epoch, and the curves in a line each."""
    console.print(_epochs(history))
    # the closing round's loss is that of the last model; it has no other figure
    rows = history["epochs"]
    for name, key in (("accuracy", "accuracy"), ("mean precision", "mean_precision"),
                      ("loss F(w)", "loss_before")):
        values = [row[key] for row in rows if row[key] is not None]
        if len(values) > 1:
            console.print(f"{name:15}{sparkline(values)}  {values[0]:.4f} → {values[-1]:.4f}")


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve as one line of bars, from the least value to the largest."""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values), max(values)
    steps = len(BARS) - 1
    return "".join(BARS[round((value - low) / ((high - low) or 1.0) * steps)] for value in values)


def print_classes(history: dict[str, Any], console: Console) -> None:
    """The best model by class, as a classifier and, on whole pictures, as a detector."""
    found = history.get("detection")
    console.print(styled(
        "\nBy class: mean precision (mPA) over the classes that occur [bold]{}[/bold] on {} "
        "held-out samples",
        _figure(history["mean_precision"]), history["held_out"]))
    table = _class_table(found, ("precision", "recall"))
    for row in history["by_class"]:
        judged = found["classes"].get(row["name"]) if found else None
        table.add_row(row["name"], _figure(row["precision"]), _figure(row["recall"]),
                      *_found(found, judged))
    console.print(table)
    if found:
        console.print(_detection_line(found))


def print_confusion(title: str, names: Sequence[str], counts: Sequence[Sequence[int]],
                    console: Console) -> None:
    """A confusion matrix, or its largest mistakes where it is too wide for a terminal."""
    console.print(title, style="italic")
    table = Table(box=None, pad_edge=False)
    if len(names) <= MATRIX_CLASSES:
        table.add_column("label")
        for number in range(len(names)):
            table.add_column(str(number), justify="right")
        for number, (name, row) in enumerate(zip(names, counts, strict=True)):
            table.add_row(Text(f"{number} {name}" if name != str(number) else name),
                          *(Text(str(count), "bold" if at == number else "")
                            for at, count in enumerate(row)))
        console.print(table)
        console.print("A row per label, a column per answer; right answers on the diagonal.",
                      style="dim")
        return
    for name in ("label", "answer", "samples"):
        table.add_column(name, justify="right" if name == "samples" else "left")
    wrong = [(count, label, answer) for label, row in enumerate(counts)
             for answer, count in enumerate(row) if count and label != answer]
    for count, label, answer in sorted(wrong, reverse=True)[:MISTAKES]:
        table.add_row(Text(names[label]), Text(names[answer]), str(count))
    console.print(table)
    console.print(f"The largest of {len(wrong)} kinds of mistakes; all are in history.json and "
                  "trace.jsonl.", style="dim")


def print_detection(found: dict[str, Any], console: Console) -> None:
    """A detector's figures by class, and their mean."""
    table = _class_table(found, ())
    for name, row in found["classes"].items():
        table.add_row(name, *_found(found, row))
    console.print(table)
    console.print(_detection_line(found))


def _class_table(found: dict[str, Any] | None, more: Sequence[str]) -> Table:
    table = Table()
    table.add_column("class")
    for name in (*more, *(("objects", "found", "false", f"AP, {found['rule']}") if found else ())):
        table.add_column(name, justify="right")
    return table


def _found(found: dict[str, Any] | None, row: dict[str, Any] | None) -> list[str]:
    """The detector's columns of a class; empty where it had nothing to find."""
    if found is None or row is None:
        return [""] * (4 * (found is not None))
    key = "eleven_point" if found["rule"] == "11-point" else "all_point"
    return [str(row["objects"]), str(row["true_positives"]), str(row["false_positives"]),
            _figure(row[key])]


def _detection_line(found: dict[str, Any]) -> Text:
    """mAP in a sentence, by the data's own rule first."""
    other = "11-point" if found["rule"] == "all-point" else "all-point"
    return styled(
        "As a detector: mAP [bold]{:.4f}[/bold] ({}, the data's own rule; {} {}) on {} of {} "
        "held-out pictures with {} objects, at an overlap of {} or more.",
        found["mean_average_precision"], found["rule"], other,
        _figure(found[other.replace("11", "eleven").replace("-", "_")]), found["pictures"],
        found["of"], found["objects"], found["overlap"])


def _epochs(history: dict[str, Any]) -> Table:
    table = Table(title="Epochs", title_justify="left")
    for name in ("epoch", "F(w) before", "‖w^(p) − w^(p-1)‖", "norm bound", "contributors",
                 "accuracy", "mean precision"):
        table.add_column(name, justify="right")
    for row in history["epochs"]:
        if row["closing"]:
            contributors = str(len(row["contributors"]))
            table.add_row("end", _figure(row["loss_before"]), "", "", contributors, "", "")
            continue
        table.add_row(
            str(row["epoch"]), _figure(row["loss_before"]), f"{row['norm']:.4f}",
            norm_bound_cell(history, row),
            str(len(row["contributors"])), _figure(row["accuracy"]),
            _figure(row["mean_precision"]))
    return table


def _devices(history: dict[str, Any]) -> Table:
    table = Table(title="Devices: alone (as many iterations) and together with BlockDeepNet",
                  title_justify="left")
    for name in ("device", "samples", "alone", "together", "sent", "received", "tokens"):
        table.add_column(name, justify="left" if name == "device" else "right")
    rows = history["devices"]
    for row in rows[:MANY_DEVICES]:
        table.add_row(
            row["name"], str(row["samples"]),
            "failed" if row.get("alone_failed") else _figure(row["accuracy_alone"]),
            _figure(row["accuracy_together"]), _bytes(row["sent_bytes"]),
            _bytes(row["received_bytes"]), str(row["tokens"]))
    if len(rows) > MANY_DEVICES:
        table.add_row(f"… and {len(rows) - MANY_DEVICES} more", *[""] * 6)
    return table


def _phases(history: dict[str, Any]) -> Table:
    table = Table(title="Work of all nodes by phase", title_justify="left")
    table.add_column("phase")
    table.add_column("seconds", justify="right")
    phases = history["phases"]
    for name in PHASES:
        if name in phases:
            table.add_row(name, f"{phases[name]:.2f}")
    rest = history["seconds"] - sum(phases.values())
    if rest > 0:  # else several cores worked at once
        table.add_row("everything else", f"{rest:.2f}")
    return table


def _servers(history: dict[str, Any]) -> Table:
    table = Table(title="Edge servers", title_justify="left")
    for name in ("edge server", "height", "view", "sent", "received", "tokens"):
        table.add_column(name, justify="left" if name == "edge server" else "right")
    for row in history["edges"]:
        table.add_row(row["name"], str(row["height"]), str(row["view"]), _bytes(row["sent_bytes"]),
                      _bytes(row["received_bytes"]), str(row["tokens"]))
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
