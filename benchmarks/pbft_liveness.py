"""How fast PBFT recovers, compared with the bound from theory, and what a view change costs.

Two questions, over n::

    python benchmarks/pbft_liveness.py [--quick] [--json FILE]

1. Virtual milliseconds until every correct replica has executed and every client has its answers,
   in `bdn.pbft.simulator` (delays of 1 to D = 10 ms, request timeout R = 200 ms, view timeout
   V = 400 ms, so a STATUS every 200 ms). Processors take no time there, so a figure depends on the
   protocol and its timeouts alone. Faulty replicas stay faulty to the end.

   * *crash*: the primary is dead when the request comes. *f crashes*: so are f primaries in a row.
   * *lying primary*: it tells every replica another story, in every view of its own.
   * *partition*: two halves for a second; the time is counted from its end.
   * *lying checkpoint*: f replicas sign a wrong CHECKPOINT digest, while f others are cut off for
     350 ms, so that no checkpoint can become stable and the window fills; counted from then.

   ``docs/pbft-liveness.md`` derives each bound.
2. What one backup pays, with real signatures: for one request (PRE-PREPARE, PREPAREs, COMMITs), and
   for a view change in which every replica shows p = 15 prepared entries (all VIEW-CHANGEs and the
   NEW-VIEW). *checks* counts calls of Ed25519; *votes shown* counts the PREPAREs that are carried.
   The new view must begin within the view timeout, 4 s by default (`bdn.pbft.Cluster`).
"""

import time
from collections.abc import Sequence
from typing import Any

from harness import Report, main

from bdn.identity import Identity
from bdn.pbft import AppendLog, Cluster, Ed25519Signing, Replica, encode_message, signed
from bdn.pbft.application import Application
from bdn.pbft.events import Broadcast, Effect, Receive, Suspect
from bdn.pbft.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Request,
    ViewChange,
)
from bdn.pbft.simulator import parse_scenario
from bdn.pbft.simulator.world import World
from bdn.pbft.wire import decode_message
from bdn.randomness import SeededRandomness
from bdn.seal import fault_bound

SIZES, QUICK_SIZES = (4, 7, 13, 31, 64, 100), (4, 7)
SEEDS, QUICK_SEEDS = 5, 1
DELAY, REQUEST, VIEW = 10, 200, 400
CUT_MS, SPLIT_MS = 350, 1000
PREPARED = 15
MOST_CRASHES = 13
"""The largest n with f crashes in a row: the wait doubles at each, so f = 10 takes minutes."""

Plain = dict[str, Any]


# --- recovery in virtual time ---------------------------------------------------------------------


def recovery(scenario: Plain, since_ms: float, seeds: int) -> tuple[float, int]:
    """Return the slowest of ``seeds`` recoveries in virtual ms, and the messages of that run."""
    slowest, messages = 0.0, 0
    for seed in range(seeds):
        result = World(parse_scenario({**scenario, "seed": seed}), real_signatures=False,
                       keep_record=False).run()
        if not (result.safe and result.live and result.settled_at_ms is not None):
            raise SystemExit(f"no recovery: {result.violations or result.unmet}")
        if result.settled_at_ms - since_ms > slowest:
            slowest, messages = result.settled_at_ms - since_ms, result.messages
    return slowest, messages


def situations(n: int) -> dict[str, tuple[Plain, float, float]]:
    """Return by name: the scenario, the instant from which time counts, and the bound."""
    f = fault_bound(n)
    names = [str(i) for i in range(n)]
    asked = {"replicas": n, "requests": [{"client": "c0", "operation": "a", "at_ms": 1}]}
    replaced = REQUEST + 6 * DELAY
    half = n // 2
    liars, late = names[n - 2 * f:n - f], names[n - f:]
    found = {
        "crash": ({**asked, "crash": [{"replica": "0"}]}, 1.0, replaced),
        "lying primary": ({**asked, "equivocate": [{"replica": "0"}]}, 1.0, replaced),
        "partition": ({**asked, "heal_at_ms": SPLIT_MS, "partitions": [
            {"groups": [[*names[:half], "clients"], names[half:]]}]},
            SPLIT_MS, VIEW / 2 + REQUEST + 8 * DELAY),
        "lying checkpoint": ({
            "replicas": n, "requests": [{"client": "c0", "operation": str(i)} for i in range(12)],
            "partitions": [{"to_ms": CUT_MS, "groups": [[*names[:n - f], "clients"], late]}],
            "mutate": [{"type": "CHECKPOINT", "from": liars, "field": "digest", "resign": True}],
        }, CUT_MS, (f + 1) * VIEW / 2 + REQUEST + 8 * DELAY + 12 * 5 * DELAY),
    }
    if n <= MOST_CRASHES:
        found["f crashes"] = (
            {**asked, "crash": [{"replica": str(i)} for i in range(f)]}, 1.0,
            REQUEST + VIEW * (2 ** (f - 1) - 1) + (6 + 2 * (f - 1)) * DELAY)
    return found


def measure_recovery(report: Report, sizes: Sequence[int], seeds: int) -> None:
    """Fill the first table."""
    for n in sizes:
        for name, (scenario, since, bound) in situations(n).items():
            slowest, messages = recovery(scenario, since, seeds if n <= MOST_CRASHES else 1)
            report.add(n=n, situation=name, **{
                "slowest, ms": round(slowest), "bound, ms": round(bound),
                "messages": messages})


