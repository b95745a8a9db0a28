"""An IoT device: a light node with data, an identity and perhaps a part of the key (Algorithm 2).

    joining → keying → confirming → working → waiting → opening → working → … → finished

A device reads every sealed block in order (`_read_block`), and after each event asks itself what
its stage calls for (`_advance`). It makes a partial decryption only of an aggregate that it has
verified as a light node, with the minimum of contributors, and at most once for an (epoch, phase):
the promise is written down before the share is made, and survives a restart.
"""

from collections.abc import Callable
from typing import Any

from bdn.chain import (
    AggregateTransaction,
    CallTransaction,
    Envelope,
    Receipt,
    RegisterKey,
    ShareTransaction,
    UpdateTransaction,
    blob_root,
    unpack_blob,
)
from bdn.errors import PeerError
from bdn.nodes import keying, memory
from bdn.nodes.events import (
    Compute,
    Computed,
    Effect,
    Event,
    Persist,
    Received,
    SetTimer,
    Started,
    TimedOut,
)
from bdn.nodes.group import HeldShare
from bdn.nodes.sealing import clips, share_session, update_context
from bdn.nodes.settings import GRADIENT, WEIGHTS
from bdn.nodes.standing import SHARE_TURN, Aggregate, DeviceState, Stage
from bdn.nodes.tasks import (
    LocalResult,
    SealedUpdate,
    local_gradient,
    local_loss,
    local_rest,
    local_update,
    make_share,
    open_aggregate,
    seal_local,
)
from bdn.paillier import VectorCipher
from bdn.paillier.errors import SpoiledSumError

__all__ = ["SHARE_TURN", "Aggregate", "Device", "Stage"]


