"""``bdn verify``: recompute a run's ledger from genesis."""

import json
import time
from pathlib import Path

import click

from bdn.chain import LedgerError
from bdn.cli.options import NamedPath
from bdn.experiments.verification import verify_run
from bdn.runfolder import LEDGER


@click.command()
@click.argument("folder", metavar="RUN", type=NamedPath())
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def verify(folder: Path, as_json: bool) -> int:
    """Recompute the ledger of run folder RUN (or of a ledger file) from genesis.

    Every signature, seal, root, proof and contract result is computed anew; the first place that
    does not agree is named. Exit status 0 when all holds, 1 when something does not.
    """
    path = folder / LEDGER if folder.is_dir() else folder
    started = time.perf_counter()
    try:
        height = verify_run(path)
    except LedgerError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "place": error.place, "error": str(error)}))
        else:
            click.echo(f"NOT VALID: {error}", err=True)
        return 1
    seconds = time.perf_counter() - started
    if as_json:
        click.echo(json.dumps({"ok": True, "height": height, "seconds": seconds}))
    else:
        click.echo(f"{path}: valid up to block {height} ({seconds:.1f} s)")
    return 0
