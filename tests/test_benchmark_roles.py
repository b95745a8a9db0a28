"""Fig. 5's benchmark: what it makes of samples is right, its verdicts can fail, and it runs."""

import importlib
import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="psutil is not installed (extra peers)")

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(FOLDER))
roles, harness, _ = (importlib.import_module(name) for name in ("roles", "harness", "plots"))
sys.path.remove(str(FOLDER))


def sampler(rate: float, resident: int) -> "roles.Sampler":
    """Two processes that use ``rate`` CPU seconds a second from second 10 on; two epochs of 2 s."""
    made = roles.Sampler()
    made.begin, made.ends = 10.0, {1: 12.0, 2: 14.0}
    for name in ("device-1", "device-2"):
        samples = made.samples[name]
        samples.times = [8.0 + k / 10 for k in range(100)]
        samples.cpu = [1.0 + rate * max(0.0, at - 10.0) for at in samples.times]
        samples.resident = [resident if at >= 10 else 5 * resident for at in samples.times]
    return made


def cases(with_rate: float, without_rate: float) -> "roles.Cases":
    """Three repeats, a little different from each other."""
    found = defaultdict(roles.Case)
    for role in (roles.EDGE, roles.DEVICE):
        for turn in range(3):
            for case, rate in ((roles.WITH, with_rate), (roles.WITHOUT, without_rate)):
                size = int(rate * 100 + turn) * roles.MIB
                found[role, case].take(sampler(rate + turn / 1000, size), ["device-1", "device-2"])
    return found


def test_cpu_counts_within_epochs_and_memory_only_there() -> None:
    """Half a core for two epochs of two seconds is one CPU second an epoch."""
    case = roles.Case()
    case.take(sampler(0.5, 70 * roles.MIB), ["device-1", "device-2"])
    assert case.cpu == [[pytest.approx(1.0), pytest.approx(1.0)]]
    assert case.share == [[pytest.approx(50.0), pytest.approx(50.0)]]
    assert set(case.resident[0]) == {70.0}
    assert case.peak == [350.0, 350.0], "the peak is the whole life's"
    assert case.before == [pytest.approx(1.0), pytest.approx(1.0)]


@pytest.mark.parametrize(("with_rate", "without_rate", "verdict"), [
    (0.9, 0.2, "holds"), (0.2, 0.9, "contradicted"), (0.5, 0.5, "not shown")])
def test_the_papers_claims_can_fail(with_rate: float, without_rate: float, verdict: str) -> None:
    report = harness.Report("toy")
    roles.judge(report, cases(with_rate, without_rate))
    assert [finding["verdict"] for finding in report.findings[:4]] == [verdict] * 4
    opposite = {"holds": "contradicted", "contradicted": "holds"}
    assert report.findings[4]["verdict"] == opposite.get(verdict, verdict)


@pytest.mark.slow
def test_both_cases_run_and_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole benchmark with real processes, at toy size."""
    monkeypatch.setattr(roles, "DEVICES", 3)
    monkeypatch.setattr(roles, "QUICK_REPEATS", 1)
    monkeypatch.setattr(roles, "DIGITS", replace(roles.DIGITS, iterations=2, key_bits=512,
                                                 samples=20))
    drawn = tmp_path / "roles.svg"
    arguments = ["--quick", "--json", str(tmp_path / "roles.json")]
    if harness.version("matplotlib") is not None:
        arguments += ["--plot", str(drawn)]
    harness.main("toy", roles.measure, ["psutil"], arguments, roles.draw)
    whole = json.loads((tmp_path / "roles.json").read_text(), parse_constant=pytest.fail)
    boxes = [row for row in whole["rows"] if "measure" in row]
    assert len(boxes) == 2 * 2 * 3
    assert all(row["minimum"] <= row["median"] <= row["maximum"] for row in boxes)
    assert len(whole["findings"]) == 5
    assert not whole["missing"]
    assert drawn.is_file() or "--plot" not in arguments
