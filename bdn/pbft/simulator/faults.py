"""What the scenario's rules do to one message on one link: cut, delay, or leave it.

The rules that need a key (equivocation, mutation) live in `bdn.pbft.simulator.forgery`. Rules act
when a message is *sent*: what is under way when a partition begins still arrives.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bdn.pbft.simulator.fates import micros
from bdn.pbft.simulator.scenario import CLIENTS, FOREVER, Match, Scenario


@dataclass(frozen=True, slots=True)
class Sighting:
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


class Faults:
    """The wire rules of one run. It remembers how often each counted rule has struck."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._clients = frozenset(scenario.clients)
        self._heal = None if scenario.heal_at_ms is None else micros(scenario.heal_at_ms)
        self._struck: Counter[tuple[str, int, str, str]] = Counter()

    def healed(self, now: int) -> bool:
        """Whether every fault is over at virtual time ``now`` (µs)."""
        return self._heal is not None and now >= self._heal

    def cut(self, now: int, source: str, target: str, seen: Sighting) -> str:
        """Why the message does not reach the wire: ``silent``, ``partition``, ``drop`` or ""."""
        for silent in self._scenario.silent:
            if (silent.replica == source and _within(now, silent.from_ms, silent.to_ms)
                    and self._lasts((source,), now)):
                return "silent"
        for partition in () if self.healed(now) else self._scenario.partitions:
            if (_within(now, partition.from_ms, partition.to_ms)
                    and not self._share_group(partition.groups, source, target)):
                return "partition"
        if self.striking("drop", self._scenario.drop, now, source, target, seen):
            return "drop"
        return ""

    def slowed(self, now: int, source: str, target: str, seen: Sighting) -> int:
        """Virtual µs that the rules add to the message's delay."""
        found = self.striking("slow", self._scenario.slow, now, source, target, seen)
        return sum(micros(self._scenario.slow[i].add_ms) for i in found)

    def striking(self, key: str, rules: Sequence[Match], now: int, source: str, target: str,
                 seen: Sighting) -> list[int]:
        """The indices of the ``rules`` that take this message; each counts it once per link."""
        found = [i for i, rule in enumerate(rules)
                 if self.ready(key, i, rule, now, source, target, seen)]
        for i in found:
            self.strike(key, i, source, target)
        return found

    def ready(self, key: str, i: int, rule: Match, now: int, source: str, target: str,
              seen: Sighting) -> bool:
        """Whether ``rule`` is about this message and its count on the link is not used up."""
        return (self._lasts(rule.sources, now)
                and self.matches(rule, now, source, target, seen)
                and (rule.count is None or self._struck[(key, i, source, target)] < rule.count))

    def strike(self, key: str, i: int, source: str, target: str) -> None:
        """Count one message that rule ``i`` of ``key`` took on the link."""
        self._struck[(key, i, source, target)] += 1

    def matches(self, rule: Match, now: int, source: str, target: str, seen: Sighting) -> bool:
        """Whether ``rule`` is about this message (its count aside)."""
        return (
            (rule.type is None or rule.type == seen.type)
            and (rule.view is None or rule.view == seen.view)
            and (rule.sequence is None or rule.sequence == seen.sequence)
            and _within(now, rule.from_ms, rule.to_ms)
            and (rule.sources is None or self.named(source, rule.sources))
            and (rule.targets is None or self.named(target, rule.targets))
        )

    def named(self, node: str, names: Iterable[str]) -> bool:
        """Whether ``names`` name ``node``, by itself or among the clients."""
        return node in names or (node in self._clients and CLIENTS in names)

    def _lasts(self, sources: tuple[str, ...] | None, now: int) -> bool:
        """Whether a rule about messages of ``sources`` is in force at ``now``."""
        return not self.healed(now) or self._scenario.outlasts_healing(sources)

    def _share_group(self, groups: Sequence[Sequence[str]], source: str, target: str) -> bool:
        theirs = [group for group in groups if self.named(target, group)]
        ours = [group for group in groups if self.named(source, group)]
        return not ours or not theirs or any(group in theirs for group in ours)


def _within(now: int, from_ms: float, to_ms: float) -> bool:
    """from ≤ now < to."""
    return micros(from_ms) <= now and (to_ms == FOREVER or now < micros(to_ms))
