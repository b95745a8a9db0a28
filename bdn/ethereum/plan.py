"""What there is to anchor: read off a run's ledger, in the contract's own terms.

    s_k   a device's samples, its weight in Eq. (5)      N²   the modulus of the ciphertexts
    p_k   a device's address on the ledger               p    an epoch
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from bdn.chain import (
    AggregateTransaction,
    Block,
    RegisterDevice,
    RegisterKey,
    Store,
    UpdateTransaction,
    chain_id,
    device_numbers,
)
from bdn.errors import IntegrityError, UsageError
from bdn.nodes.ciphers import Ciphers, key_in, make_cipher
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.paillier import PackedCipher, RingMaskedCipher

PHASES = (GRADIENT, WEIGHTS, LOSS)
"""The contract's number of a phase is its place here."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a phase's sealed vectors are cut into leaves; all zero for a phase that never comes.

    Attributes:
        ciphertexts: the first so many leaves are Paillier ciphertexts.
        leaves: all leaves: ciphertexts, ring chunks, and the tail.
    """

    ciphertexts: int
    leaves: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What the contract is deployed with.

    Attributes:
        chain: 32 bytes, the ledger's id.
        modulus: N², big-endian at a ciphertext's width.
        weight_inside: whether the devices apply s_k (ring-masked) or Eq. (5) does (packed).
        devices: the 32-byte public keys of the devices, in genesis order.
        edges: the 32-byte public keys of the edge servers.
        shapes: by phase, in the order of `PHASES`.
    """

    chain: bytes
    modulus: bytes
    weight_inside: bool
    devices: tuple[bytes, ...]
    edges: tuple[bytes, ...]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """Device p_k in a round: 20-byte address, s_k, and the 32-byte root of its sealed update."""

    device: bytes
    weight: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Payment:
    """Tokens that the ledger moved, between 20-byte addresses."""

    source: bytes
    target: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class AnchorRound:
    """One aggregate of the ledger, as it is anchored.

    Attributes:
        epoch, phase: which; the phase by its place in `PHASES`.
        height, block_digest: of the block that holds it.
        aggregate_root: 32 bytes, of the product's leaves.
        contributions: in the product's order.
    """

    epoch: int
    phase: int
    height: int
    block_digest: bytes
    aggregate_root: bytes
    contributions: tuple[Contribution, ...]

    @property
    def name(self) -> str:
        """For people: ``"epoch 2, weights"``."""
        return f"epoch {self.epoch}, {PHASES[self.phase]}"


@dataclass(frozen=True, slots=True)
class PlannedRound:
    """A round, with what is emitted beside it and who should anchor it.

    Attributes:
        round: what is committed to.
        payments: the rewards in its block.
        proposer: 20-byte ledger address of the edge server that made the block.
    """

    round: AnchorRound
    payments: tuple[Payment, ...]
    proposer: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run anchors, in the ledger's order."""

    setup: Setup
    rounds: tuple[PlannedRound, ...]

    def find(self, epoch: int, phase: str) -> PlannedRound:
        """The round of (epoch, phase); `UsageError` where the ledger has none."""
        if phase not in PHASES:
            raise UsageError(f"a phase is one of {', '.join(PHASES)}, not {phase!r}")
        for planned in self.rounds:
            if (planned.round.epoch, PHASES[planned.round.phase]) == (epoch, phase):
                return planned
        there = "; ".join(planned.round.name for planned in self.rounds)
        raise UsageError(f"the ledger has no aggregate of epoch {epoch}, {phase}; it has: {there}")


def read_plan(store: Store) -> Plan:
    """What the ledger in ``store`` has to anchor.

    The ledger is taken at its word; `bdn verify` is what checks it. Raises `UsageError` where the
    run has not got as far as its key.
    """
    genesis = store.genesis()
    settings = Settings.from_plain(genesis.settings)
    devices: list[bytes] = []
    addresses: list[bytes] = []
    key_root = b""
    updates: dict[tuple[int, str, bytes], UpdateTransaction] = {}
    rounds: list[PlannedRound] = []
    for height in range(store.height() + 1):
        block = store.block(height)
        for envelope, receipt in zip(block.envelopes, store.receipts(height), strict=True):
            match envelope.payload if receipt.ok else None:
                case RegisterDevice():
                    devices.append(envelope.sender)
                    addresses.append(envelope.address)
                case RegisterKey() as key:
                    key_root = key.root
                case UpdateTransaction() as update:
                    updates[update.epoch, update.phase, envelope.address] = update
                case AggregateTransaction() as stated:
                    payments = tuple(_payments(store, height))
                    planned = _round(block, stated, addresses, updates)
                    rounds.append(PlannedRound(planned, payments, block.header.proposer))
    if not key_root:
        raise UsageError("the run has not registered its key yet: there is nothing to anchor")
    public_key = Ciphers(chain_id(genesis), settings, key_in(store.blob)).public_key(key_root)
    ciphers = {  # neither a cipher's seed nor its epoch changes how it cuts its leaves
        phase: cast(PackedCipher | RingMaskedCipher,
                    make_cipher(settings, public_key, phase, 1, b""))
        for phase in (*settings.phases, LOSS)}
    modulus = (public_key.N**2).to_bytes(public_key.width, "big")
    inside = ciphers[LOSS].applies_weight == "device"
    return Plan(
        Setup(chain_id(genesis), modulus, inside, tuple(devices), tuple(genesis.edges),
              tuple(_shape(ciphers.get(phase)) for phase in PHASES)),
        tuple(rounds),
    )


def _round(
    block: Block, stated: AggregateTransaction, addresses: list[bytes],
    updates: dict[tuple[int, str, bytes], UpdateTransaction],
) -> AnchorRound:
    contributions = []
    for device in sorted(addresses[number] for number in device_numbers(stated.contributors)):
        update = updates.get((stated.epoch, stated.phase, device))
        if update is None:
            raise IntegrityError(f"block {block.header.height}: the aggregate names a contributor "
                                 "without an update; see bdn verify")
        contributions.append(Contribution(device, update.sample_count, update.root))
    return AnchorRound(stated.epoch, PHASES.index(stated.phase), block.header.height, block.digest,
                 stated.root, tuple(contributions))


def _payments(store: Store, height: int) -> Iterator[Payment]:
    """The tokens that the block's aggregate moved: processing reward and data rewards."""
    for event in store.receipts(height)[-1].events:
        if (event.contract, event.name) == ("learning", "paid") and event.fields["amount"]:
            fields = event.fields
            yield Payment(fields["source"], fields["target"], fields["amount"])


def _shape(cipher: PackedCipher | RingMaskedCipher | None) -> Shape:
    if cipher is None:
        return Shape(0, 0)
    chunks = -(-cipher.ring_bytes // cipher.chunk_bytes) if cipher.chunk_bytes else 0
    return Shape(cipher.ciphertext_count, cipher.ciphertext_count + chunks + 1)
