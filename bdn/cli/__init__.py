"""The command line: ``bdn run``, ``verify``, ``show``, ``resume`` and the rest.

Commands are imported when they are called, so that ``bdn --help`` is quick and optional parts may
be absent. Whatever goes wrong outside of bdn (an option, a file, the disk, the terminal) becomes
one line on standard error that says what to do, and exit status 2: all of it passes `invoke`.
"""

import importlib
import os
import sqlite3
import sys
from typing import Any

# Before numpy is imported: the CNN's matrices are small, and threads that spin for them steal the
# cores from the big-integer arithmetic. One thread also fixes the last bit of every sum, so it is
# not left to the environment.
os.environ.update(dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"))

import click

from bdn.cli.failures import explain_os_error, explain_sqlite_error
from bdn.errors import BdnError, did_you_mean

CLOSED_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended."""

COMMANDS = {
    "run": ("bdn.cli.run", "Train together over an encrypted, agreed ledger."),
    "resume": ("bdn.cli.resume", "Go on with a run that was interrupted."),
    "verify": ("bdn.cli.verify", "Recompute a run's ledger from genesis."),
    "show": ("bdn.cli.show", "Look at a run, or at one of its blocks."),
    "predict": ("bdn.cli.predict", "Classify pictures or data with a run's model."),
    "report": ("bdn.cli.report", "Write the run's HTML report."),
    "lab": ("bdn.cli.lab", "Play attacks and faults against the real parts."),
    "simulate": ("bdn.cli.simulate", "Run PBFT scenarios, or search for ones that break it."),
    "contract": ("bdn.cli.contract", "Check and run contracts."),
    "detect": ("bdn.cli.detect", "Find objects in images with a run's model."),
    "vectors": ("bdn.cli.vectors", "Write or check known answers for other implementations."),
    "bench": ("bdn.cli.bench", "Run the benchmarks of a source checkout."),
    "anchor": ("bdn.cli.anchor", "Anchor a run on Ethereum, and prove a lie."),
}
"""Command → (module, one line of help); the module's attribute of the same name is the command."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:  # fmt: skip
        """As click does, with the nearest command where there is none of that name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"no such command: {name[:80]}{did_you_mean(name, COMMANDS)}",
                                   ctx)
        return super().resolve_command(ctx, args)

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
    status = invoke(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        status = status or _say_os_error(error)
    sys.exit(status)


def invoke(arguments: list[str] | None = None) -> int:
    """The exit status of a command line; errors are printed."""
    from bdn.cli.screen import open_closed_streams, replace_missing_letters

    open_closed_streams()
    replace_missing_letters()
    try:
        status: Any = cli.main(arguments, prog_name="bdn", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        _say(_one_line(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("bdn: interrupted; what was sealed before is kept")
        return 130
    except BdnError as error:
        _say(f"bdn: {error}")
        return 2
    except OSError as error:
        return _say_os_error(error)
    except sqlite3.Error as error:
        _say(f"bdn: {explain_sqlite_error(error)}")
        return 2
    except MemoryError:
        _say("bdn: there is not enough memory; take fewer devices, a smaller key, or fewer samples")
        return 2
    return status if isinstance(status, int) else 0


def _one_line(error: click.ClickException) -> str:
    """A wrong command line: which command, what was wrong, and where its options are listed."""
    message = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return f"bdn: {message}"
    return f"{context.command_path}: {message.rstrip('.')}; see {context.command_path} --help"


def _say_os_error(error: OSError) -> int:
    """Tell of it, and give the exit status; nobody is told of a pipe that nobody reads."""
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return CLOSED_PIPE
    _say(f"bdn: {explain_os_error(error)}")
    _drop_output()
    return 2


def _say(line: str) -> None:
    """One line on standard error, where anybody listens."""
    from bdn.runfolder.files import printable

    if not _has_working_folder():
        line += "; the working folder has been deleted: change to another one (cd)"
    try:
        click.echo(printable(line.replace("\n", " ")), err=True)
    except OSError:
        return


def _has_working_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() asks the same
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """What could not be written to standard output is given up: closing it must not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
