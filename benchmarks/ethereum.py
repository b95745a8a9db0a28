"""Gas of the Ethereum adapter: anchoring, challenging, and what aggregating on chain would cost.

Keys of 2048 bits and the paper's model (252,398 parameters and a loss), its 27,450 samples shared
evenly by the devices. Ciphertexts are random numbers of the right size: gas does not depend on
which. The rules are Prague's in this process (py-evm) and Prague's and Osaka's on a live node
(`anvil`, see docs/ethereum.md); Osaka prices MODEXP higher (EIP-7883).

*On-chain aggregation* is not run, it is reckoned: the gas of the transaction that gives the
contract all ciphertexts at one index and lets it compute Eq. (5), less the 21,000 that a
transaction costs in any case, times the number of ciphertexts. Storing the result is not counted.
"""

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gmpy2
import harness

from bdn.chain import merkle
from bdn.ethereum import (
    AnchorRound,
    Contribution,
    EthereumNode,
    FraudEvidence,
    Payment,
    Plan,
    PlannedRound,
    ProvenLeaf,
    Record,
    Setup,
    Shape,
    anchor_run,
    challenge,
    connect,
    find_contract,
    in_process,
)
from bdn.identity import address_of
from bdn.paillier import PackedCipher, PublicKey, RingMaskedCipher, deal_from_primes

SAMPLES = 27_450
LENGTH = 252_399
BASE_GAS = 21_000
LIMIT = 1 << 24
"""The most gas of one transaction (EIP-7825)."""

STEPS = ("deploy", "register", "anchor", "challenge")

NODE_MODULES = Path(__file__).parents[1] / "tests" / "ethereum" / "node_modules"


def public_key(rng: random.Random) -> PublicKey:
    """A 2048-bit key; its primes are not safe, which changes no size."""
    primes = [gmpy2.next_prime(rng.getrandbits(1024) | 3 << 1022) for _ in range(2)]
    key, _ = deal_from_primes(int(primes[0]), int(primes[1]), 5, 3, require_safe_primes=False)
    return key


def tree(leaf: bytes, size: int, index: int, rng: random.Random) -> tuple[bytes, ProvenLeaf]:
    """(root, leaf with its path) of a tree of this size; the other leaves stay short."""
    leaves = [rng.randbytes(8) for _ in range(size)]
    leaves[index] = leaf
    return merkle.root(leaves), ProvenLeaf(leaf, tuple(merkle.inclusion_proof(leaves, index)))


class Case:
    """One false round of so many devices, and the evidence against it."""

    def __init__(
        self, key: PublicKey, shape: Shape, inside: bool, devices: int, rng: random.Random
    ) -> None:
        keys = sorted((rng.randbytes(32) for _ in range(devices)), key=address_of)
        M, width, index = int(key.N) ** 2, key.width, shape.ciphertexts // 2
        weight = SAMPLES // devices
        self.setup = Setup(rng.randbytes(32), M.to_bytes(width, "big"), inside, tuple(keys),
                           tuple(rng.randbytes(32) for _ in range(4)), (shape,) * 3)
        leaves = [rng.randrange(1, M).to_bytes(width, "big") for _ in range(devices + 1)]
        trees = [tree(leaf, shape.leaves, index, rng) for leaf in leaves]
        parts = tuple(Contribution(address_of(device), weight, root)
                      for device, (root, _) in zip(keys, trees, strict=False))
        edge = address_of(self.setup.edges[0])
        paid = [Payment(rng.randbytes(20), edge, 300)]
        paid += [Payment(edge, part.device, weight) for part in parts]
        item = AnchorRound(1, 1, 4, rng.randbytes(32), trees[-1][0], parts)
        self.planned = PlannedRound(item, tuple(paid), edge)
        self.evidence = FraudEvidence(index, tuple(leaf for _, leaf in trees[:-1]), trees[-1][1])
        self.exponents = [1 if inside else weight] * devices

    def product_call(self, contract: Any) -> Any:
        """The contract computes Eq. (5) at one index."""
        inputs = [leaf.data for leaf in self.evidence.inputs]
        return contract.functions.isProduct(
            self.setup.modulus, inputs, self.exponents, self.evidence.claimed.data)


