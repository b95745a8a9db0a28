"""Algorithm 1's bookkeeping at a device: Eq. (4), stopping, and the best model (line 13)."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.errors import PeerError, UsageError
from bdn.nodes.device.journal import progress_record, restore_progress
from bdn.nodes.device.progress import Progress
from bdn.nodes.device.work import fit_to_clips
from bdn.nodes.settings import GRADIENT, LOSS, WEIGHTS, Settings

SETTINGS = Settings(
    rule="sgd", iterations=1, epochs=3, step_size=0.1, batch_size=1, tolerance=0.0, classes=10,
    model_size=2, cipher="packed", value_bits=16, weight_clip=1.0, gradient_clip=1.0,
    loss_clip=8.0, total_weight=100, devices=2, threshold=1, key_holders=2, minimum_contributors=2,
    sample_ratio=20, samples_per_second=1000, deadline_ms=1000, gather_ms=100, data_reward=1,
    processing_reward=1, confirmations=0, difficulty=16,
)  # fmt: skip
BOTH, OTHERS = b"\x03", b"\x07"
"""Contributors: devices 0 and 1; and device 2 with them."""


def progress(**changes: object) -> Progress:
    return Progress(replace(SETTINGS, **changes), np.zeros(2, np.float32))  # type: ignore[arg-type]


def opened(delta: list[float], loss: float, s: int = 10) -> np.ndarray:
    """Σ s_k x_k of a weight phase whose means are ``delta`` and ``loss``."""
    return np.array([*delta, loss]) * s


def test_eq_4_and_the_phases_of_sgd() -> None:
    p = progress()
    p.apply(opened([0.5, -1.0], 2.0), 10, BOTH)
    assert p.w.tolist() == [0.5, -1.0]
    assert (p.epoch, p.phase) == (2, WEIGHTS)
    p.apply(opened([0, 1], 1.0), 10, BOTH)
    p.apply(opened([0, 1], 3.0), 10, BOTH)
    assert (p.epoch, p.phase) == (3, LOSS)
    p.apply(np.array([20.0]), 10, BOTH)
    assert p.finished
    assert [record.loss for record in p.history] == pytest.approx([2.0, 1.0, 3.0, 2.0])


def test_svrg_has_a_gradient_phase_before_each_weight_phase() -> None:
    p = progress(rule="svrg")
    assert p.phase == GRADIENT
    p.apply(np.array([5.0, 10.0]), 10, BOTH)
    assert p.phase == WEIGHTS
    assert p.gradient is not None
    assert p.gradient.tolist() == [0.5, 1.0]
    p.apply(opened([1, 1], 1.0), 10, BOTH)
    assert (p.epoch, p.phase, p.gradient) == (2, GRADIENT, None)


def test_a_step_within_the_tolerance_ends_the_run() -> None:
    """Section 4.1: ‖w^(p) − w^(p-1)‖₂ ≤ ε."""
    p = progress(tolerance=0.5)
    p.apply(opened([0.6, 0], 1.0), 10, BOTH)
    assert p.phase == WEIGHTS
    p.apply(opened([0.3, 0.375], 1.0), 10, BOTH)
    assert (p.epoch, p.phase) == (2, LOSS)


def test_line_13_keeps_the_model_of_least_loss() -> None:
    """F of w^(p) is known one epoch later: losses 3, 1, 2, 4 are those of w^(0) … w^(3)."""
    p = progress()
    for loss in (3.0, 1.0, 2.0):
        p.apply(opened([1, 0], loss), 10, BOTH)
    p.apply(np.array([40.0]), 10, BOTH)
    assert (p.best_epoch, p.best_loss) == (1, 1.0)
    assert p.best.tolist() == [1.0, 0.0]


def test_losses_of_other_contributors_are_not_compared() -> None:
    """F is compared over the same contributors only."""
    p = progress()
    p.apply(opened([1, 0], 1.0), 10, BOTH)
    p.apply(opened([1, 0], 5.0), 10, OTHERS)
    assert (p.best_epoch, p.best_loss) == (1, 5.0), "the comparison starts anew"
    p.apply(opened([1, 0], 4.0), 10, OTHERS)
    assert p.best_epoch == 2


def test_a_sum_that_is_not_finite_changes_nothing() -> None:
    p = progress()
    with pytest.raises(PeerError):
        p.apply(opened([float("nan"), 0], 1.0), 10, BOTH)
    assert (p.epoch, p.phase, p.history) == (1, WEIGHTS, [])


def test_a_spoiled_epoch_keeps_the_model_and_is_no_convergence() -> None:
    """Section 4.1's condition is about steps that were made: here w cannot have moved."""
    p = progress(tolerance=0.5)
    p.apply(opened([1, 0], 3.0), 10, BOTH)
    p.lose(10, BOTH)
    assert (p.epoch, p.phase, p.w.tolist()) == (3, WEIGHTS, [1.0, 0.0])
    p.apply(opened([1, 0], 2.0), 10, BOTH)
    assert (p.phase, p.best_epoch, p.best_loss) == (LOSS, 2, 2.0)
    p.lose(10, BOTH)
    assert p.finished
    assert [(r.epoch, r.loss, r.spoiled) for r in p.history] == [
        (1, 3.0, False), (2, None, True), (3, 2.0, False), (3, None, True)]


def test_losses_on_both_sides_of_a_spoiled_epoch_are_compared_by_their_own_contributors() -> None:
    p = progress()
    p.apply(opened([1, 0], 1.0), 10, BOTH)
    p.lose(10, OTHERS)
    p.apply(opened([1, 0], 5.0), 10, OTHERS)
    assert (p.best_epoch, p.best_loss) == (2, 5.0), "the comparison starts anew"


