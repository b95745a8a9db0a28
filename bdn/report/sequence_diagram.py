"""The message sequence diagram: the trace in bands that a person can read.

A band is what happens at one stage: all PREPAREs for one block in one view, say, or all devices'
training. Times are the run's virtual clock, in which nodes work side by side; events that carry no
time (a block is sealed, a view begins) take that of the node's last message.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bdn.nodes.settings import LOSS
from bdn.report.rounds import SET_UP, Rounds
from bdn.runfolder.trace import Record

MESSAGE_BUDGET = 16_000
"""Arrows that a page draws; epochs with a view change come first, then the rest in order."""

MAX_DEVICE_LANES = 10

PAUSE_MS = 2_000
"""After so long a silence, what comes is a repetition and gets a band of its own."""

FETCH = "Devices fetch headers, proofs, blobs"
LABELS = {
    "Submit": "Devices submit", "Relay": "Passed on to the other edge servers",
    "SealedHeaders": "Header and seal to the devices", "Refusal": "Refused",
    "GetHeaders": FETCH, "GetTransactions": FETCH, "GetState": FETCH, "GetBlob": FETCH,
    "Transactions": FETCH, "StateCells": FETCH, "Blob": FETCH,
    "Request": "REQUEST, relayed to the primary", "PrePrepare": "PRE-PREPARE",
    "Prepare": "PREPARE", "Commit": "COMMIT", "Checkpoint": "CHECKPOINT",
    "ViewChange": "VIEW-CHANGE", "NewView": "NEW-VIEW", "Status": "STATUS", "Fetch": "FETCH",
    "State": "STATE", "Reply": "REPLY", "GetBlocks": "Edge servers catch up",
    "SealedBlocks": "Sealed blocks to the other edge servers",
}
SUBMITTED = {
    "UpdateTransaction": "Sealed updates to the edge servers",
    "ShareTransaction": "Partial decryptions to the edge servers",
    "CallTransaction": "Calls of the learning contract",
    "RegisterKey": "The joint public key",
}
WORK = {
    "train": "Local training", "seal": "Sealing under the joint key, with proof",
    "share": "Verify Tx_co, make a partial decryption", "open": "Combine shares and open the sum",
}
VOTES = frozenset({"PrePrepare", "Prepare", "Commit", "Checkpoint", "ViewChange", "NewView",
                   "Status", "Fetch", "State"})


@dataclass(slots=True)
class Band:
    """One stage of the diagram.

    Attributes:
        kind: "work", "message", "vote" or "mark".
        label: for people.
        at, until: milliseconds of the virtual clock.
        items: work [lane, start, seconds]; messages [start, source, target, bytes, lost].
    """

    kind: str
    label: str
    at: float
    until: float
    items: list[list[Any]] = field(default_factory=list)

    def add(self, at: float, until: float, item: list[Any]) -> None:
        """Take one more event in."""
        self.at, self.until = min(self.at, at), max(self.until, until)
        self.items.append(item)


@dataclass(slots=True)
class Mark:
    """When things of a round were done, in virtual milliseconds; 0 where they were not.

    Proof of work proposes nothing: there the last update's submission ends the upload.
    """

    first: float = 0.0
    trained: float = 0.0
    sealed: float = 0.0
    submitted: float = 0.0
    proposed: float = 0.0
    agreed: float = 0.0
    shared: float = 0.0
    opened: float = 0.0


class Sequence:
    """Reads a trace once; then `epochs` are its diagrams and `marks` its latencies.

    Args:
        rounds: of the run's ledger.
        measured: whether work took virtual time (a deterministic run's does not).
    """

    def __init__(self, rounds: Rounds, measured: bool) -> None:
        self.rounds, self.measured = rounds, measured
        self.nodes: set[str] = set()
        self.marks: dict[int, Mark] = {}
        self.view_changes: set[int] = set()
        self._bands: dict[int, list[Band]] = {}
        self._open: dict[tuple[Any, ...], Band] = {}
        self._round: dict[str, int] = {}
        self._height: dict[str, int] = {}
        self._view: dict[str, int] = {}
        self._submits: dict[str, str] = {}
        self._clock: dict[str, float] = {}
        self._told: set[tuple[Any, ...]] = set()

    def hear(self, record: Record) -> None:
        """Take the next event of the trace."""
        match record["event"]:
            case "message":
                self._message(record)
            case "work":
                self._work(record)
            case "submit":
                self._submits[record["node"]] = record["kind"]
            case "opened" | "spoiled":
                following = self.rounds.after(record["epoch"], record["phase"])
                self._round[record["node"]] = following
            case "sealed":
                self._sealed(record)
            case "new-view" | "new-view-sent":
                self._new_view(record)

    # --- events -----------------------------------------------------------------------------

    def _message(self, record: Record) -> None:
        source, target, at = record["source"], record["target"], record["virtual_ms"]
        kind = str(record.get("kind", ""))
        self.nodes |= {source, target}
        self._clock[source] = at
        device = next((name for name in (source, target) if not _is_edge(name)), None)
        server = source if _is_edge(source) else target
        height = self._height.get(server, 0) + (kind != "Checkpoint")
        number = (self.rounds.of_block(height) if device is None
                  else self._round.get(device, SET_UP))
        if kind == "ViewChange":
            self.view_changes.add(self.rounds.epoch_of(number))
        if number >= 0:
            self._mark_message(self._mark(number), kind, source, at,
                               self.rounds.reaches_sum(number, height))
        if kind == "SealedHeaders":
            self._announced(self._height.get(source, 0), at)
        label = LABELS.get(kind) or kind or "Messages"
        if kind == "Submit":
            label = SUBMITTED.get(self._submits.get(source, ""), LABELS["Submit"])
        view = self._view.get(source, 0) if kind in VOTES else 0
        key = (label, number, height, view)
        band = self._band(number, key, "vote" if kind in VOTES else "message", label, at)
        band.add(at, at, [at, source, target, record["bytes"], int(record["lost"])])

    def _mark_message(
        self, mark: Mark, kind: str, source: str, at: float, of_the_sum: bool
    ) -> None:
        if kind == "PrePrepare" and of_the_sum:
            mark.proposed = mark.proposed or at
        elif kind == "Submit" and self._submits.get(source) == "UpdateTransaction":
            mark.submitted = max(mark.submitted, at)

    def _announced(self, height: int, at: float) -> None:
        """The first edge server tells devices of the block at ``height``: it is sealed."""
        number = self.rounds.of_block(height)
        if ("announced", height) in self._told or not self.rounds.reaches_sum(number, height):
            return
        self._told.add(("announced", height))
        mark = self._mark(number)
        mark.agreed, mark.shared = mark.agreed or at, at

    def _work(self, record: Record) -> None:
        node, at, kind = record["node"], record["virtual_ms"], record["kind"]
        self.nodes.add(node)
        number = self._round[node] = max(0, self._round.get(node, 0))
        until = at + record["seconds"] * 1000 * self.measured
        self._clock[node] = until
        closing = self.rounds.rounds[number:number + 1]
        label = WORK.get(kind) or str(kind)
        if kind == "train" and closing and closing[0].phase == LOSS:
            label = "Loss of the last model"
        band = self._band(number, (label, number), "work", label, at)
        band.add(at, until, [node, at, record["seconds"]])
        mark = self._mark(number)
        mark.first = min(mark.first or at, at)
        if kind == "train":
            mark.trained = max(mark.trained, until)
        elif kind == "seal":
            mark.sealed = max(mark.sealed, until)
        elif kind == "open":
            mark.opened = max(mark.opened, until)

    def _sealed(self, record: Record) -> None:
        node, height = record["node"], record["height"]
        self._height[node] = height
        self._view[node] = record.get("view") or self._view.get(node, 0)
        if ("sealed", height) in self._told:
            return
        self._told.add(("sealed", height))
        at, number = self._clock.get(node, 0.0), self.rounds.of_block(height)
        view = f" in view {record['view']}" if record.get("view") is not None else ""
        text = f"Block {height} sealed{view}: {record['kind']}, {record['transactions']} tx"
        self._band(number, ("sealed", height), "mark", text, at)

    def _new_view(self, record: Record) -> None:
        node, view = record["node"], record["view"]
        self._view[node] = view
        if ("view", view) in self._told or view == 0:
            return
        self._told.add(("view", view))
        number = self.rounds.of_block(self._height.get(node, 0) + 1)
        at = self._clock.get(node, 0.0)
        self.view_changes.add(self.rounds.epoch_of(number))
        self._band(number, ("view", view), "mark", f"View {view} begins on {node}", at)

    # --- where things go ----------------------------------------------------------------------

    def _mark(self, number: int) -> Mark:
        return self.marks.setdefault(number, Mark())

    def _band(
        self, number: int, key: tuple[Any, ...], kind: str, label: str, at: float
    ) -> Band:
        """The band of ``key``, or a new one where the last of that key is long past."""
        band = self._open.get(key)
        if band is None or at - band.until > PAUSE_MS:
            band = self._open[key] = Band(kind, label, at, at)
            self._bands.setdefault(self.rounds.epoch_of(number), []).append(band)
        return band

    # --- results --------------------------------------------------------------------------------

    def to_plain(self, closing: int) -> dict[str, Any]:
        """Lanes, and for each epoch its bands in order of time; ``closing`` is the last round's."""
        lanes, hidden = _lanes(self.nodes)
        place = {name: i for i, name in enumerate(lanes)}
        order = sorted(self._bands, key=lambda epoch: (epoch not in self.view_changes, epoch))
        left = MESSAGE_BUDGET
        drawn: list[dict[str, Any]] = []
        for epoch in order:
            bands = sorted(self._bands[epoch], key=lambda band: band.at)
            left -= sum(len(band.items) for band in bands)
            if left < 0 and drawn:
                break
            start = bands[0].at
            drawn.append({
                "epoch": epoch, "title": _title(epoch, closing),
                "view_change": epoch in self.view_changes,
                "bands": [_plain_band(band, start, place) for band in bands],
            })
        drawn.sort(key=lambda item: item["epoch"])
        return {"lanes": lanes, "hidden": hidden, "epochs": drawn, "all": len(self._bands)}


def read_sequence(trace: Iterable[Record], rounds: Rounds, measured: bool) -> Sequence:
    """The diagram's data of a whole trace."""
    sequence = Sequence(rounds, measured)
    for record in trace:
        sequence.hear(record)
    return sequence


def _plain_band(band: Band, start: float, place: dict[str, int]) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": band.kind, "label": band.label, "at": round(band.at - start, 1),
        "until": round(band.until - start, 1), "count": len(band.items),
    }
    if band.kind == "work":
        plain["items"] = [[place[node], round(at - start, 1), round(seconds, 4)]
                          for node, at, seconds in band.items if node in place]
    elif band.kind != "mark":
        plain["bytes"] = sum(item[3] for item in band.items)
        plain["items"] = [
            [round(at - start, 1), place[source], place[target], size, lost]
            for at, source, target, size, lost in band.items
            if source in place and target in place]
    return plain


def _lanes(nodes: set[str]) -> tuple[list[str], int]:
    """Devices, then edge servers; and how many devices there is no room for."""
    ordered = sorted(nodes, key=lambda name: (_is_edge(name), len(name), name))
    devices = [name for name in ordered if not _is_edge(name)]
    edges = [name for name in ordered if _is_edge(name)]
    return devices[:MAX_DEVICE_LANES] + edges, max(0, len(devices) - MAX_DEVICE_LANES)


def _title(epoch: int, closing: int) -> str:
    if epoch == 0:
        return "Set-up: keys"
    return "Closing round: loss only" if epoch == closing else f"Epoch {epoch}"


def _is_edge(name: str) -> bool:
    return name.startswith("edge-")
