"""The in-process runner: virtual time, timers, crashes, and work that is done elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest

from bdn.errors import PeerError
from bdn.experiments.runner import Runner, StalledError
from bdn.learning import FutureResult, Serial
from bdn.nodes.events import (
    CancelTimer,
    Compute,
    Computed,
    Effect,
    Event,
    Persist,
    Received,
    Send,
    SetTimer,
    Started,
    Task,
    TimedOut,
)
from bdn.nodes.shared_work import SharedWork


class Scripted:
    """A node that answers each event by a function and remembers what it saw."""

    def __init__(self, name: str, react: Callable[[Event], list[Effect]]) -> None:
        self.name = name
        self.react = react
        self.seen: list[tuple[int, Event]] = []

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        self.seen.append((now_ms, event))
        return self.react(event)


def on_start(*effects: Effect) -> Callable[[Event], list[Effect]]:
    return lambda event: list(effects) if isinstance(event, Started) else []


def run(*nodes: Scripted, until: Callable[[], bool] | None = None, **options: Any) -> Runner:
    runner = Runner(nodes, measured=False, **options)
    with pytest.raises(StalledError):
        runner.run(until or (lambda: False))
    return runner


def test_messages_arrive_after_their_delay_and_lost_ones_never() -> None:
    b = Scripted("b", lambda _: [])
    a = Scripted("a", on_start(Send("b", b"one"), Send("b", b"two"), Send("b", b"three")))
    fates = {b"one": 5, b"two": None, b"three": 2}
    runner = run(a, b, network=lambda _s, _t, data, _n: fates[data])
    arrived = [(at, event.data) for at, event in b.seen if isinstance(event, Received)]
    assert arrived == [(2, b"three"), (5, b"one")]
    assert runner.traffic() == {"a": (11, 0), "b": (0, 8)}


def test_a_timer_set_anew_fires_once_and_a_cancelled_one_never() -> None:
    a = Scripted("a", on_start(SetTimer("x", 5), SetTimer("x", 9), SetTimer("y", 3),
                               CancelTimer("y")))
    run(a)
    assert [(at, event) for at, event in a.seen[1:]] == [(9, TimedOut("x"))]


def test_records_are_durable_before_later_effects() -> None:
    """A device must not send a share that it could forget having made."""
    order: list[str] = []
    a = Scripted("a", on_start(Persist(b"promise", "slot"), Send("b", b"share")))
    b = Scripted("b", lambda _: [])

    def network(_s: str, _t: str, _d: bytes, _n: int) -> int:
        order.append("sent")
        return 1

    run(a, b, network=network, persist=lambda node, record, slot: order.append(
        f"{node} {record.decode()} {slot}"))
    assert order == ["a promise slot", "sent"]


def test_a_crash_loses_messages_timers_and_work_until_the_restart() -> None:
    a = Scripted("a", on_start(SetTimer("tick", 10), Compute(Task("train", 1, "c"), abs, (-1,))))
    b = Scripted("b", on_start(Send("a", b"hello")))
    runner = Runner([b, a], measured=False)
    again = Scripted("a", lambda _: [])
    runner.at(0, lambda: runner.crash("a"))
    runner.at(20, lambda: runner.add(again))
    with pytest.raises(StalledError):
        runner.run(lambda: False)
    assert a.seen == []
    assert again.seen == [(20, Started())]


def fails() -> None:
    raise PeerError("bad share")


def test_work_comes_back_with_its_result_or_its_error() -> None:
    a = Scripted("a", on_start(Compute(Task("open", 1, "good"), abs, (-7,)),
                               Compute(Task("open", 1, "bad"), fails, ())))
    run(a)
    results = [event for _, event in a.seen if isinstance(event, Computed)]
    assert (results[0].task.phase, results[0].result, results[0].error) == ("good", 7, None)
    assert isinstance(results[1].error, PeerError)


class Pool(Serial):
    """An executor that remembers how much it had in hand when a result was asked for."""

    def __init__(self) -> None:
        self.under_way = self.most = 0

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> FutureResult:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        return super().submit(self.finish, (function, arguments))

    def finish(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self.under_way -= 1
        return function(*arguments)


def test_parallel_work_is_handed_to_the_executor_together() -> None:
    pool = Pool()
    nodes = [Scripted(f"n{i}", on_start(Compute(Task("train", 1, "t"), abs, (-i,), parallel=True)))
             for i in range(3)]
    run(*nodes, executor=pool)
    assert pool.most == 3
    assert [node.seen[1][1].result for node in nodes] == [0, 1, 2]  # type: ignore[union-attr]


def test_a_busy_node_takes_the_next_event_when_it_is_free() -> None:
    """Each node is a machine of its own: measured work moves its clock, and only its own."""
    def work() -> None:
        import time
        time.sleep(0.02)

    a = Scripted("a", on_start(Compute(Task("train", 1, "w"), work, ())))
    b = Scripted("b", on_start(Send("a", b"x")))
    runner = Runner([a, b], measured=True)
    with pytest.raises(StalledError):
        runner.run(lambda: False)
    assert [type(event) for _, event in a.seen].count(Received) == 1
    assert a.seen[-1][0] >= 20


def test_equal_work_is_done_once_and_takes_every_node_as_long() -> None:
    done = []

    def work() -> str:
        import time
        time.sleep(0.03)
        done.append(1)
        return "opened"

    nodes = [Scripted(f"n{i}", on_start(Compute(Task("open", 1, "w"), work, (), shared=b"name")))
             for i in range(3)]
    runner = Runner(nodes, measured=True, work=SharedWork())
    with pytest.raises(StalledError):
        runner.run(lambda: False)
    assert len(done) == 1
    assert [node.seen[-1][1].result for node in nodes] == ["opened"] * 3  # type: ignore[union-attr]
    assert all(node.seen[-1][0] >= 30 for node in nodes)


def test_a_result_that_is_not_due_keeps_nobody_waiting() -> None:
    """Once the runner has seen how long such work takes, others go on meanwhile."""
    pool = Pool()
    waits: list[int] = []

    def work() -> None:
        import time
        waits.append(pool.under_way)
        time.sleep(0.05)

    def twice(event: Event) -> list[Effect]:
        seal = Compute(Task("seal", 1, "w"), work, (), parallel=True)
        match event:
            case Started():
                return [seal]
            case Computed() if len(waits) < 3:
                return [seal]
            case _:
                return []

    late = Scripted("b", lambda event: (
        [SetTimer("late", 60)] if isinstance(event, Started)
        else [Compute(Task("seal", 1, "w"), work, (), parallel=True)]
        if isinstance(event, TimedOut) else []))
    runner = Runner([Scripted("a", twice), late], measured=True, executor=pool)
    with pytest.raises(StalledError):
        runner.run(lambda: False)
    assert pool.most == 2  # the second of a's and b's were under way together


def test_a_run_that_cannot_end_says_so() -> None:
    runner = Runner([Scripted("a", lambda _: [SetTimer("again", 100)])], measured=False)
    with pytest.raises(StalledError, match="virtual seconds"):
        runner.run(lambda: False, limit_ms=1000)
