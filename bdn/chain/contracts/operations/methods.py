"""The methods of values: the fixed (type, name) table behind ``value.name(arguments)``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.gas import GasMeter, charge
from bdn.chain.contracts.limits import MAX_ITEMS
from bdn.chain.contracts.operations import operators as op
from bdn.chain.contracts.operations import sizes
from bdn.chain.contracts.values import kind_of

Body = Callable[[GasMeter, Any, Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One name; ``bodies`` by the receiver's type; ``arity`` the least and most arguments."""

    arity: tuple[int, int]
    bodies: Mapping[type, Body]


def call_method(m: GasMeter, receiver: Any, name: str, args: Sequence[Any]) -> Any:
    """``receiver.name(args)``."""
    body = METHODS[name].bodies.get(type(receiver))
    if body is None:
        raise CallFailure("no-method", kind_of(receiver), name)
    return body(m, receiver, args)


def _same(receiver: Any, *args: Any) -> None:
    for arg in args:
        if type(arg) is not type(receiver):
            raise CallFailure("expected", kind_of(receiver), kind_of(arg))


# --- texts and bytes ----------------------------------------------------------------------------


def _encode(m: GasMeter, text: Any, args: Sequence[Any]) -> bytes:  # noqa: ARG001 - one signature
    sizes.allocate(m, bytes, len(text) if text.isascii() else 4 * len(text))
    return text.encode()  # type: ignore[no-any-return]  # text is a str, by the table


def _decode(m: GasMeter, data: Any, args: Sequence[Any]) -> str:  # noqa: ARG001 - one signature
    sizes.allocate(m, str, len(data), data.isascii())
    try:
        return data.decode()  # type: ignore[no-any-return]  # data is bytes, by the table
    except UnicodeDecodeError as error:
        raise CallFailure("utf-8") from error


def _hex(m: GasMeter, data: Any, args: Sequence[Any]) -> str:  # noqa: ARG001 - one signature
    sizes.allocate(m, str, 2 * len(data))
    return data.hex()  # type: ignore[no-any-return]  # data is bytes, by the table


def _starts(m: GasMeter, text: Any, args: Sequence[Any]) -> bool:
    _same(text, args[0])
    sizes.scan(m, len(args[0]))
    return bool(text.startswith(args[0]))


def _ends(m: GasMeter, text: Any, args: Sequence[Any]) -> bool:
    _same(text, args[0])
    sizes.scan(m, len(args[0]))
    return bool(text.endswith(args[0]))


def _search(m: GasMeter, text: Any, part: Any) -> None:
    """Check ``part``, and charge for looking for it everywhere in ``text``."""
    _same(text, part)
    sizes.search(m, text, part)


def _find(m: GasMeter, text: Any, args: Sequence[Any]) -> int:
    _search(m, text, args[0])
    return int(text.find(args[0]))


def _replace(m: GasMeter, text: Any, args: Sequence[Any]) -> Any:
    old, new = args
    _same(text, old, new)
    if not old:
        raise CallFailure("part")
    sizes.search(m, text, old)  # to count
    sizes.search(m, text, old)  # to replace
    length = len(text) + text.count(old) * (len(new) - len(old))
    sizes.allocate(m, type(text), length, sizes.is_ascii(text) and sizes.is_ascii(new))
    return text.replace(old, new)


def _split(m: GasMeter, text: Any, args: Sequence[Any]) -> list[Any]:
    (separator,) = args
    _same(text, separator)
    if not separator:
        raise CallFailure("separator")
    sizes.search(m, text, separator)  # to count
    sizes.search(m, text, separator)  # to split
    pieces = text.count(separator) + 1
    charge(m, m.table.pair * pieces)
    sizes.allocate(m, type(text), len(text), sizes.is_ascii(text))
    sizes.allocate(m, list, pieces)
    return text.split(separator)  # type: ignore[no-any-return]  # str and bytes give a list


def _join(m: GasMeter, separator: Any, args: Sequence[Any]) -> Any:
    (items,) = args
    if type(items) is not list:
        raise CallFailure("takes", "join", "list", kind_of(items))
    charge(m, m.table.item * len(items))
    _same(separator, *items)
    length = sum(map(len, items)) + len(separator) * max(0, len(items) - 1)
    ascii_only = sizes.is_ascii(separator) and all(map(sizes.is_ascii, items))
    sizes.allocate(m, type(separator), length, ascii_only)
    return separator.join(items)


# --- lists --------------------------------------------------------------------------------------


def _room(items: Any, more: int) -> None:
    if len(items) + more > MAX_ITEMS:
        raise CallFailure("too-many", "list", MAX_ITEMS)


def _append(m: GasMeter, items: Any, args: Sequence[Any]) -> None:
    _room(items, 1)
    sizes.link(m, items, args[0])
    items.append(args[0])


def _extend(m: GasMeter, items: Any, args: Sequence[Any]) -> None:
    (more,) = args
    if type(more) is not list:
        raise CallFailure("takes", "extend", "list", kind_of(more))
    _room(items, len(more))
    charge(m, m.table.element * len(more))
    for item in more:
        sizes.link(m, items, item)
    items.extend(more)


