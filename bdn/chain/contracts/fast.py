"""Short ways of the compiled engine for what most programs mostly do.

Each takes the closures of its operands and gives one closure. The short way is for small integers
(magnitude below 2^63), short keys and short texts, for which nothing dynamic is charged; whatever
else comes along goes, from the beginning, to the operation that the walker uses too. So charges and
failures are the same, which the differential test holds.

An operand that is a variable is read from its ``slot``, and one that is a literal is built in.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from bdn.chain.contracts import operations as op
from bdn.chain.contracts.builtins import Builtin
from bdn.chain.contracts.errors import OutOfGas
from bdn.chain.contracts.limits import MAX_ENTRIES, MAX_ITEMS, MAX_TEXT
from bdn.chain.contracts.machine import Machine
from bdn.chain.contracts.methods import call_method
from bdn.chain.contracts.sizes import SMALL

Value = Callable[[Machine, list[Any]], Any]
"""An expression's closure: (machine, frame) -> value."""

Native = Callable[[Any, Any], Any]

Slots = tuple[int | None, int | None]
"""Where the left and the right operand lie, for those that are variables."""

MINUS = -SMALL

SHORT = 32
"""Keys shorter than this cost nothing to hash (`sizes.check_key`)."""

_LINEAR: Mapping[str, Native] = {
    "+": operator.add, "-": operator.sub, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "*": operator.mul,
}
"""On ints, priced by nothing but a large result when the right operand is small."""

_DIVISION: Mapping[str, Native] = {"//": operator.floordiv, "%": operator.mod}
"""On ints, priced by nothing when the left operand is small."""

_ORDER: Mapping[str, Native] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}

_SIZED = frozenset({str, bytes, list, dict})
_CONTAINERS = frozenset({list, dict})


# --- arithmetic ---------------------------------------------------------------------------------


def binary(name: str, left: Value, right: Value, slots: Slots, literal: Any) -> Value:
    """``left name right``; ``slots`` of those that are variables, ``literal`` if the right is one.
    """
    full = op.BINARY[name]
    native = _LINEAR.get(name) or _DIVISION.get(name)
    if native is None:
        return lambda m, f: full(m, left(m, f), right(m, f))
    if name in _DIVISION and _small(literal) and literal:
        return _divided(native, full, left, slots[0], literal)
    if name not in _DIVISION and _small(literal):
        return _with_literal(native, full, left, slots[0], literal)
    if name in _DIVISION:
        return _quotient(native, full, left, right)
    if name == "*":
        return _product(full, left, right, slots)
    if name == "+":
        return _plus(left, right, slots)
    return _linear(native, full, left, right)


def _small(value: Any) -> bool:
    return type(value) is int and MINUS < value < SMALL


def _with_literal(native: Native, full: op.Operation, left: Value, slot: int | None,
                  literal: int) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a = left(m, f)
        if type(a) is int:
            result = native(a, literal)
            if MINUS < result < SMALL:
                return result
        return full(m, a, literal)

    def of_variable(m: Machine, f: list[Any]) -> Any:
        a = f[slot]  # type: ignore[index]  # returned only where there is a slot
        if type(a) is int:
            result = native(a, literal)
            if MINUS < result < SMALL:
                return result
        return full(m, a, literal)

    return run if slot is None else of_variable


def _divided(native: Native, full: op.Operation, left: Value, slot: int | None,
             literal: int) -> Value:
    """``//`` or ``%`` by a small literal that is not zero."""

    def run(m: Machine, f: list[Any]) -> Any:
        a = left(m, f)
        if type(a) is int and MINUS < a < SMALL:
            return native(a, literal)
        return full(m, a, literal)

    def of_variable(m: Machine, f: list[Any]) -> Any:
        a = f[slot]  # type: ignore[index]  # returned only where there is a slot
        if type(a) is int and MINUS < a < SMALL:
            return native(a, literal)
        return full(m, a, literal)

    return run if slot is None else of_variable


def _quotient(native: Native, full: op.Operation, left: Value, right: Value) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if (type(a) is int and type(b) is int and MINUS < a < SMALL and MINUS < b < SMALL
                and b):
            return native(a, b)
        return full(m, a, b)

    return run


def _product(full: op.Operation, left: Value, right: Value, slots: Slots) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if type(a) is int and type(b) is int and MINUS < b < SMALL:
            result = a * b
            if MINUS < result < SMALL:
                return result
        return full(m, a, b)

    first, second = slots
    if first is None or second is None:
        return run

    def of_variables(m: Machine, f: list[Any]) -> Any:
        a, b = f[first], f[second]
        if type(a) is int and type(b) is int and MINUS < b < SMALL:
            result = a * b
            if MINUS < result < SMALL:
                return result
        return full(m, a, b)

    return of_variables


def _linear(native: Native, full: op.Operation, left: Value, right: Value) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if type(a) is int and type(b) is int:
            result = native(a, b)
            if MINUS < result < SMALL:
                return result
        return full(m, a, b)

    return run


