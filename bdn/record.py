"""Frozen dataclasses that are quickly made.

`dataclasses` fills a frozen object by calling ``object.__setattr__`` with one name after the other,
and a PREPARE or COMMIT is made for nearly every message that arrives. `record` makes the same
class, frozen and with slots, but gives it an ``__init__`` that hands each value to its slot, which
is quicker. `tests/pbft/test_pbft_straight.py` holds both kinds equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ParamSpec, TypeVar, dataclass_transform

P = ParamSpec("P")
T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(
    cls: type[T], checks: Sequence[str] = (), known: Mapping[str, Any] | None = None
) -> type[T]:
    """``dataclass(frozen=True, slots=True)`` for fields without defaults, with a quicker start.

    ``checks`` are lines of source for the end of ``__init__``, which see ``self``, the fields by
    their names, and what is ``known``; ``__post_init__`` comes after them.
    """
    made: Any = dataclass(frozen=True, slots=True)(cls)
    names = [field.name for field in fields(made)]
    assert all(f.default is f.default_factory is MISSING and f.init for f in fields(made))
    space: dict[str, Any] = {
        **(known or {}), "made": made, "Draft": type("Draft", (), {"__slots__": tuple(names)}),
        **{f"set_{name}": getattr(made, name).__set__ for name in names}}
    ending = [*checks, *(["self.__post_init__()"] if hasattr(made, "__post_init__") else [])]
    begin = compile_function(
        f"def __init__(self, {', '.join(names)}):",
        [*(f"set_{name}(self, {name})" for name in names), *ending], space)
    begin.__qualname__ = f"{made.__qualname__}.__init__"
    begin.__annotations__ = made.__init__.__annotations__
    made.__init__ = begin
    _MAKERS[made] = compile_function(
        f"def make({', '.join(names)}):",
        ["self = Draft()", *(f"self.{name} = {name}" for name in names),
         "self.__class__ = made", *ending, "return self"], space)
    return made  # type: ignore[no-any-return]  # it is a type[T]


_MAKERS: dict[Callable[..., Any], Callable[..., Any]] = {}


def maker(cls: Callable[P, T]) -> Callable[P, T]:
    """A function that makes what ``cls`` makes when it is called, in less than half the time.

    It fills an object of a class with the same slots that is not frozen, and then gives it the
    class that is. For what is made at every step.
    """
    return _MAKERS[cls]


def compile_function(head: str, lines: list[str], known: dict[str, Any]) -> Callable[..., Any]:
    """The function that the source says, as `dataclasses` itself makes its methods.

    Nothing from outside the package ever becomes part of a source.
    """
    space: dict[str, Any] = dict(known)
    exec("\n    ".join([head, *lines]), space)  # noqa: S102 - the source is ours, from field names
    function: Callable[..., Any] = space[head.removeprefix("def ").split("(")[0]]
    return function
