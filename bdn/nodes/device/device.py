"""An IoT device: a light node with data, an identity and perhaps a part of the key (Algorithm 2).

    joining → keying → confirming → working → waiting → opening → working → … → finished

A device whose owner wants more epochs than the ledger grants asks for them at the end, and goes on
when the ledger's state says so: finished → extending → working → ….

A device reads every sealed block in order (`_read_transaction`), and after each event asks itself
what its stage calls for (`_advance`). It makes a partial decryption only of an aggregate that it
has verified as a light node, with the minimum of contributors, and at most once for an (epoch,
phase): the promise is written down before the share is made, and survives a restart.

A sealed vector is bound to its *terms*: the root of the key, and the *anchor*, which is the root of
the last aggregate on the ledger (or of the key, before the first aggregate). Nobody can foresee an
anchor, so nobody can prepare a vector ahead or use an old one again.
"""

from collections.abc import Callable, Hashable, Sequence
from enum import Enum
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
    device_numbers,
    unpack_blob,
)
from bdn.errors import BdnError, IntegrityError, PeerError, UsageError
from bdn.identity import Identity
from bdn.nodes.ciphers import Ciphers, clips, share_session, update_context
from bdn.nodes.device import extension, journal, keyring
from bdn.nodes.device.interface import (
    ANSWER_MS,
    ANSWER_MS_PER_DEVICE,
    SUBMISSION_MS,
    SUBMISSION_MS_PER_DEVICE,
    ContractInterface,
)
from bdn.nodes.device.light_node import LightNode
from bdn.nodes.device.opening import (
    HeldShare,
    Opening,
    make_share,
    open_aggregate,
    opening_name,
)
from bdn.nodes.device.progress import Progress
from bdn.nodes.device.reader import POLL, Reader
from bdn.nodes.device.work import (
    DeviceLearner,
    LocalVector,
    SealedUpdate,
    Vector,
    local_gradient,
    local_loss,
    local_rest,
    local_update,
    model_digest,
    seal_local,
    verification_of,
)
from bdn.nodes.events import (
    Compute,
    Computed,
    Effect,
    Event,
    Persist,
    Received,
    SetTimer,
    Started,
    Task,
    TimedOut,
)
from bdn.nodes.faults import Guard, reason_of
from bdn.nodes.group_key import ExchangeKey
from bdn.nodes.messages import GetLeaves
from bdn.nodes.participation import draw_cell, is_drawn
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.paillier import KeyShare, VectorCipher
from bdn.paillier.errors import SpoiledSumError
from bdn.randomness import Randomness
from bdn.trace import DISCARD, Trace

SHARE_TURN = "share-turn"
"""Timer: a key holder whose turn comes late makes its share after all."""


class Stage(Enum):
    """What a device is about."""

    JOINING = "joining"
    KEYING = "keying"
    CONFIRMING = "confirming"
    WORKING = "working"
    WAITING = "waiting"
    OPENING = "opening"
    FINISHED = "finished"
    EXTENDING = "extending"


