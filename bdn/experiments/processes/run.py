"""A whole run in processes: what `bdn.experiments.run` does, each node in a process of its own.

The parent is the experimenter: it loads the data, makes identities and key shares (as a dealer
would, or as the devices would together), hands each process its assignment, and listens. It takes
no part in the protocol: the nodes find each other over sockets. When the devices have finished, it
reads the ledgers and concludes as any run does.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdn.chain import PROOF_OF_WORK, Ledger, encode_block
from bdn.chain.blocks import encode_genesis
from bdn.encoding import decode_union
from bdn.errors import BdnError, IntegrityError, UsageError
from bdn.experiments.clients import ClientByName, people_of
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.history import Meter, conclude, judge
from bdn.experiments.machine import one_blas_thread
from bdn.experiments.participants import Participants
from bdn.experiments.processes.assignment import (
    Assignment,
    ClientPart,
    DeviceRole,
    EdgeRole,
    Samples,
    Shared,
)
from bdn.experiments.processes.children import Children
from bdn.experiments.processes.connections import local_addresses
from bdn.experiments.processes.control import Finished, FromChild, Reached, Told, Totals
from bdn.experiments.processes.driver import RealClock
from bdn.experiments.processes.errors import ProcessError
from bdn.experiments.provisioning import Material, encode_share
from bdn.experiments.run import PATIENCE, traced_folder
from bdn.experiments.runner import StalledError
from bdn.experiments.setup import open_ledger, prepare
from bdn.learning import (
    ClientLearner,
    CnnLearner,
    Executor,
    Learner,
    Serial,
    make_model,
)
from bdn.nodes.device import journal
from bdn.nodes.device.progress import Progress
from bdn.nodes.edge.server import MINER
from bdn.nodes.shared_work import SharedWork
from bdn.runfolder import JOURNALS
from bdn.trace import Recorder, Trace

TRANSPORTS = ("unix", "tcp")
LOOK_SECONDS = 0.5

MAX_RESTARTS = 5
"""How often the process of one node is started again."""

FIRST_PAUSE = 0.5
"""Seconds until a process that died is started again; each next time twice as long."""


@dataclass(frozen=True, slots=True)
class FinishedDevice:
    """A device that has finished."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class StoppedEdge:
    """An edge server after its process has ended: its ledger, and the view that it told."""

    name: str
    index: int
    ledger: Ledger
    view: int


