"""``bdn lab``: attacks and faults, played against the real parts."""

import json
from dataclasses import asdict

import click

from bdn.experiments.lab import EXPERIMENTS, experiment


@click.command()
@click.argument("name", metavar="EXPERIMENT", required=False)
@click.option("--key-bits", default=2048, show_default=True, help="Bits of the Paillier modulus.")
@click.option("--json", "as_json", is_flag=True, help="Print the finding as JSON.")
def lab(name: str | None, key_bits: int, as_json: bool) -> int:
    """Play EXPERIMENT and say what was tried, what happened, and what is not covered.

    Without a name: the list. Exit status 0 when the defence held, 1 when it did not.
    """
    if name is None:
        for each, function in EXPERIMENTS.items():
            click.echo(f"{each:20} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    finding = experiment(name)(key_bits)
    if as_json:
        click.echo(json.dumps({"experiment": name, **asdict(finding)}))
        return 0 if finding.held else 1
    click.echo(f"Tried:       {finding.tried}")
    for line in finding.happened:
        click.echo(f"Happened:    {line}")
    click.echo(f"Paper:       {finding.claimed}")
    click.echo(f"Not covered: {finding.not_covered}")
    click.echo("The defence held." if finding.held else "THE DEFENCE DID NOT HOLD.")
    return 0 if finding.held else 1
