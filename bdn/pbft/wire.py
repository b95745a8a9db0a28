"""How messages travel and what their signatures cover.

A message is `bdn.encoding.encode_union` of its dataclass: one message, one encoding. Those of
the normal case are flat: `bdn.pbft.flat` writes and reads the same bytes faster, and
`bdn.pbft.straight` those of every request faster still.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache, partial
from operator import attrgetter
from struct import Struct
from typing import Any, TypeVar, cast

from bdn.encoding import decode_union, digest, encode, encode_union, to_plain, transcript
from bdn.errors import EncodingError
from bdn.pbft.cluster import Cluster
from bdn.pbft.flat import (
    ARRAY,
    MAP,
    FlatCodec,
    write_bytes,
    write_head,
    write_text,
    write_uint,
)
from bdn.pbft.messages import (
    MESSAGES,
    TYPE_NAMES,
    Checkpoint,
    Commit,
    Fetch,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Reply,
    Request,
    Snapshot,
    Status,
)
from bdn.pbft.signing import Signing
from bdn.pbft.straight import Point, StraightCodec, VoteCodec
from bdn.seal import COMMIT_DOMAIN, commit_statement

PRE_PREPARE_DOMAIN = "bdn/pbft/PRE-PREPARE"
PREPARE_DOMAIN = "bdn/pbft/PREPARE"
CHECKPOINT_DOMAIN = "bdn/pbft/CHECKPOINT"
REQUEST_DOMAIN = "bdn/pbft/REQUEST"
REPLY_DOMAIN = "bdn/pbft/REPLY"

M = TypeVar("M", bound=Message)

_FIELDS = {cls: tuple(field.name for field in fields(cls)) for cls in MESSAGES}
assert all(names[-1] == "signature" for names in _FIELDS.values())
_UNSIGNED = {cls: attrgetter(*names[:-1]) for cls, names in _FIELDS.items()}

# --- signed statements --------------------------------------------------------------------------


def statement(instance: bytes, message: Message) -> tuple[str, bytes]:
    """(domain, bytes) that ``message``'s signature covers; every one names the instance.

    A COMMIT's is `bdn.seal.commit_statement`, so that q COMMITs are a seal.
    """
    domain, text, _ = _STATEMENTS[type(message)]
    return domain, text(instance, message)


commit_text = lru_cache(maxsize=256)(commit_statement)
"""`commit_statement`, remembered, because a quorum of COMMITs says the same."""


def vote_statement(instance: bytes, view: int, sequence: int, payload_digest: bytes) -> bytes:
    """What PRE-PREPARE, PREPARE and CHECKPOINT sign, each under its own domain.

    The last three parts have fixed widths (8, 8 and 32 bytes), so the sum is injective.
    """
    return instance + _two(view, sequence) + payload_digest


def request_statement(instance: bytes, client: str, timestamp: int, operation: bytes) -> bytes:
    """What a REQUEST signs: the transcript of the four."""
    return b"".join((
        _opening(instance, client), _three(8, timestamp, len(operation)), operation))


def reply_statement(
    instance: bytes, view: int, client: str, timestamp: int, result: bytes, replica: int
) -> bytes:
    """What a REPLY signs: the transcript of instance, client, view, timestamp, result, replica."""
    return b"".join((_opening(instance, client), _two(8, view),
                     _three(8, timestamp, len(result)), result, _two(8, replica)))


_two, _three = Struct(">2Q").pack, Struct(">3Q").pack
"""So many numbers of eight bytes each, as statements hold them: values, or lengths before them."""


@lru_cache(maxsize=256)
def _opening(instance: bytes, client: str) -> bytes:
    """How all transcripts begin that concern a client."""
    return transcript("", instance, client.encode())


def _point_text(instance: bytes, message: PrePrepare | Prepare) -> bytes:
    return instance + _two(message.view, message.sequence) + message.digest


def _other_text(instance: bytes, message: Message) -> bytes:
    plain = {name: to_plain(getattr(message, name))
             for name in _FIELDS[type(message)] if name != "signature"}
    return transcript("", instance, encode(plain))


def _client_key(cluster: Cluster, message: Request) -> bytes:  # noqa: ARG001 - one of three
    return message.public_key


def _primary_key(cluster: Cluster, message: PrePrepare | NewView) -> bytes:
    return cluster.public_keys[cluster.primary(message.view)]


def _replica_key(cluster: Cluster, message: Any) -> bytes:
    replica: int = message.replica
    try:
        return cluster.public_keys[replica]
    except IndexError:
        raise EncodingError(f"replica {replica} is none of the {cluster.n}") from None


_STATEMENTS: dict[type[Any], tuple[
    str, Callable[[bytes, Any], bytes], Callable[[Cluster, Any], bytes]]] = {
    **{cls: (f"bdn/pbft/{name}", _other_text, _replica_key) for cls, name in TYPE_NAMES.items()},
    NewView: ("bdn/pbft/NEW-VIEW", _other_text, _primary_key),
    Prepare: (PREPARE_DOMAIN, _point_text, _replica_key),
    Commit: (COMMIT_DOMAIN, lambda instance, m: commit_text(
        instance, m.view, m.sequence, m.digest), _replica_key),
    PrePrepare: (PRE_PREPARE_DOMAIN, _point_text, _primary_key),
    Request: (REQUEST_DOMAIN, lambda instance, m: request_statement(
        instance, m.client, m.timestamp, m.operation), _client_key),
    Checkpoint: (CHECKPOINT_DOMAIN, lambda instance, m: vote_statement(
        instance, 0, m.sequence, m.digest), _replica_key),
    Reply: (REPLY_DOMAIN, lambda instance, m: reply_statement(
        instance, m.view, m.client, m.timestamp, m.result, m.replica), _replica_key),
}
"""Each type's domain, the text that its signature covers, and the public key that must sign."""


