"""From material to nodes: devices and edge servers, fresh or as they were before a restart.

`build_edge` and `build_device` take what every node knows (`Common`) and the node's own secrets and
data, so that a node can be built where nothing else is known; `make_edge` and `make_device` take
their part out of the whole material.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bdn.chain import (
    PROOF_OF_WORK,
    Ledger,
    LightClient,
    apply_sealed_block,
    blocks_after,
    chain_id,
    encode_block,
)
from bdn.errors import BdnError, UsageError
from bdn.experiments.clients import people_of
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import FolderError, NodeStore, RunFolder, lost_name
from bdn.experiments.participants import Participants, absolute_data
from bdn.experiments.provisioning import (
    FREE,
    GAS_LIMIT,
    Common,
    Material,
    provision,
    source_of,
)
from bdn.identity import Identity
from bdn.learning import Learner
from bdn.nodes.ciphers import Ciphers, key_in
from bdn.nodes.device.device import Device
from bdn.nodes.device.light_node import LightNode
from bdn.nodes.device.work import DeviceLearner, Vector
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.edge.miner import Agreement, Miner
from bdn.nodes.edge.server import MINER, EdgeServer
from bdn.nodes.settings import Settings
from bdn.nodes.shared_work import SharedWork
from bdn.nodes.vector_host import VectorHost
from bdn.paillier import KeyShare
from bdn.pbft.cluster import Cluster
from bdn.pbft.journal import Executed, Stable, decode_journal, encode_journal
from bdn.pbft.replica import Replica
from bdn.randomness import SeededRandomness
from bdn.runfolder import CONFIG, JOURNALS, MARKER, NODES
from bdn.runfolder.files import write_atomically
from bdn.seal import Seal, fault_bound
from bdn.trace import Trace

REQUEST_TIMEOUT_MS = 30_000
REQUEST_TIMEOUT_MS_PER_DEVICE = 300
STATUS_MS = 10_000
"""In virtual time: patient enough for the slowest cipher, and free when nothing waits."""


# --- the folder's files -------------------------------------------------------------------------


def prepare(
    config: RunConfig, folder: RunFolder, trace: Trace, now_ms: int,
    participants: Participants | None = None, processes: bool = False,
    keys: Iterable[tuple[str, bytes]] = (),
) -> Material:  # fmt: skip
    """Make the files of a new run and install them, or take up those of one that was interrupted.

    The folder must be locked. A new run takes the joint key from ``keys``, secrets by the names
    that `bdn.experiments.provisioning` gives them, where there are any. Whatever can be refused is
    refused before a new run is installed.
    Raises `UsageError` where an interrupted run cannot go on as it began.
    """
    config = replace(config, data=absolute_data(config.data))
    if not folder.is_new:
        return _take_up(config, folder, trace, now_ms, participants, processes)
    write_atomically(folder.draft / CONFIG, config.to_json())
    with closing(NodeStore(folder.draft / NODES)) as store:
        store.keep(keys)
        material = provision(config, store, trace, now_ms, participants)
    for index in range(config.edges):
        open_ledger(material.common, folder.ledger(index, folder.draft))[0].close()
    folder.install({**material.choices, "chain": material.common.chain.hex(),
                    "processes": processes})
    return material


def _take_up(
    config: RunConfig, folder: RunFolder, trace: Trace, now_ms: int,
    participants: Participants | None, processes: bool,
) -> Material:  # fmt: skip
    marker = folder.marker()
    begun = marker["participants"]
    if participants is None and not begun["source"]:
        learners = ", ".join(f"{count} × {name}" for name, count in begun["learners"].items())
        raise UsageError(
            f"the run in {folder.path} was made by a program, with participants of its own "
            f"({learners}, |w| = {begun['model_size']}): resume it there with opened_run(config, "
            "RunFolder.open(path), participants=…)")
    if processes != marker["processes"]:
        raise UsageError(f"the run in {folder.path} was begun with"
                         f"{'' if marker['processes'] else 'out'} --processes: resume it so")
    begun_config = config
    if config.epochs == marker.get("extended"):
        begun_config = replace(config, epochs=marker["config"]["epochs"])
    demand_same(marker["config"], choices_of_config(begun_config), folder.path)
    participants = participants if participants is not None else people_of(config)
    _demand_same_people(begun, participants, folder.path)
    with closing(NodeStore(folder.path / NODES, must_exist=True)) as store:
        material = provision(config, store, trace, now_ms, participants, begun_config.epochs)
        if material.common.chain.hex() != marker["chain"]:
            raise UsageError(
                f"{folder.path / NODES} or {folder.path / MARKER} belongs to another run: they "
                f"give chain {material.common.chain.hex()[:16]}…, but the run began as "
                f"{marker['chain'][:16]}…")
        if not marker["ended"]:
            repair_ledgers(folder, material, store, trace)
    return material


def choices_of_config(config: RunConfig) -> dict[str, Any]:
    """The config's part of `choices_of`."""
    plain: dict[str, Any] = json.loads(config.to_json())
    return plain


