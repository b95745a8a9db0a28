"""What an observer above the network writes down: every message sent, every deed of a node.

Transcripts (`bdn.pbft.simulator.transcript`) and charts (`bdn.pbft.simulator.chart`) are two
renderings of one `Record`; neither asks the replicas anything.
"""

from dataclasses import dataclass, field

from bdn.pbft.simulator.faults import Sighting


@dataclass(frozen=True, slots=True)
class Passage:
    """One message on one link.

    Attributes:
        at: virtual µs when it was sent.
        source, target: node names.
        seen: what it is.
        cut: why it never arrived (``silent``, ``partition``, ``drop``, ``loss``), or "".
        arrivals: virtual µs of each delivery; none when it was cut, two when it was duplicated.
        forged: how it differs from what an honest sender would have sent, or "".
    """

    at: int
    source: str
    target: str
    seen: Sighting
    cut: str = ""
    arrivals: tuple[int, ...] = ()
    forged: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that happened at one node: an execution, a timeout, a crash."""

    at: int
    node: str
    what: str


@dataclass(slots=True)
class Record:
    """A run as it was seen. With ``keep`` false it stays empty, for searches in a hurry."""

    keep: bool = True
    entries: list[Passage | Deed] = field(default_factory=list)

    def note(self, entry: Passage | Deed) -> None:
        """Write one entry."""
        if self.keep:
            self.entries.append(entry)


def label(seen: Sighting) -> str:
    """A message in a few words: ``PREPARE v0 n1 4f2a``."""
    parts = [seen.type]
    if seen.view is not None:
        parts.append(f"v{seen.view}")
    if seen.sequence is not None:
        parts.append(f"n{seen.sequence}")
    if seen.about:
        parts.append(seen.about)
    return " ".join(parts)
