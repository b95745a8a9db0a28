"""What consensus costs, beside the signatures that it cannot do without.

Six questions, each a table::

    python benchmarks/pbft.py [--quick] [--json FILE]

1. Signed normal case: how much of the processor's time is Ed25519? One pass over the same messages
   measures both, so that a machine that changes its speed changes them alike. Times are CPU times
   of the thread, which other processes lengthen only through the caches that they share:

   * *ms*: what all n replicas' steps take, each timed around `Replica.step`. This file's queue is
     outside: a runner over sockets has another one.
   * *share*: the part of it that is Ed25519. Every signature made and checked (requests and replies
     included) is timed around the call where it stands.
   * *less appl.*: without what `AppendLog` does with batches, timed alone by giving a fresh one the
     same calls. A ledger has other work there, so the share is told with it and less it.

   The share is the median of 25, 14 and 7 runs (``--quick``: of 7, 5 and 3) after one that is not
   counted, because it makes the codecs; with quartiles. *Fastest* is that of the run that
   took the least, which a neighbour on the machine has disturbed the least: caches that are shared
   cost the interpreter more than Ed25519. Of both sums the clocks' and the meters' own time is
   taken off, as it is with warm caches (about 0.2 µs for each signature). The aim is at least 0.85
   at n = 4.
2. Where the rest of a request goes at n = 4, batches of one: what each kind of step takes besides
   its signatures, in the signed run (medians of the steps; a checkpoint comes every 16 requests).
3. Without cryptography: microseconds for each delivered message, the whole step (decoding,
   ordering, the journal's records, the application, replies).
4. Requests per second over the batch size (all n replicas on one core, so a cluster of n machines
   does about n times as much).
5. Messages and bytes for one batch over n, beside the formula 2n(n − 1).
6. Why there are two codecs: `bdn.pbft.wire` compared with `bdn.encoding`.

Messages are handed over in memory: no network, no fsync.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from harness import Report, main, paired

from bdn.encoding import decode_union, encode_union
from bdn.identity import Identity
from bdn.pbft import (
    AppendLog,
    Application,
    Cluster,
    Ed25519Signing,
    NullSigning,
    Replica,
    Request,
    Signing,
    decode_message,
    encode_message,
    signed,
    type_name,
)
from bdn.pbft.events import Broadcast, Decided, Effect, Receive
from bdn.pbft.messages import MESSAGES, Commit, PrePrepare

CLIENT = Identity.from_secret(b"c" * 32)

Step = Callable[[int, Receive], list[Effect]]


now = time.thread_time


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of ``work``, with what came before out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()
    start = time.process_time()
    work()
    spent = time.process_time() - start
    gc.unfreeze()
    return spent


@dataclass
class Meter:
    """A signing that counts and times what it passes on."""

    inner: Signing
    signs: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)

    def sign(self, domain: str, message: bytes) -> bytes:
        start = now()
        signature = self.inner.sign(domain, message)
        self.signs.append(now() - start)
        return signature

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        start = now()
        self.inner.verify(public_key, domain, message, signature)
        self.checks.append(now() - start)


def reading() -> float:
    """What the clock shows when nothing happens, in seconds."""
    return median(-(now() - now()) for _ in range(1000))


def metering() -> float:
    """How much longer a call takes that a meter passes on, in seconds."""
    bare, pairs = NullSigning(), []
    meter = Meter(bare)
    for _ in range(1000):
        start = now()
        bare.verify(b"", "", b"", b"")
        between = now()
        meter.verify(b"", "", b"", b"")
        pairs.append((between - start, now() - between))
    return median(slow for _, slow in pairs) - median(quick for quick, _ in pairs)


class Listener:
    """An application that notes what it is asked, so that the same can be asked again."""

    def __init__(self, inner: AppendLog) -> None:
        self._inner = inner
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def noted(*args: Any) -> Any:
            self.calls.append((name, args))
            return method(*args)

        return noted


class FullBatches(AppendLog):
    """An application whose primary waits until a batch is full."""

    def __init__(self, instance: bytes, clients: dict[str, bytes], signing: Signing,
                 batch: int) -> None:
        super().__init__(instance, clients, signing, batch)
        self._batch_of = batch

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:
        return super().propose(sequence, pending) if len(pending) >= self._batch_of else None


@dataclass
class Load:
    """n replicas, and ``sequences`` batches of ``batch`` requests for them to order."""

    n: int
    sequences: int
    batch: int
    real: bool

    def __post_init__(self) -> None:
        self.who = [Identity.from_secret(bytes([i + 1]) * 32) for i in range(self.n)]
        self.cluster = Cluster(b"bench", tuple(i.public_key for i in self.who),
                               batch_size=self.batch, pipeline=1)
        hand = self.signing(CLIENT)
        self.requests = [encode_message(signed(
            Request("c", CLIENT.public_key, t, b"operation", b""), b"bench", hand))
            for t in range(1, self.sequences * self.batch + 1)]

    def signing(self, identity: Identity) -> Signing:
        return Ed25519Signing(identity) if self.real else NullSigning()

    def application(self, signing: Signing) -> FullBatches:
        return FullBatches(b"bench", {"c": CLIENT.public_key}, signing, self.batch)

    def replicas(self, signings: list[Signing]) -> list[Replica]:
        return [Replica(i, self.cluster, self.who[i], self.application(signings[i]),
                        signing=signings[i]) for i in range(self.n)]

    def drive(self, step: Step) -> None:
        """Deliver every message in the order of sending; a batch begins when the last is done."""
        queue: deque[tuple[int, Receive]] = deque()
        for k in range(0, len(self.requests), self.batch):
            queue.extend([(0, Receive("c", data)) for data in self.requests[k:k + self.batch]])
            while queue:
                to, event = queue.popleft()
                for effect in step(to, event):
                    if type(effect) is Broadcast:
                        again = Receive(to, effect.data)
                        queue.extend([(i, again) for i in range(self.n) if i != to])


@dataclass
class Run:
    """One pass; seconds."""

    work: float
    application: float
    ed25519: float
    signs: int
    checks: int
    delivered: int
    sent: list[bytes]

    @property
    def share(self) -> float:
        """The part of `work` that is Ed25519."""
        return self.ed25519 / self.work

    @property
    def protocol_share(self) -> float:
        """As `share`, without the application's work."""
        return self.ed25519 / (self.work - self.application)


