"""Strict, deterministic CBOR (RFC 8949, section 4.2), typed and bounded records, and digests.

Everything that is hashed, signed, sent or stored is encoded here, so that one value has one
encoding and one encoding has one value. The profile: ``None``, booleans, integers of any size (the
bignum tags 2 and 3, nothing else tagged), byte strings, text, arrays, and maps with text keys,
shorter keys first. There are no floats, because a ledger must not depend on how a machine rounds.
Bytes are read once, from left to right, and every second way of writing a value is refused where
it is met: long forms of short numbers, indefinite lengths, unsorted or repeated keys.

A *record* is a frozen dataclass. Its encoding is the map of its fields, and its annotations say
which values are written and read. A range bounds an integer, or the length of anything else::

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Reading:
    ...     sensor: Annotated[str, at_most(20)]
    ...     key: Annotated[bytes, exactly(32)]
    ...     offset: Annotated[int, signed_bits(16)]
    ...     values: Annotated[tuple[int, ...], at_most(100)]
    >>> reading = Reading("hall", bytes(32), -7, (20, 21))
    >>> decode_record(Reading, encode_record(reading)) == reading
    True
    >>> encode_record(Reading("hall", b"short", 0, ()))
    Traceback (most recent call last):
    bdn.errors.EncodingError: Reading.key: 5 bytes; expected 32

**Everything that is decoded is bounded by its type**, nested fields included. A length is compared
with its bound, and with the bytes that are left, before anything is made of it, so the work and the
memory of decoding are linear in the bytes. These bounds apply unless an annotation says otherwise:

    int             0 … 2^64 − 1
    str, bytes      `MAX_TEXT` and `MAX_BYTES` bytes
    tuple[T, ...]   `MAX_ITEMS` items, each bounded by its own type
    dict[str, T]    `MAX_ITEMS` entries
    Any             integers of `MAX_PLAIN_BITS`, `MAX_PLAIN_ITEMS` items, `MAX_DEPTH` levels

`encode_record` and `decode_record` serve one class, `encode_union` and `decode_union` a message
that is one of several, `encode_as` and `decode_as` any other annotation, such as
``tuple[int, bytes]``, and `encode` and `decode` a value of unknown type. All raise `EncodingError`
and nothing else.
"""

import functools
import hashlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

from bdn.errors import BdnError, EncodingError, shown

Plain = None | bool | int | bytes | str | Sequence["Plain"] | Mapping[str, "Plain"]
"""What the profile can carry. Arrays decode as lists, maps as dicts with text keys."""

Record = TypeVar("Record")

# --- bounds -------------------------------------------------------------------------------------

MAX_DEPTH = 64
"""Levels of arrays and maps inside each other where the type is `Any`."""

MAX_TEXT = 4096
"""Bytes of a text in UTF-8, unless its annotation says otherwise."""

MAX_BYTES = 1 << 30
"""Bytes of a byte string, unless its annotation says otherwise. It takes no more memory than its
encoding, so this is only for the rare field that any blob or message may fill; fields that are
worked on (digests, keys, numbers as bytes) need a bound of their own."""

MAX_ITEMS = 1 << 16
"""Items of an array or entries of a map, unless the annotation says otherwise."""

MAX_PLAIN_BITS = 8192
"""Bits of an integer's magnitude where the type is `Any`: as many as a contract can compute with,
and few enough for Python to print."""

MAX_PLAIN_ITEMS = 1 << 21
"""Items and entries in all, over all levels, where the type is `Any`: as many as a contract can
return. Each takes at most 80 bytes of memory besides its own."""


def bits(count: int) -> range:
    """Bound an integer: 0 … 2^count − 1."""
    return range(1 << count)


def signed_bits(count: int) -> range:
    """Bound an integer: −2^count … 2^count − 1."""
    return range(-(1 << count), 1 << count)


def at_most(length: int) -> range:
    """Bound the bytes of a text or byte string, or the items of an array or map."""
    return range(length + 1)


def exactly(length: int) -> range:
    """Fix the bytes of a text or byte string, or the items of an array or map."""
    return range(length, length + 1)


