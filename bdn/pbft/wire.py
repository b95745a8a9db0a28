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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from operator import itemgetter
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from bdn.encoding import digest
from bdn.errors import EncodingError
from bdn.pbft.messages import MESSAGES, Message, Number, Replies, Snapshot

Write = Callable[[Any], bytes]
Read = Callable[[bytes, int], tuple[Any, int]]
"""From the data and a position to the value that stands there and the position after it."""
Union = Mapping[bytes, tuple[bytes, Read | None]]
"""The members by class name: how each begins, and how its fields are read."""

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
        name = data[2:2 + data[1] - TEXT]
        opening, read = union.get(name, (b"", None))
        if read is None or not data.startswith(opening):
            raise EncodingError(
                f"expected an array of one of {b', '.join(union).decode()} and its fields")
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
    return {cls.__name__.encode(): (_member_writer(cls)[0], _record_codec(cls)[1])
            for cls in members}


@cache
def _member_writer(cls: type) -> tuple[bytes, Write]:
    """Return how a member of a union begins (an array of two, the name), and its fields' writer."""
    name = cls.__name__.encode()
    assert len(name) < 24, "its length stands in one byte"
    return bytes((ARRAY + 2, TEXT + len(name))) + name, _record_codec(cls)[0]


@cache
def _record_codec(cls: type, without: str = "") -> tuple[Write, Read]:
    """A dataclass: the map of its fields, keys in CBOR's order (shorter first, then by bytes)."""
    hints = get_type_hints(cls, include_extras=True)
    declared = [field.name for field in fields(cls) if field.name != without]
    names = sorted(declared, key=lambda name: (len(name), name))
    in_order = itemgetter(*(names.index(name) for name in declared))
    opening, small = _head(MAP, len(names)), SHORT[UINT]
    plan = []
    for name in names:
        key, width = _head(TEXT, len(name)) + name.encode(), _usual_width(hints[name])
        plan.append((key, key + _head(BYTES, width), width, hints[name] in (Number, int), name,
                     *_codec_of(hints[name])))

    def write(record: Any) -> bytes:
        parts = [opening]
        for key, key_and_head, width, is_number, name, write_value, _ in plan:
            value = getattr(record, name)
            if width and len(value) == width:
                parts += key_and_head, value
            elif is_number and 0 <= value < 256:
                parts += key, small[value]
            else:
                parts += key, write_value(value)
        return b"".join(parts)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        if not data.startswith(opening, at):
            raise EncodingError(f"expected the fields of a {cls.__name__} at byte {at}")
        at += 1
        values: list[Any] = []
        for key, key_and_head, width, is_number, name, _, read_value in plan:
            # Most fields are read without a call: digests, keys and signatures, which have a usual
            # width, and small numbers. Where bytes are cut, ``at`` ends beyond the data.
            if width and data.startswith(key_and_head, at):
                at += len(key_and_head) + width
                values.append(data[at - width:at])
                continue
            if not data.startswith(key, at):
                raise EncodingError(f"expected {cls.__name__}.{name} at byte {at}")
            at += len(key)
            if is_number and data[at] < 24:
                values.append(data[at])
                at += 1
            elif is_number and data[at] == 24 and data[at + 1] >= 24:
                values.append(data[at + 1])
                at += 2
            else:
                value, at = read_value(data, at)
                values.append(value)
        return cls(*in_order(values)), at

    return write, read


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
    """Return how many bytes there are at most, as a rule, in a digest, key or signature; else 0."""
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


def _tuple_codec(hints: tuple[Any, ...]) -> tuple[Write, Read]:
    writers, readers = zip(*map(_codec_of, hints), strict=True)
    opening = _head(ARRAY, len(hints))

    def write(value: tuple[Any, ...]) -> bytes:
        return opening + b"".join([write_item(item) for write_item, item
                                   in zip(writers, value, strict=True)])

    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        if not data.startswith(opening, at):
            raise EncodingError(f"expected {len(hints)} items at byte {at}")
        at += 1
        items = []
        for read_item in readers:
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
