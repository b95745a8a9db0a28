"""Gas: before the work, by size, the same everywhere, and near to time."""

import time

import pytest
from contract_differential import AMPLE, run
from contract_generator import PARTNER, Generator
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain.contracts import MemoryState, compile_contract
from bdn.chain.contracts.gas import TABLES, gas_table
from bdn.errors import UsageError


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
    assert set(TABLES) == {1}
    assert all(table.version == version for version, table in TABLES.items())
    with pytest.raises(UsageError):
        gas_table(2)


def test_prices_are_pinned() -> None:
    """Every node must charge the same: whoever changes a price of version 1 sees this fail."""
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


PINNED = 8479

WORK = {
    "small sums": ("x = 1", "x = x + 1"),
    "long products": ("x = (1 << 4000) - 12345", "y = x * x"),
    "long remainders": ("x = (1 << 8000) - 12345", "y = x % 7"),
    "modular powers": ("x = (1 << 4095) - 5", "y = pow(x - 5, x, x)"),
    "numbers to text": ("x = 1 << 1900", "y = str(x)"),
    "joining bytes": ("x = b'ab' * 5000", "y = x + x"),
    "searching": ("x = b'a' * 50000\n    n = b'a' * 500 + b'b'", "y = n in x"),
    "replacing": ("x = b'ab' * 10000", "y = x.replace(b'a', b'cc')"),
    "reading hexadecimal": ("x = 'ab' * 10000", "y = from_hex(x)"),
    "list of literals": ("x = 1", "y = [1, 2, 3, 4, 5, 6, 7, 8]"),
    "dict of literals": ("x = 1", "y = {'a': 1, 'b': 2, 'c': 3, 'd': 4}"),
    "appending lists": ("x = [1] * 1000", "y = [1]\n        y.append(x)"),
    "taking the first": ("x = [1] * 90000", "x.pop(0)"),
    "dict comprehension": ("x = [1] * 1000", "y = {a: a for a in x}"),
    "membership": ("x = ['abcdefgh'] * 1000", "y = 'abcdefgi' in x"),
    "nested equality": ("x = [[1]] * 1000\n    z = [[1]] * 1000", "y = x == z"),
    "sorting": ("x = [(a * 7919) % 10007 for a in range(5000)]", "y = sorted(x)"),
    "maximum": ("x = [1] * 1000", "y = max(x)"),
    "calls": ("x = 1", "x = helper(x)"),
    "hashing": ("x = b'ab' * 5000", "y = sha256(x)"),
    "reading storage": ("storage.big = [1] * 1000", "y = storage.big"),
    "writing storage": ("x = [1] * 1000", "storage.big = x"),
    "vector products": ("x = b'a' * 51200\n    k = (1 << 4095) + 7", "y = vector_product(x, x, k)"),
    "vector powers": ("x = b'a' * 5120\n    k = (1 << 4095) + 7",
                      "y = vector_power(x, 1000003, k)"),
}


def nanoseconds_per_gas(setup: str, work: str) -> float:
    """Of a loop that does nothing but ``work``, best of three."""
    contract = compile_contract(
        "big: list\ndef helper(x):\n    return x\n@public\ndef f():\n"
        f"    {setup}\n    for i in range(10 ** 9):\n        {work}\n")
    gas, seconds = 20_000, 0.0
    while seconds < 0.004:
        gas *= 4
        start = time.perf_counter()
        assert contract.call("f", gas=gas).status == "out-of-gas"
        seconds = time.perf_counter() - start
    for _ in range(2):
        start = time.perf_counter()
        contract.call("f", gas=gas)
        seconds = min(seconds, time.perf_counter() - start)
    return seconds / gas * 1e9


def test_no_operation_is_far_too_cheap() -> None:
    """Wall time per gas is bounded. Ratios, not seconds: no operation takes more than
    ten times as long for its gas as adding small numbers does (about four, undisturbed)."""
    times = {name: nanoseconds_per_gas(*work) for name, work in WORK.items()}
    reference = times["small sums"]
    ratios = {name: round(value / reference, 1) for name, value in times.items()}
    assert max(ratios.values()) < 10, ratios
