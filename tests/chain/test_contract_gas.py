"""Gas: before the work, by size, the same everywhere, and near to time."""

import importlib.util
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from contract_differential import AMPLE, run
from contract_generator import PARTNER, Generator
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain.contracts import ContractError, MemoryState, compile_contract
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - short in a match
from bdn.chain.contracts.front.analysis import walk_all
from bdn.chain.contracts.gas import LATEST, TABLES, gas_table
from bdn.chain.contracts.limits import CONSTANT_GAS, MAX_SOURCE, MAX_VARIABLES
from bdn.chain.contracts.operations.builtins import BUILTINS
from bdn.chain.contracts.operations.host import BUILT_IN_HOSTS
from bdn.chain.contracts.operations.methods import METHODS
from bdn.chain.contracts.operations.sizes import search
from bdn.errors import UsageError

LATEST_TABLE = gas_table(LATEST)


def load_module(name: str) -> ModuleType:
    """A module of benchmarks/, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module



@given(st.integers(0, 10**6), st.floats(0, 1))
def test_less_gas_gives_out_of_gas_and_never_another_result(seed: int, part: float) -> None:
    """With at least the gas that it used a call ends the same; with less it runs out,
    takes all, and leaves no trace in the state."""
    contract = compile_contract(Generator(seed).program(), "fuzzed")
    partner = compile_contract(PARTNER, "partner")
    full, after = run(contract, partner, "closures", AMPLE)
    less = int(part * full.gas_used)
    receipt, state = run(contract, partner, "closures", less)
    if less == full.gas_used and full.status != "out-of-gas":
        assert (receipt, state) == (full, after)
    else:
        assert receipt.status == "out-of-gas"
        assert receipt.gas_used == less
        assert receipt.events == ()
    assert run(contract, partner, "closures", 3 * AMPLE)[0].gas_used >= full.gas_used


@given(st.integers(0, 10**6))
def test_less_gas_means_a_prefix_of_the_reads(seed: int) -> None:
    """What a call that runs out did before it ran out is a prefix of what the full one does."""

    class Watched(MemoryState):
        def __init__(self) -> None:
            super().__init__()
            self.reads: list[tuple[str, bytes]] = []

        def get(self, contract: str, key: bytes) -> bytes | None:
            self.reads.append((contract, key))
            return super().get(contract, key)

    contract = compile_contract(Generator(seed).program(), "fuzzed")
    contracts = {"partner": compile_contract(PARTNER, "partner")}
    full, short = Watched(), Watched()
    receipt = contract.call("main", [1, b"x"], gas=AMPLE, state=full, contracts=contracts)
    contract.call("main", [1, b"x"], gas=receipt.gas_used // 2, state=short, contracts=contracts)
    assert full.reads[: len(short.reads)] == short.reads


@pytest.mark.parametrize(("small", "large"), [
    ("x = 2 ** 60 * 3", "x = (2 ** 4000) * (2 ** 4000)"), ("x = b'a' + b'b'", "x = b'a' * 9999"),
    ("x = [1] + [2]", "x = [1] * 9999"), ("x = sha256(b'')", "x = sha256(b'a' * 9999)"),
    ("storage.x = [1]", "storage.x = [1] * 999"), ("emit('e', x=1)", "emit('e', x=[1] * 999)"),
    ("x = sorted([1])", "x = sorted([1] * 999)"), ("x = 1 in [1]", "x = 1 in [2] * 999"),
    ("x = pow(2, 5, 7)", "x = pow(2, 2 ** 2000, 2 ** 4000 - 1)"),
    ("x = vector_power(b'a', 3, 200)", "x = vector_power(b'a' * 99, 3, 200)"),
    ("x = vector_power(b'a', 3, 200)", "x = vector_power(b'a', 2 ** 99, 200)"),
])
def test_gas_grows_with_size(small: str, large: str) -> None:
    """Gas is size-dependent."""
    used = []
    for line in (small, large):
        contract = compile_contract(f"x: list\n@public\ndef f():\n    {line}\n")
        receipt = contract.call("f", gas=10**7)
        assert receipt.ok, receipt
        used.append(receipt.gas_used)
    assert used[1] > 4 * used[0] or used[1] > used[0] + 300


def test_each_statement_is_charged_before_it_begins() -> None:
    """A statement that cannot be paid has no effect at all: not even the first of its calls."""
    contract = compile_contract(
        "there: host\n@public\ndef f():\n    x = there() + there()\n    return x\n")
    calls = []

    class Counter:
        def price(self, args: object, table: object) -> int:
            calls.append("price")
            return 5

        def __call__(self, args: object) -> int:
            calls.append("call")
            return 1

    for engine in ("walker", "closures"):
        calls.clear()
        full = contract.call("f", gas=10_000, host={"there": Counter()}, engine=engine)
        assert calls == ["price", "call"] * 2
        calls.clear()
        assert not contract.call("f", gas=contract.table.call + 3, host={"there": Counter()},
                                 engine=engine).ok
        assert calls == []
        assert contract.call("f", gas=full.gas_used, host={"there": Counter()}, engine=engine).ok


def test_the_table_is_versioned() -> None:
    """Genesis holds the gas table's version."""
    assert set(TABLES) == {LATEST}
    assert all(table.version == version for version, table in TABLES.items())
    with pytest.raises(UsageError):
        gas_table(1)


def test_prices_are_pinned() -> None:
    """Every node must charge the same: whoever changes a price of a version sees this fail."""
    contract = compile_contract('''
balances: map[bytes, int]
log: list
@public
def f(n: int) -> list:
    total = 0
    for i in range(n):
        if i % 3 == 0 and i > 2:
            total += i * i
        storage.balances[to_bytes(i, 4)] = total
    storage.log = [x for x in [1, 2 ** 100, "abc", {"k": [n]}] if x]
    emit("done", total=total, log=storage.log)
    return sorted([5, 3, total])
''')
    receipt = contract.call("f", [10], gas=100_000)
    assert receipt.ok
    assert receipt.gas_used == PINNED


