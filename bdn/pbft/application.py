"""What PBFT replicates, behind a protocol; and `AppendLog`, the application to learn from.

Payloads are opaque bytes to the core. The contract that every application must keep:

* ``digest(payload)`` binds **every byte** of the payload: two payloads with one digest must be
  refused here, by an error, for one of them.
* ``execute`` is a function of (state, payload) alone; a durable application that is asked again
  for a sequence it holds (after a restart) returns the same results and changes nothing.
* A lying primary may order one request twice: `execute` skips the second (Rule 9: once per client
  and timestamp).
* ``state_digest`` covers all state that later executions can see.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from bdn.encoding import digest
from bdn.errors import IntegrityError, PeerError
from bdn.pbft.messages import ClientName, MessageError, Number, Request
from bdn.pbft.signing import Signing, statement
from bdn.pbft.wire import decode_as, encode_as
from bdn.seal import Seal

Result = tuple[str, int, bytes]
"""(client, timestamp, result bytes) of one executed request."""


class ExecutionError(IntegrityError):
    """The application failed on a payload that the cluster has agreed on: it must stop here."""


class NotYet(PeerError):  # noqa: N818 - it reads as a sentence: accepts … not yet
    """`Application.accepts` cannot tell yet (something is being fetched): ask again later."""


class Application(Protocol):
    """The replicated service. Only `restore`, `execute` and `propose` may change its state."""

    def check_request(self, request: Request) -> None:
        """Raise `PeerError` unless the request may wait here; its signature has been verified."""

    def still_wanted(self, request: Request) -> bool:
        """False for a waiting request that can never be executed any more: it is dropped."""

    def is_due(self, pending: Sequence[Request]) -> bool:
        """Whether work waits: it starts the timer after which the primary is suspected."""

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:
        """The primary's payload for ``sequence``; None while nothing is due.

        ``pending`` holds, oldest first, the waiting requests that are in no proposal yet.
        """

    def accepts(self, sequence: int, payload: bytes, carried: bool) -> None:
        """Raise `PeerError` unless the payload is valid at ``sequence``.

        `NotYet`: the replica keeps the PRE-PREPARE without voting for it and asks again, after
        the next `Poke` or execution.

        ``carried``: a NEW-VIEW proposes it again, so checks of clock, deadline and proposer do
        not apply (Rule 10g).
        """

    def digest(self, payload: bytes) -> bytes:
        """The 32 bytes that votes and seals name; raises `PeerError` for malformed payloads."""

    def requests(self, payload: bytes) -> list[tuple[str, int]]:
        """(client, timestamp) of each request inside."""

    def execute(self, sequence: int, payload: bytes, seal: Seal) -> list[Result]:
        """Apply an agreed payload; the results of those requests that were executed now.

        May raise `NotYet`, leaving everything as it was, where something must be fetched first: it
        is asked again after every later step.
        """

    def height(self) -> int:
        """The last sequence that this application holds, which may be durable; 0 when fresh."""

    def state_digest(self) -> bytes:
        """32 bytes over the whole state."""

    def snapshot(self) -> bytes:
        """The state, or enough to find it, for a replica that is behind."""

    def restore(self, sequence: int, snapshot: bytes, digest: bytes) -> bool:
        """Become the state of ``digest`` after ``sequence``.

        True: done. False: the application fetches the rest by itself and the driver will feed
        `Restored(sequence)`. Raises `PeerError` where the snapshot is not of that digest.
        """


# --- the application to learn from --------------------------------------------------------------


Operation = tuple[ClientName, Number, bytes]
"""Client, timestamp and operation."""
Payload = tuple[Number, tuple[Request, ...]]
"""A nonce and requests."""
Batch = dict[tuple[str, int], Request]
"""A payload's requests by (client, timestamp), in their order."""


