"""The page in a browser (issue 8): no console errors; proofs verify and, once changed, refuse."""

import hashlib
import html
import json
import re
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
