"""From material to nodes: devices and edge servers, fresh or as they were before a restart."""

from collections.abc import Callable
from pathlib import Path

from bdn.chain import PROOF_OF_WORK, Ledger, LightClient
from bdn.experiments.folder import NodeStore
from bdn.experiments.material import GAS_LIMIT, Material, source_of
from bdn.nodes.application import LedgerApplication
from bdn.nodes.device import Device
from bdn.nodes.edge import MINER, EdgeServer
from bdn.nodes.learner import DeviceLearner
from bdn.nodes.lightnode import LightNode
from bdn.nodes.miner import Agreement, Miner
from bdn.nodes.sealing import Ciphers, VectorHost
from bdn.nodes.settings import Settings
from bdn.pbft.cluster import Cluster
from bdn.pbft.replica import Replica
from bdn.randomness import SeededRandomness
from bdn.trace import Trace

REQUEST_TIMEOUT_MS = 30_000
VIEW_TIMEOUT_MS = 60_000
STATUS_MS = 10_000
"""In virtual time: patient enough for the slowest cipher, and free when nothing waits."""


def make_cluster(material: Material) -> Cluster:
    """The consensus parameters of the run's edge servers."""
    return Cluster(
        instance=material.block.header.chain,
        public_keys=tuple(edge.public_key for edge in material.edges),
        checkpoint_interval=4, window=16, sequential=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS, view_timeout_ms=VIEW_TIMEOUT_MS,
        status_ms=STATUS_MS,
    )


def open_ledger(material: Material, path: Path | str) -> tuple[Ledger, VectorHost]:
    """An edge server's ledger, new or as it was, with the vector operations bound to it."""
    holder: list[Ledger] = []

    def read_blob(root: bytes) -> bytes:
        return holder[0].blob(root)

    host = VectorHost(
        Ciphers(material.block.header.chain, material.settings, read_blob), read_blob
    )
    if isinstance(path, Path) and path.exists():
        ledger = Ledger.open(path, host.functions)
    else:
        ledger = Ledger.create(path, material.genesis, material.block, host.functions)
    holder.append(ledger)
    return ledger, host


def make_edge(
    material: Material, index: int, path: Path | str, store: NodeStore, trace: Trace
) -> EdgeServer:
    """Edge server ``index``, where its ledger and journal left it."""
    ledger, host = open_ledger(material, path)
    name = material.edge_names[index]
    identity = material.edges[index]
    application = LedgerApplication(name, identity, ledger, host, material.settings, trace)
    devices = [device for k, device in enumerate(material.device_names)
               if k % len(material.edges) == index]
    agreement: Agreement
    if material.config.consensus == PROOF_OF_WORK:
        agreement = Miner(application, index == MINER, material.settings.confirmations, trace)
    else:
        cluster = make_cluster(material)
        agreement = Replica(index, cluster, identity, application, store.journal(name), trace,
                            name=name)
    return EdgeServer(name, index, application, agreement, material.edge_names, devices, trace)


def make_device(material: Material, position: int, store: NodeStore, trace: Trace) -> Device:
    """Device ``position`` (from 0), where its journal left it."""
    name = material.device_names[position]
    header = material.block.header
    client = LightClient(material.genesis, header, material.block.digest)
    edges = material.edge_names
    own = position % len(edges)
    config = material.config
    learner = DeviceLearner(
        name, material.participants.learners[position], material.settings,
        SeededRandomness(config.seed),
    )
    return Device(
        name=name,
        identity=material.devices[position],
        addresses=[identity.address for identity in material.devices],
        light=LightNode(client, material.settings.confirmations),
        edges=[*edges[own:], *edges[:own]],
        settings=material.settings,
        learner=learner,
        w=material.participants.w,
        public_key=material.public_key,
        key_share=material.shares[position],
        rng=source_of(config).substream(f"node/{name}"),
        gas_limit=GAS_LIMIT,
        journal=store.journal(name),
        nominal_ms=nominal_time(material.settings) if config.deterministic else None,
        trace=trace,
    )


def nominal_time(settings: Settings) -> Callable[[int], int]:
    """T_local for runs that must repeat byte for byte: a millisecond a sample and iteration."""
    return lambda samples: samples + settings.iterations
