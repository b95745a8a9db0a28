"""A whole run: Algorithm 2 by real devices and edge servers, in one process.

`Run` builds the nodes, drives them until every device that is still there has finished, and keeps
what is known afterwards: the history by epoch, each device alone and together, time by kind of
work, traffic, blocks and rewards.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bdn.experiments.conclusion import conclude, judge
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NODES, TRACE, NodeStore, RunFolder
from bdn.experiments.history import Meter, block_rows, longest_ledger
from bdn.experiments.material import Material, gather
from bdn.experiments.participants import Participants
from bdn.experiments.runner import Network, Runner, StalledError
from bdn.experiments.setup import make_device, make_edge
from bdn.learning import Evaluation, open_executor
from bdn.nodes.device.device import Device, Stage
from bdn.nodes.edge.server import EdgeServer
from bdn.trace import Recorder, Trace, json_lines

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
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder | None = None,
        listen: Callable[[dict[str, Any]], None] | None = None,
        network: Network | None = None,
        participants: Participants | None = None,
    ) -> None:
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
        if folder is not None:
            stream = opening.enter_context((folder.path / TRACE).open("a", encoding="utf-8"))
            self._listeners.append(json_lines(stream))
        self.store = NodeStore(folder.path / NODES if folder is not None else None)
        opening.callback(self.store.close)
        now_ms = round(time.time() * 1000)
        self.material: Material = gather(config, self.store, self.trace, now_ms,
                                        participants)
        self.edges: list[EdgeServer] = []
        for i in range(config.edges):
            self.edges.append(self._edge(i))
            opening.callback(self.edges[i].ledger.close)
        self.devices = [make_device(self.material, k, self.store, self.trace)
                        for k in range(config.devices)]
        self._executor = open_executor(config.executor)
        opening.callback(self._executor.close)
        start_ms = max(self.edges[0].ledger.head.time, self.material.genesis.time)
        self.runner = Runner(
            [*self.edges, *self.devices], network, self.store.append,
            measured=not config.deterministic,
            executor=None if config.executor == "serial" else self._executor,
            start_ms=start_ms, trace=self.trace,
        )
        self.evaluations: dict[int, Evaluation] = {}
        self._asked = 0
        self._last_height = -1
        self._last_progress_ms = self.runner.now_ms

    def _edge(self, index: int) -> EdgeServer:
        path: Path | str = ":memory:" if self.folder is None else self.folder.ledger(index)
        return make_edge(self.material, index, path, self.store, self.trace)

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
        done = len(device.progress.history) - (1 if device.progress.finished else 0)
        if done > 0:
            judge(self, done, device.progress.w, self.runner.now_ms)
        self._asked += 1
        if self._asked % LOOKS_BETWEEN_CHECKS == 0:
            self._check_stall()
        return device.stage is Stage.FINISHED and all(
            other.stage is Stage.FINISHED for other in self.devices
            if self.runner.is_up(other.name))

    def _check_stall(self) -> None:
        height = max(edge.ledger.height for edge in self.edges)
        if height != self._last_height:
            self._last_height, self._last_progress_ms = height, self.runner.now_ms
        limit = PATIENCE * self.material.settings.deadline_ms
        if self.runner.now_ms - self._last_progress_ms > limit:
            edge = max(self.edges, key=lambda edge: edge.ledger.height)
            raise StalledError(
                f"no block for {limit // 1000} virtual seconds after block {height}: "
                f"{edge.application.shortfall()}; {self.meter.why_stalled()}"
            )

    def close(self) -> None:
        """Release files and workers; what was sealed stays."""
        self._open.close()

    def blocks(self) -> list[dict[str, Any]]:
        """Height, kind, epoch, view, transactions and bytes of every sealed block."""
        return block_rows(longest_ledger(self.edges))


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


__all__ = ["Run", "opened_run", "run_in_memory"]
