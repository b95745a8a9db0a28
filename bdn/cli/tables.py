"""The tables that a run ends with."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bdn.experiments.folder import REPORT

PHASES = ("key", "training", "sealing", "verification", "aggregation", "consensus", "opening",
          "evaluation", "baseline")
MANY_DEVICES = 20


def print_history(
    history: dict[str, Any], folder: Path, console: Console | None = None
) -> None:
    """Accuracy by epoch and device, time by phase, blocks and rewards."""
    console = console if console is not None else Console()
    console.print(_epochs(history))
    console.print(_devices(history))
    console.print(_phases(history))
    console.print(_servers(history))
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
    if history["scaled"]:
        console.print(f"{len(history['scaled'])} updates were scaled down to fit their clip.")
    if history["refused"]:
        console.print(f"{len(history['refused'])} refusals; see trace.jsonl.")
    console.print(f"Run folder: {folder}. Check it with: bdn verify {folder}", highlight=False)
    if (folder / REPORT).is_file():
        console.print(f"The report: {folder / REPORT}", highlight=False)


def _epochs(history: dict[str, Any]) -> Table:
    table = Table(title="Epochs", title_justify="left")
    for name in ("epoch", "F(w) before", "‖w^(p) − w^(p-1)‖", "contributors", "accuracy",
                 "mean precision"):
        table.add_column(name, justify="right")
    for row in history["epochs"]:
        if row["closing"]:
            contributors = str(len(row["contributors"]))
            table.add_row("end", f"{row['loss_before']:.4f}", "", contributors, "", "")
            continue
        table.add_row(
            str(row["epoch"]), f"{row['loss_before']:.4f}", f"{row['norm']:.4f}",
            str(len(row["contributors"])), _figure(row["accuracy"]),
            _figure(row["mean_precision"]))
    return table


def _devices(history: dict[str, Any]) -> Table:
    table = Table(title="Devices: alone (the same number of iterations) and with BlockDeepNet",
                  title_justify="left")
    for name in ("device", "samples", "alone", "with BlockDeepNet", "sent", "received", "tokens"):
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
    table = Table(title="Time by phase, all nodes together", title_justify="left")
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
