"""What the core's trace says, in words for transcripts and charts.

Only what a reader of a sequence chart needs beside the arrows; the rest is counted and not shown.
"""

from typing import Any

WORDS = {
    "timeout request": "loses patience with the primary",
    "timeout view": "gives up waiting for the new view",
    "view-change": "gives up every view below {target}",
    "join": "joins f + 1 others on their way to view {target}",
    "new-view": "enters view {view}",
    "checkpoint-stable": "checkpoint {sequence} is stable: cuts its log",
    "diverged": "finds its state at {sequence} unlike a quorum's",
    "state-transfer": "takes over the state after n{sequence}",
    "fetched-decided": "believes the seal of n{sequence}",
    "fetched-payload": "has the payload of n{sequence} at last",
    "reply-cached": "answers {client} from memory",
    "restarted": "is back, with n{sequence} executed, from {records} journal records",
    "rejected": "refuses: {reason}",
}
QUIET = ("is past", "is over", "has asked for", "outside the window")
"""Refusals of what merely comes late or twice; every run is full of them."""


def deed_of(name: str, details: dict[str, Any]) -> str:
    """The words for an event of the trace, or "" where the arrows say enough."""
    if name == "rejected" and any(words in details["reason"] for words in QUIET):
        return ""
    return WORDS.get(name, "").format(**details)
