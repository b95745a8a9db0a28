"""How messages and journal records become bytes, and how bytes from anybody are read.

The bytes are those of `bdn.encoding.encode_union`: ``[class name, {field: value}]`` in
deterministic CBOR (RFC 8949, section 4.2), so one message has one encoding. All types are known
beforehand, which makes a smaller and quicker codec possible than the general one: `_codec_of`
turns the annotation of a field into one function that writes and one that reads. Reading checks
everything that the annotation says (type, range of a number, length of a digest), at every depth,
so nothing later in this package meets a value out of range. No tag, no indefinite length and no
number in more bytes than it needs is ever read, and nesting is as deep as the types are.

A message there and back takes less time than with the general codec (`benchmarks/pbft.py`, last
table). Tests compare the two on good bytes and on bad ones.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter, itemgetter
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from bdn.encoding import digest
from bdn.errors import EncodingError
from bdn.pbft.messages import MESSAGES, Message, Number, Replies, Snapshot

Write = Callable[[Any], bytes]
Read = Callable[[bytes, int], tuple[Any, int]]
"""From the data and a position to the value that stands there and the position after it."""
Match = Callable[[bytes, int], re.Match[bytes] | None]
Union = Mapping[bytes, Read]
"""How the fields of each member are read, by the bytes that it begins with: `_opening_of`."""

UINT, BYTES, TEXT, ARRAY, MAP = 0x00, 0x40, 0x60, 0x80, 0xA0
"""CBOR's major types (RFC 8949, section 3.1), as they stand in the first byte."""
FALSE, TRUE, NULL = b"\xf4", b"\xf5", b"\xf6"
SHORT = {major: [bytes((major + value,) if value < 24 else (major + 24, value))
                 for value in range(256)] for major in (UINT, BYTES, TEXT, ARRAY, MAP)}
"""The heads of small values and of short contents, which are nearly all."""
LEAST = (24, 1 << 8, 1 << 16, 1 << 32)
"""The least value that needs 1, 2, 4 or 8 bytes more; anything less is not the shortest form."""
ANYTHING = range(1 << 63)

# --- messages and records -----------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """Return the message's only encoding; raise `EncodingError` for a field out of its range."""
    return encode_member(message)


def decode_message(data: bytes, longest: Mapping[bytes, int] = MappingProxyType({})) -> Message:
    """Return the message; raise `EncodingError` for anything that `encode_message` cannot write.

    Args:
        data: what arrived.
        longest: for some class names, how many bytes such a message can have, so that nothing
            longer is even looked at (`Cluster.longest_messages`).
    """
    message: Message = decode_member(_MESSAGES, data, longest)
    return message


def encode_member(record: Any) -> bytes:
    """Return ``[class name, fields]`` for one member of a closed union."""
    kind: Any = type(record)
    opening, write = _member_writer(kind)
    return opening + write(record)


def decode_member(
    union: Union, data: bytes, longest: Mapping[bytes, int] = MappingProxyType({})
) -> Any:
    """Return the member of ``union`` (of `union_of`) that ``data`` encodes.

    Raises `EncodingError` for anything that `encode_member` does not write.
    """
    try:
        opening = data[:2 + data[1] - TEXT]  # an array of two, and the class name
        name = opening[2:]
        read = union.get(opening)
        if read is None:
            names = b", ".join(known[2:] for known in union).decode()
            raise EncodingError(f"expected an array of one of {names} and its fields")
        if name in longest and len(data) > longest[name]:
            raise EncodingError(f"a {name.decode()} of {len(data)} bytes; at most {longest[name]} "
                                "are taken")
        value, end = read(data, len(opening))
    except (IndexError, UnicodeDecodeError) as error:
        raise EncodingError(f"a message of {len(data)} bytes is cut or broken") from error
    if end != len(data):
        raise EncodingError(f"{len(data) - end} bytes after the end of a {name.decode()}")
    return value


def encode_unsigned(message: Message) -> bytes:
    """Return the map of all fields but the signature, which the signature covers."""
    kind: Any = type(message)
    return _record_codec(kind, without="signature")[0](message)


def encode_as(hint: Any, value: Any) -> bytes:
    """Return the encoding of a value with the annotation ``hint``, such as `Snapshot`."""
    return _codec_of(hint)[0](value)


