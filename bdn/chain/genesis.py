"""The genesis record: everything that a chain's members agree on before its first block.

The chain id is the record's digest, so it binds edge servers, balances, contract sources and
settings. Devices sign their ownership statements for that id; the statements, and the deployment
of the contracts, are the transactions of block 0, whose header digest is what a light node trusts.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from bdn.chain.contracts.limits import MAX_SOURCE
from bdn.chain.payloads import Name, Number
from bdn.encoding import at_most, decode_record, digest, encode_record
from bdn.errors import shown
from bdn.identity import PUBLIC_KEY_BYTES, PublicKeyBytes, address_of
from bdn.seal import MAX_REPLICAS

PBFT = "pbft"
PROOF_OF_WORK = "pow"
LEDGER = "ledger"
"""The name under which the ledger keeps nonces and epochs; no contract may have it."""

MAX_CALL_GAS = 1 << 62
MAX_ACCOUNT_BYTES = 32


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

    def __post_init__(self) -> None:
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
        if not 0 < self.gas_limit <= MAX_CALL_GAS or self.generation_rate < 1 or self.time < 0:
            raise ValueError("gas limit and generation rate are positive, the time not negative")

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
