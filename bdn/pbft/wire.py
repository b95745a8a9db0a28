"""How messages travel and what their signatures cover.

A message is `bdn.encoding.encode_union` of its dataclass: one message, one encoding. PREPARE and
COMMIT are nine tenths of the traffic and have a second, hand-laid codec (`_encode_vote`,
`_decode_vote`) that writes and accepts exactly the same bytes (of votes whose signature has an
Ed25519 signature's 64); a test holds the two together, and `benchmarks/pbft.py` shows why the
second exists.
"""

from dataclasses import fields, replace
from typing import TypeVar

from bdn.encoding import decode_union, digest, encode, encode_union, to_plain, transcript
from bdn.errors import EncodingError
from bdn.pbft.cluster import Cluster
from bdn.pbft.messages import (
    MESSAGES,
    TYPE_NAMES,
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Request,
    Snapshot,
)
from bdn.pbft.signing import Signing
from bdn.seal import COMMIT_DOMAIN, commit_statement

PRE_PREPARE_DOMAIN = "bdn/pbft/PRE-PREPARE"
PREPARE_DOMAIN = "bdn/pbft/PREPARE"
CHECKPOINT_DOMAIN = "bdn/pbft/CHECKPOINT"
REQUEST_DOMAIN = "bdn/pbft/REQUEST"

M = TypeVar("M", bound=Message)

# --- signed statements --------------------------------------------------------------------------


def statement(instance: bytes, message: Message) -> tuple[str, bytes]:
    """(domain, bytes) that ``message``'s signature covers; every one names the instance.

    A COMMIT's is `bdn.seal.commit_statement`, so that q COMMITs are a seal.
    """
    match message:
        case Prepare():
            return PREPARE_DOMAIN, vote_statement(
                instance, message.view, message.sequence, message.digest)
        case Commit():
            return COMMIT_DOMAIN, commit_statement(
                instance, message.view, message.sequence, message.digest)
        case PrePrepare():
            return PRE_PREPARE_DOMAIN, vote_statement(
                instance, message.view, message.sequence, message.digest)
        case Request():
            return REQUEST_DOMAIN, transcript(
                "", instance, message.client.encode(), message.timestamp.to_bytes(8, "big"),
                message.operation)
        case Checkpoint():
            return CHECKPOINT_DOMAIN, vote_statement(instance, 0, message.sequence, message.digest)
        case _:
            plain = {field.name: to_plain(getattr(message, field.name))
                     for field in fields(message) if field.name != "signature"}
            return f"bdn/pbft/{TYPE_NAMES[type(message)]}", transcript("", instance, encode(plain))


def vote_statement(instance: bytes, view: int, sequence: int, payload_digest: bytes) -> bytes:
    """What PRE-PREPARE, PREPARE and CHECKPOINT sign, each under its own domain.

    The last three parts have fixed widths (8, 8 and 32 bytes), so the sum is injective.
    """
    return (instance + view.to_bytes(8, "big") + sequence.to_bytes(8, "big") + payload_digest)


def signer_of(message: Message, cluster: Cluster) -> bytes:
    """The public key that must have signed; raises `EncodingError` for an unknown replica."""
    if isinstance(message, Request):
        return message.public_key
    if isinstance(message, (PrePrepare, NewView)):
        return cluster.public_keys[cluster.primary(message.view)]
    if message.replica >= cluster.n:
        raise EncodingError(f"replica {message.replica} is none of the {cluster.n}")
    return cluster.public_keys[message.replica]


def signed(message: M, instance: bytes, signing: Signing) -> M:
    """``message`` with its signature made by ``signing``."""
    return replace(message, signature=signing.sign(*statement(instance, message)))


def verify_message(message: Message, cluster: Cluster, signing: Signing) -> None:
    """Raise `PeerError` unless the message is signed by whom it names."""
    domain, text = statement(cluster.instance, message)
    signing.verify(signer_of(message, cluster), domain, text, message.signature)


def checkpoint_digest(snapshot: Snapshot) -> bytes:
    """What CHECKPOINTs sign: the application's state digest and the last replies (Rule 5)."""
    return digest("bdn/pbft/checkpoint", snapshot.state, encode(to_plain(snapshot.replies)))


# --- encoding -----------------------------------------------------------------------------------


def encode_message(message: Message) -> bytes:
    """The message's only encoding."""
    if isinstance(message, (Prepare, Commit)) and len(message.signature) == _SIGNATURE_BYTES:
        return _encode_vote(message)
    return encode_union(message)


def decode_message(data: bytes) -> Message:
    """The message; raises `EncodingError` for anything that `encode_message` does not write."""
    if data.startswith(_VOTE_PREFIXES):
        return _decode_vote(data)
    return decode_union(MESSAGES, data)


# --- the two votes, by hand ---------------------------------------------------------------------

_SIGNATURE_BYTES = 64
_PREPARE_PREFIX = b"\x82\x67Prepare\xa5\x64view"
_COMMIT_PREFIX = b"\x82\x66Commit\xa5\x64view"
_VOTE_PREFIXES = (_PREPARE_PREFIX, _COMMIT_PREFIX)
_DIGEST_KEY = b"\x66digest\x58\x20"
_REPLICA_KEY = b"\x67replica"
_SEQUENCE_KEY = b"\x68sequence"
_SIGNATURE_KEY = b"\x69signature\x58\x40"


def _encode_vote(vote: Prepare | Commit) -> bytes:
    prefix = _PREPARE_PREFIX if type(vote) is Prepare else _COMMIT_PREFIX
    return b"".join((prefix, _encode_uint(vote.view), _DIGEST_KEY, vote.digest, _REPLICA_KEY,
                     _encode_uint(vote.replica), _SEQUENCE_KEY, _encode_uint(vote.sequence),
                     _SIGNATURE_KEY, vote.signature))


def _decode_vote(data: bytes) -> Prepare | Commit:
    """Cut the fields out where they must lie, then demand that encoding gives ``data`` again."""
    cls: type[Prepare | Commit] = Commit
    at = len(_COMMIT_PREFIX)
    if data[1] == _PREPARE_PREFIX[1]:
        cls, at = Prepare, len(_PREPARE_PREFIX)
    try:
        view, at = _decode_uint(data, at)
        at += len(_DIGEST_KEY)
        payload_digest = data[at:at + 32]
        replica, at = _decode_uint(data, at + 32 + len(_REPLICA_KEY))
        sequence, at = _decode_uint(data, at + len(_SEQUENCE_KEY))
        at += len(_SIGNATURE_KEY)
        vote = cls(view, sequence, payload_digest, replica, data[at:at + _SIGNATURE_BYTES])
    except (IndexError, ValueError) as error:
        raise EncodingError(f"not a vote: {error}") from error
    if len(vote.signature) != _SIGNATURE_BYTES or _encode_vote(vote) != data:
        raise EncodingError("not strict CBOR: the same vote has a different encoding")
    return vote


def _encode_uint(value: int) -> bytes:
    if value < 24:
        return value.to_bytes(1, "big")
    if value < 1 << 8:
        return b"\x18" + value.to_bytes(1, "big")
    if value < 1 << 16:
        return b"\x19" + value.to_bytes(2, "big")
    if value < 1 << 32:
        return b"\x1a" + value.to_bytes(4, "big")
    return b"\x1b" + value.to_bytes(8, "big")


def _decode_uint(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 24:
        return first, at + 1
    if first > 27:
        raise ValueError("expected a number")
    end = at + 1 + (1 << (first - 24))
    return int.from_bytes(data[at + 1:end], "big"), end
