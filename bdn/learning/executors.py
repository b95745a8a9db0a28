"""Where devices' work runs: in this process, in worker processes, or on a Dask cluster.

A call is a pure function, importable by name, and its arguments. An executor's ``submit`` hands it
out and returns at once; ``run`` gives the results in the order of the calls, whatever the order in
which they finish. The same functions run
with the same arguments everywhere. The results are equal bit for bit on machines of one kind, if
numpy's matrix products use one thread in each process: workers are started so, and for this process
set ``OPENBLAS_NUM_THREADS=1`` before numpy is loaded (`bdn run` does). With another number of
threads OpenBLAS adds up in another order, and the last bits differ.

A worker that dies does not take the epoch with it: its calls are done again by others, a few
times. What a function *raises* is the caller's to see.
"""

import importlib
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from bdn.errors import BdnError, UsageError

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments, both of which can be pickled."""

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What the common BLAS libraries read when they are loaded (Dask sets them for its workers)."""

AUTO = "auto"
"""Worker processes where they gain time (`choose_executor`)."""

RETRIES = 2
"""How often the calls of a lost worker are tried again."""


GUARD = ("A script that uses worker processes must start its work below if __name__ == "
         '"__main__":, since each worker imports it.')


class WorkerLostError(BdnError):
    """Workers died again and again under the same work."""


class FutureResult(Protocol):
    """Work that was handed out."""

    def result(self) -> Any:
        """Wait for the work; return its result or raise what it raised."""


class Executor(Protocol):
    """Runs pure functions."""

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        """Hand out ``function(*arguments)``; it may begin at once."""

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results of ``function(*arguments)`` for each call, in their order."""

    def close(self) -> None:
        """Let the workers go."""


class _Executor(ABC):
    """What the executors have in common: `run` by `submit`, and ``with``."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        """Hand out ``function(*arguments)``; it may begin at once."""

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results, in order; the first exception of a call is raised.

        Raises `WorkerLostError` when workers keep dying.
        """
        handed_out = [self.submit(function, arguments) for function, arguments in calls]
        return [pending.result() for pending in handed_out]

    @abstractmethod
    def close(self) -> None:
        """Let the workers go."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


@dataclass(frozen=True, slots=True)
class _Later:
    """A call that is made when its result is asked for."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def result(self) -> Any:
        return self.function(*self.arguments)


class Serial(_Executor):
    """One call after the other, in this process, when its result is asked for."""

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        """Keep the call for later."""
        return _Later(function, arguments)

    def close(self) -> None:
        """Nothing to let go."""


class Processes(_Executor):
    """Worker processes on this machine, one for each core by default.

    They are started afresh (``spawn``), so that no thread or lock of this process is copied.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers if workers is not None else usable_cores()
        if self._workers < 1:
            raise UsageError(f"at least one worker process is needed, not {self._workers}")
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        """Hand the call to the pool, which is started with the first one."""
        return _Retried(self, function, arguments)

    def start(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> "Future[Any]":
        """Give the call to a pool that is whole; one that has lost a worker is replaced."""
        with _one_blas_thread():  # submitting may start a worker, which inherits the environment
            try:
                return self._whole_pool().submit(function, *arguments)
            except BrokenProcessPool:
                self.close()
                return self._whole_pool().submit(function, *arguments)

    def _whole_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _begin_worker)
        return self._pool

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class _Retried:
    """A call in a pool of processes; done again where a worker is lost."""

    def __init__(
        self, executor: Processes, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self._executor, self._call = executor, (function, arguments)
        self._future = executor.start(function, arguments)

    def result(self) -> Any:
        for _ in range(RETRIES):
            try:
                return self._future.result()
            except BrokenProcessPool:
                self._future = self._executor.start(*self._call)
        try:
            return self._future.result()
        except BrokenProcessPool as error:
            raise WorkerLostError(
                f"worker processes died {1 + RETRIES} times under the same work; is there "
                f"enough memory? {GUARD}") from error


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody is left who would tell this worker to end


class Dask(_Executor):
    """A Dask cluster on any number of machines (extra ``dask``).

    Dask itself runs the work of a lost worker again elsewhere. Raises `UsageError` where no
    scheduler answers at ``address`` within ``timeout`` seconds.
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        try:
            self._distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise UsageError("executor dask needs the extra: pip install 'bdn[dask]'") from error
        try:
            self._client = self._distributed.Client(address, timeout=timeout)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from error

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        """Hand the call to the cluster."""
        future = self._client.submit(function, *arguments, pure=False, retries=0)
        return _OnCluster(self._distributed.scheduler.KilledWorker, future)

    def close(self) -> None:
        """Leave the cluster; it goes on without us."""
        self._client.close()


@dataclass(frozen=True, slots=True)
class _OnCluster:
    """A call on a Dask cluster."""

    killed: type[Exception]
    future: Any

    def result(self) -> Any:
        try:
            return self.future.result()
        except self.killed as error:
            raise WorkerLostError(f"Dask gave up after losing workers: {error}") from error
        except (OSError, CancelledError) as error:  # what a client sees of a lost scheduler
            raise WorkerLostError(
                f"the Dask scheduler is gone ({type(error).__name__}); go on without it: bdn "
                "resume RUN --executor processes") from error


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def choose_executor(description: str, worthwhile: bool) -> str:
    """Return the executor that ``auto`` stands for: processes on several cores, for work that is
    ``worthwhile``, and serial otherwise. Any other description is returned as it is.
    """
    if description != AUTO:
        return description
    return "processes" if worthwhile and usable_cores() > 1 else "serial"


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes that start meanwhile keep numpy's matrix products on one thread."""
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def open_executor(description: str) -> "Serial | Processes | Dask":
    """The executor that ``description`` names: ``serial``, ``processes``, ``processes:COUNT`` or
    ``dask:ADDRESS``; raises `UsageError` for anything else, or where no cluster answers.
    """
    kind, rest = check_executor(description)
    if kind == "serial":
        return Serial()
    if kind == "processes":
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(f"bdn: {GUARD}")  # we are a worker that imports its parent's script
        return Processes(int(rest) if rest else None)
    return Dask(rest)


def check_executor(description: str) -> tuple[str, str]:
    """(kind, the rest) of ``description``, without opening anything; `UsageError` for others."""
    kind, colon, rest = description.partition(":")
    if kind == "serial" and not colon:
        return kind, rest
    if kind == "processes" and (not colon or (rest.isdecimal() and 0 < len(rest) <= 4
                                              and int(rest) >= 1)):
        return kind, rest
    if kind == "dask" and rest:
        return kind, rest
    raise UsageError(f"an executor is serial, processes[:COUNT] or dask:ADDRESS, "
                     f"not {description[:80]!r}")
