"""The house rule: imports go down only; neighbours do not know each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bdn

ROOT = Path(bdn.__file__).parent

FLOORS = {
    "errors": 0, "arguments": 0, "json_text": 0, "encoding": 0, "identity": 0, "seal": 0,
    "randomness": 0, "trace": 0,
    "paillier": 1, "pbft": 1, "chain": 1, "learning": 1,
    "runfolder": 1,
    "nodes": 2, "flower": 2,
    "experiments": 3, "report": 3, "ethereum": 3, "vectors": 3,
    "cli": 4,
    "__main__": 5,
}  # fmt: skip


def part_of(path: Path) -> str:
    """The package or ground-floor module under bdn/ that a file belongs to."""
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def bdn_imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module under bdn) for every import in ``source``, nested ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would hide a floor"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("bdn."):
                yield node.lineno, name.removeprefix("bdn.")


def violations(path: Path, source: str) -> list[str]:
    """What a file imports against the rule."""
    own = part_of(path)
    found = []
    for line, name in bdn_imports(source):
        other = name.split(".")[0]
        if own in ("__init__", other):
            continue
        ground = FLOORS[other] == FLOORS[own] == 0  # errors < encoding < randomness < identity …
        if FLOORS[other] >= FLOORS[own] and not ground:
            found.append(f"{path.name}:{line}: {own} (floor {FLOORS[own]}) imports {name}")
    return found


MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    assert not violations(path, path.read_text())


def test_pbft_core_never_imports_its_simulator() -> None:
    core = list((ROOT / "pbft").glob("*.py"))
    upward = [
        f"{path.name}:{line}"
        for path in core
        for line, name in bdn_imports(path.read_text())
        if name.startswith("pbft.simulator")
    ]
    assert not upward


def test_the_package_itself_imports_nothing() -> None:
    """`import bdn` must stay cheap, and must not drag floors into each other."""
    assert not list(bdn_imports((ROOT / "__init__.py").read_text()))


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("paillier/x.py", "from bdn.pbft import Replica"),
        ("chain/x.py", "import bdn.paillier.keys"),
        ("seal.py", "from bdn import chain"),
        ("nodes/x.py", "def f():\n    from bdn.cli import main"),
    ],
)
def test_the_walk_sees_a_breach(own: str, source: str) -> None:
    """Negative control: a checker that cannot fail is no checker."""
    assert violations(ROOT / own, source)
