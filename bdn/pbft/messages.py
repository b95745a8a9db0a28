"""Every message of PBFT, on one page (Castro–Liskov 1999, section 4; DESIGN.md section 10).

=============  ====================================  ==============================================
type           paper's form                          sent by
=============  ====================================  ==============================================
REQUEST        ⟨REQUEST, o, t, c⟩σc                  a client to the primary, later to all
PRE-PREPARE    ⟨⟨PRE-PREPARE, v, n, d⟩σp, m⟩         the primary: "m is number n of view v"
PREPARE        ⟨PREPARE, v, n, d, i⟩σi               a backup: "I accept that"
COMMIT         ⟨COMMIT, v, n, d, i⟩σi                a replica: "a quorum accepts that"
REPLY          ⟨REPLY, v, t, c, i, r⟩σi              a replica to a client, after execution
CHECKPOINT     ⟨CHECKPOINT, n, d, i⟩σi               a replica, every K executions
VIEW-CHANGE    ⟨VIEW-CHANGE, v, n, C, P, i⟩σi        a replica that suspects the primary
NEW-VIEW       ⟨NEW-VIEW, v, V, O⟩σp                 the primary of the view that begins
STATUS         (Castro's thesis, section 5.2)        a replica, from time to time: "this I have"
FETCH          (Castro's thesis, sections 5.3, 6.2)  a replica that lacks a payload or the state
STATE          (as above)                            the answer to a FETCH
=============  ====================================  ==============================================

Letters: v view, n sequence number, d digest, i replica, m payload, h stable checkpoint.
Encodings and signed statements are in `bdn.pbft.wire`; no message here is trusted before
`bdn.pbft.certificates` has verified it. Numbers are in [0, 2^63), digests have 32 bytes.
"""

import typing
from typing import TypeVar, dataclass_transform

from bdn.encoding import digest as digest_of
from bdn.record import maker, record

T = TypeVar("T")

NUMBER_LIMIT = 1 << 63
"""Views, sequence numbers, timestamps and indices stay below this, so eight bytes hold each."""

DIGEST_BYTES = 32
MAX_NAME = 128
"""Longest client name, in characters."""

NULL_PAYLOAD = b""
"""The null request, which fills a gap after a view change and executes as nothing."""

NULL_DIGEST = digest_of("bdn/pbft/null")
"""What stands for the null request in votes: 32 bytes that no payload's digest equals."""

FETCH_KINDS = ("payload", "decided", "checkpoint")
"""What a FETCH may ask for: the body of a digest, a committed entry with its seal, a checkpoint."""


def _refuse(message: object, names: tuple[str, ...]) -> None:
    """Say which of the fields ``names`` is out of its range."""
    for name in names:
        value = getattr(message, name)
        if name == "digest":
            if len(value) != DIGEST_BYTES:
                raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(value)}")
        elif not 0 <= value < NUMBER_LIMIT:
            raise ValueError(f"{name} is outside [0, 2^63)")


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """A `record` that refuses numbers outside [0, 2^63) and digests that have not 32 bytes.

    The numbers' union of bits lies in the range exactly if each of them does, so one comparison
    serves; it stands in ``__init__`` itself, for a vote is made at nearly every step.
    """
    kinds = typing.get_type_hints(cls)
    names = tuple(name for name in kinds if kinds[name] is int or name == "digest")
    wrong = [f"({' | '.join(name for name in names if name != 'digest')}) >> 63"]
    if "digest" in names:
        wrong.append(f"len(digest) != {DIGEST_BYTES}")
    return record(cls, [f"if {' or '.join(wrong)}: refuse(self, {names})"], {"refuse": _refuse})


@message
class Request:
    """A client asks for ``operation``; ``timestamp`` grows with each of the client's requests."""

    client: str
    public_key: bytes
    timestamp: int
    operation: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.client) > MAX_NAME:
            raise ValueError(f"a client's name has at most {MAX_NAME} characters")


@message
class PrePrepare:
    """The primary of ``view`` puts ``digest`` at ``sequence``.

    The signature covers view, sequence and digest; ``payload`` rides along and is left out
    (``None``) inside certificates and NEW-VIEW messages.
    """

    view: int
    sequence: int
    digest: bytes
    payload: bytes | None
    signature: bytes

    def stripped(self) -> "PrePrepare":
        """The same message without its payload."""
        if self.payload is None:
            return self
        return _pre_prepare(self.view, self.sequence, self.digest, None, self.signature)


_pre_prepare = maker(PrePrepare)


@message
class Prepare:
    """Backup ``replica`` accepts the PRE-PREPARE of (view, sequence, digest)."""

    view: int
    sequence: int
    digest: bytes
    replica: int
    signature: bytes


