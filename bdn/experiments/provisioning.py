"""What a run is made of before it begins: data, identities, the joint key, genesis.

Everything is drawn from named substreams of one source: the operating system's, or under
``--deterministic`` the seed's. Data split, model and batches always come from the seed, so that a
run can be repeated, and resumed, with fresh keys.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from typing import Any

from bdn.chain import (
    MAX_CALL_GAS,
    Block,
    Genesis,
    RegisterDevice,
    build_genesis,
    chain_id,
    sign_transaction,
)
from bdn.chain.contracts.gas import LATEST
from bdn.encoding import decode_as, encode_as
from bdn.errors import UsageError
from bdn.experiments.clients import people_of
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import NodeStore
from bdn.experiments.participants import Participants
from bdn.identity import Identity, address_of
from bdn.learning import Classifier
from bdn.learning.server import SERVER_RULES
from bdn.nodes.device.work import model_digest
from bdn.nodes.settings import MOST_LAYERS, LayerClips, Settings
from bdn.paillier import KeyShare, PublicKey, deal, generate_jointly
from bdn.paillier.keys import Response
from bdn.randomness import Randomness, SeededRandomness, SystemRandomness
from bdn.trace import Trace

GAS_LIMIT = MAX_CALL_GAS
"""Of one transaction: room for the mining contract over a thousand large updates."""

GENERATION_RATE = 3_600_000
"""β: one block a second, in blocks per 1,000 hours. It drives proof of work's difficulty alone."""

FIRST_DIFFICULTY = 200_000
"""Hashes that the first mined block takes on average: about half a second of Python."""

DETERMINISTIC_TIME_MS = 1_563_753_600_000
"""The genesis time of runs that must repeat: 22 July 2019, when the paper appeared."""

TREASURY = b"bdn treasury account"
SAMPLES_PER_SECOND = 1_000_000
"""Beyond this a stated s_k is implausible for its T_local. A weak check: both are self-reported."""

SAMPLE_RATIO = 1000
DATA_REWARD = 1
PROCESSING_FEE = 100


