"""Orders of arrival that one millisecond everywhere never shows; sockets did (`test_processes.py`).
"""

from collections.abc import Callable
from typing import Any

import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.nodes.messages import message_kind


@pytest.mark.parametrize("slow", ["edge-0", "edge-1"])
def test_a_request_that_overtakes_its_blob_is_no_refusal(
    tiny: Callable[..., RunConfig], slow: str
) -> None:
    """Section 5, step 3: a device's update is refused for what is in it, not for being under way.

    A backup relays the few bytes of a request before another server's megabyte of blobs arrives.
    The primary must then wait for the update, not go on without its device, which the other
    servers would rightly refuse; nor may a backup think that it was refused.
    """

    def network(_source: str, target: str, data: bytes, _now_ms: int) -> int:
        return 400 if target == slow and message_kind(data) == "Relay" else 1

    config = tiny(devices=5, deadline_seconds=20.0)
    with opened_run(config, network=network) as run:
        history = run.complete()
    assert [len(epoch["contributors"]) for epoch in history["epochs"]] == [5, 5, 5]
    assert {block["view"] for block in history["blocks"]} == {0}


@pytest.mark.parametrize("slow", ["edge-0", "edge-1"])
def test_an_update_that_overtakes_a_block_waits_for_it(
    tiny: Callable[..., RunConfig], slow: str
) -> None:
    """A device whose edge server is ahead may send its update before another server has the block
    that opens the phase. That server keeps it until then: nobody must wait for a deadline.
    """

    def network(_source: str, target: str, data: bytes, _now_ms: int) -> int:
        return 900 if target == slow and message_kind(data) == "Commit" else 1

    config = tiny(devices=5, deadline_seconds=20.0)
    untimely: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "untimely":
            untimely.append(event["node"])

    with opened_run(config, network=network, listen=listen) as run:
        history = run.complete()
        seconds = (run.runner.now_ms - run.material.genesis.time) / 1000
    assert [len(epoch["contributors"]) for epoch in history["epochs"]] == [5, 5, 5]
    assert set(untimely) == {slow}
    # the slow server's delay once for each block, since it may lead, and nothing like the deadline
    assert seconds < 0.9 * len(history["blocks"]) + 5
