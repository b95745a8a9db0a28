"""The command line: ``bdn run``, ``verify``, ``show``, ``resume`` and the rest.

Commands are imported when they are called, so that ``bdn --help`` is quick and optional parts may
be absent. Expected errors become one line on standard error and exit status 2.
"""

import importlib
import os
import sys
from typing import Any

# Before numpy is imported: the CNN's matrices are small, and threads that spin for them steal the
# cores from the big-integer arithmetic. One thread also fixes the last bit of every sum.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import click

from bdn.errors import BdnError

COMMANDS = {
    "run": ("bdn.cli.run", "Train together over an encrypted, agreed ledger."),
    "resume": ("bdn.cli.resume", "Go on with a run that was interrupted."),
    "verify": ("bdn.cli.verify", "Recompute a run's ledger from genesis."),
    "show": ("bdn.cli.show", "Look at a run, or at one of its blocks."),
    "report": ("bdn.cli.report", "Write the run's HTML report."),
    "lab": ("bdn.cli.lab", "Play attacks and faults against the real parts."),
    "simulate": ("bdn.cli.simulate", "Run PBFT scenarios, or search for ones that break it."),
    "contract": ("bdn.cli.contract", "Check and run contracts."),
    "detect": ("bdn.cli.detect", "Find objects in images with a run's model."),
    "bench": ("bdn.cli.bench", "Run the benchmarks of a source checkout."),
    "anchor": ("bdn.cli.anchor", "Anchor a run on Ethereum, and prove a lie."),
}
"""Command → (module, one line of help); the module's attribute of the same name is the command."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command called ``name``."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[name][0])
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="bdn")
def cli() -> None:
    """BlockDeepNet: IoT devices train a CNN together over an encrypted, agreed ledger."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 2 bad input, 130 interrupted."""
    sys.exit(invoke(arguments))


def invoke(arguments: list[str] | None = None) -> int:
    """The exit status of a command line; errors are printed."""
    try:
        status: Any = cli.main(arguments, prog_name="bdn", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("bdn: interrupted; what was sealed before is kept", err=True)
        return 130
    except BdnError as error:
        click.echo(f"bdn: {error}", err=True)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status if isinstance(status, int) else 0
