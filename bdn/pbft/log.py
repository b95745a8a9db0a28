"""The message log: one slot for each sequence number in the window (Castro–Liskov 4.2, 4.3).

A slot keeps two kinds of things. What belongs to the *current view* (the accepted PRE-PREPARE and
the votes for it) is forgotten when the view is left, for votes count only in their view (Rule 4a).
What *survives* views is the certificate of highest view (the slot's entry of P), the bodies that
this replica voted for, and the seal.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace

from bdn.pbft.messages import NULL_DIGEST, NULL_PAYLOAD, Commit, Prepare, Prepared, PrePrepare
from bdn.seal import Seal

MAX_BODIES = 8
"""Bodies kept in a slot: a faulty primary can add at most one for each of its views."""


@dataclass(slots=True)
class Slot:
    """All that is known about one sequence number.

    Attributes:
        pre_prepare: the accepted proposal of the current view, without its payload.
        carried: the proposal comes from a NEW-VIEW's O.
        voted: this replica's PREPARE (the primary's: its PRE-PREPARE) is out.
        prepares: verified PREPAREs of the current view by backup.
        commits: verified COMMITs of the current view by replica.
        committing: prepared in the current view, and this replica's COMMIT is out.
        certificate: the prepared certificate of highest view; survives views.
        bodies: payloads by digest; survives views.
        seal: q COMMITs of one view; survives views.
        gists: what all PREPAREs for the last proposal have in common, and what all COMMITs.
    """

    sequence: int
    pre_prepare: PrePrepare | None = None
    carried: bool = False
    voted: bool = False
    prepares: dict[int, Prepare] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)
    committing: bool = False
    certificate: Prepared | None = None
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    seal: Seal | None = None
    gists: tuple[bytes, bytes] = (b"", b"")

    # --- accessors

    def body(self, digest: bytes) -> bytes | None:
        """The payload of ``digest``, if known."""
        return NULL_PAYLOAD if digest == NULL_DIGEST else self.bodies.get(digest)

    def is_prepared(self, q: int) -> bool:
        """Rule 2a: payload, PRE-PREPARE and q − 1 matching PREPAREs of distinct backups."""
        return self.voted and len(self.prepares) >= q - 1

    def is_committed(self, q: int) -> bool:
        """Rule 2b: prepared, and q matching COMMITs of distinct replicas."""
        return self.committing and len(self.commits) >= q

    def key(self) -> Hashable:
        """Everything, hashable."""
        return (self.sequence, self.pre_prepare, self.carried, self.voted, self.committing,
                frozenset(self.prepares.values()), frozenset(self.commits.values()),
                self.certificate, frozenset(self.bodies.items()), self.seal)

    # --- transitions

    def propose(self, proposal: PrePrepare, carried: bool) -> None:
        """Take the view's proposal; earlier votes for another digest count for nothing."""
        self.pre_prepare = proposal.stripped()
        self.carried = carried
        if self.prepares or self.commits:
            self.prepares = {
                i: v for i, v in self.prepares.items() if v.digest == proposal.digest}
            self.commits = {
                i: v for i, v in self.commits.items() if v.digest == proposal.digest}
        if proposal.payload is not None:
            self.keep(proposal.digest, proposal.payload)

    def keep(self, digest: bytes, payload: bytes) -> None:
        """Remember a body; the oldest that nothing here names makes room."""
        self.bodies[digest] = payload
        if len(self.bodies) > MAX_BODIES:
            named = {digest}
            if self.pre_prepare is not None:
                named.add(self.pre_prepare.digest)
            if self.certificate is not None:
                named.add(self.certificate.pre_prepare.digest)
            if self.seal is not None:
                named.add(self.seal.digest)
            del self.bodies[next(d for d in self.bodies if d not in named)]

    def withdraw(self) -> None:
        """Forget a proposal that was never voted for."""
        self.pre_prepare, self.carried = None, False

    def leave_view(self) -> None:
        """Rule 4a: nothing of a view counts after it; P, bodies and seal survive (Rule 7f)."""
        self.withdraw()
        self.voted = self.committing = False
        self.prepares, self.commits = {}, {}

    def copy(self) -> "Slot":
        """An independent copy."""
        return replace(self, prepares=dict(self.prepares), commits=dict(self.commits),
                       bodies=dict(self.bodies))


class Log:
    """The slots, by sequence; nothing at or below the stable checkpoint (Rule 5c)."""

    def __init__(self) -> None:
        self._slots: dict[int, Slot] = {}
        self.get: Callable[[int], Slot | None] = self._slots.get  # the slot, if anything is known

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        """Ascending by sequence."""
        return iter([self._slots[sequence] for sequence in sorted(self._slots)])

    def at(self, sequence: int) -> Slot:
        """The slot, made where there is none."""
        slot = self._slots.get(sequence)
        if slot is None:
            slot = self._slots[sequence] = Slot(sequence)
        return slot

    def cut(self, stable: int) -> None:
        """Drop everything up to and including ``stable``."""
        for sequence in [s for s in self._slots if s <= stable]:
            del self._slots[sequence]

    def leave_view(self) -> None:
        """Every slot leaves the view; those with nothing left are dropped."""
        for slot in list(self._slots.values()):
            slot.leave_view()
            if slot.certificate is None and slot.seal is None and not slot.bodies:
                del self._slots[slot.sequence]

    def copy(self) -> "Log":
        """An independent copy."""
        twin = Log()
        twin._slots.update((sequence, slot.copy()) for sequence, slot in self._slots.items())
        return twin
