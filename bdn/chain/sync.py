"""Catching up: a full node takes sealed blocks from another, and trusts none of them.

Sans-IO: one side reads `blocks_after`, the other feeds `apply_sealed_block`; how the records and
blobs travel is the caller's business. Every block is executed and every seal and blob is checked,
so a helpful node and a lying one differ only in how far one gets.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bdn.chain.blocks import Block, decode_block, encode_block
from bdn.chain.errors import BlockError
from bdn.chain.execution import Candidate
from bdn.chain.ledger import Ledger, named_blobs
from bdn.chain.seals import BlockSeal, decode_seal, encode_seal, verify_block_seal
from bdn.chain.store import Store
from bdn.encoding import decode_record, encode_record


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A block with its seal, as bytes for the wire.

    Attributes:
        block: from `encode_block`.
        seal: from `encode_seal`.
    """

    block: bytes
    seal: bytes


def seal_block(block: Block, seal: BlockSeal) -> SealedBlock:
    """Both as bytes."""
    return SealedBlock(encode_block(block), encode_seal(seal))


def encode_sealed(sealed: SealedBlock) -> bytes:
    """Strict CBOR of a sealed block."""
    return encode_record(sealed)


def decode_sealed(data: bytes) -> SealedBlock:
    """What `encode_sealed` wrote, or `EncodingError`."""
    return decode_record(SealedBlock, data)


def blocks_after(store: Store, height: int, limit: int = 64) -> list[SealedBlock]:
    """At most ``limit`` sealed blocks that follow ``height``, in order."""
    last = min(store.height(), height + limit)
    sealed = []
    for number in range(max(1, height + 1), last + 1):
        seal = store.seal(number)
        if seal is not None:
            sealed.append(seal_block(store.block(number), seal))
    return sealed


def blobs_named(sealed: SealedBlock) -> tuple[bytes, ...]:
    """Roots of the blobs that must be fetched along with a block; raises `EncodingError`."""
    return tuple(named_blobs(decode_block(sealed.block)))


def apply_sealed_block(
    ledger: Ledger, sealed: SealedBlock, blobs: Iterable[bytes] = ()
) -> Candidate | None:
    """Check and commit the next block with the ``blobs`` that it names.

    Blobs are stored only once the seal holds, so a liar cannot fill the disk. A block that the
    ledger has already gives None. Raises `EncodingError`, `MerkleError`,
    `BlockError` (`MissingBlobsError` when a blob lacks), `SealError` or `WorkError`; the chain is
    then as before.
    """
    block, seal = decode_block(sealed.block), decode_seal(sealed.seal)
    if block.header.height <= ledger.height:
        if ledger.store.header(block.header.height) == block.header:
            return None
        raise BlockError(f"block {block.header.height} differs from the one that is held")
    parent_seal = ledger.store.seal(ledger.height)
    verify_block_seal(seal, block.header, ledger.head, parent_seal, ledger.genesis)
    wanted = set(ledger.missing_blobs(block))
    for blob in blobs:
        if wanted:
            wanted.discard(ledger.put_blob(blob))
    return ledger.commit(block, seal)