PINNED = 9791


# --- what gas pays for --------------------------------------------------------------------------

HOSTILE = load_module("hostile_contracts")
BYTES_PER_GAS = 8
SLACK = 1 << 16
"""Bytes that a call takes before it does anything."""


@pytest.mark.parametrize("name", HOSTILE.HOSTILE)
def test_memory_is_paid_for(name: str) -> None:
    """No hostile program keeps more than a few bytes for each gas that it was given."""
    contract = HOSTILE.hostile_contract(name, keep=True)
    contracts = {"other": compile_contract(HOSTILE.OTHER, "other")}
    contract.engine("closures")
    gas = 60_000
    tracemalloc.start()
    receipt = contract.call("main", gas=gas, contracts=contracts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert receipt.status == "out-of-gas", receipt
    assert peak < BYTES_PER_GAS * gas + SLACK


def test_hostile_programs_use_everything() -> None:
    """A new operation needs a hostile program of its own."""
    used = set()
    for name in HOSTILE.HOSTILE:
        for function in HOSTILE.hostile_contract(name, keep=False).module.functions.values():
            for node in walk_all(function):
                used.add(type(node))
                match node:
                    case S.Binary(operator=what) | S.Unary(operator=what):
                        used.add(what)
                    case S.CallBuiltin(name=what) | S.CallMethod(name=what):
                        used.add(what)
                    case S.CallHost(name=what):
                        used.add(what)
    known = {*BUILTINS, *METHODS, *BUILT_IN_HOSTS, *LATEST_TABLE.nodes}
    assert not known - used


class Counted:
    """A meter that adds up what is charged."""

    table = LATEST_TABLE

    def __init__(self) -> None:
        self.gas = 1 << 62


@given(st.integers(0, 40_000), st.integers(0, 40_000))
def test_searches_are_priced_by_the_pairs_that_they_may_compare(n: int, k: int) -> None:
    """Where CPython's search is quadratic, so is its price."""
    meter = Counted()
    search(meter, b"a" * n, b"a" * k)
    price = (1 << 62) - meter.gas
    quadratic = n < 2_500 or (k < 100 and n < 30_000)
    least = (n * k // LATEST_TABLE.pairs_per_gas) if quadratic else 0
    assert price >= max(least, (n + k) // LATEST_TABLE.searched_per_gas)


@pytest.mark.parametrize("vectors", [1, 1000])
def test_vectors_are_checked_and_charged_before_they_are_worked_on(vectors: int) -> None:
    """Empty vectors are no free work: each is charged for its exponent."""
    source = ("@public\ndef f(n: int, m: int):\n"
              "    return weighted_product([b''] * n, [m] * n, m)\n")
    modulus = (1 << 4095) + 7
    receipt = compile_contract(source).call("f", [vectors, modulus], gas=10**7 * vectors - 1)
    assert receipt.status == "out-of-gas" or receipt.gas_used > 10**6 * vectors


def test_domains_of_signatures_are_short() -> None:
    """They are kept for the next signature, so their length is bounded."""
    source = "@public\ndef f(d: str) -> bool:\n    return signature_verify(b'', d, b'', b'')\n"
    contract = compile_contract(source)
    assert contract.call("f", ["a" * 64], gas=10**5).result is False
    assert contract.call("f", ["a" * 65], gas=10**5).reason.code == "domain"


@given(st.binary(max_size=2000))
def test_storage_keys_are_priced_like_values(key: bytes) -> None:
    contract = compile_contract("m: map[bytes, bytes]\n@public\ndef f(k: bytes, v: bytes):\n"
                                "    storage.m[k] = v\n")
    empty = contract.call("f", [b"", b""], gas=10**6).gas_used
    with_key = contract.call("f", [key, b""], gas=10**6).gas_used
    with_value = contract.call("f", [b"", key], gas=10**6).gas_used
    assert with_key >= with_value
    assert with_key >= empty + LATEST_TABLE.written * len(key)


# --- compiling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [
    "A{} = 'a' * (1 << 20)", "A{} = '\xe9' * 90000", "A{} = (1 << 8000) ** 1", "A{} = b'x' * 99999",
])
def test_constants_cost_gas_together(line: str) -> None:
    """What all constants of a source may cost is bounded, and so is what they may take."""
    source = "\n".join(line.format(number) for number in range(2000))
    tracemalloc.start()
    with pytest.raises(ContractError):
        compile_contract(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * MAX_SOURCE + BYTES_PER_GAS * CONSTANT_GAS


@pytest.mark.parametrize("part", [
    "def f{}():\n pass\n", "A{} = 1\n", "x{}: int\n", "c{}: contract\n", "h{}: host\n",
    "def f{0}():\n x = {0}\n y = x\n",
])
def test_compiling_takes_steps_in_proportion_to_the_source(part: str) -> None:
    """Lines of Python that run, counted: twice the source takes about twice as many."""
    one, two = (steps(lambda n=n: compile_contract("".join(map(part.format, range(n)))))
                for n in (200, 400))
    assert two < 2.3 * one


def steps(work: Callable[[], Any]) -> int:
    """Lines of Python that ``work`` runs."""
    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_a_function_has_a_bounded_number_of_variables() -> None:
    body = "".join(f"    x{i} = {i}\n" for i in range(MAX_VARIABLES + 1))
    with pytest.raises(ContractError, match="variables"):
        compile_contract(f"def f():\n{body}")
