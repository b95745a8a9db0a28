"""``bdn vectors``: write known-answer vectors, or check a set of them."""

from pathlib import Path

import click

from bdn.cli.options import NamedPath
from bdn.vectors import check_vectors, write_vectors

SHOWN = 5
"""Failed cases of a file that are named."""


@click.command()
@click.argument("folder", metavar="DIR", type=NamedPath())
@click.option("--check", is_flag=True, help="Run the vectors in DIR against this bdn.")
def vectors(folder: Path, check: bool) -> int:
    """Write the known-answer vectors of docs/format.md into folder DIR, one JSON file per subject.

    With --check, read the vectors in DIR and compare each answer with what this bdn computes. Exit
    status 0 when all agree, 1 when one does not.
    """
    if not check:
        for made in write_vectors(folder):
            click.echo(f"{folder / made.name}.json: {len(made.cases)} cases")
        return 0
    wrong = 0
    for found, failed in check_vectors(folder):
        wrong += len(failed)
        names = ", ".join(failed[:SHOWN]) + (" …" if len(failed) > SHOWN else "")
        click.echo(f"{found.name}: {len(found.cases)} cases"
                   + (f", {len(failed)} differ: {names}" if failed else ""), err=bool(failed))
    return 1 if wrong else 0