class Device(DeviceState):
    """One device; `DeviceState` says what it is made from."""

    # --- events ---------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event. What peers do wrong costs them the device's trust, never an exception."""
        match event:
            case Started():
                kept = memory.KeptExchange(self._keyring.exchange.secret)
                effects: list[Effect] = [
                    Persist(memory.encode(kept), "exchange"), *self._reader.start()
                ]
            case Received(source, data):
                effects = self._reader.receive(source, data, now_ms)
            case TimedOut(timer):
                if timer == SHARE_TURN and self._current is not None:
                    self._current.turn = True
                effects = self._reader.on_timeout(timer)
            case Computed(name, result, error):
                self._computing -= 1
                effects = self._on_computed(name, result, error)
        effects += self._advance()
        self._computing += sum(isinstance(effect, Compute) for effect in effects)
        return effects

    # --- reading the ledger ---------------------------------------------------------------------

    def _read_transaction(
        self, envelope: Envelope, receipt: Receipt, height: int
    ) -> list[Effect]:
        """What a transaction in a sealed block means to us; inclusion is not success."""
        own = envelope.address == self._address
        if not receipt.ok:
            if own:
                self._trace.event("failed", node=self.name, height=height, reason=receipt.error)
            return []
        match envelope.payload:
            case RegisterKey() as registered:
                if envelope.address != self._addresses[0]:  # a quorum that colludes sealed it
                    self._trace.event("key-refused", node=self.name, height=height,
                                      reason="the first device did not register it")
                    return []
                self._keyring.registered = registered
                self._anchors[height] = registered.root
            case AggregateTransaction() as aggregate:
                return self._on_aggregate(aggregate, height)
            case ShareTransaction() as share:
                self._on_share(share, envelope.address)
            case CallTransaction(_, function, _) if own:
                self._keyring.done.add(function)
        return []

    def _on_aggregate(self, aggregate: AggregateTransaction, height: int) -> list[Effect]:
        """Algorithm 2, line 23: what the mining contract recorded under a quorum's seal."""
        self._anchors[height] = aggregate.root
        at = (aggregate.epoch, aggregate.phase)
        shares = self._shares.setdefault(at, {})
        self._aggregates[at] = Aggregate(aggregate, height, shares)
        if self._current is not self._aggregates[at]:  # an earlier one must be opened first
            return []
        self._trace.event("aggregate", node=self.name, height=height, epoch=aggregate.epoch,
                          phase=aggregate.phase, contributors=len(aggregate.contributors))
        return self._begin_opening()

    def _begin_opening(self) -> list[Effect]:
        self._working = False
        self.stage = Stage.OPENING
        return [*self._interface.withdraw(), *self._take_turn()]

    def _on_share(self, share: ShareTransaction, sender: bytes) -> None:
        holder = 1 <= share.index <= self.settings.key_holders
        if not holder or self._addresses[share.index - 1] != sender:
            return
        self._shares.setdefault((share.epoch, share.phase), {})[share.index] = share.root

    # --- what comes next ------------------------------------------------------------------------

    def _advance(self) -> list[Effect]:
        """Ask for what is missing; when nothing is, do what the stage calls for."""
        if self.stage is Stage.FINISHED or self._reader.evidence is not None:
            return []
        asked = self._reader.ask_next(self._wanted_blobs(), self._wanted_cells())
        if asked is not None:
            return asked
        match self.stage:
            case Stage.JOINING:
                return self._join()
            case Stage.KEYING:
                return self._key()
            case Stage.CONFIRMING:
                return self._confirm()
            case Stage.WORKING:
                return self._work()
            case Stage.OPENING:
                return [*self._make_share(), *self._open()]
            case _:
                return []

    def _wanted_blobs(self) -> list[bytes]:
        roots = [self._keyring.root] if self._keyring.registered is not None else []
        if self._current is not None:
            roots += [self._current.transaction.root, *self._current.shares.values()]
        return roots

    def _wanted_cells(self) -> list[bytes]:
        leads = self._address == self._addresses[0]
        if self.stage is Stage.KEYING and leads and self._keyring.registered is None:
            return [keying.EXCHANGED, *map(keying.exchange_key_cell, self._addresses)]
        return [keying.CONFIRMATIONS] if self.stage is Stage.CONFIRMING else []

    # --- the key: Algorithm 2, line 6 -----------------------------------------------------------

    def _join(self) -> list[Effect]:
        if "register_exchange_key" in self._keyring.done:
            self.stage = Stage.KEYING
            return self._advance()
        if not self._reader.may_submit:
            return []
        call = ("learning", "register_exchange_key", (self._keyring.exchange.public_key,))
        return self._interface.submit(CallTransaction(*call))

    def _key(self) -> list[Effect]:
        registered = self._keyring.registered
        if registered is not None:
            return self._check_key(registered)
        if self._address != self._addresses[0] or not self._reader.may_submit:
            return []
        exchange_keys = keying.read_exchange_keys(self._reader.cells, self._addresses)
        if exchange_keys is None:
            return []
        payload, blob = self._keyring.register(exchange_keys, self.settings, self._rng)
        return self._interface.submit(payload, [blob])

    def _check_key(self, registered: RegisterKey) -> list[Effect]:
        """Without our confirmation nothing is ever uploaded."""
        blob = self._reader.blob(registered.root)
        self.stage = Stage.CONFIRMING
        try:
            self._keyring.open(blob, self._addresses.index(self._address))
        except PeerError as error:
            self._trace.event("key-refused", node=self.name, reason=str(error))
            return []
        kept = memory.KeptKey(registered, self._keyring.group_key)
        return [Persist(memory.encode(kept)), *self._advance()]

    def _confirm(self) -> list[Effect]:
        if keying.is_confirmed(self._reader.cells, len(self._addresses)):
            self.stage = Stage.WORKING
            return self._advance()
        confirmed = "confirm_key" in self._keyring.done or not self._keyring.group_key
        if confirmed or not self._reader.may_submit:
            return []
        call = CallTransaction("learning", "confirm_key", (self._keyring.root,))
        return self._interface.submit(call)

    # --- the epoch: Algorithm 2, lines 4 and 7–11 -----------------------------------------------

    def _cipher(self, height: int | None = None) -> VectorCipher:
        """Of our epoch and phase, for vectors in the block at ``height``, or in the next one."""
        terms = self._terms(height if height is not None else self._reader.height + 1)
        return self._ciphers.get(terms, self.progress.epoch, self.progress.phase)

    def _work(self) -> list[Effect]:
        """Train, or take a gradient, or a loss; the result comes back as `Computed`."""
        if self._working:
            return []
        self._working = True
        self.stage = Stage.WAITING
        p = self.progress
        tag = f"{p.epoch}/{p.phase}"
        function: Callable[..., LocalResult] = local_loss
        arguments: tuple[Any, ...] = (self._learner, p.w)
        if p.lacks_gradient:
            function = local_rest
        elif p.phase == WEIGHTS:
            function, arguments = local_update, (self._learner, p.w, p.epoch, p.gradient)
        elif p.phase == GRADIENT:
            function = local_gradient
        return [Compute(f"train/{tag}", "train", function, arguments, parallel=True)]

    def _on_computed(self, name: str, result: Any, error: Exception | None) -> list[Effect]:
        kind, epoch, phase = name.split("/")
        if (int(epoch), phase) != (self.progress.epoch, self.progress.phase):
            return []  # the others went on without us
        if kind == "open":
            return self._on_opened(result, error)
        if error is not None:
            self._trace.event("failed", node=self.name, work=kind, reason=str(error))
            return []
        if kind == "train":
            return self._seal(result)
        if kind == "seal":
            return self._upload(*result)
        return self._send_share(result)

    def _seal(self, local: LocalResult) -> list[Effect]:
        p = self.progress
        context = update_context(self.light.chain, p.epoch, p.phase, self._address)
        arguments = (
            self._cipher(), local, clips(self.settings, p.phase), p.phase == WEIGHTS,
            self._learner.sample_count, context,
            self._rng.substream(f"seal/{p.epoch}/{p.phase}"),
        )
        return [Compute(f"seal/{p.epoch}/{p.phase}", "seal", seal_local, arguments)]

    def _upload(self, local: LocalResult, sealed: SealedUpdate) -> list[Effect]:
        """Algorithm 2, lines 9–10: Tx_dk = [E(δ_k), T_local]."""
        if self.stage is not Stage.WAITING:
            return []
        if sealed.scale < 1:
            self._trace.event("scaled", node=self.name, epoch=self.progress.epoch,
                              factor=sealed.scale)
        samples = self._learner.sample_count
        measured_ms = max(1, round(local.seconds * 1000))
        local_ms = self._nominal_ms(samples) if self._nominal_ms is not None else measured_ms
        root = blob_root(sealed.blob)
        payload = UpdateTransaction(
            self.progress.epoch, self.progress.phase, samples, local_ms, root,
            len(unpack_blob(sealed.blob)), len(sealed.blob),
        )
        return self._interface.submit(payload, [sealed.blob])

    # --- opening: Algorithm 2, lines 22–26 ------------------------------------------------------

    def _take_turn(self) -> list[Effect]:
        """The first t key holders, turning with the height, share at once.

        Each of the others waits a deadline longer than the one before it.
        """
        if self._key_share is None or self._current is None:
            return []
        rank = (self._key_share.index - 1 - self._current.height) % self.settings.key_holders
        if rank < self.settings.threshold:
            self._current.turn = True
            return []
        late = rank - self.settings.threshold + 1
        return [SetTimer(SHARE_TURN, late * self.settings.deadline_ms)]

    def _make_share(self) -> list[Effect]:
        aggregate = self._current
        if aggregate is None or self._key_share is None or not aggregate.turn:
            return []
        aggregate.turn = False
        if self._key_share.index in aggregate.shares:
            return []  # it was made before a restart
        at = aggregate.transaction
        if not self._may_open(at):
            return []
        promise = memory.PromisedShare(at.epoch, at.phase, at.root)
        self._promised[at.epoch, at.phase] = at.root
        arguments = (
            self._cipher(aggregate.height), self._key_share, self._reader.blobs[at.root],
            share_session(self.light.chain, at.epoch, at.phase), self._address,
            self._keyring.group_key, self._rng.substream(f"share/{at.epoch}/{at.phase}"),
        )
        work = Compute(f"share/{at.epoch}/{at.phase}", "share", make_share, arguments)
        return [Persist(memory.encode(promise)), work]

    def _may_open(self, at: AggregateTransaction) -> bool:
        """The device's own last word before it helps to open anything."""
        if self._promised.get((at.epoch, at.phase), at.root) != at.root:
            self._trace.event("share-withheld", node=self.name, reason="another sum was shared")
            return False
        if len(set(at.contributors)) < self.settings.minimum_contributors:
            self._trace.event("share-withheld", node=self.name, reason="too few contributors")
            return False
        return True

    def _send_share(self, blob: bytes) -> list[Effect]:
        assert self._key_share is not None
        if self.stage is not Stage.OPENING:
            return []
        payload = ShareTransaction(
            self.progress.epoch, self.progress.phase, self._key_share.index, blob_root(blob), 1,
            len(blob),
        )
        return self._interface.submit(payload, [blob])

    def _open(self) -> list[Effect]:
        aggregate = self._current
        if aggregate is None or self._working or len(aggregate.shares) <= aggregate.tried or (
            len(aggregate.shares) < self.settings.threshold
        ):
            return []
        self._working = True
        aggregate.tried = len(aggregate.shares)
        at = aggregate.transaction
        arguments = (
            self._cipher(aggregate.height), self._reader.blobs[at.root],
            [HeldShare(i, self._addresses[i - 1], self._reader.blobs[root])
             for i, root in sorted(aggregate.shares.items())],
            share_session(self.light.chain, at.epoch, at.phase), self._keyring.group_key,
        )
        return [Compute(f"open/{at.epoch}/{at.phase}", "open", open_aggregate, arguments)]

    def _on_opened(self, opened: Any, error: Exception | None) -> list[Effect]:
        self._working = False
        aggregate = self._current
        if aggregate is None:
            return []
        at = aggregate.transaction
        if isinstance(error, SpoiledSumError):  # more shares would open the same
            self.progress.lose(at.total_samples, at.contributors)
            self._trace.event("spoiled", node=self.name, epoch=at.epoch, phase=at.phase,
                              reason=str(error))
        elif error is not None:  # bad shares: more will come
            self._trace.event("not-opened", node=self.name, reason=str(error))
            return []
        else:
            self.progress.apply(opened, at.total_samples, at.contributors)
            self._trace.event("opened", node=self.name, epoch=at.epoch, phase=at.phase)
        return self._go_on(aggregate)

    def _go_on(self, aggregate: Aggregate) -> list[Effect]:
        """The model is written down, and the next phase begins."""
        self._settle(aggregate)
        self._reader.forget_blobs(but=self._keyring.root)
        effects = [*self._interface.withdraw(), Persist(memory.encode(self._memory()), "model")]
        if self.progress.finished:
            self.stage = Stage.FINISHED
        elif self._current is not None:  # we are behind: the next aggregate is there already
            effects += self._begin_opening()
        else:
            self.stage = Stage.WORKING
        return effects