Digest = Annotated[bytes, exactly(32)]
"""What `digest` returns."""

NAMED = "named"
"""Annotates a union of records that is written as `encode_union` does, with the class's name, so
that records with the same fields can be told apart: ``Annotated[Circle | Square, NAMED]``."""

# --- encoding and decoding ----------------------------------------------------------------------


def encode(value: Plain) -> bytes:
    """Return the only encoding of ``value``."""
    return encode_as(Any, value)


def decode(data: bytes) -> Any:
    """Return the value in ``data``, which must be exactly what `encode` writes for it."""
    return decode_as(Any, data)


def encode_record(record: Any) -> bytes:
    """Return the encoding of a dataclass instance: the map of its fields."""
    return encode_as(type(record), record)


def decode_record(cls: type[Record], data: bytes) -> Record:
    """Return the ``cls`` that `encode_record` wrote."""
    return typing.cast(Record, decode_as(cls, data))


def encode_union(record: Any) -> bytes:
    """Return the encoding of one member of a closed union: ``[class name, fields]``."""
    cls = type(record)
    return _encode(_named_codec((cls,)), record)


def decode_union(members: Sequence[type[Record]], data: bytes) -> Record:
    """Return what `encode_union` wrote, if it is one of the classes in ``members``."""
    return typing.cast(Record, _decode(_named_codec(tuple(members)), data))


def encode_as(annotation: Any, value: Any) -> bytes:
    """Return the encoding of ``value``, which must be of the type ``annotation``."""
    return _encode(_codec(annotation), value)


def decode_as(annotation: Any, data: bytes) -> Any:
    """Return the value of the type ``annotation`` in ``data``."""
    return _decode(_codec(annotation), data)


def to_plain(value: Any) -> Any:
    """Return ``value`` with records as dicts and tuples as lists: what `decode` would return."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


# --- heads --------------------------------------------------------------------------------------

_Put = Callable[[bytes], None]
_Write = Callable[[Any, _Put], None]
"""Hands the encoding of a value, in parts, to a function that collects them."""
_Read = Callable[[bytes, int], tuple[Any, int]]
"""Reads the item at a position; returns its value and the position after it."""
_Codec = tuple[_Write, _Read]

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
"""The major types (RFC 8949, section 3.1): the upper three bits of an item's first byte."""

_FOUND = ("an integer", "an integer", "a byte string", "text", "an array", "a map", "a tag",
          "a simple value or float")
_FALSE, _TRUE, _NULL = 20, 21, 22
_BIGNUM, _NEGATIVE_BIGNUM = 2, 3
_LEAST = (24, 1 << 8, 1 << 16, 1 << 32)
"""The least argument that needs 1, 2, 4 or 8 bytes of its own; a smaller one has a shorter form."""

_CUT = "the bytes end too early"
_REASON = 300
"""Characters of a record's own refusal that are repeated."""


def _encode(codec: _Codec, value: Any) -> bytes:
    parts: list[bytes] = []
    codec[0](value, parts.append)
    return b"".join(parts)


def _decode(codec: _Codec, data: bytes) -> Any:
    if not isinstance(data, bytes):
        raise _is_not("bytes", data)
    value, end = codec[1](data, 0)
    if end != len(data):
        raise EncodingError(f"{len(data) - end} bytes follow the value")
    return value


