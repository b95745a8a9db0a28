"""A small deterministic driver for the tests of the core, independent of the simulator.

`World` delivers messages in order of sending (or by hand), in virtual milliseconds, and keeps each
replica's journal, so that a crash and a restart are one line each.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from bdn.identity import Identity
from bdn.pbft.application import AppendLog
from bdn.pbft.certificates import compute_order
from bdn.pbft.client import Accepted, Client
from bdn.pbft.cluster import Cluster
from bdn.pbft.events import (
    Broadcast,
    CancelTimer,
    Decided,
    Persist,
    Poke,
    Receive,
    Send,
    SendReply,
    SetTimer,
    Start,
    Timeout,
)
from bdn.pbft.messages import (
    NULL_DIGEST,
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Request,
    ViewChange,
    type_name,
)
from bdn.pbft.replica import Replica
from bdn.pbft.signing import HashSigning, signed
from bdn.pbft.wire import decode_message, encode_message
from bdn.trace import Recorder


def identity(seed: int) -> Identity:
    return Identity.from_secret(seed.to_bytes(32, "big"))


@dataclass
class World:
    """n replicas and some clients on a perfect network that tests disturb through ``drop``."""

    n: int = 4
    options: dict[str, Any] = field(default_factory=dict)
    make_application: Callable[["World", int], Any] | None = None
    clients_named: tuple[str, ...] = ("c0", "c1")

    def __post_init__(self) -> None:
        self.identities = [identity(i + 1) for i in range(self.n)]
        defaults = {"checkpoint_interval": 4, "window": 8, "request_timeout_ms": 200,
                    "view_timeout_ms": 400, "status_ms": 100}
        self.cluster = Cluster(b"test", tuple(i.public_key for i in self.identities),
                               **{**defaults, **self.options})
        self.client_ids = {name: identity(100 + i) for i, name in enumerate(self.clients_named)}
        self.clients = {name: Client(name, who, self.cluster, HashSigning(who.public_key))
                        for name, who in self.client_ids.items()}
        self.journals: list[list[bytes]] = [[] for _ in range(self.n)]
        self.traces = [Recorder() for _ in range(self.n)]
        self.decided: list[list[tuple[int, bytes, Any]]] = [[] for _ in range(self.n)]
        self.now = 0
        self.queue: list[tuple[int, int, int | str, Any]] = []
        self.order = 0
        self.timers: dict[tuple[int | str, str], int] = {}
        self.down: set[int] = set()
        self.sent: dict[int | str, list[tuple[int | str, Message]]] = defaultdict(list)
        self.drop: Callable[[int | str, int | str, Message], bool] = lambda *_: False
        self.delay: Callable[[int | str, int | str, Message], int] = lambda *_: 1
        self.replicas = [self.build(i) for i in range(self.n)]
        for i in range(self.n):
            self.step(i, Start())

    # --- making things

    def application(self, index: int) -> Any:
        if self.make_application is not None:
            return self.make_application(self, index)
        return AppendLog(b"test", {c: w.public_key for c, w in self.client_ids.items()},
                         self.signing(index), self.cluster.batch_size)

    def signing(self, index: int) -> HashSigning:
        return HashSigning(self.identities[index].public_key)

    def build(self, index: int, journal: list[bytes] | None = None) -> Replica:
        return Replica(index, self.cluster, self.identities[index], self.application(index),
                       journal, self.traces[index], self.signing(index))

    def sign(self, index: int, message: Any) -> Any:
        return signed(message, self.cluster.instance, self.signing(index))

    def request(self, client: str = "c0", timestamp: int = 1, operation: bytes = b"a") -> Request:
        who = self.client_ids[client]
        bare = Request(client, who.public_key, timestamp, operation, b"")
        return signed(bare, self.cluster.instance, HashSigning(who.public_key))

    def payload(self, *requests: Request, nonce: int = 0) -> bytes:
        return AppendLog.payload_of(requests, nonce)

    # --- forging and making messages (a Byzantine replica has its own key, nobody else's)

    def digest(self, payload: bytes) -> bytes:
        return self.application(0).digest(payload) if payload else NULL_DIGEST

    def pre_prepare(self, view: int, sequence: int, payload: bytes | None, digest: bytes = b"",
                    signer: int | None = None) -> PrePrepare:
        bare = PrePrepare(view, sequence, digest or self.digest(payload or b""), payload, b"")
        return self.sign(view % self.n if signer is None else signer, bare)

    def prepare(self, i: int, view: int, sequence: int, digest: bytes) -> Prepare:
        return self.sign(i, Prepare(view, sequence, digest, i, b""))

    def commit(self, i: int, view: int, sequence: int, digest: bytes) -> Commit:
        return self.sign(i, Commit(view, sequence, digest, i, b""))

    def checkpoint(self, i: int, sequence: int, digest: bytes = b"d" * 32) -> Checkpoint:
        return self.sign(i, Checkpoint(sequence, digest, i, b""))

    def proof(self, sequence: int, digest: bytes = b"d" * 32) -> tuple[Checkpoint, ...]:
        return tuple(self.checkpoint(i, sequence, digest) for i in range(self.cluster.q))

    def certificate(self, view: int, sequence: int, digest: bytes) -> Prepared:
        backups = [i for i in range(self.n) if i != view % self.n][:self.cluster.q - 1]
        return Prepared(self.pre_prepare(view, sequence, None, digest),
                        tuple(self.prepare(i, view, sequence, digest) for i in backups))

    def view_change(self, i: int, view: int, *prepared: Prepared, stable: int = 0,
                    proof: tuple[Checkpoint, ...] = ()) -> ViewChange:
        return self.sign(i, ViewChange(view, stable, proof, prepared, i, b""))

    def new_view(self, view: int, view_changes: Iterable[ViewChange],
                 order: Iterable[tuple[int, bytes]] | None = None) -> NewView:
        parts = tuple(view_changes)
        if order is None:
            order = compute_order(parts)[1]
        proposals = tuple(self.pre_prepare(view, n, None, d) for n, d in order)
        return self.sign(view % self.n, NewView(view, parts, proposals, b""))

    # --- driving

    def give(self, index: int, message: Message, source: int | str = -1) -> list[Any]:
        """One message to one replica; its effects are returned *and* carried out."""
        return self.step(index, Receive(source, encode_message(message)))

    def step(self, index: int, event: Any) -> list[Any]:
        effects = self.replicas[index].step(event)
        for effect in effects:
            match effect:
                case Send(to, data):
                    self.post(index, to, data)
                case Broadcast(data):
                    for to in range(self.n):
                        if to != index:
                            self.post(index, to, data)
                case SendReply(client, data):
                    self.post(index, client, data)
                case Persist(record):
                    self.journals[index].append(record)
                case SetTimer(name, after):
                    self.timer(index, name, after)
                case CancelTimer(name):
                    self.timers.pop((index, name), None)
                case Decided(sequence, payload, seal):
                    self.decided[index].append((sequence, payload, seal))
        return effects

    def timer(self, owner: int | str, name: str, after: int) -> None:
        self.order += 1
        self.timers[owner, name] = self.order
        heapq.heappush(self.queue, (self.now + after, self.order, owner, name))

    def post(self, source: int | str, to: int | str, data: bytes) -> None:
        message = decode_message(data)
        self.sent[source].append((to, message))
        if self.drop(source, to, message):
            return
        self.order += 1
        at = self.now + self.delay(source, to, message)
        heapq.heappush(self.queue, (at, self.order, to, (source, data)))

    def submit(self, client: str = "c0", operation: bytes = b"a", **how: Any) -> None:
        self.client_effects(client, self.clients[client].submit(operation, **how))

    def client_effects(self, client: str, effects: Iterable[Any]) -> None:
        for effect in effects:
            match effect:
                case Send(to, data):
                    self.post(client, to, data)
                case Broadcast(data):
                    for to in range(self.n):
                        self.post(client, to, data)
                case SetTimer(name, after):
                    self.timer(client, name, after)
                case CancelTimer(name):
                    self.timers.pop((client, name), None)
                case Accepted():
                    pass

    def run(self, milliseconds: int = 1000) -> "World":
        """Let virtual time pass."""
        end = self.now + milliseconds
        while self.queue and self.queue[0][0] <= end:
            self.now, order, target, what = heapq.heappop(self.queue)
            if isinstance(what, str):
                if self.timers.get((target, what)) == order:
                    del self.timers[target, what]
                    if isinstance(target, str):
                        self.client_effects(target, self.clients[target].timeout())
                    elif target not in self.down:
                        self.step(target, Timeout(what))
            elif isinstance(target, str):
                self.client_effects(target, self.clients[target].receive(what[1]))
            elif target not in self.down:
                self.step(target, Receive(*what))
        self.now = end
        return self

    def poke(self) -> None:
        for i in range(self.n):
            if i not in self.down:
                self.step(i, Poke())

    def crash(self, index: int) -> None:
        self.down.add(index)
        self.timers = {k: v for k, v in self.timers.items() if k[0] != index}

    def restart(self, index: int, journal: list[bytes] | None = None) -> None:
        self.down.discard(index)
        kept = self.journals[index] if journal is None else journal
        self.replicas[index] = self.build(index, kept)
        self.step(index, Start())

    # --- looking

    def operations(self, index: int) -> list[bytes]:
        return [operation for _, _, operation in self.replicas[index].application.operations]

    def told(self, index: int, event: str) -> list[dict[str, Any]]:
        return [e for e in self.traces[index].events if e["event"] == event]

    def reached(self, event: str) -> int:
        return sum(len(self.told(i, event)) for i in range(self.n))

    def reasons(self, index: int) -> list[str]:
        return [e["reason"] for e in self.told(index, "rejected")]

    def sent_types(self, source: int | str) -> list[str]:
        return [type_name(m) for _, m in self.sent[source]]


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    """Makes worlds: ``world(n=4, checkpoint_interval=4, …)``."""

    def make(n: int = 4, make_application: Any = None, **options: Any) -> World:
        return World(n, options, make_application)

    return make
