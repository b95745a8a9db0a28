"""A moment of `fuzz_frames`, which runs for an hour by its own command."""

import importlib.util
import sys
from pathlib import Path


def test_no_bent_frame_raises_or_fills_the_memory():
    """Each kind of message gets through the decoder, and most are refused by a rule behind it."""
    path = Path(__file__).parent / "fuzz_frames.py"
    spec = importlib.util.spec_from_file_location("fuzz_frames", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tally = module.fuzz_replicas(4000, seed=7)
    assert tally.frames == 4000
    assert 1000 < tally.refused < 4000
    assert set(tally.kinds) >= {
        "REQUEST", "PRE-PREPARE", "PREPARE", "COMMIT", "REPLY", "CHECKPOINT", "VIEW-CHANGE",
        "NEW-VIEW", "STATUS", "FETCH", "STATE", "undecodable"}
