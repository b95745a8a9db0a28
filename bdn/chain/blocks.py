"""The genesis record, headers, blocks and receipts (paper, section 4.2).

The paper's block is B = [Tx, Tx_co, β, ℵ]: the verified updates, the global update, the block
generation rate and the pointer to the previous block. Header and body are apart here, so that a
light node gets along with headers: each root in the header commits to a part of the body.

    β   ``generation_rate``   ℵ   ``parent``   h   the encoded header's bytes
    S   average bytes of a local update (envelope and blob)   n   number of local updates

The digest of the header names the block and is what consensus agrees on; the seal stands beside
the block, because edges may seal the same block in different views.

The genesis record is everything that a chain's members agree on before its first block. The chain
id is its digest, so it binds edge servers, balances, contract sources and settings. Devices sign
their ownership statements for that id; the statements, and the deployment of the contracts, are the
transactions of block 0, whose header digest is what a light node trusts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from bdn.chain import merkle
from bdn.chain.contracts.limits import MAX_SOURCE
from bdn.chain.contracts.receipt import Reason
from bdn.chain.transactions import (
    DIGEST_BYTES,
    MAX_NUMBER,
    MAX_TRANSACTIONS,
    AggregateTransaction,
    BlobPayload,
    EncodedTransaction,
    Envelope,
    Name,
    Number,
    UpdateTransaction,
    decode_envelope,
    encode_envelope,
)
from bdn.encoding import (
    Digest,
    at_most,
    decode_as,
    decode_record,
    digest,
    encode_as,
    encode_record,
)
from bdn.errors import shown
from bdn.identity import ADDRESS_BYTES, PUBLIC_KEY_BYTES, Address, PublicKeyBytes, address_of
from bdn.seal import MAX_REPLICAS

PBFT = "pbft"
PROOF_OF_WORK = "pow"
LEDGER = "ledger"
"""The name under which the ledger keeps nonces and epochs; no contract may have it."""

MAX_CALL_GAS = 1 << 40
"""The most gas that a genesis may allow a transaction. It pays for a Tx_co over a thousand updates
of 8 MB, norm proofs included; a contract that only loops uses it up within hours. Without a bound
one transaction of a hostile ledger could keep `bdn verify` busy for years."""

MAX_ACCOUNT_BYTES = 32

CHAIN_FORMAT = 2
"""Version of everything in docs/format.md, which genesis names."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """The agreed beginning.

    Attributes:
        name: how people call the chain.
        salt: random bytes that tell two chains of equal settings apart.
        consensus: ``"pbft"`` or ``"pow"``.
        gas_table: version of the contract language's gas table.
        gas_limit: the most gas that one transaction may ask for.
        edges: the edge servers' 32-byte public keys; a replica's index is its place here.
        balances: (account, tokens) at the start; an account is a 20-byte address or a name of 1
            to 32 bytes that no key can sign for, such as the treasury's.
        contracts: (name, source text), in the order of deployment.
        generation_rate: β in blocks per 1,000 hours, which every header repeats.
        time: milliseconds, the genesis block's time.
        settings: the run's own settings (no floats), which the contracts get as they are deployed.
            Under proof of work, ``"difficulty"`` is the first block's.
        format: `CHAIN_FORMAT`.
    """

    name: Name
    salt: Annotated[bytes, at_most(64)]
    consensus: Name
    gas_table: Number
    gas_limit: Number
    edges: Annotated[tuple[PublicKeyBytes, ...], at_most(MAX_REPLICAS)]
    balances: tuple[tuple[Annotated[bytes, at_most(MAX_ACCOUNT_BYTES)], Number], ...]
    contracts: Annotated[
        tuple[tuple[Name, Annotated[str, at_most(4 * MAX_SOURCE)]], ...], at_most(256)]
    generation_rate: Number
    time: Number
    settings: dict[str, Any] = field(default_factory=dict)
    format: Number = CHAIN_FORMAT

    def __post_init__(self) -> None:
        if self.format != CHAIN_FORMAT:
            raise ValueError(f"the chain has format {shown(self.format)}; this version of bdn "
                             f"reads format {CHAIN_FORMAT}")
        if self.consensus not in (PBFT, PROOF_OF_WORK):
            raise ValueError(f"{shown(self.consensus)} is no consensus; choose pbft or pow")
        if not self.edges or any(len(key) != PUBLIC_KEY_BYTES for key in self.edges):
            raise ValueError("a chain has edge servers, each with a 32-byte public key")
        if len(set(self.edges)) != len(self.edges):
            raise ValueError("two edge servers have the same key")
        addresses = [address for address, _ in self.balances]
        if any(not 0 < len(item) <= MAX_ACCOUNT_BYTES for item in addresses):
            raise ValueError(f"an account's name has 1 to {MAX_ACCOUNT_BYTES} bytes")
        if len(set(addresses)) != len(addresses) or any(n < 0 for _, n in self.balances):
            raise ValueError("balances are not negative, and one for each address")
        names = [name for name, _ in self.contracts]
        if len(set(names)) != len(names) or LEDGER in names or "" in names:
            raise ValueError(f"contracts have distinct names, none of them empty or {LEDGER!r}")
        if not 0 < self.gas_limit <= MAX_CALL_GAS:
            raise ValueError(f"a gas limit of {shown(self.gas_limit)} for each transaction; choose "
                             f"1 to {MAX_CALL_GAS}")
        if self.generation_rate < 1 or self.time < 0:
            raise ValueError("the generation rate is positive, the time not negative")

    @property
    def edge_addresses(self) -> tuple[bytes, ...]:
        """The edge servers' 20-byte addresses, by replica index."""
        return tuple(address_of(key) for key in self.edges)


