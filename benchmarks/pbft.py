"""What consensus costs, beside the signatures that it cannot do without (issue 5, point 5).

Five questions, each a table::

    python benchmarks/pbft.py [--quick] [--json FILE]

1. Signed normal case: how much of the processor's time is Ed25519? The floor is the number of
   signatures made and checked, each at its own cost, measured around the call in the same run.
2. Without cryptography: microseconds for each delivered message, everything included (decoding,
   ordering, the journal's records, execution, replies).
3. Requests per second over the batch size (all n replicas on one core, so a cluster of n machines
   does about n times as much).
4. Messages and bytes for one batch over n, beside the formula 2n(n − 1).
5. Why there is a second codec: `bdn.pbft.flat` beside `bdn.encoding`.

Messages are handed over in memory: no network, no fsync.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from harness import Report, main, paired

from bdn.encoding import decode_union, encode_union
from bdn.identity import Identity
from bdn.pbft import (
    AppendLog,
    Cluster,
    Ed25519Signing,
    NullSigning,
    Replica,
    Request,
    Signing,
    decode_message,
    encode_message,
    signed,
)
from bdn.pbft.events import Broadcast, Event, Receive
from bdn.pbft.messages import MESSAGES, Commit


@dataclass
class Meter:
    """A signing that counts and times what it passes on."""

    inner: Signing
    signs: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)

    def sign(self, domain: str, message: bytes) -> bytes:
        start = time.process_time()
        signature = self.inner.sign(domain, message)
        self.signs.append(time.process_time() - start)
        return signature

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        start = time.process_time()
        self.inner.verify(public_key, domain, message, signature)
        self.checks.append(time.process_time() - start)


@dataclass
class Run:
    """One run's figures; seconds of processor time."""

    seconds: float
    delivered: int
    meters: list[Meter]
    traffic: Counter[str]
    bytes: int

    @property
    def floor(self) -> float:
        """What the signatures alone would have taken."""
        return sum(sum(meter.signs) + sum(meter.checks) for meter in self.meters)


def run(n: int, sequences: int, batch: int, real: bool, metered: bool = True) -> Run:
    """Order ``sequences`` batches of ``batch`` requests among n replicas, all in this process."""
    who = [Identity.from_secret(bytes([i + 1]) * 32) for i in range(n)]
    client = Identity.from_secret(b"c" * 32)
    cluster = Cluster(b"bench", tuple(i.public_key for i in who), batch_size=batch, pipeline=1)
    plain = [Ed25519Signing(i) if real else NullSigning() for i in who]
    meters = [Meter(signing) for signing in plain]
    used = meters if metered else plain
    replicas = [
        Replica(i, cluster, who[i],
                AppendLog(b"bench", {"c": client.public_key}, used[i], batch), signing=used[i])
        for i in range(n)
    ]
    hand = Ed25519Signing(client) if real else NullSigning()
    requests = [encode_message(signed(
        Request("c", client.public_key, t, b"operation", b""), b"bench", hand))
        for t in range(1, sequences * batch + 1)]
    traffic: Counter[str] = Counter()
    size = delivered = 0
    queue: deque[tuple[int, Event]] = deque()
    start = time.process_time()
    for k in range(0, len(requests), batch):
        queue.extend((0, Receive("c", data)) for data in requests[k:k + batch])
        while queue:
            to, event = queue.popleft()
            delivered += 1
            for effect in replicas[to].step(event):
                if type(effect) is Broadcast:
                    traffic[effect.data[2:6].decode()] += n - 1
                    size += len(effect.data) * (n - 1)
                    again = Receive(to, effect.data)
                    queue.extend((i, again) for i in range(n) if i != to)
    seconds = time.process_time() - start
    assert all(len(r.application.operations) == len(requests) for r in replicas)
    return Run(seconds, delivered, meters, traffic, size)


def middle(runs: list[Run]) -> Run:
    """The run of median processor time for each message."""
    return sorted(runs, key=lambda r: r.seconds / r.delivered)[len(runs) // 2]


def measure(report: Report) -> None:
    """All five tables."""
    repeats = 1 if report.quick else 5
    for n in (4, 7, 13):
        for batch in (1, 16):
            count = max(2, (8 if report.quick else 200) // (n * max(1, batch // 4)))
            r = middle([run(n, count, batch, real=True) for _ in range(repeats)])
            report.add(n=n, batch=batch, signatures=sum(len(m.signs) for m in r.meters),
                       checks=sum(len(m.checks) for m in r.meters), seconds=r.seconds,
                       floor=r.floor, share=r.floor / r.seconds)
    for n in (4, 7, 13):
        count = (20 if report.quick else 400) // n
        r = middle([run(n, count, 1, real=False, metered=False) for _ in range(repeats)])
        report.add(**{"without crypto, n": n, "messages": r.delivered,
                      "µs a message": r.seconds / r.delivered * 1e6})
    for batch in (1, 4, 16, 64):
        count = max(2, (16 if report.quick else 64) // batch)
        r = middle([run(4, count, batch, real=True, metered=False) for _ in range(repeats)])
        report.add(**{"n = 4, batch": batch, "requests/s on one core": count * batch / r.seconds})
    for n in (4, 5, 7, 10, 13, 16):
        r = run(n, 1, 1, real=False, metered=False)
        ours = sum(r.traffic.values())
        report.add(**{"one batch, n": n, "messages": ours, "2n(n − 1)": 2 * n * (n - 1),
                      "bytes": r.bytes, "bytes a message": r.bytes / ours})
    vote = Commit(3, 1000, b"d" * 32, 2, b"s" * 64)
    data = encode_message(vote)
    rounds = 200 if report.quick else 2000

    def flat() -> None:
        for _ in range(rounds):
            decode_message(encode_message(vote))

    def general() -> None:
        for _ in range(rounds):
            decode_union(MESSAGES, encode_union(vote))

    assert data == encode_union(vote)
    quick, slow = paired(flat, general, repeats=repeats + 2)
    report.add(**{"a COMMIT there and back": "flat, then general",
                  "µs flat": quick.median / rounds * 1e6,
                  "µs general": slow.median / rounds * 1e6,
                  "ratio": slow.median / quick.median})


if __name__ == "__main__":
    main("Consensus: the protocol beside its signatures", measure)
