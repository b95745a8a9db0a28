"""Draws what a run prints at its end as an SVG: ``python docs/picture.py RUN docs/run.svg``."""

import re
import sys
from pathlib import Path

from rich.console import Console

from bdn.cli import tables
from bdn.experiments.folder import RunFolder


def main(run: str, target: str) -> None:
    """Print the run's tables into a recording console, and save them."""
    console = Console(record=True, width=92)
    history = RunFolder.open(Path(run)).read_history()
    tables.print_history(history, Path("runs/latest"), console)
    drawn = console.export_svg(title="make run")
    without_fonts = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # no outside host
    Path(target).write_text(without_fonts, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
