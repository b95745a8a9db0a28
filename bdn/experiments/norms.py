"""What the norm check found in a run: norms by device, and who was left out."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from bdn.chain import Ledger, ProbeTransaction
from bdn.nodes.settings import GRADIENT, Settings


def norm_records(
    ledger: Ledger, names: Mapping[bytes, str], settings: Settings
) -> list[dict[str, Any]]:
    """One record for each probed (epoch, phase), read off the ledger.

    Args:
        ledger: a full node's.
        names: the devices', by address.
        settings: the run's; they say what a level of the fixed-point code is worth.

    Each record has ``epoch``, ``phase``, ``norms`` (by device, in the update's own unit),
    ``median``, and ``left_out``: device, norm, and how many times the median that is (None where
    the median is 0).
    """
    records = []
    for epoch, phase in _probed(ledger):
        levels = ledger.call("learning", "norms_of", epoch, phase)
        kept = set(ledger.call("learning", "in_line_of", epoch, phase))
        middle = median(levels.values())
        clip = settings.gradient_clip if phase == GRADIENT else settings.weight_clip
        step = clip / ((1 << (settings.value_bits - 1)) - 1)
        records.append({
            "epoch": epoch, "phase": phase,
            "norms": {names[device]: norm * step for device, norm in levels.items()},
            "median": middle * step,
            "left_out": [
                {"epoch": epoch, "phase": phase, "device": names[device], "norm": norm * step,
                 "times_median": norm / middle if middle else None}
                for device, norm in levels.items() if device not in kept
            ],
        })
    return records


def _probed(ledger: Ledger) -> list[tuple[int, str]]:
    """Every (epoch, phase) whose norms are known, in order."""
    found = []
    for height in range(1, ledger.height + 1):
        own = ledger.store.block(height).aggregate
        if own is not None and isinstance(own.payload, ProbeTransaction):
            at = (own.payload.epoch, own.payload.phase)
            if not ledger.call("learning", "wants_norms", *at):
                found.append(at)
    return found
