"""The course's notebooks run, their exercises begin unsolved, and the solutions solve them."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="the course's notebooks need nbformat")
nbclient = pytest.importorskip("nbclient", reason="the course's notebooks need nbclient")
pytest.importorskip("ipykernel", reason="the course's notebooks need ipykernel")

COURSE = Path(__file__).parents[1] / "docs" / "course"
NOTEBOOKS = sorted(COURSE.glob("*.ipynb"))


def tagged(cell: Any, kind: str) -> str | None:
    """Return the number in the cell's tag ``kind-number``, or None."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag.startswith(f"{kind}-")]
    return tags[0].removeprefix(f"{kind}-") if tags else None


def solutions(path: Path) -> dict[str, str]:
    """Return exercise number → the code of its solution."""
    text = (COURSE / "solutions" / f"{path.stem}.py").read_text("utf-8")
    parts = re.split(r'^# %% tags=\["exercise-(\d+)"\]\n', text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def with_solutions(path: Path) -> Any:
    """Return the notebook with solution and check once more after each untouched check."""
    book = nbformat.read(path, as_version=4)
    solved = solutions(path)
    cells = []
    for cell in book.cells:
        cells.append(cell)
        number = tagged(cell, "check")
        if number is not None:
            again = nbformat.v4.new_code_cell(cell.source, metadata={"tags": [f"again-{number}"]})
            cells += [nbformat.v4.new_code_cell(solved[number]), again]
    book.cells = cells
    return book


def printed(cell: Any) -> str:
    """Return what a code cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_checks_tell_unsolved_from_solved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs without an error; a check says "Not yet" first and "Correct" after."""
    monkeypatch.setenv("PYTHONPATH", str(COURSE.parents[1]))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    book = with_solutions(path)
    nbclient.NotebookClient(book, timeout=None, kernel_name="python3").execute(cwd=str(COURSE))
    untouched = {tagged(c, "check"): printed(c) for c in book.cells if tagged(c, "check")}
    solved = {tagged(c, "again"): printed(c) for c in book.cells if tagged(c, "again")}
    assert set(untouched) == set(solved) == {"1", "2"}
    assert all(text.startswith("Not yet") for text in untouched.values()), untouched
    assert all(text.startswith("Correct") for text in solved.values()), solved


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_clean_and_has_the_parts_of_a_lesson(path: Path) -> None:
    """No outputs are stored; there is a prediction, a parameter to change, and two exercises."""
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    assert "**Predict before you run" in text
    assert "**Change it.**" in text
    exercises = [tagged(cell, "exercise") for cell in book.cells if tagged(cell, "exercise")]
    assert exercises == ["1", "2"]
    assert set(solutions(path)) == {"1", "2"}


def test_the_files_that_notebooks_name_exist() -> None:
    """Every bdn/… and docs/… path in the notebooks' text is a file or folder of the repository."""
    named = set()
    for path in NOTEBOOKS:
        book = nbformat.read(path, as_version=4)
        text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
        named |= set(re.findall(r"`((?:bdn|docs|tests|benchmarks)/[\w/.-]+)`", text))
        linked = re.findall(r"\]\(([\w.-]+\.ipynb)\)", text)
        assert all((COURSE / name).is_file() for name in linked), linked
    assert len(named) > 20
    missing = [name for name in named if not (COURSE.parents[1] / name).exists()]
    assert missing == []


def test_the_index_lists_every_notebook() -> None:
    text = (COURSE / "README.md").read_text("utf-8")
    assert {path.name for path in NOTEBOOKS} == set(re.findall(r"\]\(([\w-]+\.ipynb)\)", text))
    assert len(NOTEBOOKS) == 12


def test_the_solutions_are_python() -> None:
    for path in NOTEBOOKS:
        for code in solutions(path).values():
            ast.parse(code)