def test_without_the_gradient_an_epoch_makes_no_step() -> None:
    """Eq. (3) needs ∇F: devices seal zeros, which is no convergence either."""
    p = progress(rule="svrg", tolerance=0.5)
    p.lose(10, BOTH)
    assert (p.epoch, p.phase, p.lacks_gradient, p.history) == (1, WEIGHTS, True, [])
    p.apply(opened([0, 0], 2.0), 10, BOTH)
    assert (p.epoch, p.phase, p.lacks_gradient) == (2, GRADIENT, False)
    assert [(r.loss, r.norm, r.spoiled) for r in p.history] == [(2.0, 0.0, True)]


@given(st.lists(st.none() | st.tuples(st.floats(-1, 1), st.floats(0, 8)), min_size=1, max_size=4))
def test_a_restarted_device_stands_where_it_stood(steps: list[tuple[float, float] | None]) -> None:
    """None: a spoiled sum."""
    p = progress(epochs=9)
    for step in steps:
        if step is None:
            p.lose(10, BOTH)
        else:
            p.apply(opened([step[0], -step[0]], step[1]), 10, BOTH)
    again = progress(epochs=9)
    restore_progress(again, progress_record(p, 7, b"anchor", 3))
    assert again.w.tobytes() == p.w.tobytes()
    assert again.best.tobytes() == p.best.tobytes()
    assert (again.epoch, again.phase, again.best_epoch, again.best_loss, again.history) == (
        p.epoch, p.phase, p.best_epoch, p.best_loss, p.history)


# --- scaling to fit -----------------------------------------------------------------------------


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=5), st.floats(0, 8))
def test_an_update_is_shrunk_as_a_whole_and_says_so(delta: list[float], loss: float) -> None:
    """Nothing saturates silently; the loss is never scaled."""
    clips = np.array([1.0] * len(delta) + [8.0])
    fitting, scale = fit_to_clips(np.array([*delta, loss]), clips, with_loss=True)
    assert np.abs(fitting[:-1]).max() <= 1.0
    assert fitting[-1] == loss
    assert (scale == 1.0) == (max(map(abs, delta)) <= 1.0)
    np.testing.assert_allclose(fitting[:-1], np.array(delta) * scale, rtol=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_update_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="diverged"):
        fit_to_clips(np.array([value, 1.0]), np.ones(2), with_loss=False)


# --- settings -----------------------------------------------------------------------------------


def test_settings_survive_genesis_exactly() -> None:
    settings = replace(SETTINGS, step_size=0.1 + 0.2, weight_clip=1e-3,
                       norm_bound=(2.0, 0.1 + 0.2), gradient_norm_bound=(1e-9,))
    assert Settings.from_plain(settings.to_plain()) == settings
    assert not any(isinstance(value, float) for value in settings.to_plain().values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "adam"}, "rule must be"), ({"threshold": 3}, "impossible"),
        ({"minimum_contributors": 1}, "threshold \\+ 1"), ({"step_size": float("nan")}, "finite"),
        ({"epochs": 0}, "epoch"), ({"tolerance": -1.0}, "negative"),
        ({"norm_bound": (1.0, 0.0)}, "norm bound"), ({"norm_bound": (float("inf"),)}, "norm bound"),
        ({"gradient_norm_bound": (1.0,) * 1001}, "1,000 epochs"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]


@given(st.lists(st.floats(1e-12, 1e12), max_size=5), st.integers(1, 2**70))
def test_the_norm_bound_of_an_epoch_follows_from_genesis_alone(
    bounds: list[float], epoch: int
) -> None:
    """Number p of the list; the last one for all later epochs; none where the list is empty."""
    settings = replace(SETTINGS, norm_bound=tuple(bounds))
    again = Settings.from_plain(settings.to_plain())
    endless = itertools.chain(bounds, itertools.repeat(bounds[-1] if bounds else None))
    expected = next(itertools.islice(endless, min(epoch, 9) - 1, None))
    assert again.bound_of(WEIGHTS, epoch) == again.bound_of(LOSS, epoch) == expected
    assert again.bound_of(GRADIENT, epoch) is None
    assert again.largest_bound(WEIGHTS) == (max(bounds) if bounds else None)


@pytest.mark.parametrize("text", ["", "1;2", "1,,2", "None", "1," * 2000, "x" * 10**6])
def test_what_is_no_norm_bound_is_refused_in_a_short_line(text: str) -> None:
    plain = {**SETTINGS.to_plain(), "norm_bound": text}
    with pytest.raises(UsageError, match="a norm bound is none, a number such as") as refused:
        Settings.from_plain(plain)
    assert len(str(refused.value)) < 250
    for wrong in (3, None, ["1.0"]):
        with pytest.raises(UsageError, match="unusable setting"):
            Settings.from_plain({**plain, "norm_bound": wrong})


def test_an_extended_run_goes_on_with_the_next_epoch() -> None:
    """The journal keeps the new number, and the closing phase in the middle is no epoch."""
    p = progress(epochs=1)
    p.apply(opened([0.5, -1.0], 2.0), 10, BOTH)
    p.apply(np.array([15.0]), 10, BOTH)
    assert p.finished
    p.extend(3)
    assert (p.epoch, p.phase, p.finished, p.epochs, p.done) == (2, WEIGHTS, False, 3, 1)
    again = progress(epochs=1)
    restore_progress(again, progress_record(p, 0, b"", 0))
    assert (again.epochs, again.history) == (3, p.history)
    for p_now in (2, 3):
        again.apply(opened([0.5, -1.0], 1.0), 10, BOTH)
        assert again.done == p_now
    assert (again.phase, again.finished) == (LOSS, False)
