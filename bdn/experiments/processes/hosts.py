"""From an assignment to its node: edge servers and devices, each with a store of its own."""

from pathlib import Path
from typing import Protocol, assert_never

import numpy as np

from bdn.chain import Genesis, decode_block
from bdn.chain.blocks import decode_genesis
from bdn.experiments.clients import ClientByName
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NodeStore
from bdn.experiments.processes.assignment import ClientPart, DeviceRole, EdgeRole, Shared
from bdn.experiments.processes.control import Finished, FromChild, Reached
from bdn.experiments.provisioning import Common, decode_share
from bdn.experiments.setup import build_device, build_edge
from bdn.identity import Identity
from bdn.learning import ClientLearner, CnnLearner, Learner, make_model
from bdn.nodes.device import journal
from bdn.nodes.device.device import Stage
from bdn.nodes.events import Node
from bdn.nodes.settings import Settings
from bdn.paillier import PublicKey
from bdn.trace import Trace


class NodeHost(Protocol):
    """A node with what belongs to it in its process."""

    @property
    def node(self) -> Node:
        """What is driven."""

    @property
    def view(self) -> int:
        """An edge server's view; 0 for others."""

    def persist(self, record: bytes, slot: str) -> None:
        """Keep a journal record; durable on return."""

    def news(self) -> list[FromChild]:
        """What the parent should know; asked after every turn."""

    def close(self) -> None:
        """Release files."""


class EdgeHost:
    """An edge server with its ledger and its journal."""

    def __init__(self, role: EdgeRole, identity: Identity, trace: Trace) -> None:
        self._store = NodeStore(Path(role.journal))
        self.node = build_edge(_common(role.shared), role.index, identity, Path(role.ledger),
                               self._store, trace)

    @property
    def view(self) -> int:
        """The view of its consensus."""
        return self.node.view

    def persist(self, record: bytes, slot: str) -> None:
        """Append to the journal."""
        self._store.append(self.node.name, record, slot)

    def news(self) -> list[FromChild]:
        """Nothing: the trace tells all."""
        return []

    def close(self) -> None:
        """Close ledger and journal."""
        self.node.ledger.close()
        self._store.close()


class DeviceHost:
    """A device with its data, its share and its journal."""

    view = 0

    def __init__(self, role: DeviceRole, identity: Identity, trace: Trace) -> None:
        self._store = NodeStore(Path(role.journal))
        common = _common(role.shared)
        public_key = PublicKey.from_bytes(role.public_key)
        share = decode_share(public_key, role.share) if role.share else None
        w = np.frombuffer(role.w, "<f4").astype(np.float32)
        self.node = build_device(
            common, role.position, identity, role.public_key, share,
            _learner(role, common.config), w, self._store, trace,
        )
        self._told = 0
        self._finished = False

    def persist(self, record: bytes, slot: str) -> None:
        """Append to the journal."""
        self._store.append(self.node.name, record, slot)

    def news(self) -> list[FromChild]:
        """The model after each epoch, and at the end everything that the device knows of it."""
        progress, found = self.node.progress, list[FromChild]()
        done = progress.done
        if done > self._told:
            self._told = done
            found.append(Reached(done, progress.w.astype("<f4").tobytes()))
        if self.node.stage is Stage.FINISHED and not self._finished:
            self._finished = True
            found.append(Finished(journal.encode(journal.progress_record(progress, 0, b"", 0))))
        return found

    def close(self) -> None:
        """Close the journal."""
        self._store.close()


def make_host(role: EdgeRole | DeviceRole, identity: Identity, trace: Trace) -> NodeHost:
    """The node of ``role``, fresh or where its store left it."""
    match role:
        case EdgeRole():
            return EdgeHost(role, identity, trace)
        case DeviceRole():
            return DeviceHost(role, identity, trace)
        case _:
            assert_never(role)


def _learner(role: DeviceRole, config: RunConfig) -> Learner:
    """The config's model on the device's own samples, or the device's client."""
    if isinstance(role.samples, ClientPart):
        part = role.samples
        assert config.clients is not None
        client = ClientByName(config.clients, role.position, config.devices, part.names)
        return ClientLearner(client, part.sample_count, part.layout)
    data = role.samples.dataset()
    return CnnLearner(make_model(config.model, data.sample_shape, data.classes, config.seed), data)


def _common(shared: Shared) -> Common:
    genesis: Genesis = decode_genesis(shared.genesis)
    return Common(RunConfig.from_json(shared.config), Settings.from_plain(genesis.settings),
                  genesis, decode_block(shared.block), shared.devices, genesis.edges)
