"""A small chain with the real contracts: one edge server, toy keys, vectors of a few entries."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    AggregateTransaction,
    CallTransaction,
    Candidate,
    Envelope,
    Genesis,
    Ledger,
    Payload,
    Receipt,
    RegisterDevice,
    RegisterKey,
    UpdateTransaction,
    build_genesis,
    chain_id,
    device_bits,
    pack_blob,
    sign_transaction,
    unpack_blob,
)
from bdn.experiments.provisioning import TREASURY, contract_source
from bdn.identity import Identity
from bdn.nodes.ciphers import Ciphers, key_in, update_context
from bdn.nodes.settings import WEIGHTS, Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost
from bdn.paillier import KeyShare, PublicKey, VectorCipher, deal
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, sign_commit

GAS = 1 << 40
SETTINGS = Settings(
    rule="sgd", iterations=1, epochs=3, step_size=0.1, batch_size=1, tolerance=0.0, classes=10,
    model_size=3, cipher="packed", value_bits=12, weight_clip=1.0, gradient_clip=1.0,
    loss_clip=8.0, total_weight=200, devices=3, threshold=1, key_holders=2, minimum_contributors=2,
    sample_ratio=20, samples_per_second=1000, deadline_ms=1000, gather_ms=100, data_reward=2,
    processing_reward=300, confirmations=0, difficulty=16,
)  # fmt: skip


@dataclass
class MiniChain:
    """The ledger, and hands for everybody on it."""

    settings: Settings
    public_key: PublicKey
    shares: Sequence[KeyShare]
    devices: list[Identity]
    edge: Identity
    ledger: Ledger
    host: VectorHost
    nonces: dict[bytes, int] = field(default_factory=dict)

    @property
    def chain(self) -> bytes:
        return self.ledger.chain

    def sign(self, who: Identity, payload: Payload) -> Envelope:
        """``who``'s next transaction."""
        nonce = self.nonces.get(who.address, self.ledger.next_nonce(who.address))
        self.nonces[who.address] = nonce + 1
        return sign_transaction(who, self.chain, nonce, GAS, payload)

    def propose(
        self, envelopes: Sequence[Envelope], aggregate: Envelope | None = None, epoch: int = 0,
        kind: str = AUXILIARY,
    ) -> Candidate:
        """A trial block; the nonces start again from the head."""
        self.nonces.clear()
        return self.ledger.propose(
            kind=kind, epoch=epoch, time=self.ledger.head.time + 1, proposer=self.edge.address,
            transactions=envelopes, aggregate=aggregate)

    def commit(self, candidate: Candidate) -> tuple[Receipt, ...]:
        """Seal and store a trial block."""
        block = candidate.block
        signature = sign_commit(self.edge, self.chain, 0, block.header.height, block.digest)
        self.ledger.commit(block, Seal(0, block.header.height, block.digest, ((0, signature),)))
        return tuple(candidate.receipts)

    def put(self, *envelopes: Envelope) -> tuple[Receipt, ...]:
        """A sealed auxiliary block with these transactions."""
        return self.commit(self.propose(envelopes, epoch=self.ledger.head.epoch))

    def call(self, function: str, *arguments: Any) -> Any:
        """A view of the learning contract."""
        return self.ledger.call("learning", function, *arguments)

    # --- the key ---

    def make_key(self) -> None:
        """Everything up to the first upload."""
        self.put(*(self.sign(device, CallTransaction("learning", "register_exchange_key",
                                                     (bytes([i]) * 32,)))
                   for i, device in enumerate(self.devices)))
        blob = pack_blob([self.public_key.to_bytes()])
        root = self.ledger.put_blob(blob)
        settings = self.settings
        self.put(self.sign(self.devices[0], RegisterKey(
            0, self.public_key.bits, settings.threshold, settings.key_holders, root, 1,
            len(blob))))
        self.put(*(self.sign(device, CallTransaction("learning", "confirm_key", (root,)))
                   for device in self.devices))

    # --- an epoch ---

    def cipher(self, epoch: int = 1, phase: str = WEIGHTS) -> VectorCipher:
        """The cipher of an epoch's phase, as every node derives it."""
        return self.host.ciphers.get(self.call("sealing_terms"), epoch, phase)

    def update(
        self, position: int, vector: np.ndarray, samples: int, epoch: int = 1,
        phase: str = WEIGHTS, local_ms: int = 1000, **changes: Any,
    ) -> Envelope:
        """A device's sealed update, as a transaction."""
        device = self.devices[position]
        context = update_context(self.chain, epoch, phase, device.address)
        rng = SeededRandomness(f"{position}/{epoch}/{phase}".encode())
        sealed = self.cipher(epoch, phase).seal(vector, samples, rng=rng, context=context)
        blob = pack_blob(sealed.leaves())
        root = self.ledger.put_blob(blob)
        payload = UpdateTransaction(epoch, phase, samples, local_ms, root,
                                    len(sealed.leaves()), len(blob))
        return self.sign(device, replace(payload, **changes))

    def bits(self, *devices: bytes) -> bytes:
        """The set of the devices at these addresses."""
        return device_bits(self.call("registered").index(device) for device in devices)

    def tx_co(self, updates: Sequence[Envelope], **changes: Any) -> Envelope:
        """Tx_co over ``updates``, right unless ``changes`` say otherwise."""
        ordered = sorted(updates, key=lambda e: e.address)
        first = ordered[0].payload
        assert isinstance(first, UpdateTransaction)
        records = [UpdateRecord.of(e.payload) for e in ordered]
        root, chunks, size = self.host.product(
            self.call("sealing_terms"), first.epoch, first.phase, records)
        blob = self.host.produced.pop(root, None)
        if blob is not None:
            self.ledger.put_blob(blob)
        values = {
            "epoch": first.epoch, "phase": first.phase, "root": root, "chunks": chunks,
            "size": size, "contributors": self.bits(*(e.address for e in ordered)),
            "total_samples": sum(e.payload.sample_count for e in ordered), **changes,
        }
        return self.sign(self.edge, AggregateTransaction(**values))

    def aggregate(self, updates: Sequence[Envelope], **changes: Any) -> tuple[Receipt, ...]:
        """A sealed candidate block of ``updates`` and their Tx_co."""
        tx_co = self.tx_co(updates, **changes)
        epoch = tx_co.payload.epoch
        return self.commit(self.propose(updates, tx_co, epoch, CANDIDATE))

    def opened(self, epoch: int = 1, phase: str = WEIGHTS, terms: Any = None) -> np.ndarray:
        """The exact opened integers of an aggregate."""
        record = self.call("aggregate_of", epoch, phase)
        cipher = self.host.ciphers.get(terms, epoch, phase)
        total = cipher.sum_from_leaves(unpack_blob(self.ledger.blob(record["root"])))
        parts = [cipher.partially_decrypt(share, total)
                 for share in self.shares[: self.settings.threshold]]
        return cipher.open_integers(total, parts)


