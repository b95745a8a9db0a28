"""The fields of a message that a scenario's ``mutate`` rule may change (section 15).

Every function takes a message and `How` to change it, and gives the changed message, or ``None``
where there is nothing of the kind to change (an entry that is not there, a field that the type
does not have). For fields that hold entries, ``by`` says which one: 1 is the first, -1 the last.

What a Byzantine sender can sign, it signs: its own votes inside certificates, never another's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

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

Signer = Callable[[Any], Any]
"""Gives a message the sender's own signature, where the sender is the one to sign it."""


@dataclass(frozen=True, slots=True)
class How:
    """How a field is changed.

    Attributes:
        by: how much, or which entry.
        sign: signs what is the sender's own.
        window: L, for what is to lie outside of it.
    """

    by: int
    sign: Signer
    window: int


Mutation = Callable[[Message, How], Message | None]
Entry = TypeVar("Entry")


# --- plain fields -------------------------------------------------------------------------------


def _digest(message: Message, how: How) -> Message | None:
    """Another digest; of a STATE other data, of a REPLY another result."""
    if isinstance(message, State):
        return replace(message, data=_flipped(message.data or b"\x00", how.by))
    if isinstance(message, Reply):
        return replace(message, result=_flipped(message.result or b"\x00", how.by))
    if not isinstance(message, (PrePrepare, Prepare, Commit, Checkpoint, Fetch)):
        return None
    return replace(message, digest=_flipped(message.digest, how.by))


def _view(message: Message, how: How) -> Message | None:
    return _shifted(message, "view", how.by)


def _sequence(message: Message, how: How) -> Message | None:
    """Another sequence number; of a VIEW-CHANGE its checkpoint, of a STATUS its last execution."""
    if isinstance(message, ViewChange):
        return _shifted(message, "stable", how.by)
    if isinstance(message, Status):
        return _shifted(message, "executed", how.by)
    return _shifted(message, "sequence", how.by)


# --- NEW-VIEW -----------------------------------------------------------------------------------


def _o_omit(message: Message, how: How) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.pre_prepares, how.by)) is None:
        return None
    return replace(message, pre_prepares=_without(message.pre_prepares, i))


def _o_null(message: Message, how: How) -> Message | None:
    """A prepared request's place is given to the null request."""
    return _o_changed(message, how, lambda _: NULL_DIGEST)


def _o_digest(message: Message, how: How) -> Message | None:
    return _o_changed(message, how, lambda entry: _flipped(entry.digest, how.by))


def _o_changed(message: Message, how: How,
               digest: Callable[[PrePrepare], bytes]) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.pre_prepares, how.by)) is None:
        return None
    entry = message.pre_prepares[i]
    changed = how.sign(replace(entry, digest=digest(entry), payload=None))
    return replace(message, pre_prepares=_exchanged(message.pre_prepares, i, changed))


def _o_extra(message: Message, how: How) -> Message | None:
    """One entry more than V justifies, ``by`` above the last."""
    if not isinstance(message, NewView):
        return None
    below = [entry.sequence for entry in message.pre_prepares]
    below += [change.stable for change in message.view_changes]
    extra = PrePrepare(message.view, max(below, default=0) + max(1, how.by), b"\x42" * DIGEST_BYTES,
                       None, b"")
    return replace(message, pre_prepares=(*message.pre_prepares, how.sign(extra)))


def _v_omit(message: Message, how: How) -> Message | None:
    if not isinstance(message, NewView) or (i := _pick(message.view_changes, how.by)) is None:
        return None
    return replace(message, view_changes=_without(message.view_changes, i))


def _v_duplicate(message: Message, how: How) -> Message | None:
    """One VIEW-CHANGE stands twice, in another's place."""
    if not isinstance(message, NewView) or (i := _pick(message.view_changes, how.by)) is None:
        return None
    other = message.view_changes[(i + 1) % len(message.view_changes)]
    return replace(message, view_changes=_exchanged(message.view_changes, i, other))


# --- VIEW-CHANGE --------------------------------------------------------------------------------


def _p_forge(message: Message, how: How) -> Message | None:
    """A certificate for something that never prepared; only the sender's votes are genuine."""
    if not isinstance(message, ViewChange):
        return None
    if (i := _pick(message.prepared, how.by)) is not None:
        forged = _certificate(message.prepared[i], how.sign,
                              digest=_flipped(message.prepared[i].pre_prepare.digest, 1))
        return replace(message, prepared=_exchanged(message.prepared, i, forged))
    pre_prepare = PrePrepare(0, message.stable + 1, b"\x42" * DIGEST_BYTES, None, b"")
    return replace(message, prepared=(Prepared(how.sign(pre_prepare), ()),))


def _p_view(message: Message, how: How) -> Message | None:
    """The first certificate is dated ``by`` views later (or, negative, earlier)."""
    if not isinstance(message, ViewChange) or not message.prepared:
        return None
    view = message.prepared[0].pre_prepare.view + how.by
    if view < 0:
        return None
    moved = _certificate(message.prepared[0], how.sign, view=view)
    return replace(message, prepared=_exchanged(message.prepared, 0, moved))


def _p_outside(message: Message, how: How) -> Message | None:
    """The last certificate is moved ``by`` above the window or, negative, down to below it."""
    if not isinstance(message, ViewChange) or not message.prepared:
        return None
    sequence = message.stable + (how.window + how.by if how.by > 0 else how.by + 1)
    if sequence < 0:
        return None
    last = len(message.prepared) - 1
    moved = _certificate(message.prepared[last], how.sign, sequence=sequence)
    return replace(message, prepared=_exchanged(message.prepared, last, moved))


def _p_omit(message: Message, how: How) -> Message | None:
    """Silence about something that did prepare, which no one can prove."""
    if not isinstance(message, ViewChange) or (i := _pick(message.prepared, how.by)) is None:
        return None
    return replace(message, prepared=_without(message.prepared, i))


def _c_short(message: Message, how: How) -> Message | None:
    """The checkpoint's proof lacks one signer; at the beginning, a checkpoint without proof."""
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


# --- helpers ------------------------------------------------------------------------------------


def _certificate(entry: Prepared, sign: Signer, **changes: Any) -> Prepared:
    """``entry`` with its messages changed alike, the sender's own ones signed anew."""
    return Prepared(sign(replace(entry.pre_prepare, **changes)),
                    tuple(sign(replace(vote, **changes)) for vote in entry.prepares))


def _shifted(message: Message, name: str, by: int) -> Message | None:
    """``message`` with the number ``name`` moved ``by``, unless it has none or falls below 0."""
    before = getattr(message, name, None)
    if before is None or before + by < 0 or by == 0:
        return None
    return replace(message, **{name: before + by})


def _flipped(data: bytes, by: int) -> bytes:
    """``data`` with its last byte moved ``by``, and certainly changed."""
    return data[:-1] + bytes([(data[-1] + (by % 256 or 1)) % 256])


def _pick(entries: Sequence[Any], by: int) -> int | None:
    """The place of the ``by``-th entry (1 first, -1 last), or None where there is none."""
    i = by - 1 if by > 0 else len(entries) + by
    return i if by != 0 and 0 <= i < len(entries) else None


def _without(entries: tuple[Entry, ...], i: int) -> tuple[Entry, ...]:
    return entries[:i] + entries[i + 1:]


def _exchanged(entries: tuple[Entry, ...], i: int, entry: Entry) -> tuple[Entry, ...]:
    return (*entries[:i], entry, *entries[i + 1:])