@dataclass(frozen=True, slots=True)
class Common:
    """What every node of a run knows; nothing of it is secret, and no data are in it.

    Attributes:
        config, settings: what was chosen, and what genesis fixes of it.
        genesis, block: the chain's beginning.
        devices, edges: the nodes' public keys, in the order of genesis.
        device_addresses: of the devices, in the same order. These and the names are made once, and
            shared by all nodes of a process.
        device_names, edge_names: as the trace calls them; an edge server's number is its replica
            index.
    """

    config: RunConfig
    settings: Settings
    genesis: Genesis
    block: Block
    devices: tuple[bytes, ...]
    edges: tuple[bytes, ...]
    device_addresses: tuple[bytes, ...] = field(init=False)
    device_names: tuple[str, ...] = field(init=False)
    edge_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        made: dict[str, tuple[bytes, ...] | tuple[str, ...]] = {
            "device_addresses": tuple(map(address_of, self.devices)),
            "device_names": tuple(f"device-{k + 1}" for k in range(len(self.devices))),
            "edge_names": tuple(f"edge-{i}" for i in range(len(self.edges))),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def chain(self) -> bytes:
        """The 32-byte chain id."""
        return self.block.header.chain


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that nodes are built from.

    Attributes:
        config, settings: what was chosen, and what genesis fixes of it.
        participants: the devices' learners, and how a model is judged.
        devices, edges: identities.
        public_key: encoded.
        shares: by device; None for one that holds none.
        genesis, block: the chain's beginning.
        choices: what the run was made of: config and participants, as plain values. Genesis
            commits to them, so a resumed run can be compared with its beginning.
        common: the part that every node may have.
    """

    config: RunConfig
    settings: Settings
    participants: Participants
    devices: tuple[Identity, ...]
    edges: tuple[Identity, ...]
    public_key: bytes
    shares: tuple[KeyShare | None, ...] = field(repr=False)
    genesis: Genesis
    block: Block
    choices: Mapping[str, Any]
    common: Common = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "common", Common(
            self.config, self.settings, self.genesis, self.block,
            tuple(device.public_key for device in self.devices),
            tuple(edge.public_key for edge in self.edges)))

    @property
    def device_names(self) -> tuple[str, ...]:
        """As the trace calls them."""
        return self.common.device_names

    @property
    def edge_names(self) -> tuple[str, ...]:
        """As the trace calls them; an edge server's number is its replica index."""
        return self.common.edge_names


def source_of(config: RunConfig) -> Randomness:
    """Where identities, keys and nonces come from."""
    return SeededRandomness(config.seed) if config.deterministic else SystemRandomness()


def make_settings(config: RunConfig, participants: Participants) -> Settings:
    """What genesis fixes of ``config``."""
    total = sum(learner.sample_count for learner in participants.learners)
    return Settings(
        rule=config.rule, iterations=config.iterations, epochs=config.epochs,
        step_size=config.rate, batch_size=config.batch_size, tolerance=config.tolerance,
        classes=participants.classes, model_size=len(participants.w), cipher=config.cipher,
        value_bits=config.value_bits, weight_clip=config.weight_clip,
        gradient_clip=config.gradient_clip, loss_clip=config.loss_clip,
        norm_bound=config.norm_bound,
        gradient_norm_bound=config.gradient_norm_bound if config.norm_bound else (),
        total_weight=total,
        devices=config.devices,
        threshold=config.threshold, key_holders=config.holders,
        minimum_contributors=config.minimum, sample_ratio=SAMPLE_RATIO,
        samples_per_second=SAMPLES_PER_SECOND,
        deadline_ms=round(config.deadline_seconds * 1000),
        gather_ms=max(1, round(config.deadline_seconds * 250)),
        data_reward=DATA_REWARD, processing_reward=total * DATA_REWARD + PROCESSING_FEE,
        confirmations=config.confirmations, difficulty=FIRST_DIFFICULTY,
        model=config.clients or config.model, initial_model=model_digest(participants.w),
        server_rule=config.server_rule,
        server_step_size=(SERVER_RULES[config.server_rule].step_size
                          if config.server_step_size is None else config.server_step_size),
        server_momentum=config.server_momentum, schedule=config.schedule,
        local_epochs=config.local_epochs or 0, layer_clips=layer_clips(config, participants),
        patience=config.patience or 0, drawn=config.drawn if config.drawn < config.devices else 0,
    )


def layer_clips(config: RunConfig, participants: Participants) -> LayerClips:
    """The clip of each array of the model, where the config gives them.

    Raises `UsageError` where they are not as many positive numbers as the model has arrays.
    """
    if config.layer_clips is None:
        return ()
    model = participants.model
    if not isinstance(model, Classifier):
        raise UsageError("--layer-clips need a model whose arrays are known (--model)")
    try:
        clips = tuple(map(float, config.layer_clips.split(",", MOST_LAYERS)))
    except ValueError:
        clips = ()
    if len(clips) != len(model.shapes) or not all(1e-12 <= clip <= 1e12 for clip in clips):
        raise UsageError(f"--layer-clips must be {len(model.shapes)} positive numbers for "
                         f"{', '.join(model.shapes)[:200]}, not {config.layer_clips[:40]!r}")
    return tuple((math.prod(shape), clip)
                 for shape, clip in zip(model.shapes.values(), clips, strict=True))


def provision(
    config: RunConfig, store: NodeStore, trace: Trace, now_ms: int,
    participants: Participants | None = None, begun_epochs: int | None = None,
) -> Material:
    """Load data, make (or take from ``store``) identities and keys, and build genesis.

    Genesis says ``begun_epochs``, where the run has been extended since to those of ``config``.
    Raises `UsageError` where ``participants`` are not as many as the config's devices.
    """
    with trace.span("load-data"):
        participants = participants if participants is not None else people_of(config)
    if len(participants.learners) != config.devices:
        raise UsageError(f"{len(participants.learners)} learners for {config.devices} devices")
    counts = [learner.sample_count for learner in participants.learners]
    if max(counts) > SAMPLE_RATIO * min(counts):
        raise UsageError(
            f"sample counts from {min(counts)} to {max(counts)}: beyond a ratio of {SAMPLE_RATIO} "
            "a sum would show the largest device's update; split the data more evenly")
    begun = config if begun_epochs is None else replace(config, epochs=begun_epochs)
    settings = make_settings(begun, participants)
    source = source_of(config)
    devices = _identities(store, "device", config.devices, source)
    edges = _identities(store, "edge", config.edges, source)
    public_key, shares = _keys(config, store, source, trace)
    if config.deterministic:
        now_ms = DETERMINISTIC_TIME_MS
    choices = choices_of(begun, participants)
    genesis, block = _genesis(config, store, settings, devices, edges, counts, now_ms, source,
                              commitment(choices))
    padded = (*shares, *[None] * (config.devices - len(shares)))
    return Material(config, settings, participants, devices, edges, public_key, padded, genesis,
                    block, choices)


FREE = ("executor", "data", "init", "keep_models", "shared_work", "baseline")
"""Fields of a config that may change between a run's beginning and its resumption: where and how
often work is done, where the data lie, and what is compared at the end. The digest of the data may
not."""


def choices_of(config: RunConfig, participants: Participants) -> dict[str, Any]:
    """What a run is made of, as the marker keeps it."""
    return {"config": asdict(config), "participants": participants.describe()}


def commitment(choices: Mapping[str, Any]) -> bytes:
    """32 bytes that bind everything in ``choices`` that must not change, for genesis' salt."""
    config = {name: value for name, value in choices["config"].items() if name not in FREE}
    people = {name: value for name, value in choices["participants"].items() if name != "source"}
    text = json.dumps({"config": config, "participants": people}, sort_keys=True)
    return hashlib.sha256(b"bdn/choices" + text.encode()).digest()


def _identities(
    store: NodeStore, kind: str, count: int, source: Randomness
) -> tuple[Identity, ...]:
    identities = []
    for i in range(count):
        name = f"{kind}/{i}"
        secret = store.secret(name) or source.substream(f"identity/{name}").bytes(32)
        store.keep([(name, secret)])
        identities.append(Identity.from_secret(secret))
    return tuple(identities)


def _keys(
    config: RunConfig, store: NodeStore, source: Randomness, trace: Trace
) -> tuple[bytes, list[KeyShare]]:
    """The joint public key, encoded, and the parts of the secret."""
    stored = store.secret("public key")
    if stored is not None:
        public_key = PublicKey.from_bytes(stored)
        found = [store.secret(f"key share/{i}") for i in range(config.holders)]
        return stored, [decode_share(public_key, part) for part in found if part]
    rng = source.substream("key")
    trace.event("key-begun", bits=config.key_bits, how=config.key)
    with trace.span("key", bits=config.key_bits, how=config.key):
        if config.key == "dealer":
            public_key, shares = deal(config.holders, config.threshold, config.key_bits, rng=rng)
        else:
            public_key, shares = generate_jointly(
                config.holders, config.threshold, config.key_bits, rng=rng,
                progress=lambda turn, tried, expected: trace.event(
                    "key-progress", round=turn, tried=tried, expected=expected),
            )
    encoded = public_key.to_bytes()
    store.keep([(f"key share/{i}", encode_share(share)) for i, share in enumerate(shares)]
               + [("public key", encoded)])
    return encoded, list(shares)


def encode_share(share: KeyShare) -> bytes:
    """A part of the secret as bytes, without the public key that it belongs to."""
    return encode_as(_SHARE, (share.index, share.secret))


_SHARE = tuple[int, Response]


def decode_share(public_key: PublicKey, data: bytes) -> KeyShare:
    """What `encode_share` wrote."""
    index, secret = decode_as(_SHARE, data)
    return KeyShare(public_key, index, secret)


def _genesis(
    config: RunConfig, store: NodeStore, settings: Settings, devices: tuple[Identity, ...],
    edges: tuple[Identity, ...], sample_counts: Sequence[int], now_ms: int, source: Randomness,
    choices: bytes,
) -> tuple[Genesis, Block]:
    stored = store.secret("genesis salt")
    salt = stored[8:] if stored else source.substream("salt").bytes(16)
    time = int.from_bytes(stored[:8], "big") if stored else now_ms
    store.keep([("genesis salt", time.to_bytes(8, "big") + salt)])
    salt = hashlib.sha256(salt + choices).digest()[:len(salt)]
    treasury = settings.processing_reward * settings.epochs
    genesis = Genesis(
        name="bdn", salt=salt, consensus=config.consensus, gas_table=LATEST,
        gas_limit=GAS_LIMIT, edges=tuple(edge.public_key for edge in edges),
        balances=((TREASURY, treasury),),
        contracts=tuple((name, contract_source(name)) for name in ("learning", "mining")),
        generation_rate=GENERATION_RATE, time=time, settings=settings.to_plain(),
    )
    chain = chain_id(genesis)
    ownership = [
        sign_transaction(identity, chain, 0, GAS_LIMIT, RegisterDevice(
            f"device-{k + 1}", f"I own device-{k + 1} and its data.", k % len(edges), samples))
        for k, (identity, samples) in enumerate(zip(devices, sample_counts, strict=True))
    ]
    return genesis, build_genesis(genesis, edges[0], ownership).block


def contract_source(name: str) -> str:
    """The text of one of the two contracts, as shipped."""
    folder = resources.files("bdn.chain.contracts") / "sources"
    return (folder / f"{name}.contract").read_text(encoding="utf-8")
