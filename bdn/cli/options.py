"""Kinds of options that several commands take."""

from pathlib import Path
from typing import Any

import click


class NamedPath(click.Path):
    """A path that must not be empty: an empty one would mean the current folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; refused where it is empty."""
        if str(value) == "" or (isinstance(value, str) and "\0" in value):
            self.fail("a path must not be empty", param, ctx)
        return super().convert(value, param, ctx)
