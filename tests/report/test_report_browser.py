"""The page in a browser: no console errors; proofs verify and, once changed, refuse."""

import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdn.report import write_report

Browse = Callable[[Path, str], tuple[str, str]]


def outcome(dom: str) -> dict[str, Any]:
    """What the page's self-check wrote."""
    found = re.search(r'<output id="self-check"[^>]*>(.*?)</output>', dom, re.DOTALL)
    assert found is not None
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(run_folder, tmp_path_factory.mktemp("page") / "report.html")


def test_every_proof_verifies_and_refuses_changed_bytes(page: Path, browse: Browse) -> None:
    """Each transaction's proof passes; a byte changed in any of its parts makes it fail."""
    dom, console = browse(page, "self-check")
    result = outcome(dom)
    assert console == ""
    assert result["wrong"] == []
    assert result["verified"] >= 30
    assert result["refused"] >= 4 * result["verified"]
    verified, flipped, restored = result["clicks"]
    assert "Verified" in verified
    assert "Refused" in flipped
    assert "Verified" in restored
    assert result["arrows"] > 100
    assert result["epochs"] == 4, "set-up, two epochs, the closing round"


def test_the_pages_own_sha256_is_sha256(page: Path, browse: Browse) -> None:
    """FIPS 180-4 by hashlib, for every length around the padding's and blocks' edges."""
    dom, _ = browse(page, "self-check")
    every = "".join(
        hashlib.sha256(bytes((7 * i + n) & 255 for i in range(n))).hexdigest() for n in range(200))
    assert outcome(dom)["digests"] == hashlib.sha256(every.encode()).hexdigest()


def test_a_forged_page_and_a_script_error_are_seen(
    page: Path, browse: Browse, tmp_path: Path
) -> None:
    """Negative control: bytes forged in the page's data do not verify; an error is reported."""
    text = page.read_text()
    forged = re.sub(r'("raw":"hlgg)(.)', lambda m: m[1] + ("A" if m[2] != "A" else "B"), text,
                    count=1)
    assert forged != text
    target = tmp_path / "forged.html"
    target.write_text(forged.replace("</body>", "<script>nonsense()</script></body>"))
    dom, console = browse(target, "self-check")
    assert "does not verify" in "; ".join(outcome(dom)["wrong"])
    assert "nonsense is not defined" in console


@pytest.mark.parametrize(("width", "theme"), [(375, "light"), (375, "dark"), (1920, "light"),
                                              (1920, "dark")])
def test_nothing_sticks_out_on_a_phone_or_a_projector(
    full_page: Path, measure: Callable[..., dict[str, Any]], width: int, theme: str
) -> None:
    """All details open; tables and diagrams scroll within themselves, the page does not."""
    found = measure(full_page, width, theme)
    assert found["width"] <= width
    assert (found["beyond"], found["wide"]) == (0, [])
    assert (found["background"] == "rgb(14, 20, 27)") is (theme == "dark")


def test_what_sticks_out_is_seen(
    full_page: Path, measure: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Negative control: a box of 600 pixels on a phone."""
    target = tmp_path / "wide.html"
    target.write_text(full_page.read_text().replace(
        "<main ", '<div class="box-of-600" style="width:600px">x</div><main '))
    found = measure(target, 375, "light")
    assert found["beyond"] > 200
    assert found["wide"] == ["DIV.box-of-600"]


@pytest.fixture(scope="module")
def full_page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the lab's findings, one of each verdict, in long words."""
    folder = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("full") / "run"))
    rows = ("Single point of failure", "Privacy leak", "Training data insufficiency",
            "Data poisoning attack", "elsewhere")
    words = "Edge server 0 proposes a sum that Eq. (5) does not give, " * 6
    (folder / "lab.json").write_text(json.dumps({
        "machine": "x" * 60, "date": "2026-11-22", "key_bits": 2048,
        "findings": [{"experiment": f"an-experiment-with-a-long-name-{i}", "group": "g", "row": row,
                      "title": words, "tried": words, "happened": [words, "0" * 64],
                      "claimed": words, "not_covered": words, "held": i % 3 > 0,
                      "prevented": i % 2 > 0} for i, row in enumerate(rows * 2)],
    }))
    return write_report(folder)
