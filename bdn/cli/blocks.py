"""One block in the terminal: what the report's block explorer shows, for those who stay there."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bdn.chain import MerkleError, merkle
from bdn.cli.screen import styled

MANY = 24
"""Above so many transactions or written entries, the rest is only counted."""

_WIDE = 100
"""Columns from which on digests are shown whole."""


def print_block(block: dict[str, Any], console: Console) -> bool:
    """Print a block as `bdn.report.describe_block` gives it.

    Returns whether every transaction and receipt shown lies below the header's roots.
    """
    console.print(styled("[bold]Block {}[/bold]: {}, epoch {}", block["height"], block["kind"],
                         block["epoch"]))
    console.print(block["seal"]["text"])
    fields = [("digest", block["digest"])]
    for name, value in block["header"]:
        fields.append((name.replace("_", " "), _utc(value) if name == "time" else value))
    _pairs(fields, console)
    parts = " + ".join(f"{what} {size}" for what, size in block["size"])
    _pairs([("size", parts.replace(" + total", " = total"))], console)
    rows = block["transactions"]
    console.print(f"\n{_counted(len(rows), 'transaction')}", style="bold")
    sound = True
    for position, row in enumerate(rows[:MANY]):
        problem = check_inclusion(block, position)
        sound = sound and not problem
        _transaction(row, problem, console)
    if len(rows) > MANY:
        console.print(f"… and {len(rows) - MANY} more; --json has them all.")
    _changes(block["changes"], console)
    return sound


def check_inclusion(block: dict[str, Any], position: int) -> str:
    """Why a transaction or its receipt does not lie in the block; empty where both do.

    RFC 6962 paths, from the bytes up to the roots in the header.
    """
    row, count = block["transactions"][position], len(block["transactions"])
    roots = [bytes.fromhex(text) for text in block["roots"]]
    for what, root, leaf, path in (
        ("transaction", roots[0], row["raw"], row["path"]),
        ("receipt", roots[1], row["receipt_raw"], row["receipt_path"]),
    ):
        siblings = [base64.b64decode(item) for item in path]
        try:
            merkle.verify_inclusion(merkle.leaf_hash(base64.b64decode(leaf)), position, count,
                                    siblings, root)
        except MerkleError as error:
            return f"{what}: {error}"
    return ""


def _transaction(row: dict[str, Any], problem: str, console: Console) -> None:
    outcome = Text("ok", "green") if row["ok"] else Text(f"{row['status']}: {row['error']}", "red")
    inside = Text(f"NOT IN THE BLOCK: {problem}", "red") if problem else (
        Text("✓ in the block", "green"))
    console.print(Text.assemble("\n", (row["kind"], "bold"), f" from {row['sender']}: ", outcome,
                                f", {row['gas']:,} gas, ", inside))
    fields = [*row["fields"], ("nonce", str(row["nonce"]))]
    if row["blob"]:
        fields.append(("beside the block", row["blob"]))
    told = " · ".join(f"{name} {value}" for name, value in fields)
    console.print(Padding(Text(told), (0, 0, 0, 2)))
    for name, values in row["events"]:
        console.print(Padding(Text.assemble((f"event {name} ", "dim"), values), (0, 0, 0, 2)))


def _utc(milliseconds: str) -> str:
    """A header's time for people."""
    moment = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


def _changes(changes: Sequence[Sequence[str]], console: Console) -> None:
    if not changes:
        console.print("\nThe state stays as it was.")
        return
    table = Table(title=f"State: {_counted(len(changes), 'entry', 'entries')} written",
                  title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("entry", overflow="fold", min_width=28)
    for name in ("before", "after"):
        table.add_column(name, overflow="fold")
    for slot, before, after in changes[:MANY]:
        table.add_row(_cut(slot), _cut(before) or "–", _cut(after) or "(deleted)")
    console.print()
    console.print(table)
    if len(changes) > MANY:
        console.print(f"… and {len(changes) - MANY} more.")


def print_gas(
    lines: dict[tuple[str, int], int], sources: dict[str, str], console: Console
) -> None:
    """Gas by source line of a block's contract calls, in the sources' order."""
    if not lines:
        console.print("\nNo contract ran.")
        return
    most = max(lines.values())
    for name, source in sources.items():
        used = {line: gas for (contract, line), gas in lines.items() if contract == name}
        if not used:
            continue
        table = Table(title=f"{name}.contract: {sum(used.values()):,} gas", box=None,
                      title_justify="left", title_style="bold", pad_edge=False, show_header=False)
        table.add_column(justify="right")
        table.add_column(width=8)
        table.add_column(justify="right", style="dim")
        table.add_column(overflow="ellipsis", no_wrap=True)
        text = source.split("\n")
        for line, gas in sorted(used.items()):
            bar = "█" * max(1, round(8 * gas / most))
            table.add_row(f"{gas:,}", Text(bar, "yellow"), str(line), text[line - 1])
        console.print()
        console.print(table)


def _pairs(pairs: Sequence[Sequence[str]], console: Console) -> None:
    """Name and value in two columns; digests are cut where the terminal is narrow."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True, min_width=18)
    table.add_column(overflow="fold")
    for name, value in pairs:
        digest = len(value) == 64 and console.width < _WIDE
        table.add_row(name, value[:48] + "…" if digest else value)
    console.print(table)


def _cut(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
