"""What contracts cost: both engines beside CPython and Starlark, host calls beside bare gmpy2, and
how much time and memory a million gas buys at worst.

The same four functions run on the walker, on the compiled engine, natively on CPython (without gas
or limits), and on Starlark (Rust, without gas). The aims: compiled at least 3
times faster than the walker, at most 12 times slower than CPython.
"""

import gc
import hashlib
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import gmpy2
from harness import Report, Timing, main, paired, timed
from hostile_contracts import HOSTILE, OTHER, hostile_contract

from bdn.chain.contracts import compile_contract

SOURCE = '''
@public
def loop(n: int) -> int:
    total = 0
    for i in range(n):
        total = (total + i * i) % 1000003
    return total

@public
def branch(n: int) -> int:
    low = 0
    high = 0
    x = 1
    for i in range(n):
        x = (x * 1103515245 + 12345) % 2147483648
        if x % 3 == 0 and x > 1000:
            low += 1
        elif x % 5 == 1 or i < 10:
            high += 2
        else:
            high -= 1
    return low * 1000000 + high

@public
def table(n: int) -> int:
    counts = {}
    for i in range(n):
        key = str(i % 100)
        counts[key] = counts.get(key, 0) + i
    total = 0
    for key in counts:
        total += counts[key]
    return total

@public
def octets(n: int) -> int:
    data = b""
    total = 0
    for i in range(n):
        data = data[-56:] + to_bytes(i, 8)
        total += data[i % 8] + len(data)
        if data[:2] == b"zz":
            total += from_bytes(data[2:10])
    return total
'''

NATIVE: dict[str, Any] = {
    "public": lambda function: function,
    "to_bytes": lambda value, width: value.to_bytes(width, "big"),
    "from_bytes": lambda data: int.from_bytes(data, "big"),
}

WORKLOADS = ("loop", "branch", "table", "octets")
NO_BYTES = "octets"  # Starlark in Rust has no bytes
GAS = 10**10
AGAIN = 8
"""How often the fast peers repeat, so that both sides of a pair take about as long: on a busy
machine a short measurement slips between the interruptions, and a long one does not."""


def starlark_functions() -> dict[str, Callable[[int], Any]]:
    """The workloads as Starlark runs them: the same text, without decorators and annotations."""
    import starlark

    text = SOURCE.partition(f"@public\ndef {NO_BYTES}")[0]
    text = text.replace("@public\n", "").replace("(n: int) -> int", "(n)")
    module = starlark.Module()
    starlark.eval(module, starlark.parse("workloads.star", text), starlark.Globals.standard())
    frozen = module.freeze()
    return {name: lambda n, name=name: frozen.call(name, n) for name in WORKLOADS
            if name != NO_BYTES}


def scaled(timing: Timing) -> Timing:
    """The time of one of `AGAIN` calls."""
    return Timing(timing.median / AGAIN, timing.low / AGAIN, timing.high / AGAIN, timing.repeats)


def engines(report: Report) -> None:
    """Rows: one workload on everything."""
    contract = compile_contract(SOURCE)
    names = dict(NATIVE)
    exec(SOURCE, names)
    peer = starlark_functions() if report.peer("starlark-pyo3") else {}
    size, repeats = (3_000, 5) if report.quick else (20_000, 9)
    for name in WORKLOADS:
        def ours(engine: str, name: str = name) -> Any:
            receipt = contract.call(name, [size], gas=GAS, engine=engine)
            assert receipt.ok
            return receipt

        assert ours("walker") == ours("closures")
        assert ours("walker").result == names[name](size)
        compiled, native = paired(lambda: ours("closures"),
                                  lambda n=name: [names[n](size) for _ in range(AGAIN)], repeats)
        native = scaled(native)
        again, walked = paired(lambda: ours("closures"), lambda: ours("walker"), repeats)
        row = {"workload": name, "compiled": compiled, "walker": walked, "CPython": native,
               "walker/compiled": walked.median / again.median,
               "compiled/CPython": compiled.median / native.median}
        if name in peer:
            assert peer[name](size) == names[name](size)
            beside, starlark = paired(lambda: ours("closures"),
                                      lambda n=name: [peer[n](size) for _ in range(AGAIN)],
                                      repeats)
            starlark = scaled(starlark)
            row |= {"Starlark": starlark, "compiled/Starlark": beside.median / starlark.median}
        elif peer:
            row |= {"Starlark": "-", "compiled/Starlark": "-"}
        gas = ours("closures").gas_used
        report.add(**row, **{"ns per gas": compiled.median / gas * 1e9})


