"""What a device writes down before it acts on it, so that a restart forgets nothing that matters.

Four kinds of records, in a journal that only grows: its X25519 key; the keys it confirmed; the
promise to open one sum and no other for an (epoch, phase), written before the share is made; and
the model after each opened phase. Restarting means reading them in order; the ledger tells the
rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from bdn.chain import DeviceBits, RegisterKey
from bdn.encoding import at_most, decode_union, encode_union
from bdn.learning.server import Moments
from bdn.nodes.device.progress import EpochRecord, Progress
from bdn.nodes.settings import Settings


@dataclass(frozen=True, slots=True)
class KeptExchange:
    """The secret half of the X25519 key that it registers."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptKey:
    """The registered key that this device checked, and the group key that it unwrapped."""

    registered: RegisterKey
    group_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PromisedShare:
    """For this epoch and phase the device opens the aggregate ``root``, and never another."""

    epoch: int
    phase: str
    root: bytes


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An `EpochRecord`; real numbers as text, since the encoding has no floats; "" for None."""

    epoch: int
    loss: Annotated[str, at_most(64)]
    norm: Annotated[str, at_most(64)]
    contributors: DeviceBits
    total_samples: int
    spoiled: bool
    closing: bool


@dataclass(frozen=True, slots=True)
class KeptProgress:
    """Where the device stood after an opened phase.

    Vectors are little-endian float32, and the server-side rule's moments m and v float64.
    """

    epoch: int
    phase: str
    epochs: int
    finished: bool
    w: bytes
    gradient: bytes
    best: bytes
    best_epoch: int
    best_loss: Annotated[str, at_most(64)]
    m: bytes
    v: bytes
    history: tuple[HistoryEntry, ...]
    read_height: int
    anchor: bytes
    nonce: int


JournalRecord = KeptExchange | KeptKey | PromisedShare | KeptProgress

RECORDS: tuple[type[JournalRecord], ...] = JournalRecord.__args__


def encode(record: JournalRecord) -> bytes:
    """One journal record as bytes."""
    return encode_union(record)


def progress_record(
    progress: Progress, read_height: int, anchor: bytes, nonce: int
) -> KeptProgress:
    """The record of a device that has just opened a phase."""
    history = tuple(
        HistoryEntry(r.epoch, "" if r.loss is None else repr(r.loss), repr(r.norm),
                     r.contributors, r.total_samples, r.spoiled, r.closing)
        for r in progress.history
    )
    gradient = progress.gradient
    return KeptProgress(
        progress.epoch, progress.phase, progress.epochs, progress.finished, _floats(progress.w),
        b"" if gradient is None else _floats(gradient), _floats(progress.best),
        progress.best_epoch, repr(progress.best_loss),
        progress.moments.m.astype("<f8").tobytes(), progress.moments.v.astype("<f8").tobytes(),
        history, read_height, anchor, nonce,
    )


def decode(data: bytes) -> JournalRecord:
    """Return the record in ``data``; raise `EncodingError` for anything else."""
    return decode_union(RECORDS, data)


def restore_progress(progress: Progress, kept: KeptProgress) -> None:
    """Set ``progress`` to what ``kept`` recorded; raise `ValueError` for a damaged record."""
    progress.epoch, progress.phase = kept.epoch, kept.phase
    progress.epochs, progress.finished = kept.epochs, kept.finished
    progress.w = _vector(kept.w)
    progress.gradient = _vector(kept.gradient) if kept.gradient else None
    progress.best, progress.best_epoch = _vector(kept.best), kept.best_epoch
    progress.best_loss = float(kept.best_loss)
    progress.moments = Moments(*(np.frombuffer(moment, "<f8").astype(np.float64)
                                 for moment in (kept.m, kept.v)))
    progress.history = [
        EpochRecord(e.epoch, float(e.loss) if e.loss else None, float(e.norm), e.contributors,
                    e.total_samples, e.spoiled, e.closing)
        for e in kept.history
    ]


def last_progress(settings: Settings, w: np.ndarray, records: Sequence[bytes]) -> Progress:
    """Algorithm 1 as a device's journal left it; ``w`` is w^(0)."""
    progress = Progress(settings, w)
    for data in records:
        record = decode_union(RECORDS, data)
        if isinstance(record, KeptProgress):
            restore_progress(progress, record)
    return progress


def _floats(vector: np.ndarray) -> bytes:
    return vector.astype("<f4").tobytes()


def _vector(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<f4").astype(np.float32)
