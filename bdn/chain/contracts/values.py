"""The values of the language and their one encoding.

A value is an ``int`` (at most `MAX_INT_BITS` bits), ``bool``, ``str`` (no lone surrogates),
``bytes``, ``None``, a list of values, or a dict with ``int``, ``str`` or ``bytes`` keys. A bool is
not an int: ``True`` and ``1`` are different values, and a bool is no key.

Encoding is strict CBOR (the profile of `bdn.encoding`). A list is an array. A dict is the map
``{"dict": [[key, value], …]}``, its pairs sorted by (type, value) with int < str < bytes: what was
written first does not show, and 1 and True cannot meet. The codec is written out here, because a
contract reads and writes its state often, and the general one takes three to ten times as long; a
test compares its bytes with those of cbor2.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bdn.chain.contracts.limits import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_INT_BITS,
    MAX_ITEMS,
    MAX_KEY_INT,
    MAX_TEXT,
)
from bdn.errors import EncodingError, UsageError

Key = int | str | bytes
Value = None | bool | int | str | bytes | list[Any] | dict[Any, Any]

KINDS: dict[str, type] = {
    "int": int, "bool": bool, "str": str, "bytes": bytes, "list": list, "dict": dict,
    "None": type(None),
}
"""Type names that declarations and annotations use."""

_KEY_ORDER = {int: 0, str: 1, bytes: 2}
_DICT = b"\xa1\x64dict"  # the head of {"dict": …}
_SURROGATE = re.compile("[\ud800-\udfff]")
_SIMPLE = {0xF4: False, 0xF5: True, 0xF6: None}


# --- predicates ---------------------------------------------------------------------------------


def kind_of(value: Any) -> str:
    """The language's name of ``value``'s type."""
    return "None" if value is None else type(value).__name__


def check_value(value: Any, what: str = "value", depth: int = 0) -> None:
    """Raise `UsageError` unless ``value`` is a value of the language within its limits."""
    kind = type(value)
    if value is None or kind is bool:
        return
    if kind is int:
        if value.bit_length() > MAX_INT_BITS:
            raise UsageError(f"{what}: an integer has at most {MAX_INT_BITS} bits")
    elif kind is bytes or kind is str:
        if len(value) > MAX_TEXT:
            raise UsageError(f"{what}: {kind.__name__} is longer than {MAX_TEXT}")
        if kind is str and not value.isascii() and _SURROGATE.search(value):
            raise UsageError(f"{what}: a string has no lone surrogates")
    elif kind is list or kind is dict:
        if depth >= MAX_DEPTH:
            raise UsageError(f"{what}: nested deeper than {MAX_DEPTH}")
        if len(value) > (MAX_ITEMS if kind is list else MAX_ENTRIES):
            raise UsageError(f"{what}: too many items")
        for item in value:
            if kind is dict:
                check_key(item, what)
            check_value(value[item] if kind is dict else item, what, depth + 1)
    else:
        raise UsageError(f"{what}: a {kind.__name__} is no value of the contract language")


def check_key(key: Any, what: str = "key") -> None:
    """Raise `UsageError` unless ``key`` may be a dict's key."""
    if type(key) not in _KEY_ORDER:
        raise UsageError(f"{what}: a key is an int, str or bytes, not {kind_of(key)}")
    if type(key) is int and not -MAX_KEY_INT < key < MAX_KEY_INT:
        raise UsageError(f"{what}: an integer key lies strictly between -2^60 and 2^60")
    check_value(key, what)


def sorted_items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """A dict's items in the one order that encodings use: int < str < bytes, then by value."""
    return sorted(value.items(), key=lambda item: (_KEY_ORDER[type(item[0])], item[0]))


# --- encoding -----------------------------------------------------------------------------------


def encode_value(value: Value) -> bytes:
    """The canonical bytes of ``value`` (already known to be a value of the language)."""
    pieces: list[bytes] = []
    _write(value, pieces)
    return b"".join(pieces)


def storage_key(name: str, *parts: Key) -> bytes:
    """The state key of ``storage.name`` or ``storage.name[parts]``: encoding of [name, parts…]."""
    return encode_value([name, *parts])


