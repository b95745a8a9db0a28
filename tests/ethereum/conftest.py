"""A small ledger with the real contracts and real ciphertexts, and chains to anchor it on.

Keys and vectors are toys (256 bits, sixty entries); blocks, seals, trees and Eq. (5) are not.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bdn.chain import (
    AUXILIARY,
    CANDIDATE,
    AggregateTransaction,
    CallTransaction,
    Envelope,
    Genesis,
    Ledger,
    Payload,
    RegisterDevice,
    RegisterKey,
    Store,
    UpdateTransaction,
    build_genesis,
    chain_id,
    device_bits,
    pack_blob,
    sign_transaction,
)
from bdn.ethereum import (
    EthereumNode,
    Plan,
    Record,
    anchor_run,
    find_contract,
    in_process,
    read_plan,
)
from bdn.experiments.provisioning import TREASURY, contract_source
from bdn.identity import Identity
from bdn.nodes.ciphers import Ciphers, key_in, update_context, vector_length
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings
from bdn.nodes.vector_host import UpdateRecord, VectorHost
from bdn.paillier import deal
from bdn.randomness import SeededRandomness
from bdn.seal import Seal, sign_commit

HERE = Path(__file__).parent
GAS = 1 << 40
EDGES = 2
SETTINGS = Settings(
    rule="svrg", iterations=1, epochs=2, step_size=0.1, batch_size=1, tolerance=0.0, classes=10,
    model_size=60, cipher="packed", value_bits=12, weight_clip=1.0, gradient_clip=1.0,
    loss_clip=8.0, total_weight=200, devices=3, threshold=1, key_holders=2, minimum_contributors=2,
    sample_ratio=20, samples_per_second=1000, deadline_ms=1000, gather_ms=100, data_reward=2,
    processing_reward=300, confirmations=0, difficulty=16,
)  # fmt: skip


# --- ledgers ------------------------------------------------------------------------------------


class LedgerMaker:
    """Writes a run's ledger: two edge servers, three devices, real contracts."""

    def __init__(self, path: Path, settings: Settings, samples: Sequence[int]) -> None:
        self.settings, self.samples = settings, samples
        self.edges = [Identity.from_secret(bytes([101 + i]) * 32) for i in range(EDGES)]
        self.devices = [Identity.from_secret(bytes([i + 1]) * 32) for i in range(len(samples))]
        self.nonces: dict[bytes, int] = {}
        self.public_key, _ = deal(2, 1, 256, rng=SeededRandomness(5))
        genesis = Genesis(
            name="small", salt=b"salt", consensus="pbft", gas_table=2, gas_limit=GAS,
            edges=tuple(edge.public_key for edge in self.edges), balances=((TREASURY, 10_000),),
            contracts=tuple((name, contract_source(name)) for name in ("learning", "mining")),
            generation_rate=1000, time=1, settings=settings.to_plain(),
        )
        chain = chain_id(genesis)
        ownership = [sign_transaction(device, chain, 0, GAS, RegisterDevice("device", "mine", 0))
                     for device in self.devices]
        self.host = VectorHost(Ciphers(chain, settings, key_in(self._blob)), self._blob)
        block = build_genesis(genesis, self.edges[0], ownership).block
        self.ledger = Ledger.create(path, genesis, block, self.host.functions)

    def _blob(self, root: bytes) -> bytes:
        return self.ledger.blob(root)

    def sign(self, who: Identity, payload: Payload) -> Envelope:
        nonce = self.nonces.get(who.address, self.ledger.next_nonce(who.address))
        self.nonces[who.address] = nonce + 1
        return sign_transaction(who, self.ledger.chain, nonce, GAS, payload)

    def put(
        self, envelopes: Sequence[Envelope], aggregate: Envelope | None = None, epoch: int = 0,
        kind: str = AUXILIARY, proposer: int = 0,
    ) -> None:
        """A block, sealed by both edge servers."""
        self.nonces.clear()
        ledger = self.ledger
        block = ledger.propose(
            kind=kind, epoch=epoch, time=ledger.head.time + 1,
            proposer=self.edges[proposer].address, transactions=envelopes, aggregate=aggregate,
        ).block
        height = block.header.height
        votes = tuple((i, sign_commit(edge, ledger.chain, 0, height, block.digest))
                      for i, edge in enumerate(self.edges))
        ledger.commit(block, Seal(0, height, block.digest, votes))

    def make_key(self) -> None:
        self.put([self.sign(device, CallTransaction("learning", "register_exchange_key",
                                                    (bytes([i]) * 32,)))
                  for i, device in enumerate(self.devices)])
        blob = pack_blob([self.public_key.to_bytes()])
        root = self.ledger.put_blob(blob)
        self.put([self.sign(self.devices[0], RegisterKey(
            0, self.public_key.bits, self.settings.threshold, self.settings.key_holders, root, 1,
            len(blob)))])
        self.put([self.sign(device, CallTransaction("learning", "confirm_key", (root,)))
                  for device in self.devices])

    def aggregate(self, epoch: int, phase: str, proposer: int) -> None:
        """One phase: every device's sealed update, and their Tx_co."""
        terms = self.ledger.call("learning", "sealing_terms")
        cipher = self.host.ciphers.get(terms, epoch, phase)
        updates = []
        for device, samples in zip(self.devices, self.samples, strict=True):
            rng = SeededRandomness(device.address + phase.encode() + bytes([epoch]))
            vector = np.linspace(0.0, 0.5, vector_length(self.settings, phase))
            context = update_context(self.ledger.chain, epoch, phase, device.address)
            sealed = cipher.seal(vector, samples, rng=rng, context=context)
            blob = pack_blob(sealed.leaves())
            updates.append(self.sign(device, UpdateTransaction(
                epoch, phase, samples, 1000, self.ledger.put_blob(blob), len(sealed.leaves()),
                len(blob))))
        self.put(updates, self._tx_co(terms, epoch, phase, updates, proposer), epoch,
                 CANDIDATE if phase == WEIGHTS else AUXILIARY, proposer)

    def _tx_co(
        self, terms: Any, epoch: int, phase: str, updates: Sequence[Envelope], proposer: int
    ) -> Envelope:
        ordered = sorted(updates, key=lambda envelope: envelope.address)
        payloads = [envelope.payload for envelope in ordered]
        records = [UpdateRecord.of(p) for p in payloads]
        root, chunks, size = self.host.product(terms, epoch, phase, records)
        blob = self.host.produced.pop(root, None)  # None: the same product was made before
        if blob is not None:
            self.ledger.put_blob(blob)
        return self.sign(self.edges[proposer], AggregateTransaction(
            epoch, phase, root, chunks, size, device_bits(
                [device.address for device in self.devices].index(e.address) for e in ordered),
            sum(p.sample_count for p in payloads)))