@message
class Commit:
    """``replica`` saw (view, sequence, digest) prepared; its signature is part of a seal."""

    view: int
    sequence: int
    digest: bytes
    replica: int
    signature: bytes


@message
class Reply:
    """``replica`` executed the client's request of ``timestamp``, with this ``result``."""

    view: int
    client: str
    timestamp: int
    result: bytes
    replica: int
    signature: bytes


@message
class Checkpoint:
    """``replica``'s state after executing ``sequence`` has ``digest`` (replies included)."""

    sequence: int
    digest: bytes
    replica: int
    signature: bytes


@record
class Prepared:
    """One entry of P: a PRE-PREPARE and q − 1 PREPAREs that match it, ascending by replica."""

    pre_prepare: PrePrepare
    prepares: tuple[Prepare, ...]


@message
class ViewChange:
    """``replica`` gives up every view below ``view`` and tells what it had prepared.

    Attributes:
        view: the view that it wants to enter.
        stable: h, its last stable checkpoint (0 at the beginning).
        proof: C, a quorum of CHECKPOINTs for h (empty for 0).
        prepared: P, its certificate of highest view for each sequence above h, ascending.
    """

    view: int
    stable: int
    proof: tuple[Checkpoint, ...]
    prepared: tuple[Prepared, ...]
    replica: int
    signature: bytes


@message
class NewView:
    """The primary of ``view`` begins it: V justifies O, and everyone recomputes O from V."""

    view: int
    view_changes: tuple[ViewChange, ...]
    pre_prepares: tuple[PrePrepare, ...]
    signature: bytes


@message
class Status:
    """How far ``replica`` is; whoever has more sends it what it lacks.

    Attributes:
        view: its view.
        active: False while it waits for the view's NEW-VIEW.
        stable: its last stable checkpoint.
        executed: the last sequence that it executed.
    """

    view: int
    active: bool
    stable: int
    executed: int
    replica: int
    signature: bytes


@message
class Fetch:
    """``replica`` lacks something.

    Attributes:
        kind: "payload": the body of ``digest`` at ``sequence``; "decided": the committed entry
            at ``sequence``; "checkpoint": the last stable checkpoint, at least ``sequence``.
        digest: the payload's, else 32 zero bytes.
    """

    kind: str
    sequence: int
    digest: bytes
    replica: int
    signature: bytes

    def __post_init__(self) -> None:
        if self.kind not in FETCH_KINDS:
            raise ValueError(f"nobody can fetch a {self.kind!r}")


@message
class State:
    """The answer to a `Fetch`; what proves it stands inside.

    Attributes:
        data: the payload, or the encoded `Snapshot` of a checkpoint.
        view: for "decided": the view of the seal.
        seal: for "decided": q COMMIT signatures as (replica, signature).
        proof: for "checkpoint": q CHECKPOINTs for (sequence, digest).
    """

    kind: str
    sequence: int
    digest: bytes
    data: bytes
    view: int
    seal: tuple[tuple[int, bytes], ...]
    proof: tuple[Checkpoint, ...]
    replica: int
    signature: bytes

    def __post_init__(self) -> None:
        if self.kind not in FETCH_KINDS:
            raise ValueError(f"no state is a {self.kind!r}")


@record
class Snapshot:
    """What a checkpoint's digest covers: the application's state and the last replies.

    Attributes:
        application: `Application.snapshot()`.
        state: `Application.state_digest()`, 32 bytes.
        replies: (client, timestamp, result) of each client's last executed request, ascending.
    """

    application: bytes
    state: bytes
    replies: tuple[tuple[str, int, bytes], ...]


Message = (
    Request | PrePrepare | Prepare | Commit | Reply | Checkpoint | ViewChange | NewView | Status
    | Fetch | State
)
"""The closed union of what travels."""

MESSAGES: tuple[type[Message], ...] = (
    Request, PrePrepare, Prepare, Commit, Reply, Checkpoint, ViewChange, NewView, Status, Fetch,
    State,
)

TYPE_NAMES: dict[type[Message], str] = {
    Request: "REQUEST", PrePrepare: "PRE-PREPARE", Prepare: "PREPARE", Commit: "COMMIT",
    Reply: "REPLY", Checkpoint: "CHECKPOINT", ViewChange: "VIEW-CHANGE", NewView: "NEW-VIEW",
    Status: "STATUS", Fetch: "FETCH", State: "STATE",
}
"""The paper's names, which scenario files and charts use."""


def type_name(message: Message) -> str:
    """The paper's name of a message's type, as "PRE-PREPARE"."""
    return TYPE_NAMES[type(message)]
