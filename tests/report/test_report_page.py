"""The report as a file: self-contained, escaped, whole or not at all."""

import doctest
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import bdn.report
from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.report import write_report
from bdn.report.charts import Level, Line, line_chart, stacked_bars
from bdn.report.formatting import described, size_text
from bdn.report.inputs import read_inputs
from bdn.report.page import embedded, fill, render

VOID = {"meta", "link", "br", "line", "polyline", "circle", "input"}


class Balance(HTMLParser):
    """Counts tags that are closed out of order, and gathers what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset")
                         and value is not None and not value.startswith(("#", "data:"))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def text(run_folder: Path) -> str:
    return render(read_inputs(run_folder))


def test_the_page_is_whole_and_asks_the_network_for_nothing(text: str) -> None:
    parser = Balance()
    parser.feed(text)
    assert (parser.wrong, parser.open, parser.fetched) == ([], [], [])
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "the name of SVG is no address"
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 500_000, "blobs are not embedded"


def test_the_figures_are_the_historys(text: str, run_folder: Path) -> None:
    history = json.loads((run_folder / "history.json").read_text())
    assert f"{history['accuracy'] * 100:.1f}\u00a0%" in text
    for device in history["devices"]:
        assert f'<th scope="row">{device["name"]}</th><td>{device["samples"]}</td>' in text
    assert "Deterministic run" in text
    assert "A key of 512 bits is a toy." in text
    assert f"genesis made {history['supply']}." in text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_data_cannot_leave_its_script_element(data: Any) -> None:
    """Whatever a ledger says, even </script> or <!--, stays data; and it is read back the same."""
    written = embedded(data)
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == data


def test_what_is_filled_in_is_not_a_template_itself() -> None:
    assert fill("{{a}}-{{b}}", {"a": "{{b}}", "b": "x"}) == "{{b}}-x"


def test_names_from_the_run_are_escaped(run_folder: Path) -> None:
    inputs = read_inputs(run_folder)
    inputs.history["devices"][0]["name"] = "<img src=x>"
    inputs.history["refused"] = [{"event": "refused", "reason": "<b>", "node": "edge-1"}]
    page = render(inputs)
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page
    assert "<td>&lt;b&gt;</td>" in page


@pytest.mark.parametrize("missing", ["ledger.sqlite", "history.json"])
def test_a_folder_without_a_finished_run_is_refused(
    run_folder: Path, tmp_path: Path, missing: str
) -> None:
    """One line that says what is missing, and nothing half-written."""
    for name in {"ledger.sqlite", "history.json"} - {missing}:
        shutil.copy(run_folder / name, tmp_path / name)
    with pytest.raises(UsageError, match=missing):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_without_a_trace_still_has_a_report(run_folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run_folder, tmp_path / "run")
    (copied / "trace.jsonl").unlink()
    page = write_report(copied)
    assert page == copied / "report.html"
    assert "The trace shows no epoch" in page.read_text()
    assert not list(copied.glob("*.new"))


def test_a_line_that_a_kill_cut_short_is_left_out(run_folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run_folder, tmp_path / "run")
    whole = len(read_inputs(copied).trace)
    with (copied / "trace.jsonl").open("a") as stream:
        stream.write('{"event": "mess')
    assert len(read_inputs(copied).trace) == whole


def test_the_command_writes_where_it_is_told(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    assert invoke(["report", str(run_folder), "--out", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    assert target.is_file()
    assert invoke(["report", str(tmp_path / "nowhere")]) == 2
    assert "no run folder" in capsys.readouterr().err


def test_the_page_goes_into_files_alone_and_links_stay_links(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link is followed; folders, devices and missing folders are refused in one line."""
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    link.symlink_to(real)
    assert invoke(["report", str(run_folder), "--out", str(link)]) == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<!")
    for target, says in ((tmp_path, "a folder"), (Path(), "a folder"),
                         (Path("/dev/null"), "a device; name a file"),
                         (tmp_path / "none" / "page.html", "there is no folder")):
        capsys.readouterr()
        assert invoke(["report", str(run_folder), "--out", str(target)]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
    assert not Path("/dev/null").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"real.html", "link.html"}


def test_the_guides_example_runs(run_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run_folder, tmp_path / "run"))
    guide = doctest.DocTestFinder().find(bdn.report, globs={**vars(bdn.report), "run": copied})
    runner = doctest.DocTestRunner()
    outcome = runner.run(guide[0])
    assert (outcome.failed, outcome.attempted) == (0, 4)


# --- parts --------------------------------------------------------------------------------------


@given(st.lists(st.floats(-2.0**63, 2.0**63), min_size=1, max_size=50), st.floats(-10, 10),
       st.sampled_from([None, 0.0]), st.sampled_from([None, 1.0]))
@example([-1.0], -1.0, 0.0, None)
@example([5.0], 5.0, None, 1.0)
@example([0.0, 5e-324], 0.0, None, None)
def test_a_charts_points_lie_inside_its_plot(
    values: list[float], level: float, low: float | None, high: float | None
) -> None:
    chart = line_chart("t", [Line("a", "first", list(enumerate(values)))], [Level("l", level)],
                       y_name="y", low=low, high=high)
    for x, y in re.findall(r'cx="([-\d.]+)" cy="([-\d.]+)"', chart):
        assert 43 <= float(x) <= 407
        assert 11 <= float(y) <= 237


def test_bars_are_as_long_as_their_parts() -> None:
    bars = stacked_bars([("a", [1.0, 3.0]), ("b", [2.0, 0.0])], ["x", "y"])
    assert re.findall(r"width:([\d.]+)%", bars) == ["25.00", "75.00", "50.00"]


def test_values_are_told_with_names_and_cut() -> None:
    names = {b"k" * 20: "device-1"}
    assert described({"a": b"k" * 20, "b": [None, 3]}, names) == "{a: device-1, b: [none, 3]}"
    assert described(b"\x01" * 32, names) == "01" * 8 + "…"
    assert len(described("x" * 1000, names)) == 240


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1270550, "1.27 MB"), (51_300_000, "51.3 MB")])
def test_sizes_are_told_in_units(count: int, shown: str) -> None:
    assert size_text(count) == shown