@pytest.fixture(scope="session")
def toy_key() -> tuple[PublicKey, Sequence[KeyShare]]:
    """A 256-bit key of two parties, either of which opens."""
    return deal(2, 1, 256, rng=SeededRandomness(5))


OPENED: list[Ledger] = []
"""The ledgers that `mini` has made and nobody has closed for certain."""


@pytest.fixture(autouse=True)
def closed_ledgers() -> Iterator[None]:
    """Close what a test opened; a module's chains stay open for its other tests."""
    before = len(OPENED)
    yield
    while len(OPENED) > before:
        OPENED.pop().close()


@pytest.fixture(scope="session")
def mini(toy_key: tuple[PublicKey, Sequence[KeyShare]]) -> Callable[..., MiniChain]:
    """Makes a fresh chain; keyword arguments change its settings, ``treasury``, or the ``samples``
    that each device registers with (0: any)."""

    def make(
        devices: int = 3, treasury: int = 10_000, samples: int = 0, **changes: Any
    ) -> MiniChain:
        settings = replace(SETTINGS, **changes)
        identities = [Identity.from_secret(bytes([i + 1]) * 32) for i in range(devices)]
        edge = Identity.from_secret(b"edge" * 8)
        genesis = Genesis(
            name="mini", salt=b"salt", consensus="pbft", gas_table=2, gas_limit=GAS,
            edges=(edge.public_key,), balances=((TREASURY, treasury),),
            contracts=tuple((name, contract_source(name)) for name in ("learning", "mining")),
            generation_rate=1000, time=1, settings=settings.to_plain(),
        )
        chain = chain_id(genesis)
        ownership = [sign_transaction(identity, chain, 0, GAS,
                                      RegisterDevice(f"device-{i + 1}", "mine", 0, samples))
                     for i, identity in enumerate(identities)]
        block = build_genesis(genesis, edge, ownership).block
        holder: list[Ledger] = []

        def read(root: bytes) -> bytes:
            return holder[0].blob(root)

        host = VectorHost(Ciphers(chain, settings, key_in(read)), read)
        holder.append(Ledger.create(":memory:", genesis, block, host.functions))
        OPENED.append(holder[0])
        public_key, shares = toy_key
        return MiniChain(settings, public_key, shares, identities, edge, holder[0], host)

    return make
