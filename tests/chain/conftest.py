"""A small chain to test with: five devices, four edge servers, two short contracts."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bdn.chain import (
    AUXILIARY,
    AggregateTransaction,
    Block,
    BlockSeal,
    CallTransaction,
    Candidate,
    Envelope,
    Genesis,
    Ledger,
    Payload,
    RegisterDevice,
    UpdateTransaction,
    blob_root,
    build_genesis,
    chain_id,
    device_bits,
    mine,
    pack_blob,
    sign_transaction,
)
from bdn.identity import Identity
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, quorum, sign_commit

sys.path.insert(0, str(Path(__file__).parent))  # the contract tests share modules of this folder

LEARNING = '''"""What the tests ask of a learning contract."""

balances: map[bytes, int]
names: map[bytes, str]
devices: map[int, bytes]
count: int
updates: map[int, str, bytes, int]
notes: map[str, bytes]
supply: int

@public
def initialize(setup: dict):
    for account, amount in setup["balances"]:
        storage.balances[account] = amount
        storage.supply += amount

@public
def register_device(public_key: bytes, name: str, statement: str, edge: int, samples: int):
    storage.names[context.sender] = name
    storage.devices[storage.count] = context.sender
    storage.count += 1
    emit("registered", device=context.sender)

@public
def upload(
    epoch: int, phase: str, samples: int, local_ms: int, root: bytes, chunks: int, size: int
):
    require(context.sender in storage.names, "not a registered device")
    storage.updates[epoch, phase, context.sender] = samples
    emit("uploaded", device=context.sender, samples=samples)

@public
def transfer(target: bytes, amount: int):
    require(0 <= amount, "not negative")
    require(amount <= storage.balances.get(context.sender, 0), "balance too small")
    storage.balances[context.sender] = storage.balances.get(context.sender, 0) - amount
    storage.balances[target] = storage.balances.get(target, 0) + amount
    emit("paid", to=target, amount=amount)

@public
def note(name: str, text: bytes):
    storage.notes[name] = text

@public
def erase(name: str):
    del storage.notes[name]

@view
def note_of(name: str) -> bytes:
    return storage.notes.get(name, b"")

@view
def balance_of(account: bytes) -> int:
    return storage.balances.get(account, 0)

@view
def named_by(members: bytes) -> list:
    return [storage.devices[i] for i in range(8 * len(members))
            if members[i // 8] >> i % 8 & 1]

@view
def samples_of(epoch: int, phase: str, device: bytes) -> int:
    return storage.updates[epoch, phase, device]
'''

MINING = '''"""What the tests ask of a mining contract."""

learning: contract
aggregates: map[int, str, bytes]

@public
def aggregate(
    epoch: int, phase: str, root: bytes, chunks: int, size: int, contributors: bytes, total: int
):
    samples = [learning.samples_of(epoch, phase, device)
               for device in learning.named_by(contributors)]
    require(sum(samples) == total, "the samples do not add up")
    storage.aggregates[epoch, phase] = root
    emit("aggregate", root=root)
'''

GAS = 1_000_000


@dataclass
class SmallChain:
    """A running chain whose members' keys the test holds, with a clock of its own."""

    devices: list[Identity]
    edges: list[Identity]
    genesis: Genesis
    ledger: Ledger
    time: int = 1_000
    nonces: dict[bytes, int] = field(default_factory=dict)

    def sign(self, identity: Identity, payload: Payload, gas: int = GAS) -> Envelope:
        """The sender's next transaction."""
        nonce = self.nonces.get(identity.address, self.ledger.next_nonce(identity.address))
        self.nonces[identity.address] = nonce + 1
        return sign_transaction(identity, self.ledger.chain, nonce, gas, payload)

    def transfer(self, device: int, target: bytes, amount: int) -> Envelope:
        """Tokens from a device to an account."""
        return self.sign(self.devices[device], CallTransaction("learning", "transfer",
                                                               (target, amount)))

    def note(self, device: int, name: str, text: bytes) -> Envelope:
        """A device writes something down."""
        return self.sign(self.devices[device], CallTransaction("learning", "note", (name, text)))

    def update(self, device: int, epoch: int, samples: int, leaves: Sequence[bytes]) -> Envelope:
        """A device's sealed update, whose blob is put into the store."""
        blob = pack_blob(leaves)
        root = self.ledger.put_blob(blob)
        payload = UpdateTransaction(epoch, "weights", samples, 1_500, root, len(leaves), len(blob))
        return self.sign(self.devices[device], payload)

    def aggregate(
        self, edge: int, epoch: int, contributors: Sequence[int], total: int,
        leaves: Sequence[bytes],
    ) -> Envelope:
        """Tx_co of an edge server."""
        blob = pack_blob(leaves)
        root = self.ledger.put_blob(blob)
        payload = AggregateTransaction(epoch, "weights", root, len(leaves), len(blob),
                                       device_bits(contributors), total)
        return self.sign(self.edges[edge], payload)

    def propose(
        self, transactions: Sequence[Envelope] = (), *, kind: str = AUXILIARY,
        epoch: int | None = None, aggregate: Envelope | None = None, edge: int = 0,
    ) -> Candidate:
        """The next block, a second later."""
        self.time += 1_000
        return self.ledger.propose(
            kind=kind, epoch=self.ledger.head.epoch if epoch is None else epoch, time=self.time,
            proposer=self.edges[edge].address, transactions=transactions, aggregate=aggregate)

    def seal(
        self, block: Block, signers: Sequence[int] | None = None, view: int = 0
    ) -> BlockSeal:
        """Signatures of a quorum (or of ``signers``), or the proof of work."""
        if self.genesis.consensus == "pow":
            return mine(block.header, self.ledger.next_difficulty())
        return self.sign_seal(block.digest, block.header.height, signers, view)

    def sign_seal(
        self, digest: bytes, sequence: int, signers: Sequence[int] | None = None, view: int = 0
    ) -> Seal:
        """A PBFT seal for any digest."""
        indices = range(quorum(len(self.edges))) if signers is None else signers
        return Seal(view, sequence, digest, tuple(
            (i, sign_commit(self.edges[i], self.ledger.chain, view, sequence, digest))
            for i in indices))

    def add(self, transactions: Sequence[Envelope] = (), **options: Any) -> Candidate:
        """Propose, seal and commit."""
        candidate = self.propose(transactions, **options)
        return self.ledger.commit(candidate.block, self.seal(candidate.block))

    def add_epoch(self, epoch: int) -> Candidate:
        """A candidate block with three updates and their aggregate."""
        updates = [self.update(i, epoch, 10 + i, [b"chunk %d %d" % (epoch, i), bytes([i])])
                   for i in range(3)]
        aggregate = self.aggregate(0, epoch, (0, 1, 2), 33, [b"sum %d" % epoch])
        return self.add(updates, kind="candidate", epoch=epoch, aggregate=aggregate)