def write_run(folder: Path, samples: Sequence[int], **changes: Any) -> Path:
    """A run folder with the ledger of two epochs (gradient and weights), and the closing loss."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = LedgerMaker(folder / "ledger.sqlite", replace(SETTINGS, **changes), samples)
    maker.make_key()
    for epoch in (1, 2):
        maker.aggregate(epoch, GRADIENT, proposer=0)
        maker.aggregate(epoch, WEIGHTS, proposer=epoch % EDGES)
    maker.aggregate(2, LOSS, proposer=0)
    maker.ledger.close()
    return folder


@dataclass(frozen=True)
class SmallRun:
    """A run folder, its opened store, and what it has to anchor."""

    folder: Path
    store: Store
    plan: Plan


def _small_run(folder: Path, samples: Sequence[int], **changes: Any) -> SmallRun:
    write_run(folder, samples, **changes)
    store = Store.open(folder / "ledger.sqlite", read_only=True)
    return SmallRun(folder, store, read_plan(store))


@pytest.fixture(scope="session")
def packed_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallRun]:
    """Packed cipher: the contract applies the weights 3, 1 and 12."""
    run = _small_run(tmp_path_factory.mktemp("packed"), (3, 1, 12))
    yield run
    run.store.close()


@pytest.fixture(scope="session")
def masked_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallRun]:
    """Ring-masked cipher: the weights are inside the messages, and ring chunks follow."""
    run = _small_run(tmp_path_factory.mktemp("masked"), (3, 1, 12), cipher="ring-masked")
    yield run
    run.store.close()


@pytest.fixture(params=["packed", "ring-masked"])
def small_run(request: pytest.FixtureRequest) -> SmallRun:
    """Both ciphers, one after the other."""
    name = "packed_run" if request.param == "packed" else "masked_run"
    run: SmallRun = request.getfixturevalue(name)
    return run


@pytest.fixture
def folder(packed_run: SmallRun, tmp_path: Path) -> Path:
    """A run folder of one's own, to write `anchor.json` into."""
    shutil.copy(packed_run.folder / "ledger.sqlite", tmp_path / "ledger.sqlite")
    shutil.copytree(packed_run.folder / "blobs", tmp_path / "blobs")
    return tmp_path


