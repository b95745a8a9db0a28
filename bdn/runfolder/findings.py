"""`lab.json`: what the attack lab found, and the rows of the paper's Table 1 that it answers.

    {"machine": …, "date": …, "key_bits": …, "findings": [{"experiment", "group", "row", "title",
     "prevented", "tried", "happened": […], "claimed", "not_covered", "held"}, …]}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.runfolder import LAB
from bdn.runfolder.files import read_json

SINGLE_POINT = "Single point of failure"
PRIVACY_LEAK = "Privacy leak"
INSUFFICIENCY = "Training data insufficiency"
POISONING = "Data poisoning attack"
ROWS = (SINGLE_POINT, PRIVACY_LEAK, INSUFFICIENCY, POISONING)
"""The rows of Table 1, in the paper's words."""

BEYOND = "Beyond Table 1"
"""Where findings go that answer none of its rows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of an experiment, in sentences.

    Attributes:
        tried: what the attacker did, or what broke.
        happened: what came of it, with the figures of that very run.
        claimed: what the paper says, and where.
        not_covered: what this does not protect from.
        held: whether all came out as documented; for most experiments: whether the defence held.
        experiment, group, row, title: which experiment found it; `Experiment` fills them in.
        prevented: whether the attack was to fail. Where it was not, ``held`` says that it did no
            more than the documents say.
    """

    tried: str
    happened: tuple[str, ...]
    claimed: str
    not_covered: str
    held: bool
    experiment: str = ""
    group: str = ""
    row: str = ""
    title: str = ""
    prevented: bool = True

    @property
    def verdict(self) -> str:
        """In a few words."""
        if not self.held:
            return "DID NOT HOLD" if self.prevented else "NOT AS DOCUMENTED"
        return "held" if self.prevented else "not prevented, as documented"

    def to_plain(self) -> dict[str, Any]:
        """As the object that `lab.json` holds."""
        return {**asdict(self), "happened": list(self.happened)}


@dataclass(frozen=True, slots=True)
class Lab:
    """`lab.json`: the findings, and where and when they were made."""

    machine: str
    date: str
    key_bits: int
    findings: tuple[Finding, ...]

    def of(self, name: str) -> tuple[Finding, ...]:
        """The findings of a row, or of `BEYOND`."""
        return tuple(finding for finding in self.findings
                     if (finding.row if finding.row in ROWS else BEYOND) == name)


_TEXTS = ("experiment", "group", "row", "title", "tried", "claimed", "not_covered")

SHAPE = {
    "machine": (str, {str: object}), "date": str, "key_bits": int,
    "findings": [{**dict.fromkeys(_TEXTS, str), "happened": [str], "held": bool,
                  "prevented?": bool}],
}


def read_lab(folder: Path) -> Lab | None:
    """The lab's findings in a run folder; None where none were made.

    Raises `UsageError` naming the file and the place where it is damaged.
    """
    path = folder / LAB
    if not path.exists():
        return None
    try:
        plain = read_json(path, SHAPE)
    except UsageError as error:
        raise UsageError(f"{error}: write it anew with bdn lab all --into {folder}") from error
    findings = tuple(
        Finding(**{key: item[key] for key in _TEXTS}, happened=tuple(item["happened"]),
                held=item["held"], prevented=item.get("prevented", True))
        for item in plain["findings"])
    return Lab(_machine(plain["machine"]), _moment(plain["date"]), plain["key_bits"], findings)


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