def signer_of(message: Message, cluster: Cluster) -> bytes:
    """The public key that must have signed; raises `EncodingError` for an unknown replica."""
    return _STATEMENTS[type(message)][2](cluster, message)


def signed(message: M, instance: bytes, signing: Signing) -> M:
    """``message`` with its signature made by ``signing``."""
    signature = signing.sign(*statement(instance, message))
    cls: Any = type(message)
    return cast(M, cls(*_UNSIGNED[cls](message), signature))


def verify_message(message: Message, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless the message is signed by whom it names."""
    domain, text, key = _STATEMENTS[type(message)]
    signing.verify(
        key(cluster, message), domain, text(cluster.instance, message), message.signature)


def checkpoint_digest(snapshot: Snapshot) -> bytes:
    """What CHECKPOINTs sign: the application's state digest and the last replies (Rule 5)."""
    return digest("bdn/pbft/checkpoint", snapshot.state, _encode_replies(snapshot.replies))


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """What `bdn.encoding.encode_record` writes for it."""
    return b"".join((
        _STATE, write_bytes(snapshot.state), _REPLIES, _encode_replies(snapshot.replies),
        _APPLICATION, write_bytes(snapshot.application)))


def _encode_replies(replies: Sequence[tuple[str, int, bytes]]) -> bytes:
    return b"".join((
        write_head(ARRAY, len(replies)),
        *[b"".join((_REPLY, write_text(client), write_uint(timestamp), write_bytes(result)))
          for client, timestamp, result in replies]))


_STATE = write_head(MAP, 3) + write_text("state")
_REPLIES, _APPLICATION = write_text("replies"), write_text("application")
_REPLY = write_head(ARRAY, 3)

# --- encoding -----------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """The message's only encoding."""
    return _ENCODERS.get(type(message), encode_union)(message)


def gists_of(point: Point) -> tuple[bytes, bytes]:
    """What all PREPAREs for ``point`` have in common, and what all COMMITs; for `read_among`.

    Both have the same fields, so they differ in the name that they begin with.
    """
    prepares = _PREPARES.gist(point)
    return prepares, _COMMITS.prefix + prepares[len(_PREPARES.prefix):]


def read_among(said: Mapping[bytes, Point | None], data: bytes) -> Message | None:
    """As `decode_message`, but quicker for votes that say what is in ``said``, by their gists.

    None for a vote whose gist stands for None there, whoever's it is: nobody counts it any more,
    and it is neither decoded nor verified.
    """
    kind = data[1:6]
    cut = _CUTS.get(kind)
    if cut is not None:
        begins, ends, voters, make = cut
        point = said.get(data[:begins] + data[ends:-64], ())
        if point is None:
            return None
        if point and (replica := voters.get(data[begins:ends])) is not None:
            view, sequence, digest = point
            vote: Prepare | Commit = make(view, sequence, digest, replica, data[-64:])
            return vote
    message: Message = _DECODERS.get(kind, _decode_other)(data)
    return message


def decode_message(data: bytes) -> Message:
    """The message; raises `EncodingError` for anything that `encode_message` does not write."""
    message: Message = _DECODERS.get(data[1:6], _decode_other)(data)
    return message


_decode_other = partial(decode_union, MESSAGES)


_PREPARES, _COMMITS = VoteCodec(Prepare), VoteCodec(Commit)
_FLAT: dict[type[Any], FlatCodec[Any] | StraightCodec[Any]] = {
    Prepare: _PREPARES, Commit: _COMMITS,
    **{cls: StraightCodec(cls) for cls in (Request, PrePrepare, Reply, Checkpoint)},
    **{cls: FlatCodec(cls) for cls in (Status, Fetch)},
}
_ENCODERS: dict[type[Any], Callable[[Any], bytes]] = {
    cls: codec.encode for cls, codec in _FLAT.items()}
_DECODERS: dict[bytes, Callable[[bytes], Any]] = {
    codec.prefix[1:6]: codec.decode for codec in _FLAT.values()}
"""A type's decoder by the first letters of its name, which are its own."""
assert len(_DECODERS) == len(_FLAT)
_CUTS: dict[bytes, tuple[int, int, dict[bytes, int], Callable[..., Any]]] = {
    codec.prefix[1:6]: codec.cut for codec in (_PREPARES, _COMMITS)}
