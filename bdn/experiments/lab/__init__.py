"""The attack lab: what is tried, what happens, what the paper claims, and what is not covered.

An experiment plays one attack or fault against the real parts: a whole run with real keys,
signatures, consensus and training, in which some node is in an attacker's hands. It returns a
`Finding`, sentences with the figures of that very run::

    >>> from bdn.experiments.lab import experiment
    >>> finding = experiment("edge-weights")(512)          # bits of the Paillier modulus
    >>> finding.held
    True
    >>> print(finding.happened[0])
    Control, weights applied by the edge: 100.0% and 100.0% of the entries recovered exactly.

**The modules**, one for each kind of trouble: `crashes` (edge servers stop), `lies` (a primary
lies or leaves out), `collusion` (all edge servers collude), `privacy` (who tries to read),
`data_insufficiency`
(what learning together gives), `poison` (devices that poison), `forgery` (forged and replayed
transactions, false shares, a stored ledger that is changed). `small_runs` and `attackers` are what
they share: an adversary is a real node whose events are hidden or whose effects are changed, so
that what the others see is exactly what a network would show them.

**Controls.** An attack that fails proves little if it would fail anyway. Where it makes sense the
same attack is played with the defence taken away, and must succeed; ``held`` asks for both.

**What is not prevented** is played too. Such an experiment has ``prevented=False``, and ``held``
then says that the attack does what the documents say, no more and no less.

**Another experiment** is a function from key bits to a `Finding`, whose docstring's first line is
its title, in an `Experiment` in its module's ``EXPERIMENTS``, which is listed in `MODULES` below.
"""

from bdn.errors import UsageError, did_you_mean
from bdn.experiments.lab import (
    collusion,
    crashes,
    data_insufficiency,
    forgery,
    lies,
    poison,
    privacy,
)
from bdn.experiments.lab.experiment import Experiment, document, markdown, play_all
from bdn.runfolder import LAB
from bdn.runfolder.findings import ROWS, Finding

MODULES = (crashes, lies, collusion, privacy, data_insufficiency, poison, forgery)

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each for module in MODULES for each in module.EXPERIMENTS
}
"""By name, in the order in which they are listed and played."""


def experiment(name: str) -> Experiment:
    """The experiment called ``name``; raises `UsageError` for another name."""
    if name not in EXPERIMENTS:
        raise UsageError(f"no experiment {name[:80]!r}{did_you_mean(name, EXPERIMENTS)}; there are "
                         f"{', '.join(EXPERIMENTS)}, and all")
    return EXPERIMENTS[name]


__all__ = ["EXPERIMENTS", "LAB", "ROWS", "Experiment", "Finding", "document", "experiment",
           "markdown", "play_all"]
