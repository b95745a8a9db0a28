"""Frames that were bent on purpose, sent through `Replica.step` and `EdgeServer.step`.

A fuzzer of bytes alone rarely gets past the decoder. This one takes frames of lively runs apart,
changes one to three things at any depth (integers to the ends of their ranges and beyond, bytes and
text in length and content, lists shortened, repeated and shuffled, keys, tags), and writes them
again with another library. Half of what still is a message is signed anew by a faulty replica or
by a client, so that the rules behind the signature see it, too::

    python tests/pbft/fuzz_frames.py --frames 1000000            Replica.step
    python tests/pbft/fuzz_frames.py --frames 100000 --edge      EdgeServer.step

The command fails if a step raises anything, or if a replica remembers more than its bound. It tells
how many frames were refused, the slowest one (in CPU time of the thread), what the target keeps
afterwards, and the peak memory. That peak is mostly this file's own: bending a frame of 1.3 MB
takes 57 MB for a moment, taking it in takes 2.6 MB (twice the frame), and nothing of it is kept.
`test_pbft_fuzz.py` runs it for a moment.
"""

import argparse
import dataclasses
import gc
import importlib.util
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import cbor2

from bdn.errors import PeerError
from bdn.pbft.events import Receive, Suspect, Timeout
from bdn.pbft.messages import Request, type_name
from bdn.pbft.signing import HashSigning, signed
from bdn.pbft.wire import decode_message, encode_message
from bdn.trace import Recorder

HERE = Path(__file__).parent
FAULTY = 3
"""The replica that signs what it likes; frames go to another one."""
LONGEST = 4 << 20
"""Longest frame made, in bytes; a transport takes frames of up to 64 MiB."""
STATES_ANEW = 5_000
"""After so many frames the target is put back into one of the collected states."""
COUNTED = 1_000
"""After so many frames it is counted what an edge server keeps."""
NOT_KEPT = (type, ModuleType, FunctionType, BuiltinFunctionType, Recorder)
INTEGERS = (0, 1, 2, 23, 24, 255, 256, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, -2**63,
            10**30, 10**5000, -(10**5000))
TAGS = (2, 3, 0, 1, 4, 24, 28, 29, 30, 55799)


@dataclasses.dataclass
class Tally:
    """What was found.

    Attributes:
        frames: how many were sent.
        kinds: by type of the message, or "undecodable"; at an edge server, of what was bent.
        refused: frames after which the trace told of a refusal.
        slowest_ms: CPU time of the slowest step; ``slowest`` says which frame it was.
        remembered: the most things that `Replica.log_size` counted.
        kept: (objects, bytes) that hang on the edge server, before the first frame, every
            ``COUNTED`` frames, and after the last.
        grown_mb: growth of the process's peak memory over the run, bending included.
    """

    frames: int = 0
    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: int = 0
    slowest_ms: float = 0.0
    slowest: str = ""
    remembered: int = 0
    kept: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    grown_mb: float = 0.0


