"""What operators do to values, and what they charge for it. Both engines end up here.

Each operation has three beats: check the arguments, charge, then do the work. The compiled engine
goes around this module only where operands are small integers, for which nothing dynamic is due.
"""

from collections.abc import Callable, Iterable
from typing import Any

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasMeter, charge
from bdn.chain.contracts.limits import MAX_DEPTH, MAX_ENTRIES, MAX_INT_BITS
from bdn.chain.contracts.operations.sizes import (
    allocate,
    check_key,
    is_ascii,
    keep,
    link,
    mismatch,
    scan,
    search,
    separate,
    words,
)
from bdn.chain.contracts.values import kind_of

SEQUENCES = (str, bytes, list)


# --- arithmetic ---------------------------------------------------------------------------------


def add(m: GasMeter, a: Any, b: Any) -> Any:
    """``a + b`` for numbers, texts, bytes, lists."""
    kind = type(a)
    if kind is not type(b):
        raise mismatch("+", a, b)
    if kind is int:
        return keep(m, a + b)
    if kind not in SEQUENCES:
        raise mismatch("+", a, b)
    allocate(m, kind, len(a) + len(b), is_ascii(a) and is_ascii(b))
    return a + b


def subtract(m: GasMeter, a: Any, b: Any) -> int:
    """``a - b``."""
    _integers("-", a, b)
    return keep(m, a - b)


def multiply(m: GasMeter, a: Any, b: Any) -> Any:
    """``a * b`` for numbers; a sequence times a number repeats it."""
    if type(a) is int and type(b) is int:
        charge(m, words(a) * words(b) >> 2)
        return keep(m, a * b)
    if type(a) is int and type(b) in SEQUENCES:
        a, b = b, a
    if type(a) not in SEQUENCES or type(b) is not int:
        raise mismatch("*", a, b)
    length = len(a) * b if b > 0 else 0
    allocate(m, type(a), length, is_ascii(a))
    return a * b if length else a[:0]


