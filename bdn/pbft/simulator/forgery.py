"""What Byzantine senders do to their own messages: equivocation and mutation (section 15).

Equivocators collude. One who is primary of a matching (view, sequence) sends every group a payload
of its own, all of them valid: the same requests under another nonce. Each equivocator then votes,
towards every replica, for the payload which that replica was shown. With at most f of them nothing
may come of it; with f + 1 the checkers must see agreement break.
"""

from dataclasses import dataclass, replace

from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import Commit, Message, Prepare, PrePrepare
from bdn.pbft.signing import Signing, signed, signer_of
from bdn.pbft.simulator.faults import Faults, Sighting
from bdn.pbft.simulator.mutations import MUTATE, How
from bdn.pbft.simulator.nodes import WatchedLog
from bdn.pbft.simulator.scenario import EquivocateRule, Scenario


@dataclass(frozen=True, slots=True)
class Forged:
    """One message as it leaves a Byzantine sender, and in which way it lies ("" for honest)."""

    source: str
    message: Message
    how: str = ""


class Forger:
    """Applies the ``equivocate`` and ``mutate`` rules of one run."""

    def __init__(self, scenario: Scenario, faults: Faults, cluster: Cluster,
                 signings: dict[str, Signing], application: WatchedLog) -> None:
        self._scenario = scenario
        self._faults = faults
        self._cluster = cluster
        self._signings = signings
        self._application = application
        self._shown: dict[tuple[int, int, str], bytes] = {}
        """(view, sequence, target) → the digest that the target was shown."""

    @property
    def idle(self) -> bool:
        """Whether no rule asks for anything."""
        return not (self._scenario.equivocate or self._scenario.mutate)

    def forge(self, now: int, source: str, target: str, message: Message,
              seen: Sighting) -> list[Forged]:
        """What really leaves ``source`` for ``target`` instead of ``message``, in order."""
        told = self._equivocated(source, target, message)
        first = told[0]
        changed = self._mutated(now, source, target, first.message, seen)
        if changed is not None:
            told[0] = Forged(source, changed[0], changed[1])
        return told

    # --- equivocation

    def _equivocated(self, source: str, target: str, message: Message) -> list[Forged]:
        if not isinstance(message, (PrePrepare, Prepare, Commit)):
            return [Forged(source, message)]
        rule = self._rule(source, message.view, message.sequence)
        if rule is None:
            return [Forged(source, message)]
        where = (message.view, message.sequence, target)
        if isinstance(message, PrePrepare):
            told = self._story(rule, target, message)
            self._shown[where] = told.digest
            how = "" if told == message else "equivocates"
            return [Forged(source, told, how), *self._votes(target, told)]
        shown = self._shown.get(where, message.digest)
        if shown == message.digest:
            return [Forged(source, message)]
        return [Forged(source, self._vote(source, replace(message, digest=shown)), "equivocates")]

    def _rule(self, source: str, view: int, sequence: int) -> EquivocateRule | None:
        for rule in self._scenario.equivocate:
            if (rule.replica == source and rule.view in (None, view)
                    and rule.sequence in (None, sequence)):
                return rule
        return None

    def _story(self, rule: EquivocateRule, target: str, message: PrePrepare) -> PrePrepare:
        """The PRE-PREPARE that ``target``'s group hears; the first group hears the honest one."""
        groups = rule.groups
        if groups is None:
            groups = tuple((name,) for name in self._scenario.replica_names)
        number = next((i for i, group in enumerate(groups) if target in group), 0)
        if number == 0 or not message.payload:
            return message
        payload = self._application.variant(message.payload, number)
        other = replace(message, payload=payload, digest=self._application.digest(payload))
        return signed(other, self._cluster.instance, self._signings[rule.replica])

    def _votes(self, target: str, told: PrePrepare) -> list[Forged]:
        """The other equivocators' PREPAREs, and all of their COMMITs, for what was ``told``."""
        votes = []
        for name in dict.fromkeys(rule.replica for rule in self._scenario.equivocate):
            if self._rule(name, told.view, told.sequence) is None or name == target:
                continue
            index = int(name.rstrip("'"))
            body = (told.view, told.sequence, told.digest, index, b"")
            if index != self._cluster.primary(told.view):
                votes.append(Forged(name, self._vote(name, Prepare(*body)), "equivocates"))
            votes.append(Forged(name, self._vote(name, Commit(*body)), "equivocates"))
        return votes

    def _vote(self, name: str, vote: Prepare | Commit) -> Message:
        return signed(vote, self._cluster.instance, self._signings[name])

    # --- mutation

    def _mutated(self, now: int, source: str, target: str, message: Message,
                 seen: Sighting) -> tuple[Message, str] | None:
        """The message after every ``mutate`` rule that strikes it, or None."""
        words = []
        for i, rule in enumerate(self._scenario.mutate):
            if not self._faults.ready("mutate", i, rule, now, source, target, seen):
                continue
            how = How(rule.by, self._own(source, rule.resign), self._cluster.window)
            changed = MUTATE[rule.field](message, how)
            if changed is None:
                continue
            self._faults.strike("mutate", i, source, target)
            message = changed
            if rule.resign:
                message = signed(changed, self._cluster.instance, self._signings[source])
            words.append(f"{rule.field}{'' if rule.resign else ' unsigned'}")
        return (message, "forged " + ", ".join(words)) if words else None

    def _own(self, source: str, resign: bool) -> "_OwnSigner":
        index = int(source.rstrip("'")) if source in self._scenario.replica_names else None
        return _OwnSigner(self._cluster, self._signings[source], index if resign else None)


@dataclass(frozen=True, slots=True)
class _OwnSigner:
    """Signs the parts of a message that are the sender's own to sign, and leaves the rest."""

    cluster: Cluster
    signing: Signing
    index: int | None

    def __call__(self, part: Message) -> Message:
        if (self.index is None
                or signer_of(part, self.cluster) != self.cluster.public_keys[self.index]):
            return part
        return signed(part, self.cluster.instance, self.signing)
