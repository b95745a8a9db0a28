"""Executors: the same bits everywhere, lost workers retried, devices named.

OpenBLAS adds up in another order with another number of threads, so runs that are compared bit for
bit are started with one thread each, as `bdn run` does.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bdn.errors import UsageError
from bdn.learning import DeviceError, WorkerLostError, open_executor
from bdn.learning.executors import Dask, Processes, Serial
from bdn.paillier.errors import OutOfRangeError

COMPARE = """
import sys
from hashlib import sha256
from bdn.learning import PaperCNN, TrainingSettings, load, open_executor, split, train

def main():
    data = load("digits")
    devices = split(data.train.subset(range(120)), 3, "dirichlet")
    rules = TrainingSettings("svrg", epochs=2, iterations=3, batch_size=8, step_size=0.5)
    for description in sys.argv[1:]:
        with open_executor(description) as executor:
            result = train(PaperCNN(), devices, rules, executor=executor)[-1]
        print(sha256(result.w.tobytes()).hexdigest())

if __name__ == "__main__":
    main()
"""


def digests(tmp_path: Path, *descriptions: str) -> list[str]:
    """What `COMPARE` prints, in a process with one BLAS thread."""
    script = tmp_path / "compare.py"
    script.write_text(COMPARE)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, *descriptions], env=environment, text=True,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_processes_give_the_same_bits_as_serial(tmp_path: Path) -> None:
    serial, processes = digests(tmp_path, "serial", "processes:2")
    assert serial == processes


def double(number: int) -> int:
    return 2 * number


def die_once(marker: str) -> str:
    """Kills its worker the first time, and works the second."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os._exit(1)
    return "done"


def die() -> None:
    os._exit(1)


def fail() -> None:
    raise DeviceError("device 3 has no battery")


def test_results_come_in_the_order_of_the_calls() -> None:
    for executor in (Serial(), Processes(2)):
        with executor:
            assert executor.run([(double, (n,)) for n in range(7)]) == [0, 2, 4, 6, 8, 10, 12]
            assert executor.run([]) == []


def test_a_lost_workers_task_is_done_again(tmp_path: Path) -> None:
    """The other calls' results are kept."""
    with Processes(1) as executor:
        calls = [(double, (1,)), (die_once, (str(tmp_path / "died"),)), (double, (2,))]
        assert executor.run(calls) == [2, "done", 4]


def test_work_that_always_kills_its_worker_is_given_up() -> None:
    with Processes(1) as executor, pytest.raises(WorkerLostError):
        executor.run([(die, ())])


def refuse() -> None:
    """An error whose class asks for more than a message."""
    raise OutOfRangeError(7, 1.5, 1.0)


def test_an_error_that_says_more_than_its_message_reaches_the_caller_whole() -> None:
    """It is no lost worker: who reads "is there enough memory?" looks in the wrong place."""
    with Processes(1) as executor, pytest.raises(OutOfRangeError) as caught:
        executor.run([(refuse, ())])
    assert "entry 7 is 1.5" in str(caught.value)
    assert (caught.value.index, caught.value.value, caught.value.clip) == (7, 1.5, 1.0)


def test_what_a_function_raises_reaches_the_caller() -> None:
    for executor in (Serial(), Processes(1)):
        with executor, pytest.raises(DeviceError, match="battery"):
            executor.run([(fail, ())])


@pytest.mark.parametrize("name", ["", "threads", "processes:x", "processes:0", "dask", "serial:1"])
def test_unknown_executors_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        open_executor(name)


# --- Dask ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A real local cluster: a scheduler and two worker processes."""
    distributed = pytest.importorskip("distributed", reason="extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1",
    ) as cluster:
        yield cluster


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bits_as_serial(tmp_path: Path, cluster: Any) -> None:
    """Two workers; each has one BLAS thread, as Dask sets it."""
    serial, dask = digests(tmp_path, "serial", f"dask:{cluster.scheduler_address}")
    assert serial == dask


@pytest.mark.slow
def test_dask_does_a_lost_workers_task_again(tmp_path: Path, cluster: Any) -> None:
    with open_executor(f"dask:{cluster.scheduler_address}") as executor:
        calls = [(int.__add__, (1, 1)), (os.system, ("true",))]
        assert executor.run(calls) == [2, 0]
        pids = set(executor.run([(os.getpid, ())] * 8))
        assert os.getpid() not in pids
        # a worker is killed while it works; the nanny starts another
        kill_once = f"""[ -e {tmp_path}/died ] || {{ touch {tmp_path}/died; kill -9 $PPID; }}"""
        assert executor.run([(os.system, (kill_once,)), (int.__add__, (2, 2))]) == [0, 4]


def test_a_cluster_that_does_not_answer_is_named() -> None:
    pytest.importorskip("distributed", reason="extra dask is not installed")
    with pytest.raises(UsageError, match=r"127\.0\.0\.1"):
        Dask("tcp://127.0.0.1:1", timeout=0.5)
