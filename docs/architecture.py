"""Draws the two pictures of docs/architecture.md from the code: ``python docs/architecture.py``.

The boxes of `parts.svg` are the packages and modules that exist, on their floors, with the first
sentence of each package's docstring. The labels of `epoch.svg` are names of the code; the test of
this page looks each of them up. Both files are plain SVG without scripts or outside fonts.
"""

import ast
import textwrap
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
CHARTS = ROOT / "docs" / "charts"

FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("what a user types", ("cli",)),
    ("whole runs, and what becomes of them", ("experiments", "report", "ethereum", "vectors")),
    ("devices and edge servers, and Flower's apps as devices", ("nodes", "flower")),
    ("parts that do not know each other",
     ("paillier", "pbft", "chain", "learning", "runfolder")),
    ("ground",
     ("encoding", "identity", "seal", "randomness", "trace", "errors", "arguments", "json_text")),
)
"""The floors of the house, the highest first; a package imports only from floors below its own."""

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1b1f24;
         stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; paint-order: stroke }
  .plain { stroke: none }
  .name { font: 600 14px ui-monospace, monospace }
  .note { font-size: 12px; fill: #57606a }
  .box { fill: #eef3fb; stroke: #3b6fb6; rx: 6 }
  .lane { stroke: #8c959f; stroke-dasharray: 3 4 }
  .arrow { stroke: #3b6fb6; stroke-width: 1.5; fill: none; marker-end: url(#head) }
  .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; stroke: #0d1117 } .plain { stroke: none }
    .note { fill: #9198a1 } .paper { fill: #0d1117 }
    .box { fill: #15243b; stroke: #6ea8fe } .arrow { stroke: #6ea8fe }
  }
"""


class Step(NamedTuple):
    """One arrow of the epoch's picture.

    Attributes:
        source, target: lanes; the same lane twice is work that a node does by itself.
        text: what happens, in plain words.
        code: the name of the function or class that does it, below ``bdn``.
    """

    source: str
    target: str
    text: str
    code: str


LANES = ("device", "its edge server", "edge servers", "ledger")

EPOCH: tuple[Step, ...] = (
    Step("device", "device", "trains: w_k from w, on its own data", "learning.local.local_update"),
    Step("device", "device", "seals δ_k = w_k − w, proves that it is well formed",
         "nodes.device.work.seal_local"),
    Step("device", "its edge server", "signed update transaction and its sealed vector",
         "chain.UpdateTransaction"),
    Step("its edge server", "edge servers", "checks signature and proofs, passes it on",
         "nodes.edge.admission.Admission"),
    Step("edge servers", "edge servers", "the primary adds up the updates: Eq. (5)",
         "nodes.vector_host.VectorHost"),
    Step("edge servers", "edge servers", "PRE-PREPARE, PREPARE, COMMIT; each executes the block",
         "pbft.normal.on_commit"),
    Step("edge servers", "ledger", "the block, its seal and its receipts", "chain.Ledger.commit"),
    Step("ledger", "device", "header, seal, Tx_co and its inclusion proof",
         "nodes.device.reader.Reader"),
    Step("device", "device", "makes a share of the decryption, once per sum",
         "nodes.device.opening.make_share"),
    Step("device", "ledger", "the share, encrypted to the other devices", "chain.ShareTransaction"),
    Step("ledger", "device", "t shares", "nodes.device.reader.Reader"),
    Step("device", "device", "opens Σ s_k δ_k; w moves by its mean: Eq. (4)",
         "nodes.device.opening.open_aggregate"),
)


def first_sentence(part: str) -> str:
    """The first sentence of a package's or module's docstring."""
    path = ROOT / "bdn" / part / "__init__.py"
    if not path.is_file():
        path = ROOT / "bdn" / f"{part}.py"
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].replace("``", "").split()).split(". ")[0].rstrip(".")


def svg(width: int, height: int, title: str, body: list[str]) -> str:
    """A picture of ``width`` × ``height`` pixels."""
    head = ('<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#3b6fb6"/></marker>'
            "</defs>")
    return "\n".join([
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
         f'aria-label="{escape(title)}">'), f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>", head,
        f'<rect class="paper" width="{width}" height="{height}"/>', *body, "</svg>", ""])


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    cls = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{cls}>{escape(words)}</text>'


def draw_parts() -> str:
    """The floors, the highest on top, with what lies on each."""
    width, body, y = 960, [], 16.0
    for number, (what, parts) in enumerate(FLOORS):
        ground = number == len(FLOORS) - 1
        step = (width - 32) / len(parts)
        said = {part: [] if ground else textwrap.wrap(first_sentence(part), int(step / 7))
                for part in parts}
        body.append(text(16, y + 14, f"floor {len(FLOORS) - 1 - number}: {what}", "note"))
        y += 24
        height = 34 + 16 * max(map(len, said.values()))
        for i, part in enumerate(parts):
            x = 16 + i * step
            body.append(f'<rect class="box" x="{x + 3:g}" y="{y:g}" width="{step - 6:g}" '
                        f'height="{height}"/>')
            body.append(text(x + step / 2, y + 21, part, "name plain", "middle"))
            body += [text(x + step / 2, y + 40 + 16 * k, line, "note plain", "middle")
                     for k, line in enumerate(said[part])]
        y += height + 14
    return svg(width, int(y), "The parts of bdn: imports go down only", body)


def draw_epoch() -> str:
    """Who does what in an epoch's weight phase, from top to bottom."""
    width, top, step = 960, 56, 52
    gap = (width - 200) / (len(LANES) - 1)
    place = {lane: 80 + i * gap for i, lane in enumerate(LANES)}
    height = top + step * len(EPOCH) + 16
    body = []
    for lane, x in place.items():
        body.append(text(x, 26, lane, "name", "middle"))
        body.append(f'<path class="lane" d="M{x:g} 38V{height - 8}"/>')
    for row, item in enumerate(EPOCH):
        y = top + row * step
        start, end = place[item.source], place[item.target]
        if item.source == item.target:
            body.append(f'<circle class="box" cx="{start:g}" cy="{y + 18:g}" r="6"/>')
            left, anchor = (start + 14, "start") if start < width / 2 else (start - 14, "end")
        else:
            body.append(f'<path class="arrow" d="M{start:g} {y + 24:g}H{end:g}"/>')
            left, anchor = (start + end) / 2, "middle"
        lift = 0 if item.source == item.target else -4
        body.append(text(left, y + 20 + lift, f"{row + 1}. {item.text}", "", anchor))
        body.append(text(left, y + 38, f"bdn.{item.code}", "note", anchor))
    return svg(width, height, "An epoch: what moves between devices, edge servers and ledger", body)


PICTURES = {"parts.svg": draw_parts, "epoch.svg": draw_epoch}
"""File in docs/charts → what draws it."""

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (CHARTS / name).write_text(draw(), encoding="utf-8")
