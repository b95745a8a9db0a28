"""A run as a message sequence chart in SVG, drawn from the record of the real messages.

Time runs down, one lane a node. An arrow leans from the instant of sending to that of arrival and
is coloured by the phase it belongs to; what never arrived ends in a cross, and that and what was
forged is dashed. What a node does stands beside its lane. Time is bent: quiet stretches are
shortened, so that a timeout of 400 ms does not push three-millisecond arrows together, and where a
lane has more to say than room, time waits for it. Under each lane stand its counters.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap

from bdn.pbft.simulator.record import LocalEvent, RunRecord, Transmission, label
from bdn.pbft.simulator.scenario import MICROS

PHASES = {
    "REQUEST": "#57606a", "REPLY": "#57606a", "PRE-PREPARE": "#0969da", "PREPARE": "#1a7f37",
    "COMMIT": "#8250df", "CHECKPOINT": "#9a6700", "VIEW-CHANGE": "#cf222e", "NEW-VIEW": "#bc4c00",
    "STATUS": "#c0c7cf", "FETCH": "#0e7c86", "STATE": "#0e7c86",
}
LANE_PX = 170.0
LEFT_PX = 90.0
TOP_PX = 70.0
MS_PX = 14.0
"""Height of a millisecond in a busy stretch."""
GAP_MS = 3.0
"""What is longer than this between two happenings is drawn as this long."""
LINE_PX = 11.0
"""Height of a line of words beside a lane."""
LINE_LETTERS = 30
"""Letters of such a line, so that it ends before the next lane."""
MOST_ARROWS = 4000

Words = dict[tuple[str, int], list[str]]
"""By node and instant: the lines that say what the node did."""


def render_chart(record: RunRecord, replicas: Sequence[str], clients: Sequence[str],
                 title: str = "", counters: dict[str, str] | None = None) -> str:
    """Return the SVG text of a run's chart.

    Args:
        record: what happened. Of more than 4,000 arrows the first 4,000 are drawn, and the chart
            says so.
        replicas, clients: node names, one lane each, clients first.
        title: one line set above.
        counters: a line for the foot of each lane, by node name.
    """
    lanes = {name: LEFT_PX + LANE_PX * i for i, name in enumerate((*clients, *replicas))}
    passages = [entry for entry in record.entries if isinstance(entry, Transmission)]
    shown = passages[:MOST_ARROWS]
    last = shown[-1].at if len(shown) < len(passages) else None
    events = [entry for entry in record.entries
             if isinstance(entry, LocalEvent) and (last is None or entry.at <= last)]
    words = _words(events)
    place = _bend([at for p in shown for at in (p.at, *p.arrivals)], words)
    foot = TOP_PX + max(place.values(), default=0.0) + 40
    width, height = LEFT_PX + LANE_PX * len(lanes), foot + 80
    body = [_head(width, height, title), *_lanes(lanes, foot), *_ticks(place)]
    body += [_arrow(passage, lanes, place) for passage in shown]
    body += _events(words, lanes, place)
    body += _counters(record, lanes, foot, counters or {})
    if len(shown) < len(passages):
        body.append(_text(LEFT_PX, foot + 70, f"the first {len(shown)} of {len(passages)} "
                                              "messages are drawn", "#cf222e"))
    return "\n".join([*body, "</svg>", ""])


def _words(events: Sequence[LocalEvent]) -> Words:
    together: dict[tuple[str, int], Counter[str]] = {}
    for event in events:
        together.setdefault((event.node, event.at), Counter())[event.what] += 1
    return {
        at: [line for what, times in said.items()
             for line in wrap(what + (f" (×{times})" if times > 1 else ""), LINE_LETTERS)]
        for at, said in together.items()}


def _bend(times: Sequence[int], words: Words) -> dict[int, float]:
    """Return each instant's height in pixels below the top, quiet stretches cut to `GAP_MS`."""
    place: dict[int, float] = {}
    speakers: dict[int, list[str]] = {}
    for node, at in words:
        speakers.setdefault(at, []).append(node)
    free: defaultdict[str, float] = defaultdict(float)  # where a lane has room for words again
    height, before = 0.0, None
    for at in sorted({*times, *speakers}):
        if before is not None:
            height += max(0.15, min((at - before) / MICROS, GAP_MS)) * MS_PX
        for node in speakers.get(at, ()):
            height = max(height, free[node])
        for node in speakers.get(at, ()):
            free[node] = height + LINE_PX * (len(words[node, at]) + 0.5)
        place[at], before = height, at
    return place


