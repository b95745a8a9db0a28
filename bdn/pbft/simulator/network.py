"""The network between the nodes: every message passes here, and here the scenario's rules act.

`draw_delivery` is what the network does by itself. Delay, loss and duplication are drawn from
(seed, source, target, k-th message) alone. No generator is shared: what happens to one message
does not move the draw of any other. A scenario with one fault less therefore behaves the same up
to that fault, which is what makes shrinking work.

`NetworkFaults` is what the rules of the file do to one message on one link: cut it, delay it, or
leave it. The rules that need a key (``equivocate``, ``mutate``) are in
`bdn.pbft.simulator.byzantine`. Rules act when a message is *sent*: what is under way when a
partition begins still arrives. From ``heal_at_ms`` on the network is a good one, but what a faulty
replica leaves unsaid or delays, it goes on leaving unsaid or delaying.

`SimulatedNetwork` puts both together.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bdn.encoding import transcript
from bdn.pbft.messages import Message
from bdn.pbft.simulator.record import MessageSummary, RunRecord, Transmission, summarize
from bdn.pbft.simulator.scenario import CLIENTS, FOREVER, Match, NetworkRule, Scenario, micros
from bdn.pbft.wire import encode_message

_DRAWS = struct.Struct(">4Q")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the network does with one message.

    Attributes:
        lost: the message does not arrive.
        delay: virtual µs that it takes.
        again: virtual µs after which a second copy arrives; ``None`` for no second copy.
    """

    lost: bool
    delay: int
    again: int | None


def link_key(seed: int, source: str, target: str) -> bytes:
    """Return what a link's deliveries are drawn from; a `transcript`, so no two links share it."""
    return transcript("bdn/simulator/fate", str(seed).encode(), source.encode(), target.encode())


def draw_delivery(network: NetworkRule, key: bytes, k: int) -> Delivery:
    """Return what happens to the ``k``-th message ever sent on the link of ``key`` (`link_key`)."""
    drawn = hashlib.sha256(key + k.to_bytes(8, "big")).digest()
    loss, duplicate, first, second = _DRAWS.unpack(drawn)
    low, high = micros(network.delay_ms[0]), micros(network.delay_ms[1])
    span = high - low + 1
    again = low + second % span if _chance(duplicate) < network.duplicate else None
    return Delivery(_chance(loss) < network.loss, low + first % span, again)


def _chance(drawn: int) -> float:
    """Return a 64-bit draw as a number in [0, 1)."""
    return (drawn >> 11) / (1 << 53)


# --- the file's rules -----------------------------------------------------------------------------


class NetworkFaults:
    """The wire rules of one run. It remembers how often each counted rule has struck."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._clients = frozenset(scenario.clients)
        self._heal = None if scenario.heal_at_ms is None else micros(scenario.heal_at_ms)
        self._faulty = scenario.faulty
        self._struck: Counter[tuple[str, int, str, str]] = Counter()

    def healed(self, now: int) -> bool:
        """Whether the network is a good one at virtual time ``now`` (µs)."""
        return self._heal is not None and now >= self._heal

    def cut(self, now: int, source: str, target: str, seen: MessageSummary) -> str:
        """Return why the message is not sent (``silent``, ``partition``, ``drop``); "" if it is."""
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

    def slowed(self, now: int, source: str, target: str, seen: MessageSummary) -> int:
        """Return the virtual µs that the rules add to the message's delay."""
        found = self.striking("slow", self._scenario.slow, now, source, target, seen)
        return sum(micros(self._scenario.slow[i].add_ms) for i in found)

    def striking(self, key: str, rules: Sequence[Match], now: int, source: str, target: str,
                 seen: MessageSummary) -> list[int]:
        """Return the indices of the ``rules`` that take this message; each counts it per link."""
        found = [i for i, rule in enumerate(rules)
                 if self.ready(key, i, rule, now, source, target, seen)]
        for i in found:
            self.strike(key, i, source, target)
        return found

    def ready(self, key: str, i: int, rule: Match, now: int, source: str, target: str,
              seen: MessageSummary) -> bool:
        """Whether ``rule`` is about this message and its count on the link is not used up."""
        return (self._lasts(rule.sources, now)
                and self.matches(rule, now, source, target, seen)
                and (rule.count is None or self._struck[(key, i, source, target)] < rule.count))

    def strike(self, key: str, i: int, source: str, target: str) -> None:
        """Count one message that rule ``i`` of ``key`` took on the link."""
        self._struck[(key, i, source, target)] += 1

    def matches(self, rule: Match, now: int, source: str, target: str,
                seen: MessageSummary) -> bool:
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
        """Whether a rule about messages of ``sources`` is in force at ``now``.

        Healing restores the network. What a faulty replica changes, delays or leaves unsaid is no
        fault of the network, so it goes on to the end.
        """
        return not self.healed(now) or (
            sources is not None and self._faulty.issuperset(sources))

    def _share_group(self, groups: Sequence[Sequence[str]], source: str, target: str) -> bool:
        theirs = [group for group in groups if self.named(target, group)]
        ours = [group for group in groups if self.named(source, group)]
        return not ours or not theirs or any(group in theirs for group in ours)