def measure_case(node: EthereumNode, case: Case) -> dict[str, int]:
    """Gas of every step for one case on one chain."""
    record = Record(None)
    plan = Plan(case.setup, (case.planned,))
    deployment, registration, anchoring = (gas for _, gas in anchor_run(node, plan, record).gas)
    contract = find_contract(node, case.setup, record)
    account = node.accounts[0]
    verdict = challenge(node, contract, case.planned.round, case.setup, case.evidence, account)
    if not verdict.lie:
        raise RuntimeError("random numbers satisfied Eq. (5)")
    product = case.product_call(contract).estimate_gas({"from": account.address})
    return {"deploy": deployment, "register": registration, "anchor": anchoring,
            "challenge": verdict.gas, "one index": product - BASE_GAS}


@contextlib.contextmanager
def live_node(rules: str) -> Iterator[EthereumNode | None]:
    """A live node under these rules, or None where anvil is absent."""
    folder = Path(os.environ.get("BDN_NODE_MODULES", NODE_MODULES))
    command = folder / ".bin" / "anvil"
    if not command.exists():
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([command, "--port", str(port), "--hardfork", rules, "--silent"])
    try:
        yield _connected(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(10)


def _connected(url: str, process: "subprocess.Popen[bytes]") -> EthereumNode:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
            return connect(url)
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("anvil ended")


def ciphers(key: PublicKey) -> Iterator[tuple[str, bool, Shape]]:
    """(name, whether the weight is inside, how an update of the paper's model is cut)."""
    packed = PackedCipher(key, LENGTH, 1.0, total_weight=SAMPLES)
    yield "packed", False, Shape(packed.ciphertext_count, packed.ciphertext_count + 1)
    masked = RingMaskedCipher(key, LENGTH, 1.0, total_weight=SAMPLES, seed=b"")
    chunks = -(-masked.ring_bytes // masked.chunk_bytes)
    count = masked.ciphertext_count
    yield "ring-masked", True, Shape(count, count + chunks + 1)


def rows(
    report: harness.Report, where: str, node: EthereumNode, cases: Sequence[tuple[str, Shape, Case]]
) -> None:
    """Two tables: what is sent, and what aggregating on chain would cost; one row a case."""
    measured = [(name, shape, case, measure_case(node, case)) for name, shape, case in cases]
    for name, _, case, gas in measured:
        report.add(rules=where, cipher=name, devices=len(case.setup.devices),
                   **{what: f"{gas[what]:,}" for what in STEPS})
    for name, shape, case, gas in measured:
        whole = gas["one index"] * shape.ciphertexts
        report.add(**{
            "rules": where, "cipher": name, "devices": len(case.setup.devices),
            "one index": f"{gas['one index']:,}", "indices": shape.ciphertexts,
            "M gas": round(whole / 1e6), "transactions": -(-whole // LIMIT),
        })


def measure(report: harness.Report) -> None:
    """All cases under all rules."""
    rng = random.Random(9)
    key = public_key(rng)
    counts = (5,) if report.quick else (5, 10, 20)
    cases = [(name, shape, Case(key, shape, inside, count, rng))
             for name, inside, shape in ciphers(key) for count in counts]
    rows(report, "Prague (py-evm)", in_process(), cases)
    for rules in ("prague", "osaka"):
        with live_node(rules) as node:
            if node is None:
                report.missing.append(f"anvil is not installed: no rows of {rules} on a live node "
                                      "(npm install --no-package-lock --prefix tests/ethereum)")
            else:
                rows(report, f"{rules.capitalize()} (anvil)", node, cases)
    report.notes.append("second table: aggregating a whole update on chain; M gas = one index × "
                        "indices, reckoned, not run; transactions of at most 2^24 gas (EIP-7825)")


if __name__ == "__main__":
    harness.main("Gas of the Ethereum adapter", measure, ["web3", "py-evm"])
