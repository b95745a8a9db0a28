"""Every delivery order up to a depth: bounded exhaustive exploration of the real replicas.

One client, one request, a cluster of which some replicas are Byzantine and *play everything at
once*: as primaries they have sent every correct replica two PRE-PREPAREs, and PREPAREs, COMMITs
and empty VIEW-CHANGEs for both stories. An action delivers one letter that lies in the post, or
lets one running timer of a correct replica run out (a bounded number of times). A letter that is
never delivered is a lost one. Breadth first, so that what is found is found by a shortest way.

What makes it cheap: a correct replica is a function of its state and one event, so a *local* step
is computed once, by the real `bdn.pbft.replica.Replica` on a clone, and remembered by the state's
fingerprint. A *global* state is one small integer a replica and a bit mask of the post.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from bdn.identity import Identity
from bdn.pbft import events
from bdn.pbft.application import AppendLog
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    Commit,
    Message,
    Prepare,
    PrePrepare,
    Request,
    Status,
    ViewChange,
    type_name,
)
from bdn.pbft.replica import Replica
from bdn.pbft.signing import HashSigning, signed
from bdn.pbft.wire import decode_message, encode_message
from bdn.randomness import SeededRandomness
from bdn.trace import DISCARD

INSTANCE = b"bdn explore"
CLIENT = "c0"
TIMERS = ("request", "view")
"""The timers that exploration lets run out; the periodic status exchange only repeats letters."""

State = tuple[tuple[int, ...], int, int]
"""(local state of each correct replica, mask of the letters in the post, timeouts so far)."""
Action = tuple[int, int]
"""(position of a correct replica, letter) or (position, −1 − number of a timer)."""


@dataclass(frozen=True, slots=True)
class LocalState:
    """One state of one replica: the replica itself, its timers, and what it has decided."""

    replica: Replica
    timers: frozenset[str]
    decided: frozenset[tuple[int, bytes]]


@dataclass(slots=True)
class Exploration:
    """The result of an exploration.

    Attributes:
        depth: every order of up to so many actions was tried.
        states: different global states that were reached.
        steps: global steps that were taken.
        local_steps: steps that real replicas had to compute.
        decided: in how many global states some replica had executed.
        views: the highest view that any correct replica reached.
        violation: what was broken, or "".
        path: the actions that lead there, in words.
    """

    depth: int = 0
    states: int = 1
    steps: int = 0
    local_steps: int = 0
    decided: int = 0
    views: int = 0
    violation: str = ""
    path: tuple[str, ...] = ()
    widths: list[int] = field(default_factory=list)


class Explorer:
    """Explores one cluster.

    Args:
        cluster_class: the cluster's class; a planted fault overrides one of its rules.
        byzantine: the indices of the replicas that play everything.
        n: replicas.
        timeouts: the most timers that may run out along one path.
    """

    def __init__(self, byzantine: Sequence[int] = (0,), n: int = 4, timeouts: int = 0,
                 cluster_class: type[Cluster] = Cluster) -> None:
        keys = SeededRandomness(b"bdn explore")
        self._identities = [Identity.generate(keys.substream(str(i))) for i in range(n)]
        self._client = Identity.generate(keys.substream(CLIENT))
        self._cluster = cluster_class(
            INSTANCE, tuple(identity.public_key for identity in self._identities),
            checkpoint_interval=2, window=4, pipeline=1)
        self._byzantine = tuple(byzantine)
        self._correct = tuple(i for i in range(n) if i not in byzantine)
        self._timeouts = timeouts
        self._locals: list[dict[Hashable, int]] = [{} for _ in self._correct]
        self._states: list[list[LocalState]] = [[] for _ in self._correct]
        self._letters: dict[tuple[int, bytes], int] = {}
        self._post: list[tuple[int, bytes]] = []
        self._steps: dict[tuple[int, int, int], tuple[int, int]] = {}

    # --- the search

    def explore(self, depth: int, most_states: int = 5_000_000) -> Exploration:
        """Try every order of up to ``depth`` actions; stop at the first violation.

        A level that would bring the states above ``most_states`` is not begun, and ``depth`` of
        the answer says how far it went.
        """
        explored = Exploration()
        first = self._begin()
        came_from: dict[State, tuple[State, Action] | None] = {first: None}
        level = [first]
        while level and explored.depth < depth and explored.states < most_states:
            following: list[State] = []
            for state in level:
                for action in self._actions(state):
                    after = self._after(state, action)
                    explored.steps += 1
                    if after in came_from:
                        continue
                    came_from[after] = (state, action)
                    following.append(after)
                    if self._disagrees(after, explored):
                        explored.violation = "agreement: two replicas executed different payloads"
                        explored.path = self._path(came_from, after)
                        return self._closed(explored, came_from)
            level = following
            explored.depth += 1
            explored.widths.append(len(level))
            explored.states = len(came_from)
        return self._closed(explored, came_from)

    def _closed(self, explored: Exploration, came_from: dict[State, tuple[State, Action] | None],
                ) -> Exploration:
        explored.states = len(came_from)
        explored.local_steps = len(self._steps)
        explored.views = max(local.replica.view for found in self._states for local in found)
        return explored

    def _actions(self, state: State) -> Iterator[Action]:
        places, post, timeouts = state
        rest = post
        while rest:
            bit = rest & -rest
            letter = bit.bit_length() - 1
            yield self._correct.index(self._post[letter][0]), letter
            rest ^= bit
        if timeouts < self._timeouts:
            for position, place in enumerate(places):
                for number, timer in enumerate(TIMERS):
                    if timer in self._states[position][place].timers:
                        yield position, -1 - number

    def _after(self, state: State, action: Action) -> State:
        places, post, timeouts = state
        position, what = action
        place, sent = self._local_step(position, places[position], what)
        if what >= 0:
            post &= ~(1 << what)
        return ((*places[:position], place, *places[position + 1:]), post | sent,
                timeouts + (what < 0))

    def _disagrees(self, state: State, explored: Exploration) -> bool:
        decided: dict[int, bytes] = {}
        for position, place in enumerate(state[0]):
            for sequence, digest in self._states[position][place].decided:
                if decided.setdefault(sequence, digest) != digest:
                    return True
        explored.decided += bool(decided)
        return False

    def _path(self, came_from: dict[State, tuple[State, Action] | None],
              state: State) -> tuple[str, ...]:
        words = []
        while (step := came_from[state]) is not None:
            state, (position, what) = step
            name = self._correct[position]
            if what < 0:
                words.append(f"replica {name}'s {TIMERS[-1 - what]} timer runs out")
            else:
                letter = decode_message(self._post[what][1])
                words.append(f"replica {name} receives {_words(letter)}")
        return tuple(reversed(words))

    # --- one replica

    def _local_step(self, position: int, place: int, what: int) -> tuple[int, int]:
        """Return (the place after, the mask of what was sent), computed at most once."""
        key = (position, place, what)
        if key not in self._steps:
            local = self._states[position][place]
            application = local.replica.application
            assert isinstance(application, AppendLog)
            replica = local.replica.clone(application.clone())
            event: events.Event = (events.Timeout(TIMERS[-1 - what]) if what < 0 else
                                   events.Receive(0, self._post[what][1]))
            timers = local.timers - ({TIMERS[-1 - what]} if what < 0 else set())
            self._steps[key] = self._settle(position, replica, timers, local.decided,
                                            replica.step(event))
        return self._steps[key]

    def _settle(self, position: int, replica: Replica, timers: frozenset[str],
                decided: frozenset[tuple[int, bytes]],
                effects: list[events.Effect]) -> tuple[int, int]:
        running, done, sent = set(timers), set(decided), 0
        for effect in effects:
            match effect:
                case events.SetTimer(name, _):
                    running.add(name)
                case events.CancelTimer(name):
                    running.discard(name)
                case events.Decided(sequence, _, seal):
                    done.add((sequence, seal.digest))
                case events.Send(to, data):
                    sent |= self._put(to, data)
                case events.Broadcast(data):
                    for other in self._correct:
                        if other != self._correct[position]:
                            sent |= self._put(other, data)
                case _:
                    pass
        local = LocalState(replica, frozenset(running), frozenset(done))
        print_of = (replica.fingerprint(), frozenset(running), frozenset(done))
        known = self._locals[position]
        if print_of not in known:
            known[print_of] = len(self._states[position])
            self._states[position].append(local)
        return known[print_of], sent

    def _put(self, to: int, data: bytes) -> int:
        """Return a letter's mask bit; letters to Byzantine replicas and STATUS are not written."""
        if to not in self._correct or isinstance(decode_message(data), Status):
            return 0
        letter = self._letters.setdefault((to, data), len(self._post))
        if letter == len(self._post):
            self._post.append((to, data))
        return 1 << letter

    # --- the beginning

    def _begin(self) -> State:
        """Give all replicas the request, and let the Byzantine ones tell all their stories."""
        body = Request(CLIENT, self._client.public_key, 1, b"a", b"")
        request = signed(body, INSTANCE, HashSigning(self._client.public_key))
        places = []
        post = 0
        for position, index in enumerate(self._correct):
            signing = HashSigning(self._identities[index].public_key)
            application = AppendLog(INSTANCE, {CLIENT: self._client.public_key}, signing)
            replica = Replica(index, self._cluster, self._identities[index], application, None,
                              DISCARD, signing)
            effects = replica.step(events.Start())
            effects += replica.step(events.Receive(CLIENT, encode_message(request)))
            place, sent = self._settle(position, replica, frozenset(), frozenset(), effects)
            places.append(place)
            post |= sent
        for told in self._stories(request):
            for index in self._correct:
                post |= self._put(index, encode_message(told))
        return tuple(places), post, 0

    def _stories(self, request: Request) -> Iterator[Message]:
        """Yield what every Byzantine replica sends to every correct one."""
        application = AppendLog(INSTANCE, {CLIENT: self._client.public_key},
                                HashSigning(self._client.public_key))
        for nonce in (0, 1):
            payload = AppendLog.payload_of([request], nonce)
            digest = application.digest(payload)
            for liar in self._byzantine:
                if liar == self._cluster.primary(0):
                    yield self._signed(liar, PrePrepare(0, 1, digest, payload, b""))
                else:
                    yield self._signed(liar, Prepare(0, 1, digest, liar, b""))
                yield self._signed(liar, Commit(0, 1, digest, liar, b""))
        if self._timeouts:
            for liar in self._byzantine:
                yield self._signed(liar, ViewChange(1, 0, (), (), liar, b""))

    def _signed(self, liar: int, message: Message) -> Message:
        return signed(message, INSTANCE, HashSigning(self._identities[liar].public_key))


def _words(message: Message) -> str:
    numbers = [f"{letter}{value}" for letter, value in (
        ("v", getattr(message, "view", None)), ("n", getattr(message, "sequence", None)),
        ("from ", getattr(message, "replica", None))) if value is not None]
    digest = getattr(message, "digest", b"").hex()[:4]
    return " ".join([type_name(message), *numbers, digest]).strip()
