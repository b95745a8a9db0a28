"""The optional dependencies, imported when they are first needed and by this module only."""

import importlib
from typing import Any

from bdn.errors import UsageError


def load(module: str) -> Any:
    """A module of the extra ``ethereum``; raises `UsageError` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError("Ethereum needs packages that are not installed; mend it with: "
                         f"pip install 'bdn[ethereum]' ({error})") from error
