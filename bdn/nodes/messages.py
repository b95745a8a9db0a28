"""Every message between devices and edge servers, on one page.

A message is encoded with the strict profile and a version of its own class name, so that the same
nodes can be driven over sockets. Names of nodes are routing hints only: what counts is signed
inside (transactions, requests, consensus messages, seals).
"""

from dataclasses import dataclass

from bdn.encoding import decode_union, encode_union

# --- device → edge server -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """A device's signed request (a transaction inside) with the bulky bytes that it names."""

    request: bytes
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetHeaders:
    """Headers and seals above ``after``."""

    after: int


@dataclass(frozen=True, slots=True)
class GetTransactions:
    """With proofs: the block's transactions of the classes ``kinds``, and those of ``sender``."""

    height: int
    kinds: tuple[str, ...]
    sender: bytes


@dataclass(frozen=True, slots=True)
class GetState:
    """Cells of contract state at the head, each with a proof of presence or absence."""

    contract: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetBlob:
    """The bulky bytes whose Merkle root is ``root``."""

    root: bytes


# --- edge server → device -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedHeaders:
    """(header, seal) pairs, ascending; sent unasked when a block is sealed."""

    items: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Transactions:
    """Answer to `GetTransactions`: encoded inclusion proofs."""

    height: int
    proofs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StateCells:
    """Answer to `GetState`: encoded state proofs, in the order asked."""

    proofs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Blob:
    """Answer to `GetBlob`; also between edge servers."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The transaction was refused before it came near a block, and why."""

    nonce: int
    reason: str


# --- between edge servers -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Consensus:
    """A PBFT message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Share:
    """A device's request and its blobs, passed on to the other edge servers (Section 3.2, 3)."""

    request: bytes
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Sealed blocks above ``after``."""

    after: int


@dataclass(frozen=True, slots=True)
class SealedBlocks:
    """Sealed blocks, ascending."""

    blocks: tuple[bytes, ...]


Message = (
    Submit | GetHeaders | GetTransactions | GetState | GetBlob
    | SealedHeaders | Transactions | StateCells | Blob | Refused
    | Consensus | Share | GetBlocks | SealedBlocks
)  # fmt: skip

MESSAGES: tuple[type, ...] = Message.__args__


def encode_message(message: Message) -> bytes:
    """The message as bytes."""
    return encode_union(message)


def decode_message(data: bytes) -> Message:
    """The message in ``data``; raises `EncodingError` for anything else."""
    message: Message = decode_union(MESSAGES, data)
    return message