def _within(now: int, from_ms: float, to_ms: float) -> bool:
    """Whether from ≤ now < to."""
    return micros(from_ms) <= now and (to_ms == FOREVER or now < micros(to_ms))


# --- all links ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as it leaves its sender, and in which way it lies ("" for honest)."""

    source: str
    message: Message
    how: str = ""


Teller = Callable[[int, str, str, Message, MessageSummary], list[Outgoing]]
"""(virtual µs, source, target, message, its summary) → what is sent to the target instead."""
Arrival = Callable[[int, str, str, bytes], None]
"""Schedules an arrival: (virtual µs, source, target, data)."""

REPLAYED = "replayed"


class SimulatedNetwork:
    """All links of a run.

    Args:
        scenario: its network, seed and rules.
        faults: applies the rules about links.
        tell: says what a sender really sends; None where everybody sends what it says.
        record: where every message is written down.
        arrive: called once for every copy that will arrive.
    """

    def __init__(self, scenario: Scenario, faults: NetworkFaults, tell: Teller | None,
                 record: RunRecord, arrive: Arrival) -> None:
        self._scenario = scenario
        self._faults = faults
        self._tell = tell
        self._record = record
        self._arrive = arrive
        self._sent: Counter[tuple[str, str]] = Counter()
        self._keys: dict[tuple[str, str], bytes] = {}
        self._history: list[tuple[int, str, bytes, MessageSummary]] = []
        self._healthy = NetworkRule(scenario.network.delay_ms)

    @property
    def messages(self) -> int:
        """Return how many messages were put on a link so far."""
        return sum(self._sent.values())

    def spread(self, now: int, source: str, targets: Sequence[str], data: bytes,
               message: Message) -> None:
        """Send one message to each of ``targets``; liars lie to each separately."""
        seen = summarize(message)
        for target in targets:
            if self._tell is None:
                self._transmit(now, source, target, data, seen)
                continue
            for told in self._tell(now, source, target, message, seen):
                if told.message is message:
                    self._transmit(now, told.source, target, data, seen)
                else:
                    self._transmit(now, told.source, target, encode_message(told.message),
                                   summarize(told.message), told.how)

    def replay(self, now: int, number: int) -> None:
        """Deliver once more what the ``number``-th replay rule is about; any old copy will do."""
        rule = self._scenario.replay[number]
        targets = self._scenario.replica_names if rule.targets is None else rule.targets
        again: dict[tuple[str, str, bytes], MessageSummary] = {}
        for at, source, data, seen in self._history:
            for target in targets:
                if target != source and self._faults.matches(rule, at, source, target, seen):
                    again.setdefault((source, target, data), seen)
        taken: Counter[tuple[str, str]] = Counter()
        for (source, target, data), seen in again.items():
            taken[(source, target)] += 1
            if rule.count is None or taken[(source, target)] <= rule.count:
                self._transmit(now, source, target, data, seen, REPLAYED)

    def _transmit(self, now: int, source: str, target: str, data: bytes, seen: MessageSummary,
                  how: str = "") -> None:
        """Send one message on one link: it is cut, delayed, or delivered, perhaps twice."""
        link = (source, target)
        k = self._sent[link]
        self._sent[link] += 1
        replayed = how == REPLAYED
        if self._scenario.replay and not replayed:
            self._history.append((now, source, data, seen))
        healed = self._faults.healed(now) or replayed  # a replayer sees to the delivery
        if k == 0:
            self._keys[link] = link_key(self._scenario.seed, source, target)
        fate = draw_delivery(self._healthy if healed else self._scenario.network,
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
            self._record.note(Transmission(now, source, target, seen, cut, arrivals, how))