def _head(major: int, count: int) -> bytes:
    if count < 24:
        return bytes((major << 5 | count,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if count < 1 << (8 * size):
            return bytes((major << 5 | info,)) + count.to_bytes(size, "big")
    raise AssertionError("lengths are capped far below 2^64")


def _write(value: Any, out: list[bytes]) -> None:
    kind = type(value)
    if kind is int:
        out.append(_integer(value))
    elif kind is bytes:
        out.append(_head(2, len(value)) + value)
    elif kind is str:
        text = value.encode()
        out.append(_head(3, len(text)) + text)
    elif kind is list:
        out.append(_head(4, len(value)))
        for item in value:
            _write(item, out)
    elif kind is dict:
        out.append(_DICT + _head(4, len(value)))
        for key, item in sorted_items(value):
            out.append(b"\x82")
            _write(key, out)
            _write(item, out)
    else:
        out.append(b"\xf6" if value is None else b"\xf5" if value else b"\xf4")


def _integer(value: int) -> bytes:
    major, magnitude = (0, value) if value >= 0 else (1, -1 - value)
    if magnitude < 1 << 64:
        return _head(major, magnitude)
    size = (magnitude.bit_length() + 7) // 8
    return bytes((0xC2 + major,)) + _head(2, size) + magnitude.to_bytes(size, "big")


# --- decoding -----------------------------------------------------------------------------------


def decode_value(data: bytes) -> Any:
    """The value that ``data`` encodes; `EncodingError` unless it is exactly its encoding."""
    try:
        value, end = _read(data, 0, 0)
        check_value(value)
    except (IndexError, UnicodeDecodeError, UsageError) as error:
        raise EncodingError(f"not an encoded contract value: {error}") from error
    if end != len(data) or encode_value(value) != data:
        raise EncodingError("not the canonical encoding of a contract value")
    return value


def read_value(data: bytes) -> Any:
    """What `encode_value` wrote as ``data``, without checking that it did; for the state."""
    return _read(data, 0, 0)[0]


def text_is_ascii(data: bytes) -> bool:
    """Whether the text that ``data`` encodes is made of ASCII only."""
    return data[_count(data, 0)[1]:].isascii()


def _count(data: bytes, at: int) -> tuple[int, int]:
    """(count, offset after the head) of the item at ``at``."""
    info = data[at] & 31
    if info < 24:
        return info, at + 1
    if info > 27:
        raise EncodingError("not an encoded contract value: bad length")
    end = at + 1 + (1 << (info - 24))
    return int.from_bytes(data[at + 1:end], "big"), end


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """(value, offset after it). Contracts read their state often: common kinds come first."""
    first = data[at]
    major = first >> 5
    if major == 2 or major == 3:
        count, start = _count(data, at)
        end = start + count
        return (data[start:end] if major == 2 else data[start:end].decode()), end
    if major == 0 or major == 1:
        count, start = _count(data, at)
        return (count if major == 0 else -1 - count), start
    if first in _SIMPLE:
        return _SIMPLE[first], at + 1
    if depth > MAX_DEPTH:
        raise EncodingError(f"a contract value is nested at most {MAX_DEPTH} deep")
    if major == 4:
        count, start = _count(data, at)
        items = []
        for _ in range(count):
            item, start = _read(data, start, depth + 1)
            items.append(item)
        return items, start
    if data.startswith(_DICT, at):
        return _read_dict(data, at + len(_DICT), depth)
    if first == 0xC2 or first == 0xC3:
        size, start = _count(data, at + 1)
        magnitude = int.from_bytes(data[start:start + size], "big")
        return (magnitude if first == 0xC2 else -1 - magnitude), start + size
    raise EncodingError(f"a contract value does not begin with {first:#04x}")


def _read_dict(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if data[at] >> 5 != 4:
        raise EncodingError("a dict's pairs stand in an array")
    count, at = _count(data, at)
    result: dict[Any, Any] = {}
    for _ in range(count):
        if data[at] != 0x82:
            raise EncodingError("a dict's entry is a pair")
        key, at = _read(data, at + 1, depth + 1)
        if type(key) not in _KEY_ORDER:
            raise EncodingError(f"a dict's key is an int, str or bytes, not {kind_of(key)}")
        result[key], at = _read(data, at, depth + 1)
    return result, at


# --- plain (for records of the ledger) ----------------------------------------------------------


def to_plain(value: Any) -> Any:
    """``value`` as `bdn.encoding` carries it: dicts become ``{"dict": [[key, value], …]}``."""
    if type(value) is list:
        return [to_plain(item) for item in value]
    if type(value) is dict:
        return {"dict": [[key, to_plain(item)] for key, item in sorted_items(value)]}
    return value


def from_plain(plain: Any) -> Any:
    """The inverse of `to_plain`; raises `EncodingError` for what it never writes."""
    if isinstance(plain, (list, tuple)):
        return [from_plain(item) for item in plain]
    if isinstance(plain, dict):
        pairs = plain.get("dict")
        if plain.keys() != {"dict"} or not isinstance(pairs, Sequence):
            raise EncodingError("expected the plain form of a contract's dict")
        result = {}
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise EncodingError("a dict's entry is a pair")
            check_key(pair[0])
            result[pair[0]] = from_plain(pair[1])
        if [key for key, _ in sorted_items(result)] != [pair[0] for pair in pairs]:
            raise EncodingError("a dict's pairs are sorted and distinct")
        return result
    check_value(plain)
    return plain
