"""What Byzantine replicas do to their own messages: equivocation and mutation.

Equivocators collude. One that is primary of a matching (view, sequence) sends every group a
payload of its own, all of them valid: the same requests under another nonce. Each equivocator then
votes, towards every replica, for the payload which that replica was shown. With at most f of them
nothing may come of it; with f + 1 the checkers must see agreement break.

A mutation takes a message and a `FieldChange` and returns the changed message, or ``None`` where
there is nothing of the kind to change (an entry that is not there, a field that the type does not
have). For fields that hold entries, ``by`` says which one: 1 is the first, -1 the last. A
Byzantine sender signs what it can sign: its own votes inside certificates, never another's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    DIGEST_BYTES,
    NULL_DIGEST,
    Checkpoint,
    Commit,
    Fetch,
    Message,
    NewView,
    Prepare,
    Prepared,
    PrePrepare,
    Reply,
    State,
    Status,
    ViewChange,
)
from bdn.pbft.signing import Signing, signed, signer_of
from bdn.pbft.simulator.network import NetworkFaults, Outgoing
from bdn.pbft.simulator.nodes import WatchedLog
from bdn.pbft.simulator.record import MessageSummary
from bdn.pbft.simulator.scenario import EquivocateRule, Scenario


class ByzantineSenders:
    """Applies the ``equivocate`` and ``mutate`` rules of one run; nobody's lies end at healing."""

    def __init__(self, scenario: Scenario, faults: NetworkFaults, cluster: Cluster,
                 signings: dict[str, Signing], application: WatchedLog) -> None:
        self._scenario = scenario
        self._faults = faults
        self._cluster = cluster
        self._signings = signings
        self._application = application
        self._shown: dict[tuple[int, int, str], bytes] = {}
        """(view, sequence, target) → the digest that the target was shown."""

    def tell(self, now: int, source: str, target: str, message: Message,
              seen: MessageSummary) -> list[Outgoing]:
        """Return what leaves ``source`` for ``target`` instead of ``message``, in order."""
        told = self._equivocated(source, target, message)
        first = told[0]
        changed = self._mutated(now, source, target, first.message, seen)
        if changed is not None:
            told[0] = Outgoing(source, changed[0], changed[1])
        return told

    # --- equivocation

    def _equivocated(self, source: str, target: str, message: Message) -> list[Outgoing]:
        if not isinstance(message, (PrePrepare, Prepare, Commit)):
            return [Outgoing(source, message)]
        rule = self._rule(source, message.view, message.sequence)
        if rule is None:
            return [Outgoing(source, message)]
        where = (message.view, message.sequence, target)
        if isinstance(message, PrePrepare):
            told = self._story(rule, target, message)
            self._shown[where] = told.digest
            how = "" if told == message else "equivocates"
            return [Outgoing(source, told, how), *self._votes(target, told)]
        shown = self._shown.get(where, message.digest)
        if shown == message.digest:
            return [Outgoing(source, message)]
        return [Outgoing(source, self._vote(source, replace(message, digest=shown)), "equivocates")]

    def _rule(self, source: str, view: int, sequence: int) -> EquivocateRule | None:
        for rule in self._scenario.equivocate:
            if (rule.replica == source and rule.view in (None, view)
                    and rule.sequence in (None, sequence)):
                return rule
        return None

    def _story(self, rule: EquivocateRule, target: str, message: PrePrepare) -> PrePrepare:
        """Return the PRE-PREPARE that ``target``'s group hears; the first group's is honest."""
        groups = rule.groups
        if groups is None:
            groups = tuple((name,) for name in self._scenario.replica_names)
        number = next((i for i, group in enumerate(groups) if target in group), 0)
        if number == 0 or not message.payload:
            return message
        payload = self._application.variant(message.payload, number)
        other = replace(message, payload=payload, digest=self._application.digest(payload))
        return signed(other, self._cluster.instance, self._signings[rule.replica])

    def _votes(self, target: str, told: PrePrepare) -> list[Outgoing]:
        """Return the other equivocators' PREPAREs, and all their COMMITs, for what was ``told``."""
        votes = []
        for name in dict.fromkeys(rule.replica for rule in self._scenario.equivocate):
            if self._rule(name, told.view, told.sequence) is None or name == target:
                continue
            index = int(name.rstrip("'"))
            body = (told.view, told.sequence, told.digest, index, b"")
            if index != self._cluster.primary(told.view):
                votes.append(Outgoing(name, self._vote(name, Prepare(*body)), "equivocates"))
            votes.append(Outgoing(name, self._vote(name, Commit(*body)), "equivocates"))
        return votes

    def _vote(self, name: str, vote: Prepare | Commit) -> Message:
        return signed(vote, self._cluster.instance, self._signings[name])

    # --- mutation

    def _mutated(self, now: int, source: str, target: str, message: Message,
                 seen: MessageSummary) -> tuple[Message, str] | None:
        """Return the message after every ``mutate`` rule that strikes it, or None."""
        words = []
        for i, rule in enumerate(self._scenario.mutate):
            if not self._faults.ready("mutate", i, rule, now, source, target, seen):
                continue
            how = FieldChange(rule.by, self._own(source, rule.resign), self._cluster.window)
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


