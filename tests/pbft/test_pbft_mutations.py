"""Each rule of docs/pbft.md, broken one at a time, makes a test fail.

The list and its machinery are in `mutations`. The suite applies every edit, so that none is left
behind when the code moves, and runs every seventh mutation; ``python tests/pbft/mutations.py`` runs
all of them.
"""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest


def _list_of_mutations() -> Any:
    """Return `tests/pbft/mutations.py`, which is a command too."""
    path = Path(__file__).parent / "mutations.py"
    spec = importlib.util.spec_from_file_location("pbft_mutations", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutations = _list_of_mutations()
MUTATIONS = mutations.MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS[::7], ids=lambda mutation: mutation.rule)
def test_breaking_a_rule_makes_a_test_fail(mutation: Any) -> None:
    """No rule is there without a test that misses it."""
    assert mutation.equivalent or mutations.notice(mutation, mutation.tests), (
        f"without rule {mutation.rule}, {', '.join(mutation.tests)} still pass")


def test_the_same_tests_pass_on_the_unchanged_source() -> None:
    """Else a failure above would prove nothing."""
    assert mutations.notice(None, mutations.named_tests(), every=True) == []


def test_every_edit_finds_its_place() -> None:
    """A mutation whose place has moved would be no mutation."""
    moved = []
    for mutation in MUTATIONS:
        try:
            mutations.mutated(mutation)
        except mutations.Moved as why:
            moved.append(f"{mutation.rule}: {why}")
    assert moved == []


def test_every_mutation_is_noticed_or_explained() -> None:
    """Each names the tests that notice it, or says in a sentence why none can."""
    for mutation in MUTATIONS:
        assert bool(mutation.tests) != bool(mutation.equivalent), mutation.rule
    assert len({mutation.rule for mutation in MUTATIONS}) == len(MUTATIONS)


def test_every_rule_named_in_the_source_is_broken_here() -> None:
    """A comment "Rule 7b" without a mutation of that name is a promise that nobody checks."""
    named: set[str] = set()
    for path in mutations.SOURCE.glob("*.py"):
        if path.name != "__init__.py":
            named.update(re.findall(r"Rules? (\d+[a-z])", path.read_text(encoding="utf-8")))
    broken = {mutation.rule.split()[0] for mutation in MUTATIONS}
    assert named - broken == set(), "named in comments and never broken"
