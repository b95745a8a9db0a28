"""A quick codec for flat records: the same bytes as `bdn.encoding.encode_union`, no other.

A record is flat when its fields are numbers, bytes, text, truth values or optional bytes: all
messages of the normal case are. Deterministic CBOR fixes the order of their keys and the form of
every value, so encoding is concatenation and decoding is cutting at the places where things must
lie; what lies elsewhere is refused. `bdn.pbft.straight` does the same without the loop. Tests hold
both equal to the general codec, on good bytes and on bad ones; `benchmarks/pbft.py` shows why they
exist. The functions below are also what journal records are written with.
"""

import typing
from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import itemgetter
from typing import Any, Generic, TypeVar

from bdn.errors import EncodingError

T = TypeVar("T")

UINT, BYTES, TEXT, ARRAY, MAP = 0x00, 0x40, 0x60, 0x80, 0xA0
"""CBOR's major types (RFC 8949, section 3.1), as they stand in the first byte."""
FALSE, TRUE, NULL = b"\xf4", b"\xf5", b"\xf6"

SHORT = {major: [bytes((major + value,)) if value < 24 else bytes((major + 24, value))
                  for value in range(256)] for major in (UINT, BYTES, TEXT, ARRAY, MAP)}
"""The heads of small values and of short contents."""
INTS, LENGTHS, TEXTS, ARRAYS = SHORT[UINT], SHORT[BYTES], SHORT[TEXT], SHORT[ARRAY]
DIGEST_HEAD = LENGTHS[32]
_LEAST = (24, 1 << 8, 1 << 16, 1 << 32)
"""The least value that needs 1, 2, 4 or 8 bytes more; anything less is not the shortest form."""

Read = Callable[[bytes, int], tuple[Any, int]]


class FlatCodec(Generic[T]):
    """Encodes and decodes one flat dataclass."""

    def __init__(self, cls: type[T]) -> None:
        hints = typing.get_type_hints(cls)
        declared = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # T is a dataclass
        names = sorted(declared, key=lambda name: (len(name), name))
        self.prefix = (b"\x82" + write_text(cls.__name__) + write_head(MAP, len(names)))
        self._cls = cls
        self.keys = [(name, write_text(name)) for name in names]
        self._fields = [(key, name, *_KINDS[hints[name]]) for name, key in self.keys]
        self._declared = itemgetter(*(names.index(name) for name in declared))

    def encode(self, record: T) -> bytes:
        """The record's only encoding."""
        parts = [self.prefix]
        for key, name, write, _ in self._fields:
            parts += key, write(getattr(record, name))
        return b"".join(parts)

    def decode(self, data: bytes) -> T:
        """The record; raises `EncodingError` for anything that `encode` does not write."""
        if not data.startswith(self.prefix):
            raise EncodingError(f"not a {self._cls.__name__}")
        at = len(self.prefix)
        values = []
        try:
            for key, name, _, read in self._fields:
                if not data.startswith(key, at):
                    raise EncodingError(f"expected the field {name} at byte {at}")
                value, at = read(data, at + len(key))
                values.append(value)
            if at != len(data):
                raise EncodingError(f"{len(data) - at} bytes too many")
            return self._cls(*self._declared(values))
        except (IndexError, ValueError) as error:
            raise EncodingError(f"not a {self._cls.__name__}: {error}") from error


def write_head(major: int, value: int) -> bytes:
    if 0 <= value < 256:
        return SHORT[major][value]
    for i, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size):
            return bytes((major + 24 + i,)) + value.to_bytes(size, "big")
    raise EncodingError(f"{value} does not fit into eight bytes")


def read_head(data: bytes, at: int, major: int) -> tuple[int, int]:
    low = data[at] - major
    if 0 <= low < 24:
        return low, at + 1
    if not 24 <= low < 28:
        raise ValueError(f"byte {at} begins something else")
    end = at + 1 + (1 << (low - 24))
    value = int.from_bytes(data[at + 1:end], "big")
    if end > len(data) or value < _LEAST[low - 24]:
        raise ValueError(f"byte {at} begins a number that is cut, or not in its shortest form")
    return value, end


def write_uint(value: int) -> bytes:
    return INTS[value] if 0 <= value < 256 else write_head(UINT, value)


def read_uint(data: bytes, at: int) -> tuple[int, int]:
    low = data[at]
    return (low, at + 1) if low < 24 else read_head(data, at, UINT)


def write_bytes(value: bytes) -> bytes:
    length = len(value)
    return (LENGTHS[length] if length < 256 else write_head(BYTES, length)) + value


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    if data[at] == BYTES + 24 and data[at + 1] >= 24:  # as digests, signatures and keys begin
        length, at = data[at + 1], at + 2
    else:
        length, at = read_head(data, at, BYTES)
    end = at + length
    if end > len(data):
        raise ValueError("bytes are cut")
    return data[at:end], end


def write_text(value: str) -> bytes:
    raw = value.encode()
    length = len(raw)
    return (TEXTS[length] if length < 256 else write_head(TEXT, length)) + raw


def read_text(data: bytes, at: int) -> tuple[str, int]:
    length, at = read_head(data, at, TEXT)
    end = at + length
    if end > len(data):
        raise ValueError("text is cut")
    return data[at:end].decode(), end


def write_batch(number: int, items: Iterable[bytes]) -> bytes:
    """What `bdn.encoding.encode` writes for an array of a number and byte strings after it."""
    parts = [write_bytes(item) for item in items]
    return b"".join((write_head(ARRAY, 1 + len(parts)), write_uint(number), *parts))


def read_batch(data: bytes) -> list[int | bytes] | None:
    """What `bdn.encoding.decode` reads from an array of a number and byte strings after it.

    None for anything else, good or bad: that is the general codec's to tell.
    """
    try:
        length, at = data[0] - ARRAY, 1
        if not 0 <= length < 24:
            length, at = read_head(data, 0, ARRAY)
        number, at = read_uint(data, at)
        items: list[int | bytes] = [number]
        for _ in range(length - 1):
            item, at = read_bytes(data, at)
            items.append(item)
    except (IndexError, ValueError):
        return None
    return items if length and at == len(data) else None


def write_bool(value: bool) -> bytes:
    return TRUE if value else FALSE


def read_bool(data: bytes, at: int) -> tuple[bool, int]:
    raw = data[at:at + 1]
    if raw not in (TRUE, FALSE):
        raise ValueError("expected true or false")
    return raw == TRUE, at + 1


def write_optional(value: bytes | None) -> bytes:
    return NULL if value is None else write_bytes(value)


def read_optional(data: bytes, at: int) -> tuple[bytes | None, int]:
    if data[at:at + 1] == NULL:
        return None, at + 1
    return read_bytes(data, at)


_KINDS: dict[Any, tuple[Callable[[Any], bytes], Read]] = {
    int: (write_uint, read_uint),
    bytes: (write_bytes, read_bytes),
    str: (write_text, read_text),
    bool: (write_bool, read_bool),
    bytes | None: (write_optional, read_optional),
}
