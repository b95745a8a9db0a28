"""``bdn resume``: go on with a run that was interrupted."""

import dataclasses
from pathlib import Path

import click

from bdn.cli.options import NamedPath
from bdn.cli.run import WORTHWHILE_BITS, drive, print_outcome_of
from bdn.errors import UsageError
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import rebuild_history
from bdn.learning.executors import choose_executor
from bdn.runfolder import HISTORY


@click.command()
@click.argument("folder", metavar="RUN", type=NamedPath())
@click.option("--executor", metavar="WHERE",
              help="Work elsewhere than before: serial, processes[:COUNT], dask:ADDRESS or auto.")
@click.option("--epochs", type=click.IntRange(min=1), metavar="P",
              help="Go on to P epochs in all, after the end too. The devices ask for them on the "
                   "ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def resume(folder: Path, executor: str | None, epochs: int | None, as_json: bool) -> None:
    """Go on with the run in folder RUN where it stopped, or beyond its end.

    Every node takes up its ledger and journal; the model at the end is the one that the undisturbed
    run would have made, since data, batches and sums are the same. Settings or data that have
    changed since are refused. Of a run that has ended, a lost or damaged history is made anew.
    """
    opened = RunFolder.open(folder)
    with opened.locked():  # finishes what was interrupted; others may lock the folder afterwards
        if epochs is not None:
            opened.extend(epochs)
        marker, config = opened.marker(), opened.config
    if executor is not None:
        several = not marker["processes"] and config.clients is None
        config = dataclasses.replace(config, executor=choose_executor(
            executor, worthwhile=several and config.key_bits >= WORTHWHILE_BITS))
    if not marker["ended"]:
        drive(config, opened, as_json, processes=marker["processes"])
        return
    try:
        history = opened.read_history()
    except UsageError as error:
        damaged = (folder / HISTORY).exists()
        history = rebuild_history(config, opened)
        if damaged:
            click.echo(f"bdn: {error.__cause__ or error}; now it is made anew", err=True)
    print_outcome_of(history, folder, as_json)
