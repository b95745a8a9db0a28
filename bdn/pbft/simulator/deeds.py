"""What the core's trace says, in words for transcripts and charts.

Only what a reader of a sequence chart needs beside the arrows; the rest is counted and not shown.
"""

from typing import Any

WORDS = {
    "timeout request": "loses patience with the primary",
    "timeout view": "gives up waiting for the new view",
}


def deed_of(name: str, details: dict[str, Any]) -> str:
    """The words for an event of the trace, or "" where the arrows say enough."""
    return WORDS.get(name, "").format(**details)
