"""Direct ways through the commonest operations, for the commonest operands.

A shortcut takes the closures of its operands and returns one closure. When the operands are small
integers (magnitude below 2^63), short keys or single items, `operations` would charge nothing and
refuse nothing, so the closure applies Python's own operator; three shortcuts for bytes charge for
the new ones themselves. In every other case the closure calls the operation that the walker calls,
with the same operands. The differential test checks that charges and failures are equal.

Shortcuts are the only place where the two engines differ in more than dispatch. Without them the
workloads of ``benchmarks/contracts.py`` take 2.0 to 2.7 times as long. Where a variable is squared,
counted up, compared or divided, it is read from its slot in place, which saves a call: that is a
tenth of the time of the workloads "loop" and "branch".
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from bdn.chain.contracts.errors import OutOfGas
from bdn.chain.contracts.gas import GasTable
from bdn.chain.contracts.limits import MAX_ENTRIES, MAX_ITEMS, MAX_TEXT
from bdn.chain.contracts.machine import CallMachine
from bdn.chain.contracts.operations import operators as op
from bdn.chain.contracts.operations.builtins import Builtin
from bdn.chain.contracts.operations.methods import call_method
from bdn.chain.contracts.operations.sizes import SMALL

Code = Callable[[CallMachine, list[Any]], Any]
"""An expression's closure: (machine, frame) -> value."""

Slots = tuple[int | None, int | None]
"""Where the left and the right operand lie in the frame; None for what is no variable."""

Native = Callable[[Any, Any], Any]
"""One of Python's own operators."""

MINUS = -SMALL

_LINEAR: Mapping[str, Native] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
}
"""On integers, priced by nothing when the result is small."""

_SMALL: Mapping[str, Native] = {
    "//": operator.floordiv, "%": operator.mod, "&": operator.and_, "|": operator.or_,
    "^": operator.xor,
}
"""On integers, priced by nothing when the operands and the result are small."""

_ORDER: Mapping[str, Native] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}

_SIZED = frozenset({str, bytes, list, dict})
_CONTAINERS = frozenset({list, dict})


# --- operators ----------------------------------------------------------------------------------


def binary(table: GasTable, name: str, left: Code, right: Code, literal: Any,
           variables: Slots) -> Code:
    """Return the closure of ``left name right``.

    Args:
        table: the gas prices.
        name: the operator.
        left, right: the closures of the operands.
        literal: the right operand if it is a literal, else None.
        variables: where the operands lie in the frame, for those that are variables.
    """
    full = op.BINARY[name]
    if name in _LINEAR:
        first, second = variables
        if _small(literal):
            return (_linear_by(_LINEAR[name], full, left, literal) if first is None
                    else _variable_by(_LINEAR[name], full, first, literal))
        if name == "*" and first is not None and second is not None:
            return _product_of_variables(full, first, second)
        if name == "+":
            return _plus(left, right, table.bytes_per_gas)
        return _linear(_LINEAR[name], full, left, right)
    if name in _SMALL:
        if name in ("//", "%") and _small(literal) and literal:
            return _division_by(name, full, left, literal, variables[0])
        return _of_small(_SMALL[name], full, left, right)
    return lambda m, f: full(m, left(m, f), right(m, f))


def _small(value: Any) -> bool:
    return type(value) is int and MINUS < value < SMALL


