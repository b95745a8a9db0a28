"""`benchmarks/norm_bound.py`: its rules against other implementations, its training against the
oracle, and its verdicts, which can fail.
"""

import argparse
import importlib
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdn.learning import (
    Dataset,
    PaperCNN,
    TrainingSettings,
    accuracy,
    load,
    split,
    train,
)
from bdn.randomness import SeededRandomness

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))
norm_bound, harness, _plots = map(importlib.import_module, ("norm_bound", "harness", "plots"))
sys.path.remove(str(FOLDER))

Variant = norm_bound.Variant
EVEN = np.ones(5)


# --- rules --------------------------------------------------------------------------------------


def test_each_rule_gives_the_value_that_was_worked_out_by_hand() -> None:
    """Five devices, one far off. Krum's scores, two nearest each: 5, 2, 2, 5 and 97² + 98²."""
    updates = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])
    assert norm_bound.krum_scores(updates).tolist() == [5, 2, 2, 5, 97**2 + 98**2]
    expected = {"mean": 21.2, "median": 2.0, "trimmed mean": 2.0, "Krum": 1.0, "multi-Krum": 1.5}
    assert {name: rule(updates, EVEN)[0] for name, rule in norm_bound.RULES.items()} == expected
    weighted = norm_bound.mean(updates, np.array([1.0, 1, 1, 1, 0]))
    assert weighted.tolist() == [1.5]


@settings(max_examples=40)
@given(n=st.integers(4, 9), seed=st.integers(0, 2**32 - 1))
def test_the_rules_agree_with_flowers(n: int, seed: int) -> None:
    """Flower has the same rules, for lists of layers."""
    theirs = pytest.importorskip("flwr.server.strategy.aggregate", reason="extra peers")
    updates = np.random.default_rng(seed).normal(size=(n, 7))
    results = [([update], 1) for update in updates]
    expected = {
        "mean": theirs.aggregate(results)[0],
        "median": theirs.aggregate_median(results)[0],
        "trimmed mean": theirs.aggregate_trimmed_avg(results, 1.0001 / n)[0],
        "Krum": theirs.aggregate_krum(results, 1, 0)[0],
        "multi-Krum": theirs.aggregate_krum(results, 1, n - 1)[0],
    }
    for name, rule in norm_bound.RULES.items():
        assert np.allclose(rule(updates, np.ones(n)), expected[name], rtol=1e-9), name


# --- devices ------------------------------------------------------------------------------------


def test_a_device_keeps_within_its_epochs_bound_and_an_attacker_turns_round_at_it() -> None:
    update = np.array([3.0, -4.0])  # of norm 5
    variant = Variant((10.0, 2.0), attackers=1, stretch=1.5)
    assert variant.sent(update, 1, 1).tolist() == [3.0, -4.0]
    assert variant.sent(update, 2, 1) == pytest.approx(np.array([1.2, -1.6]))
    assert np.array_equal(variant.sent(update, 7, 1), variant.sent(update, 2, 1))
    assert variant.sent(update, 2, 0) == pytest.approx(np.array([-1.8, 2.4]))
    assert Variant((), 1, stretch=10.0).sent(update, 1, 0).tolist() == [-30.0, 40.0]
    assert Variant((2.0,), 1, "flip labels").sent(update, 1, 0) == pytest.approx([1.2, -1.6])


def test_training_is_that_of_the_oracle_with_bounded_updates() -> None:
    """`bdn.learning.train`, whose hook scales what a device would seal."""
    data = load("digits")
    parts = [part.subset(np.arange(24)) for part in split(data.train, 5, "iid", seed=3)]
    test = data.test.subset(np.arange(60))
    bounds = (0.5, 0.3)

    def scale(_device: str, epoch: int, _phase: str, vector: np.ndarray) -> np.ndarray:
        exact = vector.astype(np.float64)
        return exact * min(1.0, bounds[min(epoch, 2) - 1] / float(np.linalg.norm(exact)))

    variants = [Variant(), Variant((1e9,)), Variant(bounds), Variant((), 2, "flip labels")]
    network, rules = PaperCNN(classes=10, seed=3), TrainingSettings(epochs=3)
    made = norm_bound.courses(parts, test, 3, rules, (1, 3), variants)
    wrong = [Dataset(part.inputs, 9 - part.labels) for part in parts[:2]]
    for variant, devices, options in (
            (Variant(), parts, {}), (Variant(bounds), parts, {"post_process": scale}),
            (Variant((), 2, "flip labels"), [*wrong, *parts[2:]], {})):
        expected = train(network, devices, rules, rng=SeededRandomness(3), **options)
        run = made[variant]
        assert np.allclose(run.w, expected[-1].w, atol=1e-6)
        assert run.accuracy[3] == accuracy(network, expected[-1].best_w, test)
        assert run.accuracy[1] == accuracy(network, expected[0].w, test)
        assert len(run.norms) == 3
    assert np.array_equal(made[Variant()].w, made[Variant((1e9,))].w)


# --- the report ---------------------------------------------------------------------------------


def measured(
    monkeypatch: pytest.MonkeyPatch, cost: float, attack: float
) -> tuple[Any, dict[str, Any]]:
    """A quick report whose runs cost honest devices and digits under attack so many points."""
    def courses(_parts: Any, _test: Any, seed: int, rules: Any, marks: Any, variants: Any) -> Any:
        def figure(variant: Any) -> float:
            lost = cost * bool(variant.bounds) + attack * variant.attackers
            return 0.9 + 0.001 * seed - (1 + 0.01 * seed) * lost / 100
        return {variant: SimpleNamespace(accuracy=dict.fromkeys(marks, figure(variant)),
                                         norms=[[1.0] * 5] * rules.epochs) for variant in variants}

    monkeypatch.setattr(norm_bound, "courses", courses)
    report = harness.Report("toy", quick=True, options=argparse.Namespace(fashion=Path("none")))
    norm_bound.measure(report)
    return report, harness.as_json(report, {})


def test_the_aims_are_judged_from_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = measured(monkeypatch, cost=0.0, attack=1.5)
    said = " ".join(whole["notes"])
    assert "below 0): reached." in said
    assert "1.5 points, reached" in said
    _, whole = measured(monkeypatch, cost=1.0, attack=1.5)
    said = " ".join(whole["notes"])
    assert "missed for digits, iid, P = 1 (-1.0 points)" in said
    assert "2.5 points, missed" in said


@pytest.mark.skipif(harness.version("matplotlib") is None, reason="extra report")
def test_the_figures_are_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, whole = measured(monkeypatch, cost=0.1, attack=2.0)
    json.dumps(whole, allow_nan=False)
    norm_bound.draw(whole, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text().startswith("<?xml")
    assert math.isclose(whole["rows"][-1]["no attack"]["mean"], 0.901, abs_tol=1e-9)
