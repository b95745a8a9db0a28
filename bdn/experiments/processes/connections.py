"""A node's connections: who is connected, what waits to be sent, and who may speak.

Edge servers listen, at an address each; devices and other edge servers dial. A node sends to a
listener over the connection that it dialled, and to anybody else over the one that was accepted,
so two nodes never disagree about which connection counts.

The listener greets with a random challenge; the dialler answers with its name and a signature on
it under its Ed25519 identity, bound to the chain and to the listener. Nothing above relies on this
(everything that counts is signed and verified inside the messages), but a stranger can so neither
take a device's place nor fill our memory. Content is not encrypted here: updates are sealed, and
shares travel encrypted to the group.

Whatever is lost with a connection stays lost: nodes ask again, as they do over any network.
"""

import errno
import os
import secrets
import selectors
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bdn.encoding import decode_record, encode_record, transcript
from bdn.errors import PeerError, UsageError, shown
from bdn.experiments.processes.errors import HandshakeError
from bdn.experiments.processes.frames import HEADER, MAX_FRAME, FrameReader, frame
from bdn.identity import Identity, verify_signature
from bdn.trace import DISCARD, Trace

HELLO = "bdn/hello"
"""Domain of the signature in a hello."""

CHALLENGE_BYTES = 32
HELLO_LIMIT = 1024
"""Bytes of a frame from somebody who has not shown who it is."""

MAX_STRANGERS = 32
"""Connections that have not shown who they are; beyond it the oldest is closed."""

HELLO_SECONDS = 10.0
REDIAL_SECONDS = 0.2
"""After a failed call, messages to that listener are lost for so long."""

MAX_QUEUED = 2 * MAX_FRAME
"""Bytes that wait for one peer; beyond it messages to it are lost."""

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Hello:
    """The answer to a challenge."""

    name: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """Who may speak, and where listeners are found.

    Attributes:
        session: 32 bytes that a hello is bound to; the chain id.
        keys: every node's Ed25519 public key by name.
        addresses: the listeners' addresses by name: "abstract:NAME" (a socket of Linux without a
            file), "unix:PATH" or "tcp:HOST:PORT".
    """

    session: bytes
    keys: Mapping[str, bytes]
    addresses: Mapping[str, str]


