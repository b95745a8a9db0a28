"""Algorithm 1 as one device sees it: what an opened aggregate does to the model.

    w^(p)   the global model after epoch p      ε   the stop threshold      P   the last epoch
    F(w)    the global loss                     w^f the best model seen (line 13)

The sum that epoch p's weight phase opens ends with Σ s_k F_k(w^(p-1)): so F of a model is known one
epoch later, and a closing loss phase scores w^(P). Losses of different contributors are averages
over different samples; line 13 therefore compares only while the contributors stay the same, and
starts anew with the newer model where they change.

A sum may open and yet be none that honest devices can have made. That follows from the plaintext
alone, so all devices see it alike, and each goes on by itself: the epoch is lost, w stays.
"""

from dataclasses import dataclass, field

import numpy as np

from bdn.errors import PeerError
from bdn.learning.schedules import stagnates
from bdn.learning.server import NO_MOMENTS, Moments, server_update
from bdn.nodes.device.work import Floats, Vector
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch, or the closing loss phase (whose ``norm`` is 0).

    Attributes:
        epoch: p.
        loss: F(w^(p-1)), or F(w^(P)) for the closing phase; None where its sum was spoiled.
        norm: ‖w^(p) − w^(p-1)‖₂.
        contributors: the devices, as `bdn.chain.device_bits` of their numbers in genesis.
        total_samples: s of the contributors.
        spoiled: a sum of this epoch was none of honest vectors, so that w stayed as it was.
        closing: whether this is the closing loss phase. A run that was extended has several.
    """

    epoch: int
    loss: float | None
    norm: float
    contributors: bytes
    total_samples: int
    spoiled: bool = False
    closing: bool = False


@dataclass(slots=True)
class Progress:
    """Where a device stands.

    Attributes:
        settings: the run's.
        w: w^(p-1) while epoch p runs, float32 (|w|,).
        epoch, phase: what is being computed now.
        epochs: P; the ledger may extend it when the run has finished (`extend`).
        gradient: ∇F(w^(p-1)), once the gradient phase has opened it.
        history: one record for each opened weight phase, and one for the closing loss phase.
        best, best_loss, best_epoch: w^f, F(w^f), and the epoch that made w^f (0: the start).
        finished: whether the closing loss phase has been opened.
        moments: of the server-side rule.
    """

    settings: Settings
    w: Vector
    epoch: int = 1
    phase: str = ""
    gradient: Vector | None = None
    history: list[EpochRecord] = field(default_factory=list)
    best: Vector = field(init=False)
    best_loss: float = float("inf")
    best_epoch: int = 0
    finished: bool = False
    epochs: int = 0
    moments: Moments = NO_MOMENTS

    def __post_init__(self) -> None:
        self.epochs = self.epochs or self.settings.epochs
        self.phase = self.phase or self.settings.phases[0]
        self.best = self.w

    @property
    def lacks_gradient(self) -> bool:
        """Whether this epoch's gradient phase was spoiled, so that its weight phase has no ∇F."""
        return (self.phase == WEIGHTS and self.settings.phases[0] == GRADIENT
                and self.gradient is None)

    def apply(self, opened: Floats, total: int, contributors: bytes) -> None:
        """Take the opened sum Σ s_k x_k of this epoch and phase, and go on to the next.

        Eq. (4): w^(p) = w^(p-1) + Σ s_k δ_k / s, unless the run has another server-side rule.
        Raises `PeerError` for a sum that is not finite, leaving everything as it was.
        """
        if not np.isfinite(opened).all():
            raise PeerError("the opened aggregate holds a value that is not finite")
        if self.phase == GRADIENT:
            self.gradient = (opened / total).astype(np.float32)
            self.phase = WEIGHTS
        elif self.phase == WEIGHTS:
            self._apply_weights(opened, total, contributors)
        else:
            loss = float(opened[0]) / total
            self._score(EpochRecord(self.epoch, loss, 0.0, contributors, total,
                                    closing=True), loss)
            self.finished = True

    def lose(self, total: int, contributors: bytes) -> None:
        """The sum of this epoch and phase was spoiled: go on to the next with w as it is.

        Without ∇F the devices seal updates of zeros, so that the ledger's phases go on in order.
        Losing an epoch is no reason to stop: ‖w^(p) − w^(p-1)‖₂ = 0 says nothing there.
        """
        if self.phase == GRADIENT:
            self.phase = WEIGHTS
            return
        lost = EpochRecord(self.epoch, None, 0.0, contributors, total, spoiled=True,
                           closing=self.phase == LOSS)
        self.history.append(lost)
        if self.phase == WEIGHTS:
            self._go_on(converged=False)
        else:
            self.finished = True

    def extend(self, epochs: int) -> None:
        """Go on after the end: the ledger has granted ``epochs`` epochs in all."""
        assert self.finished, "a run is extended after its end"
        self.epochs, self.finished = epochs, False
        self._next_epoch()

    @property
    def done(self) -> int:
        """Epochs whose weights were opened."""
        return sum(not record.closing for record in self.history)

    def _apply_weights(self, opened: Floats, total: int, contributors: bytes) -> None:
        loss = float(opened[-1]) / total
        updated, moments = server_update(self.settings, self.w, opened[:-1], total, self.moments)
        norm = float(np.linalg.norm(updated.astype(np.float64) - self.w))
        lost = self.lacks_gradient
        self._score(EpochRecord(self.epoch, loss, norm, contributors, total, spoiled=lost), loss)
        self.w, self.moments = updated, moments
        converged = norm <= self.settings.tolerance and not lost
        self._go_on(converged or stagnates(self._losses(), self.settings.patience))

    def _losses(self) -> list[float]:
        """F of each model since the run was last extended, as far as it was opened."""
        losses: list[float] = []
        for record in self.history:
            if record.closing:
                losses.clear()
            elif record.loss is not None:
                losses.append(record.loss)
        return losses

    def _go_on(self, converged: bool) -> None:
        """To the next epoch, or to the closing phase."""
        self.gradient = None
        if converged or self.epoch == self.epochs:
            self.phase = LOSS
        else:
            self._next_epoch()

    def _next_epoch(self) -> None:
        self.epoch += 1
        self.phase = self.settings.phases[0]

    def _score(self, record: EpochRecord, loss: float) -> None:
        """Algorithm 1, line 13, for the model that ``loss`` is F of."""
        judged = next((r.contributors for r in reversed(self.history) if r.loss is not None), None)
        if judged != record.contributors or loss < self.best_loss:
            self.best, self.best_loss = self.w, loss
            self.best_epoch = record.epoch if self.phase == LOSS else record.epoch - 1
        self.history.append(record)