class ProcessRun:
    """One run in a folder, in processes.

    Args:
        config: what was asked for.
        folder: where it is kept; a run that was interrupted goes on.
        listen: hears every trace event of every process as a dict, for progress.
        transport: "unix" sockets in a private folder, or "tcp" on the loopback interface.
        restart: whether a process that died is started again, from its store. The run goes on
            meanwhile, and without it, as long as enough of the others are there.
        participants: who learns; the paper's CNN on the config's data by default. Only such
            learners can be handed to a process.
        keys: the joint key's secrets by name, where it has been made before.

    Raises `UsageError` for a config that processes cannot play.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder,
        listen: Callable[[dict[str, Any]], None] | None = None, transport: str = "unix",
        restart: bool = True, participants: Participants | None = None,
        keys: Sequence[tuple[str, bytes]] = (),
    ) -> None:  # fmt: skip
        check_playable(config, transport)
        self.config = config
        self.folder: RunFolder | None = folder
        self.meter = Meter()
        self.executor: Executor = Serial()  # for what is compared after the run
        self.work: SharedWork | None = None  # nodes in processes of their own do all of their work
        self.edges: Sequence[StoppedEdge] = ()
        self.children: Children | None = None
        self.dead: dict[str, str] = {}
        """How each process ended that has died for good, by node name."""
        self._path = folder.path
        self._restart = restart
        self._restarts: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        """When a process that died is started again, by name."""
        self._waiting = ""
        """What edge servers said last of what is missing."""
        self._transport = transport
        self._started = time.perf_counter()
        self._started_ms = round(time.time() * 1000)
        self._clock = RealClock()
        self._listeners = [self.meter.hear] + ([listen] if listen is not None else [])
        self.trace: Trace = Recorder(self._tell, keep=False)
        self._finished_devices: dict[str, FinishedDevice] = {}
        self._models: dict[int, bytes] = {}
        self._totals: dict[str, Totals] = {}
        self._last_block = time.monotonic()
        self._open = ExitStack()
        with ExitStack() as opening:
            opening.enter_context(one_blas_thread(required=False))
            opening.enter_context(folder.locked())
            trace_file = opening.enter_context(
                traced_folder(folder, self.meter, self._listeners))
            if participants is not None or folder.is_new:  # refuse before anything is replaced
                participants = participants if participants is not None else people_of(config)
                check_learners(config, participants)
            self.material: Material = prepare(config, folder, self.trace, self._started_ms,
                                              participants, processes=True, keys=keys)
            trace_file.begin()
            self._samples = [part_of(each) for each in self.material.participants.learners]
            self._open = opening.pop_all()

    # --- driving --------------------------------------------------------------------------------

    def complete(self) -> dict[str, Any]:
        """Start all, hear them out, conclude; returns (and writes) the run's history.

        Raises what `drive` raises.
        """
        self.drive()
        stopped = [self._stopped(index) for index in range(self.config.edges)]
        self.edges = [edge for edge in stopped if edge is not None]
        return conclude(self, self._started)

    def drive(self) -> None:
        """Start all and hear them out, until the devices have finished and all have ended.

        Raises `ProcessError` when too few processes are left, `StalledError` when no block comes
        any more, `IntegrityError` when two devices have different models of one epoch.
        """
        with local_addresses(self.config.edges, self._transport) as addresses, Children(
            self.assignments(addresses), self._hear, self._on_death
        ) as self.children:
            for child in self.children.all.values():
                self.trace.event("process-started", node=child.name, pid=child.pid)
            self.children.go()
            self._last_block = time.monotonic()
            while not self.is_over():
                self.children.pump(LOOK_SECONDS)
                self._start_again()
                self._check_stall()
            self.children.stop()

    def _start_again(self) -> None:
        """Start the processes whose pause after their death is over."""
        assert self.children is not None
        now = time.monotonic()
        for name in [name for name, at in self._due.items() if at <= now]:
            del self._due[name]
            child = self.children.restart(name)
            self.trace.event("process-started", node=name, pid=child.pid, again=True)

    def is_over(self) -> bool:
        """Whether every device that is still there has finished."""
        living = [name for name in self.material.device_names if name not in self.dead]
        if not living:
            raise StalledError("no device is left")
        return all(name in self._finished_devices for name in living)

    def _check_stall(self) -> None:
        limit = PATIENCE * self.config.deadline_seconds
        if time.monotonic() - self._last_block > limit:
            waiting = f"{self._waiting}; " if self._waiting else ""
            raise StalledError(f"no block for {limit:.0f} seconds; {waiting}"
                               f"{self.meter.why_stalled()}")

    def close(self) -> None:
        """Release files; what was sealed stays."""
        for edge in self.edges:
            edge.ledger.close()
        self._open.close()

    # --- what each is given ---------------------------------------------------------------------

    def assignments(self, addresses: Sequence[str]) -> list[Assignment]:
        """Return each process's assignment, edge servers first; ``addresses``: where these listen.

        Every secret in an assignment is its owner's.
        """
        material = self.material
        common = material.common
        names = [*common.edge_names, *common.device_names]
        keys = tuple(zip(names, [*common.edges, *common.devices], strict=True))
        doors = tuple(zip(common.edge_names, addresses, strict=True))
        shared = Shared(self.config.to_json(), encode_genesis(common.genesis),
                        encode_block(common.block), common.devices)
        journals = self._path / JOURNALS
        journals.mkdir(mode=0o700, exist_ok=True)
        assignments = []
        for index, (name, identity) in enumerate(
            zip(common.edge_names, material.edges, strict=True)
        ):
            edge = EdgeRole(shared, index, str(self._ledger(index)),
                            str(journals / f"{name}.sqlite"))
            assignments.append(Assignment(name, identity.secret, common.chain, keys, doors,
                              self._started_ms, edge))
        for position, (name, identity) in enumerate(
            zip(common.device_names, material.devices, strict=True)
        ):
            share = material.shares[position]
            device = DeviceRole(
                shared, position, material.public_key,
                encode_share(share) if share is not None else b"", self._samples[position],
                material.participants.w.astype("<f4").tobytes(), str(journals / f"{name}.sqlite"),
            )
            assignments.append(Assignment(name, identity.secret, common.chain, keys, doors,
                              self._started_ms, device))
        return assignments

    def _ledger(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder.ledger(index)

    # --- what they say --------------------------------------------------------------------------

    def _hear(self, name: str, message: FromChild) -> None:
        match message:
            case Told(line):
                record = json.loads(line)
                if record["event"] == "sealed":
                    self._last_block, self._waiting = time.monotonic(), ""
                elif record["event"] == "waiting":
                    self._waiting = record["reason"]
                self._tell(record)
            case Reached(epoch, w):
                self._compare(name, epoch, w)
            case Finished(model):
                progress = Progress(self.material.settings, self.material.participants.w)
                journal.restore_progress(progress, decode_union((journal.KeptProgress,), model))
                self._finished_devices[name] = FinishedDevice(progress)
            case Totals():
                self._totals[name] = message

    def _compare(self, name: str, epoch: int, w: bytes) -> None:
        """All devices must have the same model of an epoch; the first to have it is judged."""
        first = self._models.setdefault(epoch, w)
        if first != w:
            raise IntegrityError(f"{name} has another model after epoch {epoch} than the others")
        judge(self, epoch, np.frombuffer(w, "<f4").astype(np.float32), self._clock())

    def _on_death(self, name: str, how: str) -> None:
        """Start it again after a pause, or go on without it if enough of the others are there.

        A process that says itself why it cannot go on would say so again: it is not started again.
        """
        assert self.children is not None
        hopeless = bool(self.children.all[name].failure) or name in self._finished_devices
        again = self._restart and not hopeless and self._restarts[name] < MAX_RESTARTS
        self.trace.event("process-ended", node=name, reason=how + (
            "; it is started again" if again else ""))
        if again:
            self._due[name] = time.monotonic() + FIRST_PAUSE * 2 ** self._restarts[name]
            self._restarts[name] += 1
            return
        if name in self._finished_devices:
            return
        self.dead[name] = how
        lacking = self._lacking()
        if lacking:
            raise ProcessError(f"{how}; {lacking}")

    def _lacking(self) -> str:
        """Return which nodes are too few for the run to go on, or ""."""
        config, common = self.config, self.material.common
        edges = [name for name in common.edge_names if name not in self.dead]
        needed = config.edges - (config.edges - 1) // 3
        if config.consensus == PROOF_OF_WORK:
            needed = 1 if common.edge_names[MINER] in edges else config.edges + 1
        if len(edges) < needed:
            return f"{len(edges)} of {config.edges} edge servers are left, which cannot agree"
        devices = [name for name in common.device_names if name not in self.dead]
        if len(devices) < config.minimum:
            return (f"{len(devices)} of {config.devices} devices are left, and "
                    f"{config.minimum} must contribute (--minimum-contributors)")
        holders = [name for name in common.device_names[:config.holders] if name not in self.dead]
        if len(holders) < config.threshold:
            return (f"{len(holders)} key holders are left, and {config.threshold} must share "
                    "(--threshold)")
        return ""

    def _tell(self, record: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener(record)

    # --- what is left of them -------------------------------------------------------------------

    @property
    def reference(self) -> FinishedDevice:
        """A device that has finished."""
        for name in self.material.device_names:
            if name in self._finished_devices:
                return self._finished_devices[name]
        raise StalledError("no device has finished")

    def traffic(self) -> Mapping[str, tuple[int, int]]:
        """Bytes (sent, received) by node; zeros for one that died."""
        found = {}
        for name in (*self.material.device_names, *self.material.edge_names):
            last = self._totals.get(name)
            found[name] = (last.sent_bytes, last.received_bytes) if last is not None else (0, 0)
        return found

    def _stopped(self, index: int) -> StoppedEdge | None:
        """Return what is left of an edge server, or None where it died and left no ledger."""
        name = self.material.edge_names[index]
        try:
            ledger, _ = open_ledger(self.material.common, self._ledger(index))
        except BdnError as error:
            if name not in self.dead:
                raise
            self.trace.event("ledger-left-out", node=name, reason=str(error))
            return None
        last = self._totals.get(name)
        return StoppedEdge(name, index, ledger, last.view if last is not None else 0)


def check_learners(config: RunConfig, people: Participants) -> None:
    """Raise `UsageError` where processes cannot be given these learners."""
    for learner in people.learners:
        part_of(learner)
    for learner in people.learners[:1]:
        if not isinstance(learner, CnnLearner):
            continue
        data = learner.dataset
        theirs = make_model(config.model, data.sample_shape, data.classes, config.seed)
        if type(learner.cnn) is not type(theirs) or theirs.size != len(people.w):
            raise UsageError(f"a process would train the config's model, {config.model}, and not "
                             "the one that was given")


def part_of(learner: Learner) -> Samples | ClientPart:
    """A device's data or its client, to be handed over.

    Raises `UsageError` for a learner that another process cannot make.
    """
    if isinstance(learner, ClientLearner) and isinstance(learner.client, ClientByName):
        return ClientPart(learner.sample_count, learner.client.names, learner.layout)
    return samples_of(learner)


def samples_of(learner: Learner) -> Samples:
    """A device's data, to be handed over; raises `UsageError` where it trains on none."""
    if not isinstance(learner, CnnLearner):
        raise UsageError(f"a {type(learner).__name__} cannot be handed to another process: name "
                         "the model by --model, or the clients by --clients")
    return Samples.of(learner.dataset)


@contextmanager
def opened_processes(
    config: RunConfig, folder: RunFolder, **options: Any
) -> Iterator[ProcessRun]:
    """A `ProcessRun` that is closed whatever happens."""
    run = ProcessRun(config, folder, **options)
    try:
        yield run
    finally:
        run.close()




def check_playable(config: RunConfig, transport: str = TRANSPORTS[0]) -> None:
    """Raise `UsageError` for a config that processes cannot play."""
    if config.deterministic:
        raise UsageError("processes run in real time, so nothing can repeat byte for byte: leave "
                         "out --deterministic, or --processes")
    if config.executor != "serial":
        raise UsageError("each node works in its own process already: leave out --executor, or "
                         "--processes")
    if transport not in TRANSPORTS:
        raise UsageError(f"transport must be one of {', '.join(TRANSPORTS)}, not {transport!r}")
