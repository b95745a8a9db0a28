"""Values and their encoding: one value, one encoding."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import contracts
from bdn.chain.contracts.errors import CallRefused, CallReverted
from bdn.chain.contracts.receipt import MAX_ARGUMENT, MAX_SHOWN, SENTENCES, Reason
from bdn.chain.contracts.values import (
    check_value,
    decode_value,
    encode_value,
    from_plain,
    storage_key,
    to_plain,
)
from bdn.encoding import decode, encode
from bdn.errors import EncodingError, UsageError

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
keys = st.one_of(st.integers(-(2**60) + 1, 2**60 - 1), texts, st.binary(max_size=8))
integers = st.one_of(
    st.integers(), st.integers(-(2**8191), 2**8191),
    st.sampled_from([23, 24, 255, 256, 65535, 65536, 2**32, 2**64 - 1, 2**64, -(2**64), -24, -25]))
scalars = st.one_of(st.none(), st.booleans(), integers, texts, st.binary(max_size=40))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12)


@given(values)
def test_our_encoding_is_the_strict_cbor_of_cbor2(value: object) -> None:
    """The encoder written out for bare Pythons gives cbor2's bytes for the plain form."""
    assert encode_value(value) == encode(to_plain(value))


@given(values)
def test_decoding_gives_the_value_back_with_its_types(value: object) -> None:
    again = decode_value(encode_value(value))
    assert again == value
    assert encode_value(again) == encode_value(value)
    assert from_plain(decode(encode_value(value))) == value


@given(st.dictionaries(keys, scalars, max_size=6), st.randoms())
def test_the_order_of_insertion_does_not_show(entries: dict, random: object) -> None:
    """Contract dicts are sorted key–value pairs."""
    shuffled = list(entries.items())
    random.shuffle(shuffled)
    assert encode_value(dict(shuffled)) == encode_value(entries)


def test_true_and_one_are_different_values() -> None:
    assert encode_value(True) != encode_value(1)
    assert encode_value([False]) != encode_value([0])


@given(st.binary(max_size=24))
def test_any_bytes_decode_to_their_own_value_or_raise_one_error(data: bytes) -> None:
    try:
        value = decode_value(data)
    except EncodingError:
        return
    assert encode_value(value) == data


@given(values, st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_never_decodes_to_the_same_value(value: object, at: int, by: int) -> None:
    data = bytearray(encode_value(value))
    data[at % len(data)] ^= by
    try:
        other = decode_value(bytes(data))
    except EncodingError:
        return
    assert encode_value(other) == bytes(data)


@pytest.mark.parametrize("data", [
    b"\x18\x17", b"\x9f\xff", b"\xf9\x3c\x00", b"\xa1\x64dict\x82\x82\x02\x00\x82\x01\x00",
    b"\xa1\x64dict\x82\x82\x01\x00\x82\x01\x00", b"\xa1\x64dict\x81\x82\xf5\x00", b"\xa0",
    b"\xc2\x41\x01", b"\xc1\x00", b"", b"\x00\x00", b"\x81" * 40 + b"\x00", b"\x62\xff\xff",
    b"\x9b" + b"\xff" * 8,
])
def test_other_encodings_are_refused(data: bytes) -> None:
    """Non-minimal, indefinite, float, unsorted, duplicate, bool key, bare map, bignum, tags, …"""
    with pytest.raises(EncodingError):
        decode_value(data)


@pytest.mark.parametrize("value", [
    1.5, {1, 2}, (1,), object(), {True: 1}, {None: 1}, {2**60: 1}, 1 << 8192, "\ud800", [[1.0]],
    {"a": {"b": 0.5}}, bytearray(b"x"),
])
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        check_value(value)


def test_nesting_is_limited() -> None:
    value: object = 1
    for _ in range(16):
        value = [value]
    check_value(value)
    assert decode_value(encode_value(value)) == value
    with pytest.raises(UsageError):
        check_value([value])


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list = []
    value.append(value)
    with pytest.raises(UsageError):
        check_value(value)


@given(st.lists(keys, min_size=1, max_size=3), st.lists(keys, min_size=1, max_size=3))
def test_different_keys_have_different_places(one: list, other: list) -> None:
    assert (storage_key("m", *one) == storage_key("m", *other)) == (
        [(type(k), k) for k in one] == [(type(k), k) for k in other])


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_reason_has_bounded_arguments_in_ascii(name: str, message: str) -> None:
    """What a sender chose goes into a digest by its numbers: no table of Unicode is asked. A shown
    sentence has nothing in it that a terminal would obey."""
    reason = Reason.of(CallRefused("no-function", "token", name, "a transaction"), "token")
    assert all(text.isascii() and text.isprintable() for text in reason.arguments)
    assert all(len(text) <= 10 * MAX_ARGUMENT + 3 for text in reason.arguments)
    told = Reason.of(CallReverted("require", message), "token")
    assert told.arguments == (message,)
    assert str(told).isprintable()
    assert len(str(told)) <= 10 * MAX_SHOWN


def test_every_failure_has_a_sentence() -> None:
    """Each code that is raised anywhere stands in the table, with as many arguments."""
    raised = set()
    for path in Path(contracts.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="CallFailure" | "CallRefused" | "CallReverted"),
                              args=[ast.Constant(value=code), *arguments]):
                    raised.add(code)
                    fields = set(re.findall(r"{(\d)}", SENTENCES[code]))
                    assert fields == {str(number) for number in range(len(arguments))}, code
    assert raised | {"out-of-gas", "no-contract", "no-value"} == set(SENTENCES)


def test_a_reason_from_elsewhere_is_shown_too() -> None:
    assert str(Reason("of a later version", ("x",))) == "of a later version"
    assert str(Reason("kind", ("x",), "token", 4)) == "token, line 4: kind"
