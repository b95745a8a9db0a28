"""What was seen in a run: every message sent, and every event at a node; and its text.

One `RunRecord` has two renderings: `render_transcript` here (text) and `bdn.pbft.simulator.chart`
(SVG). Neither asks the replicas anything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bdn.pbft.messages import Message, Reply, Request, type_name
from bdn.pbft.simulator.scenario import MICROS


@dataclass(frozen=True, slots=True)
class MessageSummary:
    """What an observer of the wire sees of a message.

    Attributes:
        type: its name, such as ``PRE-PREPARE``.
        view: the view that it is for, if it names one.
        sequence: the sequence number that it is for, if it names one.
        about: the first bytes of its digest in hexadecimal, or the request that it is about
            (``c0/1``), or "".
    """

    type: str
    view: int | None = None
    sequence: int | None = None
    about: str = ""


def summarize(message: Message) -> MessageSummary:
    """Return what an observer of the wire sees of ``message``."""
    if isinstance(message, (Request, Reply)):
        about = f"{message.client}/{message.timestamp}"
    else:
        about = getattr(message, "digest", b"").hex()[:4]
    return MessageSummary(type_name(message), getattr(message, "view", None),
                          getattr(message, "sequence", None), about)


def label(seen: MessageSummary) -> str:
    """Return a message in a few words: ``PREPARE v0 n1 4f2a``."""
    parts = [seen.type]
    if seen.view is not None:
        parts.append(f"v{seen.view}")
    if seen.sequence is not None:
        parts.append(f"n{seen.sequence}")
    if seen.about:
        parts.append(seen.about)
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Transmission:
    """One message on one link.

    Attributes:
        at: virtual µs when it was sent.
        source, target: node names.
        seen: what it is.
        cut: why it never arrived (``silent``, ``partition``, ``drop``, ``loss``), or "".
        arrivals: virtual µs of each delivery; none when it was cut, two when it was duplicated.
        forged: how it differs from what an honest sender would have sent, or "".
    """

    at: int
    source: str
    target: str
    seen: MessageSummary
    cut: str = ""
    arrivals: tuple[int, ...] = ()
    forged: str = ""


@dataclass(frozen=True, slots=True)
class LocalEvent:
    """Something that happened at one node: an execution, a timeout, a crash."""

    at: int
    node: str
    what: str


@dataclass(slots=True)
class RunRecord:
    """A run as it was seen. With ``keep`` false it stays empty, for searches in a hurry."""

    keep: bool = True
    entries: list[Transmission | LocalEvent] = field(default_factory=list)

    def note(self, entry: Transmission | LocalEvent) -> None:
        """Write one entry."""
        if self.keep:
            self.entries.append(entry)


# --- events in words ------------------------------------------------------------------------------


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


def describe_event(name: str, details: dict[str, Any]) -> str:
    """Return the words for an event of the trace, or "" where the arrows say enough."""
    if name == "rejected" and any(words in details["reason"] for words in QUIET):
        return ""
    return WORDS.get(name, "").format(**details)


# --- the text of a run ----------------------------------------------------------------------------


LANE = 4
"""Columns from one lane to the next."""
STATUS = "STATUS"


def render_transcript(record: RunRecord, replicas: Sequence[str], clients: Sequence[str],
                      title: str = "", status: bool = False) -> str:
    """Return the text of a run.

    Args:
        record: what happened.
        replicas: lanes, in order; all ``clients`` share the lane C before them.
        clients: names of the clients.
        title: what the run teaches, set above it.
        status: whether the periodic STATUS messages are shown too.
    """
    lanes = {"C": 0} | {name: i + 1 for i, name in enumerate(replicas)}
    lane_of = {**lanes, **dict.fromkeys(clients, 0)}
    lines = [f"# {line}" for line in title.splitlines()]
    lines += ["", "      ms  " + "".join(name.ljust(LANE) for name in lanes).rstrip()]
    for group in _grouped(record.entries):
        first = group[0]
        if isinstance(first, LocalEvent):
            marks = {lane_of[first.node]: "◆"}
            words = first.what
        elif first.seen.type == STATUS and not status:
            continue
        else:
            marks, words = _arrows(group, lane_of)
        lines.append(_line(first.at, marks, len(lanes), words))
    return "\n".join(lines) + "\n"


def _grouped(entries: Iterable[Transmission | LocalEvent]) -> list[list[Transmission | LocalEvent]]:
    """Runs of passages that show one node sending one message to many at one instant."""
    groups: list[list[Transmission | LocalEvent]] = []
    for entry in entries:
        if groups and isinstance(entry, Transmission) and _same_send(groups[-1][0], entry):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def _same_send(first: Transmission | LocalEvent, entry: Transmission) -> bool:
    return (isinstance(first, Transmission) and first.at == entry.at
            and first.source == entry.source and first.seen == entry.seen
            and first.forged == entry.forged and first.target != entry.target)


def _arrows(group: Sequence[Transmission | LocalEvent],
            lane_of: dict[str, int]) -> tuple[dict[int, str], str]:
    """Marks by lane, and the words at the line's end."""
    marks: dict[int, str] = {}
    reasons: list[str] = []
    words = ""
    for passage in group:
        assert isinstance(passage, Transmission)
        words = label(passage.seen)
        mark = "✗" if passage.cut else "!" if passage.forged else "▶"
        marks[lane_of[passage.target]] = mark
        marks[lane_of[passage.source]] = "●"
        for reason in (passage.forged, passage.cut):
            if reason and reason not in reasons:
                reasons.append(reason)
    return marks, words + (f" ({', '.join(reasons)})" if reasons else "")


def _line(at: int, marks: dict[int, str], lanes: int, words: str) -> str:
    """Return the time, the lanes with their marks joined by an arrow's shaft, and the words."""
    low, high = min(marks), max(marks)
    cells = []
    for lane in range(lanes):
        inside = low <= lane < high
        mark = marks.get(lane, "┼" if low < lane < high else "│")
        cells.append(mark + ("─" if inside else " ") * (LANE - 1))
    return f"{at / MICROS:8.1f}  {''.join(cells)}{words}".rstrip()
