"""A whole run: Algorithm 2 by real devices and edge servers, in one process.

`Run` builds the nodes, drives them until every device that is still there has finished, and keeps
what is known afterwards: the history by epoch, each device alone and together, time by kind of
work, traffic, blocks and rewards. `rebuild_history` makes the history of a run that has ended.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NodeStore, RunFolder
from bdn.experiments.history import (
    ClosedDevice,
    ClosedEdge,
    Meter,
    block_rows,
    conclude,
    judge,
    longest_ledger,
)
from bdn.experiments.machine import demand_open_files, one_blas_thread
from bdn.experiments.participants import Participants
from bdn.experiments.provisioning import Material, provision
from bdn.experiments.runner import Network, Runner, StalledError
from bdn.experiments.setup import (
    HONEST,
    EdgeClasses,
    make_device,
    make_edge,
    open_ledger,
    prepare,
)
from bdn.learning import Executor, Serial, open_executor
from bdn.nodes.device import journal
from bdn.nodes.device.device import Device, Stage
from bdn.nodes.device.progress import Progress
from bdn.nodes.edge.server import EdgeServer
from bdn.nodes.shared_work import SharedWork
from bdn.runfolder import JOURNALS, NODES, TRACE
from bdn.runfolder.trace import read_trace
from bdn.trace import DISCARD, Recorder, Trace, json_lines

PATIENCE = 20
"""Deadlines that may pass without a new block before the run is given up as stalled."""


LOOKS_BETWEEN_CHECKS = 64
"""The stall check looks at every edge server, so it is not made after every single event."""


class Run:
    """One run, in memory or in a folder.

    Args:
        config: what was asked for.
        folder: where it is kept; in memory only where it is None.
        listen: hears every trace event as a dict, for progress.
        network: the fate of messages; one millisecond everywhere by default.
        participants: who learns; the paper's CNN on the config's data by default.
        edge_classes: what edge servers are made of; honest ones by default.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder | None = None,
        listen: Callable[[dict[str, Any]], None] | None = None,
        network: Network | None = None,
        participants: Participants | None = None,
        edge_classes: EdgeClasses = HONEST,
    ) -> None:
        self._edge_classes = edge_classes
        self.config = config
        self.folder = folder
        self.meter = Meter()
        self._started = time.perf_counter()
        self._listeners: list[Callable[[dict[str, Any]], None]] = [self.meter.hear]
        if listen is not None:
            self._listeners.append(listen)
        self.trace: Trace = Recorder(self._tell, keep=False)
        self._open = ExitStack()
        with ExitStack() as opening:  # what is opened here is closed again if we do not get through
            self._build(opening, network, participants)
            self._open = opening.pop_all()

    def _build(
        self, opening: ExitStack, network: Network | None, participants: Participants | None
    ) -> None:
        config, folder = self.config, self.folder
        opening.enter_context(one_blas_thread(required=config.deterministic))
        demand_open_files(config.edges + 1)
        self.executor: Executor = open_executor(config.executor)
        opening.callback(self.executor.close)
        self.executor.submit(int, ())  # worker processes start while the key is made
        now_ms = round(time.time() * 1000)
        if folder is None:
            self.store = NodeStore(None)
            self.material: Material = provision(config, self.store, self.trace, now_ms,
                                                participants)
        else:
            opening.enter_context(folder.locked())
            trace_file = opening.enter_context(traced_folder(folder, self.meter, self._listeners))
            self.material = prepare(config, folder, self.trace, now_ms, participants)
            trace_file.begin()
            self.store = NodeStore(folder.path / NODES)
        opening.callback(self.store.close)
        self.work = SharedWork() if config.shared_work else None
        self.edges: list[EdgeServer] = []
        for i in range(config.edges):
            self.edges.append(self._edge(i))
            opening.callback(self.edges[i].ledger.close)
        self.devices = [make_device(self.material, k, self.store, self.trace)
                        for k in range(config.devices)]
        start_ms = max(self.edges[0].ledger.head.time, self.material.genesis.time)
        self.runner = Runner(
            [*self.edges, *self.devices], network, self.store.append,
            measured=not config.deterministic,
            executor=None if config.executor == "serial" else self.executor,
            start_ms=start_ms, trace=self.trace, work=self.work,
        )
        opening.callback(self.runner.close)
        self._asked = 0
        self._unfinished = list(range(config.devices))
        """Numbers of devices, from the last on, that were not found finished yet."""
        self._last_height = -1
        self._last_progress_ms = self.runner.now_ms

    def _edge(self, index: int) -> EdgeServer:
        path: Path | str = ":memory:" if self.folder is None else self.folder.ledger(index)
        return make_edge(self.material, index, path, self.store, self.trace, self._edge_classes,
                         self.work)

    def _tell(self, record: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener(record)

    # --- driving --------------------------------------------------------------------------------

    def complete(self) -> dict[str, Any]:
        """Drive the run to its end; returns (and, in a folder, writes) its history.

        Raises `StalledError` when it cannot end, saying what is missing.
        """
        self.runner.run(self.is_over)
        return conclude(self, self._started)

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node."""
        return self.runner.traffic()

    @property
    def reference(self) -> Device:
        """A device that is still there; all hold the same model."""
        for device in self.devices:
            if self.runner.is_up(device.name):
                return device
        raise StalledError("no device is left")

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Let ``listener`` hear every trace event from now on."""
        self._listeners.append(listener)

    def is_over(self) -> bool:
        """Whether every device that is still there has finished; judges each new model."""
        device = self.reference
        done = device.progress.done
        if done > 0:
            judge(self, done, device.progress.w, self.runner.now_ms)
        self._asked += 1
        if self._asked % LOOKS_BETWEEN_CHECKS == 0:
            self._check_stall()
        return device.stage is Stage.FINISHED and self._all_finished()

    def _all_finished(self) -> bool:
        """Whether every device that is still there has finished.

        It is asked after each event, so a device that has been found finished is not asked again
        until all have: one that was restarted may have lost its last step.
        """
        while self._unfinished:
            if not self._is_finished(self.devices[self._unfinished[-1]]):
                return False
            self._unfinished.pop()
        self._unfinished = list(range(len(self.devices)))
        return all(map(self._is_finished, self.devices))

    def _is_finished(self, device: Device) -> bool:
        return device.stage is Stage.FINISHED or not self.runner.is_up(device.name)

    def _check_stall(self) -> None:
        height = max(edge.ledger.height for edge in self.edges)
        if height != self._last_height:
            self._last_height, self._last_progress_ms = height, self.runner.now_ms
        limit = PATIENCE * self.material.settings.deadline_ms
        if self.runner.now_ms - self._last_progress_ms > limit:
            raise StalledError(
                f"no block for {limit // 1000} virtual seconds after block {height}: "
                f"{self._shortfall()}; {self.meter.why_stalled()}")

    def _shortfall(self) -> str:
        """What the next block waits for."""
        edge = max(self.edges, key=lambda edge: edge.ledger.height)
        gone = [edge.name for edge in self.edges if not self.runner.is_up(edge.name)]
        return edge.application.shortfall() + (f"; gone: {', '.join(gone)}" if gone else "")

    def close(self) -> None:
        """Release files and workers; what was sealed stays."""
        self._open.close()

    def blocks(self) -> list[dict[str, Any]]:
        """Height, kind, epoch, view, transactions and bytes of every sealed block."""
        return block_rows(longest_ledger(self.edges))


@dataclass(slots=True)
class TraceFile:
    """A run folder's trace: what is heard before `begin` is kept until the folder is there."""

    folder: RunFolder
    early: list[dict[str, Any]] = field(default_factory=list)
    write: Callable[[dict[str, Any]], None] | None = None
    opened: ExitStack = field(default_factory=ExitStack)

    def hear(self, record: dict[str, Any]) -> None:
        """Write an event, or keep it."""
        if self.write is None:
            self.early.append(record)
        else:
            self.write(record)

    def begin(self) -> None:
        """Open the file at its end and write what was heard before."""
        path = self.folder.path / TRACE
        stream = self.opened.enter_context(path.open("a+", encoding="utf-8"))
        if not _ends_with_newline(path):
            stream.write("\n")  # a kill cut the last line short
        write = json_lines(stream)

        def write_through(record: dict[str, Any]) -> None:
            write(record)
            if record["event"] in KEPT_AT_ONCE:
                stream.flush()

        self.write = write_through
        for record in self.early:
            write_through(record)
        self.early.clear()


KEPT_AT_ONCE = ("epoch-done", "scaled", "refused", "ledger-restored")
"""Events that reach the file as they are made, and not when the buffer is full."""


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 1))
        return stream.read(1) in (b"", b"\n")


