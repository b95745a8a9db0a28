"""``bdn bench``: the benchmarks of a source checkout."""

import subprocess
import sys
from pathlib import Path

import click

import bdn
from bdn.errors import UsageError, did_you_mean

SCRIPT = Path("benchmarks") / "run_all.py"


def find_script() -> Path:
    """benchmarks/run_all.py beside the package.

    Raises `UsageError` where bdn was installed without its sources.
    """
    root = Path(bdn.__file__).resolve().parents[1]
    if not (root / SCRIPT).is_file():
        raise UsageError(
            f"the benchmarks are part of the source repository, and there is no {SCRIPT} in the "
            "folder that bdn is installed in: clone the repository, then pip install --editable ."
        )
    return root / SCRIPT


@click.command()
@click.argument("topics", metavar="[TOPIC]...", nargs=-1)
@click.option("--full", is_flag=True, help="The full profile instead of the quick one.")
@click.option("--paper", is_flag=True, help="Only the paper's figures and tables.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where JSON, plots and results.md go; benchmarks/results by default.")
def bench(topics: tuple[str, ...], full: bool, paper: bool, out: Path | None) -> int:
    """Run the benchmarks, or only TOPICs such as precision, latency, sealing.

    Exit status 0 when all of them ran, 1 when one failed, 2 without a source checkout.
    """
    script = find_script()
    known = [path.stem for path in script.parent.glob("*.py")]
    for topic in topics:
        if topic not in known:
            raise UsageError(f"there is no benchmark {topic[:80]!r}{did_you_mean(topic, known)}")
    command = [sys.executable, str(script), *topics]
    command += [] if full else ["--quick"]
    command += ["--paper"] if paper else []
    command += ["--out", str(out)] if out is not None else []
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own script