def floor_divide(m: GasMeter, a: Any, b: Any) -> int:
    """``a // b``, rounded down."""
    _divisor(m, "//", a, b)
    return keep(m, a // b)


def modulo(m: GasMeter, a: Any, b: Any) -> int:
    """``a % b``, with the sign of b."""
    _divisor(m, "%", a, b)
    return keep(m, a % b)


def power(m: GasMeter, a: Any, b: Any) -> int:
    """``a ** b``, b ≥ 0; refused before the work when the result could pass the cap."""
    _integers("**", a, b)
    if b < 0:
        raise CallFailure("negative", "an exponent")
    if -2 < a < 2:
        return int(a) if b & 1 or a == 1 else int(b == 0 or a != 0)
    if (a.bit_length() - 1) * b >= MAX_INT_BITS:  # a lower bound of the result's bits, less one
        raise CallFailure("too-many-bits", MAX_INT_BITS)
    charge(m, (a.bit_length() * b >> 6) ** 2 >> 4)
    return keep(m, int(a**b))


def shift_left(m: GasMeter, a: Any, b: Any) -> int:
    """``a << b``, b ≥ 0."""
    _shift("<<", a, b)
    if a and a.bit_length() + b > MAX_INT_BITS:
        raise CallFailure("too-many-bits", MAX_INT_BITS)
    return keep(m, a << b) if a else 0


def shift_right(m: GasMeter, a: Any, b: Any) -> int:
    """``a >> b``, b ≥ 0."""
    _shift(">>", a, b)
    return keep(m, a >> min(b, MAX_INT_BITS))


def bit_and(m: GasMeter, a: Any, b: Any) -> int:
    """``a & b``."""
    _bits(m, "&", a, b)
    return keep(m, a & b)


def bit_or(m: GasMeter, a: Any, b: Any) -> int:
    """``a | b``."""
    _bits(m, "|", a, b)
    return keep(m, a | b)


def bit_xor(m: GasMeter, a: Any, b: Any) -> int:
    """``a ^ b``."""
    _bits(m, "^", a, b)
    return keep(m, a ^ b)


def _integers(what: str, a: Any, b: Any) -> None:
    if type(a) is not int or type(b) is not int:
        raise mismatch(what, a, b)


def _bits(m: GasMeter, what: str, a: Any, b: Any) -> None:
    _integers(what, a, b)
    charge(m, (words(a) + words(b)) >> 3)


def _divisor(m: GasMeter, what: str, a: Any, b: Any) -> None:
    _integers(what, a, b)
    if b == 0:
        raise CallFailure("division")
    charge(m, words(a) * (2 + words(b)) >> 2)


def _shift(what: str, a: Any, b: Any) -> None:
    _integers(what, a, b)
    if b < 0:
        raise CallFailure("negative", "a shift")


def negative(m: GasMeter, a: Any) -> int:
    """``-a``."""
    if type(a) is not int:
        raise mismatch("-", a)
    return keep(m, -a)


def positive(m: GasMeter, a: Any) -> int:
    """``+a``."""
    if type(a) is not int:
        raise mismatch("+", a)
    return keep(m, a)


def invert(m: GasMeter, a: Any) -> int:
    """``~a``."""
    if type(a) is not int:
        raise mismatch("~", a)
    return keep(m, ~a)


def negate(m: GasMeter, a: Any) -> bool:  # noqa: ARG001 - one signature for all of UNARY
    """``not a``."""
    return not a


# --- comparison ---------------------------------------------------------------------------------


def equal(m: GasMeter, a: Any, b: Any, depth: int = 0) -> bool:
    """``a == b``: values of different types are different, so ``True != 1``."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is not list and kind is not dict:
        if kind is str or kind is bytes:
            scan(m, min(len(a), len(b)))
        elif kind is int:
            charge(m, min(words(a), words(b)) >> 2)
        return bool(a == b)
    if depth >= MAX_DEPTH:
        raise CallFailure("depth", MAX_DEPTH)
    if len(a) != len(b):
        return False
    charge(m, (1 + len(a)) * m.table.element)
    if kind is list:
        return all(equal(m, x, y, depth + 1) for x, y in zip(a, b, strict=True))
    return all(key in b and equal(m, item, b[key], depth + 1) for key, item in a.items())


def unequal(m: GasMeter, a: Any, b: Any) -> bool:
    """``a != b``."""
    return not equal(m, a, b)


def _ordered(m: GasMeter, what: str, a: Any, b: Any) -> None:
    kind = type(a)
    if kind is not type(b) or kind not in (int, str, bytes):
        raise mismatch(what, a, b)
    if kind is int:
        charge(m, min(words(a), words(b)) >> 2)
    else:
        scan(m, min(len(a), len(b)))


def less(m: GasMeter, a: Any, b: Any) -> bool:
    """``a < b`` for two numbers, two strings or two byte strings."""
    _ordered(m, "<", a, b)
    return bool(a < b)


def less_equal(m: GasMeter, a: Any, b: Any) -> bool:
    """``a <= b``."""
    _ordered(m, "<=", a, b)
    return bool(a <= b)


def greater(m: GasMeter, a: Any, b: Any) -> bool:
    """``a > b``."""
    _ordered(m, ">", a, b)
    return bool(a > b)


def greater_equal(m: GasMeter, a: Any, b: Any) -> bool:
    """``a >= b``."""
    _ordered(m, ">=", a, b)
    return bool(a >= b)


def contains(m: GasMeter, item: Any, container: Any) -> bool:
    """``item in container``."""
    kind = type(container)
    if kind is dict:
        check_key(m, item)
        return item in container
    if kind is list:
        for other in container:
            charge(m, m.table.element)
            if equal(m, item, other):
                return True
        return False
    if kind is not type(item) or kind not in (str, bytes):
        raise mismatch("in", item, container)
    search(m, container, item)
    return item in container


def lacks(m: GasMeter, item: Any, container: Any) -> bool:
    """``item not in container``."""
    return not contains(m, item, container)


# --- items --------------------------------------------------------------------------------------


def position(sequence: Any, index: Any) -> int:
    """``index`` as a position in ``sequence``, or a failure."""
    if type(index) is not int:
        raise CallFailure("index-kind", kind_of(index))
    if not -len(sequence) <= index < len(sequence):
        raise CallFailure("index")
    return index


def get_index(m: GasMeter, container: Any, index: Any) -> Any:
    """``container[index]``; of bytes an int."""
    kind = type(container)
    if kind is dict:
        check_key(m, index)
        if index not in container:
            raise CallFailure("no-key")
        return container[index]
    if kind not in SEQUENCES:
        raise mismatch("[ ]", container)
    return container[position(container, index)]


def set_index(m: GasMeter, container: Any, index: Any, value: Any) -> None:
    """``container[index] = value``."""
    if type(container) is list:
        at = position(container, index)
        link(m, container, value)
        container[at] = value
    elif type(container) is dict:
        set_entry(m, container, index, value)
    else:
        raise mismatch("assignment to an item", container)


def set_entry(m: GasMeter, entries: dict[Any, Any], key: Any, value: Any) -> None:
    """``entries[key] = value``, limited."""
    check_key(m, key)
    link(m, entries, value)
    if len(entries) >= MAX_ENTRIES and key not in entries:
        raise CallFailure("entries", MAX_ENTRIES)
    entries[key] = value


def delete_index(m: GasMeter, container: Any, index: Any) -> None:
    """``del container[index]``."""
    if type(container) is list:
        at = position(container, index)
        charge(m, len(container) // m.table.moved_per_gas)
        del container[at]
    elif type(container) is dict:
        check_key(m, index)
        if index not in container:
            raise CallFailure("no-key")
        del container[index]
    else:
        raise mismatch("del", container)


def get_slice(m: GasMeter, container: Any, start: Any, stop: Any) -> Any:
    """``container[start:stop]``; bounds outside are moved inside, as in Python."""
    kind = type(container)
    if kind not in SEQUENCES:
        raise mismatch("[ : ]", container)
    size = len(container)
    first = 0 if start is None else _bound(start, size)
    last = size if stop is None else _bound(stop, size)
    allocate(m, kind, last - first if last > first else 0, is_ascii(container))
    return container[first:last]


def _bound(bound: Any, size: int) -> Any:
    """A slice's bound as a position from 0 to ``size``."""
    if type(bound) is not int:
        raise CallFailure("slice", kind_of(bound))
    if bound < 0:
        bound += size
        return max(0, bound)
    return min(size, bound)


def build_dict(m: GasMeter, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """``{k: v, …}``."""
    result: dict[Any, Any] = {}
    for key, value in pairs:
        set_entry(m, result, key, value)
    return result


def iterate(m: GasMeter, value: Any) -> Iterable[Any]:
    """What a loop walks: a snapshot of a list or of a dict's keys, a text, bytes or range."""
    kind = type(value)
    if kind is list or kind is dict:
        allocate(m, list, len(value))
        return list(value)
    if kind is str:
        separate(m, value, len(value))
    if kind is str or kind is bytes or kind is range:
        return value  # type: ignore[no-any-return]  # narrowed by kind, which mypy does not follow
    raise mismatch("for ... in", value)


def unpack(item: Any, count: int) -> list[Any]:
    """A list of exactly ``count`` items, for several targets."""
    if type(item) is not list or len(item) != count:
        raise CallFailure("unpack", count)
    return item


Operation = Callable[[GasMeter, Any, Any], Any]

BINARY: dict[str, Operation] = {
    "+": add, "-": subtract, "*": multiply, "//": floor_divide, "%": modulo, "**": power,
    "<<": shift_left, ">>": shift_right, "&": bit_and, "|": bit_or, "^": bit_xor,
}
COMPARE: dict[str, Operation] = {
    "==": equal, "!=": unequal, "<": less, "<=": less_equal, ">": greater, ">=": greater_equal,
    "in": contains, "not in": lacks,
}
UNARY: dict[str, Callable[[GasMeter, Any], Any]] = {
    "-": negative, "+": positive, "~": invert, "not": negate,
}
