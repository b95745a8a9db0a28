"""``bdn lab``: attacks and faults, played against the real parts."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from bdn.cli.options import NamedPath
from bdn.cli.screen import PlainConsole
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.experiments.lab import (
    EXPERIMENTS,
    LAB,
    Finding,
    document,
    experiment,
    markdown,
    play_all,
)
from bdn.runfolder.files import demand_own, write_json

ALL = "all"


@click.command()
@click.argument("name", metavar="[EXPERIMENT|all]", required=False)
@click.option("--key-bits", default=2048, show_default=True, type=click.IntRange(min=256),
              help="Bits of the Paillier modulus.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print them as Markdown tables.")
@click.option("--into", metavar="RUN", type=NamedPath(),
              help=f"Write {LAB} into this run folder, for its report.")
def lab(
    name: str | None, key_bits: int, as_json: bool, as_markdown: bool, into: Path | None
) -> int:
    """Play EXPERIMENT, or all, and say what was tried, what happened, and what is not covered.

    Without a name: the list. Exit status 0 when everything came out as documented, 1 when
    something did not.
    """
    if name is None:
        if into is not None or as_json or as_markdown:
            raise UsageError("name an experiment to play, or all")
        _list()
        return 0
    chosen = list(EXPERIMENTS.values()) if name == ALL else [experiment(name)]
    folder = RunFolder.open(into) if into is not None else None
    if folder is not None:
        demand_own(folder.path / LAB, "a file")
    quiet = as_json or as_markdown
    told = _Teller(quiet, short=len(chosen) > 1)
    played = play_all(chosen, key_bits, told)
    whole = document(played, key_bits)
    if folder is not None:
        write_json(folder.path / LAB, whole)
    if as_json:
        click.echo(json.dumps(whole if name == ALL else whole["findings"][0], ensure_ascii=False))
    elif as_markdown:
        click.echo(markdown(played, key_bits))
    elif len(played) > 1:
        _summary(played)
    if folder is not None and not quiet:
        click.echo(f"Written: {folder.path / LAB}. See it with: bdn report {folder.path}")
    return 0 if all(finding.held for finding in played) else 1


class _Teller:
    """Tells of each finding as it comes: on standard error where the output is for a program."""

    def __init__(self, quiet: bool, short: bool) -> None:
        self._quiet, self._short = quiet, short
        self._started = time.perf_counter()

    def __call__(self, finding: Finding) -> None:
        """One finding."""
        seconds = time.perf_counter() - self._started
        self._started = time.perf_counter()
        if self._quiet:
            line = f"{finding.experiment:22}{finding.verdict:30}{seconds:6.1f} s"
            click.echo(line, err=True)
            return
        if self._short:
            click.echo(f"== {finding.experiment} ({seconds:.1f} s)")
        _print(finding)


def _list() -> None:
    """All experiments, by group."""
    groups = dict.fromkeys(each.group for each in EXPERIMENTS.values())
    for group in groups:
        click.echo(f"{group[0].upper()}{group[1:]}")
        for each in EXPERIMENTS.values():
            if each.group == group:
                click.echo(f"  {each.name:22}{each.title}")
    click.echo("\nPlay one with bdn lab NAME, or all with bdn lab all.")


def _print(finding: Finding) -> None:
    """One finding in full."""
    click.echo(f"Tried:       {finding.tried}")
    for line in finding.happened:
        click.echo(f"Happened:    {line}")
    click.echo(f"Paper:       {finding.claimed}")
    click.echo(f"Not covered: {finding.not_covered}")
    click.echo(f"Outcome:     {finding.verdict}\n")


def _summary(played: Sequence[Finding]) -> None:
    """The outcomes in one table."""
    table = Table(title="The attack lab", title_justify="left")
    for column in ("experiment", "Table 1", "outcome"):
        table.add_column(column)
    for finding in played:
        style = ("green" if finding.prevented else "yellow") if finding.held else "bold red"
        table.add_row(finding.experiment, finding.row, Text(finding.verdict, style))
    PlainConsole().print(table)
    held = sum(finding.held for finding in played)
    click.echo(f"{held} of {len(played)} experiments came out as documented.")
