"""The ledger (paper, sections 3.2 and 4.2): what happened, agreed and provable.

A chain of four edge servers with a contract of three lines; a block is proposed, sealed by a
quorum and committed; a light client believes it on proof alone::

    >>> from bdn.identity import Identity
    >>> from bdn.randomness import SeededRandomness
    >>> from bdn.seal import Seal, sign_commit
    >>> rng = SeededRandomness(7)
    >>> edges = [Identity.generate(rng) for _ in range(4)]
    >>> source = "@public\\ndef hello(name: str):\\n    emit('hello', name=name)\\n"
    >>> genesis = Genesis("class", b"", PBFT, gas_table=2, gas_limit=10_000, balances=(),
    ...                   edges=tuple(edge.public_key for edge in edges),
    ...                   contracts=(("greeter", source),), generation_rate=60_000, time=0)
    >>> first = build_genesis(genesis, edges[0]).block
    >>> ledger = Ledger.create(":memory:", genesis, first)
    >>> call = CallTransaction("greeter", "hello", ("Ada",))
    >>> envelope = sign_transaction(edges[0], ledger.chain, 1, 10_000, call)
    >>> block = ledger.propose(kind=AUXILIARY, epoch=1, time=1, proposer=edges[0].address,
    ...                        transactions=[envelope]).block
    >>> votes = [(i, sign_commit(edges[i], ledger.chain, 0, 1, block.digest)) for i in range(3)]
    >>> seal = Seal(0, 1, block.digest, tuple(votes))
    >>> ledger.commit(block, seal).receipts[0].events[0].fields
    {'name': 'Ada'}
    >>> light = LightClient(genesis, first.header, trusted=first.digest)
    >>> light.accept(block.header, seal, now=1)
    >>> light.verify_transaction(ledger.proof(1, 0))[1].ok
    True
    >>> verify_ledger(ledger.store)
    >>> ledger.close()

**Reading order.** `merkle` (trees, and bytes named by their root), `transactions` and `blocks`
(what is signed, what is sealed, what everybody agreed on before), `state` (the authenticated map),
`execution` (what makes a block valid: a pure function of parent state and block), `seals`
(signatures or work), `ledger` (a full node, and how it catches up), `light` (a light node), `store`
(SQLite), `verify` (everything again from the beginning), `contracts` (the language, a package of
its own).

**A transaction** is an envelope that binds a payload to a chain, a sender and the sender's next
nonce. Payloads are a closed set of records; the table `transactions.CALLS` says which contract
function each one calls. A bad envelope makes a block invalid; a failing call leaves a failed
receipt. Inclusion is not success.

**A block** is [Tx, Tx_co, β, ℵ] of the paper, with its roots in a header; the header's digest is
what edge servers agree on. Bulky ciphertexts stay outside, as blobs named by a Merkle root. A
proposer executes on trial (`Ledger.propose`), the others repeat it (`Ledger.check`), and only
`Ledger.commit`, which wants the seal, writes. A Tx_co that fails makes its block invalid.

**The state** is a map from (contract, key) to bytes in a Merkle tree of its own. It is immutable:
a proposal is tried on it and thrown away. Light nodes get proofs of presence and of absence.

**The store** takes a block as one SQLite transaction. Only canonical bytes are stored, and
`verify_ledger` recomputes each of them, streaming, in bounded memory; it names the place of the
first fault ("block 7, transaction 2, signature").

**A light client** trusts one digest and checks the rest: seals, links, times, proofs. Two valid
seals at one height convict more than f edge servers; it keeps the evidence.

**Proof of work** replaces the seal, and nothing else, to reproduce the paper's section 5.

Where we differ: the paper's h + S·n counts neither Tx_co nor the seal; `block_size` does. The
header holds the chain id, an epoch and three roots besides β and ℵ. Local times are integer
milliseconds, because a ledger must not depend on how a machine rounds.
"""

