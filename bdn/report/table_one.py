"""The paper's Table 1 with what was tried: its claim, this run's ledger, the attack lab's findings.

Table 1 is qualitative: four challenges, each "without" and "with BlockDeepNet". Here each row gets
what can be seen: figures of the run at hand, and the lab's experiments that were played into its
folder (``bdn lab all --into RUN`` writes `lab.json`, which `bdn.runfolder.findings` reads).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from typing import Any

from bdn.report.facts import Facts, scaled_updates
from bdn.report.formatting import size_text
from bdn.runfolder.findings import (
    BEYOND,
    INSUFFICIENCY,
    POISONING,
    PRIVACY_LEAK,
    SINGLE_POINT,
    Finding,
    Lab,
)
from bdn.runfolder.history import History


@dataclass(frozen=True, slots=True)
class Challenge:
    """A row of Table 1, in our words.

    Attributes:
        name: the paper's name for it; a finding's "row".
        without: what the paper says of learning without BlockDeepNet.
        claim: what it says of BlockDeepNet.
    """

    name: str
    without: str
    claim: str


CHALLENGES = (
    Challenge(
        SINGLE_POINT,
        "One server collects, prepares and trains; when it is overloaded or gone, all is.",
        "The blockchain spreads the work over the network's members, and nobody is in control."),
    Challenge(
        PRIVACY_LEAK,
        "A server collects the devices' raw data without asking their owners.",
        "A device trains on its own data and hands over nothing but its local update."),
    Challenge(
        INSUFFICIENCY,
        "Owners who fear for their privacy give no data, and the model stays weak.",
        "Devices share updates instead of data, and each gets an accurate global model."),
    Challenge(
        POISONING,
        "Any party, a malicious server for one, can slip in data that spoil the model.",
        "Parties talk by transactions; the contracts give confidentiality and secret sharing by "
        "additively homomorphic encryption."),
)


# --- what this run shows ------------------------------------------------------------------------


def evidence(history: History, facts: Facts) -> dict[str, list[str]]:
    """Sentences with this run's own figures, by the name of the challenge."""
    found = (_control(history, facts), _privacy(history, facts), _gain(history),
             _poison(history, facts))
    return {challenge.name: lines for challenge, lines in zip(CHALLENGES, found, strict=True)}


def _control(history: History, facts: Facts) -> list[str]:
    edges = history["edges"]
    if not facts.views:
        return [(f"{facts.blocks} blocks were mined by one edge server, as in section 5: proof of "
                "work with one miner is a single point of failure. PBFT is not.")]
    lines = [(f"Each of {facts.blocks} blocks was signed by at least {facts.fewest_signers} of "
             f"{len(edges)} edge servers.")]
    if facts.views[-1] > 0:
        lines.append(f"Primaries were replaced: blocks were sealed in views "
                     f"{_listed(map(str, facts.views))}, and the run went on to its end.")
    else:
        lines.append("All in view 0: no primary had to be replaced.")
    behind = [edge["name"] for edge in edges if edge["height"] < facts.blocks]
    if behind:
        lines.append(f"At the end {_listed(behind)} had not got all blocks.")
    return lines


def _privacy(history: History, facts: Facts) -> list[str]:
    config = history["config"]
    holders = config["key_holders"] or config["devices"]
    return [
        (f"{facts.updates} updates left their devices, all sealed: {size_text(facts.update_bytes)} "
        f"of ciphertexts under a {config['key_bits']}-bit key."),
        (f"{facts.aggregates} sums were opened, none of fewer than {facts.fewest_contributors} "
        f"devices; opening one takes {config['threshold']} of {holders} key holders "
        f"({facts.shares} shares were handed in)."),
    ]


def _gain(history: History) -> list[str]:
    samples = sorted(device["samples"] for device in history["devices"])
    held = f"{samples[0]}" if samples[0] == samples[-1] else f"{samples[0]} to {samples[-1]}"
    held = f"A device holds {held} of {sum(samples)} samples."
    alone = sorted(device["accuracy_alone"] for device in history["devices"]
                   if device["accuracy_alone"] is not None)
    together = history["accuracy"]
    if together is None:
        return ["The clients do not tell their accuracy.", held]
    if not alone:
        return [(f"Together {together:.1%} on held-out samples; what devices reach alone is not "
                 "known."), held]
    word = "above" if together >= alone[-1] else "BELOW"
    return [
        (f"Together {together:.1%} on held-out samples: {abs(together - alone[-1]) * 100:.1f} "
         f"points {word} the best device alone ({alone[-1]:.1%}), "
         f"{(together - median(alone)) * 100:+.1f} against the median one."),
        held,
    ]


def _poison(history: History, facts: Facts) -> list[str]:
    lines = [(f"Each of {facts.updates} updates was signed and carried a proof that its device "
             "knows what is inside; the edge servers checked it before they voted.")]
    bounds = [row["norm_bound"] for row in history["epochs"] if row.get("norm_bound")]
    lines.append(
        "No norm bound: an update may be of any length that fits its clip." if not bounds else
        f"Each proved that its norm is within its epoch's bound ({_span(bounds)}; a cheat could "
        "reach 2.46 times as much). So the magnitude of an update is bounded; its direction is "
        "not, and label flipping is not prevented.")
    reasons = Counter(item["event"] for item in history["refused"])
    if reasons:
        told = _listed(f"{count} × {event}" for event, count in reasons.most_common())
        lines.append(f"Refused on the way: {told}.")
    else:
        lines.append("Nothing had to be refused.")
    if facts.failed:
        lines.append(f"{facts.failed} of {facts.transactions} transactions failed in their "
                     "contract and changed nothing.")
    lines += scaled_updates(history)
    return lines


def _span(bounds: Sequence[float]) -> str:
    first, last = bounds[0], bounds[-1]
    return f"{first:g}" if first == last else f"{first:g} at first, {last:g} at the end"


def _listed(words: Any) -> str:
    listed: Sequence[str] = list(words)
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))


# --- the page's cards -----------------------------------------------------------------------------


def table_one(lab: Lab | None, shown: Mapping[str, Sequence[str]], folder: str) -> str:
    """The section's inner HTML; ``folder`` is the run's, for the command that plays the lab."""
    cards = "".join(_card(challenge, shown[challenge.name], lab) for challenge in CHALLENGES)
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
