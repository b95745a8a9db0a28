"""docs/architecture.md names code that exists, and its pictures are what the code draws."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawing", ROOT / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["parts.svg", "epoch.svg"])
def test_a_picture_is_what_the_code_draws(drawing: ModuleType, name: str) -> None:
    """Where this fails: python docs/architecture.py"""
    drawn = (ROOT / "docs" / "charts" / name).read_text("utf-8")
    assert drawn == drawing.PICTURES[name]()


def test_every_step_names_code(drawing: ModuleType, checker: ModuleType) -> None:
    absent = [step.code for step in drawing.EPOCH if not checker.code_exists(f"bdn.{step.code}")]
    assert absent == []


def test_the_picture_shows_every_part(drawing: ModuleType) -> None:
    """A new package or ground-floor module appears on its floor."""
    shown = {part for _, parts in drawing.FLOORS for part in parts}
    there = {path.stem if path.is_file() else path.name for path in (ROOT / "bdn").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert shown == there - {"__init__", "__main__"}


def test_every_type_and_place_in_the_tables_exists(checker: ModuleType) -> None:
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", cells[-1]) if line.startswith("|") else []
        base = ""
        for name in names:
            if name.startswith("bdn."):
                types = re.findall(r"`(\w+)`", cells[0])
                for kind in types:
                    assert any(checker.code_exists(f"{module}.{kind}") for module in names), line
                continue
            path = ROOT / name if "/" in name and name.startswith("bdn/") else ROOT / base / name
            assert path.exists(), f"{line}: {name}"
            base = str(path.parent.relative_to(ROOT))


def test_a_missing_name_is_seen(checker: ModuleType) -> None:
    assert not checker.code_exists("bdn.pbft.normal.on_commitment")
