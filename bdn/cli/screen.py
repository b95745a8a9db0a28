"""How the command line writes: text from anywhere stays text, on any terminal.

Names, reasons and paths may hold ``[red]``, control characters, or letters that the terminal's
encoding lacks. So consoles read no markup; styles are added by `styled`, which takes a template of
ours and escapes what is put into it. Control characters are replaced as segments are drawn, and
missing letters when they are encoded (`replace_missing_letters`).
"""

import io
import os
import string
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from bdn.runfolder.files import printable


class PlainConsole(Console):
    """A console that reads no markup, and lets a closed pipe be seen by `bdn.cli.invoke`.

    Args:
        stderr: whether it writes to standard error.
        goes_on: whether a closed pipe only makes it silent, so that the work behind it goes on.
    """

    def __init__(self, stderr: bool = False, goes_on: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        self._goes_on = goes_on
        self.push_render_hook(_Cleaning())

    def on_broken_pipe(self) -> None:
        """Be silent from now on; rich would end the process."""
        self.quiet = True
        if not self._goes_on:
            raise BrokenPipeError


class _Cleaning(RenderHook):
    """Replaces control characters in everything that is drawn."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap each."""
        return [_Cleaned(each) for each in renderables]


class _Cleaned:
    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inner, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        """The value as `str.format` has it, with its brackets escaped."""
        return escape(str(super().format_field(value, format_spec)))


def styled(template: str, *values: Any, **named: Any) -> Text:
    """``template``'s markup, with ``values`` put in as plain text."""
    return Text.from_markup(_Escaping().format(template, *values, **named), emoji=False)


def open_closed_streams() -> None:
    """Let a stream that is closed at the start (``bdn show RUN >&-``) swallow what is written.

    Python has None in its place then; and a file opened later could take its number, so that
    whoever writes to standard output wrote into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for the process's life


def replace_missing_letters() -> None:
    """Let both output streams write a replacement for letters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