def decode_as(hint: Any, data: bytes) -> Any:
    """Return the value; raise `EncodingError` for anything that `encode_as` cannot write."""
    try:
        value, end = _codec_of(hint)[1](data, 0)
    except (IndexError, UnicodeDecodeError) as error:
        raise EncodingError(f"{len(data)} bytes that are cut or broken") from error
    if end != len(data):
        raise EncodingError(f"{len(data) - end} bytes after the end of the value")
    return value


def checkpoint_digest(snapshot: Snapshot) -> bytes:
    """Return what CHECKPOINTs sign: the application's state digest and last replies (Rule 5b)."""
    return digest("bdn/pbft/checkpoint", snapshot.state, encode_as(Replies, snapshot.replies))


# --- one codec for each type --------------------------------------------------------------------


def union_of(members: Sequence[type]) -> Union:
    """Return the closed union of ``members`` for `decode_member`."""
    return {_opening_of(cls): _record_codec(cls)[1] for cls in members}


def _opening_of(cls: type) -> bytes:
    """Return how a member of a union begins: an array of two, and the class name."""
    name = cls.__name__.encode()
    assert len(name) < 24, "its length stands in one byte"
    return bytes((ARRAY + 2, TEXT + len(name))) + name


@cache
def _member_writer(cls: type) -> tuple[bytes, Write]:
    """Return how a member of a union begins, and what writes its fields."""
    return _opening_of(cls), _record_codec(cls)[0]


@cache
def _record_codec(cls: type, without: str = "") -> tuple[Write, Read]:
    """A dataclass: the map of its fields, keys in CBOR's order (shorter first, then by bytes)."""
    hints = get_type_hints(cls, include_extras=True)
    declared = [field.name for field in fields(cls) if field.name != without]
    names = sorted(declared, key=lambda name: (len(name), name))
    in_encoding, in_class = attrgetter(*names), itemgetter(*map(names.index, declared))
    write_row, read_row = _row_codec(
        f"the fields {', '.join(names)} of a {cls.__name__}", _head(MAP, len(names)),
        [_head(TEXT, len(name)) + name.encode() for name in names],
        [hints[name] for name in names])

    def write(record: Any) -> bytes:
        return write_row(in_encoding(record))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values, at = read_row(data, at)
        return cls(*in_class(values)), at

    return write, read


def _tuple_codec(hints: tuple[Any, ...]) -> tuple[Write, Read]:
    """A tuple of fixed length: an array."""
    write, read_row = _row_codec(f"{len(hints)} items", _head(ARRAY, len(hints)),
                                 [b""] * len(hints), hints)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values, at = read_row(data, at)
        return tuple(values), at

    return write, read


def _row_codec(
    told: str, opening: bytes, keys: Sequence[bytes], kinds: Sequence[Any]
) -> tuple[Write, Read]:
    """Return how values of these kinds, each after its key, are written and read.

    `write_plainly` and `read_plainly` go from value to value. `write` and `read` do the same in
    fewer steps where every digest, key and signature has its usual width, which is nearly always:
    they take one template, and one regular expression for each run of values (`_runs`). So a COMMIT
    is read in half the time.
    """
    return _row_writer(opening, keys, kinds), _row_reader(told, opening, keys, kinds)


def _row_writer(opening: bytes, keys: Sequence[bytes], kinds: Sequence[Any]) -> Write:
    writers, widths = [_codec_of(kind)[0] for kind in kinds], list(map(_usual_width, kinds))
    template = opening + b"".join(key + (_head(BYTES, width) if width else b"") + b"%b"
                                  for key, width in zip(keys, widths, strict=True))
    fixed = [(i, width) for i, width in enumerate(widths) if width]
    numbers = [i for i, kind in enumerate(kinds) if kind in NUMBERS]
    others = [(i, write_value) for i, write_value in enumerate(writers)
              if i not in numbers and not widths[i]]
    small, write_number = SHORT[UINT], _number_codec(ANYTHING)[0]

    def write(row: tuple[Any, ...]) -> bytes:
        values = list(row)
        for i, width in fixed:
            if len(values[i]) != width:
                return write_plainly(row)
        for i in numbers:
            value = values[i]
            values[i] = small[value] if 0 <= value < 256 else write_number(value)
        for i, write_value in others:
            values[i] = write_value(values[i])
        return template % tuple(values)

    def write_plainly(row: tuple[Any, ...]) -> bytes:
        parts = [opening]
        for key, write_value, value in zip(keys, writers, row, strict=True):
            parts += key, write_value(value)
        return b"".join(parts)

    return write