def _head(major: int, argument: int) -> bytes:
    """The first bytes of an item, in their shortest form."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    if argument < 1 << 8:
        return bytes((major << 5 | 24, argument))
    form = 1 + (argument >= 1 << 16) + (argument >= 1 << 32)
    return bytes((major << 5 | 24 + form,)) + argument.to_bytes(1 << form, "big")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """The major type and argument of the item at ``at``, and the position after its head."""
    if at >= len(data):
        raise EncodingError(_CUT)
    first = data[at]
    argument, at = first & 31, at + 1
    if argument < 24:
        return first >> 5, argument, at
    if argument > 27:
        raise EncodingError(f"byte {at - 1} begins an indefinite or reserved length")
    form = argument - 24
    end = at + (1 << form)
    argument = int.from_bytes(data[at:end], "big")
    if end > len(data):
        raise EncodingError(_CUT)
    if argument < _LEAST[form]:
        raise EncodingError(f"byte {at - 1} begins a number that has a shorter form")
    return first >> 5, argument, end


def _is_not(expected: str, found: object) -> EncodingError:
    """The refusal of a value of another type."""
    return EncodingError(f"expected {expected}, found a {type(found).__name__}")


def _inside(place: str, error: EncodingError) -> EncodingError:
    """The same refusal with the place where it happened in front."""
    return EncodingError(f"{place}: {error}")


def _bound(bounds: range) -> str:
    """The bounds in words."""
    if len(bounds) == 1:
        return f"expected {bounds.start}"
    return f"expected {bounds.start} to {bounds.stop - 1}"


# --- integers -----------------------------------------------------------------------------------


def _integer_codec(bounds: range) -> _Codec:
    most = max(abs(bounds.start), abs(bounds.stop)).bit_length()

    def write(value: int, put: _Put) -> None:
        if type(value) is not int:
            raise _is_not("an integer", value)
        if value not in bounds:
            raise out_of_range(value)
        major, argument = (_UINT, value) if value >= 0 else (_NEGATIVE, -1 - value)
        if argument < 1 << 64:
            put(_head(major, argument))
            return
        raw = argument.to_bytes((argument.bit_length() + 7) // 8, "big")
        put(_head(_TAG, _BIGNUM if value >= 0 else _NEGATIVE_BIGNUM))
        put(_head(_BYTES, len(raw)) + raw)

    def read(data: bytes, at: int) -> tuple[int, int]:
        major, value, end = _read_head(data, at)
        if major == _TAG and value in (_BIGNUM, _NEGATIVE_BIGNUM):
            major, value, end = _read_bignum(data, end, value, most)
        if major == _NEGATIVE:
            value = -1 - value
        elif major != _UINT:
            raise EncodingError(f"expected an integer, found {_FOUND[major]}")
        if value not in bounds:
            raise out_of_range(value)
        return value, end

    def out_of_range(value: int) -> EncodingError:
        return EncodingError(f"{shown(value)} is out of range; expected {shown(bounds.start)} to "
                             f"{shown(bounds.stop - 1)}")

    return write, read


def _read_bignum(data: bytes, at: int, tag: int, most: int) -> tuple[int, int, int]:
    """As `_read_head`, for the byte string after a bignum's tag."""
    major, length, at = _read_head(data, at)
    if major != _BYTES:
        raise EncodingError("a bignum is a byte string")
    if length > (most + 7) // 8:
        raise EncodingError(f"an integer of {length} bytes is out of range; expected {most} bits")
    end = at + length
    if end > len(data):
        raise EncodingError(_CUT)
    if length <= 8 or data[at] == 0:
        raise EncodingError(f"byte {at} begins a number that has a shorter form")
    value = int.from_bytes(data[at:end], "big")
    return _UINT if tag == _BIGNUM else _NEGATIVE, value, end


# --- byte strings and text ----------------------------------------------------------------------


def _bytes_codec(bounds: range) -> _Codec:
    def write(value: bytes, put: _Put) -> None:
        if type(value) is not bytes:
            raise _is_not("a byte string", value)
        if len(value) not in bounds:
            raise EncodingError(f"{len(value)} bytes; {_bound(bounds)}")
        put(_head(_BYTES, len(value)))
        put(value)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return _content(data, at, _BYTES, bounds)

    return write, read


def _text_codec(bounds: range) -> _Codec:
    def write(value: str, put: _Put) -> None:
        if type(value) is not str:
            raise _is_not("text", value)
        try:
            raw = value.encode()
        except UnicodeEncodeError as error:
            raise EncodingError("text with a lone surrogate has no encoding") from error
        if len(raw) not in bounds:
            raise EncodingError(f"{len(raw)} bytes of text; {_bound(bounds)}")
        put(_head(_TEXT, len(raw)) + raw)

    def read(data: bytes, at: int) -> tuple[str, int]:
        raw, end = _content(data, at, _TEXT, bounds)
        try:
            return raw.decode(), end
        except UnicodeDecodeError:
            raise EncodingError(f"the text before byte {end} is not UTF-8") from None

    return write, read


