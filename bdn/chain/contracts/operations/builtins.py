"""The functions of the language: ``name(arguments)``. Each: arguments, charge, effect."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasMeter, charge
from bdn.chain.contracts.limits import MAX_DIGITS, MAX_INT_BITS
from bdn.chain.contracts.operations import operators as op
from bdn.chain.contracts.operations import sizes
from bdn.chain.contracts.values import kind_of

_TOO_LONG = 10**MAX_DIGITS
"""The least number with more digits than `str` converts."""

Builtin = Callable[[GasMeter, Sequence[Any]], Any]


def _kind(value: Any, kinds: tuple[type, ...], function: str) -> None:
    """Fail unless ``value`` is of one of ``kinds``."""
    if type(value) not in kinds:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise CallFailure("takes", function, wanted, kind_of(value))


def _len(m: GasMeter, args: Sequence[Any]) -> int:  # noqa: ARG001 - one signature for all built-ins
    (value,) = args
    _kind(value, (str, bytes, list, dict), "len")
    return len(value)


def _extreme(name: str, better: op.Operation) -> Builtin:
    def extreme(m: GasMeter, args: Sequence[Any]) -> Any:
        items = args
        if len(args) == 1:
            (items,) = args
            _kind(items, (list,), name)
        if not items:
            raise CallFailure("nothing", name)
        best = items[0]
        _kind(best, (int, str, bytes), name)
        for item in items:
            charge(m, m.table.element)
            if better(m, item, best):
                best = item
        return best

    return extreme


def _sum(m: GasMeter, args: Sequence[Any]) -> int:
    (items,) = args
    _kind(items, (list,), "sum")
    total = 0
    for item in items:
        charge(m, m.table.element)
        total = op.add(m, total, item)
    return total


def _sorted(m: GasMeter, args: Sequence[Any]) -> list[Any]:
    items, reverse = args
    _kind(items, (list, dict), "sorted")
    count = len(items)
    sizes.allocate(m, list, count)
    keys = list(items)
    kinds = set(map(type, keys))
    if not kinds <= {int} and not kinds <= {str} and not kinds <= {bytes}:
        raise CallFailure("sorted")
    longest = max((words_of(key) for key in keys), default=0)
    charge(m, count * count.bit_length() * (1 + longest))
    return sorted(keys, reverse=reverse)


def words_of(value: Any) -> int:
    """64-bit words that comparing ``value`` may have to read beyond the first few."""
    return value.bit_length() >> 9 if type(value) is int else len(value) >> 6


def _range(m: GasMeter, args: Sequence[Any]) -> range:  # noqa: ARG001 - one signature
    for arg in args:
        _kind(arg, (int,), "range")
        if not -sizes.SMALL < arg < sizes.SMALL:
            raise CallFailure("range")
    if len(args) == 3 and args[2] == 0:
        raise CallFailure("step")
    return range(*args)


def _abs(m: GasMeter, args: Sequence[Any]) -> int:
    _kind(args[0], (int,), "abs")
    return sizes.keep(m, abs(args[0]))


def _pow(m: GasMeter, args: Sequence[Any]) -> int:
    if len(args) == 2:
        return op.power(m, *args)
    base, exponent, modulus = args
    for arg in args:
        _kind(arg, (int,), "pow")
    if exponent < 0 or modulus < 1:
        raise CallFailure("pow")
    width = 1 + sizes.words(modulus)
    charge(m, sizes.words(base) * width)
    charge(m, (1 + exponent.bit_length()) * (8 + width * width // 4))
    return sizes.keep(m, pow(base, exponent, modulus))


def _int(m: GasMeter, args: Sequence[Any]) -> int:
    (value,) = args
    _kind(value, (int, bool, str), "int")
    if type(value) is not str:
        return int(value)
    digits = value[1:] if value[:1] == "-" else value
    if not digits or not (digits.isascii() and digits.isdigit()):
        raise CallFailure("digits")
    if len(digits) > MAX_DIGITS:
        raise CallFailure("too-many-digits", "int", MAX_DIGITS)
    charge(m, (len(digits) >> 3) * (len(digits) >> 5) >> 1)
    return sizes.keep(m, int(value))


def _str(m: GasMeter, args: Sequence[Any]) -> str:
    (value,) = args
    _kind(value, (int, bool, str), "str")
    if type(value) is str:
        return value
    if type(value) is bool:
        return "True" if value else "False"
    if abs(value) >= _TOO_LONG:
        raise CallFailure("too-many-digits", "str", MAX_DIGITS)
    charge(m, sizes.words(value) * (1 + sizes.words(value)) >> 2)
    return str(value)


def _bool(m: GasMeter, args: Sequence[Any]) -> bool:  # noqa: ARG001 - one signature
    return bool(args[0])


def _list(m: GasMeter, args: Sequence[Any]) -> list[Any]:
    if not args:
        return []
    _kind(args[0], (list, dict, str, bytes), "list")
    sizes.separate(m, args[0], len(args[0]))
    sizes.allocate(m, list, len(args[0]))
    return list(args[0])


def _dict(m: GasMeter, args: Sequence[Any]) -> dict[Any, Any]:
    if not args:
        return {}
    _kind(args[0], (dict,), "dict")
    charge(m, m.table.copied * (2 + len(args[0])))
    return dict(args[0])


def _enumerate(m: GasMeter, args: Sequence[Any]) -> list[Any]:
    (items,) = args
    _kind(items, (list, dict, str, bytes), "enumerate")
    charge(m, m.table.pair * len(items))
    sizes.separate(m, items, len(items))
    sizes.allocate(m, list, len(items))
    return [[index, item] for index, item in enumerate(items)]


def _zip(m: GasMeter, args: Sequence[Any]) -> list[Any]:
    for arg in args:
        _kind(arg, (list, dict, str, bytes), "zip")
    count = min(map(len, args))
    charge(m, (m.table.pair + 2 * len(args)) * count)
    for arg in args:
        sizes.separate(m, arg, count)
    sizes.allocate(m, list, count)
    return [list(items) for items in zip(*args, strict=False)]


def _reversed(m: GasMeter, args: Sequence[Any]) -> list[Any]:
    _kind(args[0], (list,), "reversed")
    sizes.allocate(m, list, len(args[0]))
    return args[0][::-1]  # type: ignore[no-any-return]  # a list, as was checked


def _any(m: GasMeter, args: Sequence[Any]) -> bool:
    _kind(args[0], (list,), "any")
    charge(m, len(args[0]))
    return any(args[0])


def _all(m: GasMeter, args: Sequence[Any]) -> bool:
    _kind(args[0], (list,), "all")
    charge(m, len(args[0]))
    return all(args[0])


def _to_bytes(m: GasMeter, args: Sequence[Any]) -> bytes:
    value, length = args
    if type(value) is not int or type(length) is not int:
        raise sizes.mismatch("to_bytes", value, length)
    if not 0 <= length <= MAX_INT_BITS // 8:
        raise CallFailure("width", MAX_INT_BITS // 8)
    if value < 0 or value.bit_length() > 8 * length:
        raise CallFailure("does-not-fit")
    sizes.allocate(m, bytes, length)
    return value.to_bytes(length, "big")


def _from_bytes(m: GasMeter, args: Sequence[Any]) -> int:
    (data,) = args
    _kind(data, (bytes,), "from_bytes")
    if len(data) > MAX_INT_BITS // 8:
        raise CallFailure("from-bytes", MAX_INT_BITS // 8)
    sizes.scan(m, len(data))
    return sizes.keep(m, int.from_bytes(data, "big"))


def _from_hex(m: GasMeter, args: Sequence[Any]) -> bytes:
    (text,) = args
    _kind(text, (str,), "from_hex")
    sizes.allocate(m, bytes, len(text))
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if data.hex() != text:  # Python's own reader also takes spaces and capitals
        raise CallFailure("from-hex")
    return data


BUILTINS: Mapping[str, Builtin] = {
    "len": _len, "min": _extreme("min", op.less), "max": _extreme("max", op.greater),
    "sum": _sum, "sorted": _sorted, "range": _range, "abs": _abs, "pow": _pow, "int": _int,
    "str": _str, "bool": _bool, "list": _list, "dict": _dict, "enumerate": _enumerate,
    "zip": _zip, "reversed": _reversed, "any": _any, "all": _all, "to_bytes": _to_bytes,
    "from_bytes": _from_bytes, "from_hex": _from_hex,
}

ARITY: Mapping[str, tuple[int, int]] = {
    "len": (1, 1), "min": (1, 8), "max": (1, 8), "sum": (1, 1), "sorted": (1, 1),
    "range": (1, 3), "abs": (1, 1), "pow": (2, 3), "int": (1, 1), "str": (1, 1), "bool": (1, 1),
    "list": (0, 1), "dict": (0, 1), "enumerate": (1, 1), "zip": (2, 4), "reversed": (1, 1),
    "any": (1, 1), "all": (1, 1), "to_bytes": (2, 2), "from_bytes": (1, 1), "from_hex": (1, 1),
}
"""Least and most arguments as written in a source (``sorted`` has its order besides)."""
