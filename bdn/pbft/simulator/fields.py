"""A strict reader of JSON: what is not foreseen is refused, with one line that names the key.

A *check* takes a value and where it stands (``drop[0].from_ms``) and gives the value back, or
raises `ScenarioError`. Checks are built from the small ones below; `section` makes a check for an
object, which becomes the dataclass given. The table of a section is its documentation: the names
as the file spells them, the attribute that each becomes, and the check that it must pass.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from bdn.errors import UsageError

Check = Callable[[Any, str], Any]


class ScenarioError(UsageError):
    """A scenario file that says something impossible. One line: where, and what would do."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: the ``attribute`` that it becomes and the ``check`` it must pass."""

    attribute: str
    check: Check


# --- values -------------------------------------------------------------------------------------


def integer(low: int, high: int) -> Check:
    """A whole number in [low, high]; JSON's ``true`` and ``1.0`` are none."""

    def check(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ScenarioError(f"{where}: {_shown(value)} is not a whole number "
                                f"from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A finite number in [low, high], whole or not."""

    def check(value: Any, where: str) -> int | float:
        if type(value) not in (int, float) or not (math.isfinite(value) and low <= value <= high):
            raise ScenarioError(f"{where}: {_shown(value)} is not a number "
                                f"from {low:g} to {high:g}")
        return value  # type: ignore[no-any-return]  # narrowed by the type test above

    return check


def text(limit: int = 200) -> Check:
    """Text of 1 to ``limit`` characters."""

    def check(value: Any, where: str) -> str:
        if type(value) is not str or not 1 <= len(value) <= limit:
            raise ScenarioError(f"{where}: {_shown(value)} is not text of 1 to {limit} characters")
        return value

    return check


def flag(value: Any, where: str) -> bool:
    """``true`` or ``false``."""
    if type(value) is not bool:
        raise ScenarioError(f"{where}: {_shown(value)} is neither true nor false")
    return value


def one_of(*choices: str) -> Check:
    """One of the given words."""

    def check(value: Any, where: str) -> str:
        if type(value) is not str or value not in choices:
            raise ScenarioError(f"{where}: {_shown(value)} is none of {', '.join(choices)}")
        return value

    return check


def listed(item: Check, limit: int = 10_000) -> Check:
    """An array of at most ``limit`` items that each pass ``item``; becomes a tuple."""

    def check(value: Any, where: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise ScenarioError(f"{where}: {_shown(value)} is not an array")
        if len(value) > limit:
            raise ScenarioError(f"{where}: {len(value)} items; at most {limit} are read")
        return tuple(item(entry, f"{where}[{i}]") for i, entry in enumerate(value))

    return check


def interval(item: Check) -> Check:
    """An array ``[low, high]`` with low ≤ high."""

    def check(value: Any, where: str) -> tuple[Any, Any]:
        if type(value) is not list or len(value) != 2:
            raise ScenarioError(f"{where}: {_shown(value)} is not [low, high]")
        low, high = item(value[0], f"{where}[0]"), item(value[1], f"{where}[1]")
        if low > high:
            raise ScenarioError(f"{where}: {low} is above {high}")
        return low, high

    return check


def names(value: Any, where: str) -> tuple[str, ...]:
    """An array of names, or one name alone; becomes a tuple without repetitions."""
    if type(value) is str:
        return (value,)
    found: tuple[str, ...] = listed(text())(value, where)
    if len(set(found)) != len(found):
        raise ScenarioError(f"{where}: a name stands there twice")
    return found


# --- objects ------------------------------------------------------------------------------------


def section(cls: type, keys: Mapping[str, Key]) -> Check:
    """An object with some of ``keys`` and no other, as an instance of the dataclass ``cls``.

    A key is required when its attribute has no default.
    """
    required = {field.name for field in fields(cls)
                if field.default is MISSING and field.default_factory is MISSING}

    def check(value: Any, where: str) -> Any:
        prefix = f"{where}: " if where else ""
        if type(value) is not dict:
            raise ScenarioError(f"{prefix}{_shown(value)} is not an object")
        for name in value:
            if name not in keys:
                raise ScenarioError(f"{prefix}unknown key {_shown(name)}; "
                                    f"known here: {', '.join(keys)}")
        for name, key in keys.items():
            if key.attribute in required and name not in value:
                raise ScenarioError(f"{prefix}the key \"{name}\" is missing")
        dot = f"{where}." if where else ""
        return cls(**{keys[name].attribute: keys[name].check(entry, dot + name)
                      for name, entry in value.items()})

    return check


def read_json(data: str) -> Any:
    """The value of a JSON text; duplicate keys and NaN are refused. Raises `ScenarioError`."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) != len(found):
            twice = next(name for name, _ in found if sum(n == name for n, _ in found) > 1)
            raise ScenarioError(f"the key {_shown(twice)} stands twice in one object")
        return result

    def constant(name: str) -> Any:
        raise ScenarioError(f"{name} is no JSON number")

    try:
        return json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"not JSON: {error}") from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"not readable as JSON: {error}") from error


def _shown(value: Any) -> str:
    """``value`` as JSON, cut to one short line."""
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else shown[:57] + "…"