class Device:
    """One device.

    Args:
        name: how nodes and people call it.
        identity: its Ed25519 identity; its address is p_k.
        addresses: all devices' addresses in genesis order.
        position: of ours among them, from 0.
        light: what it believes about the chain, at genesis.
        edges: names of the edge servers, its own first.
        settings: from genesis.
        learner: data and local rule.
        w: w^(0), float32 (|w|,), the same at every device.
        public_key: the joint key that it helped to make, encoded.
        key_share: its part of the secret, where it holds one.
        rng: for sealing, shares and wrapping.
        gas_limit: of its transactions.
        records: its journal, as it was before a restart.
        nominal_ms: T_local as a function of the sample count, for runs that must repeat byte for
            byte; measured where it is None.
        trace: told what happens.
        epochs: how many epochs its owner wants; what genesis says where it is 0.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        addresses: Sequence[bytes],
        position: int,
        light: LightNode,
        edges: Sequence[str],
        settings: Settings,
        learner: DeviceLearner,
        w: Vector,
        public_key: bytes,
        key_share: KeyShare | None,
        rng: Randomness,
        gas_limit: int,
        records: Sequence[bytes] = (),
        nominal_ms: Callable[[int], int] | None = None,
        trace: Trace = DISCARD,
        epochs: int = 0,
    ) -> None:
        if settings.initial_model not in ("", model_digest(w)):
            raise UsageError(f"{name} has another w^(0) than genesis names: begin with the model "
                             "that the run began with (--model, --init)")
        self.name = name
        self.settings = settings
        self._epochs = epochs
        self._asked = 0
        """The number of epochs that its last request on the ledger names."""
        self._may_ask = position < settings.minimum_contributors
        """Whether it is its turn to ask for more epochs: the first devices are enough."""
        self.light = light
        self.stage = Stage.JOINING
        self.progress = Progress(settings, w)
        self._address = identity.address
        self._addresses = tuple(addresses)  # no copy, where it is a tuple already
        self._position = position
        self._learner = learner
        self._key_share = key_share
        self._rng = rng
        self._nominal_ms = nominal_ms
        self._trace = trace
        self._interface = ContractInterface(
            name, identity, light, edges, gas_limit,
            answer_ms=max(ANSWER_MS, ANSWER_MS_PER_DEVICE * settings.devices),
            submission_ms=max(SUBMISSION_MS, SUBMISSION_MS_PER_DEVICE * settings.devices),
            trace=trace)
        self._guard = Guard(name, trace)
        self._reader = Reader(
            name, identity.address, light, self._interface, self._guard, settings.deadline_ms,
            self._read_transaction, self._mark, trace,
        )
        self._keyring = keyring.Keyring(light.chain, public_key, rng.substream("exchange"))
        self._ciphers = Ciphers(light.chain, settings, lambda _root: public_key)  # as registered
        self._anchors: dict[int, bytes] = {}
        """By height of a block: the root, the key's or an aggregate's, that it made the anchor."""
        self._openings: dict[tuple[int, str], Opening] = {}
        """Aggregates that were read and not opened yet, by (epoch, phase)."""
        self._shares: dict[tuple[int, str], dict[int, bytes]] = {}
        """Roots of the shares' blobs by (epoch, phase) and key holder, kept even where a share is
        read before its aggregate. An `Opening` has the same dict, so it sees later shares too."""
        self._promised: dict[tuple[int, str], bytes] = {}
        """Root of the one sum that this device helps to open, by (epoch, phase)."""
        self._computing = 0
        """Tasks handed out and not come back."""
        self._busy = False
        """Whether training, sealing or opening of this phase is under way."""
        self._restore(records)

    @property
    def _current(self) -> Opening | None:
        """The aggregate of the epoch and phase that the device is at, once it is on the ledger."""
        return self._openings.get((self.progress.epoch, self.progress.phase))

    # --- events ---------------------------------------------------------------------------------

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event, then do what has become possible; return what the driver must do.

        A peer's fault raises nothing here: it is recorded in the trace as "failed". What makes an
        edge server lose the device's trust is told in `Reader`.
        """
        nothing: list[Effect] = []
        effects = [
            *self._guard.attempt(event="failed", source=self.name,
                                 action=lambda: self._take(event, now_ms), otherwise=nothing),
            *self._guard.attempt(event="failed", source="the ledger",
                                 action=self._advance, otherwise=nothing),
        ]
        self._computing += sum(isinstance(effect, Compute) for effect in effects)
        return effects

    def _take(self, event: Event, now_ms: int) -> list[Effect]:
        match event:
            case Started():
                kept = journal.KeptExchange(self._keyring.exchange.secret)
                # A record in a named slot of the journal takes the place of the one before it.
                return [Persist(journal.encode(kept), slot="exchange"), *self._reader.start()]
            case Received(source, data):
                return self._reader.receive(source, data, now_ms)
            case TimedOut(timer):
                if timer == SHARE_TURN and self._current is not None:
                    self._current.turn = True
                if timer == POLL and self.stage is Stage.EXTENDING:
                    self._may_ask = True  # not enough of the first devices have asked
                if timer == POLL and self._current is not None:
                    self._current.tried = 0  # what failed is tried again now and then
                return self._reader.on_timeout(timer)
            case Computed(task, result, error):
                self._computing -= 1
                return self._on_computed(task, result, error)

    # --- reading the ledger ---------------------------------------------------------------------

    def _read_transaction(
        self, envelope: Envelope, receipt: Receipt, height: int
    ) -> list[Effect]:
        """Take in what a transaction in a sealed block means to us; inclusion is not success."""
        own = envelope.address == self._address
        if own and isinstance(envelope.payload, CallTransaction):
            self._asked = extension.asked_for(envelope.payload) or self._asked
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
        shares = self._shares.setdefault(at, {})  # `_on_share` goes on filling this very dict
        self._openings[at] = Opening(aggregate, height, shares)
        if self._current is not self._openings[at]:  # an earlier one must be opened first
            return []
        self._trace.event("aggregate", node=self.name, height=height, epoch=aggregate.epoch,
                          phase=aggregate.phase,
                          contributors=len(device_numbers(aggregate.contributors)))
        return self._begin_opening()

    def _begin_opening(self) -> list[Effect]:
        self._busy = False
        self.stage = Stage.OPENING
        # What was submitted is in a block or too late: the interface need not send it again.
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
        question = self._reader.ask_next(
            self._wanted_leaves(), self._wanted_blobs(), self._wanted_cells())
        if question is not None:  # something is missing; [] where it has been asked for already
            return question
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
            case Stage.EXTENDING:
                return self._extend()
            case Stage.WAITING | Stage.FINISHED:
                return []

    def _wanted_leaves(self) -> GetLeaves | None:
        """Return what to ask for of the registered key: the key, and the group key for us."""
        registered = self._keyring.registered
        if registered is None or self.stage is not Stage.KEYING:
            return None
        return GetLeaves(registered.root, registered.chunks, (0, 1 + self._position))

    def _wanted_blobs(self) -> list[bytes]:
        if self._current is None:
            return []
        return [self._current.aggregate.root, *self._current.shares.values()]

    def _wanted_cells(self) -> list[bytes]:
        leads = self._address == self._addresses[0]
        if self.stage is Stage.KEYING and leads and self._keyring.registered is None:
            return [keyring.EXCHANGED, *map(keyring.exchange_key_cell, self._addresses)]
        if self.stage is Stage.EXTENDING:
            return [extension.EPOCHS]
        if self.stage is Stage.WORKING and self.settings.drawn:
            return [self._draw_cell]
        return [keyring.CONFIRMATIONS] if self.stage is Stage.CONFIRMING else []

    # --- the key: Algorithm 2, line 6 -----------------------------------------------------------

    def _join(self) -> list[Effect]:
        if "register_exchange_key" in self._keyring.done:
            self.stage = Stage.KEYING
            return self._advance()
        if not self._reader.may_submit:  # a transaction is under way, or one was refused just now
            return []
        call = ("learning", "register_exchange_key", (self._keyring.exchange.public_key,))
        return self._interface.submit(CallTransaction(*call))

    def _key(self) -> list[Effect]:
        registered = self._keyring.registered
        if registered is not None:
            return self._check_key(registered)
        if self._address != self._addresses[0] or not self._reader.may_submit:
            return []
        exchange_keys = keyring.read_exchange_keys(self._reader.cells, self._addresses)
        if exchange_keys is None:
            return []
        payload, blob = self._keyring.register(exchange_keys, self.settings, self._rng)
        return self._interface.submit(payload, [blob])

    def _check_key(self, registered: RegisterKey) -> list[Effect]:
        """Check the registered key against ours. Until all devices confirm it, nobody uploads."""
        key, wrapped = (self._reader.leaves.pop((registered.root, position))
                        for position in (0, 1 + self._position))
        self.stage = Stage.CONFIRMING
        try:
            self._keyring.open(key, wrapped, self._position)
        except PeerError as error:
            self._trace.event("key-refused", node=self.name, reason=reason_of(error))
            return []
        kept = journal.KeptKey(registered, self._keyring.group_key)
        return [Persist(journal.encode(kept)), *self._advance()]

    def _confirm(self) -> list[Effect]:
        if keyring.is_confirmed(self._reader.cells, len(self._addresses)):
            self.stage = Stage.WORKING
            return self._advance()
        asked = "confirm_key" in self._keyring.done
        refused = not self._keyring.group_key  # the registered key is not one to confirm
        if asked or refused or not self._reader.may_submit:
            return []
        call = CallTransaction("learning", "confirm_key", (self._keyring.root,))
        return self._interface.submit(call)

    # --- the epoch: Algorithm 2, lines 4 and 7–11 -----------------------------------------------

    def _cipher(self, height: int | None = None) -> VectorCipher:
        """Return the cipher of our epoch and phase for vectors in the block at ``height``.

        Without a height, it is for the block after the last one that was read.
        """
        terms = self._sealing_terms(height if height is not None else self._reader.height + 1)
        return self._ciphers.get(terms, self.progress.epoch, self.progress.phase)

    def _work(self) -> list[Effect]:
        """Train, or take a gradient, or a loss; the result comes back as `Computed`."""
        if self._busy:
            return []
        p = self.progress
        if self.settings.drawn:  # 0: every device takes part in every epoch
            cell = self._reader.cells.get(self._draw_cell)
            if cell is None:
                return []
            if not is_drawn(cell, self._address):
                self._trace.event("not-drawn", node=self.name, epoch=p.epoch, phase=p.phase)
                self.stage = Stage.WAITING
                return []
        self._busy = True
        self.stage = Stage.WAITING
        function: Callable[..., LocalVector] = local_loss
        arguments: tuple[Any, ...] = (self._learner, p.w)
        if p.lacks_gradient:  # the sum of gradients was spoiled: a vector of zeros moves nothing
            function = local_rest
        elif p.phase == WEIGHTS:
            function, arguments = local_update, (self._learner, p.w, p.epoch, p.gradient)
        elif p.phase == GRADIENT:
            function = local_gradient
        return [Compute(self._task("train"), function, arguments, parallel=True)]

    @property
    def _draw_cell(self) -> bytes:
        """The state key of the draw that says who takes part in this phase."""
        p = self.progress
        # The loss of the last model is judged by the devices that a next epoch would draw.
        return draw_cell(p.epoch + 1 if p.phase == LOSS else p.epoch)

    def _task(self, kind: str) -> Task:
        return Task(kind, self.progress.epoch, self.progress.phase)

    def _on_computed(self, task: Task, result: Any, error: Exception | None) -> list[Effect]:
        if task != self._task(task.kind):
            return []  # the others went on without us
        if task.kind == "open":
            return self._on_opened(result, error)
        if error is not None:
            self._trace.event("failed", node=self.name, work=task.kind, reason=reason_of(error))
            return []
        match task.kind:
            case "train":
                return self._seal(result)
            case "seal":
                return self._upload(*result)
            case _:
                return self._send_share(result)

    def _seal(self, local: LocalVector) -> list[Effect]:
        p = self.progress
        context = update_context(self.light.chain, p.epoch, p.phase, self._address)
        with_loss = p.phase == WEIGHTS  # then the vector is δ_k with the loss F_k at its end
        arguments = (
            self._cipher(), local, clips(self.settings, p.phase), with_loss,
            self._learner.sample_count, context,
            self._rng.substream(f"seal/{p.epoch}/{p.phase}"),
        )
        return [Compute(self._task("seal"), seal_local, arguments, parallel=True,
                        ahead=verification_of)]

    def _upload(self, seconds: float, sealed: SealedUpdate) -> list[Effect]:
        """Algorithm 2, lines 9–10: Tx_dk = [E(δ_k), T_local]."""
        if self.stage is not Stage.WAITING:
            return []
        if sealed.scale < 1:
            self._trace.event("scaled", node=self.name, epoch=self.progress.epoch,
                              factor=sealed.scale, limit=sealed.limit)
        samples = self._learner.sample_count
        measured_ms = max(1, round(seconds * 1000))
        local_ms = self._nominal_ms(samples) if self._nominal_ms is not None else measured_ms
        root = blob_root(sealed.blob)
        payload = UpdateTransaction(
            self.progress.epoch, self.progress.phase, samples, local_ms, root,
            chunks=len(unpack_blob(sealed.blob)), size=len(sealed.blob),
        )
        return self._interface.submit(payload, [sealed.blob])

    # --- opening: Algorithm 2, lines 22–26 ------------------------------------------------------

    def _take_turn(self) -> list[Effect]:
        """Share now if it is this holder's turn; else wait, in case t others do it before."""
        if self._key_share is None or self._current is None:
            return []
        deadlines = self._current.deadlines_to_wait(self.settings, self._key_share.index)
        if deadlines == 0:
            self._current.turn = True
            return []
        return [SetTimer(SHARE_TURN, deadlines * self.settings.deadline_ms)]

    def _make_share(self) -> list[Effect]:
        opening = self._current
        # accept?
        if opening is None or self._key_share is None or not opening.turn:
            return []
        opening.turn = False
        at = opening.aggregate
        made_before = self._key_share.index in opening.shares
        if made_before or not self._may_open(at):
            return []
        # record: the promise must be durable before the share exists
        self._promised[at.epoch, at.phase] = at.root
        promise = journal.PromisedShare(at.epoch, at.phase, at.root)
        # send
        arguments = (
            self._cipher(opening.height), self._key_share, self._reader.blobs[at.root],
            share_session(self.light.chain, at.epoch, at.phase), self._address,
            self._keyring.group_key, self._rng.substream(f"share/{at.epoch}/{at.phase}"),
        )
        work = Compute(self._task("share"), make_share, arguments)
        return [Persist(journal.encode(promise)), work]

    def _may_open(self, at: AggregateTransaction) -> bool:
        """Tell whether the device's own conditions hold: no other sum was promised at this epoch
        and phase, and there are enough contributors."""
        if self._promised.get((at.epoch, at.phase), at.root) != at.root:
            self._trace.event("share-withheld", node=self.name, reason="another sum was shared")
            return False
        if len(device_numbers(at.contributors)) < self.settings.minimum_contributors:
            self._trace.event("share-withheld", node=self.name, reason="too few contributors")
            return False
        return True

    def _send_share(self, blob: bytes) -> list[Effect]:
        assert self._key_share is not None
        if self.stage is not Stage.OPENING:
            return []
        payload = ShareTransaction(
            self.progress.epoch, self.progress.phase, self._key_share.index, blob_root(blob),
            chunks=1, size=len(blob),
        )
        return self._interface.submit(payload, [blob])

    def _open(self) -> list[Effect]:
        """Combine the shares that are here, whenever there are more than the last attempt had."""
        opening = self._current
        if opening is None or self._busy:
            return []
        if len(opening.shares) < max(self.settings.threshold, opening.tried + 1):
            return []
        self._busy = True
        opening.tried = len(opening.shares)
        at = opening.aggregate
        arguments = (
            self._cipher(opening.height), self._reader.blobs[at.root],
            [HeldShare(i, self._addresses[i - 1], self._reader.blobs[root])
             for i, root in sorted(opening.shares.items())],
            share_session(self.light.chain, at.epoch, at.phase), self._keyring.group_key,
        )
        return [Compute(self._task("open"), open_aggregate, arguments,
                        shared=opening_name(*arguments))]

    def _on_opened(self, opened: Any, error: Exception | None) -> list[Effect]:
        self._busy = False
        opening = self._current
        if opening is None:
            return []
        at = opening.aggregate
        if isinstance(error, SpoiledSumError):  # more shares would open the same
            self.progress.lose(at.total_samples, at.contributors)
            self._trace.event("spoiled", node=self.name, epoch=at.epoch, phase=at.phase,
                              reason=reason_of(error))
        elif error is not None:  # bad shares: more will come
            self._trace.event("not-opened", node=self.name, reason=reason_of(error))
            return []
        else:
            self.progress.apply(opened, at.total_samples, at.contributors)
            self._trace.event("opened", node=self.name, epoch=at.epoch, phase=at.phase)
        return self._go_on(opening)

    def _go_on(self, opened: Opening) -> list[Effect]:
        """Write down the model, and begin the next phase."""
        self._forget(opened)
        kept = journal.encode(self._kept_progress())
        effects = [*self._interface.withdraw(), Persist(kept, slot="model")]
        if self.progress.finished:
            self.stage = self._last_stage()
        elif self._current is not None:  # we are behind: the next aggregate is there already
            effects += self._begin_opening()
        else:
            self.stage = Stage.WORKING
        return effects

    def _last_stage(self) -> Stage:
        return Stage.EXTENDING if self._epochs > self.progress.epochs else Stage.FINISHED

    def _extend(self) -> list[Effect]:
        """Ask for more epochs, once, and go on when the ledger's state grants them."""
        granted = extension.read_epochs(self._reader.cells)
        if granted > self.progress.epochs:
            self.progress.extend(granted)
            self._trace.event("extended", node=self.name, epochs=granted)
            self.stage, self._busy = Stage.WORKING, False
            withdrawn = self._interface.withdraw() if self._interface.submission else []
            behind = self._begin_opening() if self._current is not None else []
            return [*withdrawn, *behind, *self._advance()]
        asked = self._asked == self._epochs
        if asked or not self._may_ask or not self._reader.may_submit:
            return []
        return self._interface.submit(extension.request(self._epochs))

    def _forget(self, opened: Opening) -> None:
        """Forget the shares, anchors and blobs of steps before this aggregate."""
        at = opened.aggregate
        del self._openings[at.epoch, at.phase]
        self._shares = {(epoch, phase): shares for (epoch, phase), shares in self._shares.items()
                        if epoch >= at.epoch and (epoch, phase) != (at.epoch, at.phase)}
        self._anchors = {height: root for height, root in self._anchors.items()
                         if height >= opened.height}
        self._reader.forget_before(opened.height)
        self._reader.forget_blobs()

    # --- where we stand -------------------------------------------------------------------------

    def _sealing_terms(self, height: int) -> tuple[bytes, bytes]:
        """Return what vectors in the block at ``height`` are sealed under: (key root, anchor).

        It is computed when it is needed: an edge server may have hidden an aggregate before that
        block, which is then read late.
        """
        before = [at for at in self._anchors if at < height]
        return self._keyring.root, self._anchors[max(before)] if before else b""

    def _mark(self) -> Hashable:
        """Return a value that changes when the ledger moves us on; None while we compute.

        The reader compares it over time. If it stays the same, an edge server may hide something.
        """
        if self._computing or self.stage is Stage.FINISHED:
            return None
        shares = len(self._current.shares) if self._current is not None else 0
        p = self.progress
        return self.stage, p.epoch, p.phase, self._interface.nonce, shares

    # --- what survives a restart ----------------------------------------------------------------

    def _kept_progress(self) -> journal.KeptProgress:
        """Return the record of where we stand; later blocks are read again after a restart."""
        height = self._reader.step
        _, anchor = self._sealing_terms(height + 1)
        return journal.progress_record(self.progress, height, anchor, self._interface.nonce)

    def _restore(self, records: Sequence[bytes]) -> None:
        """Go on where the journal ends; raise `IntegrityError` for a damaged one."""
        for number, data in enumerate(records):
            try:
                self._take_back(journal.decode(data))
            except (BdnError, ValueError) as error:
                raise IntegrityError(f"the journal of {self.name} is damaged: record {number}: "
                                     f"{reason_of(error)}") from error

    def _take_back(self, record: journal.JournalRecord) -> None:
        match record:
            case journal.KeptExchange(secret):
                self._keyring.exchange = ExchangeKey.from_secret(secret)
            case journal.KeptKey(registered, group_key):
                self._keyring.registered, self._keyring.group_key = registered, group_key
                self._anchors = {0: registered.root}
            case journal.PromisedShare(epoch, phase, root):
                self._promised[epoch, phase] = root
            case journal.KeptProgress() as kept:
                journal.restore_progress(self.progress, kept)
                self._reader.height, self._reader.step = kept.read_height, kept.read_height + 1
                self._anchors = {kept.read_height: kept.anchor}
                self._interface.nonce = kept.nonce
                self.stage = self._last_stage() if kept.finished else Stage.WORKING
