"""The source distribution is complete: whoever unpacks it can run the tests."""

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"

QUICK = ("tests/test_encoding.py", "tests/chain/test_merkle.py", "tests/test_docs_architecture.py")
"""Tests that need parts of every kind of file, and take seconds."""


def tracked() -> set[str]:
    """Files that git tracks; empty outside a checkout."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    return set(listed.stdout.splitlines()) if listed.returncode == 0 else set()


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution of the files as they are now, built and unpacked."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the distribution")
    files = tracked()
    if not files:
        pytest.skip("not a git checkout, so there is no list to compare with")
    source, built, place = (tmp_path_factory.mktemp(name) for name in ("source", "built", "sdist"))
    for name in files:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-c", BUILD, str(built)], cwd=source, check=True,
                   capture_output=True)
    (archive,) = built.glob("bdn-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    (folder,) = place.iterdir()
    return folder


def test_it_holds_every_file_of_the_repository(unpacked: Path) -> None:
    there = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert sorted(tracked() - there) == []


def test_its_quick_tests_pass(unpacked: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK],
                         cwd=unpacked, capture_output=True, text=True, check=False,
                         env={"PATH": "", "PYTHONPATH": str(unpacked)})
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert " passed" in ran.stdout


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    """The package, its citation and its changelog name one version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert f"\nversion: {version}\n" in citation
    assert first is not None
    assert first.group(1) == version
