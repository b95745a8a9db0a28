"""Frames, links, driver and parts: what a process is made of, without starting any."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.encoding import encode_union
from bdn.errors import PeerError, UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.processes import connections as connections_module
from bdn.experiments.processes.assignment import Assignment, DeviceRole, EdgeRole
from bdn.experiments.processes.connections import Connections, Membership, free_ports
from bdn.experiments.processes.driver import LATE_SECONDS, QUIET_SECONDS, Driver
from bdn.experiments.processes.errors import FrameError
from bdn.experiments.processes.frames import HEADER, FrameReader, frame
from bdn.experiments.processes.run import check_playable, opened_processes
from bdn.identity import Identity
from bdn.nodes.events import (
    CancelTimer,
    Compute,
    Computed,
    Effect,
    Event,
    Persist,
    Received,
    Send,
    SetTimer,
    Started,
    Task,
    TimedOut,
)
from bdn.randomness import SeededRandomness
from bdn.trace import Recorder

# --- frames -------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=200)), st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(frame, messages))
    reader, found, at, turn = FrameReader(), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        found += reader.feed(stream[at:at + step])
        at, turn = at + step, turn + 1
    assert found == messages
    assert reader.is_between_frames


def test_an_oversized_frame_is_refused_by_its_header_alone() -> None:
    """Nothing of it is kept, so a peer cannot fill our memory."""
    reader = FrameReader(limit=100)
    assert list(reader.feed(frame(b"x" * 100))) == [b"x" * 100]
    with pytest.raises(FrameError, match="101"):
        list(reader.feed((101).to_bytes(HEADER, "big")))


def test_a_half_written_frame_is_known_as_one() -> None:
    reader = FrameReader()
    assert list(reader.feed(frame(b"message")[:-1])) == []
    assert not reader.is_between_frames


# --- links --------------------------------------------------------------------------------------

NAMES = ("edge-0", "edge-1", "device-1")
SESSION = bytes(32)


def identity(name: str) -> Identity:
    return Identity.generate(SeededRandomness(name.encode()))


class Wires:
    """Connections of three nodes, in one process, over real sockets."""

    def __init__(self, addresses: dict[str, str]) -> None:
        keys = {name: identity(name).public_key for name in NAMES}
        self.members = Membership(SESSION, keys, addresses)
        self.trace = Recorder()
        self.links = {name: self.open(name) for name in NAMES}

    def open(self, name: str, **changes: Any) -> Connections:
        return Connections(name, changes.get("identity", identity(name)),
                     changes.get("members", self.members), self.trace)

    def exchange(self, *nodes: Connections, expect: int = 0, closed: int = 0) -> list[Any]:
        """Let ``nodes`` (all by default) go on until nothing moves any more, but not before as
        many messages have come and connections been closed as are expected (or ten seconds)."""
        found: list[Any] = []
        began = quiet = time.monotonic()
        before = len(self.reasons())
        while time.monotonic() - began < 10 and (
            time.monotonic() - quiet < 0.1 or len(found) < expect
            or len(self.reasons()) < before + closed
        ):
            for node in nodes or self.links.values():
                messages, heard = node.wait(0.005)
                found += [(node.name, *message) for message in messages]
                quiet = time.monotonic() if heard or messages else quiet
        return found

    def reasons(self) -> list[str]:
        return [e["reason"] for e in self.trace.events if e["event"] == "link-closed"]


@pytest.fixture(params=["unix", "tcp", pytest.param("abstract", marks=pytest.mark.skipif(
    sys.platform != "linux", reason="a kind of socket that Linux has"))])
def wires(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wires]:
    places = [f"unix:{tmp_path / str(i)}" for i in range(2)]
    if request.param == "tcp":
        places = [f"tcp:127.0.0.1:{port}" for port in free_ports(2)]
    elif request.param == "abstract":
        places = [f"abstract:{tmp_path.name}-{os.getpid()}-{i}" for i in range(2)]
    made = Wires(dict(zip(NAMES[:2], places, strict=True)))
    yield made
    for node in made.links.values():
        node.close()


def test_a_device_and_edge_servers_talk_both_ways(wires: Wires) -> None:
    device, edge = wires.links["device-1"], wires.links["edge-0"]
    assert not edge.send("device-1", b"too early"), "nobody dials a device"
    big = bytes(range(256)) * 20_000
    assert device.send("edge-0", b"first")
    assert device.send("edge-0", big)
    assert wires.exchange(expect=2) == [
        ("edge-0", "device-1", b"first"), ("edge-0", "device-1", big)]
    assert edge.send("device-1", big)
    assert edge.send("edge-1", b"between servers")
    assert sorted(wires.exchange(expect=2)) == [
        ("device-1", "edge-0", big), ("edge-1", "edge-0", b"between servers")]


def test_a_peer_that_disappears_is_dialled_again(wires: Wires) -> None:
    device = wires.links["device-1"]
    device.send("edge-0", b"one")
    wires.exchange(expect=1)
    wires.links["edge-0"].close()
    wires.exchange(device, closed=1)
    assert "closed" in wires.reasons()
    device.send("edge-0", b"lost, as nobody listens now")
    wires.exchange(device)
    time.sleep(connections_module.REDIAL_SECONDS)
    wires.links["edge-0"] = wires.open("edge-0")
    assert device.send("edge-0", b"two")
    assert wires.exchange(expect=1) == [("edge-0", "device-1", b"two")]


def test_who_cannot_show_its_name_is_not_heard(wires: Wires) -> None:
    """Neither under a member's name with another key, nor under a name that is none's."""
    for name, key in (("device-1", "a thief"), ("device-9", "device-9")):
        stranger = wires.open(name, identity=identity(key))
        stranger.send("edge-0", b"forged")
        assert wires.exchange(stranger, wires.links["edge-0"], closed=1) == []
        stranger.close()
    reasons = " ".join(wires.reasons())
    assert "does not verify" in reasons
    assert "is no member" in reasons


def test_a_hello_of_another_chain_is_refused(wires: Wires) -> None:
    other = Membership(b"\1" * 32, wires.members.keys, wires.members.addresses)
    stranger = wires.open("device-1", members=other)
    stranger.send("edge-0", b"replayed")
    assert wires.exchange(stranger, wires.links["edge-0"], closed=1) == []
    stranger.close()


HALF = b"\0\0\0\5half"


def connect(wires: Wires, name: str = "edge-0") -> socket.socket:
    kind, _, place = wires.members.addresses[name].partition(":")
    if kind != "tcp":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(place if kind == "unix" else f"\0{place}")
        return sock
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)))


def test_garbage_an_oversized_header_and_a_half_frame_cost_the_connection_alone(
    wires: Wires,
) -> None:
    """The server goes on, and a member is heard as before."""
    edge = wires.links["edge-0"]
    for rubbish in (frame(b"no hello"), b"\xff\xff\xff\xff", HALF):
        with connect(wires) as sock:
            wires.exchange(edge)
            sock.settimeout(10)
            assert len(sock.recv(100)) == HEADER + connections_module.CHALLENGE_BYTES
            sock.sendall(rubbish)
            if rubbish != HALF:
                wires.exchange(edge, closed=1)
    wires.exchange(edge, closed=1)
    reasons = " ".join(wires.reasons())
    assert "4294967295 bytes, where 1024 are allowed" in reasons
    assert "closed in the middle of a frame" in reasons
    assert "Hello: expected a map" in reasons
    wires.links["device-1"].send("edge-0", b"still there?")
    assert wires.exchange(expect=1) == [("edge-0", "device-1", b"still there?")]


def test_strangers_at_the_door_are_bounded_in_number_and_time(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "MAX_STRANGERS", 3)
    edge = wires.links["edge-0"]
    socks = [connect(wires) for _ in range(5)]
    wires.exchange(edge, closed=2)
    assert wires.reasons().count("too many strangers at the door") == 2
    monkeypatch.setattr(connections_module, "HELLO_SECONDS", 0.0)
    wires.exchange(edge, closed=3)
    assert wires.reasons().count("did not say who it is") == 3
    for sock in socks:
        sock.close()


def test_a_peer_that_does_not_read_costs_bounded_memory(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "MAX_QUEUED", 4_000_000)
    device = wires.links["device-1"]
    sent = [device.send("edge-0", bytes(1_000_000)) for _ in range(8)]
    assert sent[:3] == [True] * 3
    assert not any(sent[4:]), "messages beyond the bound are lost, and the node is told so"


def test_an_address_that_is_none_is_refused(wires: Wires) -> None:
    broken = Membership(SESSION, wires.members.keys, {"edge-7": "http://x"})
    with pytest.raises(UsageError, match="unix:PATH or tcp:HOST:PORT"):
        Connections("edge-7", identity("edge-7"), broken)


# --- the driver ---------------------------------------------------------------------------------


class Puppet:
    """A node that notes events and does as it is told."""

    name = "puppet"

    def __init__(self, reactions: dict[Event, list[Effect]]) -> None:
        self.reactions = reactions
        self.events: list[Event] = []

    def step(self, event: Event, _now_ms: int) -> list[Effect]:
        self.events.append(event)
        return self.reactions.get(event, [])


class Stage:
    """A clock and a network that the test plays; ``wait`` lets the time pass."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.deeds: list[tuple[str, bytes]] = []
        self.arriving: list[list[tuple[str, bytes]]] = []
        self.always_heard = False
        self.is_writing = False

    def clock(self) -> float:
        return self.now_ms

    def persist(self, record: bytes, _slot: str) -> None:
        self.deeds.append(("persist", record))

    def send(self, target: str, data: bytes) -> bool:
        self.deeds.append((target, data))
        return True

    def wait(self, seconds: float) -> tuple[list[tuple[str, bytes]], bool]:
        messages = self.arriving.pop(0) if self.arriving else []
        heard = bool(messages) or self.always_heard
        self.now_ms += 1 if heard else seconds * 1000
        return messages, heard

    def driver(self, reactions: dict[Event, list[Effect]]) -> tuple[Driver, Puppet]:
        node = Puppet(reactions)
        driver = Driver(node, self, self.persist, self.clock)
        driver.start()
        return driver, node


