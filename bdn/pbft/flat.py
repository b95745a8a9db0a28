"""A quick codec for flat records: the same bytes as `bdn.encoding.encode_union`, no other.

A record is flat when its fields are numbers, bytes, text, truth values or optional bytes: all
messages of the normal case are. Deterministic CBOR fixes the order of their keys and the form of
every value, so encoding is concatenation and decoding is cutting at the places where things must
lie; what lies elsewhere is refused. Votes are nine messages of ten and all have one shape, so
`VoteCodec` reads one with a single pattern. Tests hold both codecs equal to the general one, on
good bytes and on bad ones; `benchmarks/pbft.py` shows why they exist.
"""

import re
import typing
from collections.abc import Callable
from dataclasses import fields
from operator import itemgetter
from typing import Any, Generic, TypeVar

from bdn.errors import EncodingError

T = TypeVar("T")

UINT, BYTES, TEXT, ARRAY, MAP = 0x00, 0x40, 0x60, 0x80, 0xA0
"""CBOR's major types (RFC 8949, section 3.1), as they stand in the first byte."""
FALSE, TRUE, NULL = b"\xf4", b"\xf5", b"\xf6"

_HEADS = {major: [bytes((major + value,)) if value < 24 else bytes((major + 24, value))
                  for value in range(256)] for major in (UINT, BYTES, TEXT, ARRAY, MAP)}
"""The heads of small values and of short contents."""
_LEAST = (24, 1 << 8, 1 << 16, 1 << 32)
"""The least value that needs 1, 2, 4 or 8 bytes more; anything less is not the shortest form."""

Read = Callable[[bytes, int], tuple[Any, int]]


class FlatCodec(Generic[T]):
    """Encodes and decodes one flat dataclass."""

    def __init__(self, cls: type[T]) -> None:
        hints = typing.get_type_hints(cls)
        declared = [field.name for field in fields(cls)]  # type: ignore[arg-type]  # T is a dataclass
        names = sorted(declared, key=lambda name: (len(name), name))
        self.prefix = (b"\x82" + _text(cls.__name__) + _head(MAP, len(names)))
        self._cls = cls
        self._fields = [(_text(name), name, *_KINDS[hints[name]]) for name in names]
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


class Vote(typing.Protocol):
    """What a `VoteCodec` carries: PREPARE and COMMIT."""

    view: int
    sequence: int
    digest: bytes
    replica: int
    signature: bytes


V = TypeVar("V", bound=Vote)


class VoteCodec(FlatCodec[V]):
    """A `FlatCodec` for votes: a digest of 32 bytes and a signature of 64 in their fixed places.

    Whatever has another shape (numbers above 2^32, a signature of the wrong length, bytes that are
    no vote at all) is left to the `FlatCodec`.
    """

    def __init__(self, cls: type[V]) -> None:
        super().__init__(cls)
        self._keys = keys = [self.prefix + _text("view"), _text("digest") + b"\x58\x20",
                             _text("replica"), _text("sequence"), _text("signature") + b"\x58\x40"]
        parts = (_NUMBER, b"(.{32})", _NUMBER, _NUMBER, b"(.{64})")
        shape = b"".join(re.escape(key) + part for key, part in zip(keys, parts, strict=True))
        self._match = re.compile(shape, re.DOTALL).fullmatch
        before = len(keys[0]) + 1 + len(keys[1]) + 32
        self._voter = before, before + len(keys[2]) + 1
        self._make: Callable[[int, int, bytes, int, bytes], V] = cls

    def gist(self, view: int, sequence: int, digest: bytes) -> bytes:
        """What a vote says, less who says it."""
        first, then, _, place, last = self._keys
        return b"".join((first, _write_uint(view), then, digest,
                         place, _write_uint(sequence), last))

    def gist_of(self, data: bytes) -> bytes:
        """The `gist` of an encoded vote, cut out unread; nobody's gist where it is no such vote.

        Views and replicas above 23 move what follows, so that theirs are nobody's too.
        """
        begins, ends = self._voter
        return data[:begins] + data[ends:-64]

    def encode(self, vote: V) -> bytes:
        """The vote's only encoding."""
        digest, signature = vote.digest, vote.signature
        if len(digest) != 32 or len(signature) != 64:
            return super().encode(vote)
        view, then, replica, sequence, last = self._keys
        return b"".join((
            view, _write_uint(vote.view), then, digest, replica, _write_uint(vote.replica),
            sequence, _write_uint(vote.sequence), last, signature))

    def decode(self, data: bytes) -> V:
        """The vote; raises `EncodingError` for anything that `encode` does not write."""
        found = self._match(data)
        if found is None:
            return super().decode(data)
        view, digest, replica, sequence, signature = found.groups()
        return self._make(_NUMBERS[view], _NUMBERS[sequence], digest, _NUMBERS[replica], signature)