# --- what a backup pays ---------------------------------------------------------------------------


class CountingSigning(Ed25519Signing):
    """Ed25519 that counts what it checks."""

    checks = 0

    def verify(self, public_key: bytes, domain: str, message: bytes, signature: bytes) -> None:
        """Do as Ed25519, and count."""
        self.checks += 1
        super().verify(public_key, domain, message, signature)


class Members:
    """The identities of a cluster, and messages signed by them."""

    def __init__(self, n: int) -> None:
        keys = SeededRandomness(b"pbft liveness")
        self.identities = [Identity.generate(keys.substream(str(i))) for i in range(n + 1)]
        self.cluster = Cluster(b"benchmark", tuple(i.public_key for i in self.identities[:n]))
        self.client = self.identities[n]

    def sign(self, i: int, message: Any) -> Any:
        """Return the message with the signature of replica ``i`` (n: of the client)."""
        return signed(message, self.cluster.instance, Ed25519Signing(self.identities[i]))

    def application(self, i: int) -> Application:
        """Return a fresh log for replica ``i``."""
        return AppendLog(self.cluster.instance, {"c": self.client.public_key},
                         Ed25519Signing(self.identities[i]))

    def replica(self, i: int) -> tuple[Replica, CountingSigning]:
        """Return replica ``i`` and what counts its checks."""
        signing = CountingSigning(self.identities[i])
        return Replica(i, self.cluster, self.identities[i], self.application(i),
                       signing=signing), signing

    def payload(self, timestamp: int) -> tuple[bytes, bytes]:
        """Return a payload with one request, and its digest."""
        bare = Request("c", self.client.public_key, timestamp, b"operation", b"")
        payload = AppendLog.payload_of([self.sign(self.cluster.n, bare)])
        return payload, self.application(0).digest(payload)


def give(replica: Replica, messages: Sequence[Message]) -> tuple[float, list[Effect]]:
    """Return the seconds that the replica takes for the messages, and all effects."""
    received = [Receive(0, encode_message(message)) for message in messages]
    effects: list[Effect] = []
    begun = time.process_time()
    for event in received:
        effects += replica.step(event)
    return time.process_time() - begun, effects


def normal_case(n: int) -> Plain:
    """Return what one request costs a backup, and the messages of the whole cluster."""
    members = Members(n)
    backup, signing = members.replica(2)
    payload, digest = members.payload(1)
    votes: list[Message] = [members.sign(0, PrePrepare(0, 1, digest, payload, b""))]
    votes += [members.sign(i, Prepare(0, 1, digest, i, b"")) for i in range(1, n) if i != 2]
    votes += [members.sign(i, Commit(0, 1, digest, i, b"")) for i in range(n) if i != 2]
    seconds, _ = give(backup, votes)
    assert backup.executed == 1
    return {"messages": 2 * n * (n - 1), "checks": signing.checks, "ms": seconds * 1000}


def view_change(n: int) -> Plain:
    """Return what a view change with `PREPARED` entries costs a backup."""
    members = Members(n)
    q = members.cluster.q
    proposals = [members.sign(0, PrePrepare(0, k, members.payload(k)[1], None, b""))
                 for k in range(1, PREPARED + 1)]
    votes = [[members.sign(i, Prepare(0, p.sequence, p.digest, i, b"")) for i in range(1, n)]
             for p in proposals]

    def change(i: int) -> ViewChange:
        """Replica ``i`` shows the q − 1 votes that reached it first: its own and the next ones."""
        entries = tuple(
            Prepared(proposal, tuple(sorted(
                ((cast * 2)[i:i + q - 1]), key=lambda vote: vote.replica)))
            for proposal, cast in zip(proposals, votes, strict=True))
        made: ViewChange = members.sign(i, ViewChange(1, 0, (), entries, i, b""))
        return made

    changes = [change(i) for i in range(n)]
    primary, _ = members.replica(1)
    primary.step(Suspect(1))
    _, effects = give(primary, [changes[i] for i in range(n) if i != 1])
    new_view = next(message for message in (decode_message(e.data) for e in effects
                                            if isinstance(e, Broadcast))
                    if isinstance(message, NewView))
    backup, signing = members.replica(2)
    backup.step(Suspect(1))
    before = signing.checks
    seconds, _ = give(backup, [*(changes[i] for i in range(n) if i != 2), new_view])
    assert (backup.view, backup.active) == (1, True)
    return {"votes shown": (n - 1) * PREPARED * (q - 1), "checks": signing.checks - before,
            "s": seconds, "VIEW-CHANGE, kB": len(encode_message(changes[0])) / 1000,
            "NEW-VIEW, MB": len(encode_message(new_view)) / 1e6}


def measure_cost(report: Report, sizes: Sequence[int]) -> None:
    """Fill the second and third table."""
    for n in sizes:
        report.add(**{"one request, n": n, **normal_case(n)})
    for n in sizes:
        report.add(**{"view change, n": n, **view_change(n)})


def measure(report: Report) -> None:
    """Fill the report."""
    sizes = QUICK_SIZES if report.quick else SIZES
    measure_recovery(report, sizes, QUICK_SEEDS if report.quick else SEEDS)
    measure_cost(report, sizes)
    report.notes.append("Recovery: the slowest of 5 seeds up to n = 13, one seed above.")


if __name__ == "__main__":
    main("PBFT's liveness: recovery over n, and the price of a view change", measure)