def hosts(report: Report) -> None:
    """Rows: what the language adds to a host call on vectors (Eq. (5) as a built-in)."""
    rng = random.Random(1)
    modulus = rng.getrandbits(4096) | 1 << 4095 | 1
    length, count = (8, 3) if report.quick else (40, 5)
    vectors = [[rng.randrange(modulus) for _ in range(length)] for _ in range(count)]
    weights = [rng.randrange(100, 3000) for _ in range(count)]
    packed = [b"".join(x.to_bytes(512, "big") for x in vector) for vector in vectors]

    def bare() -> list[Any]:
        total = [gmpy2.mpz(1)] * length
        for vector, weight in zip(vectors, weights, strict=True):
            powers = gmpy2.powmod_base_list(vector, weight, modulus)
            total = [x * y % modulus for x, y in zip(total, powers, strict=True)]
        return total

    contract = compile_contract(
        "@public\ndef f(v: list, w: list, m: int):\n    return weighted_product(v, w, m)\n")
    args = [packed, weights, modulus]
    result = contract.call("f", args, gas=GAS).result
    assert result == b"".join(int(x).to_bytes(512, "big") for x in bare())
    called, alone = paired(lambda: contract.call("f", args, gas=GAS), bare, 7)
    report.add(host=f"weighted_product, {count} vectors of {length} residues, 4096 bits",
               contract=called, bare=alone, ratio=called.median / alone.median)
    data = bytes(100_000)
    contract = compile_contract("@public\ndef f(x: bytes):\n    return sha256(x)\n")
    called, alone = paired(lambda: contract.call("f", [data], gas=GAS),
                           lambda: hashlib.sha256(data).digest(), 15)
    report.add(host="sha256 of 100 kB", contract=called, bare=alone,
               ratio=called.median / alone.median)


def compiling(report: Report) -> None:
    """Rows: from source to something that runs."""
    for name, text in (("the four workloads", SOURCE), ("ten times that", "\n".join(
            SOURCE.replace("def ", f"def n{i}_") for i in range(10)))):
        def build(text: str = text) -> None:
            compile_contract(text).engine("closures")

        report.add(compile=name, lines=text.count("\n"), time=timed(build, 5))


def hostile(report: Report) -> None:
    """Rows: seconds and bytes that a million gas buys, for programs that try to get much of them.

    Seconds are the CPU's, of the fastest of several calls: rounds go through all programs, so that
    no disturbance from other processes meets every call of one program. Bytes are the most that
    Python held at a time (gmpy2's own numbers are not seen), all results being kept. Each row is
    compared with the median of all programs.
    """
    names = list(HOSTILE)[::8] if report.quick else list(HOSTILE)
    seconds = hostile_seconds(names, 150_000 if report.quick else 400_000, rounds=9)
    size = hostile_bytes(names, 150_000 if report.quick else 400_000)
    slow, large = statistics.median(seconds.values()), statistics.median(size.values())
    for name in sorted(names, key=lambda name: -seconds[name]):
        report.add(**{"hostile program": name, "ms per Mgas": seconds[name] * 1e3,
                      "× median ms": seconds[name] / slow, "MB per Mgas": size[name] / 1e6,
                      "× median MB": size[name] / large})
    report.notes.append(
        f"Of {len(names)} hostile programs the slowest takes {max(seconds.values()) / slow:.1f} "
        f"times the median's time for its gas (aim: 5), the largest "
        f"{max(size.values()) / large:.1f} times the median's bytes (aim: 10).")


def hostile_seconds(names: list[str], gas: int, rounds: int) -> dict[str, float]:
    """CPU seconds that a million gas buys each program, in the fastest of its calls."""
    others = {"other": compile_contract(OTHER, "other")}
    contracts = {name: hostile_contract(name, keep=False) for name in names}
    given = dict.fromkeys(names, gas)

    def call(name: str) -> float:
        begin = time.process_time()
        contracts[name].call("main", gas=given[name], contracts=others)
        return time.process_time() - begin

    for name in names:
        contracts[name].engine("closures")
        while call(name) < 0.002:  # some host functions leave much gas unused
            given[name] *= 2
    gc.collect()
    gc.freeze()
    fastest = {name: call(name) for name in names}
    for _ in range(rounds):
        for name in names:
            fastest[name] = min(fastest[name], call(name))
    gc.unfreeze()
    return {name: fastest[name] / given[name] * 1e6 for name in names}


def hostile_bytes(names: list[str], gas: int) -> dict[str, float]:
    """Bytes that a million gas buys each program, all its results being kept."""
    others = {"other": compile_contract(OTHER, "other")}
    size = {}
    for name in names:
        contract = hostile_contract(name, keep=True)
        contract.engine("closures")
        gc.collect()
        tracemalloc.start()
        contract.call("main", gas=gas, contracts=others)
        size[name] = tracemalloc.get_traced_memory()[1] / gas * 1e6
        tracemalloc.stop()
    return size


def measure(report: Report) -> None:
    """Everything."""
    engines(report)
    hosts(report)
    compiling(report)
    hostile(report)


if __name__ == "__main__":
    main("Contracts", measure, packages=("starlark-pyo3",))
