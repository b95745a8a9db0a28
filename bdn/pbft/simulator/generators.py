"""Scenarios by the thousand: Twins, ByzzFuzz and plain random, each a function of (seed, index).

- *Twins* (Bano et al., "Twins: BFT Systems Made Robust", OPODIS 2021): a Byzantine replica is two
  honest copies with one key, and every round the network is split anew. One twin among four
  replicas, two-part splits of the five nodes (2⁴ of them, the undivided one included) in three
  rounds: 4 · 16³ = 16,384 scenarios, counted through.
- *ByzzFuzz* (Winter et al., "Randomized Testing of Byzantine Fault Tolerant Algorithms", OOPSLA
  2023): in at most d protocol rounds the network splits, in at most c rounds one Byzantine replica
  sends small mutations of its messages, or nothing, to some of the others.
- *random*: any rule of the scenario file, with at most f Byzantine replicas.

In all of them up to f replicas also keep a few habits of lying to the end of the run, and requests
come after the network has healed, so that progress is demanded while they lie. All scenarios heal,
and the run must then end: limits are part of each. A scenario here is the plain
object of a scenario file, so that what a search finds can be written down and replayed.
"""

from collections.abc import Callable
from typing import Any

from bdn.pbft.simulator.scenario import MUTATIONS, TYPES
from bdn.randomness import Randomness, SeededRandomness
from bdn.seal import fault_bound

Plain = dict[str, Any]
Generator = Callable[[int, int, int], Plain]
"""(replicas, seed, index) → the scenario's object."""

ROUNDS = 3
SPLITS = 16
TWINS_TOTAL = 4 * SPLITS**ROUNDS
ROUND_MS = 200
"""Length of a Twins round: a request's timeout and a view change fit in."""
BEFORE_MS = 8
"""Requests come so long before a round ends that the new split strikes in the midst of the votes
(a message takes 3 ms on average, COMMITs are the fourth)."""

BYZZFUZZ_ROUNDS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("PRE-PREPARE", 0),), (("PREPARE", 0),), (("COMMIT", 0),),
    (("VIEW-CHANGE", 1),), (("NEW-VIEW", 1), ("PRE-PREPARE", 1)), (("PREPARE", 1),),
    (("COMMIT", 1),), (("VIEW-CHANGE", 2),),
)
"""The eight rounds: which message types of which view each is about."""

BYZZFUZZ_FIELDS = {
    "PRE-PREPARE": ("digest", "view", "sequence"),
    "PREPARE": ("digest", "view", "sequence"),
    "COMMIT": ("digest", "view", "sequence"),
    "VIEW-CHANGE": ("view", "p-forge", "p-view", "p-outside", "p-omit", "c-short"),
    "NEW-VIEW": ("view", "o-omit", "o-null", "o-digest", "o-extra", "v-omit", "v-duplicate"),
}
TIMEOUTS = {"request_timeout_ms": 40, "view_timeout_ms": 160, "checkpoint_interval": 2,
            "window": 4}
LONGEST_TIMER_MS = 640
"""160, 320, 640: no view timer can have doubled further before the faults end (at most 700 ms)."""


LIES: dict[str, tuple[str, ...]] = {
    "PRE-PREPARE": ("digest", "view", "sequence"),
    "PREPARE": ("digest", "view", "sequence"),
    "COMMIT": ("digest", "view", "sequence"),
    "REPLY": ("digest", "view"),
    "CHECKPOINT": ("digest", "sequence"),
    "VIEW-CHANGE": ("view", "sequence", "p-forge", "p-view", "p-outside", "p-omit", "c-short"),
    "NEW-VIEW": ("view", "o-omit", "o-null", "o-digest", "o-extra", "v-omit", "v-duplicate"),
    "STATUS": ("view", "sequence"),
    "FETCH": ("digest", "sequence"),
    "STATE": ("digest", "view", "sequence"),
}
"""What a Byzantine replica can change in its own messages, by their type."""


def _limits(replicas: int, heal_at_ms: int) -> Plain:
    """Return when the network heals, and when all must be done (docs/simulator.md)."""
    bound = LONGEST_TIMER_MS * (2 ** (fault_bound(replicas) + 2) - 1) + 2000
    return {"heal_at_ms": heal_at_ms, "limit_ms": heal_at_ms + bound}