def test_a_record_is_durable_before_a_later_message_is_sent() -> None:
    """`Persist` comes before later effects of the same step, in real time too."""
    stage = Stage()
    stage.driver({Started(): [Send("a", b"1"), Persist(b"promise"), Send("b", b"share")]})
    assert stage.deeds == [("a", b"1"), ("persist", b"promise"), ("b", b"share")]


def test_a_store_that_fails_keeps_the_message_back() -> None:
    stage = Stage()

    def full(_record: bytes, _slot: str) -> None:
        raise OSError("disk full")

    driver = Driver(Puppet({Started(): [Persist(b"promise"), Send("b", b"share")]}), stage, full,
                    stage.clock)
    with pytest.raises(OSError, match="disk full"):
        driver.start()
    assert stage.deeds == []


def test_work_is_done_and_its_expected_errors_come_back_as_values() -> None:
    work = [Compute(Task("train", 1, "good"), len, (b"four",)),
            Compute(Task("open", 1, "bad"), fail, ())]
    driver, node = Stage().driver({Started(): list(work)})
    driver.turn(1.0)
    driver.turn(1.0)
    assert node.events[1] == Computed(Task("train", 1, "good"), 4)
    assert isinstance(node.events[2], Computed)
    assert isinstance(node.events[2].error, PeerError)


