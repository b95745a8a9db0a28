"""What a device writes down before it acts on it, so that a restart forgets nothing that matters.

Four kinds of records, in a journal that only grows: its X25519 key; the keys it confirmed; the
promise to open one sum and no other for an (epoch, phase), written before the share is made; and
the model after each opened phase. Restarting means reading them in order; the ledger tells the
rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bdn.chain import RegisterKey
from bdn.encoding import decode_union, encode_union
from bdn.nodes.progress import EpochRecord, Progress

if TYPE_CHECKING:
    from bdn.nodes.standing import DeviceState


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
    loss: str
    norm: str
    contributors: tuple[bytes, ...]
    total_samples: int
    spoiled: bool


@dataclass(frozen=True, slots=True)
class Model:
    """Where the device stood after an opened phase. Vectors are little-endian float32."""

    epoch: int
    phase: str
    finished: bool
    w: bytes
    gradient: bytes
    best: bytes
    best_epoch: int
    best_loss: str
    history: tuple[HistoryEntry, ...]
    read_height: int
    anchor: bytes
    nonce: int


RECORDS = (KeptExchange, KeptKey, PromisedShare, Model)
Memory = KeptExchange | KeptKey | PromisedShare | Model


def encode(record: Memory) -> bytes:
    """One journal record as bytes."""
    return encode_union(record)


def remember(progress: Progress, read_height: int, anchor: bytes, nonce: int) -> Model:
    """The record of a device that has just opened a phase."""
    history = tuple(
        HistoryEntry(r.epoch, "" if r.loss is None else repr(r.loss), repr(r.norm),
                     r.contributors, r.total_samples, r.spoiled)
        for r in progress.history
    )
    gradient = progress.gradient
    return Model(
        progress.epoch, progress.phase, progress.finished, _floats(progress.w),
        b"" if gradient is None else _floats(gradient), _floats(progress.best),
        progress.best_epoch, repr(progress.best_loss), history, read_height, anchor, nonce,
    )


def restore(device: "DeviceState", journal: Sequence[bytes]) -> None:
    """Bring a fresh device to where its journal ends; raises `EncodingError` for a damaged one."""
    for data in journal:
        match decode_union(RECORDS, data):
            case KeptExchange(secret):
                device.restore_exchange(secret)
            case KeptKey() as record:
                device.restore_key(record)
            case PromisedShare(epoch, phase, root):
                device.restore_promise(epoch, phase, root)
            case Model() as record:
                restore_progress(device.progress, record)
                device.restore_place(record)


def restore_progress(progress: Progress, model: Model) -> None:
    """Set ``progress`` to what ``model`` recorded."""
    progress.epoch, progress.phase = model.epoch, model.phase
    progress.finished = model.finished
    progress.w = _vector(model.w)
    progress.gradient = _vector(model.gradient) if model.gradient else None
    progress.best, progress.best_epoch = _vector(model.best), model.best_epoch
    progress.best_loss = float(model.best_loss)
    progress.history = [
        EpochRecord(e.epoch, float(e.loss) if e.loss else None, float(e.norm), e.contributors,
                    e.total_samples, e.spoiled)
        for e in model.history
    ]


def _floats(vector: np.ndarray) -> bytes:
    return vector.astype("<f4").tobytes()


def _vector(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype="<f4").astype(np.float32)
