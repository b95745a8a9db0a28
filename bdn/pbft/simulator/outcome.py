"""What a run came to: the JSON object of section 15, and the record behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bdn.pbft.simulator.record import Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a scenario.

    Attributes:
        safe: no checker complained.
        live: every request was executed by all correct replicas and accepted by its client.
        violations: the checkers' sentences, each beginning with the broken rule's name.
        views: the view that each replica (twins included) was in at the end.
        executed: the operations that each replica holds, in order.
        accepted: the operations that f + 1 replicas confirmed to each client, in order.
        reached: how often each branch of the protocol was taken, over all replicas.
        unmet: what is missing where ``live`` is false, one sentence each.
        ended_at_ms: virtual time when the run ended.
        settled_at_ms: virtual time when the last request was executed and accepted, or None.
        messages: how many messages were put on a link.
        record: what was seen, for transcripts and charts.
    """

    safe: bool
    live: bool
    violations: tuple[str, ...]
    views: Mapping[str, int]
    executed: Mapping[str, tuple[str, ...]]
    accepted: Mapping[str, tuple[str, ...]]
    reached: Mapping[str, int]
    unmet: tuple[str, ...] = ()
    ended_at_ms: float = 0
    settled_at_ms: float | None = None
    messages: int = 0
    record: Record = field(default_factory=Record)

    def to_plain(self) -> dict[str, Any]:
        """The object that ``bdn simulate`` prints: exactly the keys of section 15."""
        return {
            "safe": self.safe,
            "live": self.live,
            "violations": list(self.violations),
            "views": dict(self.views),
            "executed": {name: list(found) for name, found in self.executed.items()},
            "accepted": {name: list(found) for name, found in self.accepted.items()},
            "reached": dict(sorted(self.reached.items())),
        }