def _requests_after(heal_at_ms: int) -> list[Plain]:
    """Return requests of a healed network: progress is demanded while the liars still lie.

    They come from several clients at a time, and lead across three checkpoints.
    """
    return [_request(f"d{i % 3}", 1 + i // 3, heal_at_ms + 20 * (i // 3), f"after{i}")
            for i in range(9)]


def _lie_to_the_end(rng: Randomness, scenario: Plain, liar: str, names: list[str]) -> None:
    """Give ``liar`` one to three habits for ever: to change, withhold or delay messages."""
    others = [name for name in names if name.rstrip("'") != liar.rstrip("'")]
    for _ in range(1 + rng.below(3)):
        kind = list(LIES)[rng.below(len(LIES))]
        rule: Plain = {"type": kind, "from": [liar],
                       "to": _sample(rng, others, 1 + rng.below(len(others)))}
        match rng.below(8):
            case 0 | 1:
                scenario["drop"].append(rule)
            case 2:
                scenario["slow"].append({**rule, "add_ms": 1 + rng.below(400)})
            case _:
                field = LIES[kind][rng.below(len(LIES[kind]))]
                scenario["mutate"].append({**rule, "field": field, "resign": True,
                                           "by": (1, -1, 2, -2)[rng.below(4)]})


def twins_scenario(replicas: int, seed: int, index: int) -> Plain:
    """Return the ``index``-th Twins scenario; for four replicas the numbering is exhaustive."""
    names = [str(i) for i in range(replicas)]
    if replicas == 4:
        place, rest = divmod(index % TWINS_TOTAL, SPLITS**ROUNDS)
        masks = [(rest // SPLITS**r) % SPLITS for r in range(ROUNDS)]
        twins = [names[place]]
    else:
        rng = SeededRandomness(seed).substream(f"twins {replicas} {index}")
        twins = _sample(rng, names, fault_bound(replicas))
        masks = [rng.below(1 << (replicas + len(twins) - 1)) for _ in range(ROUNDS)]
    nodes = names + [f"{name}'" for name in twins]
    partitions = []
    for number, mask in enumerate(masks):
        # The last node always stands on the left, so that a split and its mirror are one.
        right = [node for i, node in enumerate(nodes[:-1]) if mask >> i & 1]
        left = [node for node in nodes if node not in right]
        if right:
            partitions.append({"from_ms": number * ROUND_MS, "to_ms": (number + 1) * ROUND_MS,
                               "groups": [left, right]})
    heal_at_ms = ROUNDS * ROUND_MS
    scenario: Plain = {
        "replicas": replicas, "seed": seed + index, **TIMEOUTS,
        "network": {"delay_ms": [1, 5]},
        "requests": [_request("c0", 1, 0, "a"), _request("c1", 1, ROUND_MS - BEFORE_MS, "b"),
                     _request("c0", 2, 2 * ROUND_MS - BEFORE_MS, "c"),
                     *_requests_after(heal_at_ms)],
        "twins": twins, "partitions": partitions, "drop": [], "slow": [], "mutate": [],
        **_limits(replicas, heal_at_ms),
    }
    rng = SeededRandomness(seed).substream(f"twins' lies {replicas} {index}")
    for twin in twins:
        _lie_to_the_end(rng, scenario, (twin, f"{twin}'")[rng.below(2)], nodes)
    return scenario


def byzzfuzz_scenario(replicas: int, seed: int, index: int) -> Plain:
    """Return at most two rounds with a split and at most two with a liar (d ≤ 2, c ≤ 2)."""
    rng = SeededRandomness(seed).substream(f"byzzfuzz {replicas} {index}")
    names = [str(i) for i in range(replicas)]
    liar = names[rng.below(replicas)]
    drop: list[Plain] = []
    mutate: list[Plain] = []
    for number in _sample(rng, list(range(len(BYZZFUZZ_ROUNDS))), rng.below(3)):
        mask = 1 + rng.below((1 << (replicas - 1)) - 1)
        right = [name for i, name in enumerate(names) if mask >> i & 1]
        left = [name for name in names if name not in right]
        for kind, view in BYZZFUZZ_ROUNDS[number]:
            drop.append({"type": kind, "view": view, "from": left, "to": right})
            drop.append({"type": kind, "view": view, "from": right, "to": left})
    for number in _sample(rng, list(range(len(BYZZFUZZ_ROUNDS))), rng.below(3)):
        others = [name for name in names if name != liar]
        targets = _sample(rng, others, 1 + rng.below(len(others)))
        for kind, view in BYZZFUZZ_ROUNDS[number]:
            rule = {"type": kind, "view": view, "from": liar, "to": targets}
            fields = ("", *BYZZFUZZ_FIELDS[kind])
            field = fields[rng.below(len(fields))]
            if field:
                by = (1, -1)[rng.below(2)]
                mutate.append({**rule, "field": field, "by": by, "resign": True})
            else:
                drop.append({**rule, "from": [liar]})
    scenario: Plain = {
        "replicas": replicas, "seed": seed + index, **TIMEOUTS,
        "network": {"delay_ms": [1, 5]},
        "requests": [_request("c0", 1, 0, "a"), _request("c1", 1, 40, "b"),
                     *_requests_after(500)],
        "drop": drop, "slow": [], "mutate": mutate, **_limits(replicas, 500),
    }
    for name in [liar, *_sample(rng, [name for name in names if name != liar],
                                fault_bound(replicas) - 1)]:
        _lie_to_the_end(rng, scenario, name, names)
    return scenario


def random_scenario(replicas: int, seed: int, index: int) -> Plain:
    """Rules of every kind, thrown together; at most f replicas are Byzantine."""
    rng = SeededRandomness(seed).substream(f"random {replicas} {index}")
    names = [str(i) for i in range(replicas)]
    liars = _sample(rng, names, rng.below(fault_bound(replicas) + 1))
    twins = [name for name in liars if rng.below(3) == 0]
    nodes = [*names, *(f"{name}'" for name in twins)]
    scenario: Plain = {
        "replicas": replicas, "seed": seed + index, **TIMEOUTS,
        "network": {"delay_ms": [1, 1 + rng.below(20)], "loss": rng.below(3) * 0.05,
                    "duplicate": rng.below(3) * 0.05},
        "requests": [*(_request(f"c{i % 3}", 1 + i // 3, 50 * i, f"op{i}")
                       for i in range(2 + rng.below(8))), *_requests_after(700)],
        "twins": twins,
        "silent": [], "equivocate": [], "partitions": [], "drop": [], "slow": [], "replay": [],
        "mutate": [], "suspect": [], "crash": [], **_limits(replicas, 700),
    }
    for liar in liars:
        _lie(rng, scenario, liar, names)
    for _ in range(1 + rng.below(6)):
        _disturb(rng, scenario, names, nodes)
    _crash(rng, scenario, names)
    return scenario


def _lie(rng: Randomness, scenario: Plain, liar: str, names: list[str]) -> None:
    """Let ``liar`` equivocate, or change a few messages, and give it lasting habits."""
    others = [name for name in names if name != liar]
    if rng.below(2):
        cut = 1 + rng.below(len(others) - 1)
        mixed = _sample(rng, others, len(others))
        scenario["equivocate"].append(
            {"replica": liar, "groups": [mixed[:cut], mixed[cut:]]})
    for _ in range(rng.below(3)):
        scenario["mutate"].append({
            "type": TYPES[1 + rng.below(len(TYPES) - 1)], "from": liar,
            "to": _sample(rng, others, 1 + rng.below(len(others))),
            "field": MUTATIONS[rng.below(len(MUTATIONS))], "by": (1, -1, 3)[rng.below(3)],
            "resign": True, "count": 1 + rng.below(4)})
    _lie_to_the_end(rng, scenario, liar, names)


def _disturb(rng: Randomness, scenario: Plain, names: list[str], nodes: list[str]) -> None:
    """Add a fault of the network, or a replica that loses patience."""
    start = rng.below(600)
    window = {"from_ms": start, "to_ms": start + 1 + rng.below(400)}
    some = _sample(rng, names, 1 + rng.below(2))
    kind = TYPES[rng.below(len(TYPES))]
    match rng.below(6):
        case 0:
            mixed = _sample(rng, nodes, len(nodes))
            cut = 1 + rng.below(len(nodes) - 1)
            scenario["partitions"].append({**window, "groups": [mixed[:cut], mixed[cut:]]})
        case 1:
            scenario["silent"].append({"replica": some[0], **window})
        case 2:
            scenario["drop"].append({"type": kind, "from": some, **window})
        case 3:
            scenario["slow"].append({"type": kind, "to": some, "add_ms": rng.below(200), **window})
        case 4:
            scenario["replay"].append({"type": kind, "from": some[0], "at_ms": start,
                                       "to": _sample(rng, names, 2)})
        case _:
            scenario["suspect"].append({"replica": some[0], "at_ms": start,
                                        "view": 1 + rng.below(5)})


def _crash(rng: Randomness, scenario: Plain, names: list[str]) -> None:
    """Crashes of any replicas, each of which comes back from its journal."""
    for name in _sample(rng, names, rng.below(3)):
        at = rng.below(500)
        scenario["crash"].append({"replica": name, "at_ms": at,
                                  "restart_ms": at + 1 + rng.below(200)})


def _request(client: str, timestamp: int, at_ms: int, operation: str) -> Plain:
    return {"client": client, "timestamp": timestamp, "at_ms": at_ms, "operation": operation}


def _sample(rng: Randomness, items: list[Any], count: int) -> list[Any]:
    """Return ``count`` different ``items`` in random order."""
    rest, chosen = list(items), []
    for _ in range(count):
        chosen.append(rest.pop(rng.below(len(rest))))
    return chosen


GENERATORS: dict[str, Generator] = {
    "twins": twins_scenario, "byzzfuzz": byzzfuzz_scenario, "random": random_scenario,
}
