"""`FlatCodec` with its loop over the fields written out, for the messages of the normal case.

For each class one encoder and one decoder is written as straight source and compiled, as
`dataclasses` does with ``__init__``: no call for each field, and a key is compared together with
the head that must follow it. What the straight way does not expect (a signature that has not 64
bytes, a PRE-PREPARE without its payload, bytes that are no such message at all) is left to the
`FlatCodec`, so that both accept the same bytes and nothing else. The decoder of a record with the
fields ``view`` and ``digest`` would read::

    def decode(data):
        try:
            end = 21
            if data[0:end] != KEY_0: return general(data)  # array, class, map and the key "view"
            at, view = end + 1, data[end]
            if view > 23: view, at = read_head(data, end, UINT)
            end = at + 9
            if data[at:end] != KEY_1: return general(data)  # the key "digest", the head of 32 bytes
            at = end + 32
            digest = data[end:at]
            if at != len(data): return general(data)
            return make(view, digest)
        except (IndexError, ValueError):
            return general(data)
"""

import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Generic, TypeVar

from bdn.pbft.flat import (
    BYTES,
    INTS,
    LENGTHS,
    TEXT,
    TEXTS,
    UINT,
    FlatCodec,
    read_head,
    write_head,
)
from bdn.record import compile_function, maker

T = TypeVar("T")

WIDTHS = {"digest": 32, "public_key": 32, "signature": 64}
"""Fields that have the same number of bytes in every message that can be accepted."""

_READ = {
    int: ("at, {0} = end + 1, data[end]",
          "if {0} > 23:",
          "    if {0} == 24 and data[at] > 23: at, {0} = end + 2, data[at]",
          "    elif {0} == 25 and data[at]: at, {0} = end + 3, data[at] << 8 | data[at + 1]",
          "    else: {0}, at = read_head(data, end, UINT)"),
    bytes: ("at, size = end + 1, data[end] - BYTES",
            "if size == 24 and data[at] > 23: at, size = end + 2, data[at]",
            "elif not 0 <= size < 24: size, at = read_head(data, end, BYTES)",
            "end, at = at, at + size",
            "{0} = data[end:at]"),
    str: ("at, size = end + 1, data[end] - TEXT",
          "if not 0 <= size < 24: size, at = read_head(data, end, TEXT)",
          "end, at = at, at + size",
          "{0} = data[end:at].decode()"),
}
"""How a value is read that begins at ``end``; ``at`` is where it ends. One that is cut ends beyond
the data, where nothing follows, so that the next comparison leaves it to the general way."""

_WRITE = {
    int: "INTS[{0}] if {0} < 256 else write_head(UINT, {0})",
    bytes: "LENGTHS[len({0})] if len({0}) < 256 else write_head(BYTES, len({0})), {0}",
    str: "TEXTS[len({0})] if len({0}) < 256 else write_head(TEXT, len({0})), {0}",
}


class StraightCodec(Generic[T]):
    """Writes and reads the same bytes as the `FlatCodec` of ``cls``.

    Attributes:
        encode: the record's only encoding.
        decode: the record; raises `EncodingError` for anything that ``encode`` does not write.
        keys: what stands before each value where all have their usual form, in the order of CBOR.
    """

    def __init__(self, cls: type[T]) -> None:
        general = FlatCodec(cls)
        self.prefix = general.prefix
        kinds = _kinds(cls)
        self.keys = [key + (write_head(BYTES, WIDTHS[name]) if name in WIDTHS else b"")
                     for name, key in general.keys]
        self.keys[0] = self.prefix + self.keys[0]
        known: dict[str, Any] = {
            "UINT": UINT, "BYTES": BYTES, "TEXT": TEXT, "INTS": INTS, "LENGTHS": LENGTHS,
            "TEXTS": TEXTS, "make": maker(cls), "join": b"".join,
            "write_head": write_head, "read_head": read_head,
            **{f"KEY_{i}": key for i, key in enumerate(self.keys)}}
        ordered = [(name, kinds[name]) for name, _ in general.keys]
        self.encode: Callable[[T], bytes] = compile_function(
            "def encode(record):", [*_encoder(ordered)], {**known, "general": general.encode})
        self.decode: Callable[[bytes], T] = compile_function(
            "def decode(data):", [*_decoder(ordered, [len(key) for key in self.keys], [*kinds])],
            {**known, "general": general.decode})


def _kinds(cls: type[Any]) -> dict[str, Any]:
    """Each field's kind; an optional payload is read straight only where there is one."""
    hints = typing.get_type_hints(cls)
    return {field.name: bytes if hints[field.name] == bytes | None else hints[field.name]
            for field in fields(cls)}


def _encoder(ordered: list[tuple[str, Any]]) -> Iterator[str]:
    unusual, parts = [], []
    for i, (name, kind) in enumerate(ordered):
        yield f"{name} = record.{name}" + (".encode()" if kind is str else "")
        if name in WIDTHS:
            unusual.append(f"len({name}) != {WIDTHS[name]}")
        elif kind is bytes:
            unusual.append(f"{name} is None")
        parts.append(f"KEY_{i}, {name if name in WIDTHS else _WRITE[kind].format(name)}")
    yield f"if {' or '.join(unusual)}: return general(record)"
    yield f"return join(({', '.join(parts)}))"


def _decoder(
    ordered: list[tuple[str, Any]], lengths: list[int], declared: list[str]
) -> Iterator[str]:
    yield "try:"
    yield "    at = 0"
    for i, (name, kind) in enumerate(ordered):
        yield f"    end = at + {lengths[i]}"
        yield f"    if data[at:end] != KEY_{i}: return general(data)"
        if name in WIDTHS:
            yield f"    at = end + {WIDTHS[name]}"
            yield f"    {name} = data[end:at]"
        else:
            yield from (f"    {line.format(name)}" for line in _READ[kind])
    yield "    if at != len(data): return general(data)"
    yield f"    return make({', '.join(declared)})"
    yield "except (IndexError, ValueError):"
    yield "    return general(data)"


Point = tuple[int, int, bytes]
"""View, sequence and digest: what a vote says."""


class VoteCodec(StraightCodec[T]):
    """For PREPARE and COMMIT, of which many say the same: that part needs no second reading.

    Attributes:
        cut: where it begins to be told who votes, and where that ends; the voters by what stands
            there; what makes a vote. Views and replicas above 23 move what follows: their votes
            are not to be cut.
    """

    def __init__(self, cls: type[T]) -> None:
        super().__init__(cls)
        view, digest, replica, _, _ = map(len, self.keys)
        begins = view + 1 + digest + 32
        voters = {self.keys[2] + bytes((replica,)): replica for replica in range(24)}
        make: Callable[..., T] = maker(cls)
        self.cut = begins, begins + replica + 1, voters, make

    def gist(self, point: Point) -> bytes:
        """What every vote for ``point`` has in common: all but who votes and the signature."""
        view, sequence, digest = point
        first, then, _, place, last = self.keys
        return b"".join((
            first, INTS[view] if view < 256 else write_head(UINT, view), then, digest, place,
            INTS[sequence] if sequence < 256 else write_head(UINT, sequence), last))
