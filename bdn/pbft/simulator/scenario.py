"""The scenario file of ``bdn simulate``: what it may say, and its strict reader.

Every rule of the file is one dataclass here, in the file's words. Times are virtual milliseconds
from the start. Reference with examples: ``docs/simulator.md``.

What is not foreseen is refused with one line that names the key. A *check* takes a value and where
it stands (``drop[0].from_ms``) and returns the value, or raises `ScenarioError`. The table of a
section documents it: the names as the file spells them, the attribute that each name becomes, and
the check that the value must pass.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bdn.arguments import read_bounded
from bdn.errors import UsageError, did_you_mean
from bdn.json_text import parse_json

MICROS = 1000
"""Virtual time is counted in whole microseconds, so that no rounding depends on the machine."""


def micros(milliseconds: float) -> int:
    """Return virtual microseconds."""
    return round(milliseconds * MICROS)


Check = Callable[[Any, str], Any]


class ScenarioError(UsageError):
    """A scenario file that says something impossible. One line: where, and what would do."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: the ``attribute`` that it becomes and the ``check`` it must pass."""

    attribute: str
    check: Check


# --- values ---------------------------------------------------------------------------------------


def integer(low: int, high: int) -> Check:
    """Accept a whole number in [low, high]; JSON's ``true`` and ``1.0`` are none."""

    def check(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ScenarioError(f"{where}: {_shown(value)} is not a whole number "
                                f"from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """Accept a finite number in [low, high], whole or not."""

    def check(value: Any, where: str) -> int | float:
        if type(value) not in (int, float) or not low <= value <= high:  # NaN is not either
            raise ScenarioError(f"{where}: {_shown(value)} is not a number "
                                f"from {low:g} to {high:g}")
        return value  # type: ignore[no-any-return]  # narrowed by the type test above

    return check


def text(limit: int = 200) -> Check:
    """Accept text of 1 to ``limit`` characters."""

    def check(value: Any, where: str) -> str:
        if type(value) is not str or not 1 <= len(value) <= limit:
            raise ScenarioError(f"{where}: {_shown(value)} is not text of 1 to {limit} characters")
        return value

    return check


def flag(value: Any, where: str) -> bool:
    """Accept ``true`` or ``false``."""
    if type(value) is not bool:
        raise ScenarioError(f"{where}: {_shown(value)} is neither true nor false")
    return value


def one_of(*choices: str) -> Check:
    """Accept one of the given words."""

    def check(value: Any, where: str) -> str:
        if type(value) is not str or value not in choices:
            raise ScenarioError(f"{where}: {_shown(value)} is none of {', '.join(choices)}")
        return value

    return check


def listed(item: Check, limit: int = 10_000) -> Check:
    """Accept an array of at most ``limit`` items that each pass ``item``, as a tuple."""

    def check(value: Any, where: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise ScenarioError(f"{where}: {_shown(value)} is not an array")
        if len(value) > limit:
            raise ScenarioError(f"{where}: {len(value)} items; at most {limit} are read")
        return tuple(item(entry, f"{where}[{i}]") for i, entry in enumerate(value))

    return check


def interval(item: Check) -> Check:
    """Accept an array ``[low, high]`` with low ≤ high."""

    def check(value: Any, where: str) -> tuple[Any, Any]:
        if type(value) is not list or len(value) != 2:
            raise ScenarioError(f"{where}: {_shown(value)} is not [low, high]")
        low, high = item(value[0], f"{where}[0]"), item(value[1], f"{where}[1]")
        if low > high:
            raise ScenarioError(f"{where}: {low} is above {high}")
        return low, high

    return check


def names(value: Any, where: str) -> tuple[str, ...]:
    """Accept an array of names, or one name alone, as a tuple without repetitions."""
    if type(value) is str:
        return (text()(value, where),)
    found: tuple[str, ...] = listed(text())(value, where)
    if len(set(found)) != len(found):
        raise ScenarioError(f"{where}: a name stands there twice")
    return found


# --- objects --------------------------------------------------------------------------------------


def section(cls: type, keys: Mapping[str, Key]) -> Check:
    """Accept an object with some of ``keys`` and no other, as an instance of ``cls``.

    A key is required when its attribute has no default.
    """
    required = {field.name for field in fields(cls)
                if field.default is MISSING and field.default_factory is MISSING}

    def check(value: Any, where: str) -> Any:
        prefix = f"{where}: " if where else ""
        if type(value) is not dict:
            raise ScenarioError(f"{prefix}{_shown(value)} is not an object")
        for name in value:
            if name not in keys:
                raise ScenarioError(f"{prefix}unknown key {_shown(name)}"
                                    f"{did_you_mean(name, keys)}; known here: {', '.join(keys)}")
        for name, key in keys.items():
            if key.attribute in required and name not in value:
                raise ScenarioError(f"{prefix}the key \"{name}\" is missing")
        dot = f"{where}." if where else ""
        return cls(**{keys[name].attribute: keys[name].check(entry, dot + name)
                      for name, entry in value.items()})

    return check


def read_json(data: str) -> Any:
    """Return the value of a JSON text; raise `ScenarioError` for duplicate keys and NaN, too."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) != len(found):
            twice = next(name for name, _ in found if sum(n == name for n, _ in found) > 1)
            raise ScenarioError(f"the key {_shown(twice)} stands twice in one object")
        return result

    def constant(name: str) -> Any:
        raise ScenarioError(f"{name} is no JSON number")

    try:
        return parse_json(data, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"not JSON: {error}") from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"not readable as JSON: {error}") from error


def _shown(value: Any) -> str:
    """Return ``value`` as JSON, cut to one short line."""
    shown = json.dumps(value, ensure_ascii=False)
    if not shown.isprintable():
        shown = json.dumps(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


FOREVER = float("inf")
MAX_FILE = 1 << 20
"""Bytes of a scenario file; the largest ones of a search have some tens of thousands."""

MAX_MS = 10**9
"""Longest virtual time that a file may name: eleven days."""
MAX_REPLICAS = 128
CLIENTS = "clients"
"""The name that stands for every client, wherever nodes are named."""

TYPES = ("REQUEST", "PRE-PREPARE", "PREPARE", "COMMIT", "REPLY", "CHECKPOINT", "VIEW-CHANGE",
         "NEW-VIEW", "STATUS", "FETCH", "STATE")
MUTATIONS = ("digest", "view", "sequence", "o-omit", "o-null", "o-digest", "o-extra", "v-omit",
             "v-duplicate", "p-forge", "p-view", "p-outside", "p-omit", "c-short")

ms = number(0, MAX_MS)
counter = integer(0, 2**53)


# --- what a file says -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestRule:
    """A client asks for an operation; ``to`` (all replicas, if left out) hear of it first."""

    client: str
    operation: str
    timestamp: int | None = None
    at_ms: float = 0
    to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """How the links behave: bounds of the delay, chances of loss and of a second delivery."""

    delay_ms: tuple[float, float] = (1, 10)
    loss: float = 0.0
    duplicate: float = 0.0


@dataclass(frozen=True, slots=True)
class Match:
    """Which messages a rule is about. What is left out matches everything."""

    type: str | None = None
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    view: int | None = None
    sequence: int | None = None
    from_ms: float = 0
    to_ms: float = FOREVER
    count: int | None = None


@dataclass(frozen=True, slots=True)
class SlowRule(Match):
    """Messages that take ``add_ms`` longer."""

    add_ms: float = 0


@dataclass(frozen=True, slots=True)
class ReplayRule(Match):
    """Messages sent before ``at_ms`` that are delivered once more then."""

    at_ms: float = 0


@dataclass(frozen=True, slots=True)
class MutateRule(Match):
    """Messages of which one ``field`` is changed, ``by`` so much; signed again, or not."""

    field: str = "digest"
    by: int = 1
    resign: bool = False


@dataclass(frozen=True, slots=True)
class SilentRule:
    """A replica that hears and works, and of which nothing is heard."""

    replica: str
    from_ms: float = 0
    to_ms: float = FOREVER


@dataclass(frozen=True, slots=True)
class EquivocateRule:
    """A replica that tells each group another story about (view, sequence)."""

    replica: str
    view: int | None = None
    sequence: int | None = None
    groups: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class PartitionRule:
    """Only members of a common group hear each other; who stands in none hears all."""

    groups: tuple[tuple[str, ...], ...]
    from_ms: float = 0
    to_ms: float = FOREVER


@dataclass(frozen=True, slots=True)
class SuspectRule:
    """A replica that starts a change to ``view`` (the next one, if left out) out of the blue."""

    replica: str
    at_ms: float = 0
    view: int | None = None


@dataclass(frozen=True, slots=True)
class CrashRule:
    """A replica that loses its memory; it comes back from its journal, if that is kept."""

    replica: str
    at_ms: float = 0
    restart_ms: float | None = None
    amnesia: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole file. The defaults are those of a quiet network.

    ``window`` left out is twice the ``checkpoint_interval`` (Castro–Liskov 1999, section 4.3), and
    the interval left out is at most half of the window.
    """

    replicas: int
    requests: tuple[RequestRule, ...]
    seed: int = 0
    request_timeout_ms: int = 200
    view_timeout_ms: int = 400
    checkpoint_interval: int = 4
    window: int = 8
    network: NetworkRule = field(default_factory=NetworkRule)
    twins: tuple[str, ...] = ()
    silent: tuple[SilentRule, ...] = ()
    equivocate: tuple[EquivocateRule, ...] = ()
    partitions: tuple[PartitionRule, ...] = ()
    drop: tuple[Match, ...] = ()
    slow: tuple[SlowRule, ...] = ()
    replay: tuple[ReplayRule, ...] = ()
    mutate: tuple[MutateRule, ...] = ()
    suspect: tuple[SuspectRule, ...] = ()
    crash: tuple[CrashRule, ...] = ()
    heal_at_ms: float | None = None
    limit_ms: float = 60_000

    @property
    def replica_names(self) -> tuple[str, ...]:
        """Replicas in index order, then the twins."""
        return (*map(str, range(self.replicas)), *(f"{name}'" for name in self.twins))

    @property
    def clients(self) -> tuple[str, ...]:
        """Return the clients, in the order in which the file first names them."""
        return tuple(dict.fromkeys(request.client for request in self.requests))

    @property
    def byzantine(self) -> frozenset[str]:
        """Return who equivocates, mutates with ``resign``, has a twin or restarts with amnesia.

        A rule that mutates *every* sender's messages and signs them again makes all Byzantine.
        """
        found = {rule.replica for rule in self.equivocate}
        found |= {rule.replica for rule in self.crash
                  if rule.amnesia and rule.restart_ms is not None}
        for rule in self.mutate:
            if rule.resign:
                found |= set(self.replica_names if rule.sources is None else rule.sources)
        found |= {*self.twins, *(f"{name}'" for name in self.twins)}
        # A twin and its original are one replica with one key: what one does, both are guilty of.
        found |= {f"{name}'" for name in found if name in self.twins}
        return frozenset(found & set(self.replica_names))


    @property
    def faulty(self) -> frozenset[str]:
        """Return the replicas whose faults last: Byzantine, or crashed or silent for good."""
        return self.byzantine | {rule.replica for rule in self.silent if rule.to_ms == FOREVER} | {
            rule.replica for rule in self.crash if rule.restart_ms is None}


# --- the file's own names -------------------------------------------------------------------------


def _same(**checks: Any) -> dict[str, Key]:
    """Keys that become attributes of the same name."""
    return {name: Key(name, check) for name, check in checks.items()}


MATCH_KEYS = {
    "type": Key("type", one_of(*TYPES)),
    "from": Key("sources", names),
    "to": Key("targets", names),
    **_same(view=counter, sequence=counter, from_ms=ms, to_ms=ms, count=integer(1, 10**6)),
}
GROUPS = listed(listed(text(), 200), 200)
REPLICA = _same(replica=text(), at_ms=ms)

SCENARIO_KEYS = _same(
    replicas=integer(4, MAX_REPLICAS),
    seed=integer(0, 2**63 - 1),
    request_timeout_ms=integer(1, MAX_MS),
    view_timeout_ms=integer(1, MAX_MS),
    checkpoint_interval=integer(1, 10**6),
    window=integer(1, 10**6),
    requests=listed(section(RequestRule, _same(
        client=text(40), timestamp=integer(1, 2**53), at_ms=ms, operation=text(1000), to=names))),
    network=section(NetworkRule, _same(
        delay_ms=interval(ms), loss=number(0, 1), duplicate=number(0, 1))),
    twins=listed(text()),
    silent=listed(section(SilentRule, _same(replica=text(), from_ms=ms, to_ms=ms))),
    equivocate=listed(section(EquivocateRule, _same(
        replica=text(), view=counter, sequence=counter, groups=GROUPS))),
    partitions=listed(section(PartitionRule, _same(from_ms=ms, to_ms=ms, groups=GROUPS))),
    drop=listed(section(Match, MATCH_KEYS)),
    slow=listed(section(SlowRule, {**MATCH_KEYS, **_same(add_ms=ms)})),
    replay=listed(section(ReplayRule, {**MATCH_KEYS, **_same(at_ms=ms)})),
    mutate=listed(section(MutateRule, {**MATCH_KEYS, **_same(
        field=one_of(*MUTATIONS), by=integer(-2**31, 2**31), resign=flag)})),
    suspect=listed(section(SuspectRule, {**REPLICA, **_same(view=integer(1, 2**31))})),
    crash=listed(section(CrashRule, {**REPLICA, **_same(restart_ms=ms, amnesia=flag)})),
    heal_at_ms=ms,
    limit_ms=number(1, MAX_MS),
)


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in the file at ``path``; raise `ScenarioError` in one line otherwise."""
    try:
        return parse_scenario(read_bounded(path, MAX_FILE).decode())
    except OSError as error:
        raise ScenarioError(f"cannot read {path}: {error.strerror}") from error
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from error
    except UsageError as error:
        raise ScenarioError(str(error)) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path} is not UTF-8 text: {error.reason}") from error


def parse_scenario(data: str | Mapping[str, Any]) -> Scenario:
    """Return the scenario of a JSON text, or of the object that it decodes to.

    Raises `ScenarioError`, in one line naming the key, for unknown, missing and repeated keys,
    values of another type or out of range, and nodes that do not exist.
    """
    value = read_json(data) if isinstance(data, str) else dict(data)
    scenario: Scenario = section(Scenario, SCENARIO_KEYS)(value, "")
    if "window" not in value:
        scenario = replace(scenario, window=2 * scenario.checkpoint_interval)
    elif "checkpoint_interval" not in value:
        scenario = replace(scenario, checkpoint_interval=min(4, max(1, scenario.window // 2)))
    _check_bounds(scenario)
    _check_names(scenario)
    return scenario


def _check_bounds(scenario: Scenario) -> None:
    """Numbers that must fit each other."""
    if scenario.window < scenario.checkpoint_interval:
        raise ScenarioError(f"window: {scenario.window} is below checkpoint_interval = "
                            f"{scenario.checkpoint_interval}, so the log would fill for ever")
    for key in ("silent", "partitions", "drop", "slow", "replay", "mutate"):
        for i, rule in enumerate(getattr(scenario, key)):
            if rule.to_ms < rule.from_ms:
                raise ScenarioError(f"{key}[{i}].to_ms: {rule.to_ms} is before "
                                    f"from_ms = {rule.from_ms}")
    for i, crash in enumerate(scenario.crash):
        if crash.restart_ms is not None and crash.restart_ms < crash.at_ms:
            raise ScenarioError(f"crash[{i}].restart_ms: {crash.restart_ms} is before "
                                f"at_ms = {crash.at_ms}; both count from the start of the run")


def _check_names(scenario: Scenario) -> None:
    """Raise `ScenarioError` unless every name is a node's."""
    originals = set(map(str, range(scenario.replicas)))
    _known("twins", scenario.twins, originals, "replica")
    if len(set(scenario.twins)) != len(scenario.twins):
        raise ScenarioError("twins: a replica stands there twice; it can have one twin")
    replicas = set(scenario.replica_names)
    for i, request in enumerate(scenario.requests):
        if request.client in replicas | {CLIENTS}:
            raise ScenarioError(f"requests[{i}].client: {request.client!r} is not free "
                                "as a client's name")
        _known(f"requests[{i}].to", request.to or (), replicas, "replica")
    nodes = replicas | set(scenario.clients) | {CLIENTS}
    for key in ("silent", "equivocate", "suspect", "crash"):
        for i, rule in enumerate(getattr(scenario, key)):
            _known(f"{key}[{i}].replica", (rule.replica,), replicas, "replica")
    for key in ("partitions", "equivocate"):
        for i, rule in enumerate(getattr(scenario, key)):
            for j, group in enumerate(rule.groups or ()):
                _known(f"{key}[{i}].groups[{j}]", group, nodes, "node")
    for key in ("drop", "slow", "replay", "mutate"):
        for i, rule in enumerate(getattr(scenario, key)):
            _known(f"{key}[{i}].from", rule.sources or (), nodes, "node")
            _known(f"{key}[{i}].to", rule.targets or (), nodes, "node")


def _known(where: str, found: tuple[str, ...], known: set[str], what: str) -> None:
    for name in found:
        if name not in known:
            raise ScenarioError(f"{where}: {name!r} is no {what}; there are "
                                f"{', '.join(sorted(known))}")
