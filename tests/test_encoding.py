"""The strict encoding, fuzzed: bytes decode to what encodes to them, or one error.

The oracle for refusals is RFC 8949 itself: hand-written bytes of every forbidden form.
"""

import hashlib
import tracemalloc
from dataclasses import dataclass, replace
from typing import Annotated, Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bdn import encoding
from bdn.encoding import (
    MAX_DEPTH,
    at_most,
    bits,
    decode,
    decode_as,
    decode_record,
    decode_union,
    digest,
    encode,
    encode_record,
    encode_union,
    exactly,
    signed_bits,
    to_plain,
    transcript,
)
from bdn.errors import EncodingError, shown

SCALARS = (st.none() | st.booleans() | st.integers(-(1 << 80), 1 << 80) | st.integers()
           | st.binary(max_size=30) | st.text(max_size=20))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=4), max_leaves=20)


@dataclass(frozen=True, slots=True)
class Point:
    """A record."""

    x: Annotated[int, signed_bits(200)]
    y: bytes
    tags: tuple[str, ...]
    other: Annotated[int, signed_bits(200)] | None


@dataclass(frozen=True, slots=True)
class Name:
    """Another, for unions."""

    text: str


def exactly_equal(a: Any, b: Any) -> bool:
    """Equality that tells True from 1."""
    if type(a) is not type(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(map(exactly_equal, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(exactly_equal(a[key], b[key]) for key in a)
    return bool(a == b)


@given(VALUES)
def test_what_is_encoded_decodes_to_itself(value: Any) -> None:
    """one value, one encoding."""
    assert exactly_equal(decode(encode(value)), value)


@given(st.binary(max_size=64))
@example(bytes.fromhex("f97e00"))
@example(bytes.fromhex("c24101"))
@example(bytes.fromhex("d81c00"))
@example(bytes.fromhex("d81d00"))
@example(bytes.fromhex("c074323031332d30332d32315432303a30343a30305a"))
def test_any_bytes_decode_to_their_value_or_raise_one_error(data: bytes) -> None:
    """Any bytes either decode to a value that encodes to the same bytes, or raise."""
    try:
        value = decode(data)
    except EncodingError:
        return
    assert encode(value) == data


@given(VALUES, st.data())
def test_altered_encodings_decode_to_their_value_or_raise_one_error(
    value: Any, data: st.DataObject
) -> None:
    """Nearer to the valid: one byte changed, inserted or removed."""
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    match data.draw(st.sampled_from(("change", "insert", "remove"))):
        case "change":
            encoded[at] = data.draw(st.integers(0, 255))
        case "insert":
            encoded.insert(at, data.draw(st.integers(0, 255)))
        case _:
            del encoded[at]
    try:
        again = decode(bytes(encoded))
    except EncodingError:
        return
    assert encode(again) == bytes(encoded)


REFUSED = {
    "a non-minimal integer": "1800",
    "a non-minimal two-byte integer": "1900ff",
    "a non-minimal length of bytes": "580161",
    "an indefinite array": "9f01ff",
    "an indefinite map": "bf616101ff",
    "indefinite bytes": "5f4161ff",
    "indefinite text": "7f6161ff",
    "a half float": "f93c00",
    "a single float": "fa3f800000",
    "a double float": "fb3ff0000000000000",
    "not a number": "f97e00",
    "infinity": "f97c00",
    "a duplicate key": "a2616101616102",
    "unsorted keys": "a2616201616101",
    "keys sorted bytewise, not length-first": "a262616101616202",
    "an integer key": "a10102",
    "a bytes key": "a1416102",
    "a boolean key": "a1f502",
    "a date tag": "c074323031332d30332d32315432303a30343a30305a",
    "an epoch tag": "c11a514b67b0",
    "a decimal fraction": "c48221196ab3",
    "a big float": "c5822003",
    "a rational": "d81e820103",
    "a regular expression": "d8236161",
    "a shareable value": "d81c8101",
    "a set": "d9010281 01".replace(" ", ""),
    "a self-described value": "d9d9f701",
    "a string reference": "d9010081 6161".replace(" ", ""),
    "an UUID": "d82550000102030405060708090a0b0c0d0e0f",
    "a bignum that fits 64 bits": "c24101",
    "a bignum with a leading zero": "c24a00010000000000000000",
    "undefined": "f7",
    "a simple value": "f0",
    "a simple value in two bytes": "f818",
    "trailing bytes": "0000",
    "nothing": "",
    "a cut array": "8201",
    "a reserved length": "1c",
    "a lone break": "ff",
    "bytes that are not UTF-8": "62c328",
    "a huge announced length": "5b7fffffffffffffff",
    "a huge announced array": "9b7fffffffffffffff",
    "a surrogate in text": "63eda080",
}


@pytest.mark.parametrize("form", REFUSED, ids=str)
def test_forbidden_forms_are_refused(form: str) -> None:
    """The refusals, each by bytes of its own (RFC 8949)."""
    with pytest.raises(EncodingError):
        decode(bytes.fromhex(REFUSED[form]))


@pytest.mark.parametrize("value", [
    1.0, float("nan"), {1: 2}, {b"a": 1}, {True: 1}, {None: 1}, {1, 2}, Ellipsis, "\ud800",
    {"\udfff": 1}, bytearray(b"x"), range(3), 1j, [[1.5]], {"a": {"b": 0.0}},
], ids=repr)
def test_values_outside_the_profile_are_refused(value: Any) -> None:
    """no floats, no other types; one error class."""
    with pytest.raises(EncodingError):
        encode(value)


def test_nesting_has_a_limit_both_ways() -> None:
    """STYLE: limits on everything; deep input must not exhaust the stack."""
    value: Any = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(EncodingError):
        encode([value])
    for depth in (MAX_DEPTH + 1, 10_000, 1_000_000):
        with pytest.raises(EncodingError):
            decode(b"\x81" * depth + b"\x00")


@given(VALUES)
def test_an_independent_reader_agrees(value: Any) -> None:
    """RFC 8949: plain cbor2 reads the same value, and its canonical form is the same bytes."""
    assert exactly_equal(cbor2.loads(encode(value)), value)
    assert cbor2.dumps(value, canonical=True) == encode(value)


@given(st.integers(), st.binary(max_size=20), st.lists(st.text(max_size=5), max_size=3),
       st.none() | st.integers())
def test_records_come_back(x: int, y: bytes, tags: list[str], other: int | None) -> None:
    """records with text keys."""
    point = Point(x, y, tuple(tags), other)
    assert decode_record(Point, encode_record(point)) == point
    assert decode_union((Name, Point), encode_union(point)) == point


@given(VALUES)
def test_any_value_is_a_record_or_one_error(value: Any) -> None:
    """A decoded record is as trustworthy as a constructed one."""
    for build in (lambda: decode_record(Point, encode(value)),
                  lambda: decode_union((Name, Point), encode(value))):
        try:
            record = build()
        except EncodingError:
            continue
        assert isinstance(record, (Point, Name))


@pytest.mark.parametrize("fields", [
    {}, {"x": 1, "y": b"", "tags": []}, {"x": True, "y": b"", "tags": [], "other": None},
    {"x": 1, "y": "", "tags": [], "other": None}, {"x": 1, "y": b"", "tags": [1], "other": None},
    {"x": 1, "y": b"", "tags": [], "other": None, "z": 1},
    {"x": 1, "y": b"", "tags": {}, "other": None}, {"x": 1, "y": b"", "tags": [], "other": False},
], ids=repr)
def test_ill_typed_records_are_refused(fields: dict[str, Any]) -> None:
    """Every field's type is checked; a bool is not an int."""
    with pytest.raises(EncodingError):
        decode_record(Point, encode(fields))


# --- bounds -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bounded:
    """One field of every kind, each with a bound, two of them nested."""

    small: Annotated[int, bits(16)]
    signed: Annotated[int, signed_bits(100)]
    key: Annotated[bytes, exactly(32)]
    name: Annotated[str, at_most(8)]
    pairs: Annotated[tuple[tuple[Annotated[int, bits(8)], Annotated[bytes, at_most(4)]], ...],
                     at_most(3)]
    table: Annotated[dict[str, int], at_most(2)]
    maybe: Annotated[str, at_most(3)] | None
    number: int = 0
    text: str = ""


WITHIN = Bounded(65_535, -(1 << 100), bytes(32), "ä" * 4, ((255, b"1234"),) * 3, {"a": 1, "b": 2},
                 "abc", (1 << 64) - 1, "x" * 4096)


def test_every_bound_is_reached() -> None:
    """The largest value that each bound allows comes back."""
    assert decode_record(Bounded, encode_record(WITHIN)) == WITHIN
    assert decode_record(Bounded, encode_record(replace(WITHIN, signed=(1 << 100) - 1, maybe=None)))


@pytest.mark.parametrize("beyond", [
    {"small": 65_536}, {"small": -1}, {"signed": 1 << 100}, {"signed": -(1 << 100) - 1},
    {"key": bytes(31)}, {"key": bytes(33)}, {"name": "ä" * 4 + "x"}, {"pairs": ((1, b""),) * 4},
    {"pairs": ((256, b""),)}, {"pairs": ((1, b"12345"),)}, {"pairs": ((1 << 20_000, b""),)},
    {"table": {"a": 1, "b": 2, "c": 3}}, {"table": {"a": 1 << 64}}, {"maybe": "abcd"},
    {"number": 1 << 64}, {"number": -1}, {"number": 1 << 40_000}, {"number": -(1 << 40_000)},
    {"text": "x" * 4097},
], ids=lambda item: ", ".join(item))
def test_nothing_beyond_its_bound_is_decoded(beyond: dict[str, Any]) -> None:
    """Every integer, text, list and nested field is bounded by its type, and the place is named."""
    record = replace(WITHIN, **beyond)
    data = cbor2.dumps(to_plain(record), canonical=True)
    for refused in (lambda: decode_record(Bounded, data), lambda: encode_record(record)):
        with pytest.raises(EncodingError, match=next(iter(beyond))) as refusal:
            refused()
        assert len(str(refusal.value)) < 1000


def test_values_of_any_type_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain value has integers that Python can print, a bounded number of items and a depth."""
    monkeypatch.setattr(encoding, "MAX_PLAIN_ITEMS", 100)
    for value in (1 << 8191, -(1 << 8192), [0] * 100):
        assert decode(encode(value)) == value
    for value in (1 << 8192, -(1 << 8192) - 1, [0] * 101,
                  [[0] * 50] * 2, {"x" * 5000: 1}):
        with pytest.raises(EncodingError):
            encode(value)
        with pytest.raises(EncodingError):
            decode(cbor2.dumps(value, canonical=True))


BOMBS = {
    "shared references (tags 28 and 29)":
        b"\xd8\x1c\x82\x00" + b"\x82\xd8\x1d\x00\xd8\x1d\x00" * 20,
    "nested shared references": b"".join(
        b"\xd8\x1c\x82" for _ in range(40)) + b"\x00" + b"\xd8\x1d\x00" * 40,
    "an announced array of 2^63 items": b"\x9b" + bytes((0x7F,)) + b"\xff" * 7,
    "an announced map of 2^32 entries": b"\xba\xff\xff\xff\xff",
    "announced bytes": b"\x5b" + b"\x7f" + b"\xff" * 7 + bytes(1000),
    "an announced bignum": b"\xc2\x5a\x7f\xff\xff\xff" + bytes(1000),
    "a long bignum": b"\xc2\x5a\x00\x20\x00\x00" + b"\xff" * (1 << 21),
    "a long bignum of zeros": b"\xc2\x5a\x00\x20\x00\x00" + bytes(1 << 21),
    "deep arrays": b"\x81" * (1 << 20),
    "deep maps": b"\xa1\x61a" * (1 << 20),
    "many empty arrays": b"\x9a\x00\x40\x00\x00" + b"\x80" * (1 << 22),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(bomb: str) -> None:
    """The length is compared with the bound before anything is allocated."""
    data = BOMBS[bomb]
    for annotation in (Any, Bounded, tuple[int, ...], int, bytes):
        tracemalloc.start()
        with pytest.raises(EncodingError) as refusal:
            decode_as(annotation, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20
        assert len(str(refusal.value)) < 1000


@given(st.recursive(SCALARS | st.integers(1 << 14_000, 1 << 20_000) | st.floats() | st.just(shown),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
       st.integers(20, 100))
def test_any_value_can_be_shown_in_a_message(value: Any, limit: int) -> None:
    """One line of ASCII, bounded, whatever the value is."""
    text = shown(value, limit)
    assert len(text) <= limit + 30
    assert text.isascii()
    assert text.isprintable()


def test_an_object_whose_repr_raises_is_shown_by_its_type() -> None:
    """An error message must come out in any case."""
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Hostile()) == "a Hostile"


@given(st.lists(st.binary(max_size=10), max_size=4), st.lists(st.binary(max_size=10), max_size=4))
def test_transcripts_are_injective(a: list[bytes], b: list[bytes]) -> None:
    """Length prefixes: no two lists of parts give the same bytes or digest."""
    assert (transcript("d", *a) == transcript("d", *b)) == (a == b)
    assert (digest("d", *a) == digest("d", *b)) == (a == b)
    assert digest("d", *a) != digest("e", *a)
    assert digest("d", *a) == hashlib.sha256(transcript("d", *a)).digest()
