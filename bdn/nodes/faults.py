"""What a node does when something in its peers' input fails: it records it, and goes on.

Every byte that a node takes comes from a peer who may be hostile, and no list of expected errors is
ever complete. So *any* exception while such input is handled counts as the fault of whoever sent
it. The exceptions are failures of this machine or of its own stored data: no peer can cause them,
and a node that went on would promise what it cannot keep.
"""

import sqlite3
import traceback
from collections.abc import Callable
from typing import TypeVar

from bdn.chain import StoreError
from bdn.errors import BdnError, IntegrityError
from bdn.trace import Trace

OUR_OWN = (OSError, sqlite3.Error, MemoryError, IntegrityError, StoreError)
"""No peer causes these: a full disk, a damaged store, no memory."""

MAX_REASON = 400
"""Characters of an error's message that are recorded."""

MAX_TRACEBACK = 2000
"""Characters of a traceback that are recorded, from its end: the innermost calls."""

Result = TypeVar("Result")


class Guard:
    """Handles peers' input so that no exception leaves it.

    Args:
        node: whose trace it is.
        trace: told of each fault.
    """

    def __init__(self, node: str, trace: Trace) -> None:
        self._node = node
        self._trace = trace
        self.last_reason = ""
        """What went wrong last."""

    def attempt(
        self, event: str, source: str, action: Callable[[], Result], otherwise: Result
    ) -> Result:
        """Return ``action()``; where it fails, record ``event`` with the peer ``source`` and the
        reason, and return ``otherwise``.

        An error that is not one of ours is recorded with its traceback. Failures of this machine
        (`OUR_OWN`) are raised again.
        """
        try:
            return action()
        except OUR_OWN:
            raise
        except Exception as error:  # noqa: BLE001 - see above: whatever a peer's input causes
            self._record(event, source, error)
            return otherwise

    def _record(self, event: str, source: str, error: Exception) -> None:
        self.last_reason = reason_of(error)
        if isinstance(error, BdnError):
            self._trace.event(event, node=self._node, source=source, reason=self.last_reason)
            return
        text = "".join(traceback.format_exception(error, limit=-8))[-MAX_TRACEBACK:]
        self._trace.event(event, node=self._node, source=source, reason=self.last_reason,
                          traceback=text)


def reason_of(error: Exception) -> str:
    """Return an error's message, of at most `MAX_REASON` characters; with its class where it is
    none of ours."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a foreign __str__ may fail, too
        text = "its message cannot be read"
    if not isinstance(error, BdnError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= MAX_REASON else text[:MAX_REASON - 1] + "…"