def encode_genesis(genesis: Genesis) -> bytes:
    """Strict CBOR map of the record's fields."""
    return encode_record(genesis)


def decode_genesis(data: bytes) -> Genesis:
    """What `encode_genesis` wrote, or `EncodingError`."""
    return decode_record(Genesis, data)


def chain_id(genesis: Genesis) -> bytes:
    """The 32-byte name of the chain, in every header, transaction and seal."""
    return digest("bdn/chain", encode_genesis(genesis))


def source_digest(source: str) -> bytes:
    """The 32-byte digest of a contract's text, which its `DeployContract` names."""
    return digest("bdn/contract-source", source.encode())


GENESIS = "genesis"
CANDIDATE = "candidate"
AUXILIARY = "auxiliary"
KINDS = (GENESIS, CANDIDATE, AUXILIARY)

MAX_RECEIPT_BYTES = 64 << 20
"""Of an encoded receipt: what a contract can return and tell within its gas."""

MAX_RECEIPT_TEXT = 4 << 20
"""Bytes of an event's name: what a contract's longest text can take."""

NO_PARENT = bytes(DIGEST_BYTES)
"""The genesis block's parent."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is sealed.

    Attributes:
        chain: 32 bytes, the digest of the genesis record.
        height: 0 for the genesis block, then one more than the parent's.
        epoch: p, the epoch that the block serves.
        kind: ``"candidate"`` (one an epoch, with Tx_co), ``"auxiliary"`` (gradient phase, keys,
            shares, closing losses) or ``"genesis"``.
        parent: ℵ, the 32-byte digest of the previous header.
        transactions_root, receipts_root: Merkle roots over the encoded transactions (the updates
            in order, then Tx_co) and over their receipts.
        state_root: of the state after the block.
        generation_rate: β in blocks per 1,000 hours (so 60,000 is one block a minute).
        proposer: the 20-byte address of the edge server that made the block.
        time: milliseconds since the Unix epoch, or of the experiment's clock.
    """

    chain: Digest
    height: Number
    epoch: Number
    kind: Name
    parent: Digest
    transactions_root: Digest
    state_root: Digest
    receipts_root: Digest
    generation_rate: Number
    proposer: Address
    time: Number

    def __post_init__(self) -> None:
        roots = (self.chain, self.parent, self.transactions_root, self.state_root,
                 self.receipts_root)
        if any(len(item) != DIGEST_BYTES for item in roots):
            raise ValueError(f"a header's digests have {DIGEST_BYTES} bytes each")
        if len(self.proposer) != ADDRESS_BYTES:
            raise ValueError(f"a proposer is an address of {ADDRESS_BYTES} bytes")
        if self.kind not in KINDS:
            raise ValueError(f"{shown(self.kind)} is no kind of block")
        numbers = (self.height, self.epoch, self.generation_rate, self.time)
        if any(not 0 <= number < MAX_NUMBER for number in numbers):
            raise ValueError("a header's numbers lie in 0 … 2^63 - 1")


@dataclass(frozen=True, slots=True)
class Block:
    """A header with its body: Tx_d1 … Tx_dn (or other transactions) and Tx_co if there is one."""

    header: Header
    transactions: tuple[Envelope, ...]
    aggregate: Envelope | None = None

    @property
    def digest(self) -> bytes:
        """The 32 bytes that name the block and that its seal signs."""
        return header_digest(self.header)

    @property
    def envelopes(self) -> tuple[Envelope, ...]:
        """All transactions in the order of execution: Tx_co comes last."""
        return self.transactions if self.aggregate is None else (*self.transactions, self.aggregate)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a contract told while it ran.

    Attributes:
        contract, name: who told it, and what.
        fields: its details, in the profile's plain values.
    """

    contract: Name
    name: Annotated[str, at_most(MAX_RECEIPT_TEXT)]
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of one transaction. Inclusion is not success: ``ok`` says which.

    Attributes:
        transaction: the 32-byte digest of the transaction.
        ok: whether its effects stand.
        status: ``"ok"``, or why not: ``"reverted"``, ``"failed"``, ``"out-of-gas"``, ``"refused"``.
        gas_used: at most the envelope's limit.
        result: what the function returned, in plain values.
        events: in order; none when it failed.
        reason: why it failed, or ``None``.
    """

    transaction: Digest
    ok: bool
    status: Name
    gas_used: Number
    result: Any
    events: Annotated[tuple[Event, ...], at_most(1 << 20)]
    reason: Reason | None

    @property
    def error(self) -> str | None:
        """The reason as a sentence: ``line 12: balance too small``."""
        return None if self.reason is None else str(self.reason)

    @property
    def line(self) -> int | None:
        """The contract's source line of the failure."""
        return None if self.reason is None else self.reason.line