def _plus(left: Value, right: Value, slots: Slots) -> Value:
    """``+`` of numbers and of texts, with variables read in place."""
    first, second = slots

    def run(m: Machine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if type(a) is int and type(b) is int:
            result = a + b
            if MINUS < result < SMALL:
                return result
        return _join(m, a, b)

    if first is None:
        return run

    def to_variable(m: Machine, f: list[Any]) -> Any:
        a, b = f[first], right(m, f)
        if type(a) is int and type(b) is int:
            result = a + b
            if MINUS < result < SMALL:
                return result
        return _join(m, a, b)

    if second is None:
        return to_variable

    def of_variables(m: Machine, f: list[Any]) -> Any:
        a, b = f[first], f[second]
        if type(a) is int and type(b) is int:
            result = a + b
            if MINUS < result < SMALL:
                return result
        return _join(m, a, b)

    return of_variables


def _join(m: Machine, a: Any, b: Any) -> Any:
    """``a + b``, directly for two texts, charged as `sizes.allocate` does."""
    kind = type(a)
    if kind is type(b) and (kind is bytes or kind is str):
        size = len(a) + len(b)
        if size <= MAX_TEXT:
            m.gas = left = m.gas - (size >> 4)
            if left < 0:
                raise OutOfGas("out of gas")
            return a + b
    return op.add(m, a, b)


# --- comparison ---------------------------------------------------------------------------------


def compare(name: str, left: Value, right: Value, slots: Slots, literal: Any) -> Value:
    """``left name right``, as `binary`."""
    full = op.COMPARE[name]
    if name == "in":
        return _membership(left, right)
    native = _ORDER.get(name)
    if native is None:
        return lambda m, f: full(m, left(m, f), right(m, f))
    if type(literal) is int:
        if slots[0] is not None:
            return _variable_against(native, full, slots[0], literal)
        return _against(native, full, left, literal)
    ordered = native

    def run(m: Machine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        kind = type(a)
        if kind is type(b) and (kind is int or ((kind is bytes or kind is str) and len(a) < 64)):
            return ordered(a, b)
        return full(m, a, b)

    return run


def _variable_against(native: Native, full: op.Operation, slot: int, literal: int) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a = f[slot]
        return native(a, literal) if type(a) is int else full(m, a, literal)

    return run


def _against(native: Native, full: op.Operation, left: Value, literal: int) -> Value:
    def run(m: Machine, f: list[Any]) -> Any:
        a = left(m, f)
        return native(a, literal) if type(a) is int else full(m, a, literal)

    return run


def _membership(left: Value, right: Value) -> Value:
    """``in``, directly for a dict and a short key."""

    def run(m: Machine, f: list[Any]) -> Any:
        item, container = left(m, f), right(m, f)
        kind = type(item)
        if type(container) is dict and (kind is str or kind is bytes) and len(item) < SHORT:
            return item in container
        return op.contains(m, item, container)

    return run


# --- items --------------------------------------------------------------------------------------


def index(container: Value, position: Value) -> Value:
    """``container[position]``."""

    def run(m: Machine, f: list[Any]) -> Any:
        c, i = container(m, f), position(m, f)
        kind, by = type(c), type(i)
        if (kind is list or kind is bytes) and by is int:
            try:
                return c[i]
            except IndexError:
                pass
        elif kind is dict and (by is str or by is bytes) and len(i) < SHORT:
            try:
                return c[i]
            except KeyError:
                pass
        return op.get_index(m, c, i)

    return run


def part(container: Value, start: Any, stop: Any) -> Value:
    """``container[start:stop]`` with literal or absent bounds, charged as `sizes.allocate` does."""
    bounds = slice(start, stop)

    def run(m: Machine, f: list[Any]) -> Any:
        c = container(m, f)
        if type(c) is not bytes and type(c) is not str:
            return op.get_slice(m, c, start, stop)
        if len(c) > 15:  # a shorter one costs nothing
            first, last, _ = bounds.indices(len(c))
            if last > first:
                m.gas = left = m.gas - ((last - first) >> 4)
                if left < 0:
                    raise OutOfGas("out of gas")
        return c[bounds]

    return run


def put(m: Machine, container: Any, position: Any, value: Any) -> None:
    """``container[position] = value``."""
    if type(value) not in _CONTAINERS:
        kind, by = type(container), type(position)
        if kind is list and by is int:
            try:
                container[position] = value
                return
            except IndexError:
                pass
        elif (kind is dict and (by is str or by is bytes) and len(position) < SHORT
              and len(container) < MAX_ENTRIES):
            container[position] = value
            return
    op.set_index(m, container, position, value)


def get(receiver: Value, key: Value, default: Value) -> Value:
    """``receiver.get(key, default)``."""

    def run(m: Machine, f: list[Any]) -> Any:
        entries, k, other = receiver(m, f), key(m, f), default(m, f)
        kind = type(k)
        if type(entries) is dict and (kind is str or kind is bytes) and len(k) < SHORT:
            return entries.get(k, other)
        return call_method(m, entries, "get", (k, other))

    return run


def append(receiver: Value, item: Value) -> Value:
    """``receiver.append(item)``."""

    def run(m: Machine, f: list[Any]) -> None:
        items, value = receiver(m, f), item(m, f)
        if type(items) is list and type(value) not in _CONTAINERS and len(items) < MAX_ITEMS:
            items.append(value)
        else:
            call_method(m, items, "append", (value,))

    return run


def length(argument: Value, full: Builtin) -> Value:
    """``len(argument)``."""

    def run(m: Machine, f: list[Any]) -> Any:
        value = argument(m, f)
        return len(value) if type(value) in _SIZED else full(m, (value,))

    return run


def to_bytes(value: Value, width: int, full: Builtin) -> Value:
    """``to_bytes(value, width)`` with a literal width of less than 16."""
    bound = 1 << (8 * width)

    def run(m: Machine, f: list[Any]) -> Any:
        v = value(m, f)
        if type(v) is int and 0 <= v < bound:
            return v.to_bytes(width, "big")
        return full(m, (v, width))

    return run


def text(argument: Value, full: Builtin) -> Value:
    """``str(argument)``."""

    def run(m: Machine, f: list[Any]) -> Any:
        value = argument(m, f)
        if type(value) is int and MINUS < value < SMALL:
            return str(value)
        return full(m, (value,))

    return run
