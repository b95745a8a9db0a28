"""Sphinx's settings: `make docs` builds the site from the pages of this folder."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "bdn"
author = "the bdn maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["README.md", "results", "course/*.ipynb", "course/solutions"]
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True
html_theme = "furo"
html_title = "bdn"

suppress_warnings = ["ref.python"]  # a name that base and subclass share leads to either


def keep_bars(_app: Any, _what: str, _name: str, _obj: Any, _options: Any,
              lines: list[str]) -> None:
    """Keep |x| a size: reST would read a substitution in it."""
    lines[:] = [line[:1] + line[1:].replace("|", "\\|") for line in lines]


def setup(app: Any) -> None:
    """Tell Sphinx of what is done to docstrings."""
    app.connect("autodoc-process-docstring", keep_bars)