def _row_reader(
    told: str, opening: bytes, keys: Sequence[bytes], kinds: Sequence[Any]
) -> Callable[[bytes, int], tuple[list[Any], int]]:
    runs, readers = _runs(opening, keys, kinds), [_codec_of(kind)[1] for kind in kinds]
    numbers = [i for i, kind in enumerate(kinds) if kind in NUMBERS]

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        start = at
        values: list[Any] = []
        for match, read_value in runs:
            run = match(data, at)
            if run is None:  # an unusual width, or a mistake
                return read_plainly(data, start)
            values += run.groups()
            at = run.end()
            if read_value is not None:
                value, at = read_value(data, at)
                values.append(value)
        for i in numbers:
            value = values[i]
            values[i] = value[0] if len(value) == 1 else int.from_bytes(value[1:], "big")
        return values, at

    def read_plainly(data: bytes, at: int) -> tuple[list[Any], int]:
        values = []
        for key, read_value in zip((opening + keys[0], *keys[1:]), readers, strict=True):
            if not data.startswith(key, at):
                raise EncodingError(f"expected {told} from byte {at} on")
            value, at = read_value(data, at + len(key))
            values.append(value)
        return values, at

    return read


NUMBERS = (Number, int)
"""Annotations of fields that hold 0 … 2^63 − 1."""

SHORTEST_NUMBER = (rb"([\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00)..|\x1a(?!\x00\x00)...."
                   rb"|\x1b(?!\x00{4})[\x00-\x7f].{7})")
"""Regular expression for the bytes of such a number, in as few bytes as it needs."""


def _runs(
    opening: bytes, keys: Sequence[bytes], kinds: Sequence[Any]
) -> list[tuple[Match, Read | None]]:
    """Return how a row is read: for each run a pattern, and the reader of the value that ends it.

    A pattern takes in numbers in their shortest form and bytes of their usual width. A value of any
    other kind ends the run after its key, and is read by its own reader. The last run may end
    without one.
    """
    runs: list[tuple[Match, Read | None]] = []
    pattern = re.escape(opening)
    for key, kind in zip(keys, kinds, strict=True):
        pattern += re.escape(key)
        if kind in NUMBERS:
            pattern += SHORTEST_NUMBER
        elif width := _usual_width(kind):
            pattern += re.escape(_head(BYTES, width)) + b"(.{%d})" % width
        else:
            runs.append((re.compile(pattern, re.DOTALL).match, _codec_of(kind)[1]))
            pattern = b""
    if pattern:
        runs.append((re.compile(pattern, re.DOTALL).match, None))
    return runs


@cache
def _codec_of(hint: Any) -> tuple[Write, Read]:
    """Return how a value with the annotation ``hint`` is written and read."""
    allowed = ANYTHING
    if get_origin(hint) is Annotated:
        hint, allowed = get_args(hint)
    origin, arms = get_origin(hint), get_args(hint)
    if hint is int:
        return _number_codec(allowed)
    if hint is bytes:
        return _bytes_codec(allowed)
    if hint is str:
        return _text_codec(allowed)
    if hint is bool:
        return _bool_codec()
    if origin is Literal:
        return _literal_codec(arms)
    if origin is tuple:
        return _list_codec(arms[0], allowed) if arms[1] is Ellipsis else _tuple_codec(arms)
    if NoneType in arms:
        return _optional_codec(*(arm for arm in arms if arm is not NoneType))
    assert is_dataclass(hint), f"no message has a field of type {hint}"
    return _record_codec(hint)  # type: ignore[arg-type]  # a dataclass, no instance of one


def _number_codec(allowed: range) -> tuple[Write, Read]:
    def write(value: int) -> bytes:
        if 0 <= value < 24:
            return SHORT[UINT][value]
        if value not in allowed:
            raise EncodingError(f"a number is not in [{allowed.start}, {allowed.stop})")
        return _head(UINT, value)

    def read(data: bytes, at: int) -> tuple[int, int]:
        value = data[at]
        if value < 24:
            at += 1
        else:
            value, at = _read_head(data, at, UINT)
        if value not in allowed:
            raise EncodingError(f"the number before byte {at} is not in "
                                f"[{allowed.start}, {allowed.stop})")
        return value, at

    return write, read


def _usual_width(hint: Any) -> int:
    """Return the bytes of a digest, key or signature; 0 for a field of another type."""
    if get_origin(hint) is not Annotated or get_args(hint)[0] is not bytes:
        return 0
    return int(get_args(hint)[1].stop - 1)


