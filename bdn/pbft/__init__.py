"""PBFT: n replicas agree on an order of requests while f = ⌊(n − 1)/3⌋ of them lie.

Miguel Castro and Barbara Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999; the status
exchange follows Castro's thesis (MIT, 2001). Payloads are opaque bytes; what they mean is an
`Application`. Here four replicas agree, and we carry the messages by hand:

    >>> from bdn.identity import Identity
    >>> from bdn.pbft import AppendLog, Cluster, Ed25519Signing, Replica, events
    >>> from bdn.pbft import Request, encode_message, signed
    >>> names = [Identity.generate() for _ in range(5)]
    >>> cluster = Cluster(b"demo", tuple(i.public_key for i in names[:4]))
    >>> log = lambda i: AppendLog(b"demo", {"alice": names[4].public_key}, Ed25519Signing(i))
    >>> replicas = [Replica(k, cluster, i, log(i)) for k, i in enumerate(names[:4])]
    >>> asked = Request("alice", names[4].public_key, 1, b"hello", b"")
    >>> asked = signed(asked, b"demo", Ed25519Signing(names[4]))
    >>> queue = [(0, encode_message(asked))]
    >>> while queue:
    ...     to, data = queue.pop(0)
    ...     for effect in replicas[to].step(events.Receive("alice", data)):
    ...         if isinstance(effect, events.Broadcast):
    ...             queue += [(k, effect.data) for k in range(4) if k != to]
    >>> [replica.application.operations for replica in replicas] == [[("alice", 1, b"hello")]] * 4
    True

**The machine.** `Replica.step(event)` returns effects: messages, timers, records to persist,
decisions. No socket, clock or randomness is inside (`replica`, `events`), so the same object runs
under a test, the simulator or a network. A refused message changes nothing.

**Messages.** `messages` has all of them on one page, `wire` their bytes, `signing` what each
signature covers, `certificates` the proofs that quorums of them form.

**Ordering.** `normal` is section 4.2 of the paper: PRE-PREPARE, PREPARE, COMMIT, execution. `core`
holds what a replica knows, with one slot of the log for each sequence number. q COMMITs of one
view are a `bdn.seal.Seal`, which convinces everyone for ever.

**Replacing a primary.** `view_change` is the file to read twice. `certificates.compute_order` is
its heart: a pure function from VIEW-CHANGEs to what must be proposed again.

**Forgetting and catching up.** `checkpoint` agrees on the state and cuts the log. `catch_up` sends
lost messages again and fetches bodies, sealed entries and checkpoints. `journal` says what is
written down, and `replica` brings a crashed replica back with every vote that it ever cast.

**Applications.** `application.Application` is the protocol; `AppendLog` the one to learn from. The
ledger is another, with ``Cluster(sequential=True)``: sequence = height, one block in flight.

**Rules.** Comments name them (``Rule 7b``); `docs/pbft.md` lists them all, and ``tests/pbft``
deletes each, one at a time, and demands that a test fails.

Where we differ from the paper
------------------------------

* n is any number, not only 3f + 1: the quorum is ⌈(n + f + 1)/2⌉, a certificate has q − 1 PREPAREs.
* Signatures throughout, as in the OSDI paper's view change; no MACs (so anyone can verify a seal).
* Requests travel inside the PRE-PREPARE's payload; certificates carry only the digest.
* A sealed entry is taken at any time and in any view; the paper waits for the next checkpoint.
* The new-view timer counts VIEW-CHANGEs to this view *or later ones*, as Castro's thesis does:
  with the OSDI rule, replicas spread over views could wait for one another for ever.
* No tentative execution, no read-only shortcut, no recovery of keys.
* A primary that serves some clients and starves others is replaced only once nothing else moves.
"""

from bdn.pbft import events
from bdn.pbft.application import AppendLog, Application, ExecutionError, NotYet
from bdn.pbft.client import Accepted, Client
from bdn.pbft.cluster import Cluster
from bdn.pbft.core import BRANCHES
from bdn.pbft.events import Decided, Effect, Event
from bdn.pbft.journal import JournalError, compact
from bdn.pbft.messages import (
    NULL_DIGEST,
    NULL_PAYLOAD,
    Message,
    MessageError,
    Request,
    type_name,
)
from bdn.pbft.replica import Replica
from bdn.pbft.signing import Ed25519Signing, HashSigning, NullSigning, Signing, signed
from bdn.pbft.wire import decode_message, encode_message

__all__ = [
    "BRANCHES", "NULL_DIGEST", "NULL_PAYLOAD", "Accepted", "AppendLog", "Application", "Client",
    "Cluster", "Decided", "Ed25519Signing", "Effect", "Event", "ExecutionError", "HashSigning",
    "JournalError", "Message", "MessageError", "NotYet", "NullSigning", "Replica", "Request",
    "Signing", "compact", "decode_message", "encode_message", "events", "signed", "type_name",
]