def _head(width: float, height: float, title: str) -> str:
    markers = "".join(
        f'<marker id="tip-{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        for name, colour in PHASES.items())
    legend = "".join(
        f'<tspan fill="{colour}" dx="{0 if i == 0 else 10}">{name}</tspan>'
        for i, (name, colour) in enumerate(PHASES.items()))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11">'
            f"<defs>{markers}</defs>"
            '<rect width="100%" height="100%" fill="#ffffff"/>'
            f'<text x="10" y="18" font-size="14">{escape(title)}</text>'
            f'<text x="10" y="34" font-size="10">{legend}<tspan fill="#57606a" dx="10">'
            "dashed: forged, or lost (✕)</tspan></text>")


def _lanes(lanes: dict[str, float], foot: float) -> list[str]:
    return [f'<line x1="{x}" y1="{TOP_PX - 8}" x2="{x}" y2="{foot:.1f}" stroke="#d0d7de"/>'
            + _text(x, TOP_PX - 14, name, "#1f2328", "middle", bold=True)
            for name, x in lanes.items()]


def _ticks(place: dict[int, float]) -> list[str]:
    """Times in milliseconds at the left margin, none closer than eleven pixels to another."""
    ticks, free = [], -1.0
    for at, y in place.items():
        if y >= free:
            ticks.append(_text(4, TOP_PX + y + 4, f"{at / MICROS:.1f}", "#57606a"))
            free = y + 11
    return ticks


def _arrow(passage: Transmission, lanes: dict[str, float], place: dict[int, float]) -> str:
    colour = PHASES[passage.seen.type]
    x1, y1 = lanes[passage.source], TOP_PX + place[passage.at]
    x2 = lanes[passage.target]
    title = label(passage.seen) + "".join(
        f" ({why})" for why in (passage.forged, passage.cut) if why)
    dash = ' stroke-dasharray="5 3"' if passage.cut or passage.forged else ""
    if passage.cut:
        x2, y2 = x1 + 0.7 * (x2 - x1), y1 + 12
        cross = (f'<path d="M{x2 - 4:.1f} {y2 - 4:.1f}l8 8m0 -8l-8 8" stroke="{colour}"/>')
        line = (f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
                f'stroke="{colour}"{dash}/>')
        return f"<g><title>{escape(title)}</title>{line}{cross}</g>"
    lines = "".join(
        f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{TOP_PX + place[at]:.1f}" '
        f'stroke="{colour}"{dash} marker-end="url(#tip-{passage.seen.type})"/>'
        for at in passage.arrivals)
    return f"<g><title>{escape(title)}</title>{lines}</g>"


def _events(words: Words, lanes: Mapping[str, float], place: Mapping[int, float]) -> list[str]:
    """Return a dot for every instant at which a node did something, and the words beside it.

    The words have a white rim, so that arrows pass behind them.
    """
    shapes = []
    for (node, at), lines in words.items():
        x, y = lanes[node], TOP_PX + place[at]
        spans = "".join(f'<tspan x="{x + 6:.1f}" dy="{LINE_PX if i else 0:g}">{escape(line)}'
                        "</tspan>" for i, line in enumerate(lines))
        shapes.append(
            f'<circle cx="{x}" cy="{y:.1f}" r="3" fill="#1f2328"/>'
            f'<text y="{y + 4:.1f}" font-size="10" fill="#1f2328" stroke="#ffffff" '
            f'stroke-width="3" paint-order="stroke">{spans}</text>')
    return shapes


def _counters(record: RunRecord, lanes: dict[str, float], foot: float,
              counters: dict[str, str]) -> list[str]:
    """Messages sent and received per lane, and the caller's own line."""
    sent: Counter[str] = Counter()
    received: Counter[str] = Counter()
    for entry in record.entries:
        if isinstance(entry, Transmission):
            sent[entry.source] += 1
            received[entry.target] += len(entry.arrivals)
    lines = []
    for name, x in lanes.items():
        lines.append(_text(x, foot + 16, f"sent {sent[name]}, got {received[name]}", "#57606a",
                           "middle"))
        lines.append(_text(x, foot + 30, counters.get(name, ""), "#57606a", "middle"))
    return lines


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start",
          bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{escape(words)}</text>")
