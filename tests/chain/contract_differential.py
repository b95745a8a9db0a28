"""Both engines on generated programs: equal receipts and equal state, under every Python present.

``python tests/chain/contract_differential.py --programs 100000`` runs them under this Python with
two hash seeds, and under each interpreter given with ``--python``, and compares one digest for each
block of seeds. Interpreters need nothing installed: the engines are plain Python.

For each program: run it with ample gas on both engines; then with less gas than it used, where the
only other outcome is out-of-gas, and with exactly what it used, where nothing may change.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract_generator import ACCOUNTS, PARTNER, Generator

from bdn.chain.contracts.contract import Contract, compile_contract
from bdn.chain.contracts.machine import MemoryState
from bdn.chain.contracts.receipt import CallReceipt
from bdn.chain.contracts.values import encode_value

AMPLE = 300_000
"""Gas for the first run of a program; generated loops may multiply beyond it."""

BLOCK = 500
"""Programs summed up in one digest."""

ROUND = 5_000
"""Programs that all interpreters are through with before the next ones begin."""

_CHILD = """
import sys, types
sys.path[:0] = [{root!r}, {here!r}]
for name, path in (("bdn", {root!r} + "/bdn"), ("bdn.chain", {root!r} + "/bdn/chain")):
    package = types.ModuleType(name); package.__path__ = [path]; sys.modules[name] = package
from contract_differential import digests
print("\\n".join(digests({start}, {count})))
"""
# The packages above contracts are replaced by empty ones: they need what may not be installed.


class Difference(AssertionError):  # noqa: N818 - what was found, not what went wrong
    """Two runs of one program that should have been equal."""


def run(contract: Contract, partner: Contract, engine: str, gas: int) -> tuple[CallReceipt, Any]:
    """One call of ``main`` on a state with some entries: its receipt, and the state after it."""
    state = MemoryState()
    seed = contract.call("main", [1, b"seed"], gas=AMPLE // 10, state=state, engine=engine,
                         sender=ACCOUNTS[0], contracts={"partner": partner})
    receipt = contract.call("main", [seed.gas_used, b"argument"], gas=gas, state=state,
                            engine=engine, sender=ACCOUNTS[1], contracts={"partner": partner},
                            context={"height": 3, "epoch": 2, "time": 1 << 40, "chain": "test"})
    return receipt, sorted(state.entries.items())


def compare(seed: int) -> bytes:
    """Run program ``seed`` on both engines; its outcome's bytes. Raises `Difference`."""
    source = Generator(seed).program()
    contract = compile_contract(source, "fuzzed")
    partner = compile_contract(PARTNER, "partner")

    def both(gas: int) -> tuple[CallReceipt, Any]:
        walked = run(contract, partner, "walker", gas)
        compiled = run(contract, partner, "closures", gas)
        if _bytes(walked) != _bytes(compiled):
            raise Difference(f"program {seed}, gas {gas}:\n{walked}\n{compiled}\n{source}")
        return walked

    full = both(AMPLE)
    used = full[0].gas_used
    for gas in sorted({used // 3, used - 1} - {-1}):
        if both(gas)[0].status != "out-of-gas":
            raise Difference(f"program {seed} does not run out of {gas} gas, though it used "
                             f"{used}:\n{source}")
    if full[0].status != "out-of-gas" and both(used) != full:
        raise Difference(f"program {seed} ends otherwise with exactly {used} gas:\n{source}")
    return _bytes(full)


def _bytes(outcome: tuple[CallReceipt, Any]) -> bytes:
    receipt, entries = outcome
    events = [[e.contract, e.name, e.fields] for e in receipt.events]
    state = [[contract, key, value] for (contract, key), value in entries]
    reason = receipt.reason
    why = [reason.code, list(reason.arguments), reason.contract, reason.line] if reason else None
    order = list(receipt.result) if isinstance(receipt.result, dict) else 0
    return encode_value([receipt.status, receipt.result, receipt.gas_used, why, order, events,
                         state])


def digests(start: int, count: int) -> list[str]:
    """One digest for each `BLOCK` of programs from seed ``start``."""
    result = []
    for first in range(start, start + count, BLOCK):
        total = hashlib.sha256()
        for seed in range(first, min(first + BLOCK, start + count)):
            total.update(hashlib.sha256(compare(seed)).digest())
        result.append(f"{first} {total.hexdigest()}")
    return result


def elsewhere(python: str, start: int, count: int, hash_seed: str) -> "subprocess.Popen[str]":
    """`digests` in a fresh interpreter, begun."""
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.Popen(
        [python, "-c", _CHILD.format(
            root=str(here.parents[1]), here=str(here), start=start, count=count)],
        env=environment, stdout=subprocess.PIPE, text=True)


def outcome(child: "subprocess.Popen[str]") -> list[str]:
    """What a child of `elsewhere` printed; raises `Difference` when it failed."""
    printed, _ = child.communicate()
    if child.returncode:
        raise Difference(f"{child.args!r} ended with status {child.returncode}")
    return printed.split("\n")[:-1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="first seed")
    parser.add_argument("--python", action="append", default=[], help="a further interpreter")
    options = parser.parse_args(arguments)
    variants = [(sys.executable, "0"), (sys.executable, "4242")]
    variants += [(python, str(7 * index + 1)) for index, python in enumerate(options.python)]
    for first in range(options.start, options.start + options.programs, ROUND):
        count = min(ROUND, options.start + options.programs - first)
        if not _agree(variants, first, count):
            sys.exit(1)


def _agree(variants: Sequence[tuple[str, str]], start: int, count: int) -> bool:
    """Whether all interpreters give the same digests; tells about it on standard output."""
    results: list[list[str]] = []
    for first in range(0, len(variants), 2):  # two at a time
        children = [elsewhere(python, start, count, seed)
                    for python, seed in variants[first:first + 2]]
        results += [outcome(child) for child in children]
    for (python, seed), result in zip(variants, results, strict=True):
        others = [block.split()[0] for block, expected in zip(result, results[0], strict=True)
                  if block != expected]
        same = f"DIFFERENT from program {others[0]} on" if others else "equal"
        sys.stdout.write(f"{same}: programs {start} to {start + count - 1}, {Path(python)} "
                         f"PYTHONHASHSEED={seed}\n")
    sys.stdout.flush()
    return all(result == results[0] for result in results)


if __name__ == "__main__":
    main()
