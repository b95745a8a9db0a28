"""Every message of PBFT, on one page (Castro–Liskov 1999, section 4).

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
FETCH          (Castro's thesis, sections 5.3, 6.2)  a replica without a payload or a state
STATE          (as above)                            the answer to a FETCH
=============  ====================================  ==============================================

Letters: v view, n sequence number, d digest, i replica, m payload, h stable checkpoint.

`bdn.pbft.wire` encodes and decodes them, and the decoder checks the type and range of every field,
however deeply nested. `bdn.pbft.signing` says what each signature covers. No certificate in here
is trusted before `bdn.pbft.certificates` has verified it.

Nothing changes a message once it is made, so messages are compared and hashed by their contents
(``unsafe_hash``). They are not declared ``frozen``, which would more than double the time of making
one: a replica makes some 25 messages, events and records for each request. A test watches instead
that nothing assigns to their fields. The same holds for `bdn.pbft.events` and `bdn.pbft.journal`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from bdn.encoding import digest as digest_of
from bdn.errors import PeerError
from bdn.seal import MAX_REPLICAS

NUMBER_LIMIT = 1 << 63
"""Views, sequence numbers, timestamps and indices stay below this, so eight bytes hold each."""

DIGEST_BYTES = 32
MAX_NAME = 128
"""Longest client name, in bytes of UTF-8."""

# The decoder reads the ranges: the values of an integer, the length of bytes and of text (both in
# bytes), the number of entries of a tuple.
Number = Annotated[int, range(NUMBER_LIMIT)]
Digest = Annotated[bytes, range(DIGEST_BYTES, DIGEST_BYTES + 1)]
PublicKey = Annotated[bytes, range(32, 33)]
Signature = Annotated[bytes, range(65)]
ClientName = Annotated[str, range(MAX_NAME + 1)]
FetchKind = Literal["payload", "decided", "checkpoint"]
"""What a FETCH may ask for: the body of a digest, a committed entry with its seal, a checkpoint."""

NULL_PAYLOAD = b""
"""The null request, which fills a gap after a view change and executes as nothing."""

NULL_DIGEST = digest_of("bdn/pbft/null")
"""What stands for the null request in votes: 32 bytes that no payload's digest equals."""


class MessageError(PeerError):
    """A message that the protocol's rules refuse; the replica that meets it stays as it was."""


@dataclass(slots=True, unsafe_hash=True)
class Request:
    """A client asks for ``operation``; ``timestamp`` grows with each of the client's requests."""

    client: ClientName
    public_key: PublicKey
    timestamp: Number
    operation: bytes
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class PrePrepare:
    """The primary of ``view`` puts ``digest`` at ``sequence``.

    The signature covers view, sequence and digest; ``payload`` rides along and is left out
    (``None``) inside certificates and NEW-VIEW messages.
    """

    view: Number
    sequence: Number
    digest: Digest
    payload: bytes | None
    signature: Signature

    def stripped(self) -> "PrePrepare":
        """Return the same message without its payload."""
        return PrePrepare(self.view, self.sequence, self.digest, None, self.signature)


@dataclass(slots=True, unsafe_hash=True)
class Prepare:
    """Backup ``replica`` accepts the PRE-PREPARE of (view, sequence, digest)."""

    view: Number
    sequence: Number
    digest: Digest
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class Commit:
    """``replica`` saw (view, sequence, digest) prepared; its signature is part of a seal."""

    view: Number
    sequence: Number
    digest: Digest
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class Reply:
    """``replica`` executed the client's request of ``timestamp``, with this ``result``."""

    view: Number
    client: ClientName
    timestamp: Number
    result: bytes
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class Checkpoint:
    """``replica``'s state after executing ``sequence`` has ``digest`` (replies included)."""

    sequence: Number
    digest: Digest
    replica: Number
    signature: Signature


Proof = Annotated[tuple[Checkpoint, ...], range(MAX_REPLICAS + 1)]
"""CHECKPOINTs of a quorum."""