# --- codecs -------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """Strict CBOR map of the header's fields; its length is the paper's h."""
    return encode_record(header)


def decode_header(data: bytes) -> Header:
    """What `encode_header` wrote, or `EncodingError`."""
    return decode_record(Header, data)


def header_digest(header: Header) -> bytes:
    """The 32-byte name of the header's block."""
    return digest("bdn/header", encode_header(header))


def encode_receipt(receipt: Receipt) -> bytes:
    """Strict CBOR map of the receipt's fields: a leaf under ``receipts_root``."""
    return encode_record(receipt)


def decode_receipt(data: bytes) -> Receipt:
    """What `encode_receipt` wrote, or `EncodingError`."""
    return decode_record(Receipt, data)


def encode_block(block: Block) -> bytes:
    """Strict CBOR: [header, [transaction, …], Tx_co or null], transactions as byte strings."""
    aggregate = None if block.aggregate is None else encode_envelope(block.aggregate)
    transactions = [encode_envelope(envelope) for envelope in block.transactions]
    return encode_as(_BLOCK, (block.header, transactions, aggregate))


def decode_block(data: bytes) -> Block:
    """What `encode_block` wrote, or `EncodingError`. Checks shapes, no signature and no root."""
    header, transactions, aggregate = decode_as(_BLOCK, data)
    return Block(header, tuple(map(decode_envelope, transactions)),
                 None if aggregate is None else decode_envelope(aggregate))


_BLOCK = tuple[
    Header, Annotated[tuple[EncodedTransaction, ...], at_most(MAX_TRANSACTIONS)],
    EncodedTransaction | None]


# --- roots --------------------------------------------------------------------------------------


def compute_transactions_root(envelopes: Sequence[Envelope]) -> bytes:
    """The Merkle root over the encoded transactions, Tx_co last."""
    return merkle.root([encode_envelope(envelope) for envelope in envelopes])


def compute_receipts_root(receipts: Sequence[Receipt]) -> bytes:
    """The Merkle root over the encoded receipts, in the order of the transactions."""
    return merkle.root([encode_receipt(receipt) for receipt in receipts])


# --- size ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BlockSize:
    """A block's bytes by part: size = h + S·n + |Tx_co| + |seal| (+ other transactions).

    The paper's h + S·n leaves out Tx_co and the seal. Blobs count where they are named.

    Attributes:
        header: h.
        updates: n, the number of local updates.
        update_bytes: S·n, all envelopes of updates with their blobs.
        aggregate: Tx_co's envelope with its blob, 0 without one.
        seal: the encoded seal, 0 for a genesis block.
        other: all other transactions with their blobs.
    """

    header: int
    updates: int
    update_bytes: int
    aggregate: int
    seal: int
    other: int

    @property
    def average_update(self) -> Fraction:
        """S, exactly; 0 when there is no update."""
        return Fraction(self.update_bytes, self.updates) if self.updates else Fraction(0)

    @property
    def total(self) -> int:
        """h + S·n + |Tx_co| + |seal| + the other transactions, in bytes."""
        return self.header + self.update_bytes + self.aggregate + self.seal + self.other


def block_size(block: Block, seal: bytes | None = None) -> BlockSize:
    """The size of ``block`` with its encoded ``seal``, blobs included."""
    updates = [e for e in block.transactions if isinstance(e.payload, UpdateTransaction)]
    other = [e for e in block.transactions if not isinstance(e.payload, UpdateTransaction)]
    return BlockSize(
        header=len(encode_header(block.header)),
        updates=len(updates),
        update_bytes=sum(map(_bytes_of, updates)),
        aggregate=0 if block.aggregate is None else _bytes_of(block.aggregate),
        seal=len(seal or b""),
        other=sum(map(_bytes_of, other)),
    )


def _bytes_of(envelope: Envelope) -> int:
    blob = envelope.payload.size if isinstance(envelope.payload, BlobPayload) else 0
    return len(encode_envelope(envelope)) + blob


def is_aggregate(envelope: Envelope) -> bool:
    """Whether this transaction is a Tx_co, which only a block's proposer makes."""
    return isinstance(envelope.payload, AggregateTransaction)