def _insert(m: GasMeter, items: Any, args: Sequence[Any]) -> None:
    at, item = args
    if type(at) is not int or not 0 <= at <= len(items):
        raise CallFailure("insert")
    _room(items, 1)
    charge(m, len(items) // m.table.moved_per_gas)
    sizes.link(m, items, item)
    items.insert(at, item)


def _list_pop(m: GasMeter, items: Any, args: Sequence[Any]) -> Any:
    if len(args) > 1:
        raise CallFailure("list-pop")
    at = op.position(items, args[0] if args else -1)
    charge(m, len(items) // m.table.moved_per_gas if args else 0)
    return items.pop(at)


def _index(m: GasMeter, items: Any, args: Sequence[Any]) -> int:
    for at, item in enumerate(items):
        charge(m, m.table.element)
        if op.equal(m, item, args[0]):
            return at
    raise CallFailure("not-in-list")


def _count(m: GasMeter, items: Any, args: Sequence[Any]) -> int:
    charge(m, m.table.element * len(items))
    return sum(1 for item in items if op.equal(m, item, args[0]))


def _reverse(m: GasMeter, items: Any, args: Sequence[Any]) -> None:  # noqa: ARG001 - one signature
    charge(m, len(items) // m.table.moved_per_gas)
    items.reverse()


def _list_copy(m: GasMeter, items: Any, args: Sequence[Any]) -> list[Any]:  # noqa: ARG001 - one signature
    sizes.allocate(m, list, len(items))
    return list(items)


# --- dicts --------------------------------------------------------------------------------------


def _get(m: GasMeter, entries: Any, args: Sequence[Any]) -> Any:
    sizes.check_key(m, args[0])
    return entries.get(args[0], args[1] if len(args) > 1 else None)


def _dict_pop(m: GasMeter, entries: Any, args: Sequence[Any]) -> Any:
    if not args:
        raise CallFailure("dict-pop")
    sizes.check_key(m, args[0])
    if args[0] in entries:
        return entries.pop(args[0])
    if len(args) < 2:
        raise CallFailure("no-key")
    return args[1]


def _keys(m: GasMeter, entries: Any, args: Sequence[Any]) -> list[Any]:  # noqa: ARG001 - one signature
    sizes.allocate(m, list, len(entries))
    return list(entries)


def _values(m: GasMeter, entries: Any, args: Sequence[Any]) -> list[Any]:  # noqa: ARG001 - one signature
    sizes.allocate(m, list, len(entries))
    return list(entries.values())


def _items(m: GasMeter, entries: Any, args: Sequence[Any]) -> list[Any]:  # noqa: ARG001 - one signature
    charge(m, m.table.pair * len(entries))
    sizes.allocate(m, list, len(entries))
    return [[key, value] for key, value in entries.items()]


def _update(m: GasMeter, entries: Any, args: Sequence[Any]) -> None:
    (more,) = args
    if type(more) is not dict:
        raise CallFailure("takes", "update", "dict", kind_of(more))
    charge(m, (m.table.element + m.table.copied) * len(more))
    for key, value in list(more.items()):
        op.set_entry(m, entries, key, value)


def _setdefault(m: GasMeter, entries: Any, args: Sequence[Any]) -> Any:
    key, value = args
    charge(m, m.table.element)
    sizes.check_key(m, key)
    if key not in entries:
        op.set_entry(m, entries, key, value)
    return entries[key]


def _dict_copy(m: GasMeter, entries: Any, args: Sequence[Any]) -> dict[Any, Any]:  # noqa: ARG001 - one signature
    charge(m, m.table.copied * (2 + len(entries)))
    return dict(entries)


def _both(body: Body) -> Mapping[type, Body]:
    return {str: body, bytes: body}


METHODS: Mapping[str, Method] = {
    "encode": Method((0, 0), {str: _encode}),
    "decode": Method((0, 0), {bytes: _decode}),
    "hex": Method((0, 0), {bytes: _hex}),
    "startswith": Method((1, 1), _both(_starts)),
    "endswith": Method((1, 1), _both(_ends)),
    "find": Method((1, 1), _both(_find)),
    "replace": Method((2, 2), _both(_replace)),
    "split": Method((1, 1), _both(_split)),
    "join": Method((1, 1), _both(_join)),
    "append": Method((1, 1), {list: _append}),
    "extend": Method((1, 1), {list: _extend}),
    "insert": Method((2, 2), {list: _insert}),
    "index": Method((1, 1), {list: _index}),
    "count": Method((1, 1), {list: _count}),
    "reverse": Method((0, 0), {list: _reverse}),
    "pop": Method((0, 2), {list: _list_pop, dict: _dict_pop}),
    "copy": Method((0, 0), {list: _list_copy, dict: _dict_copy}),
    "get": Method((1, 2), {dict: _get}),
    "keys": Method((0, 0), {dict: _keys}),
    "values": Method((0, 0), {dict: _values}),
    "items": Method((0, 0), {dict: _items}),
    "update": Method((1, 1), {dict: _update}),
    "setdefault": Method((2, 2), {dict: _setdefault}),
}

MUTATING = frozenset({"append", "extend", "insert", "reverse", "pop", "update", "setdefault"})
"""Methods that change their receiver; refused on what was just read from storage."""
