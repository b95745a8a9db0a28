"""The benchmarks: their pieces run at toy size, their verdicts can fail, their page is rendered.

What they measure is not tested (a shared machine would decide); that they run, write valid JSON
and judge by their own rule is. docs/results.md is the rendering of docs/results/*.json.
"""

import argparse
import importlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bdn
from bdn.cli import bench as bench_command
from bdn.cli import invoke
from bdn.experiments.lab.experiment import Experiment
from bdn.runfolder.findings import PRIVACY_LEAK, SINGLE_POINT, Finding

FOLDER = Path(__file__).parents[1] / "benchmarks"
DOCS = FOLDER.parent / "docs"

sys.path.insert(0, str(FOLDER))  # the scripts import each other by name, as when run from there
evaluation, harness, latency, plots, precision, render, run_all, similarity, table_one, topics = (
    importlib.import_module(name) for name in (
        "evaluation", "harness", "latency", "plots", "precision", "render", "run_all",
        "similarity", "table_one", "topics"))
attacks = importlib.import_module("ciphertext_attacks")
sys.path.remove(str(FOLDER))

Report = harness.Report
Interval = harness.Interval
TOY = replace(evaluation.DIGITS, epochs=1, iterations=2, key_bits=512, samples=20, computed=1)

drawing = pytest.mark.skipif(harness.version("matplotlib") is None,
                             reason="matplotlib is not installed (extra report)")


def written(report: Any, folder: Path) -> dict[str, Any]:
    """The report's JSON file, read back; bare NaN or Infinity is no JSON."""
    path = folder / "toy.json"
    harness.write_json(report, harness.machine(), path)
    assert not list(folder.glob("*.part"))
    found: dict[str, Any] = json.loads(path.read_text(), parse_constant=pytest.fail)
    return found


def check_drawn(draw: Callable[[dict[str, Any], Path], None], whole: dict[str, Any],
                folder: Path) -> None:  # fmt: skip
    """``draw`` gives the same SVG twice, up to clip paths' names, which hash unrounded floats."""
    if harness.version("matplotlib") is None:
        return
    first, second = folder / "a.svg", folder / "b.svg"
    draw(whole, first)
    draw(whole, second)
    drawn = [re.sub(r"\bp[0-9a-f]{10}\b", "clip", file.read_text()) for file in (first, second)]
    assert drawn[0] == drawn[1]
    assert "<svg" in drawn[0]


# --- intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 4, 9, 30, 31, 60, 200])
def test_student_quantiles_leave_a_fortieth_above(freedom: int) -> None:
    """Against the density itself, integrated numerically (Abramowitz and Stegun, 26.7.1)."""
    interval = Interval.of(range(freedom + 1))
    scale = np.std(range(freedom + 1), ddof=1) / math.sqrt(freedom + 1)
    t = (interval.high - interval.mean) / scale
    x = np.linspace(0, t, 200_001)
    log_c = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    density = math.exp(log_c) / math.sqrt(freedom * math.pi) * (1 + x**2 / freedom) ** (
        -(freedom + 1) / 2)
    area = float(np.sum((density[1:] + density[:-1]) / 2) * (x[1] - x[0]))
    assert area == pytest.approx(0.475, abs=2e-4)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12), st.floats(-1e6, 1e6))
def test_differences_are_taken_in_pairs(values: list[float], shift: float) -> None:
    """A shift common to every seed leaves a difference without spread."""
    shifted = Interval.of([value + shift for value in values])
    difference = shifted.minus(Interval.of(values))
    assert difference.mean == pytest.approx(shift, abs=1e-6)
    assert difference.high - difference.low == pytest.approx(0, abs=1e-6)


def test_one_value_shows_nothing() -> None:
    """Without repeats there is no interval, so that nothing can be said to lie above zero."""
    assert not Interval.of([5.0]).above(0)
    assert not Interval.of([-5.0]).below(0)
    assert Interval.of([5.0, 5.1]).above(0)