def make_genesis(
    devices: Sequence[Identity], edges: Sequence[Identity], consensus: str, **changes: Any
) -> Genesis:
    """The genesis record of the tests' chain."""
    return replace(Genesis(
        name="test", salt=b"salt", consensus=consensus, gas_table=2, gas_limit=GAS,
        edges=tuple(edge.public_key for edge in edges),
        balances=(*((device.address, 100) for device in devices), (b"treasury", 1_000)),
        contracts=(("learning", LEARNING), ("mining", MINING)),
        generation_rate=3_600_000, time=1_000, settings={"difficulty": 64}), **changes)


def new_chain(
    path: Any = ":memory:", consensus: str = "pbft", devices: int = 5, edges: int = 4
) -> SmallChain:
    """A chain at its genesis block, with the same keys every time."""
    rng = SeededRandomness(1)
    members = [Identity.generate(rng.substream(f"device {i}")) for i in range(devices)]
    servers = [Identity.generate(rng.substream(f"edge {i}")) for i in range(edges)]
    genesis = make_genesis(members, servers, consensus)
    chain = chain_id(genesis)
    ownership = [
        sign_transaction(device, chain, 0, GAS,
                         RegisterDevice(f"device {i}", "I own this device", i % edges))
        for i, device in enumerate(members)
    ]
    first = build_genesis(genesis, servers[0], ownership)
    ledger = Ledger.create(path, genesis, first.block)
    OPENED.append(ledger)
    return SmallChain(members, servers, genesis, ledger)


OPENED: list[Ledger] = []
"""The ledgers that `new_chain` has made and nobody has closed for certain."""


@pytest.fixture(autouse=True)
def closed_ledgers() -> Iterator[None]:
    """Close what a test opened; a module's chains stay open for its other tests."""
    before = len(OPENED)
    yield
    while len(OPENED) > before:
        OPENED.pop().close()


@pytest.fixture(scope="session")
def make_chain() -> Callable[..., SmallChain]:
    """``make_chain(path, consensus="pbft", devices=5, edges=4)``: a chain at its genesis block."""
    return new_chain


@pytest.fixture
def chain() -> SmallChain:
    """A chain in memory, at its genesis block."""
    return new_chain()


@pytest.fixture
def blob_of() -> Callable[[Sequence[bytes]], tuple[bytes, bytes]]:
    """Leaves → (root, blob)."""
    return lambda leaves: (blob_root(pack_blob(leaves)), pack_blob(leaves))