# --- Ethereum chains ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def extra() -> None:
    """Skips where the extra ``ethereum`` is not installed."""
    for module in ("web3", "eth_tester", "eth"):
        pytest.importorskip(module, reason="needs pip install 'bdn[ethereum]'")


@dataclass(frozen=True)
class Chain:
    """A chain in this process with both runs' contracts deployed, and the way back to that."""

    node: EthereumNode
    record: dict[str, Record]
    snapshot: Any

    def reset(self) -> None:
        self.node.web3.provider.ethereum_tester.revert_to_snapshot(self.snapshot)


@pytest.fixture(scope="session")
def chain(extra: None, packed_run: SmallRun, masked_run: SmallRun) -> Chain:
    """Deploying costs py-evm a second, so the tests share one deployment."""
    node = in_process()
    records = {}
    for run in (packed_run, masked_run):
        records[run.plan.setup.chain.hex()] = record = Record(None)
        anchor_run(node, replace(run.plan, rounds=()), record)
    return Chain(node, records, node.web3.provider.ethereum_tester.take_snapshot())


@pytest.fixture
def node(chain: Chain) -> EthereumNode:
    """A chain in this process on which nothing is anchored yet."""
    chain.reset()
    return chain.node


@pytest.fixture
def record(chain: Chain, packed_run: SmallRun) -> Record:
    """Where the packed run's contract stands on ``node``."""
    return chain.record[packed_run.plan.setup.chain.hex()]


@pytest.fixture
def anchored(node: EthereumNode, chain: Chain) -> Callable[[Plan], Any]:
    """Anchors a plan on ``node`` and gives the contract back."""

    def anchor(plan: Plan) -> Any:
        record = chain.record[plan.setup.chain.hex()]
        assert not anchor_run(node, plan, record).conflicts
        return find_contract(node, plan.setup, record)

    return anchor


# --- npm ----------------------------------------------------------------------------------------


def _from_npm(command: str) -> Path:
    """A command of `package.json` beside this file, or of ``BDN_NODE_MODULES``; skips without."""
    for folder in (os.environ.get("BDN_NODE_MODULES"), str(HERE / "node_modules")):
        if folder and (Path(folder) / ".bin" / command).exists():
            return Path(folder) / ".bin" / command
    pytest.skip(f"no {command}: npm install --no-package-lock --prefix tests/ethereum")


@pytest.fixture(scope="session")
def solcjs() -> Path:
    """The pinned compiler."""
    return _from_npm("solcjs")


@pytest.fixture(scope="session")
def anvil_command() -> Path:
    """The live node's command."""
    return _from_npm("anvil")


@pytest.fixture(params=["osaka", "prague"])
def anvil(request: pytest.FixtureRequest, anvil_command: Path, extra: None) -> Iterator[str]:
    """The address of a live node under each set of rules."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(anvil_command), "--port", str(port), "--hardfork", request.param, "--silent"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _await(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _await(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"anvil ended: {process.communicate()[1].decode()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("anvil does not listen after 30 seconds")