def test_a_report_with_nan_is_not_written(tmp_path: Path) -> None:
    report = Report("toy")
    report.add(x=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        harness.write_json(report, {}, tmp_path / "toy.json")
    assert not list(tmp_path.iterdir())


# --- Fig. 3 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared() -> Any:
    """Two sizes, two seeds, real runs at toy size."""
    report = Report("toy", quick=True)
    precision.compare(report, [TOY], (3, 4), (1, 2))
    return report


def test_fig_3_has_every_device_alone_and_together(compared: Any, tmp_path: Path) -> None:
    whole = written(compared, tmp_path)
    bars = [row for row in whole["rows"] if "device" in row]
    assert [row["device"] for row in bars] == ["R-1", "R-2", "R-3", "R-1", "R-2", "R-3", "R-4"]
    for row in bars:
        assert row["gain"]["values"] == pytest.approx(
            np.subtract(row["together"]["values"], row["alone"]["values"]))
    check_drawn(precision.draw, whole, tmp_path)


def test_fig_3_runs_equal_plaintext_fedavg_under_the_same_code(compared: Any) -> None:
    """Eq. (5) under encryption: the verdict of the benchmark, on every run."""
    verdicts = [f["verdict"] for f in compared.findings if f["place"].startswith("§4.2")]
    assert verdicts == ["holds"]


def test_fig_3_baselines_stand_beside_it(compared: Any) -> None:
    methods = {row["method"] for row in compared.rows if "method" in row}
    expected = set(precision.METHODS)
    if harness.version("flwr") is None:
        expected.remove(precision.FLOWER)
    assert methods == expected


def test_a_device_has_the_same_data_whoever_else_takes_part() -> None:
    """The paper's subsets: ten, of which five are used with five devices."""
    few = evaluation.participants(TOY, 3, 1).learners
    many = evaluation.participants(TOY, 5, 1).learners
    for a, b in zip(few, many, strict=False):
        assert np.array_equal(a.dataset.inputs, b.dataset.inputs)


def test_central_training_sees_all_devices_samples() -> None:
    learners = evaluation.participants(TOY, 3, 1).learners
    pooled = precision._pool(learners)
    assert len(pooled) == sum(learner.sample_count for learner in learners)
    assert np.array_equal(pooled.labels[:20], learners[0].dataset.labels)


def test_flower_code_is_unbiased_and_within_its_step() -> None:
    """Stochastic rounding: each entry within a step of itself, the mean error far below it."""
    pytest.importorskip("flwr")
    code = precision.FlowerCode(1000.0, {"device-1": 500})
    δ = np.linspace(-1, 1, 20_001, dtype=np.float32)
    error = code("device-1", 1, "weights", δ) - δ
    step = 2 * precision.FLOWER_CLIP / precision.FLOWER_RANGE * 2  # halved by the factor 500/1000
    assert np.abs(error).max() <= step
    assert abs(error.mean()) < step / 20


def judged(good: float, alone: float) -> list[str]:
    """The verdicts of Fig. 3 for made-up figures: ``good`` with 10 devices, 0.9 with 5."""
    def outcome(value: float, n: int) -> Any:
        figures = {m: _figures(value) for m in precision.METHODS[:5]}
        return precision.Size(
            [precision.Outcome(figures, {}, 0.0, True)] * 2, [[_figures(alone)] * n] * 2, [value])

    report = Report("toy")
    sizes = {5: outcome(0.9, 5), 10: outcome(good, 10)}
    precision._judge(report, TOY, sizes)
    return [finding["verdict"] for finding in report.findings]


def _figures(value: float) -> Any:
    return precision.Evaluation(value, value, (), (), 0.0, 1)


def test_fig_3_verdicts_can_fail() -> None:
    assert judged(0.95, 0.8) == ["holds"] * 4
    assert judged(0.85, 0.8)[0] == "contradicted"
    assert judged(0.95, 0.92)[1] == "contradicted"
    assert judged(0.9, 0.8)[0] == "not shown"


# --- Fig. 4 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("consensus", ["pbft", "pow"])
def test_fig_4a_stages_add_up(
    consensus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage of a real epoch is there, none negative, and consensus takes its time."""
    from bdn.experiments import provisioning

    monkeypatch.setattr(provisioning, "FIRST_DIFFICULTY", 200)
    report = Report("toy", quick=True)
    latency.sweep(report, consensus, (3, 4), (1,), TOY)
    whole = written(report, tmp_path)
    for row in whole["rows"][:2]:
        stages = [row[name]["median"] for name in latency.STAGES]
        assert min(stages) >= 0
        assert row["consensus"]["median"] > 0
        assert sum(stages) == pytest.approx(row["latency"]["median"], rel=1e-6, abs=1e-4)
    check_drawn(latency.draw, whole, tmp_path)


@pytest.mark.parametrize(
    ("grown", "verdict"), [(1.2, "holds"), (2.5, "contradicted"), (1.99, "not shown")]
)
def test_fig_4a_verdict_follows_the_ratio(grown: float, verdict: str) -> None:
    report = Report("toy")
    noise = (0.98, 1.0, 1.02)
    latency.judge(report, "pbft", {5: [1.0] * 3, 10: [grown * x for x in noise]})
    assert report.findings[0]["verdict"] == verdict
    slope = report.rows[0]["seconds more per device"]
    assert slope.mean == pytest.approx((grown - 1) / 5)


@pytest.fixture(scope="module")
def studied() -> Any:
    """Two real runs of four devices, all attacks."""
    report = Report("toy", quick=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "PACKED_VALUES", 200)
        similarity.study(report, replace(similarity.SETTING, epochs=2, iterations=2, key_bits=512,
                                         samples=30), (1, 2), 5)
    return report


def test_fig_4b_falls_from_a_single_update_to_the_sum(studied: Any, tmp_path: Path) -> None:
    whole = written(studied, tmp_path)
    curve = [row["times a factor"]["mean"] for row in whole["rows"] if "updates in the sum" in row]
    assert curve[0] > 0.9, "one update opened alone is the update itself"
    assert curve == sorted(curve, reverse=True)
    check_drawn(similarity.draw, whole, tmp_path)


def test_fig_4b_single_updates_are_never_opened(studied: Any) -> None:
    opened = {row["updates in the sum"]: row["opened"] for row in studied.rows
              if "updates in the sum" in row}
    assert opened == {1: "never", 2: "never", 3: "never", 4: "yes", 5: "yes"}


def test_fig_4b_ciphertexts_tell_nothing_and_the_controls_everything(studied: Any) -> None:
    attacked = {(row["cipher"], row["attack"]): row for row in studied.rows if "attack" in row}
    for (cipher, name), row in attacked.items():
        best = row["best factor in hindsight"].mean
        if name == attacks.CONTROL or "not ours" in cipher:
            assert best > 0.9, (cipher, name)
            assert row["levels exactly right"].mean > 0.99
        else:
            assert best < 0.52, (cipher, name)


def test_index_by_inner_products_is_the_index() -> None:
    """1/(1 + ‖u − αA‖/‖u‖), against the vectors themselves."""
    rng = np.random.default_rng(1)
    u, A = rng.normal(size=(2, 50))
    pair = similarity.Pair(float(u @ u), float(u @ A), float(A @ A), 1.0)
    for α in (0.0, 0.3, 1.0, -2.0):
        direct = 1 / (1 + np.linalg.norm(u - α * A) / np.linalg.norm(u))
        assert pair.index(α) == pytest.approx(direct)
    assert pair.index(0.0) == 0.5


def test_best_factor_in_hindsight_is_the_best() -> None:
    """The bound from the cosine is reached by the projection and by no other factor."""
    rng = np.random.default_rng(2)
    u, guess = rng.normal(size=(2, 40))
    code = attacks.FixedPoint(40, 8.0, 16, 1)
    best = attacks.judge_guess(u, guess, code).best
    tried = [1 / (1 + np.linalg.norm(u - α * guess) / np.linalg.norm(u))
             for α in (u @ guess / (guess @ guess), *np.linspace(-2, 2, 41))]
    assert max(tried) == pytest.approx(best)


def test_factors_are_fitted_by_least_squares() -> None:
    """u = (a + b·part)·A is found exactly when it is so."""
    pairs = []
    for part in (0.5, 1.0, 2.0):
        factor = 0.2 + 0.3 * part
        pairs.append(similarity.Pair(factor**2 * 4, factor * 4, 4.0, part))
    assert similarity._fit(pairs) == pytest.approx((0.2, 0.3))


# --- Table 1 ------------------------------------------------------------------------------------


def experiment(name: str, row: str, held: bool, prevented: bool = True) -> Experiment:
    """An experiment that ends as told."""
    def play(_bits: int) -> Finding:
        """It is played."""
        return Finding("tried", ("it happened",), "claimed", "the rest", held)

    return Experiment(name, "group", row, play, prevented)


def test_table_1_is_judged_row_by_row(tmp_path: Path) -> None:
    report = Report("toy")
    table_one.play(report, [
        experiment("a", SINGLE_POINT, True), experiment("b", SINGLE_POINT, False),
        experiment("c", PRIVACY_LEAK, True)], 512)  # fmt: skip
    assert [f["verdict"] for f in report.findings] == ["contradicted", "holds"]
    assert "b" in report.findings[0]["ours"]
    check_drawn(table_one.draw, written(report, tmp_path), tmp_path)


def test_table_1_an_attack_that_is_not_prevented_is_said_so() -> None:
    report = Report("toy")
    table_one.play(report, [experiment("flip", SINGLE_POINT, True, prevented=False)], 512)
    assert report.findings[0]["verdict"] == "contradicted"
    assert "flip" in report.findings[0]["ours"]


# --- the page -----------------------------------------------------------------------------------


def result(**changes: Any) -> dict[str, Any]:
    """A result as a benchmark writes it."""
    about = {"cpu": "a CPU", "cores": 2, "system": "an OS", "python": "CPython 3.11",
             "packages": {"numpy": "2", "gmpy2": "2", "cryptography": "3", "flwr": "1.41"},
             "blas": "OpenBLAS", "load": 0.5, "date": "2026-01-01", "seconds": 60.0}
    return {"topic": "Fig. 3: toy", "quick": False, "machine": about, "missing": [], "notes": [],
            "findings": [], "rows": []} | changes  # fmt: skip


def test_page_shows_verdicts_and_where_ours_differs(tmp_path: Path) -> None:
    findings = [
        {"place": "§5", "claim": "A.", "ours": "1 | 2", "verdict": "holds", "rule": "r"},
        {"place": "§6", "claim": "B.", "ours": "3", "verdict": "contradicted", "rule": "r"}]
    (tmp_path / "precision.json").write_text(json.dumps(result(findings=findings)))
    text = render.page(tmp_path)
    assert "| §5 | A. | 1 \\| 2 | **holds** | r |" in text
    differs = text.partition("Where ours differs")[2].partition("##")[0]
    assert "B." in differs
    assert "A." not in differs
    assert "The full profiles here took 1 minutes together." in text
    assert "[Fig. 3: toy](#fig-3-toy)" in text
    assert "### Fig. 3: toy" in text
    assert "Beside: flwr 1.41." in text


def test_page_formats_every_kind_of_cell() -> None:
    timing = {"median": 0.00123, "low": 0.001, "high": 0.002, "repeats": 5}
    interval = {"mean": 0.9, "low": 0.85, "high": 0.95, "values": [0.88, 0.92]}
    assert render.cell(timing) == "1.23 ms (1 ms … 2 ms)"
    assert render.cell(interval) == "0.900 (0.850 … 0.950)"
    assert render.cell(True) == "yes"
    assert render.cell(0.123456) == "0.1235"
    assert render.cell(12) == "12"


@pytest.mark.parametrize("text", ["{", "[]", '{"topic": "x"}'])
def test_page_refuses_what_is_no_result(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precision.json").write_text(text)
    assert render.main(["--results", str(tmp_path), "--docs", str(tmp_path)]) == 2
    assert "precision.json" in capsys.readouterr().err
    assert not (tmp_path / "results.md").exists()


def test_publishing_keeps_what_was_not_measured_anew(tmp_path: Path) -> None:
    docs, results = tmp_path / "docs", tmp_path / "new"
    results.mkdir()
    (results / "precision.json").write_text(json.dumps(result()))
    render.publish(results, docs)
    (results / "precision.json").unlink()
    (results / "latency.json").write_text(json.dumps(result(topic="Fig. 4a: toy")))
    text = render.publish(results, docs).read_text()
    assert "### Fig. 3: toy" in text
    assert "### Fig. 4a: toy" in text
    assert render.main(["--check", "--docs", str(docs)]) == 0
    (docs / "results.md").write_text(text.replace("toy", "joy"))
    assert render.main(["--check", "--docs", str(docs)]) == 1


def test_docs_results_is_its_rendering() -> None:
    """docs/results.md is made from docs/results/*.json and not edited."""
    assert (DOCS / "results.md").read_text(encoding="utf-8") == render.page(DOCS / "results")


# --- the commands -------------------------------------------------------------------------------


def test_every_benchmark_is_a_topic_and_every_topic_a_benchmark() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")
               if "__main__" in path.read_text(encoding="utf-8")}
    assert scripts - {"render", "run_all"} == set(topics.by_name())


def test_every_benchmark_has_the_common_command_line() -> None:
    """--quick, --json, --plot, for all of them; read from the scripts' help."""
    for name in ("mining", "paillier", "learning"):  # one of each way to build its command line
        shown = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--help"], check=True,
                               capture_output=True, text=True).stdout
        assert {"--quick", "--json", "--plot"} <= set(shown.replace(",", " ").split()), name


def test_all_benchmarks_run_and_a_failure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, _quick: bool, out: Path, _plot: bool) -> tuple[int, float]:
        if name == "latency":
            return 1, 0.1
        (out / f"{name}.json").write_text(json.dumps(result()))
        return 0, 0.1

    monkeypatch.setattr(run_all, "run", run)
    out = tmp_path / "out"
    assert run_all.main(["--quick", "--out", str(out), "precision", "latency"]) == 1
    assert "failed: latency" in capsys.readouterr().out
    assert "### Fig. 3: toy" in (out / "results.md").read_text()
    assert run_all.main(["--quick", "--out", str(out), "precision"]) == 0


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import harness
harness.main("toy", lambda report: report.add(what="a", time=harness.timed(lambda: None)))
"""


def test_run_all_runs_a_script_with_json_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.py").write_text(SCRIPT.format(folder=str(FOLDER)))
    monkeypatch.setattr(render, "HERE", tmp_path)
    plot = harness.version("matplotlib") is not None
    status, _ = run_all.run("toy", True, tmp_path, plot)
    assert status == 0
    assert json.loads((tmp_path / "toy.json").read_text())["rows"][0]["what"] == "a"
    assert (tmp_path / "toy.svg").is_file() == plot


@drawing
def test_any_table_can_be_drawn(tmp_path: Path) -> None:
    """Timings side by side, plain numbers, intervals; a table of words has no plot."""
    report = Report("toy")
    report.add(what="a", ours=harness.Timing.of([1.0, 2.0]), theirs=harness.Timing.of([90.0, 99.0]))
    report.add(what="b", ours=harness.Timing.of([1.0, 2.0]), theirs="")
    report.add(size=3, number=1.5)
    report.add(name="c", mean=Interval.of([1.0, 2.0]))
    report.add(words="only")
    check_drawn(plots.draw_tables, harness.as_json(report, {}), tmp_path)
    nothing = Report("words")
    nothing.add(words="only")
    with pytest.raises(SystemExit, match="no row holds a number"):
        plots.draw_tables(harness.as_json(nothing, {}), tmp_path / "c.svg")


def test_bench_without_a_checkout_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bdn, "__file__", str(tmp_path / "site-packages" / "bdn" / "__init__.py"))
    assert invoke(["bench"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "clone the repository" in said


def test_bench_passes_on_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], check: bool) -> Any:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1 if "latency" in command else 0)

    monkeypatch.setattr(bench_command.subprocess, "run", run)
    assert invoke(["bench", "precision"]) == 0
    assert invoke(["bench", "latency", "--full", "--paper"]) == 1
    assert asked[0][2:] == ["precision", "--quick"]
    assert asked[1][2:] == ["latency", "--paper"]


def test_modules_are_the_scripts() -> None:
    """No package of the same name was loaded instead."""
    for module in (evaluation, harness, latency, precision, render, similarity):
        assert isinstance(module, ModuleType)
        assert Path(str(module.__file__)).parent == FOLDER
    assert math.isclose(similarity.SURE, 5.0)


@pytest.mark.parametrize("data", ["voc:nowhere", "digits", "idx:", "http:x"])
def test_fig_3_names_a_data_set_that_is_not_there(data: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="folder that exists"):
        evaluation.photographs(data)
