"""What each process is given at its start: what is its own, and nothing of anybody else's.

An edge server gets no key share and no data; a device gets its own share and its own data; a
sender and a trainer (the comparison without BlockDeepNet) have neither ledger nor key. These are
plain records: what they mean is known to `bdn.experiments.processes.hosts` and `.central_nodes`.
"""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from bdn.encoding import at_most
from bdn.learning import ClientLayout, Dataset


@dataclass(frozen=True, slots=True)
class Shared:
    """What every node of a ledger knows: config (JSON), genesis, block 0, devices' public keys."""

    config: Annotated[str, at_most(1 << 20)]
    genesis: bytes
    block: bytes
    devices: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """A `Dataset` as bytes: ``inputs`` of the numpy type ``kind``, each sample of ``shape``, labels
    as int64.
    """

    inputs: bytes = field(repr=False)
    kind: str
    shape: tuple[int, ...]
    labels: bytes = field(repr=False)
    classes: int

    @classmethod
    def of(cls, data: Dataset) -> "Samples":
        """``data`` as bytes, little-endian."""
        kind = data.inputs.dtype.newbyteorder("<")
        return cls(data.inputs.astype(kind).tobytes(), kind.str, data.sample_shape,
                   data.labels.astype("<i8").tobytes(), data.classes)

    def dataset(self) -> Dataset:
        """The data set again; raises a `UsageError` where the bytes are no data set."""
        labels = np.frombuffer(self.labels, "<i8").astype(np.int64)
        inputs = np.frombuffer(self.inputs, self.kind).reshape(len(labels), *self.shape)
        return Dataset(inputs.astype(inputs.dtype.newbyteorder("=")), labels, self.classes)


@dataclass(frozen=True, slots=True)
class ClientPart:
    """A user's client, which the process makes itself: s_k, and its arrays' names and layout."""

    sample_count: int
    names: tuple[str, ...]
    layout: ClientLayout


@dataclass(frozen=True, slots=True)
class EdgeRole:
    """An edge server: its index, and where its ledger and its journal lie."""

    shared: Shared
    index: int
    ledger: str
    journal: str


@dataclass(frozen=True, slots=True)
class DeviceRole:
    """A device: its position, the joint public key, its own share (or nothing), its own data or
    its client, and w^(0) as little-endian float32.
    """

    shared: Shared
    position: int
    public_key: bytes
    share: bytes = field(repr=False)
    samples: Samples | ClientPart
    w: bytes = field(repr=False)
    journal: str


@dataclass(frozen=True, slots=True)
class SenderRole:
    """Without BlockDeepNet: a device that sends its raw data to ``trainer``."""

    samples: Samples
    trainer: str


@dataclass(frozen=True, slots=True)
class TrainerRole:
    """Without BlockDeepNet: a server that trains on the raw data of all ``senders``."""

    senders: tuple[str, ...]
    config: Annotated[str, at_most(1 << 20)]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one process is given.

    Attributes:
        name: the node's.
        secret: of its own Ed25519 identity.
        session: 32 bytes that all connections are bound to: the chain id, where there is a chain.
        keys: every node's public key, by name.
        addresses: the listeners' addresses, by name.
        started_ms: when the run began, milliseconds since 1970; trace events count from there.
        role: what the node is.
    """

    name: str
    secret: bytes = field(repr=False)
    session: bytes
    keys: tuple[tuple[str, bytes], ...]
    addresses: tuple[tuple[str, str], ...]
    started_ms: int
    role: EdgeRole | DeviceRole | SenderRole | TrainerRole
