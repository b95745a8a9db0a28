"""What a reader may rely on: one name for one class, no circles, no document that is not there."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import bdn

ROOT = Path(bdn.__file__).parent
REPOSITORY = ROOT.parent

EFFECT = "a replica's effect and a node's effect: the same word for the same thing, one floor up"

SHARED_NAMES: dict[str, str] = dict.fromkeys(("Send", "SetTimer", "CancelTimer", "Persist"), EFFECT)
"""Public class names that stand in more than one module, and why that helps a reader."""


def module_name(path: Path) -> str:
    """The dotted name of a file below bdn/."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def public_classes(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Public class name → the modules that define it at their top level."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return found


def test_a_public_class_name_means_one_class() -> None:
    twice = {name: modules for name, modules in public_classes(TREES).items() if len(modules) > 1}
    assert twice.keys() <= SHARED_NAMES.keys(), twice
    assert SHARED_NAMES.keys() <= twice.keys(), "an exception that is not needed any more"
    assert len(SHARED_NAMES) <= 10


def test_a_name_that_stands_twice_is_seen() -> None:
    trees = {"a": ast.parse("class Node: pass"), "b": ast.parse("class Node: pass")}
    assert public_classes(trees) == {"Node": ["a", "b"]}


# --- circles ------------------------------------------------------------------------------------


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of ``known`` that a module imports when it is loaded."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def circles(trees: dict[str, ast.Module]) -> list[list[str]]:
    """Every set of modules that import one another (Tarjan's strongly connected components)."""
    arrows = {name: sorted(set(imported(tree, set(trees))) - {name})
              for name, tree in trees.items()}
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in arrows[name]:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            component = stack[stack.index(name):]
            del stack[stack.index(name):]
            if len(component) > 1:
                found.append(sorted(component))

    for name in arrows:
        if name not in order:
            visit(name)
    return found


def test_no_modules_import_one_another() -> None:
    assert circles(TREES) == []


def test_a_circle_is_seen() -> None:
    trees = {"a": ast.parse("import b"), "b": ast.parse("import c"), "c": ast.parse("import a"),
             "d": ast.parse("import a")}
    assert circles(trees) == [["a", "b", "c"]]


# --- documents ----------------------------------------------------------------------------------

CITED = re.compile(r"\b(?:docs/)?[\w/.-]+\.md\b")

ELSEWHERE = {"blockdeepnet.md", "DIR/results.md"}
"""The paper, which lies beside the repository, and a file that a command writes."""


TEXTS = frozenset({".py", ".md", ".toml", ".sol", ".contract", ".js", ".css", ".html", ".cff"})
"""Endings of the files that people read."""


def tracked(endings: frozenset[str] | None = TEXTS) -> list[Path]:
    """Files of the repository: those that git tracks, or all of a copy without git.

    ``endings`` are those of the files that are wanted; None for all.
    """
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True,
                            check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [REPOSITORY / line for line in listed.stdout.splitlines()]
    else:
        folders = ("bdn", "tests", "benchmarks", "docs")
        paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    return [path for path in paths if path.is_file() and "__pycache__" not in path.parts
            and (endings is None or path.suffix in endings)]


def missing_documents(path: Path, text: str) -> Iterator[str]:
    """Markdown files that ``text`` names and that are nowhere it may mean."""
    for name in set(CITED.findall(text)):
        places = (REPOSITORY / name, path.parent / name, REPOSITORY / "docs" / name)
        if name not in ELSEWHERE and not any(place.is_file() for place in places):
            yield f"{path.relative_to(REPOSITORY)}: {name}"


def test_every_document_that_is_cited_exists() -> None:
    own = Path(__file__)
    missing = [line for path in tracked() if path != own
               for line in missing_documents(path, path.read_text(encoding="utf-8"))]
    assert missing == []


def test_a_document_that_is_missing_is_seen() -> None:
    here = REPOSITORY / "README.md"
    assert list(missing_documents(here, "see docs/nowhere.md")) == ["README.md: docs/nowhere.md"]


POINTER = re.compile(r"\bDESIGN\b|\b[Ii]ssues? #?\d|(?<!\w )(?<![\w&#])#\d{1,4}\b(?!-)")
"""The page that version 1 was built to, and the tracker's numbers. Those of other projects follow
the project's name: "phe #116"."""

MACHINE = re.compile(r"(?<![\w.:/~$}*-])/(?:home|root|Users|work|workspace|opt|srv|mnt|private|tmp|"
                     r"usr/local|var)/[\w.-]+|\b[A-Z]:\\+Users\b")
"""An absolute path that exists on somebody's machine only."""

REGISTRY = re.compile(r"\b(?:index-url|find-links|trusted-host)\b")
HOST = re.compile(r"\bhttps?://([\w-]+(?:\.[\w-]+)+)")
HOSTS = frozenset({"127.0.0.1", "creativecommons.org", "matplotlib.org", "purl.org",
                   "www.apache.org", "www.textualize.io", "www.w3.org"})
"""Public hosts that files name."""


def private(path: Path, text: str) -> Iterator[str]:
    """What ``text`` says of the machine, the network or the tracker of those who wrote it."""
    numbers = path.suffix not in {".svg", ".css", ".html", ".js", ".json"}  # they hold colours
    for pattern in (POINTER,) * numbers + (MACHINE, REGISTRY):
        yield from (f"{path.relative_to(REPOSITORY)}: {match[0]}"
                    for match in pattern.finditer(text))
    yield from (f"{path.relative_to(REPOSITORY)}: {host}" for host in HOST.findall(text)
                if host not in HOSTS)


def test_no_file_points_to_what_readers_do_not_have() -> None:
    """Neither pages and numbers of a tracker, nor places on a machine or in its network."""
    found = []
    for path in tracked(None):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # arrays
        found += private(path, text) if path != Path(__file__) else []
    assert found == []


@pytest.mark.parametrize("text", [
    "as DESIGN section 4 says", "asked for in issue 8", "as it should (#12)", "/home/somebody/runs",
    "C:\\Users\\somebody", "pip install --index-url x", "https://registry.example.com/simple"])
def test_what_readers_do_not_have_is_seen(text: str) -> None:
    assert list(private(REPOSITORY / "README.md", text))
