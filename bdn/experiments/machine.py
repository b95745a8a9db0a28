"""What a run asks of the machine: one BLAS thread, and enough open files.

With another number of BLAS threads, matrix products add up in another order. The last bits of a
model then differ, and with them every digest of a run that must repeat. The command line sets the
environment before numpy is loaded; a program that has loaded numpy already is put on one thread for
as long as the run lasts, by threadpoolctl.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bdn.errors import UsageError
from bdn.learning.executors import BLAS_THREADS


@contextmanager
def one_blas_thread(required: bool) -> Iterator[None]:
    """Keep numpy's matrix products in this process on one thread.

    Raises `UsageError` where that is ``required`` and cannot be made sure of.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        if required and not any(os.environ.get(name) == "1" for name in BLAS_THREADS):
            raise UsageError(
                "a deterministic run needs numpy's matrix products on one thread: set "
                "OPENBLAS_NUM_THREADS=1 before numpy is loaded, or pip install threadpoolctl"
            ) from None
        yield
        return
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


FILES_PER_STORE = 3
"""SQLite's database, its write-ahead log, and the log's index."""

OTHER_FILES = 40
"""Standard streams, trace, lock, pipes, sockets, and what Python opens as it imports."""


def demand_open_files(stores: int) -> None:
    """Raise the limit on open files to what so many open stores need.

    Raises `UsageError` where the system does not allow that.
    """
    if sys.platform == "win32":
        return
    import resource

    needed = FILES_PER_STORE * stores + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(f"{stores} stores need {needed} open files, and the limit is {hard}: "
                         f"raise it (ulimit -n {needed}), or take fewer --edges")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
