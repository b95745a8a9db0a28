"""The wires between the nodes: every message passes here, and here the scenario's rules act."""

from collections import Counter
from collections.abc import Callable, Sequence

from bdn.pbft.messages import Message, Reply, Request, type_name
from bdn.pbft.simulator.fates import draw_fate, link_key
from bdn.pbft.simulator.faults import Faults, Sighting
from bdn.pbft.simulator.forgery import Forger
from bdn.pbft.simulator.record import Passage, Record
from bdn.pbft.simulator.scenario import NetworkRule, Scenario
from bdn.pbft.wire import encode_message

Arrival = Callable[[int, str, str, bytes], None]
"""Schedules an arrival: (virtual µs, source, target, data)."""

REPLAYED = "replayed"


class Links:
    """All links of a run.

    Args:
        scenario: its network, seed and rules.
        faults, forger: apply the rules.
        record: where every message is written down.
        arrive: called once for every copy that will arrive.
    """

    def __init__(self, scenario: Scenario, faults: Faults, forger: Forger, record: Record,
                 arrive: Arrival) -> None:
        self._scenario = scenario
        self._faults = faults
        self._forger = forger
        self._record = record
        self._arrive = arrive
        self._sent: Counter[tuple[str, str]] = Counter()
        self._keys: dict[tuple[str, str], bytes] = {}
        self._history: list[tuple[int, str, bytes, Sighting]] = []
        self._healthy = NetworkRule(scenario.network.delay_ms)

    @property
    def messages(self) -> int:
        """How many messages were put on a link so far."""
        return sum(self._sent.values())

    def spread(self, now: int, source: str, targets: Sequence[str], data: bytes,
               message: Message) -> None:
        """``source`` sends one message to each of ``targets``; liars lie to each separately."""
        seen = sight(message)
        for target in targets:
            if self._forger.idle:
                self._transmit(now, source, target, data, seen)
                continue
            for told in self._forger.forge(now, source, target, message, seen):
                if told.message is message:
                    self._transmit(now, told.source, target, data, seen)
                else:
                    self._transmit(now, told.source, target, encode_message(told.message),
                                   sight(told.message), told.how)

    def replay(self, now: int, number: int) -> None:
        """Deliver once more what the ``number``-th replay rule is about; any old copy will do."""
        rule = self._scenario.replay[number]
        targets = self._scenario.replica_names if rule.targets is None else rule.targets
        again: dict[tuple[str, str, bytes], Sighting] = {}
        for at, source, data, seen in self._history:
            for target in targets:
                if target != source and self._faults.matches(rule, at, source, target, seen):
                    again.setdefault((source, target, data), seen)
        taken: Counter[tuple[str, str]] = Counter()
        for (source, target, data), seen in again.items():
            taken[(source, target)] += 1
            if rule.count is None or taken[(source, target)] <= rule.count:
                self._transmit(now, source, target, data, seen, REPLAYED)

    def _transmit(self, now: int, source: str, target: str, data: bytes, seen: Sighting,
                  how: str = "") -> None:
        """One message on one link meets its fate."""
        link = (source, target)
        k = self._sent[link]
        self._sent[link] += 1
        replayed = how == REPLAYED
        if self._scenario.replay and not replayed:
            self._history.append((now, source, data, seen))
        healed = self._faults.healed(now) or replayed  # whoever replays sees to the delivery
        if k == 0:
            self._keys[link] = link_key(self._scenario.seed, source, target)
        fate = draw_fate(self._healthy if healed else self._scenario.network,
                         self._keys[link], k)
        cut = "loss" if fate.lost else ""
        if not replayed:
            cut = self._faults.cut(now, source, target, seen) or cut
        arrivals: tuple[int, ...] = ()
        if not cut:
            slowed = 0 if replayed else self._faults.slowed(now, source, target, seen)
            later = now + slowed
            delays = (fate.delay,) if fate.again is None else (fate.delay, fate.again)
            arrivals = tuple(later + delay for delay in delays)
        for at in arrivals:
            self._arrive(at, source, target, data)
        if self._record.keep:
            self._record.note(Passage(now, source, target, seen, cut, arrivals, how))


def sight(message: Message) -> Sighting:
    """What an observer of the wire sees of ``message``."""
    if isinstance(message, (Request, Reply)):
        about = f"{message.client}/{message.timestamp}"
    else:
        about = getattr(message, "digest", b"").hex()[:4]
    return Sighting(type_name(message), getattr(message, "view", None),
                    getattr(message, "sequence", None), about)
