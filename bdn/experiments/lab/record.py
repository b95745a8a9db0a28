"""The lab's findings as a document: `lab.json` in a run folder, JSON, or a Markdown table."""

import platform
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from bdn.experiments.lab.finding import ROWS, Experiment, Finding

LAB = "lab.json"
"""The file in a run folder."""

Played = tuple[Experiment, Finding]


def play_all(
    experiments: Iterable[Experiment], key_bits: int,
    told: Callable[[Experiment, Finding], None] = lambda _experiment, _finding: None,
) -> list[Played]:
    """Play ``experiments`` one after the other; ``told`` hears of each when it is over."""
    played = []
    for each in experiments:
        finding = each(key_bits)
        told(each, finding)
        played.append((each, finding))
    return played


def document(played: Iterable[Played], key_bits: int) -> dict[str, Any]:
    """All findings as plain values: machine, date, key bits, and one record an experiment."""
    return {
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "key_bits": key_bits,
        "findings": [experiment.record(finding) for experiment, finding in played],
    }


def machine() -> str:
    """Where the lab was played, in a line."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def markdown(played: Iterable[Played], key_bits: int) -> str:
    """The page docs/lab-findings.md: a table for each row of Table 1."""
    kept = list(played)
    held = sum(finding.held for _, finding in kept)
    lines = [
        "# The attack lab: findings", "",
        (f"Written by `bdn lab all --key-bits {key_bits} --markdown`, on {machine()}. "
         "[lab.md](lab.md) says how each is played."), "",
        f"{held} of {len(kept)} experiments came out as documented.", "",
    ]
    for row in ROWS:
        lines += [f"## {row}", "", "| experiment | tried | happened | outcome |",
                  "|---|---|---|---|"]
        for experiment, finding in kept:
            if experiment.row == row:
                happened = "<br>".join(finding.happened)
                cells = (f"`{experiment.name}`", finding.tried, happened,
                         experiment.verdict(finding))
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