def _bytes_codec(allowed: range) -> tuple[Write, Read]:
    def write(value: bytes) -> bytes:
        if len(value) not in allowed:
            raise EncodingError(f"{len(value)} bytes where {allowed.start} to {allowed.stop - 1} "
                                "are allowed")
        return _head(BYTES, len(value)) + value

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if data[at] == BYTES + 24 and data[at + 1] >= 24:  # as signatures begin, among others
            length, at = data[at + 1], at + 2
        else:
            length, at = _read_head(data, at, BYTES)
        end = at + length
        if end > len(data) or length not in allowed:
            raise EncodingError(f"{length} bytes at byte {at} of {len(data)}, where "
                                f"{allowed.start} to {allowed.stop - 1} are allowed")
        return data[at:end], end

    return write, read


def _text_codec(allowed: range) -> tuple[Write, Read]:
    def write(value: str) -> bytes:
        try:
            raw = value.encode()
        except UnicodeEncodeError as error:
            raise EncodingError("text with a lone surrogate has no encoding") from error
        if len(raw) not in allowed:
            raise EncodingError(f"a text of {len(raw)} bytes; at most {allowed.stop - 1} are "
                                "allowed")
        return _head(TEXT, len(raw)) + raw

    def read(data: bytes, at: int) -> tuple[str, int]:
        length, at = _read_head(data, at, TEXT)
        end = at + length
        if end > len(data) or length not in allowed:
            raise EncodingError(f"a text of {length} bytes at byte {at} of {len(data)}; at most "
                                f"{allowed.stop - 1} are allowed")
        return data[at:end].decode(), end

    return write, read


def _bool_codec() -> tuple[Write, Read]:
    def write(value: bool) -> bytes:
        return TRUE if value else FALSE

    def read(data: bytes, at: int) -> tuple[bool, int]:
        raw = data[at:at + 1]
        if raw not in (TRUE, FALSE):
            raise EncodingError(f"expected true or false at byte {at}")
        return raw == TRUE, at + 1

    return write, read


def _literal_codec(words: tuple[str, ...]) -> tuple[Write, Read]:
    write_text, read_text = _text_codec(range(max(map(len, words)) + 1))

    def write(value: str) -> bytes:
        if value not in words:
            raise EncodingError(f"expected one of {', '.join(words)}")
        return write_text(value)

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, end = read_text(data, at)
        if value not in words:
            raise EncodingError(f"expected one of {', '.join(words)} at byte {at}")
        return value, end

    return write, read


def _optional_codec(hint: Any) -> tuple[Write, Read]:
    write_value, read_value = _codec_of(hint)

    def write(value: Any) -> bytes:
        return NULL if value is None else write_value(value)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if data[at:at + 1] == NULL:
            return None, at + 1
        return read_value(data, at)

    return write, read


def _list_codec(hint: Any, allowed: range) -> tuple[Write, Read]:
    write_item, read_item = _codec_of(hint)

    def write(value: tuple[Any, ...]) -> bytes:
        if len(value) not in allowed:
            raise EncodingError(f"{len(value)} entries; at most {allowed.stop - 1} are allowed")
        return b"".join((_head(ARRAY, len(value)), *map(write_item, value)))

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        length, at = _read_head(data, at, ARRAY)
        if length not in allowed:
            raise EncodingError(f"{length} entries at byte {at}; at most {allowed.stop - 1} "
                                "are allowed")
        items = []
        for _ in range(length):  # a length that lies ends with the data
            item, at = read_item(data, at)
            items.append(item)
        return tuple(items), at

    return write, read


def _head(major: int, value: int) -> bytes:
    """Return the first byte of an item and the bytes of its value or length, as few as possible."""
    if value < 256:
        return SHORT[major][value]
    for i, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size):
            return bytes((major + 24 + i,)) + value.to_bytes(size, "big")
    raise EncodingError("a number or length does not fit into eight bytes")


def _read_head(data: bytes, at: int, major: int) -> tuple[int, int]:
    """Return an item's value or length and where its contents begin; demand the shortest form."""
    low = data[at] - major
    if 0 <= low < 24:
        return low, at + 1
    if not 24 <= low < 28:
        raise EncodingError(f"byte {at} begins something else")
    end = at + 1 + (1 << (low - 24))
    value = int.from_bytes(data[at + 1:end], "big")
    if end > len(data) or value < LEAST[low - 24]:
        raise EncodingError(f"byte {at} begins a number that is cut, or not in its shortest form")
    return value, end


_MESSAGES = union_of(MESSAGES)
