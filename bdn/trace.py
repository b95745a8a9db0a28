"""What a node does is told here, once: report, transcripts and benchmarks all read this trace.

A core calls ``trace.event("prepared", node="edge 0", view=0, sequence=3)`` and
``with trace.span("seal", node="device 2"): …``; whoever runs it decides where that goes. The clock
belongs to the trace, never to the core. The default discards everything.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any, Protocol


class Trace(Protocol):
    """A listener. Field values are JSON-like; bytes are written as hexadecimal."""

    def event(self, name: str, /, **details: Any) -> None:
        """Something happened."""

    def span(self, name: str, /, **details: Any) -> AbstractContextManager[None]:
        """Something takes time; told when it ends, with ``seconds`` of wall and ``cpu`` time."""


class Discard:
    """The default: hears nothing."""

    def event(self, name: str, /, **details: Any) -> None:
        """Ignore it."""

    def span(self, name: str, /, **details: Any) -> AbstractContextManager[None]:  # noqa: ARG002 - protocol
        """Ignore it."""
        return nullcontext()


DISCARD = Discard()


class Recorder:
    """Keeps events as dicts ``{"event": name, "at": seconds, …}`` and hands each to ``sink``."""

    def __init__(
        self,
        sink: Callable[[dict[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        keep: bool = True,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._start = clock()
        self._keep = keep
        self.events: list[dict[str, Any]] = []

    def event(self, name: str, /, **details: Any) -> None:
        """Record one event."""
        record = {"event": name, "at": round(self._clock() - self._start, 6), **details}
        if self._keep:
            self.events.append(record)
        if self._sink is not None:
            self._sink(record)

    @contextmanager
    def span(self, name: str, /, **details: Any) -> Iterator[None]:
        """Record how long the body took, also when it raises."""
        wall, cpu = self._clock(), time.process_time()
        try:
            yield
        finally:
            seconds = round(self._clock() - wall, 6)
            cpu = round(time.process_time() - cpu, 6)
            self.event(name, **details, seconds=seconds, cpu=cpu)


def json_lines(stream: IO[str]) -> Callable[[dict[str, Any]], None]:
    """A sink that writes one JSON object a line to ``stream``."""

    def write(record: dict[str, Any]) -> None:
        stream.write(json.dumps(record, default=_jsonable) + "\n")

    return write


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a trace cannot carry a {type(value).__name__}")
