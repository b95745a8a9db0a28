"""Checks what the pages of docs/ refer to: places of the paper, code, tests, lab experiments.

    python tests/docs_checker.py        # prints the gaps of docs/paper.md; status 1 where there are

A row of docs/paper.md has four cells: place, what the paper says, code, test. Code is a dotted name
(`bdn.module.name`), a contract's function (`mining.contract:aggregate`), or a file of the
repository with or without a function (`benchmarks/sealing.py`, `benchmarks/sealing.py:measure`). A
test is `tests/FILE.py::name`. A place without a counterpart says ``none: why`` instead of both.
"""

import ast
import functools
import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CONTRACTS = ROOT / "bdn" / "chain" / "contracts" / "sources"
NONE = "none:"


class Row(NamedTuple):
    """One row of a table in docs/paper.md."""

    place: str
    says: str
    code: str
    test: str


# --- the page -----------------------------------------------------------------------------------


def table_rows(text: str, width: int = 4) -> list[Row]:
    """The body rows of all tables of ``width`` columns."""
    found: list[Row] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if len(cells) != width:
            found.append(Row(cells[0], "", "", ""))  # a broken row is a gap, not a silence
        elif cells[0] not in ("place", "") and not set(cells[0]) <= set("-: "):
            found.append(Row(*cells))
    return found


def quoted(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def gaps(text: str, places: Sequence[str]) -> list[str]:
    """What is missing, double or dangling in the page ``text`` that must cover ``places``."""
    rows = table_rows(text)
    named = [row.place for row in rows]
    found = [f"{place}: no row" for place in places if place not in named]
    found += [f"{place}: two rows" for place in sorted(set(named)) if named.count(place) > 1]
    found += [f"{place}: not a place of the paper" for place in named if place not in places]
    for row in rows:
        found += [f"{row.place}: {problem}" for problem in _row_gaps(row)]
    return found


def _row_gaps(row: Row) -> list[str]:
    if not row.says:
        return ["the row does not say what the paper says, or has other cells than four"]
    if row.code.startswith(NONE):
        reason = row.code.removeprefix(NONE).strip()
        return [] if len(reason.split()) >= 3 else ["no counterpart, and no reason"]
    problems = []
    if not quoted(row.code):
        problems.append("no code")
    if not quoted(row.test):
        problems.append("no test")
    problems += [f"no such code: {name}" for name in quoted(row.code) if not code_exists(name)]
    problems += [f"no such test: {name}" for name in quoted(row.test) if not test_exists(name)]
    return problems


# --- what the page refers to --------------------------------------------------------------------


def code_exists(name: str) -> bool:
    """Whether a reference to code leads somewhere."""
    if name.startswith("bdn."):
        return _resolves(name)
    path, _, function = name.partition(":")
    file = CONTRACTS / path if path.endswith(".contract") else ROOT / path
    if not file.is_file():
        return False
    if not function:
        return True
    if path.endswith(".py"):
        return function in _definitions(file)
    pattern = rf"^(def )?{re.escape(function)}\b"
    return re.search(pattern, file.read_text("utf-8"), re.MULTILINE) is not None


def test_exists(name: str) -> bool:
    """Whether ``tests/FILE.py::name`` is a test function (or class) of that file."""
    path, _, function = name.partition("::")
    file = ROOT / path
    return bool(function) and file.is_file() and function.split("[")[0] in _definitions(file)


test_exists.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            target: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(target, "__dataclass_fields__", {})
            if not hasattr(target, part) and part not in fields:
                return False
            target = getattr(target, part, fields.get(part))
        return True
    return False


@functools.cache
def _definitions(file: Path) -> frozenset[str]:
    """Names of functions, classes and assigned names in a Python file, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(names)


# --- the paper ----------------------------------------------------------------------------------


def places_of(paper: str) -> list[str]:
    """The numbered places of the paper's text: equations, algorithm lines, components, figures,
    table rows."""
    places = [f"Eq. ({n})" for n in re.findall(r"\((\d)\)\s*\$\$", paper)]
    places += [f"Alg. {number}, line {line}" for number, line in _algorithm_lines(paper)]
    places += [f"§3.2, component {n}" for n in re.findall(r"^- (\d)\) ", paper, re.MULTILINE)]
    places += [f"Fig. {n}" for n in re.findall(r"^Figure (\d)\.", paper, re.MULTILINE)]
    for number, body in re.findall(r"^Table (\d)\..*\n\n((?:.*\t.*\n)+)", paper, re.MULTILINE):
        heads = [row.partition("\t")[0].strip() for row in body.splitlines()[1:]]
        places += [f"Table {number}, {head}" for head in heads]
    return places


def _algorithm_lines(paper: str) -> Iterable[tuple[str, str]]:
    fenced = r"^Algorithm (\d): .*?\n```\n(.*?)```"
    for number, body in re.findall(fenced, paper, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^(\d+): ", body, re.MULTILINE):
            yield number, line


NUMBERED = (
    *(f"Eq. ({n})" for n in range(1, 6)),
    *(f"Alg. 1, line {n}" for n in range(1, 19)),
    *(f"Alg. 2, line {n}" for n in range(1, 28)),
    *(f"§3.2, component {n}" for n in range(1, 6)),
    *(f"Fig. {n}" for n in range(1, 6)),
    "Table 1, Single point of failure", "Table 1, Privacy leak",
    "Table 1, Training data insufficiency", "Table 1, Data poisoning attack",
)
"""What `places_of` finds in the paper; a test compares where the paper is at hand."""

STATED = (
    "§3.1, two layers", "§3.1, private data stay", "§3.2, six components",
    "§3.2, registration", "§3.2, communication", "§3.2, sharing", "§3.2, request for the model",
    "§3.2, Web3", "§3.2, private network", "§3.2, no economic incentive",
    "§3.2, devices are clients", "§3.2, the server runs the contracts",
    "§3.2, activity log", "§3.2, PBFT", "§3.2, iteration", "§3.2, epoch",
    "§4, data reward", "§4, processing reward", "§4, the block is added",
    "§4, each device computes by itself",
    "§4.1, sample loss", "§4.1, device loss", "§4.1, disjoint samples", "§4.1, same start",
    "§4.1, local update rule", "§4.1, weighted average", "§4.1, stop condition",
    "§4.1, best model",
    "§4.2, registered devices", "§4.2, genesis block", "§4.2, block body", "§4.2, T_local",
    "§4.2, block header", "§4.2, block size", "§4.2, one candidate block an epoch",
    "§4.2, encryption [19]", "§4.2, pseudo keys", "§4.2, verification",
    "§4.2, Tx_co", "§4.2, confidentiality", "§4.2, edge learns nothing", "§4.2, secret sharing",
    "§5, testbed", "§5, Go-ethereum and Solidity", "§5, learning contract",
    "§5, mining contract", "§5, proof of work", "§5, full node", "§5, light node",
    "§5, object detection", "§5, data set", "§5, ten subsets", "§5, CNN",
    "§5, training parameters", "§5, threshold Paillier", "§5, mean precision accuracy",
    "§5, latency", "§5, similarity index", "§5, CPU and memory", "§6, offloading",
)
"""What else the paper promises or defines, by section and in its order; named by us."""

PLACES = (*NUMBERED, *STATED)


def main() -> int:
    """Print the gaps of docs/paper.md."""
    found = gaps((ROOT / "docs" / "paper.md").read_text("utf-8"), PLACES)
    for gap in found:
        print(gap)
    print(f"{len(PLACES)} places, {len(found)} gaps")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
