"""JSON from outside is bounded in depth, whatever Python's recursion limit is."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.json_text import MAX_DEPTH, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(VALUES)
def test_whatever_json_writes_is_read_as_json_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"]": ', '"\\"[" [[', "[\n"])
def test_deep_text_is_refused_where_libraries_raised_the_recursion_limit(
    opening: str,
) -> None:
    """py-evm raises it to 100,000, at which Python's own parser overflows the stack."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with pytest.raises(RecursionError, match="nested more than"):
            parse_json(opening * 200_000)
    finally:
        sys.setrecursionlimit(limit)


def test_the_deepest_allowed_is_read() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) == json.loads(
        "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(RecursionError):
        parse_json("[" * (MAX_DEPTH + 1))


def test_brackets_within_texts_do_not_count() -> None:
    assert parse_json(json.dumps("[" * 1000)) == "[" * 1000
    assert parse_json(json.dumps(['\\"' + "{" * 1000])) == ['\\"' + "{" * 1000]


@pytest.mark.parametrize("text", ['"' + "[" * 100_000, '"' + '\\"' * 100_000, '"\\', "]" * 1000])
def test_text_without_end_is_looked_at_once(text: str) -> None:
    """Work is linear: each of these would take minutes if a quote were tried from every place."""
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)
