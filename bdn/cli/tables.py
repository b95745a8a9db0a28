"""The tables that a run ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bdn.experiments.folder import REPORT
from bdn.report import spoiled_epochs

PHASES = ("key", "training", "sealing", "verification", "aggregation", "consensus",
          "opening", "evaluation", "detection", "baseline")
BARS = "▁▂▃▄▅▆▇█"
MANY_DEVICES = 20


def print_history(
    history: dict[str, Any], folder: Path, console: Console | None = None
) -> None:
    """Accuracy by epoch and device, time by phase, blocks and rewards: a run's last words."""
    console = console if console is not None else Console()
    print_learning(history, console)
    print_nodes(history, console)
    if history.get("detection"):
        console.print(_detection_line(history["detection"]), highlight=False)
    print_outcome(history, folder, console)


def print_nodes(history: dict[str, Any], console: Console) -> None:
    """Devices, edge servers, and the work of all of them by phase."""
    console.print(_devices(history))
    console.print(_phases(history))
    console.print(_servers(history))


def print_outcome(history: dict[str, Any], folder: Path, console: Console) -> None:
    """The result in a few sentences, and where to look next."""
    alone = max(device["accuracy_alone"] for device in history["devices"])
    heights = len(history["blocks"])
    views = sorted({block["view"] for block in history["blocks"] if block["view"] is not None})
    console.print(
        f"Global model of epoch {history['best_epoch']}: accuracy "
        f"[bold]{history['accuracy']:.4f}[/bold] on held-out samples; "
        f"best device alone {alone:.4f}.", highlight=False)
    plural = "s" if len(views) > 1 else ""
    sealed = f" in view{plural} {', '.join(map(str, views))}" if views else ""
    console.print(f"{heights} blocks sealed{sealed}; {history['seconds']:.1f} s in all.",
                  highlight=False)
    for line in spoiled_epochs(history):
        console.print(line, highlight=False)
    if history["scaled"]:
        console.print(f"{len(history['scaled'])} updates were scaled down to fit their clip.")
    if history["refused"]:
        console.print(f"{len(history['refused'])} refusals; see trace.jsonl.")
    console.print(f"Run folder: {folder}. Check it with: bdn verify {folder}", highlight=False)
    if (folder / REPORT).is_file():
        console.print(f"The report: {folder / REPORT}", highlight=False)


def print_learning(history: dict[str, Any], console: Console) -> None:
    """One row an epoch, and the curves in a line each."""
    console.print(_epochs(history))
    rows = [row for row in history["epochs"] if not row["closing"]]
    for name, key in (("accuracy", "accuracy"), ("mean precision", "mean_precision"),
                      ("loss F(w)", "loss_before")):
        values = [row[key] for row in rows if row[key] is not None]
        if len(values) > 1:
            console.print(f"{name:15}{sparkline(values)}  {values[0]:.4f} → {values[-1]:.4f}",
                          highlight=False)


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
    console.print("\nBy class: mean precision (mPA) over the classes that occur "
                  f"[bold]{history['mean_precision']:.4f}[/bold] on {history['held_out']} "
                  "held-out samples", highlight=False)
    table = _class_table(found, ("precision", "recall"))
    for row in history["by_class"]:
        judged = found["classes"].get(row["name"]) if found else None
        table.add_row(escape(row["name"]), _figure(row["precision"]), _figure(row["recall"]),
                      *_found(found, judged))
    console.print(table)
    if found:
        console.print(_detection_line(found), highlight=False)


def print_detection(found: dict[str, Any], console: Console) -> None:
    """A detector's figures by class, and their mean."""
    table = _class_table(found, ())
    for name, row in found["classes"].items():
        table.add_row(escape(name), *_found(found, row))
    console.print(table)
    console.print(_detection_line(found), highlight=False)


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


def _detection_line(found: dict[str, Any]) -> str:
    """mAP in a sentence, by the data's own rule first."""
    other = "11-point" if found["rule"] == "all-point" else "all-point"
    return (f"As a detector: mAP [bold]{found['mean_average_precision']:.4f}[/bold] "
            f"({found['rule']}, the data's own rule; {other} "
            f"{found[other.replace('11', 'eleven').replace('-', '_')]:.4f}) on "
            f"{found['pictures']} of {found['of']} held-out pictures with {found['objects']} "
            f"objects, at an overlap of {found['overlap']} or more.")


def _epochs(history: dict[str, Any]) -> Table:
    table = Table(title="Epochs", title_justify="left")
    for name in ("epoch", "F(w) before", "‖w^(p) − w^(p-1)‖", "contributors", "accuracy",
                 "mean precision"):
        table.add_column(name, justify="right")
    for row in history["epochs"]:
        if row["closing"]:
            contributors = str(len(row["contributors"]))
            table.add_row("end", _figure(row["loss_before"]), "", contributors, "", "")
            continue
        table.add_row(
            str(row["epoch"]), _figure(row["loss_before"]), f"{row['norm']:.4f}",
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
            row["name"], str(row["samples"]), _figure(row["accuracy_alone"]),
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
    table.add_row("everything else", f"{max(0.0, rest):.2f}")
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