# --- the fields of mutate -------------------------------------------------------------------------


Signer = Callable[[Any], Any]
"""Gives a message the sender's own signature, where the sender is the one to sign it."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """How a field is changed.

    Attributes:
        by: how much, or which entry.
        sign: signs what is the sender's own.
        window: L, for what is to lie outside of it.
    """

    by: int
    sign: Signer
    window: int


Mutation = Callable[[Message, FieldChange], Message | None]
Entry = TypeVar("Entry")


# --- plain fields ---------------------------------------------------------------------------------


def _digest(message: Message, how: FieldChange) -> Message | None:
    """Change the digest; of a STATE the data, of a REPLY the result."""
    if isinstance(message, State):
        return replace(message, data=_flipped(message.data or b"\x00", how.by))
    if isinstance(message, Reply):
        return replace(message, result=_flipped(message.result or b"\x00", how.by))
    if not isinstance(message, (PrePrepare, Prepare, Commit, Checkpoint, Fetch)):
        return None
    return replace(message, digest=_flipped(message.digest, how.by))


def _view(message: Message, how: FieldChange) -> Message | None:
    return _shifted(message, "view", how.by)


def _sequence(message: Message, how: FieldChange) -> Message | None:
    """Move the sequence number; of a VIEW-CHANGE its checkpoint, of a STATUS its last execution."""
    if isinstance(message, ViewChange):
        return _shifted(message, "stable", how.by)
    if isinstance(message, Status):
        return _shifted(message, "executed", how.by)
    return _shifted(message, "sequence", how.by)


# --- NEW-VIEW -------------------------------------------------------------------------------------


def _o_omit(message: Message, how: FieldChange) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.pre_prepares, how.by)) is None:
        return None
    return replace(message, pre_prepares=_without(message.pre_prepares, i))


def _o_null(message: Message, how: FieldChange) -> Message | None:
    """Give a prepared request's place to the null request."""
    return _o_changed(message, how, lambda _: NULL_DIGEST)


def _o_digest(message: Message, how: FieldChange) -> Message | None:
    return _o_changed(message, how, lambda entry: _flipped(entry.digest, how.by))


def _o_changed(message: Message, how: FieldChange,
               digest: Callable[[PrePrepare], bytes]) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.pre_prepares, how.by)) is None:
        return None
    entry = message.pre_prepares[i]
    changed = how.sign(replace(entry, digest=digest(entry), payload=None))
    return replace(message, pre_prepares=_exchanged(message.pre_prepares, i, changed))


def _o_extra(message: Message, how: FieldChange) -> Message | None:
    """Add an entry that V does not justify, ``by`` above the last."""
    if not isinstance(message, NewView):
        return None
    below = [entry.sequence for entry in message.pre_prepares]
    below += [change.stable for change in message.view_changes]
    extra = PrePrepare(message.view, max(below, default=0) + max(1, how.by), b"\x42" * DIGEST_BYTES,
                       None, b"")
    return replace(message, pre_prepares=(*message.pre_prepares, how.sign(extra)))


def _v_omit(message: Message, how: FieldChange) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.view_changes, how.by)) is None:
        return None
    return replace(message, view_changes=_without(message.view_changes, i))


def _v_duplicate(message: Message, how: FieldChange) -> Message | None:
    """Put one VIEW-CHANGE in the place of another, so that it stands twice."""
    if not isinstance(message, NewView) or (i := _pick(message.view_changes, how.by)) is None:
        return None
    other = message.view_changes[(i + 1) % len(message.view_changes)]
    return replace(message, view_changes=_exchanged(message.view_changes, i, other))