def test_a_large_message_leaves_before_the_work_that_follows_it() -> None:
    """But a peer that takes it byte by byte does not keep us from working."""
    stage = Stage()
    stage.is_writing = stage.always_heard = True
    work = Compute(Task("train", 1, "next"), len, (b"four",))
    driver, node = stage.driver({Started(): [Send("a", b"large"), work]})
    for _ in range(10):
        driver.turn(1.0)
    assert node.events == [Started()]
    stage.is_writing = False
    driver.turn(1.0)
    assert node.events[1:] == [Computed(Task("train", 1, "next"), 4)]
    slow, other = stage.driver({Started(): [Compute(Task("train", 1, "next"), len, (b"four",))]})
    stage.is_writing = True
    while stage.now_ms < 2 * LATE_SECONDS * 1000:
        slow.turn(1.0)
    assert other.events[1:] == [Computed(Task("train", 1, "next"), 4)]


def fail() -> None:
    raise PeerError("bad shares")


def test_timers_fire_in_order_once_and_not_when_cancelled_or_set_anew() -> None:
    driver, node = Stage().driver({
        Started(): [SetTimer("late", 300), SetTimer("soon", 100), SetTimer("stale", 100),
                    SetTimer("again", 50), SetTimer("again", 400)],
        TimedOut("soon"): [CancelTimer("stale")],
    })
    for _ in range(8):
        driver.turn(1.0)
    assert node.events[1:] == [TimedOut("soon"), TimedOut("late"), TimedOut("again")]


