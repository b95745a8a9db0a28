"""``bdn simulate``: its answers and its exit status, and the chart."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bdn.cli.simulate import simulate
from bdn.pbft.simulator.chart import LINE_LETTERS, LINE_PX
from bdn.pbft.simulator.generators import GENERATORS

SCENARIOS = Path(__file__).parent / "scenarios"
SVG = "{http://www.w3.org/2000/svg}"


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(simulate, [str(argument) for argument in arguments])


def test_a_safe_and_live_run_exits_with_0_and_one_json_object() -> None:
    """The object has exactly the keys of the reference, on stdout, alone."""
    result = call(SCENARIOS / "null-request.json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert set(answer) == {"safe", "live", "violations", "views", "executed", "accepted",
                           "reached"}
    assert answer["executed"]["3"] == ["b", "a"]
    assert answer["accepted"] == {"c0": ["a"], "c1": ["b"]}
    assert answer["reached"]["null-request"] == 4


def test_the_output_of_one_file_is_always_the_same_bytes() -> None:
    """Determinism, down to the byte."""
    first, second = (call(SCENARIOS / "state-transfer.json").stdout_bytes for _ in range(2))
    assert first == second


def test_another_process_gives_the_same_bytes() -> None:
    """No order depends on how a process hashes strings: answer and every message are the same."""
    runs = [subprocess.run(
        [sys.executable, "-m", "bdn", "simulate", SCENARIOS / "state-transfer.json",
         "--transcript"],
        capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed},
    ) for seed in ("1", "2")]
    assert runs[0].stdout == runs[1].stdout != b""
    assert runs[0].stderr == runs[1].stderr != b""


def test_a_broken_run_exits_with_1() -> None:
    """f + 1 twins: safe is false, the violations say what broke."""
    result = call(SCENARIOS / "too-many-twins.json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["safe"] is False


@pytest.mark.parametrize("text", ['{"replicas": 4}', "{", '{"replicas": 4, "requests": 1}',
                                  '{"replicas": 4, "requests": [], "colour": 1}'])
def test_a_bad_file_exits_with_2_and_one_line(tmp_path: Path, text: str) -> None:
    """Nothing on stdout, one line on stderr, no chart written."""
    file, chart = tmp_path / "bad.json", tmp_path / "out.svg"
    file.write_text(text)
    result = call(file, "--chart", chart)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert not chart.exists()


@pytest.mark.parametrize("arguments", [
    (), ("absent.json",), ("x.json", "--search", "twins"), ("--search", "luck"),
    ("--search", "twins", "--chart", "x.svg"), ("--search", "twins", "--count", "0"),
])
def test_options_that_make_no_sense_exit_with_2(arguments: tuple[str, ...]) -> None:
    """Missing or contradicting arguments are the caller's mistake."""
    assert call(*arguments).exit_code == 2


def test_a_search_prints_what_it_reached() -> None:
    """One JSON object with the coverage: in how many runs each branch was taken."""
    result = call("--search", "byzzfuzz", "--count", "3", "--seed", "5")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (answer["runs"], answer["failure"]) == (3, None)
    assert answer["reached"]["executed"] == 3
    assert "null-request" in answer["reached"]


def test_a_failing_search_writes_a_file_that_replays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1; the shrunk scenario fails again under ``bdn simulate FILE``."""
    broken = json.loads((SCENARIOS / "too-many-twins.json").read_text())
    monkeypatch.setitem(GENERATORS, "random", lambda n, seed, index: {**broken, "heal_at_ms": 50})
    out = tmp_path / "found.json"
    assert call("--search", "random", "--count", "2", "--out", out).exit_code == 1
    assert call(out).exit_code == 1


def test_an_exploration_reports_how_far_it_went() -> None:
    """Depth, states and no violation."""
    answer = json.loads(call("--explore", "3").stdout)
    assert (answer["depth"], answer["violation"]) == (3, None)


def test_the_chart_shows_every_message_and_marks_what_was_lost_or_forged(tmp_path: Path) -> None:
    """One arrow a message, dashed where it was dropped or forged, one lane and counter a node."""
    chart = tmp_path / "chart.svg"
    result = call(SCENARIOS / "lying-new-primary.json", "--chart", chart)
    assert result.exit_code == 0
    root = ET.fromstring(chart.read_text(encoding="utf-8"))
    titles = [group.findtext(f"{SVG}title") or "" for group in root.iter(f"{SVG}g")]
    assert any(title.startswith("NEW-VIEW v1 (forged o-null)") for title in titles)
    dashed = [group for group in root.iter(f"{SVG}g")
              if any("stroke-dasharray" in line.attrib for line in group.iter(f"{SVG}line"))]
    for group in dashed:
        title = group.findtext(f"{SVG}title") or ""
        assert "(drop)" in title or "(forged" in title
    assert sum("(drop)" in title or "(forged" in title for title in titles) == len(dashed) > 0
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert {"c0", "0", "1", "2", "3"} <= set(texts)
    assert sum(text.startswith("sent ") for text in texts) == 5


@pytest.mark.parametrize("name", ["lying-new-primary", "equivocating-primary", "null-request"])
def test_words_on_the_chart_stand_beside_their_lane_and_on_nobody_elses(
    name: str, tmp_path: Path
) -> None:
    """The chart can be read."""
    chart = tmp_path / "chart.svg"
    assert call(SCENARIOS / f"{name}.json", "--chart", chart).exit_code == 0
    said: dict[float, list[tuple[float, float]]] = {}
    for text in ET.fromstring(chart.read_text(encoding="utf-8")).iter(f"{SVG}text"):
        lines = [line for line in text.iter(f"{SVG}tspan") if "x" in line.attrib]
        if lines:
            assert all(len(line.text or "") <= LINE_LETTERS for line in lines)
            top = float(text.attrib["y"]) - LINE_PX
            said.setdefault(float(lines[0].attrib["x"]), []).append(
                (top, top + LINE_PX * len(lines)))
    assert sum(map(len, said.values())) > 10
    for places in said.values():
        for (_, end), (start, _) in pairwise(sorted(places)):
            assert end <= start
