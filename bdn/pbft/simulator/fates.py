"""A link's fate, drawn from (seed, source, target, k-th message) alone (DESIGN.md, section 10).

No generator is shared: what happens to one message does not move the draw of any other. So a
scenario with one fault less behaves the same up to that fault, which is what makes shrinking work.
"""

import hashlib
import struct
from dataclasses import dataclass

from bdn.encoding import transcript
from bdn.pbft.simulator.scenario import NetworkRule

MICROS = 1000
"""Virtual time is counted in whole microseconds, so that no rounding depends on the machine."""


_DRAWS = struct.Struct(">4Q")


@dataclass(frozen=True, slots=True)
class Fate:
    """What the network does with one message.

    Attributes:
        lost: the message does not arrive.
        delay: virtual µs that it takes.
        again: virtual µs after which a second copy arrives; ``None`` for no second copy.
    """

    lost: bool
    delay: int
    again: int | None


def micros(milliseconds: float) -> int:
    """Virtual microseconds."""
    return round(milliseconds * MICROS)


def link_key(seed: int, source: str, target: str) -> bytes:
    """What every fate on one link is drawn from; a `transcript`, so no two links share it."""
    return transcript("bdn/simulator/fate", str(seed).encode(), source.encode(), target.encode())


def draw_fate(network: NetworkRule, key: bytes, k: int) -> Fate:
    """The fate of the ``k``-th message ever sent on the link of ``key`` (`link_key`)."""
    drawn = hashlib.sha256(key + k.to_bytes(8, "big")).digest()
    loss, duplicate, first, second = _DRAWS.unpack(drawn)
    low, high = micros(network.delay_ms[0]), micros(network.delay_ms[1])
    span = high - low + 1
    again = low + second % span if _chance(duplicate) < network.duplicate else None
    return Fate(_chance(loss) < network.loss, low + first % span, again)


def _chance(drawn: int) -> float:
    """A 64-bit draw as a number in [0, 1)."""
    return (drawn >> 11) / (1 << 53)