def _plus(left: Code, right: Code, bytes_per_gas: int) -> Code:
    def run(m: CallMachine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        kind = type(a)
        if kind is type(b):
            if kind is int:
                result = a + b
                if MINUS < result < SMALL:
                    return result
            elif kind is bytes and len(a) + len(b) <= MAX_TEXT:  # charged as `sizes.allocate` does
                m.gas = gas = m.gas - (len(a) + len(b)) // bytes_per_gas
                if gas < 0:
                    raise OutOfGas()
                return a + b
        return op.add(m, a, b)

    return run


def _linear(native: Native, full: op.Operation, left: Code, right: Code) -> Code:
    def run(m: CallMachine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if type(a) is int and type(b) is int:
            result = native(a, b)
            if MINUS < result < SMALL:
                return result
        return full(m, a, b)

    return run


def _product_of_variables(full: op.Operation, first: int, second: int) -> Code:
    """As `_linear`, without a call for each variable, as in ``i * i``."""

    def run(m: CallMachine, f: list[Any]) -> Any:
        a, b = f[first], f[second]
        if type(a) is int and type(b) is int:
            result = a * b
            if MINUS < result < SMALL:
                return result
        return full(m, a, b)

    return run


def _linear_by(native: Native, full: op.Operation, left: Code, literal: int) -> Code:
    def run(m: CallMachine, f: list[Any]) -> Any:
        a = left(m, f)
        if type(a) is int:
            result = native(a, literal)
            if MINUS < result < SMALL:
                return result
        return full(m, a, literal)

    return run


def _variable_by(native: Native, full: op.Operation, slot: int, literal: int) -> Code:
    """As `_linear_by`, without a call for the variable, as in ``count += 1``."""

    def run(m: CallMachine, f: list[Any]) -> Any:
        a = f[slot]
        if type(a) is int:
            result = native(a, literal)
            if MINUS < result < SMALL:
                return result
        return full(m, a, literal)

    return run


def _of_small(native: Native, full: op.Operation, left: Code, right: Code) -> Code:
    def run(m: CallMachine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        if (type(a) is int and type(b) is int and MINUS < a < SMALL and MINUS < b < SMALL
                and b):
            result = native(a, b)
            if result > MINUS:  # two negative numbers can give -2^63
                return result
        return full(m, a, b)

    return run


def _division_by(name: str, full: op.Operation, left: Code, literal: int,
                 slot: int | None) -> Code:
    def quotient(m: CallMachine, f: list[Any]) -> Any:
        a = left(m, f)
        return a // literal if type(a) is int and MINUS < a < SMALL else full(m, a, literal)

    def remainder(m: CallMachine, f: list[Any]) -> Any:
        a = left(m, f)
        return a % literal if type(a) is int and MINUS < a < SMALL else full(m, a, literal)

    def remainder_of_variable(m: CallMachine, f: list[Any]) -> Any:
        a = f[slot]  # type: ignore[index]  # returned only where there is a slot
        return a % literal if type(a) is int and MINUS < a < SMALL else full(m, a, literal)

    if name == "//":
        return quotient
    return remainder if slot is None else remainder_of_variable


def compare(table: GasTable, name: str, left: Code, right: Code, literal: Any,
            variables: Slots) -> Code:
    """Return the closure of a comparison or of ``in``; the arguments are as in `binary`."""
    full = op.COMPARE[name]
    if name not in _ORDER:
        return lambda m, f: full(m, left(m, f), right(m, f))
    native, free = _ORDER[name], table.scanned_per_gas

    def run(m: CallMachine, f: list[Any]) -> Any:
        a, b = left(m, f), right(m, f)
        kind = type(a)
        if kind is type(b) and (MINUS < a < SMALL if kind is int else
                                kind is bytes and len(a) < free):
            return native(a, b)
        return full(m, a, b)

    def against(m: CallMachine, f: list[Any]) -> Any:
        a = left(m, f)
        return native(a, literal) if type(a) is int else full(m, a, literal)

    def variable_against(m: CallMachine, f: list[Any]) -> Any:
        a = f[slot]  # type: ignore[index]  # returned only where there is a slot
        return native(a, literal) if type(a) is int else full(m, a, literal)

    slot, _ = variables
    if type(literal) is not int:
        return run
    return against if slot is None else variable_against


# --- items --------------------------------------------------------------------------------------


def index(table: GasTable, container: Code, position: Code) -> Code:
    """Return the closure of ``container[position]``."""
    free = table.scanned_per_gas

    def run(m: CallMachine, f: list[Any]) -> Any:
        c, i = container(m, f), position(m, f)
        kind, by = type(c), type(i)
        if (kind is list or kind is bytes) and by is int:
            try:
                return c[i]
            except IndexError:
                pass
        elif kind is dict and (by is str or by is bytes) and len(i) < free:
            try:
                return c[i]
            except KeyError:
                pass
        return op.get_index(m, c, i)

    return run


def part(table: GasTable, container: Code, start: Any, stop: Any) -> Code:
    """Return the closure of ``container[start:stop]``, the bounds being literals or absent."""
    bounds, bytes_per_gas = slice(start, stop), table.bytes_per_gas

    def run(m: CallMachine, f: list[Any]) -> Any:
        c = container(m, f)
        if type(c) is not bytes:
            return op.get_slice(m, c, start, stop)
        result = c[bounds]  # at most a copy of c, which was paid; charged as `sizes.allocate` does
        m.gas = left = m.gas - len(result) // bytes_per_gas
        if left < 0:
            raise OutOfGas()
        return result

    return run


def setter(table: GasTable) -> Callable[[CallMachine, Any, Any, Any], None]:
    """Return what does ``container[position] = value``, given (machine, container, …, value)."""
    free = table.scanned_per_gas

    def put(m: CallMachine, container: Any, position: Any, value: Any) -> None:
        if type(value) not in _CONTAINERS:
            kind, by = type(container), type(position)
            if kind is list and by is int:
                try:
                    container[position] = value
                    return
                except IndexError:
                    pass
            elif (kind is dict and (by is str or by is bytes) and len(position) < free
                  and len(container) < MAX_ENTRIES):
                container[position] = value
                return
        op.set_index(m, container, position, value)

    return put


def get(table: GasTable, receiver: Code, key: Code, default: Code) -> Code:
    """Return the closure of ``receiver.get(key, default)``."""
    free = table.scanned_per_gas

    def run(m: CallMachine, f: list[Any]) -> Any:
        entries, k, other = receiver(m, f), key(m, f), default(m, f)
        kind = type(k)
        if type(entries) is dict and (kind is str or kind is bytes) and len(k) < free:
            return entries.get(k, other)
        return call_method(m, entries, "get", (k, other))

    return run


def append(receiver: Code, item: Code) -> Code:
    """Return the closure of ``receiver.append(item)``."""

    def run(m: CallMachine, f: list[Any]) -> None:
        items, value = receiver(m, f), item(m, f)
        if type(items) is list and type(value) not in _CONTAINERS and len(items) < MAX_ITEMS:
            items.append(value)
        else:
            call_method(m, items, "append", (value,))

    return run


def length(argument: Code, full: Builtin) -> Code:
    """Return the closure of ``len(argument)``."""

    def run(m: CallMachine, f: list[Any]) -> Any:
        value = argument(m, f)
        return len(value) if type(value) in _SIZED else full(m, (value,))

    return run


def to_bytes(table: GasTable, value: Code, width: int, full: Builtin) -> Code:
    """Return the closure of ``to_bytes(value, width)`` with a literal width from 0 to 32."""
    bound, price = 1 << (8 * width), width // table.bytes_per_gas

    def run(m: CallMachine, f: list[Any]) -> Any:
        v = value(m, f)
        if type(v) is int and 0 <= v < bound:
            m.gas = left = m.gas - price
            if left < 0:
                raise OutOfGas()
            return v.to_bytes(width, "big")
        return full(m, (v, width))

    return run


def text(argument: Code, full: Builtin) -> Code:
    """Return the closure of ``str(argument)``."""

    def run(m: CallMachine, f: list[Any]) -> Any:
        value = argument(m, f)
        if type(value) is int and MINUS < value < SMALL:
            return str(value)
        return full(m, (value,))

    return run
