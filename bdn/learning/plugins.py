"""Calls of code that is the user's own: ``module:function``, a model or a client.

Whatever such code raises, `sys.exit` included, is its failure: `users_code` turns it into one line.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from bdn.errors import BdnError, UsageError

T = TypeVar("T")

MAX_REASON = 300
"""Characters of a user's error message that are passed on."""


@contextmanager
def users_code(
    what: str, error: type[BdnError] = UsageError,
    passing: tuple[type[BaseException], ...] = (),
) -> Iterator[None]:
    """Raise ``error``, one line that begins with ``what``, for anything that the body raises.

    `SystemExit` is turned into an error as well, so that a user's code cannot end the program as if
    all were well. Errors of bdn, Ctrl-C and what is ``passing`` are raised as they are.
    """
    try:
        yield
    except (BdnError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as caught:
        if isinstance(caught, passing):
            raise
        raise error(f"{what} raised {describe_error(caught)}") from caught


def describe_error(error: BaseException) -> str:
    """Return class and message of ``error`` in one line, the message of `MAX_REASON` characters."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may fail, too
        said = "its message cannot be read"
    said = " ".join(said[:4 * MAX_REASON].split())[:MAX_REASON]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def call_factory(name: str, option: str, kind: type[T], **arguments: Any) -> T:
    """Return what `call_function` returns; raise `UsageError` where it is no ``kind``."""
    result = call_function(name, option, **arguments)
    if not isinstance(result, kind):
        raise UsageError(f"{option} {name}: returned a {type(result).__name__}, "
                         f"not a {kind.__name__}")
    return result


def call_function(name: str, option: str, **arguments: Any) -> Any:
    """Return what the function ``module:function`` makes of those ``arguments`` that it takes.

    The module is looked for in the current folder first, as Python itself does. Raises `UsageError`
    that begins with ``option`` where the module or the function is not as it should be.
    """
    function = find_function(name, option)
    taken, lacking = _taken(function, arguments)
    if lacking:
        raise UsageError(f"{option} {name}: needs {', '.join(lacking)[:80]}, and is called with "
                         + (", ".join(arguments) or "no arguments"))
    with users_code(f"{option} {name}:"):
        return function(**taken)


def _taken(
    function: Callable[..., Any], arguments: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments that ``function`` takes by name, and what it needs besides."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a built-in function that does not tell
        return arguments, []
    by_name = {each.name for each in parameters
               if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    lacking = [each.name for each in parameters if each.default is each.empty
               and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
               and not (each.name in by_name and each.name in arguments)]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return arguments, lacking
    return {key: value for key, value in arguments.items() if key in by_name}, lacking


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
    with users_code(f"{option} {name}: importing {module_name}"):
        module = importlib.import_module(module_name)
        function: Any = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"{option} {name}: module {module_name} has no function {function_name}")
    return cast(Callable[..., Any], function)