def _content(data: bytes, at: int, wanted: int, bounds: range) -> tuple[bytes, int]:
    """The bytes inside a byte string or text, and the position after it."""
    major, length, begin = _read_head(data, at)
    if major != wanted:
        raise EncodingError(f"expected {_FOUND[wanted]}, found {_FOUND[major]}")
    if length not in bounds:
        raise EncodingError(f"{length} bytes; {_bound(bounds)}")
    end = begin + length
    if end > len(data):
        raise EncodingError(_CUT)
    return data[begin:end], end


def _literal_codec(words: tuple[str, ...]) -> _Codec:
    """One of a few texts."""
    write_text, read_text = _text_codec(at_most(max(len(word.encode()) for word in words)))

    def write(value: str, put: _Put) -> None:
        check(value)
        write_text(value, put)

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, end = read_text(data, at)
        check(value)
        return value, end

    def check(value: str) -> None:
        if value not in words:
            raise EncodingError(f"{shown(value)} is none of {', '.join(words)}")

    return write, read


def _constant_codec(constants: dict[Any, int], expected: str) -> _Codec:
    """``None``, ``True``, ``False``: the simple values."""
    written = {value: _head(_SIMPLE, argument) for value, argument in constants.items()}
    values = {argument: value for value, argument in constants.items()}
    kinds = set(map(type, constants))

    def write(value: Any, put: _Put) -> None:
        if type(value) not in kinds:
            raise _is_not(expected, value)
        put(written[value])

    def read(data: bytes, at: int) -> tuple[Any, int]:
        major, argument, end = _read_head(data, at)
        if major != _SIMPLE or argument not in values:
            raise EncodingError(f"expected {expected}, found {_FOUND[major]}")
        return values[argument], end

    return write, read


# --- arrays, maps and records -------------------------------------------------------------------


def _count(data: bytes, at: int, wanted: int, bounds: range) -> tuple[int, int]:
    """How many items an array, or entries a map, announces; each takes at least one byte."""
    major, count, end = _read_head(data, at)
    if major != wanted:
        raise EncodingError(f"expected {_FOUND[wanted]}, found {_FOUND[major]}")
    if count not in bounds:
        raise EncodingError(f"{count} items; {_bound(bounds)}")
    if count > len(data) - end:
        raise EncodingError(_CUT)
    return count, end


def _array_codec(item: Any, bounds: range) -> _Codec:
    """A tuple of any number of items of one type."""
    write_item, read_item = _codec(item)

    def write(value: Any, put: _Put) -> None:
        if type(value) not in (tuple, list):
            raise _is_not("an array", value)
        if len(value) not in bounds:
            raise EncodingError(f"{len(value)} items; {_bound(bounds)}")
        put(_head(_ARRAY, len(value)))
        for i, element in enumerate(value):
            try:
                write_item(element, put)
            except EncodingError as error:
                raise _inside(f"[{i}]", error) from error.__cause__

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = _count(data, at, _ARRAY, bounds)
        items = []
        for i in range(count):
            try:
                element, at = read_item(data, at)
            except EncodingError as error:
                raise _inside(f"[{i}]", error) from error.__cause__
            items.append(element)
        return tuple(items), at

    return write, read


def _tuple_codec(arms: tuple[Any, ...]) -> _Codec:
    """A tuple of one item of each type."""
    codecs = tuple(map(_codec, arms))
    bounds = exactly(len(arms))
    head = _head(_ARRAY, len(arms))

    def write(value: Any, put: _Put) -> None:
        if type(value) not in (tuple, list) or len(value) not in bounds:
            raise EncodingError(f"expected {len(arms)} items, found {shown(value)}")
        put(head)
        for i, (write_item, _) in enumerate(codecs):
            try:
                write_item(value[i], put)
            except EncodingError as error:
                raise _inside(f"[{i}]", error) from error.__cause__

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        _, at = _count(data, at, _ARRAY, bounds)
        items = []
        for i, (_, read_item) in enumerate(codecs):
            try:
                element, at = read_item(data, at)
            except EncodingError as error:
                raise _inside(f"[{i}]", error) from error.__cause__
            items.append(element)
        return tuple(items), at

    return write, read


