"""From material to nodes: devices and edge servers, fresh or as they were before a restart.

`build_edge` and `build_device` take what every node knows (`Common`) and the node's own secrets and
data, so that a node can be built where nothing else is known; `make_edge` and `make_device` take
their part out of the whole material.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from bdn.chain import PROOF_OF_WORK, Ledger, LightClient, encode_block
from bdn.experiments.folder import NodeStore
from bdn.experiments.material import GAS_LIMIT, Common, Material, source_of
from bdn.identity import Identity, address_of
from bdn.learning import Learner
from bdn.nodes.ciphers import Ciphers
from bdn.nodes.device.device import Device
from bdn.nodes.device.light_node import LightNode
from bdn.nodes.device.work import DeviceLearner, Vector
from bdn.nodes.edge.application import LedgerApplication
from bdn.nodes.edge.miner import Agreement, Miner
from bdn.nodes.edge.server import MINER, EdgeServer
from bdn.nodes.settings import Settings
from bdn.nodes.vector_host import VectorHost
from bdn.paillier import KeyShare
from bdn.pbft.cluster import Cluster
from bdn.pbft.journal import Executed, Stable, decode_journal, encode_journal
from bdn.pbft.replica import Replica
from bdn.randomness import SeededRandomness
from bdn.seal import Seal
from bdn.trace import Trace

REQUEST_TIMEOUT_MS = 30_000
VIEW_TIMEOUT_MS = 60_000
STATUS_MS = 10_000
"""In virtual time: patient enough for the slowest cipher, and free when nothing waits."""


def make_cluster(common: Common) -> Cluster:
    """The consensus parameters of the run's edge servers."""
    return Cluster(
        instance=common.chain,
        public_keys=common.edges,
        checkpoint_interval=4, window=16, sequential=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS, view_timeout_ms=VIEW_TIMEOUT_MS,
        status_ms=STATUS_MS,
    )


def open_ledger(common: Common, path: Path | str) -> tuple[Ledger, VectorHost]:
    """An edge server's ledger, new or as it was, with the vector operations bound to it."""
    holder: list[Ledger] = []

    def read_blob(root: bytes) -> bytes:
        return holder[0].blob(root)

    host = VectorHost(Ciphers(common.chain, common.settings, read_blob), read_blob)
    if isinstance(path, Path) and path.exists():
        ledger = Ledger.open(path, host.functions)
    else:
        ledger = Ledger.create(path, common.genesis, common.block, host.functions)
    holder.append(ledger)
    return ledger, host


def build_edge(
    common: Common, index: int, identity: Identity, path: Path | str, store: NodeStore,
    trace: Trace,
) -> EdgeServer:
    """Edge server ``index``, where its ledger at ``path`` and its journal left it."""
    ledger, host = open_ledger(common, path)
    name = common.edge_names[index]
    application = LedgerApplication(name, identity, ledger, host, common.settings, trace)
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
        addresses=[address_of(key) for key in common.devices],
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
    )


def make_edge(
    material: Material, index: int, path: Path | str, store: NodeStore, trace: Trace
) -> EdgeServer:
    """`build_edge` from the run's material."""
    return build_edge(material.common, index, material.edges[index], path, store, trace)


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
