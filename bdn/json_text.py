"""JSON from outside, whose nesting is bounded before Python's parser sees it.

The parser's own bound is Python's recursion limit. Libraries raise that limit (py-evm does), and
text nested deeper than the stack then ends the process.
"""

import json
import re
from typing import Any

MAX_DEPTH = 100
"""Lists and objects inside one another; what bdn writes has fewer than ten."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A text, closed or not, or a bracket. Every character is looked at once."""


def parse_json(text: str, **options: Any) -> Any:
    """Return the value of ``text``; ``options`` are those of `json.loads`.

    Raises:
        RecursionError: it is nested more than `MAX_DEPTH` deep.
        json.JSONDecodeError: it is not JSON.
        ValueError: it holds a number of thousands of digits.
    """
    depth = 0
    for token in _TOKEN.finditer(text):
        bracket = token.group()
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise RecursionError(f"it is nested more than {MAX_DEPTH} deep")
        elif bracket in "]}":
            depth -= 1
    return json.loads(text, **options)