class AppendLog:
    """A replicated list of (client, timestamp, operation); an operation's result is its place.

    A payload is a nonce and at least one request, each at most once.

    Args:
        instance: the cluster's, which requests are signed for.
        clients: the 32-byte public key of every client that may write.
        signing: checks the requests inside proposals.
        batch_size: the most requests in one payload.
    """

    def __init__(
        self, instance: bytes, clients: Mapping[str, bytes], signing: Signing, batch_size: int = 64
    ) -> None:
        self.operations: list[tuple[str, int, bytes]] = []
        self._snapshot = bytearray()  # as far as anybody asked
        self._snapshot_length = 0  # operations in it
        self._instance = instance
        self._clients = dict(clients)
        self._signing = signing
        self._batch_size = batch_size
        self._height = 0
        self._hash = hashlib.sha256(b"bdn/append-log")
        self._last: dict[str, int] = {}
        self._verified: dict[tuple[str, int], Request] = {}
        self._decoded: tuple[bytes, Batch] | None = None

    # --- requests

    def check_request(self, request: Request) -> None:
        """Refuse unknown clients and foreign keys."""
        if self._clients.get(request.client) != request.public_key:
            raise MessageError(f"{request.client!r} is no client, or has another key")
        self._remember(request)

    def still_wanted(self, request: Request) -> bool:
        """Until its timestamp is executed or passed."""
        return request.timestamp > self._last.get(request.client, -1)

    def is_due(self, pending: Sequence[Request]) -> bool:
        """Any waiting request is."""
        return bool(pending)

    # --- payloads

    def propose(self, sequence: int, pending: Sequence[Request]) -> bytes | None:  # noqa: ARG002
        """The oldest ``batch_size`` requests."""
        if not pending:
            return None
        requests = pending[:self._batch_size]
        payload = self.payload_of(requests)
        self._decoded = (payload, {(r.client, r.timestamp): r for r in requests})  # asked for next
        return payload

    @staticmethod
    def payload_of(requests: Sequence[Request], nonce: int = 0) -> bytes:
        """The payload that holds ``requests``.

        The nonce is any number, the primary's free choice (Castro–Liskov 4.6), so that one set of
        requests has many valid payloads.
        """
        return encode_as(Payload, (nonce, tuple(requests)))

    def accepts(self, sequence: int, payload: bytes, carried: bool) -> None:  # noqa: ARG002
        """Refuse empty and oversized batches and foreign signatures.

        A request that is executed already may be in it: a correct new primary that does not know
        yet proposes it again, and `execute` skips it.
        """
        requests = self._batch(payload)
        if not 1 <= len(requests) <= self._batch_size:
            raise MessageError(f"a batch of {len(requests)}; 1 to {self._batch_size} are allowed")
        for key, request in requests.items():
            if self._verified.get(key) != request:
                self._signing.verify(
                    request.public_key, *statement(self._instance, request), request.signature)
                self.check_request(request)

    def digest(self, payload: bytes) -> bytes:
        """SHA-256 over the payload; what is no batch, or repeats a request, has none."""
        self._batch(payload)
        return digest("bdn/append-log/batch", payload)

    def requests(self, payload: bytes) -> list[tuple[str, int]]:
        """What the batch holds."""
        return list(self._batch(payload))

    # --- state

    def execute(self, sequence: int, payload: bytes, seal: Seal) -> list[Result]:  # noqa: ARG002
        """Append each operation, unless its client's timestamp is done (Rule 9)."""
        self._height = sequence
        results: list[Result] = []
        for key, request in self._batch(payload).items():
            client, timestamp = key
            self._verified.pop(key, None)
            if timestamp > self._last.get(client, -1):  # Rule 9d: once per (client, timestamp)
                self.operations.append((client, timestamp, request.operation))
                self._last[client] = timestamp
                results.append((client, timestamp, b"%d" % len(self.operations)))
        return results

    def height(self) -> int:
        """The last sequence executed since construction: this log is not durable."""
        return self._height

    def state_digest(self) -> bytes:
        """SHA-256 over the snapshot, which also fixes each client's last timestamp."""
        self._write_up()
        return self._hash.digest()

    def snapshot(self) -> bytes:
        """All operations, each encoded and preceded by its length in four bytes."""
        self._write_up()
        return bytes(self._snapshot)

    def restore(self, sequence: int, snapshot: bytes, digest: bytes) -> bool:
        """Replace the log; raises `MessageError` where it is not of ``digest``."""
        if hashlib.sha256(b"bdn/append-log" + snapshot).digest() != digest:
            raise MessageError("the snapshot is not the state that the checkpoint names")
        fresh = AppendLog(self._instance, self._clients, self._signing, self._batch_size)
        end = 0
        while end < len(snapshot):
            at = end + 4
            end = at + int.from_bytes(snapshot[end:at], "big")
            client, timestamp, operation = decode_as(Operation, snapshot[at:end])
            fresh.operations.append((client, timestamp, operation))
            fresh._last[client] = max(timestamp, fresh._last.get(client, -1))
        self.operations, self._last, self._height = fresh.operations, fresh._last, sequence
        self._snapshot, self._snapshot_length = fresh._snapshot, fresh._snapshot_length
        self._hash = fresh._hash
        return True

    def clone(self) -> "AppendLog":
        """An independent copy, for explorers."""
        copy = AppendLog(self._instance, self._clients, self._signing, self._batch_size)
        copy.operations, copy._last, copy._height = (
            list(self.operations), dict(self._last), self._height)
        copy._snapshot, copy._snapshot_length = bytearray(self._snapshot), self._snapshot_length
        copy._hash, copy._verified = self._hash.copy(), dict(self._verified)
        return copy

    def _write_up(self) -> None:
        """Bring the snapshot and its hash up to the last operation."""
        parts: list[bytes] = []
        for client, timestamp, operation in self.operations[self._snapshot_length:]:
            data = encode_as(Operation, (client, timestamp, operation))
            parts += len(data).to_bytes(4, "big"), data
        fresh = b"".join(parts)
        self._hash.update(fresh)
        self._snapshot += fresh
        self._snapshot_length = len(self.operations)

    def _batch(self, payload: bytes) -> Batch:
        """The decoded payload; the last one is kept, for it is asked for several times."""
        if self._decoded is None or self._decoded[0] != payload:
            self._decoded = (payload, _decode_batch(payload))
        return self._decoded[1]

    def _remember(self, request: Request) -> None:
        """Note a verified request, so that proposals do not check it again; bounded."""
        if len(self._verified) >= _REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[request.client, request.timestamp] = request


def _decode_batch(payload: bytes) -> Batch:
    """What `AppendLog.payload_of` encoded; raises `PeerError` for anything else."""
    _, requests = decode_as(Payload, payload)
    batch = {(request.client, request.timestamp): request for request in requests}
    if len(batch) != len(requests):
        raise MessageError("a batch repeats a request")
    return batch


_REMEMBERED = 1024
"""How many verified requests are kept in mind."""