def _map_codec(item: Any, bounds: range) -> _Codec:
    write_item, read_item = _codec(item)

    def write(value: Any, put: _Put) -> None:
        if type(value) is not dict:
            raise _is_not("a map", value)
        if len(value) not in bounds:
            raise EncodingError(f"{len(value)} items; {_bound(bounds)}")
        _write_map(value, put, write_item)

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        count, at = _count(data, at, _MAP, bounds)
        entries = {}
        before = b""
        for _ in range(count):
            key, before, at = _read_key(data, at, before)
            entries[key], at = read_item(data, at)
        return entries, at

    return write, read


_WRITE_TEXT, _READ_TEXT = _text_codec(at_most(MAX_TEXT))


def _write_map(value: dict[Any, Any], put: _Put, write_item: _Write) -> None:
    entries = []
    for key, item in value.items():
        parts: list[bytes] = []
        _WRITE_TEXT(key, parts.append)
        entries.append((parts[0], item))
    put(_head(_MAP, len(entries)))
    for written, item in sorted(entries, key=lambda entry: entry[0]):
        put(written)
        write_item(item, put)


def _read_key(data: bytes, at: int, before: bytes) -> tuple[str, bytes, int]:
    """Read a map's key that follows the key encoded as ``before``; returns both of its forms."""
    key, end = _READ_TEXT(data, at)
    written = data[at:end]
    if written <= before:  # the head holds the length, so this means "shorter keys first"
        raise EncodingError(f"key {shown(key)} is repeated or out of order")
    return key, written, end


def _record_codec(cls: type) -> _Codec:
    """A dataclass: the map of its fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    declared = [field.name for field in fields(cls)]
    keys = sorted((_head(_TEXT, len(name)) + name.encode(), name) for name in declared)
    plan = [(key, name, *_codec(hints[name])) for key, name in keys]
    names = [name for _, name in keys]
    order = [names.index(name) for name in declared]
    head = _head(_MAP, len(plan))
    expected = f"{cls.__name__}: expected a map with exactly {', '.join(names)}"

    def write(value: Any, put: _Put) -> None:
        if type(value) is not cls:
            raise _is_not(f"a {cls.__name__}", value)
        put(head)
        for key, name, write_field, _ in plan:
            put(key)
            try:
                write_field(getattr(value, name), put)
            except EncodingError as error:
                raise _inside(f"{cls.__name__}.{name}", error) from error.__cause__

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if not data.startswith(head, at):
            raise EncodingError(expected)
        at += len(head)
        values = []
        for key, name, _, read_field in plan:
            if not data.startswith(key, at):
                raise EncodingError(expected)
            try:
                value, at = read_field(data, at + len(key))
            except EncodingError as error:
                raise _inside(f"{cls.__name__}.{name}", error) from error.__cause__
            values.append(value)
        try:
            return cls(*[values[i] for i in order]), at
        except (BdnError, ValueError) as error:  # a record may refuse values in __post_init__
            raise EncodingError(f"{cls.__name__}: {str(error)[:_REASON]}") from error

    return write, read


# --- unions -------------------------------------------------------------------------------------


def _union_codec(arms: tuple[Any, ...]) -> _Codec:
    """What the first fitting arm writes or reads."""
    codecs = tuple(map(_codec, arms))
    names = " | ".join(getattr(arm, "__name__", str(arm)) for arm in arms)

    def write(value: Any, put: _Put) -> None:
        reasons = []
        for write_arm, _ in codecs:
            parts: list[bytes] = []
            try:
                write_arm(value, parts.append)
            except EncodingError as error:
                reasons.append(str(error))
                continue
            put(b"".join(parts))
            return
        raise EncodingError(f"none of {names} ({'; '.join(reasons)})")

    def read(data: bytes, at: int) -> tuple[Any, int]:
        reasons = []
        for _, read_arm in codecs:
            try:
                return read_arm(data, at)
            except EncodingError as error:
                reasons.append(str(error))
        raise EncodingError(f"none of {names} ({'; '.join(reasons)})")

    return write, read


def _optional_codec(arm: Any) -> _Codec:
    """As `_union_codec` of ``arm`` and None, without a detour."""
    write_arm, read_arm = _codec(arm)

    def write(value: Any, put: _Put) -> None:
        if value is None:
            put(b"\xf6")
        else:
            write_arm(value, put)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return (None, at + 1) if data.startswith(b"\xf6", at) else read_arm(data, at)

    return write, read


@functools.cache
def _named_codec(members: tuple[type, ...]) -> _Codec:
    """``[class name, fields]``."""
    codecs = {cls: _codec(cls) for cls in members}
    readers = {cls.__name__: codecs[cls][1] for cls in members}
    _, read_name = _literal_codec(tuple(readers))

    def write(value: Any, put: _Put) -> None:
        cls = type(value)
        if cls not in codecs:
            raise _is_not(f"one of {', '.join(readers)}", value)
        put(_head(_ARRAY, 2))
        put(_head(_TEXT, len(cls.__name__)) + cls.__name__.encode())
        codecs[cls][0](value, put)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if not data.startswith(b"\x82", at):
            raise EncodingError("expected [class name, fields]")
        name, at = read_name(data, at + 1)
        return readers[name](data, at)

    return write, read


# --- values of unknown type ---------------------------------------------------------------------


def _write_plain(value: Any, put: _Put) -> None:
    _write_nested(value, put, MAX_DEPTH, [MAX_PLAIN_ITEMS])


def _write_nested(value: Any, put: _Put, depth: int, left: list[int]) -> None:
    """Write a value that is nested at most ``depth`` deep and has at most ``left[0]`` items."""
    kind = type(value)
    if kind in _PLAIN_BY_TYPE:
        _PLAIN_BY_TYPE[kind][0](value, put)
        return
    if kind not in (list, tuple, dict):
        raise EncodingError(f"a {kind.__name__} cannot be encoded; the profile has no such type")
    if depth == 0:
        raise EncodingError(f"nested deeper than {MAX_DEPTH} levels")
    left[0] -= len(value)
    if left[0] < 0:
        raise EncodingError(f"more than {MAX_PLAIN_ITEMS} items in all")
    if kind is dict:
        _write_map(value, put, lambda item, put: _write_nested(item, put, depth - 1, left))
        return
    put(_head(_ARRAY, len(value)))
    for item in value:
        _write_nested(item, put, depth - 1, left)


def _read_plain(data: bytes, at: int) -> tuple[Any, int]:
    return _read_nested(data, at, MAX_DEPTH, [MAX_PLAIN_ITEMS])


def _read_nested(data: bytes, at: int, depth: int, left: list[int]) -> tuple[Any, int]:
    """Read a value that is nested at most ``depth`` deep and has at most ``left[0]`` items."""
    major = data[at] >> 5 if at < len(data) else _UINT
    if major in _PLAIN_BY_MAJOR:
        return _PLAIN_BY_MAJOR[major][1](data, at)
    if depth == 0:
        raise EncodingError(f"nested deeper than {MAX_DEPTH} levels")
    count, at = _count(data, at, major, at_most(left[0]))
    left[0] -= count
    if major == _ARRAY:
        items = []
        for _ in range(count):
            item, at = _read_nested(data, at, depth - 1, left)
            items.append(item)
        return items, at
    entries = {}
    before = b""
    for _ in range(count):
        key, before, at = _read_key(data, at, before)
        entries[key], at = _read_nested(data, at, depth - 1, left)
    return entries, at


_PLAIN_INTEGER = _integer_codec(signed_bits(MAX_PLAIN_BITS))
_PLAIN_BYTES = _bytes_codec(at_most(MAX_BYTES))
_PLAIN_TEXT = _text_codec(at_most(MAX_BYTES))
_PLAIN_CONSTANT = _constant_codec({False: _FALSE, True: _TRUE, None: _NULL}, "true, false or null")
_PLAIN_BY_TYPE = {int: _PLAIN_INTEGER, bytes: _PLAIN_BYTES, str: _PLAIN_TEXT,
                  bool: _PLAIN_CONSTANT, type(None): _PLAIN_CONSTANT}
_PLAIN_BY_MAJOR = {_UINT: _PLAIN_INTEGER, _NEGATIVE: _PLAIN_INTEGER, _TAG: _PLAIN_INTEGER,
                   _BYTES: _PLAIN_BYTES, _TEXT: _PLAIN_TEXT, _SIMPLE: _PLAIN_CONSTANT}

# --- from annotations to codecs -----------------------------------------------------------------


@functools.cache
def _codec(annotation: Any) -> _Codec:
    """Return how values of the type ``annotation`` are written and read."""
    bounds: Any = None
    if typing.get_origin(annotation) is Annotated:
        annotation, bounds = typing.get_args(annotation)
    annotation = getattr(annotation, "__supertype__", annotation)  # a NewType is its base
    if bounds == NAMED:
        return _named_codec(typing.get_args(annotation))
    if annotation in _SCALARS:
        make, default = _SCALARS[annotation]
        return make(bounds or default)
    if is_dataclass(annotation):
        return _record_codec(typing.cast(type, annotation))
    return _compound_codec(annotation, bounds or at_most(MAX_ITEMS))


def _compound_codec(annotation: Any, bounds: range) -> _Codec:
    arms, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin is Literal:
        return _literal_codec(arms)
    if origin in (Union, types.UnionType):
        others = tuple(arm for arm in arms if arm is not type(None))
        return _optional_codec(others[0]) if len(others) == len(arms) - 1 == 1 else (
            _union_codec(arms))
    if origin is tuple:
        return _array_codec(arms[0], bounds) if arms[-1] is Ellipsis else _tuple_codec(arms)
    if origin is dict and arms[0] is str:
        return _map_codec(arms[1], bounds)
    raise TypeError(f"nothing of the type {annotation} can be encoded")


_SCALARS: dict[Any, tuple[Callable[[range], _Codec], Any]] = {
    int: (_integer_codec, bits(64)),
    bytes: (_bytes_codec, at_most(MAX_BYTES)),
    str: (_text_codec, at_most(MAX_TEXT)),
    bool: (lambda _: _constant_codec({False: _FALSE, True: _TRUE}, "true or false"), None),
    type(None): (lambda _: _constant_codec({None: _NULL}, "null"), None),
    Any: (lambda _: (_write_plain, _read_plain), None),
}
"""By type: how its codec is made, and the bounds that it has by default."""


# --- digests ------------------------------------------------------------------------------------


def transcript(domain: str, *parts: bytes) -> bytes:
    """``domain`` and ``parts``, each preceded by its length in eight bytes, big-endian.

    Length prefixes make the concatenation injective: no two lists of parts give the same bytes.
    """
    pieces = [_opening(domain)]
    for part in parts:
        pieces.append(len(part).to_bytes(8, "big"))
        pieces.append(part)
    return b"".join(pieces)


@functools.lru_cache(maxsize=256)
def _opening(domain: str) -> bytes:
    """How every transcript of a domain begins; there are few domains."""
    raw = domain.encode()
    return len(raw).to_bytes(8, "big") + raw


def digest(domain: str, *parts: bytes) -> bytes:
    """SHA-256 (32 bytes) of the `transcript` of ``domain`` and ``parts``."""
    state = _begun(domain).copy()
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


@functools.lru_cache(maxsize=256)
def _begun(domain: str) -> "hashlib._Hash":
    """SHA-256 that has taken in a domain and nothing yet of what follows."""
    return hashlib.sha256(_opening(domain))
