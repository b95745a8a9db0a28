"""A run as a text that a person can read: one lane a node, one line a send or a deed.

``●`` sends, ``▶`` will receive, ``✗`` never does (the reason stands at the end), ``!`` receives
something forged, ``◆`` does something by itself. What one node sends to many at one instant is one
line::

       ms  C   0   1   2   3
      0.0  ●───▶   │   │   │   REQUEST c0/1
      4.1  │   ●───▶───✗───▶   PRE-PREPARE v0 n1 4f2a (drop)
      9.7  │   │   ◆   │   │   executes n1: a
"""

from collections.abc import Iterable, Sequence

from bdn.pbft.simulator.fates import MICROS
from bdn.pbft.simulator.record import Deed, Passage, Record, label

LANE = 4
"""Columns from one lane to the next."""
STATUS = "STATUS"


def render_transcript(record: Record, replicas: Sequence[str], clients: Sequence[str],
                      title: str = "", status: bool = False) -> str:
    """The text of a run.

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
        if isinstance(first, Deed):
            marks = {lane_of[first.node]: "◆"}
            words = first.what
        elif first.seen.type == STATUS and not status:
            continue
        else:
            marks, words = _arrows(group, lane_of)
        lines.append(_line(first.at, marks, len(lanes), words))
    return "\n".join(lines) + "\n"


def _grouped(entries: Iterable[Passage | Deed]) -> list[list[Passage | Deed]]:
    """Runs of passages that show one node sending one message to many at one instant."""
    groups: list[list[Passage | Deed]] = []
    for entry in entries:
        if groups and isinstance(entry, Passage) and _same_send(groups[-1][0], entry):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def _same_send(first: Passage | Deed, entry: Passage) -> bool:
    return (isinstance(first, Passage) and first.at == entry.at
            and first.source == entry.source and first.seen == entry.seen
            and first.forged == entry.forged and first.target != entry.target)


def _arrows(group: Sequence[Passage | Deed],
            lane_of: dict[str, int]) -> tuple[dict[int, str], str]:
    """Marks by lane, and the words at the line's end."""
    marks: dict[int, str] = {}
    reasons: list[str] = []
    words = ""
    for passage in group:
        assert isinstance(passage, Passage)
        words = label(passage.seen)
        mark = "✗" if passage.cut else "!" if passage.forged else "▶"
        marks[lane_of[passage.target]] = mark
        marks[lane_of[passage.source]] = "●"
        for reason in (passage.forged, passage.cut):
            if reason and reason not in reasons:
                reasons.append(reason)
    return marks, words + (f" ({', '.join(reasons)})" if reasons else "")


def _line(at: int, marks: dict[int, str], lanes: int, words: str) -> str:
    """One line: the time, the lanes with their marks joined by an arrow's shaft, the words."""
    low, high = min(marks), max(marks)
    cells = []
    for lane in range(lanes):
        inside = low <= lane < high
        mark = marks.get(lane, "┼" if low < lane < high else "│")
        cells.append(mark + ("─" if inside else " ") * (LANE - 1))
    return f"{at / MICROS:8.1f}  {''.join(cells)}{words}".rstrip()
