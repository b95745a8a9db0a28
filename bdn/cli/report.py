"""``bdn report``: the run's HTML page."""

import webbrowser
from pathlib import Path

import click

from bdn.cli.options import NamedPath
from bdn.report import write_report


@click.command()
@click.argument("folder", metavar="RUN", type=NamedPath())
@click.option("--out", type=NamedPath(),
              help="Where to write it  [default: RUN/report.html]")
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def report(folder: Path, out: Path | None, show: bool) -> None:
    """Write the report of the run in folder RUN: one page that needs no network."""
    page = write_report(folder, out)
    click.echo(page)
    if show and not webbrowser.open(page.resolve().as_uri()):
        click.echo("bdn: no browser was found; open the file yourself", err=True)
