"""What an experiment is, and what it finds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bdn.experiments.runner import StalledError

SINGLE_POINT = "Single point of failure"
PRIVACY_LEAK = "Privacy leak"
INSUFFICIENCY = "Training data insufficiency"
POISONING = "Data poisoning attack"
ROWS = (SINGLE_POINT, PRIVACY_LEAK, INSUFFICIENCY, POISONING)
"""The rows of the paper's Table 1, in its words."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of an experiment, in sentences.

    Attributes:
        tried: what the attacker did, or what broke.
        happened: what came of it, with the figures of this very run.
        claimed: what the paper says, and where.
        not_covered: what this does not protect from.
        held: whether all came out as documented; for most experiments: whether the defence held.
    """

    tried: str
    happened: tuple[str, ...]
    claimed: str
    not_covered: str
    held: bool


@dataclass(frozen=True, slots=True)
class Experiment:
    """One attack or fault, to be played against the real parts.

    Attributes:
        name: on the command line.
        group: what it is about, for the list.
        row: the row of Table 1 that it answers, one of `ROWS`.
        play: plays it with Paillier keys of so many bits. The first line of its docstring is the
            experiment's title.
        prevented: whether the attack is to fail. Where it is not, the finding shows what the
            attacker gets, and ``held`` says that it is what the documents say.
    """

    name: str
    group: str
    row: str
    play: Callable[[int], Finding]
    prevented: bool = True

    @property
    def title(self) -> str:
        """One line."""
        return (self.play.__doc__ or "").splitlines()[0]

    def __call__(self, key_bits: int) -> Finding:
        """Play it. A run that stalls where the experiment did not expect it has not held."""
        try:
            return self.play(key_bits)
        except StalledError as error:
            said = f"The experiment could not be played to its end: {error}."
            return Finding(self.title, (said,), "Not reached.", "Not reached.", held=False)

    def verdict(self, finding: Finding) -> str:
        """``finding`` in a few words."""
        if not finding.held:
            return "DID NOT HOLD" if self.prevented else "NOT AS DOCUMENTED"
        return "held" if self.prevented else "not prevented, as documented"

    def record(self, finding: Finding) -> dict[str, Any]:
        """``finding`` as the plain values that `lab.json` holds."""
        head = {"experiment": self.name, "group": self.group, "row": self.row,
                "title": self.title, "prevented": self.prevented}
        return {**head, **asdict(finding), "happened": list(finding.happened),
                "prevented": self.prevented}
