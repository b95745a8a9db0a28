"""One small run for all tests of the report: its primary is cut off once, so a view changes."""

import html
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.run import opened_run

TINY = {
    "devices": 4, "threshold": 2, "epochs": 2, "iterations": 3, "batch_size": 16, "samples": 40,
    "key_bits": 512, "deterministic": True, "seed": 3, "norm_bound": None,
}  # fmt: skip

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom",
)  # fmt: skip


class CutOff:
    """A network in which edge-0 hears and is heard by no edge server while ``now`` is true."""

    def __init__(self) -> None:
        self.now = False

    def __call__(self, source: str, target: str, data: bytes, now_ms: int) -> int | None:
        """Milliseconds, or None for a lost message."""
        between = source.startswith("edge-") and target.startswith("edge-")
        return None if self.now and between and "edge-0" in (source, target) else 1

    def hear(self, record: dict[str, Any]) -> None:
        """Cut at the first candidate block's PRE-PREPARE, heal when view 1 begins."""
        event = record["event"]
        if (event, record.get("node"), record.get("sequence")) == ("pre-prepare", "edge-0", 4):
            self.now = True
        elif event == "new-view" and record["view"] == 1:
            self.now = False


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, for reading only."""
    path = tmp_path_factory.mktemp("report") / "run"
    config, network = RunConfig(**TINY), CutOff()
    with opened_run(config, RunFolder.create(path, config), listen=network.hear,
                    network=network) as run:
        run.complete()
    return path


@pytest.fixture(scope="session")
def trace(run_folder: Path) -> list[dict[str, Any]]:
    """The run's trace."""
    lines = (run_folder / "trace.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], tuple[str, str]]:
    """Load a page with a URL fragment in headless Chromium: (its DOM, what its console said)."""
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        pytest.skip("no chromium here; apt-get install chromium")
    profile = tmp_path_factory.mktemp("profile")

    def load(page: Path, fragment: str) -> tuple[str, str]:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"{page.as_uri()}#{fragment}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, "\n".join(said)

    return load


FRAME = """<!doctype html><html><body style="margin:0"><iframe id="page" src="{page}"
style="border:0;width:{width}px;height:900px"></iframe><output id="found"></output><script>
const frame = document.getElementById("page");
frame.addEventListener("load", () => {{
  for (const each of frame.contentDocument.querySelectorAll("details")) each.open = true;
  setTimeout(() => {{
    const inner = frame.contentDocument, root = inner.documentElement;
    const style = (element) => frame.contentWindow.getComputedStyle(element);
    const scrolls = (e) => e && (["auto", "scroll", "hidden"].includes(style(e).overflowX)
      || scrolls(e.parentElement));
    const wide = [...inner.querySelectorAll("body *")].filter((e) =>
      e.getBoundingClientRect().right > {width} + 1 && !scrolls(e));
    document.getElementById("found").textContent = JSON.stringify({{
      width: root.clientWidth, beyond: root.scrollWidth - root.clientWidth,
      wide: wide.slice(0, 5).map((e) => e.tagName + "." + e.className),
      background: style(inner.body).backgroundColor }});
  }}, 600);
}});
</script></body></html>"""
"""Shows a page at a width that a headless window cannot have, and measures what sticks out."""


@pytest.fixture(scope="session")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int, str], dict[str, Any]]:
    """(page, width in pixels, theme) → its width, what sticks out of it, its background."""
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if browser is None:
        pytest.skip("no chromium here; apt-get install chromium")
    folder = tmp_path_factory.mktemp("frame")

    def look(page: Path, width: int, theme: str) -> dict[str, Any]:
        frame = folder / f"{width}-{theme}.html"
        frame.write_text(FRAME.format(page=f"{page.as_uri()}#theme={theme}", width=width))
        command = [browser, *FLAGS, f"--user-data-dir={folder}", "--allow-file-access-from-files",
                   f"--window-size={max(width, 800)},900", frame.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        text = done.stdout.partition('<output id="found">')[2].partition("</output>")[0]
        found: dict[str, Any] = json.loads(html.unescape(text))
        return found

    return look