def run(load: Load) -> Run:
    """Order every request, with a clock around each step and, inside it, around each signature."""
    meters = [Meter(load.signing(i)) for i in load.who]
    replicas = load.replicas(list(meters) if load.real else [load.signing(i) for i in load.who])
    spent: list[float] = []
    sent: list[bytes] = []

    def clocked(to: int, event: Receive) -> list[Effect]:
        step = replicas[to].step
        start = now()
        effects = step(event)
        spent.append(now() - start)
        sent.extend([e.data for e in effects if type(e) is Broadcast])
        return effects

    seconds(lambda: load.drive(clocked))
    assert all(len(r.application.operations) == len(load.requests) for r in replicas)
    signs, checks = ([t for m in meters for t in m.signs], [t for m in meters for t in m.checks])
    nothing, timed = reading(), len(signs) + len(checks)
    work = sum(spent) - nothing * len(spent) - metering() * timed
    ed25519 = sum(signs) + sum(checks) - nothing * timed
    return Run(work, application_alone(load), ed25519, len(signs), len(checks), len(spent), sent)


def application_alone(load: Load) -> float:
    """Seconds that the n applications take for what they are asked, without signatures."""
    unsigned = [NullSigning() for _ in load.who]
    listeners = [Listener(load.application(signing)) for signing in unsigned]
    replicas = [Replica(i, load.cluster, load.who[i], _as_application(listeners[i]),
                        signing=unsigned[i]) for i in range(load.n)]
    load.drive(lambda to, event: replicas[to].step(event))
    fresh = [load.application(signing) for signing in unsigned]
    calls = [(getattr(log, name), args) for log, listener in zip(fresh, listeners, strict=True)
             for name, args in listener.calls]

    def ask() -> None:
        for method, args in calls:
            method(*args)

    return seconds(ask)


def steps(report: Report) -> None:
    """The second table: every step of a signed run by what it did, less its signatures."""
    load = Load(4, 16 if report.quick else 64, 1, real=True)
    meters = [Meter(load.signing(i)) for i in load.who]
    replicas = load.replicas(list(meters))
    spent: dict[str, list[float]] = {}

    def clocked(to: int, event: Receive) -> list[Effect]:
        meter, replica = meters[to], replicas[to]
        meter.signs.clear()
        meter.checks.clear()
        start = now()
        effects = replica.step(event)
        rest = now() - start - sum(meter.signs) - sum(meter.checks)
        unread = not meter.signs and not meter.checks
        spent.setdefault(_kind(event, effects, unread), []).append(rest)
        return effects

    load.drive(clocked)
    for kind, rests in spent.items():
        each = median(rests) * 1e6
        report.add(**{"n = 4, a step that takes in": kind, "a request": len(rests) / load.sequences,
                      "µs each": each, "µs a request": each * len(rests) / load.sequences})


