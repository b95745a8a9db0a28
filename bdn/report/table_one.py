"""The paper's Table 1 with what was tried: its claim, this run's ledger, the attack lab's findings.

Table 1 is qualitative: four challenges, each "without" and "with BlockDeepNet". Here each row gets
what can be seen: figures of the run at hand, and the lab's experiments that were played into its
folder (``bdn lab all --into RUN`` writes `lab.json`). The lab belongs to `bdn.experiments`, which
this package does not know, so the file's shape is checked here:

    {"machine": …, "date": …, "key_bits": …, "findings": [{"experiment", "group", "row", "title",
     "tried", "happened": […], "claimed", "not_covered", "held"}, …]}

A finding may also say ``"prevented": false``: the attack was to succeed, and ``held`` then means
that it did no more than the documents say.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from bdn.errors import UsageError
from bdn.report.facts import Facts
from bdn.report.plain import size_text

LAB = "lab.json"

History = dict[str, Any]


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
        "Single point of failure",
        "One server collects, prepares and trains; when it is overloaded or gone, all is.",
        "The blockchain spreads the work over the network's members, and nobody is in control."),
    Challenge(
        "Privacy leak",
        "A server collects the devices' raw data without asking their owners.",
        "A device trains on its own data and hands over nothing but its local update."),
    Challenge(
        "Training data insufficiency",
        "Owners who fear for their privacy give no data, and the model stays weak.",
        "Devices share updates instead of data, and each gets an accurate global model."),
    Challenge(
        "Data poisoning attack",
        "Any party, a malicious server for one, can slip in data that spoil the model.",
        "Parties talk by transactions; the contracts give confidentiality and secret sharing by "
        "additively homomorphic encryption."),
)

BEYOND = "Beyond Table 1"
"""Where findings go that answer none of its rows."""

_TEXTS = ("experiment", "group", "row", "title", "tried", "claimed", "not_covered")


@dataclass(frozen=True, slots=True)
class Finding:
    """One experiment of the lab, as `lab.json` tells it."""

    experiment: str
    group: str
    row: str
    title: str
    tried: str
    happened: tuple[str, ...]
    claimed: str
    not_covered: str
    held: bool
    prevented: bool = True

    @property
    def verdict(self) -> str:
        """In a few words."""
        if not self.held:
            return "DID NOT HOLD" if self.prevented else "NOT AS DOCUMENTED"
        return "held" if self.prevented else "not prevented, as documented"


@dataclass(frozen=True, slots=True)
class Lab:
    """`lab.json`: the findings, and where and when they were made."""

    machine: str
    date: str
    key_bits: int
    findings: tuple[Finding, ...]

    def of(self, name: str) -> tuple[Finding, ...]:
        """The findings of a row, or of `BEYOND`."""
        known = {challenge.name for challenge in CHALLENGES}
        return tuple(finding for finding in self.findings
                     if (finding.row if finding.row in known else BEYOND) == name)


def read_lab(folder: Path) -> Lab | None:
    """The lab's findings in a run folder; None where none were made.

    Raises `UsageError` naming the file where it is damaged.
    """
    path = folder / LAB
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        machine, date = plain["machine"], plain["date"]
        findings = tuple(_finding(item) for item in plain["findings"])
        if not isinstance(plain["key_bits"], int):
            raise TypeError("key_bits is no number")
        return Lab(_machine(machine), _moment(str(date)), plain["key_bits"], findings)
    except KeyError as error:
        raise _damaged(path, f"it has no {error}") from error
    except (OSError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is damaged ({why}): write it anew with bdn lab all --into "
                      f"{path.parent}")


def _finding(item: Any) -> Finding:
    if not isinstance(item, dict):
        raise TypeError("a finding is no object")
    for key in _TEXTS:
        if not isinstance(item[key], str):
            raise TypeError(f"a finding's {key} is no text")
    happened, flags = item["happened"], (item["held"], item.get("prevented", True))
    if not isinstance(happened, list) or not all(isinstance(line, str) for line in happened):
        raise TypeError("what happened is no list of sentences")
    if not all(isinstance(flag, bool) for flag in flags):
        raise TypeError("held and prevented are true or false")
    return Finding(**{key: item[key] for key in _TEXTS}, happened=tuple(happened),
                   held=flags[0], prevented=flags[1])


def _moment(text: str) -> str:
    """An ISO 8601 time to the minute, for people; anything else as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if "T" not in text:
        return text
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".rstrip()


def _machine(value: Any) -> str:
    """The machine in a line, whether it is told as text or by parts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


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
    alone = sorted(device["accuracy_alone"] for device in history["devices"])
    samples = sorted(device["samples"] for device in history["devices"])
    together = history["accuracy"]
    word = "above" if together >= alone[-1] else "BELOW"
    held = f"{samples[0]}" if samples[0] == samples[-1] else f"{samples[0]} to {samples[-1]}"
    return [
        (f"Together {together:.1%} on held-out samples: {abs(together - alone[-1]) * 100:.1f} "
        f"points {word} the best device alone ({alone[-1]:.1%}), "
        f"{(together - median(alone)) * 100:+.1f} against the median one."),
        f"A device holds {held} of {sum(samples)} samples.",
    ]


def _poison(history: History, facts: Facts) -> list[str]:
    lines = [(f"Each of {facts.updates} updates was signed and carried a proof that its device "
             "knows what is inside; the edge servers checked it before they voted.")]
    reasons = Counter(item["event"] for item in history["refused"])
    if reasons:
        told = _listed(f"{count} × {event}" for event, count in reasons.most_common())
        lines.append(f"Refused on the way: {told}.")
    else:
        lines.append("Nothing had to be refused.")
    if facts.failed:
        lines.append(f"{facts.failed} of {facts.transactions} transactions failed in their "
                     "contract and changed nothing.")
    if history["scaled"]:
        lines.append(f"{len(history['scaled'])} updates were scaled down to fit their clip.")
    return lines


def _listed(words: Any) -> str:
    listed: Sequence[str] = list(words)
    return " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