def demand_same(begun: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    """Raise `UsageError` naming what differs between two configs that matters."""
    missing = object()
    more = " (more epochs: bdn resume --epochs)" if "epochs" in begun and (
        begun["epochs"] != now.get("epochs")) else ""
    differ = [f"{name} {_short(begun.get(name))} → {_short(value)}" for name, value in now.items()
              if name not in FREE and begun.get(name, missing) != value]
    if differ:
        raise UsageError(f"the run in {where} cannot go on with other settings than it began with "
                         f"({', '.join(differ)}): put {CONFIG} right, or start another run{more}")


def _short(value: object) -> str:
    return str(value)[:40]


def _demand_same_people(begun: dict[str, Any], people: Participants, where: Path) -> None:
    """Raise `UsageError` where learners or data are not those of the run's beginning."""
    now = people.describe()
    for name, what in (("learners", "other learners"), ("model_size", "a model of another size"),
                       ("classes", "other classes"),
                       ("digest", "another model, other data, or another split")):
        if begun[name] != now[name]:
            raise UsageError(
                f"the run in {where} began with {what} ({name} {_short(begun[name])} → "
                f"{_short(now[name])}): put back what {begun['source'] or 'the program'} gave "
                "then, or start another run")


def repair_ledgers(
    folder: RunFolder, material: Material, store: NodeStore, trace: Trace
) -> None:
    """Fill the ledgers of edge servers that lost theirs, wholly or in part, from their peers'.

    Every block that is taken over is checked as if a peer had sent it: seal, execution, blobs. A
    damaged file is kept under another name. Raises `UsageError` where more than f ledgers are
    lost: the rest could then not tell a missing block from one that never was.
    """
    common = material.common
    with ExitStack() as opened:
        whole: dict[int, Ledger] = {}
        lost: dict[int, str] = {}
        for index, name in enumerate(common.edge_names):
            try:
                ledger = _open_whole(common, folder.ledger(index))
            except (BdnError, OSError) as error:
                lost[index] = str(error)
                continue
            opened.callback(ledger.close)
            executed = _executed(_journal_of(folder, store, name))
            if ledger.height < executed:
                lost[index] = f"{folder.ledger(index)} ends at block {ledger.height} of {executed}"
            else:
                whole[index] = ledger
        if not lost:
            return
        if len(lost) > fault_bound(len(common.edges)):
            first = next(iter(lost.values()))
            raise UsageError(
                f"{len(lost)} of {len(common.edges)} edge servers have lost blocks, more than "
                f"f = {fault_bound(len(common.edges))}; the run cannot go on unless the files are "
                f"put back: {first}")
        for index, why in lost.items():
            _restore_ledger(folder, material, index, list(whole.values()))
            trace.event("ledger-restored", node=common.edge_names[index], reason=why,
                        height=max(ledger.height for ledger in whole.values()))


def _open_whole(common: Common, path: Path) -> Ledger:
    """The ledger at ``path``; raises where it is missing, damaged, or of another chain."""
    if not path.is_file():
        raise FolderError(f"{path} is missing")
    ledger, _ = open_ledger(common, path)
    try:
        ledger.store.verify_file()
        ledger.store.verify_blob_files()
        if chain_id(ledger.genesis) != common.chain:
            raise FolderError(f"{path} is the ledger of another run")
    except BaseException:
        ledger.close()
        raise
    return ledger


def _journal_of(folder: RunFolder, store: NodeStore, name: str) -> list[bytes]:
    own = folder.path / JOURNALS / f"{name}.sqlite"
    if not own.exists():
        return store.journal(name)
    with closing(NodeStore(own)) as journals:
        return journals.journal(name)


def _executed(journal: Sequence[bytes]) -> int:
    """The last block that a replica's journal says it executed; 0 for none."""
    return max((record.seal.sequence for record in map(decode_journal, journal)
                if isinstance(record, Executed)), default=0)


def _restore_ledger(
    folder: RunFolder, material: Material, index: int, peers: Sequence[Ledger]
) -> None:
    common, path = material.common, folder.ledger(index)
    try:
        _open_whole(common, path).close()
    except (BdnError, OSError):  # missing or damaged: begin anew beside what is left of it
        kept = lost_name(path)
        for end in ("", "-wal", "-shm"):
            left = path.with_name(path.name + end)
            if left.exists():
                left.rename(kept.with_name(kept.name + end))
    path.parent.mkdir(exist_ok=True)
    ledger, host = open_ledger(common, path)
    with closing(ledger):
        application = LedgerApplication(common.edge_names[index], material.edges[index], ledger,
                                        host, common.settings)
        for peer in peers:
            for root in peer.store.blob_roots():
                if ledger.store.blob_size(root) is None:
                    ledger.put_blob(peer.blob(root))
            while blocks := blocks_after(peer.store, ledger.height):
                for sealed in blocks:
                    application.prepare(sealed)
                    apply_sealed_block(ledger, sealed)
                    application.after_commit()


# --- nodes --------------------------------------------------------------------------------------


def make_cluster(common: Common) -> Cluster:
    """The consensus parameters of the run's edge servers."""
    patience = max(REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_PER_DEVICE * common.settings.devices)
    return Cluster(
        instance=common.chain,
        public_keys=common.edges,
        checkpoint_interval=4, window=16, sequential=True,
        request_timeout_ms=patience, view_timeout_ms=2 * patience,
        status_ms=STATUS_MS,
    )


@dataclass(frozen=True, slots=True)
class EdgeClasses:
    """What an edge server's ledger side is made of; the lab puts an attacker's in its place."""

    application: type[LedgerApplication] = LedgerApplication
    host: type[VectorHost] = VectorHost


HONEST = EdgeClasses()


def open_ledger(
    common: Common, path: Path | str, host_class: type[VectorHost] = VectorHost,
    work: SharedWork | None = None,
) -> tuple[Ledger, VectorHost]:
    """An edge server's ledger, new or as it was, with the vector operations bound to it."""
    holder: list[Ledger] = []

    def read_blob(root: bytes) -> bytes:
        return holder[0].blob(root)

    ciphers = Ciphers(common.chain, common.settings, key_in(read_blob))
    host = host_class(ciphers, read_blob, work)
    if isinstance(path, Path) and path.exists():
        ledger = Ledger.open(path, host.functions)
    else:
        ledger = Ledger.create(path, common.genesis, common.block, host.functions)
    holder.append(ledger)
    return ledger, host


def build_edge(
    common: Common, index: int, identity: Identity, path: Path | str, store: NodeStore,
    trace: Trace, classes: EdgeClasses = HONEST, work: SharedWork | None = None,
) -> EdgeServer:
    """Edge server ``index``, where its ledger at ``path`` and its journal left it.

    ``work`` is what it shares with other nodes of this process.
    """
    ledger, host = open_ledger(common, path, classes.host, work)
    name = common.edge_names[index]
    application = classes.application(name, identity, ledger, host, common.settings, trace)
    devices = [device for k, device in enumerate(common.device_names)
               if k % len(common.edges) == index]
    agreement: Agreement
    if common.config.consensus == PROOF_OF_WORK:
        agreement = Miner(application, index == MINER, common.settings.confirmations, trace)
    else:
        journal = with_sealed_blocks(store.journal(name), ledger)
        agreement = Replica(index, make_cluster(common), identity, application, journal, trace,
                            name=name)
    return EdgeServer(name, index, application, agreement, common.edge_names, devices, trace)


def with_sealed_blocks(journal: Sequence[bytes], ledger: Ledger) -> list[bytes]:
    """The journal, and what it lacks where its writer died right after the ledger's commit.

    A lone edge server votes, seals and commits in one step, so that none of it may be written yet.
    """
    records = list(journal)
    known = 0
    for record in map(decode_journal, records):
        if isinstance(record, Executed):
            known = max(known, record.seal.sequence)
        elif isinstance(record, Stable):
            known = max(known, record.sequence)
    for height in range(known + 1, ledger.height + 1):
        seal = ledger.store.seal(height)
        assert isinstance(seal, Seal), "a replica's blocks are sealed by PBFT"
        records.append(encode_journal(Executed(seal, encode_block(ledger.store.block(height)))))
    return records


def build_device(
    common: Common, position: int, identity: Identity, public_key: bytes,
    key_share: KeyShare | None, learner: Learner, w: Vector, store: NodeStore, trace: Trace,
) -> Device:
    """Device ``position`` (from 0), where its journal left it; ``learner`` holds its data."""
    name = common.device_names[position]
    client = LightClient(common.genesis, common.block.header, common.block.digest)
    edges = common.edge_names
    own = position % len(edges)
    config, settings = common.config, common.settings
    return Device(
        name=name,
        identity=identity,
        addresses=common.device_addresses,
        position=position,
        light=LightNode(client, settings.confirmations),
        edges=[*edges[own:], *edges[:own]],
        settings=settings,
        learner=DeviceLearner(name, learner, settings, SeededRandomness(config.seed)),
        w=w,
        public_key=public_key,
        key_share=key_share,
        rng=source_of(config).substream(f"node/{name}"),
        gas_limit=GAS_LIMIT,
        records=store.journal(name),
        nominal_ms=nominal_time(settings) if config.deterministic else None,
        trace=trace,
        epochs=common.config.epochs,
    )


def make_edge(
    material: Material, index: int, path: Path | str, store: NodeStore, trace: Trace,
    classes: EdgeClasses = HONEST, work: SharedWork | None = None,
) -> EdgeServer:
    """`build_edge` from the run's material."""
    return build_edge(material.common, index, material.edges[index], path, store, trace, classes,
                      work)


def make_device(material: Material, position: int, store: NodeStore, trace: Trace) -> Device:
    """`build_device` from the run's material."""
    people = material.participants
    return build_device(
        material.common, position, material.devices[position], material.public_key,
        material.shares[position], people.learners[position], people.w, store, trace,
    )


def nominal_time(settings: Settings) -> Callable[[int], int]:
    """T_local for runs that must repeat byte for byte: a millisecond a sample and iteration."""
    return lambda samples: samples + settings.iterations