def _kind(event: Receive, effects: list[Effect], unread: bool) -> str:
    name = type_name(decode_message(event.data))
    if unread:  # nobody counts it any more, so its signature is not checked
        return f"{name} after the quorum"
    if any(type(e) is Decided for e in effects):
        told = any(type(e) is Broadcast for e in effects)
        return f"{name}, and executes" + (", with a CHECKPOINT" if told else "")
    return name + (", and answers to all" if any(type(e) is Broadcast for e in effects) else "")


def _as_application(listener: Any) -> Application:
    return listener  # type: ignore[no-any-return]  # it answers to every name


def measure(report: Report) -> None:
    """All six tables."""
    repeats = 1 if report.quick else 5
    for n in (4, 7, 13):
        for batch in (1, 16):
            count = max(1, (100 if report.quick else 400) // (n * (1 if batch == 1 else 4)))
            load = Load(n, count, batch, real=True)
            run(load)
            runs = sorted((run(load) for _ in range((30 if report.quick else 100) // n)),
                          key=lambda r: r.share)
            middle, fastest = runs[len(runs) // 2], min(runs, key=lambda r: r.work)
            low, high = runs[len(runs) // 4], runs[-1 - len(runs) // 4]
            report.add(**{
                "n": n, "batch": batch, "signed": middle.signs, "checked": middle.checks,
                "ms": middle.work * 1e3,
                "share": f"{middle.share:.3f} ({low.share:.3f} … {high.share:.3f})",
                "fastest": fastest.share, "less appl.": median(r.protocol_share for r in runs)})
    steps(report)
    for n in (4, 7, 13):
        load = Load(n, (20 if report.quick else 400) // n, 1, real=False)
        runs = [run(load) for _ in range(repeats)]
        r = sorted(runs, key=lambda r: r.work)[repeats // 2]
        report.add(**{"without crypto, n": n, "messages": r.delivered,
                      "µs a message": r.work / r.delivered * 1e6,
                      "of which application": r.application / r.delivered * 1e6})
    for batch in (1, 4, 16, 64):
        count = max(2, (16 if report.quick else 64) // batch)
        load = Load(4, count, batch, real=True)
        spent = median(run(load).work for _ in range(repeats))
        report.add(**{"n = 4, batch": batch, "requests/s on one core": count * batch / spent})
    for n in (4, 7, 13) if report.quick else (4, 7, 13, 31, 64, 100):
        sent = run(Load(n, 1, 1, real=False)).sent
        messages, size = len(sent) * (n - 1), sum(map(len, sent)) * (n - 1)
        load = Load(n, 1, 1, real=True)
        spent = run(load).work
        report.add(**{"one batch, n": n, "ms of CPU a replica": spent / n * 1e3,
                      "messages": messages, "2n(n − 1)": 2 * n * (n - 1),
                      "bytes": size, "bytes a message": size / messages})
    codecs(report, repeats)


def codecs(report: Report, repeats: int) -> None:
    """The sixth table; the ratios are those of pairs in alternation."""
    rounds = 200 if report.quick else 2000
    digest, signature = b"d" * 32, b"s" * 64
    for message in (Commit(3, 1000, digest, 2, signature),
                    Request("c", digest, 1000, b"operation", signature),
                    PrePrepare(3, 1000, digest, b"p" * 170, signature)):
        assert encode_message(message) == encode_union(message)
        own, general = paired(
            to_and_fro(message, encode_message, decode_message, rounds),
            to_and_fro(message, encode_union, lambda data: decode_union(MESSAGES, data), rounds),
            repeats=repeats + 2)
        report.add(**{"there and back": type_name(message),
                      "µs bdn.pbft.wire": own.median / rounds * 1e6,
                      "µs bdn.encoding": general.median / rounds * 1e6,
                      "general : own": general.median / own.median})


def to_and_fro(
    message: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], rounds: int
) -> Callable[[], None]:
    """Work for a clock: ``rounds`` times there and back."""
    def work() -> None:
        for _ in range(rounds):
            decode(encode(message))

    return work


if __name__ == "__main__":
    main("Consensus: the protocol beside its signatures", measure)
