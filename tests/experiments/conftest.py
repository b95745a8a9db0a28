"""Small whole runs, shared by the tests that look at them. Only the keys are toys."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bdn.chain import contracts, execution
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import Run, opened_run

sys.path.insert(0, str(Path(__file__).parent))  # tests run small samples of the commands here

TINY = {
    "devices": 4, "threshold": 2, "epochs": 2, "iterations": 3, "batch_size": 16, "samples": 40,
    "model": "softmax", "key_bits": 512, "deterministic": True, "seed": 3, "norm_bound": None,
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> Callable[..., RunConfig]:
    """A run of seconds: four devices, forty samples each, 512-bit keys; options override."""
    return lambda **options: RunConfig(**{**TINY, **options})


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished tiny run with its folder; for reading only."""
    path = tmp_path_factory.mktemp("finished") / "run"
    config = RunConfig(**TINY)
    with opened_run(config, RunFolder.create(path, config)) as run:
        run.complete()
        yield run


@pytest.fixture(scope="session")
def ledger_file(finished: Run) -> Path:
    """The finished run's ledger."""
    assert finished.folder is not None
    return finished.folder.path / "ledger.sqlite"


@pytest.fixture(scope="module")
def compiled_once() -> Iterator[None]:
    """All the runs' nodes compile the same two contracts; here they share them."""
    kept: dict[tuple[str, str], contracts.Contract] = {}
    real = contracts.compile_contract

    def compile_contract(source: str, name: str, *, gas_version: int) -> contracts.Contract:
        if (source, name) not in kept:
            kept[source, name] = real(source, name, gas_version=gas_version)
        return kept[source, name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "compile_contract", compile_contract)
        yield