from bdn.chain import merkle
from bdn.chain.blocks import (
    AUXILIARY,
    CANDIDATE,
    GENESIS,
    MAX_CALL_GAS,
    PBFT,
    PROOF_OF_WORK,
    Block,
    BlockSize,
    Event,
    Genesis,
    Header,
    Receipt,
    block_size,
    chain_id,
    decode_block,
    decode_genesis,
    decode_header,
    decode_receipt,
    encode_block,
    encode_genesis,
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
from bdn.chain.ledger import (
    Ledger,
    MissingBlobsError,
    SealedBlock,
    apply_sealed_block,
    blobs_named,
    blocks_after,
    build_genesis,
    decode_sealed,
    encode_sealed,
    named_blobs,
    seal_block,
)
from bdn.chain.light import (
    EquivocationError,
    EquivocationEvidence,
    InclusionProof,
    LightClient,
    decode_proof,
    encode_proof,
    verify_evidence,
    verify_inclusion,
    without_receipt,
)
from bdn.chain.merkle import blob_root, pack_blob, unpack_blob, verify_blob
from bdn.chain.seals import (
    BlockSeal,
    ProofOfWork,
    attempts,
    decode_seal,
    encode_seal,
    expected_difficulty,
    mine,
    next_difficulty,
    verify_block_seal,
)
from bdn.chain.state import LedgerState, StateProof, verify_state
from bdn.chain.store import Store
from bdn.chain.transactions import (
    MAX_DEVICES,
    MAX_TRANSACTIONS,
    AggregateTransaction,
    BlobPayload,
    CallTransaction,
    DeployContract,
    DeviceBits,
    Envelope,
    Payload,
    RegisterDevice,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
    decode_envelope,
    device_bits,
    device_numbers,
    encode_envelope,
    sign_transaction,
    transaction_digest,
    verify_envelope,
)
from bdn.chain.verify import verify_ledger

__all__ = [
    "AUXILIARY",
    "CANDIDATE",
    "GENESIS",
    "MAX_CALL_GAS",
    "MAX_DEVICES",
    "MAX_TRANSACTIONS",
    "PBFT",
    "PROOF_OF_WORK",
    "AggregateTransaction",
    "BlobPayload",
    "Block",
    "BlockError",
    "BlockSeal",
    "BlockSize",
    "CallTransaction",
    "Candidate",
    "Context",
    "DeployContract",
    "DeviceBits",
    "Envelope",
    "EquivocationError",
    "EquivocationEvidence",
    "Event",
    "Genesis",
    "Header",
    "HostFactory",
    "InclusionProof",
    "Ledger",
    "LedgerError",
    "LedgerState",
    "LightClient",
    "LightClientError",
    "Machine",
    "MerkleError",
    "MissingBlobsError",
    "MissingError",
    "Payload",
    "ProofOfWork",
    "Receipt",
    "RegisterDevice",
    "RegisterKey",
    "SealedBlock",
    "ShareTransaction",
    "StateProof",
    "Store",
    "StoreError",
    "TransactionError",
    "UpdateTransaction",
    "WorkError",
    "apply_sealed_block",
    "attempts",
    "blob_root",
    "blobs_named",
    "block_size",
    "blocks_after",
    "build_genesis",
    "chain_id",
    "decode_block",
    "decode_envelope",
    "decode_genesis",
    "decode_header",
    "decode_proof",
    "decode_receipt",
    "decode_seal",
    "decode_sealed",
    "device_bits",
    "device_numbers",
    "encode_block",
    "encode_envelope",
    "encode_genesis",
    "encode_header",
    "encode_proof",
    "encode_receipt",
    "encode_seal",
    "encode_sealed",
    "expected_difficulty",
    "header_digest",
    "merkle",
    "mine",
    "named_blobs",
    "next_difficulty",
    "no_host",
    "pack_blob",
    "seal_block",
    "sign_transaction",
    "transaction_digest",
    "unpack_blob",
    "verify_blob",
    "verify_block_seal",
    "verify_envelope",
    "verify_evidence",
    "verify_inclusion",
    "verify_ledger",
    "verify_state",
    "without_receipt",
]