def test_an_answer_that_lies_in_the_socket_is_read_before_its_timer_accuses_the_peer() -> None:
    """The node was busy past the deadline; the answer had come in time."""
    stage = Stage()
    answer = Received("edge-0", b"answer")
    driver, node = stage.driver({Started(): [SetTimer("answer", 100)],
                                 answer: [CancelTimer("answer")]})
    stage.now_ms = 1000.0  # busy all the while
    stage.arriving = [[("edge-0", b"answer")]]
    for _ in range(4):
        driver.turn(0.01)
    assert node.events[1:] == [answer]


def test_a_peer_that_never_stops_talking_does_not_keep_timers_from_firing() -> None:
    stage = Stage()
    stage.always_heard = True
    driver, node = stage.driver({Started(): [SetTimer("view", 100)]})
    while stage.now_ms < 100 + LATE_SECONDS * 1000 - 10:
        driver.turn(1.0)
    assert node.events[1:] == []
    for _ in range(20):
        driver.turn(1.0)
    assert node.events[1:] == [TimedOut("view")]


def test_the_driver_sleeps_until_the_next_timer_and_no_longer() -> None:
    stage = Stage()
    driver, node = stage.driver({Started(): [SetTimer("soon", 700)]})
    driver.turn(60.0)
    assert stage.now_ms == pytest.approx(700, abs=QUIET_SECONDS * 1000)
    assert node.events[1:] == [TimedOut("soon")]


# --- parts --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[Assignment]]]:
    """(material, parts) of a run that is never started."""
    place = tmp_path_factory.mktemp("parts")
    config = RunConfig(norm_bound=None, devices=4, threshold=2, key_holders=3, samples=20,
                       key_bits=512, epochs=1)
    folder = RunFolder.create(place / "run", config)
    with opened_processes(config, folder) as run:
        yield run.material, run.assignments([f"unix:{place}/{i}" for i in range(4)])


def secrets_of(material: Any) -> dict[str, list[bytes]]:
    """Everything that one node alone may have, by its name."""
    found: dict[str, list[bytes]] = {}
    for name, owner in zip(material.edge_names, material.edges, strict=True):
        found[name] = [owner.secret]
    for k, (name, owner) in enumerate(zip(material.device_names, material.devices, strict=True)):
        share, data = material.shares[k], material.participants.learners[k].dataset
        number = share.secret if share is not None else 0
        image = data.images[0].astype("<f4").tobytes()
        found[name] = [owner.secret, image]
        if share is not None:
            found[name].append(number.to_bytes((number.bit_length() + 7) // 8, "big"))
    return found


def test_each_process_is_given_its_own_secrets_and_data_and_nobody_elses(
    parts: tuple[Any, list[Assignment]],
) -> None:
    """Searched in the very bytes that go down the pipe; an edge server gets no data at all."""
    material, made = parts
    secrets = secrets_of(material)
    assert [part.name for part in made] == list(secrets)
    for part in made:
        sent = encode_union(part)
        for owner, pieces in secrets.items():
            for piece in pieces:
                assert (piece in sent) == (owner == part.name), (part.name, owner)


def test_a_device_without_a_share_gets_none(parts: tuple[Any, list[Assignment]]) -> None:
    _, made = parts
    roles = [part.role for part in made]
    assert [bool(role.share) for role in roles if isinstance(role, DeviceRole)] == [
        True, True, True, False]
    assert sum(isinstance(role, EdgeRole) for role in roles) == 4


def test_a_part_does_not_print_its_secrets(parts: tuple[Any, list[Assignment]]) -> None:
    _, made = parts
    assert all(repr(part.secret) not in repr(part) for part in made)


@pytest.mark.parametrize("options", [{"deterministic": True}, {"executor": "processes"}])
def test_what_processes_cannot_play_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave out"):
        check_playable(RunConfig(**options))
