"""A small sample of the fuzzer; ``python tests/fuzz/fuzz.py --cases 200000`` is the large mode."""

import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cbor2
import pytest

from bdn.errors import UsageError

CASES = 800


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    """The script, as a module."""
    path = Path(__file__).with_name("fuzz.py")
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


@pytest.fixture(scope="module")
def found(fuzz: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """All targets, over one small run."""
    with fuzz.materials(tmp_path_factory.mktemp("fuzz")) as made:
        yield fuzz.targets(made)


def test_nothing_that_is_read_ends_in_an_accident(fuzz: Any, found: list[Any]) -> None:
    """Every decoder, the nodes, and the commands over a run folder with a damaged file."""
    counts = fuzz.run(found, CASES, 1, lambda _: None)
    findings = [finding for count in counts.values() for finding in count.findings]
    assert not findings, findings[0]
    assert all(count.cases for count in counts.values())


def test_good_inputs_are_accepted(found: list[Any]) -> None:
    """A target that refused everything would test nothing."""
    rng = random.Random(0)
    for target in found:
        if ":" not in target.name:  # the commands damage their files themselves
            target.read(target.seeds[0], rng)


@pytest.mark.parametrize("accident", [KeyError("x"), RecursionError(), OverflowError("big")])
def test_an_accident_is_found(fuzz: Any, accident: Exception) -> None:
    """Negative control: whatever is no `BdnError` is a finding, and so is an endless message."""
    def fail(data: bytes, _: random.Random) -> None:
        if len(data) % 2:
            raise accident
        raise UsageError("x" * 10_000)

    target = fuzz.Target("failing", [cbor2.dumps([1, "two", b"three"])], fail)
    counts = fuzz.run([target], 15, 0, lambda _: None)
    text = "\n".join(counts["failing"].findings)
    assert type(accident).__name__ in text
    assert "UsageError of 10000 characters" in text


def test_a_case_can_be_repeated(fuzz: Any) -> None:
    """A finding names seed, target and case, which give the same bytes again."""
    seen: list[bytes] = []
    target = fuzz.Target("kept", [cbor2.dumps({"a": [1, 2, 3]})], lambda data, _: seen.append(data))
    for _ in range(2):
        fuzz.run_case(target, 3, 17, fuzz.Count())
    assert seen[0] == seen[1]