def peak_mb() -> float:
    """Return the process's peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def kept_by(node: Any) -> tuple[int, int]:
    """Return how many objects hang on ``node``, and their bytes; code and trace do not count."""
    seen, waiting, size = {id(node)}, [node], 0
    while waiting:
        thing = waiting.pop()
        size += sys.getsizeof(thing, 0)
        for part in gc.get_referents(thing):
            if id(part) not in seen and not isinstance(part, NOT_KEPT):
                seen.add(id(part))
                waiting.append(part)
    return len(seen), size


def kept_besides_served(server: Any) -> tuple[int, int]:
    """Return what hangs on an edge server, the four blobs left out that it served last."""
    server._served.clear()
    return kept_by(server)


# --- bending frames -------------------------------------------------------------------------------


def bent(rng: random.Random, frame: bytes) -> bytes:
    """Return the frame with one to three changes; sometimes only bytes are exchanged."""
    if rng.random() < 0.2:
        return _bent_bytes(rng, frame)
    try:
        value = cbor2.loads(frame)
    except cbor2.CBORDecodeError:
        return _bent_bytes(rng, frame)
    gentle = rng.random() < 0.5
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _bent_value(rng, value, gentle)
    try:
        data = cbor2.dumps(value, canonical=rng.random() < 0.9)
        return data if len(data) <= LONGEST else _bent_bytes(rng, frame)
    except (cbor2.CBOREncodeError, UnicodeEncodeError, TypeError, ValueError):
        return _bent_bytes(rng, frame)


def _bent_bytes(rng: random.Random, frame: bytes) -> bytes:
    raw = bytearray(frame)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(raw) + 1)
        match rng.randrange(4):
            case 0 if at < len(raw):
                raw[at] = rng.randrange(256)
            case 1:
                del raw[at:at + rng.randrange(1, 9)]
            case 2:
                raw[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                raw[at:at] = bytes((0xD8, rng.choice((0x1C, 0x1D, 2, 3)))) * rng.randrange(1, 4)
        raw = raw or bytearray(b"\x80")
    return bytes(raw)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value[:8]):
            yield from _places(item, (*path, i))


def _bent_value(rng: random.Random, value: Any, gentle: bool) -> Any:
    path = rng.choice(list(_places(value)))

    def at(part: Any, rest: tuple[Any, ...]) -> Any:
        if not rest:
            return _similar(rng, part) if gentle else _other(rng, part)
        copy = part.copy()
        copy[rest[0]] = at(part[rest[0]], rest[1:])
        return copy

    return at(value, path)


def _similar(rng: random.Random, value: Any) -> Any:
    """Return another value that the decoder lets pass, as a rule."""
    match value:
        case bool():
            return not value
        case int():
            return max(0, value + rng.choice((-4, -1, 1, 4, 8)))
        case bytes():
            return rng.choice([value[::-1], rng.randbytes(len(value))])
        case list():
            return rng.choice([value[:-1], value[1:], value + value[:1],
                               rng.sample(value, len(value))])
    return value


def _other(rng: random.Random, value: Any) -> Any:
    """Return something else in the place of ``value``, mostly of the same type."""
    if rng.random() < 0.1:
        return rng.choice([None, True, 0, b"", "", [], {}, 1.5, cbor2.CBORTag(28, value),
                           cbor2.CBORTag(rng.choice(TAGS), b"\x01"), {"view": value}, [value] * 3])
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([*INTEGERS, value - 1, value + 1, value + 7, 2 * value])
        case bytes():
            return rng.choice([value[:-1], value + b"\x00", b"", bytes(len(value)), value[::-1],
                               value * 2, rng.randbytes(len(value)), bytes(rng.choice((64, 5000)))])
        case str():
            return rng.choice([value[:-1], value + "x", "", value * 50, "\x00", "ö" * 128,
                               "payload", "decided", "checkpoint", "Status", "State"])
        case list():
            shuffled = rng.sample(value, len(value))
            return rng.choice([value[:-1], value[1:], value * 2, value * 40, [], shuffled,
                               [*value, *value[:1]], [[value]], shuffled[:1] * 5])
        case dict():
            return _other_map(rng, value)
    return value


def _other_map(rng: random.Random, value: dict[Any, Any]) -> dict[Any, Any]:
    copy = dict(value)
    if copy and rng.random() < 0.5:
        del copy[rng.choice(list(copy))]
    else:
        copy[rng.choice(("view", "x", "", 1, b"k"))] = rng.choice((0, b"", None))
    return copy


# --- replicas -------------------------------------------------------------------------------------


def _world_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pbft_world", HERE / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lively_states(seed: int) -> tuple[Any, list[Any], list[bytes]]:
    """Return a world, states of its replica 1 in the middle of things, and what was sent."""
    rng = random.Random(seed)
    world = _world_module().World(4, {"status_ms": 60, "max_payload": 1 << 20})
    states: list[Any] = []
    for round_ in range(24):
        late = round_ % 4
        world.drop = lambda source, to, _, late=late, cut=round_ % 3 == 0: (
            rng.random() < 0.15 or (cut and late in (source, to)))
        for client in ("c0", "c1"):
            if world.clients[client].outstanding is None:
                world.submit(client, rng.randbytes(rng.randrange(40)))
        world.run(rng.randrange(10, 150))
        if rng.random() < 0.4:
            who = rng.randrange(4)
            world.step(who, Suspect(world.replicas[who].view + 1))
            world.run(rng.randrange(10))
        replica = world.replicas[1]
        states.append(replica.clone(replica.application.clone()))
    frames = {encode_message(m): None for source in list(world.sent) for _, m in world.sent[source]}
    return world, states, list(frames)


def resigned(rng: random.Random, world: Any, data: bytes) -> bytes:
    """Return the frame signed anew by the faulty replica or the client, where it is a message."""
    try:
        message = decode_message(data)
    except PeerError:
        return data
    if isinstance(message, Request):
        who = world.client_ids.get(message.client)
        if who is not None:
            message = signed(message, b"test", HashSigning(who.public_key))
    else:
        if hasattr(message, "replica") and rng.random() < 0.8:
            message = dataclasses.replace(message, replica=FAULTY)
        message = world.sign(FAULTY, message)
    return encode_message(message)


def fuzz_replicas(frames: int, seed: int, say: Callable[[str], None] = lambda _: None) -> Tally:
    """Send so many frames; raise what a step raises, and `AssertionError` for a bound exceeded."""
    rng = random.Random(seed)
    world, states, wire = lively_states(seed)
    trace = world.traces[1]
    tally, window = Tally(), world.cluster.window
    bound = window + world.cluster.n * (3 * window + window // 4 + 3)  # as the simulator's
    target, before = states[0], peak_mb()
    for count in range(frames):
        if count % STATES_ANEW == 0:
            state = rng.choice(states)
            target = state.clone(state.application.clone())
            trace.events.clear()
        data = bent(rng, rng.choice(wire))
        if rng.random() < 0.5:
            data = resigned(rng, world, data)
        event = Receive(rng.choice((0, 2, FAULTY, "c0", "x")), data)
        told = len(trace.events)
        begun = time.thread_time()
        target.step(event)
        spent = (time.thread_time() - begun) * 1e3
        if count % 200 == 0:
            target.step(Timeout(rng.choice(("status", "status", "request", "view"))))
        tally.refused += any(e["event"] == "rejected" for e in trace.events[told:])
        _note(tally, _kind(data), data, spent)
        tally.remembered = max(tally.remembered, target.log_size())
        assert tally.remembered <= bound, f"{tally.remembered} things are remembered"
        if count and count % 100_000 == 0:
            say(f"{count} frames, slowest {tally.slowest_ms:.1f} ms, "
                f"{peak_mb() - before:.0f} MB more")
    tally.grown_mb = peak_mb() - before
    return tally


def _kind(data: bytes) -> str:
    try:
        return type_name(decode_message(data))
    except PeerError:
        return "undecodable"


def _note(tally: Tally, kind: str, data: bytes, spent_ms: float) -> None:
    tally.frames += 1
    tally.kinds[kind] += 1
    if spent_ms > tally.slowest_ms:
        tally.slowest_ms, tally.slowest = spent_ms, f"{kind}, {len(data)} bytes"


# --- edge servers ---------------------------------------------------------------------------------


class _Enough(Exception):  # noqa: N818 - it ends the run in whose middle we are
    """All frames were sent."""


def fuzz_edge_server(frames: int, seed: int) -> Tally:
    """Run a small ledger; in its middle, send so many bent frames to one of its edge servers."""
    from bdn.experiments.config import RunConfig
    from bdn.experiments.folder import RunFolder
    from bdn.experiments.run import opened_run
    from bdn.nodes.edge.server import EdgeServer
    from bdn.nodes.events import Received
    from bdn.nodes.messages import Consensus
    from bdn.nodes.messages import decode_message as decode_node_message
    from bdn.nodes.messages import encode_message as encode_node_message

    rng, tally, seen = random.Random(seed), Tally(), []
    real = EdgeServer.step
    config = RunConfig(devices=4, threshold=2, epochs=2, iterations=3, batch_size=16, samples=40,
                       key_bits=512, deterministic=True, seed=3)

    def step(server: Any, event: Any, now_ms: int) -> Any:
        if isinstance(event, Received):
            seen.append((event.source, event.data))
        if server.index == 1 and server.ledger.height >= 8:
            before = peak_mb()
            for count in range(frames):
                if count % COUNTED == 0:
                    tally.kept.append(kept_besides_served(server))
                source, data = rng.choice(seen)
                message = decode_node_message(data)
                if isinstance(message, Consensus) and rng.random() < 0.7:
                    data = encode_node_message(Consensus(bent(rng, message.data)))
                else:
                    data = bent(rng, data)
                begun = time.thread_time()
                real(server, Received(source, data), now_ms)
                spent = (time.thread_time() - begun) * 1e3
                _note(tally, type(message).__name__, data, spent)
            tally.kept.append(kept_besides_served(server))
            tally.grown_mb = peak_mb() - before
            raise _Enough
        return real(server, event, now_ms)

    EdgeServer.step = step  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run"
            with opened_run(config, RunFolder.create(path, config)) as run:
                run.complete()
    except _Enough:
        pass
    finally:
        EdgeServer.step = real  # type: ignore[method-assign]
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--edge", action="store_true", help="send them to an edge server")
    chosen = parser.parse_args()
    begun = time.perf_counter()
    tally = (fuzz_edge_server(chosen.frames, chosen.seed) if chosen.edge
             else fuzz_replicas(chosen.frames, chosen.seed, lambda text: print(text, flush=True)))
    kinds = ", ".join(f"{kind} {count}" for kind, count in tally.kinds.most_common())
    print(f"{tally.frames} frames in {time.perf_counter() - begun:.0f} s, nothing raised, "
          f"{tally.refused} refused by a replica\n{kinds}\nslowest {tally.slowest_ms:.1f} ms "
          f"({tally.slowest}); at most {tally.remembered} things remembered; "
          f"{tally.grown_mb:.0f} MB more at the peak, bending included")
    if tally.kept:
        (things, size), (most, most_bytes) = tally.kept[0], map(max, zip(*tally.kept, strict=True))
        print(f"the edge server kept {things} objects of {size} bytes before the first frame, and "
              f"at most {most} of {most_bytes} bytes later")


if __name__ == "__main__":
    main()
