"""What an experiment of the lab is, and how experiments are played and written down."""

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bdn.experiments.runner import StalledError
from bdn.runfolder.findings import ROWS, Finding


@dataclass(frozen=True, slots=True)
class Experiment:
    """One attack or fault, to be played against the real parts.

    Attributes:
        name: on the command line.
        group: what it is about, for the list.
        row: the row of Table 1 that it answers, one of `ROWS`.
        play: plays it with Paillier keys of so many bits. The first line of its docstring is the
            experiment's title.
        prevented: whether the attack is to fail. Where it is not, the finding shows what the
            attacker gets, and ``held`` says that it is what the documents say.
    """

    name: str
    group: str
    row: str
    play: Callable[[int], Finding]
    prevented: bool = True

    @property
    def title(self) -> str:
        """One line; the name, where Python runs without docstrings (``-OO``)."""
        return (self.play.__doc__ or self.name.replace("-", " ")).splitlines()[0]

    def __call__(self, key_bits: int) -> Finding:
        """Play it. A run that stalls where the experiment did not expect it has not held."""
        try:
            finding = self.play(key_bits)
        except StalledError as error:
            said = f"The experiment could not be played to its end: {error}."
            finding = Finding(self.title, (said,), "Not reached.", "Not reached.", held=False)
        return replace(finding, experiment=self.name, group=self.group, row=self.row,
                       title=self.title, prevented=self.prevented)


def play_all(
    experiments: Iterable[Experiment], key_bits: int,
    told: Callable[[Finding], None] = lambda _finding: None,
) -> list[Finding]:  # fmt: skip
    """Play ``experiments`` one after the other; ``told`` hears of each when it is over."""
    found = []
    for each in experiments:
        finding = each(key_bits)
        told(finding)
        found.append(finding)
    return found


def document(found: Iterable[Finding], key_bits: int) -> dict[str, Any]:
    """The findings as `lab.json` holds them: machine, date, key bits, one object per finding."""
    return {
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "key_bits": key_bits,
        "findings": [finding.to_plain() for finding in found],
    }


def machine() -> str:
    """Where the lab was played, in a line."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def markdown(found: Iterable[Finding], key_bits: int) -> str:
    """The page docs/lab-findings.md: a table for each row of Table 1."""
    kept = list(found)
    held = sum(finding.held for finding in kept)
    lines = [
        "# The attack lab: findings", "",
        (f"Written by `bdn lab all --key-bits {key_bits} --markdown`, on {machine()}. "
         "[lab.md](lab.md) says how each is played."), "",
        f"{held} of {len(kept)} experiments came out as documented.", "",
    ]
    for row in ROWS:
        lines += [f"## {row}", "", "| experiment | tried | happened | outcome |",
                  "|---|---|---|---|"]
        for finding in kept:
            if finding.row == row:
                cells = (f"`{finding.experiment}`", finding.tried,
                         "<br>".join(finding.happened), finding.verdict)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