# --- VIEW-CHANGE ----------------------------------------------------------------------------------


def _p_forge(message: Message, how: FieldChange) -> Message | None:
    """Certify what never prepared; only the sender's own votes are genuine."""
    if not isinstance(message, ViewChange):
        return None
    if (i := _pick(message.prepared, how.by)) is not None:
        forged = _certificate(message.prepared[i], how.sign,
                              digest=_flipped(message.prepared[i].pre_prepare.digest, 1))
        return replace(message, prepared=_exchanged(message.prepared, i, forged))
    pre_prepare = PrePrepare(0, message.stable + 1, b"\x42" * DIGEST_BYTES, None, b"")
    return replace(message, prepared=(Prepared(how.sign(pre_prepare), ()),))


def _p_view(message: Message, how: FieldChange) -> Message | None:
    """Date the first certificate ``by`` views later (or, negative, earlier)."""
    if not isinstance(message, ViewChange) or not message.prepared:
        return None
    view = message.prepared[0].pre_prepare.view + how.by
    if view < 0:
        return None
    moved = _certificate(message.prepared[0], how.sign, view=view)
    return replace(message, prepared=_exchanged(message.prepared, 0, moved))


def _p_outside(message: Message, how: FieldChange) -> Message | None:
    """Move the last certificate ``by`` above the window or, negative, down to below it."""
    if not isinstance(message, ViewChange) or not message.prepared:
        return None
    sequence = message.stable + (how.window + how.by if how.by > 0 else how.by + 1)
    if sequence < 0:
        return None
    last = len(message.prepared) - 1
    moved = _certificate(message.prepared[last], how.sign, sequence=sequence)
    return replace(message, prepared=_exchanged(message.prepared, last, moved))


def _p_omit(message: Message, how: FieldChange) -> Message | None:
    """Leave out something that did prepare, which no one can prove."""
    if not isinstance(message, ViewChange) or (i := _pick(message.prepared, how.by)) is None:
        return None
    return replace(message, prepared=_without(message.prepared, i))


def _c_short(message: Message, how: FieldChange) -> Message | None:
    """Leave out a signer of the checkpoint's proof; at the beginning, claim one without proof."""
    if not isinstance(message, ViewChange):
        return None
    if (i := _pick(message.proof, how.by)) is not None:
        return replace(message, proof=_without(message.proof, i))
    return _shifted(message, "stable", max(1, how.by))


MUTATE: dict[str, Mutation] = {
    "digest": _digest, "view": _view, "sequence": _sequence,
    "o-omit": _o_omit, "o-null": _o_null, "o-digest": _o_digest, "o-extra": _o_extra,
    "v-omit": _v_omit, "v-duplicate": _v_duplicate,
    "p-forge": _p_forge, "p-view": _p_view, "p-outside": _p_outside, "p-omit": _p_omit,
    "c-short": _c_short,
}


# --- helpers --------------------------------------------------------------------------------------


def _certificate(entry: Prepared, sign: Signer, **changes: Any) -> Prepared:
    """Return ``entry`` with its messages changed alike, the sender's own ones signed anew."""
    return Prepared(sign(replace(entry.pre_prepare, **changes)),
                    tuple(sign(replace(vote, **changes)) for vote in entry.prepares))


def _shifted(message: Message, name: str, by: int) -> Message | None:
    """Return ``message`` with number ``name`` moved ``by``; None if there is none or below 0."""
    before = getattr(message, name, None)
    if before is None or before + by < 0 or by == 0:
        return None
    return replace(message, **{name: before + by})


def _flipped(data: bytes, by: int) -> bytes:
    """Return ``data`` with its last byte moved ``by``, and certainly changed."""
    return data[:-1] + bytes([(data[-1] + (by % 256 or 1)) % 256])


def _pick(entries: Sequence[Any], by: int) -> int | None:
    """Return the place of the ``by``-th entry (1 first, -1 last), or None where there is none."""
    i = by - 1 if by > 0 else len(entries) + by
    return i if by != 0 and 0 <= i < len(entries) else None


def _without(entries: tuple[Entry, ...], i: int) -> tuple[Entry, ...]:
    return entries[:i] + entries[i + 1:]


def _exchanged(entries: tuple[Entry, ...], i: int, entry: Entry) -> tuple[Entry, ...]:
    return (*entries[:i], entry, *entries[i + 1:])
