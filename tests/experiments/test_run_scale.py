"""What a run costs each device, and what it keeps, as the devices become more."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bdn.chain.execution
import bdn.chain.ledger
import bdn.chain.store
import bdn.nodes.edge.application
from bdn.chain import Store
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import Participants
from bdn.experiments.run import opened_run
from bdn.experiments.setup import make_cluster, make_device
from bdn.experiments.verification import verify_run
from bdn.learning import Evaluation, LocalResult
from bdn.trace import DISCARD


@dataclass(frozen=True, slots=True, eq=False)
class Idle:
    """A learner that takes a fixed step, so that a run's cost is the ledger's."""

    sample_count: int = 10

    def loss(self, w: Any) -> float:
        return 1.0

    def gradient(self, w: Any) -> Any:
        return np.zeros_like(w)

    def update(self, w: Any, *_: Any) -> LocalResult:
        return LocalResult(w + np.float32(0.125), 1.0, self.sample_count)


def idle(devices: int, size: int = 5) -> Participants:
    """``devices`` idle learners of a model with ``size`` parameters."""
    figures = Evaluation(0.5, 0.5, (), (), 0.5, 1)
    return Participants((Idle(),) * devices, np.zeros(size, np.float32), lambda _: figures, 2)


def config(devices: int, **options: Any) -> RunConfig:
    """One epoch of as many devices, of which three hold the key."""
    return RunConfig(devices=devices, threshold=2, key_holders=3, epochs=1, key_bits=256,
                     cipher="packed", norm_bound=None, deterministic=True, **options)


@pytest.fixture(scope="module")
def traffic() -> dict[int, int]:
    """Bytes sent and received by the busiest device that has no special part, by devices."""
    most = {}
    for n in (8, 40):
        with opened_run(config(n), participants=idle(n)) as run:
            run.runner.run(run.is_over)
            counts = run.traffic()
            most[n] = max(sum(counts[name]) for name in run.material.device_names[3:])
    return most


def test_what_a_device_sends_and_receives_does_not_grow_with_the_number_of_devices(
    traffic: dict[int, int]
) -> None:
    """Merkle paths grow by a hash as the devices double, and Tx_co by a bit for each of them.

    The key's blob has 96 bytes for each device, and Tx_co's receipt 200: were they sent to each
    device, 32 more devices would cost it 20,000 bytes.
    """
    assert traffic[40] - traffic[8] < 4_000


# --- blobs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted after its first aggregate."""
    place = tmp_path_factory.mktemp("half") / "run"
    folder = RunFolder.create(place, config(4))
    with opened_run(config(4), folder, participants=idle(4)) as run:
        run.runner.run(lambda: run.edges[0].ledger.head.kind == "candidate")
    return place


def test_the_edge_servers_of_a_run_share_one_file_for_each_blob(half: Path) -> None:
    """Every file is named by a row of each ledger, and by its own contents."""
    held = []
    for path in (half / "ledger.sqlite", *sorted((half / "edges").glob("*.sqlite"))):
        with Store.open(path, read_only=True) as store:
            held.append({root.hex(): store.blob(root) for root in store.blob_roots()})
    files = {place.name: place.read_bytes() for place in (half / "blobs").iterdir()}
    assert held[0] == files
    assert all(set(one) <= set(files) for one in held)
    assert len(files) == 1 + 4 + 1, "the key, four updates and their sum"


@pytest.mark.parametrize("kind", ["missing", "cut short", "a folder"])
def test_a_resume_names_the_blob_that_has_no_file(half: Path, tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(half, tmp_path / "run"))
    place = max((folder / "blobs").iterdir(), key=lambda place: place.stat().st_size)
    data = place.read_bytes()
    place.unlink()
    if kind == "cut short":
        place.write_bytes(data[:-1])
    elif kind == "a folder":
        place.mkdir()
    with pytest.raises(UsageError, match=f"blob {place.name}"):
        opened_run(config(4), RunFolder.open(folder), participants=idle(4)).__enter__()
    if kind == "a folder":
        place.rmdir()
    place.write_bytes(data)
    part = folder / "blobs" / f".{place.name}.01234567.bdn-part"
    part.write_bytes(b"half")
    with opened_run(config(4), RunFolder.open(folder), participants=idle(4)) as run:
        run.complete()
    assert not part.exists()
    assert verify_run(folder / "ledger.sqlite") > 0


def test_only_blobs_are_removed_when_a_run_is_replaced(half: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(half, tmp_path / "run"))
    before = {blob.name for blob in (place / "blobs").iterdir()}
    (place / "blobs" / "notes.txt").write_text("a user's")
    again = config(4, seed=2)
    with opened_run(again, RunFolder.create(place, again, force=True), participants=idle(4)):
        assert [left.name for left in (place / "blobs").iterdir()] == ["notes.txt"]
    assert len(before) == 6


# --- blocks -------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of four transactions at most."""
    for module in (bdn.chain.execution, bdn.chain.ledger, bdn.chain.store,
                   bdn.nodes.edge.application):
        monkeypatch.setattr(module, "MAX_TRANSACTIONS", 4)
    return 4


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("rule", ["sgd", "svrg"])
def test_registrations_and_updates_that_fit_no_block_are_spread_over_several(
    rule: str, tmp_path: Path
) -> None:
    """Nine devices, and room for four transactions; the model is that of large blocks."""
    options = config(9, rule=rule)
    folder = RunFolder.create(tmp_path / "run", options)
    with opened_run(options, folder, participants=idle(9)) as run:
        history = run.complete()
        model = run.reference.progress.w
    assert all(block["transactions"] <= 4 for block in history["blocks"])
    assert len(history["blocks"]) > 12
    assert [len(epoch["contributors"]) for epoch in history["epochs"]] == [9, 9]
    assert not history["refused"]
    assert verify_run(tmp_path / "run" / "ledger.sqlite") == len(history["blocks"])
    assert model.tolist() == pytest.approx([0.125] * 5, abs=1e-4)


# --- patience -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("devices", "answer", "submission"), [(3, 5_000, 30_000),
                                                               (1_000, 50_000, 300_000)])
def test_a_devices_patience_grows_with_the_work_of_its_edge_server(
    devices: int, answer: int, submission: int
) -> None:
    """Else a thousand devices would send everything again while the last are being checked."""
    options = config(3)
    with opened_run(options, participants=idle(3)) as run:
        common = run.material.common
        settings = replace(common.settings, devices=devices)
        object.__setattr__(common, "settings", settings)
        device = make_device(run.material, 0, run.store, DISCARD)
        assert device._interface._answer_ms == answer
        assert device._interface._submission_ms == submission
        assert make_cluster(common).request_timeout_ms == max(30_000, 300 * devices)
