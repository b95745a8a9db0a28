"""Work that several nodes of one process would do alike is done once, and charged to each of them.

Verifying an update is the same function of the same bytes at each edge server, and so is opening a
sum at each device. Where one process plays all nodes (`bdn.experiments.runner`), they share one
`SharedWork`. The first node that asks does the work; for every other node, the seconds that it
took are owed, and the runner adds them to that node's virtual clock. A node that runs alone has a
`SharedWork` of its own, which then only keeps it from doing the same work twice.

**Why this is sound, and where.** A node believes a result that another node computed. Inside one
process that adds no trust: whoever runs the process could change any node's memory anyway. Between
processes or machines it would give up what the nodes check each other for, so nothing here is ever
sent to another node. A name is a digest of *all* inputs of a function, made by the code that calls
it with those inputs: a sealed vector that differs in one byte, or is meant for another device or
epoch, has another name. What raises is not kept.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from bdn.chain import MAX_TRANSACTIONS

T = TypeVar("T")

VERIFY_UPDATE, WEIGHTED_SUM, OPEN = "verify-update", "weighted-sum", "open"

KEPT = {VERIFY_UPDATE: MAX_TRANSACTIONS, WEIGHTED_SUM: 4, OPEN: 4}
"""Results of each kind that are kept; the oldest go first. A verification's result is empty, a sum
and an opened vector are megabytes long, and nobody asks for those of past epochs."""


@dataclass(slots=True)
class Tally:
    """How often a kind of work was asked for.

    Attributes:
        nodes: requests by a node that had not asked for the same before.
        computed: how often the work was really done.
        seconds: what it took.
        charged: seconds that nodes would have needed for what another one had done.
    """

    nodes: int = 0
    computed: int = 0
    seconds: float = 0.0
    charged: float = 0.0


@dataclass(slots=True)
class _Result:
    value: Any
    seconds: float
    askers: set[Hashable] = field(default_factory=set)


class SharedWork:
    """Results of pure functions, by the digest of all their inputs."""

    def __init__(self) -> None:
        self._results: dict[str, dict[Hashable, _Result]] = {kind: {} for kind in KEPT}
        self._owed = 0.0
        self._tallies: dict[str, Tally] = {kind: Tally() for kind in KEPT}

    def get(self, asker: Hashable, kind: str, name: Hashable, work: Callable[[], T]) -> T:
        """Return ``work()``, or what it returned when it was last done under ``name``.

        ``asker`` is the node that wants it, ``kind`` one of `KEPT`. The first time that a node is
        given what another one computed, the seconds that it took are owed.
        """
        results, tally = self._results[kind], self._tallies[kind]
        found = results.get(name)
        if found is None:
            started = time.perf_counter()
            value = work()
            self.put(kind, name, value, time.perf_counter() - started)
            results[name].askers.add(asker)
            tally.nodes += 1
            return value
        if asker not in found.askers:
            found.askers.add(asker)
            tally.nodes += 1
            tally.charged += found.seconds
            self._owed += found.seconds
        return found.value  # type: ignore[no-any-return]  # what `work` returned before

    def put(self, kind: str, name: Hashable, value: object, seconds: float) -> None:
        """Keep the ``value`` of work that took ``seconds``, done before any node asks for it."""
        results, tally = self._results[kind], self._tallies[kind]
        while len(results) >= KEPT[kind]:
            del results[next(iter(results))]
        results[name] = _Result(value, seconds)
        tally.computed += 1
        tally.seconds += seconds

    def has(self, asker: Hashable, kind: str, name: Hashable) -> bool:
        """Return whether ``asker`` was given the result before, and it is still here."""
        found = self._results[kind].get(name)
        return found is not None and asker in found.askers

    def take_owed(self) -> float:
        """Return the seconds that are owed since the last call; the caller charges them."""
        owed, self._owed = self._owed, 0.0
        return owed

    def tallies(self) -> dict[str, dict[str, Any]]:
        """Return the tallies of all kinds that occurred, as plain values."""
        return {kind: asdict(tally) for kind, tally in self._tallies.items() if tally.nodes}
