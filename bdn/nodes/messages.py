"""Every message between devices and edge servers, on one page.

A message is encoded with the strict profile and a version of its own class name, so that the same
nodes can be driven over sockets. Names of nodes are routing hints only: what counts is signed
inside (transactions, requests, consensus messages, seals).
"""

from dataclasses import dataclass
from typing import Annotated

from bdn.encoding import Digest, at_most, bits, decode_union, encode_union, exactly

Number = Annotated[int, bits(63)]
"""Heights and nonces, as far as a ledger counts."""

RequestBytes = Annotated[bytes, at_most(1 << 20)]
"""A signed request. A transaction has half as many bytes at most; bulky bytes are blobs."""

Blobs = Annotated[tuple[bytes, ...], at_most(4)]
"""The blobs that one transaction names, with room to spare."""

ProofBytes = Annotated[bytes, at_most(1 << 23)]
"""A proof with the transaction, or the cell, that it proves. Tx_co's receipt tells for each
contributor what was paid, and what is delayed: about 300 bytes."""

REASON_BYTES = 2048
"""The longest reason for a refusal."""

# --- device → edge server -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """A device's signed request (a transaction inside) with the bulky bytes that it names."""

    request: RequestBytes
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class GetHeaders:
    """Headers and seals above ``after``."""

    after: Number


@dataclass(frozen=True, slots=True)
class GetTransactions:
    """With proofs: the block's transactions of the classes ``kinds``, and those of ``sender``."""

    height: Number
    kinds: Annotated[tuple[Annotated[str, at_most(64)], ...], at_most(16)]
    sender: Annotated[bytes, exactly(20)]


@dataclass(frozen=True, slots=True)
class GetState:
    """Cells of contract state at the head, each with a proof of presence or absence."""

    contract: Annotated[str, at_most(64)]
    keys: tuple[Annotated[bytes, at_most(1024)], ...]


@dataclass(frozen=True, slots=True)
class GetBlob:
    """The bulky bytes whose Merkle root is ``root``."""

    root: Digest


@dataclass(frozen=True, slots=True)
class GetLeaves:
    """Some leaves of the blob ``root``, which has ``size`` leaves, each with its Merkle path."""

    root: Digest
    size: Number
    positions: Annotated[tuple[Number, ...], at_most(16)]


# --- edge server → device -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedHeaders:
    """(header, seal) pairs, ascending; sent unasked when a block is sealed."""

    items: Annotated[
        tuple[tuple[Annotated[bytes, at_most(4096)], Annotated[bytes, at_most(1 << 16)]], ...],
        at_most(256)]


@dataclass(frozen=True, slots=True)
class Transactions:
    """Answer to `GetTransactions`: encoded inclusion proofs."""

    height: Number
    proofs: tuple[ProofBytes, ...]


@dataclass(frozen=True, slots=True)
class StateCells:
    """Answer to `GetState`: encoded state proofs in the order asked, all after block ``height``."""

    height: Number
    proofs: tuple[ProofBytes, ...]


@dataclass(frozen=True, slots=True)
class Blob:
    """Answer to `GetBlob`; also between edge servers."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Leaves:
    """Answer to `GetLeaves`: (leaf, its path to the root), in the order asked."""

    root: Digest
    items: Annotated[
        tuple[tuple[bytes, Annotated[tuple[Digest, ...], at_most(64)]], ...], at_most(16)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """This edge server does not let the transaction wait for a block, and says why."""

    nonce: Number
    reason: Annotated[str, at_most(REASON_BYTES)]


# --- between edge servers -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Consensus:
    """A PBFT message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Relay:
    """A device's request with its blobs, which an edge server passes on to the others."""

    request: RequestBytes
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Sealed blocks above ``after``."""

    after: Number


@dataclass(frozen=True, slots=True)
class SealedBlocks:
    """Sealed blocks, ascending."""

    blocks: Annotated[tuple[bytes, ...], at_most(256)]


Message = (
    Submit | GetHeaders | GetTransactions | GetState | GetBlob | GetLeaves
    | SealedHeaders | Transactions | StateCells | Blob | Leaves | Refusal
    | Consensus | Relay | GetBlocks | SealedBlocks
)  # fmt: skip

MESSAGES: tuple[type, ...] = Message.__args__


def encode_message(message: Message) -> bytes:
    """The message as bytes."""
    return encode_union(message)


def decode_message(data: bytes) -> Message:
    """The message in ``data``; raises `EncodingError` for anything else."""
    message: Message = decode_union(MESSAGES, data)
    return message


def message_kind(data: bytes) -> str:
    """What an encoded message is, for a trace: its class name, and of `Consensus` the inner one.

    Only the first bytes are read, since most of a message may be a blob of megabytes; "" where
    they begin no message.
    """
    name, rest = _union_name(data)
    if name != Consensus.__name__ or not rest.startswith(_DATA_FIELD):
        return name
    head = len(_DATA_FIELD)
    info = rest[head] & 0x1F if len(rest) > head else 0
    wide = 0 if info < 24 else 1 << (info - 24)  # CBOR: 24 … 27 mean 1 … 8 bytes of length
    return _union_name(rest[head + 1 + wide:])[0] or name


_DATA_FIELD = b"\xa1\x64data"
"""CBOR of a map of one field called "data", up to that field's value."""


def _union_name(data: bytes) -> tuple[str, bytes]:
    """(class name, the next bytes) of what `encode_union` wrote: [short text, …]."""
    if len(data) < 2 or data[0] != 0x82 or not 0x60 <= data[1] < 0x78:
        return "", b""
    end = 2 + (data[1] & 0x1F)
    name = data[2:end].decode("ascii", errors="replace")
    return (name, data[end:end + 64]) if name.isidentifier() else ("", b"")