@contextmanager
def traced_folder(
    folder: RunFolder, meter: Meter, listeners: list[Callable[[dict[str, Any]], None]]
) -> Iterator[TraceFile]:
    """Let the folder's trace hear what the listeners hear, and the meter what was before."""
    if not folder.is_new:
        for record in read_trace(folder.path / TRACE)[0]:
            meter.hear(record)
    trace_file = TraceFile(folder)
    with trace_file.opened:
        listeners.append(trace_file.hear)
        yield trace_file


@contextmanager
def opened_run(config: RunConfig, folder: RunFolder | None = None, **options: Any) -> Iterator[Run]:
    """A `Run` that is closed whatever happens."""
    run = Run(config, folder, **options)
    try:
        yield run
    finally:
        run.close()


def run_in_memory(config: RunConfig) -> dict[str, Any]:
    """The history of a run that leaves no files."""
    with opened_run(config) as run:
        return run.complete()


# --- after the end ------------------------------------------------------------------------------


@dataclass(slots=True)
class EndedRun:
    """A run that has ended, as its folder tells it; for `conclude`."""

    config: RunConfig
    material: Material
    folder: RunFolder | None
    meter: Meter
    reference: ClosedDevice
    edges: list[ClosedEdge]
    trace: Trace = DISCARD
    work: SharedWork | None = None
    executor: Executor = field(default_factory=Serial)

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node, as far as the trace tells."""
        names = (*self.material.device_names, *self.material.edge_names)
        return {name: (self.meter.sent[name], self.meter.received[name]) for name in names}


def rebuild_history(
    config: RunConfig, folder: RunFolder, participants: Participants | None = None
) -> dict[str, Any]:
    """Make `history.json` and `model.npz` anew from ledger, journals and trace of an ended run.

    Raises `UsageError` where the run has not ended, or one of these files is missing.
    """
    started = time.perf_counter()
    with one_blas_thread(required=config.deterministic), folder.locked(), ExitStack() as opening:
        marker = folder.marker()
        if not marker["ended"]:
            raise UsageError(f"the run in {folder.path} has not ended")
        meter = Meter()
        for record in read_trace(folder.path / TRACE)[0]:
            meter.hear(record)
        material = prepare(config, folder, DISCARD, 0, participants, marker["processes"])
        if not folder.ledger(0).is_file():
            raise UsageError(f"{folder.ledger(0)} is missing, and with it all blocks of the run: "
                             "put back a copy of it")
        ledger, _ = open_ledger(material.common, folder.ledger(0))
        opening.callback(ledger.close)
        seal = ledger.store.seal(ledger.height)
        edges = [ClosedEdge(name, index, ledger, getattr(seal, "view", 0))
                 for index, name in enumerate(material.edge_names)]
        device = ClosedDevice(_last_progress(folder, material))
        return conclude(EndedRun(config, material, folder, meter, device, edges), started)


def _last_progress(folder: RunFolder, material: Material) -> Progress:
    """Algorithm 1 as the first device saw it that finished."""
    for name in material.device_names:
        own = folder.path / JOURNALS / f"{name}.sqlite"
        with closing(NodeStore(own if own.exists() else folder.path / NODES)) as store:
            progress = journal.last_progress(material.settings, material.participants.w,
                                            store.journal(name))
        if progress.finished:
            return progress
    raise UsageError(f"no device's journal in {folder.path} holds a finished model")


__all__ = ["EndedRun", "Run", "opened_run", "rebuild_history", "run_in_memory",
           "traced_folder"]
