"""Where devices' work runs: in this process, in worker processes, or on a Dask cluster.

A call is a pure function, importable by name, and its arguments; an executor's ``run`` gives the
results in the order of the calls, whatever the order in which they finish. The same functions run
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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from bdn.errors import BdnError, UsageError

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments, both of which can be pickled."""

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What the common BLAS libraries read when they are loaded (Dask sets them for its workers)."""

RETRIES = 2
"""How often the calls of a lost worker are tried again."""


GUARD = ("A script that uses worker processes must start its work below if __name__ == "
         '"__main__":, since each worker imports it.')


class WorkerLostError(BdnError):
    """Workers died again and again under the same work."""


class Executor(Protocol):
    """Runs pure functions."""

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results of ``function(*arguments)`` for each call, in their order."""

    def close(self) -> None:
        """Let the workers go."""


class _Closing:
    """``with`` for executors."""

    def close(self) -> None:
        """Nothing to let go."""

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()


class Serial(_Closing):
    """One call after the other, in this process."""

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results, in order; an exception stops at the first call that raises."""
        return [function(*arguments) for function, arguments in calls]


class Processes(_Closing):
    """Worker processes on this machine, one for each core by default.

    They are started afresh (``spawn``), so that no thread or lock of this process is copied.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers if workers is not None else os.cpu_count() or 1
        if self._workers < 1:
            raise UsageError(f"at least one worker process is needed, not {self._workers}")
        self._pool: ProcessPoolExecutor | None = None

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results, in order. Raises `WorkerLostError` when workers keep dying."""
        calls = list(calls)
        results: dict[int, Any] = {}
        for _ in range(1 + RETRIES):
            waiting = [i for i in range(len(calls)) if i not in results]
            if not waiting:
                break
            try:
                futures = {i: self._submit(calls[i]) for i in waiting}
                for i, future in futures.items():
                    results[i] = future.result()
            except BrokenProcessPool:
                self.close()  # the pool is useless now; the next round starts a new one
        else:
            if len(results) < len(calls):
                raise WorkerLostError(
                    f"worker processes died {1 + RETRIES} times under the same work; is there "
                    f"enough memory? {GUARD}")
        return [results[i] for i in range(len(calls))]

    def _submit(self, call: Call) -> "Future[Any]":
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context)
        function, arguments = call
        with _one_blas_thread():  # submitting may start a worker, which inherits the environment
            return self._pool.submit(function, *arguments)

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class Dask(_Closing):
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

    def run(self, calls: Iterable[Call]) -> list[Any]:
        """The results, in order. Raises `WorkerLostError` when workers keep dying."""
        futures = [self._client.submit(function, *arguments, pure=False, retries=0)
                   for function, arguments in calls]
        try:
            return list(self._client.gather(futures))
        except self._distributed.scheduler.KilledWorker as error:
            raise WorkerLostError(f"Dask gave up after losing workers: {error}") from error
        except (OSError, CancelledError) as error:  # what a client sees of a lost scheduler
            raise WorkerLostError(
                f"the Dask scheduler is gone ({type(error).__name__}); go on without it: bdn "
                "resume RUN --executor processes") from error

    def close(self) -> None:
        """Leave the cluster; it goes on without us."""
        self._client.close()


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
