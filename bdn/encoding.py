"""Strict, deterministic CBOR (RFC 8949, section 4.2), typed records, and domain-separated digests.

Everything that is hashed or signed is encoded here, so that one value has one encoding and one
encoding has one value. The profile: ``None``, booleans, integers of any size (bignum tags, nothing
else tagged), byte strings, text, arrays, and maps with text keys. No floats: a ledger must not
depend on how a machine rounds. Decoding re-encodes and demands equal bytes, which refuses
non-minimal integers, indefinite lengths, unsorted or duplicate keys in one rule.

A *record* is a frozen dataclass. Its encoding is the map of its fields; decoding checks every
field's type against the annotation, so a decoded record is as trustworthy as a constructed one::

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int
    >>> decode_record(Point, encode_record(Point(1, -2)))
    Point(x=1, y=-2)
"""

import functools
import hashlib
import io
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union

import cbor2

from bdn.errors import EncodingError

Plain = None | bool | int | bytes | str | Sequence["Plain"] | Mapping[str, "Plain"]
"""What the profile can carry. Arrays decode as lists, maps as dicts with text keys."""

Record = TypeVar("Record")

MAX_DEPTH = 64
"""Nesting beyond this is refused before it can exhaust the stack."""

_SCALARS = frozenset({bool, int, bytes, str, type(None)})


# --- values -------------------------------------------------------------------------------------


def encode(value: Plain) -> bytes:
    """Encode ``value``; raises `EncodingError` for anything outside the profile."""
    checked = _checked(value, 0)
    try:
        return cbor2.dumps(checked, canonical=True)
    except UnicodeEncodeError as error:
        raise EncodingError(f"text with a lone surrogate has no encoding: {error}") from error


def decode(data: bytes) -> Any:
    """Decode ``data``, demanding that it is exactly what `encode` would write.

    Raises `EncodingError` for bytes outside the profile, for trailing bytes, and for any second
    way of writing a value.
    """
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        again = encode(value)
    except EncodingError:
        raise
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise EncodingError(f"not strict CBOR: {error}") from error
    if again != data:
        raise EncodingError("not strict CBOR: the same value has a different canonical encoding")
    return value


def _checked(value: Any, depth: int) -> Any:
    """``value`` with tuples as lists and keys sorted, or `EncodingError`."""
    if depth > MAX_DEPTH:
        raise EncodingError(f"nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if value is None or kind in (bool, int, bytes, str):
        return value
    if kind in (list, tuple):
        return [_checked(item, depth + 1) for item in value]
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise EncodingError(f"map key {key!r} is not text")
        return {key: _checked(value[key], depth + 1) for key in value}
    raise EncodingError(f"a {kind.__name__} cannot be encoded; the profile has no such type")


# --- records ------------------------------------------------------------------------------------


def encode_record(record: Any) -> bytes:
    """Encode a dataclass instance as the map of its fields."""
    return encode(to_plain(record))


def decode_record(cls: type[Record], data: bytes) -> Record:
    """Decode bytes into ``cls``; `EncodingError` on any missing, extra or ill-typed field."""
    return from_plain(cls, decode(data))


def encode_union(record: Any) -> bytes:
    """Encode one member of a closed union as ``[class name, fields]``."""
    return encode([type(record).__name__, to_plain(record)])


def decode_union(members: Sequence[type[Record]], data: bytes) -> Record:
    """Decode what `encode_union` wrote, accepting only the classes in ``members``."""
    value = decode(data)
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        raise EncodingError("expected [class name, fields]")
    for cls in members:
        if cls.__name__ == value[0]:
            return from_plain(cls, value[1])
    raise EncodingError(f"{value[0]!r} is none of {', '.join(c.__name__ for c in members)}")


def to_plain(value: Any) -> Any:
    """Dataclasses become maps, tuples arrays; everything else stays."""
    if type(value) in _SCALARS:  # most values are; asked first, it halves the cost of encoding
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(cls: type[Record], value: Any) -> Record:
    """Build the dataclass ``cls`` from a decoded map, checking every field's type."""
    result = _typed(cls, value, cls.__name__)
    return typing.cast(Record, result)


@functools.cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _typed(expected: Any, value: Any, where: str) -> Any:
    """``value`` as an instance of the annotation ``expected``, or `EncodingError` naming it."""
    if type(value) is expected and expected in _SCALARS:  # as in `to_plain`
        return value
    if hasattr(expected, "__supertype__"):  # a NewType is its base on the wire
        expected = expected.__supertype__
    if expected is Any:
        return value
    if is_dataclass(expected) and isinstance(expected, type):
        return _typed_record(expected, value, where)
    origin = typing.get_origin(expected)
    if origin in (Union, types.UnionType):
        for arm in typing.get_args(expected):
            try:
                return _typed(arm, value, where)
            except EncodingError:
                continue
        raise EncodingError(f"{where}: {type(value).__name__} fits no arm of {expected}")
    if origin is tuple:
        return _typed_tuple(expected, value, where)
    if origin is dict:
        if type(value) is not dict:
            raise EncodingError(f"{where}: expected a map")
        item_type = typing.get_args(expected)[1]
        return {key: _typed(item_type, item, f"{where}.{key}") for key, item in value.items()}
    if expected in (None, type(None)):
        expected = type(None)
    if type(value) is not expected:
        name = getattr(expected, "__name__", expected)
        raise EncodingError(f"{where}: expected {name}, found {type(value).__name__}")
    return value


def _typed_record(cls: type, value: Any, where: str) -> Any:
    expected = _field_types(cls)
    if type(value) is not dict or value.keys() != expected.keys():
        raise EncodingError(f"{where}: expected a map with exactly {', '.join(expected)}")
    checked = {name: _typed(kind, value[name], f"{where}.{name}")
               for name, kind in expected.items()}
    try:
        return cls(**checked)
    except ValueError as error:  # a record may refuse values in __post_init__
        raise EncodingError(f"{where}: {error}") from error


def _typed_tuple(expected: Any, value: Any, where: str) -> tuple[Any, ...]:
    if type(value) is not list:
        raise EncodingError(f"{where}: expected an array, found {type(value).__name__}")
    arms = typing.get_args(expected)
    if len(arms) == 2 and arms[1] is Ellipsis:
        arms = (arms[0],) * len(value)
    if len(arms) != len(value):
        raise EncodingError(f"{where}: expected {len(arms)} items, found {len(value)}")
    return tuple(_typed(arm, item, f"{where}[{i}]")
                 for i, (arm, item) in enumerate(zip(arms, value, strict=True)))


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
