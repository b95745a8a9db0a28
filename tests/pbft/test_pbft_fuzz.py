"""A moment of `fuzz_frames`, which runs for an hour by its own command."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """The script as a module."""
    path = Path(__file__).parent / "fuzz_frames.py"
    spec = importlib.util.spec_from_file_location("fuzz_frames", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_bent_frame_raises_or_fills_the_memory(fuzz):
    """Each kind of message gets through the decoder, and most are refused by a rule behind it."""
    tally = fuzz.fuzz_replicas(4000, seed=7)
    assert tally.frames == 4000
    assert 1000 < tally.refused < 4000
    assert set(tally.kinds) >= {
        "REQUEST", "PRE-PREPARE", "PREPARE", "COMMIT", "REPLY", "CHECKPOINT", "VIEW-CHANGE",
        "NEW-VIEW", "STATUS", "FETCH", "STATE", "undecodable"}


def test_an_edge_server_keeps_nothing_of_bent_frames(fuzz):
    """It keeps as many objects after 1,000 frames as before, give or take one per ten frames."""
    tally = fuzz.fuzz_edge_server(1000, seed=7)
    (objects, size), (objects_after, size_after) = tally.kept
    assert objects > 1000
    assert objects_after < objects + 100
    assert size_after < size + 100_000