class _Connection:
    """One socket with what was read and what is to be written."""

    def __init__(self, sock: socket.socket, peer: str | None, dialled: bool) -> None:
        self.sock = sock
        self.peer = peer
        """The name: known from the start where we dialled, from its hello where we accepted."""
        self.dialled = dialled
        self.greeted = False
        """Whether the handshake is through; only then frames are written."""
        self.challenge = b"" if dialled else secrets.token_bytes(CHALLENGE_BYTES)
        self.reader = FrameReader(HELLO_LIMIT)
        self.outgoing: deque[memoryview] = deque()
        self.queued = 0
        self.since = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the socket is still ours."""
        return self.sock.fileno() >= 0

    def put(self, data: bytes, first: bool = False) -> None:
        """Queue one frame."""
        whole = memoryview(frame(data))
        self.queued += len(whole)
        if first:
            self.outgoing.appendleft(whole)
        else:
            self.outgoing.append(whole)

    def flush(self) -> bool:
        """Write what the socket takes now; whether it took anything."""
        moved = False
        while self.outgoing:
            try:
                sent = self.sock.send(self.outgoing[0])
            except (BlockingIOError, InterruptedError):
                break
            moved = True
            self.queued -= sent
            if sent < len(self.outgoing[0]):
                self.outgoing[0] = self.outgoing[0][sent:]
            else:
                self.outgoing.popleft()
        return moved


class Connections:
    """All connections of one node.

    Args:
        name: the node's.
        identity: signs its hellos.
        members: who may speak; a node whose name has an address there listens.
        trace: told of connections that come and go.
    """

    def __init__(
        self, name: str, identity: Identity, members: Membership, trace: Trace = DISCARD
    ) -> None:
        self.name = name
        self._identity = identity
        self._members = members
        self._trace = trace
        self._selector = selectors.DefaultSelector()
        self._dialled: dict[str, _Connection] = {}
        self._accepted: dict[str, _Connection] = {}
        self._strangers: list[_Connection] = []
        self._failed_at: dict[str, float] = {}
        self._received: list[tuple[str, bytes]] = []
        self._heard = False
        self._listener: socket.socket | None = None
        if name in members.addresses:
            self._listener = _listen(members.addresses[name])
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    # --- what a driver does ---------------------------------------------------------------------

    def send(self, target: str, data: bytes) -> bool:
        """Send ``data``, now or as soon as the socket takes it; False where it is lost."""
        if target in self._members.addresses:
            connection = self._dialled.get(target) or self._dial(target)
        else:
            connection = self._accepted.get(target)
        if connection is None or connection.queued + HEADER + len(data) > MAX_QUEUED:
            return False
        connection.put(data)
        if connection.greeted:
            self._write(connection)
        return True

    def wait(self, seconds: float) -> tuple[list[tuple[str, bytes]], bool]:
        """Wait up to ``seconds``: (source, message) pairs, and whether any bytes moved."""
        self._heard = False
        for key, mask in self._selector.select(max(0.0, seconds)):
            key.data(mask)
        self._drop_silent_strangers()
        received, self._received = self._received, []
        return received, self._heard

    @property
    def is_writing(self) -> bool:
        """Whether bytes wait for a peer to take them."""
        return any(connection.outgoing for connection in
                   (*self._dialled.values(), *self._accepted.values()))

    def watch(self, fileobj: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``fileobj`` is readable, until it is unwatched."""

        def heard(_mask: int) -> None:
            callback()

        self._selector.register(fileobj, selectors.EVENT_READ, heard)

    def close(self) -> None:
        """Close everything."""
        for connection in [*self._dialled.values(), *self._accepted.values(), *self._strangers]:
            connection.sock.close()
        if self._listener is not None:
            self._listener.close()
        self._selector.close()

    # --- connections come and go ----------------------------------------------------------------

    def _dial(self, target: str) -> _Connection | None:
        if time.monotonic() - self._failed_at.get(target, -REDIAL_SECONDS) < REDIAL_SECONDS:
            return None
        try:
            sock = _connect(self._members.addresses[target])
        except OSError as error:
            self._failed_at[target] = time.monotonic()
            self._trace.event("no-link", node=self.name, peer=target, reason=error.strerror)
            return None
        connection = _Connection(sock, target, dialled=True)
        self._dialled[target] = connection
        self._register(connection)
        return connection

    def _accept(self, _mask: int) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it has gone already
        sock.setblocking(False)
        connection = _Connection(sock, None, dialled=False)
        self._strangers.append(connection)
        self._register(connection)
        connection.put(connection.challenge)
        self._write(connection)
        if len(self._strangers) > MAX_STRANGERS:
            self._close(self._strangers[0], "too many strangers at the door")

    def _register(self, connection: _Connection) -> None:
        self._selector.register(connection.sock, selectors.EVENT_READ,
                                lambda mask: self._on_ready(connection, mask))

    def _close(self, connection: _Connection, reason: str) -> None:
        if not connection.is_open:
            return
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection in self._strangers:
            self._strangers.remove(connection)
        ours = self._dialled if connection.dialled else self._accepted
        if connection.peer is not None and ours.get(connection.peer) is connection:
            del ours[connection.peer]
        if connection.dialled and not connection.greeted and connection.peer is not None:
            self._failed_at[connection.peer] = time.monotonic()
        self._trace.event("link-closed", node=self.name, peer=connection.peer or "a stranger",
                          reason=reason)

    def _drop_silent_strangers(self) -> None:
        old = time.monotonic() - HELLO_SECONDS
        for stranger in [each for each in self._strangers if each.since < old]:
            self._close(stranger, "did not say who it is")

    # --- bytes ----------------------------------------------------------------------------------

    def _on_ready(self, connection: _Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and connection.is_open:
            self._write(connection)
        if mask & selectors.EVENT_READ and connection.is_open:  # else closed a moment ago
            self._read(connection)

    def _write(self, connection: _Connection) -> None:
        """Write what goes, and ask to be told when more goes."""
        try:
            self._heard = connection.flush() or self._heard
        except OSError as error:
            self._close(connection, error.strerror or "cannot be written to")
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        key = self._selector.get_key(connection.sock)
        if key.events != wanted:
            self._selector.modify(connection.sock, wanted, key.data)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._close(connection, error.strerror or "cannot be read from")
            return
        self._heard = True
        if not data:
            whole = connection.reader.is_between_frames
            self._close(connection, "closed" if whole else "closed in the middle of a frame")
            return
        try:
            for message in connection.reader.feed(data):
                self._take(connection, message)
        except PeerError as error:
            self._close(connection, str(error))

    def _take(self, connection: _Connection, message: bytes) -> None:
        if connection.greeted:
            assert connection.peer is not None, "who has been greeted has a name"
            self._received.append((connection.peer, message))
        elif connection.dialled:
            self._answer(connection, message)
        else:
            self._greet(connection, message)

    # --- the handshake --------------------------------------------------------------------------

    def _answer(self, connection: _Connection, challenge: bytes) -> None:
        """Show a listener who we are; what was queued meanwhile follows."""
        if len(challenge) != CHALLENGE_BYTES or connection.peer is None:
            raise HandshakeError("this is no challenge")
        signed = _hello_text(self._members.session, connection.peer, challenge)
        hello = Hello(self.name, self._identity.sign(HELLO, signed))
        connection.put(encode_record(hello), first=True)
        self._open(connection)
        self._write(connection)

    def _greet(self, connection: _Connection, message: bytes) -> None:
        """Let in who shows that it is a member; its newest connection is the one that counts."""
        hello = decode_record(Hello, message)
        key = self._members.keys.get(hello.name)
        if key is None:
            raise HandshakeError(f"{shown(hello.name)} is no member")
        signed = _hello_text(self._members.session, self.name, connection.challenge)
        verify_signature(key, HELLO, signed, hello.signature)
        earlier = self._accepted.get(hello.name)
        if earlier is not None:
            self._close(earlier, "connected anew")
        connection.peer = hello.name
        self._strangers.remove(connection)
        self._accepted[hello.name] = connection
        self._open(connection)

    @staticmethod
    def _open(connection: _Connection) -> None:
        connection.greeted = True
        connection.reader.limit = MAX_FRAME


def _hello_text(session: bytes, listener: str, challenge: bytes) -> bytes:
    return transcript("bdn/hello", session, listener.encode(), challenge)


# --- addresses ----------------------------------------------------------------------------------

MAX_SOCKET_PATH = 100
"""Bytes of a socket's path; systems take 103 to 107."""


@contextmanager
def local_addresses(count: int, transport: str) -> Iterator[list[str]]:
    """Give ``count`` addresses on this machine: "unix" sockets, or "tcp" on the loopback interface.

    On Linux a Unix socket has a name and no file: nothing is left behind, whoever is killed, and
    no path is too long. Elsewhere the sockets lie in a private temporary folder; raises
    `UsageError` where its path is too long for a socket.
    """
    if transport == "tcp":
        yield [f"tcp:127.0.0.1:{port}" for port in free_ports(count)]
    elif sys.platform == "linux":
        name = secrets.token_hex(16)
        yield [f"abstract:bdn-{name}-{index}" for index in range(count)]
    else:
        with tempfile.TemporaryDirectory(prefix="bdn-") as folder:
            longest = len(os.fsencode(folder)) + 1 + len(str(count))
            if longest > MAX_SOCKET_PATH:
                raise UsageError(
                    f"a socket's path may have {MAX_SOCKET_PATH} bytes, and in the folder for "
                    f"temporary files it would have {longest}: set TMPDIR to a shorter path")
            yield [f"unix:{folder}/{index}" for index in range(count)]


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that nobody listens at now."""
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports


def _split(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """(family, what the socket takes) of an address, as `Membership` lists them."""
    kind, _, place = address.partition(":")
    if kind == "unix" and place:
        return socket.AF_UNIX, place
    if kind == "abstract" and place:
        return socket.AF_UNIX, f"\0{place}"
    host, _, port = place.rpartition(":")
    if kind == "tcp" and host and port.isdecimal():
        return socket.AF_INET, (host, int(port))
    raise UsageError(f"{address!r} is no address; write abstract:NAME, unix:PATH or tcp:HOST:PORT")


def _listen(address: str) -> socket.socket:
    family, place = _split(address)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(place, str) and not place.startswith("\0"):
            Path(place).unlink(missing_ok=True)  # left by a process that was killed
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(socket.SOMAXCONN)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen at {address}: {error}") from error
    return listener


def _connect(address: str) -> socket.socket:
    """A connection that is open or about to be; raises `OSError` where nobody listens."""
    family, place = _split(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        code = sock.connect_ex(place)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock
