"""``bdn resume``: go on with a run that was interrupted."""

import json
from pathlib import Path

import click

from bdn.cli.run import drive
from bdn.cli.tables import print_history
from bdn.experiments.folder import HISTORY, RunFolder
from bdn.experiments.processes.run import in_processes


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def resume(folder: Path, as_json: bool) -> None:
    """Go on with the run in folder RUN where it stopped.

    Every node takes up its ledger and journal; the model at the end is the one that the undisturbed
    run would have made, since data, batches and sums are the same.
    """
    opened = RunFolder.open(folder)
    if not (folder / HISTORY).is_file():
        drive(opened.config, opened, as_json, processes=in_processes(folder))
        return
    history = opened.read_history()  # the run has ended: there is nothing to go on with
    if as_json:
        click.echo(json.dumps(history))
    else:
        print_history(history, folder)
