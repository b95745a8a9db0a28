"""Where a device stands: its stage, its keys, what it has read and promised, and its restart.

    joining → keying → confirming → working → waiting → opening → working → … → finished
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from bdn.chain import AggregateTransaction, Envelope, Receipt
from bdn.identity import Identity
from bdn.nodes import keying, memory
from bdn.nodes.events import Effect
from bdn.nodes.group import ExchangeKey
from bdn.nodes.interface import ContractInterface
from bdn.nodes.lightnode import LightNode
from bdn.nodes.progress import Progress
from bdn.nodes.reading import Reader
from bdn.nodes.sealing import Ciphers
from bdn.nodes.settings import Settings
from bdn.nodes.tasks import Learner, Vector
from bdn.paillier import KeyShare
from bdn.randomness import Randomness
from bdn.trace import DISCARD, Trace

SHARE_TURN = "share-turn"
"""Timer: a key holder whose turn comes late makes its share after all."""


class Stage(Enum):
    """Where a device stands."""

    JOINING = "joining"
    KEYING = "keying"
    CONFIRMING = "confirming"
    WORKING = "working"
    WAITING = "waiting"
    OPENING = "opening"
    FINISHED = "finished"


@dataclass(slots=True)
class Aggregate:
    """The aggregate that is being opened, and what has come of it."""

    transaction: AggregateTransaction
    height: int
    shares: dict[int, bytes] = field(default_factory=dict)
    """Roots of the shares' blobs, by key holder."""
    tried: int = 0
    """How many shares the last attempt to open had."""
    turn: bool = False
    """Whether it is our turn to make a share."""


class DeviceState(ABC):
    """One device's state; `bdn.nodes.device.Device` is what it does with it.

    Args:
        name: how nodes and people call it.
        identity: its Ed25519 identity; its address is p_k.
        addresses: all devices' addresses in genesis order; ours is among them.
        light: what it believes about the chain, at genesis.
        edges: names of the edge servers, its own first.
        settings: from genesis.
        learner: data and local rule.
        w: w^(0), float32 (|w|,), the same at every device.
        public_key: the joint key that it helped to make, encoded.
        key_share: its part of the secret, where it holds one.
        rng: for sealing, shares and wrapping.
        gas_limit: of its transactions.
        journal: what it wrote down before a restart.
        nominal_ms: T_local as a function of the sample count, for runs that must repeat byte for
            byte; measured where it is None.
        trace: told what happens.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        addresses: Sequence[bytes],
        light: LightNode,
        edges: Sequence[str],
        settings: Settings,
        learner: Learner,
        w: Vector,
        public_key: bytes,
        key_share: KeyShare | None,
        rng: Randomness,
        gas_limit: int,
        journal: Sequence[bytes] = (),
        nominal_ms: Callable[[int], int] | None = None,
        trace: Trace = DISCARD,
    ) -> None:
        self.name = name
        self.settings = settings
        self.light = light
        self.stage = Stage.JOINING
        self.progress = Progress(settings, w)
        self._address = identity.address
        self._addresses = list(addresses)
        self._learner = learner
        self._key_share = key_share
        self._rng = rng
        self._nominal_ms = nominal_ms
        self._trace = trace
        self._interface = ContractInterface(
            name, identity, light, edges, gas_limit, trace=trace
        )
        self._reader = Reader(
            name, identity.address, light, self._interface, settings.deadline_ms,
            self._read_transaction, self._mark, trace,
        )
        self._keyring = keying.Keyring(light.chain, public_key, rng.substream("exchange"))
        self._ciphers = Ciphers(light.chain, settings, self._reader.blob)
        self._anchors: dict[int, bytes] = {}
        """By height: what became the anchor there, the key's root or an aggregate's."""
        self._aggregates: dict[tuple[int, str], Aggregate] = {}
        self._shares: dict[tuple[int, str], dict[int, bytes]] = {}
        """Roots of the shares' blobs by (epoch, phase) and key holder, whichever came first."""
        self._computing = 0
        self._promised: dict[tuple[int, str], bytes] = {}
        self._working = False
        memory.restore(self, journal)

    @abstractmethod
    def _read_transaction(
        self, envelope: Envelope, receipt: Receipt, height: int
    ) -> list[Effect]:
        """What a transaction in a sealed block means to the device."""

    @property
    def _current(self) -> Aggregate | None:
        """The aggregate of the epoch and phase that the device is at, once it is on the ledger."""
        return self._aggregates.get((self.progress.epoch, self.progress.phase))

    def _terms(self, height: int) -> tuple[bytes, bytes]:
        """What vectors in the block at ``height`` are sealed under: [key root, anchor].

        Asked late, since an aggregate before it may have been hidden from us and read after it.
        """
        before = [at for at in self._anchors if at < height]
        return self._keyring.root, self._anchors[max(before)] if before else b""

    def _mark(self) -> Hashable:
        """Where we stand, as far as others' transactions bring us further; None while we work."""
        if self._computing or self.stage is Stage.FINISHED:
            return None
        shares = len(self._current.shares) if self._current is not None else 0
        p = self.progress
        return self.stage, p.epoch, p.phase, self._interface.nonce, shares

    def _settle(self, aggregate: Aggregate) -> None:
        """``aggregate`` is opened: what lies before it on the ledger matters no more."""
        at = aggregate.transaction
        del self._aggregates[at.epoch, at.phase]
        self._shares = {(epoch, phase): shares for (epoch, phase), shares in self._shares.items()
                        if epoch >= at.epoch and (epoch, phase) != (at.epoch, at.phase)}
        self._anchors = {height: root for height, root in self._anchors.items()
                         if height >= aggregate.height}
        self._reader.settle(aggregate.height)

    # --- what survives a restart ----------------------------------------------------------------

    def _memory(self) -> memory.Model:
        """The record of where we stand; blocks after the last opened aggregate are read again."""
        height = self._reader.step
        anchor = self._terms(height + 1)[1]
        return memory.remember(self.progress, height, anchor, self._interface.nonce)

    def restore_exchange(self, secret: bytes) -> None:
        """Take back the X25519 key that the ledger knows us by."""
        self._keyring.exchange = ExchangeKey.from_secret(secret)

    def restore_key(self, kept: memory.KeptKey) -> None:
        """Take back the confirmed key."""
        self._keyring.registered, self._keyring.group_key = kept.registered, kept.group_key
        self._anchors = {0: kept.registered.root}

    def restore_promise(self, epoch: int, phase: str, root: bytes) -> None:
        """Take back the promise to open this sum and no other."""
        self._promised[epoch, phase] = root

    def restore_place(self, model: memory.Model) -> None:
        """Go on reading where the journal ends."""
        self._reader.height, self._reader.step = model.read_height, model.read_height + 1
        self._anchors = {model.read_height: model.anchor}
        self._interface.nonce = model.nonce
        self.stage = Stage.FINISHED if model.finished else Stage.WORKING