_NUMBER = (b"([\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff]."
           b"|\x1a(?:[\x01-\xff].|\x00[\x01-\xff])..)")
"""A number below 2^32 in its shortest form."""


class _Numbers(dict[bytes, int]):
    """What `_NUMBER` matched, as a number: the small ones by heart."""

    def __missing__(self, written: bytes) -> int:
        return int.from_bytes(written[1:], "big")


_NUMBERS = _Numbers((head, value) for value, head in enumerate(_HEADS[UINT]))


def _head(major: int, value: int) -> bytes:
    if 0 <= value < 256:
        return _HEADS[major][value]
    for i, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size):
            return bytes((major + 24 + i,)) + value.to_bytes(size, "big")
    raise EncodingError(f"{value} does not fit into eight bytes")


def _read_head(data: bytes, at: int, major: int) -> tuple[int, int]:
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


def _write_uint(value: int) -> bytes:
    return _HEADS[UINT][value] if 0 <= value < 256 else _head(UINT, value)


def _read_uint(data: bytes, at: int) -> tuple[int, int]:
    low = data[at]
    return (low, at + 1) if low < 24 else _read_head(data, at, UINT)


def _write_bytes(value: bytes) -> bytes:
    length = len(value)
    return (_HEADS[BYTES][length] if length < 256 else _head(BYTES, length)) + value


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    if data[at] == BYTES + 24 and data[at + 1] >= 24:  # as digests, signatures and keys begin
        length, at = data[at + 1], at + 2
    else:
        length, at = _read_head(data, at, BYTES)
    end = at + length
    if end > len(data):
        raise ValueError("bytes are cut")
    return data[at:end], end


def _text(value: str) -> bytes:
    raw = value.encode()
    return _head(TEXT, len(raw)) + raw


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _read_head(data, at, TEXT)
    end = at + length
    if end > len(data):
        raise ValueError("text is cut")
    return data[at:end].decode(), end


def read_batch(data: bytes) -> list[int | bytes] | None:
    """What `bdn.encoding.decode` reads from an array of a number and byte strings after it.

    None for anything else, good or bad: that is the general codec's to tell.
    """
    try:
        length, at = _read_head(data, 0, ARRAY)
        number, at = _read_uint(data, at)
        items: list[int | bytes] = [number]
        for _ in range(length - 1):
            item, at = _read_bytes(data, at)
            items.append(item)
    except (IndexError, ValueError):
        return None
    return items if length and at == len(data) else None


def _write_bool(value: bool) -> bytes:
    return TRUE if value else FALSE


def _read_bool(data: bytes, at: int) -> tuple[bool, int]:
    raw = data[at:at + 1]
    if raw not in (TRUE, FALSE):
        raise ValueError("expected true or false")
    return raw == TRUE, at + 1


def _write_optional(value: bytes | None) -> bytes:
    return NULL if value is None else _write_bytes(value)


def _read_optional(data: bytes, at: int) -> tuple[bytes | None, int]:
    if data[at:at + 1] == NULL:
        return None, at + 1
    return _read_bytes(data, at)


_KINDS: dict[Any, tuple[Callable[[Any], bytes], Read]] = {
    int: (_write_uint, _read_uint),
    bytes: (_write_bytes, _read_bytes),
    str: (_text, _read_text),
    bool: (_write_bool, _read_bool),
    bytes | None: (_write_optional, _read_optional),
}
