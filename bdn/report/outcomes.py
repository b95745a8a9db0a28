"""Table 1 as the page shows it: one card a challenge, the lab's experiments folded below."""

from collections.abc import Mapping, Sequence
from html import escape

from bdn.report.table_one import BEYOND, CHALLENGES, Challenge, Finding, Lab


def table_one(lab: Lab | None, evidence: Mapping[str, Sequence[str]], folder: str) -> str:
    """The section's inner HTML; ``folder`` is the run's, for the command that plays the lab."""
    cards = "".join(_card(challenge, evidence[challenge.name], lab) for challenge in CHALLENGES)
    beyond = lab.of(BEYOND) if lab is not None else ()
    more = f"<h3>{BEYOND}</h3>{_findings(beyond)}" if beyond else ""
    return _origin(lab, folder) + f'<div class="claims">{cards}</div>' + more


def _origin(lab: Lab | None, folder: str) -> str:
    if lab is None:
        command = f"<code>bdn lab all --into {escape(folder)}</code>"
        return ('<p class="note">The attack lab has not been played for this run. '
                f"{command} plays it against the real parts; then write this page again with "
                f"<code>bdn report {escape(folder)}</code>.</p>")
    held = sum(finding.held for finding in lab.findings)
    return (f'<p class="note">Attack lab: {held} of {len(lab.findings)} experiments came out as '
            f"documented, with a {lab.key_bits}-bit key; {escape(lab.date)}, "
            f"{escape(lab.machine)}.</p>")


def _card(challenge: Challenge, shown: Sequence[str], lab: Lab | None) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in shown)
    findings = lab.of(challenge.name) if lab is not None else ()
    return (
        f'<article class="claim"><h3>{escape(challenge.name)}</h3>'
        f"<dl><dt>Without</dt><dd>{escape(challenge.without)}</dd>"
        f"<dt>The paper’s claim</dt><dd>{escape(challenge.claim)}</dd>"
        f"<dt>This run</dt><dd><ul>{lines}</ul></dd></dl>{_findings(findings)}</article>")


def _style(finding: Finding) -> str:
    """Its verdict's colour: what is not prevented is no success, though it was foretold."""
    return ("ok" if finding.prevented else "open") if finding.held else "no"


def _findings(findings: Sequence[Finding]) -> str:
    return "".join(
        f'<details class="finding"><summary><b class="{_style(finding)}">'
        f"{escape(finding.verdict)}</b> {escape(finding.title)}</summary><dl>"
        f"<dt>Experiment</dt><dd><code>bdn lab {escape(finding.experiment)}</code></dd>"
        f"<dt>Tried</dt><dd>{escape(finding.tried)}</dd>"
        "<dt>Happened</dt><dd><ul>"
        + "".join(f"<li>{escape(line)}</li>" for line in finding.happened)
        + f"</ul></dd><dt>The paper</dt><dd>{escape(finding.claimed)}</dd>"
        f"<dt>Not covered</dt><dd>{escape(finding.not_covered)}</dd></dl></details>"
        for finding in findings)