@dataclass(slots=True, unsafe_hash=True)
class Prepared:
    """One entry of P: a PRE-PREPARE and q − 1 PREPAREs that match it, ascending by replica."""

    pre_prepare: PrePrepare
    prepares: Annotated[tuple[Prepare, ...], range(MAX_REPLICAS + 1)]


@dataclass(slots=True, unsafe_hash=True)
class ViewChange:
    """``replica`` gives up every view below ``view`` and tells what it had prepared.

    Attributes:
        view: the view that it wants to enter.
        stable: h, its last stable checkpoint (0 at the beginning).
        proof: C, a quorum of CHECKPOINTs for h (empty for 0).
        prepared: P, its certificate of highest view for each sequence above h, ascending.
    """

    view: Number
    stable: Number
    proof: Proof
    prepared: tuple[Prepared, ...]
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class NewView:
    """The primary of ``view`` begins it: V justifies O, and everyone recomputes O from V.

    Attributes:
        view_changes: V, a quorum of VIEW-CHANGEs to ``view``.
        pre_prepares: O, what must be proposed again.
    """

    view: Number
    view_changes: Annotated[tuple[ViewChange, ...], range(MAX_REPLICAS + 1)]
    pre_prepares: tuple[PrePrepare, ...]
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class Status:
    """How far ``replica`` is; whoever has more sends it what is missing there.

    Attributes:
        view: its view.
        active: False while it waits for the view's NEW-VIEW.
        stable: its last stable checkpoint.
        executed: the last sequence that it executed.
    """

    view: Number
    active: bool
    stable: Number
    executed: Number
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class Fetch:
    """``replica`` asks for something.

    Attributes:
        kind: "payload": the body of ``digest`` at ``sequence``; "decided": the committed entry
            at ``sequence``; "checkpoint": the last stable checkpoint, at least ``sequence``.
        digest: the payload's, else 32 zero bytes.
    """

    kind: FetchKind
    sequence: Number
    digest: Digest
    replica: Number
    signature: Signature


@dataclass(slots=True, unsafe_hash=True)
class State:
    """The answer to a `Fetch`; it carries its own proof.

    Attributes:
        data: the payload, or the encoded `Snapshot` of a checkpoint.
        view: for "decided": the view of the seal.
        seal: for "decided": q COMMIT signatures as (replica, signature).
        proof: for "checkpoint": q CHECKPOINTs for (sequence, digest).
    """

    kind: FetchKind
    sequence: Number
    digest: Digest
    data: bytes
    view: Number
    seal: Annotated[tuple[tuple[Number, Signature], ...], range(MAX_REPLICAS + 1)]
    proof: Proof
    replica: Number
    signature: Signature


Replies = tuple[tuple[ClientName, Number, bytes], ...]


@dataclass(slots=True, unsafe_hash=True)
class Snapshot:
    """What a checkpoint's digest covers: the application's state and the last replies.

    Attributes:
        application: `Application.snapshot()`.
        state: `Application.state_digest()`, 32 bytes.
        replies: (client, timestamp, result) of each client's last executed request, ascending.
    """

    application: bytes
    state: Digest
    replies: Replies


Message = (
    Request | PrePrepare | Prepare | Commit | Reply | Checkpoint | ViewChange | NewView | Status
    | Fetch | State
)
"""The closed union of what travels."""

TYPE_NAMES: dict[type[Message], str] = {
    Request: "REQUEST", PrePrepare: "PRE-PREPARE", Prepare: "PREPARE", Commit: "COMMIT",
    Reply: "REPLY", Checkpoint: "CHECKPOINT", ViewChange: "VIEW-CHANGE", NewView: "NEW-VIEW",
    Status: "STATUS", Fetch: "FETCH", State: "STATE",
}
"""The paper's names, which scenario files and charts use."""

MESSAGES: tuple[type[Message], ...] = tuple(TYPE_NAMES)


def type_name(message: Message) -> str:
    """Return the paper's name of a message's type, as "PRE-PREPARE"."""
    return TYPE_NAMES[type(message)]
