"""Python functions that a user names on the command line: ``module:function``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from bdn.errors import BdnError, UsageError

T = TypeVar("T")


def call_factory(name: str, option: str, kind: type[T], **arguments: Any) -> T:
    """Return what the function ``module:function`` makes of ``arguments``; it must be a ``kind``.

    The module is looked for in the current folder first, as Python itself does. Raises `UsageError`
    that begins with ``option`` where the module, the function or the result is not as it should be.
    """
    made = find_function(name, option)
    try:
        result = made(**arguments)
    except BdnError:
        raise
    except Exception as error:
        raise UsageError(f"{option} {name}: raised {type(error).__name__}: "
                         f"{str(error)[:300]}") from error
    if not isinstance(result, kind):
        raise UsageError(f"{option} {name}: returned a {type(result).__name__}, "
                         f"not a {kind.__name__}")
    return result


def find_function(name: str, option: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; raises `UsageError` where there is none.
    """
    module_name, colon, function_name = name.partition(":")
    if not (colon and function_name.isidentifier() and len(name) < 200
            and all(part.isidentifier() for part in module_name.split("."))):
        raise UsageError(f"{option} takes module:function, not {name[:80]!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(f"{option} {name}: importing {module_name} raised "
                         f"{type(error).__name__}: {str(error)[:300]}") from error
    function: Any = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"{option} {name}: module {module_name} has no function {function_name}")
    return cast(Callable[..., Any], function)
