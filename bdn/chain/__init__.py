"""The ledger: transactions, blocks, authenticated state, store, light client, proof of work.

Being deepened; the guide is written below as the parts settle.
"""

from bdn.chain import merkle
from bdn.chain.blobs import blob_root, leaf_count, pack_blob, unpack_blob, verify_blob
from bdn.chain.blocks import (
    AUXILIARY,
    CANDIDATE,
    GENESIS,
    Block,
    BlockSize,
    Event,
    Header,
    Receipt,
    block_size,
    decode_block,
    decode_header,
    decode_receipt,
    encode_block,
    encode_header,
    encode_receipt,
    header_digest,
)
from bdn.chain.errors import (
    BlockError,
    LedgerError,
    LightClientError,
    MerkleError,
    MissingError,
    StoreError,
    TransactionError,
    WorkError,
)
from bdn.chain.execution import Candidate, Context, HostFactory, Machine, no_host
from bdn.chain.genesis import (
    PBFT,
    PROOF_OF_WORK,
    Genesis,
    chain_id,
    decode_genesis,
    encode_genesis,
)
from bdn.chain.inclusion import (
    InclusionProof,
    decode_proof,
    encode_proof,
    verify_inclusion,
)
from bdn.chain.ledger import Ledger, MissingBlobsError, build_genesis, named_blobs
from bdn.chain.light import EquivocationError, Evidence, LightClient, verify_evidence
from bdn.chain.light_store import LightStore
from bdn.chain.pow import HeaderTree, attempts, mine
from bdn.chain.seals import (
    BlockSeal,
    ProofOfWork,
    decode_seal,
    encode_seal,
    expected_difficulty,
    next_difficulty,
    verify_block_seal,
)
from bdn.chain.state import State, StateProof, verify_state
from bdn.chain.store import Store
from bdn.chain.sync import (
    SealedBlock,
    apply_sealed_block,
    blobs_named,
    blocks_after,
    decode_sealed,
    encode_sealed,
    seal_block,
)
from bdn.chain.transactions import (
    AggregateTransaction,
    BlobPayload,
    CallTransaction,
    DeployContract,
    Envelope,
    Payload,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
    decode_envelope,
    encode_envelope,
    sign_transaction,
    transaction_digest,
    verify_envelope,
)
from bdn.chain.verify import verify_ledger

__all__ = [
    "AUXILIARY", "CANDIDATE", "GENESIS", "PBFT", "PROOF_OF_WORK", "AggregateTransaction",
    "BlobPayload", "Block", "BlockError", "BlockSeal", "BlockSize", "CallTransaction", "Candidate",
    "Context", "DeployContract", "Envelope", "EquivocationError", "Event", "Evidence", "Genesis",
    "Header", "HeaderTree", "HostFactory", "InclusionProof", "Ledger", "LedgerError", "LightClient",
    "LightClientError", "LightStore", "Machine", "MerkleError", "MissingBlobsError", "MissingError",
    "Payload", "ProofOfWork", "Receipt", "RegisterDevice", "RegisterKey", "SealedBlock",
    "ShareTransaction", "State", "StateProof", "Store", "StoreError", "TransactionError",
    "UpdateTransaction", "WorkError", "apply_sealed_block", "attempts", "blob_root", "blobs_named",
    "block_size", "blocks_after", "build_genesis", "chain_id", "decode_block", "decode_envelope",
    "decode_genesis", "decode_header", "decode_proof", "decode_receipt", "decode_seal",
    "decode_sealed", "encode_block", "encode_envelope", "encode_genesis", "encode_header",
    "encode_proof", "encode_receipt", "encode_seal", "encode_sealed", "expected_difficulty",
    "header_digest", "leaf_count", "merkle", "mine", "named_blobs", "next_difficulty", "no_host",
    "pack_blob", "seal_block", "sign_transaction", "transaction_digest", "unpack_blob",
    "verify_blob", "verify_block_seal", "verify_envelope", "verify_evidence", "verify_inclusion",
    "verify_ledger", "verify_state",
]
