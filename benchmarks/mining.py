"""What the mining contract costs beside the arithmetic that it orders (issue 6).

A run is driven to its first candidate block; the block is taken back, and executed again with every
cache emptied: signatures, blobs out of the store with their Merkle roots, both contracts, host
functions, state and receipts. Beside it, in alternation: the bare operations, `verify` of each
update and one `weighted_sum`, on vectors that lie parsed in memory.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import harness

from bdn.chain import UpdateTransaction, unpack_blob
from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.nodes.sealing import update_context


def measure(report: harness.Report, cipher: str, devices: int, key_bits: int) -> None:
    """One row: block execution over bare operations."""
    config = RunConfig(cipher=cipher, devices=devices, key_bits=key_bits, epochs=1, iterations=1)
    with opened_run(config) as run:
        edge = run.edges[0]
        ledger, host = edge.ledger, edge.application.host
        run.runner.run(lambda: ledger.head.kind == "candidate")
        block = ledger.store.block(ledger.height)
        ledger.rollback(ledger.height - 1)
        updates = [e for e in block.transactions if isinstance(e.payload, UpdateTransaction)]
        terms = ledger.call("learning", "sealing_terms")
        bare = host.ciphers.get(terms, 1, "weights")
        sealed = [bare.sealed_from_leaves(unpack_blob(ledger.blob(e.payload.root)))
                  for e in updates]
        contexts = [update_context(ledger.chain, 1, "weights", e.address) for e in updates]
        weights = [e.payload.sample_count for e in updates]

        def execute() -> None:
            for memory in (host._verified, host._parsed, host._products, ledger._checked):
                memory.clear()
            ledger.check(block)

        def operations() -> Any:
            for vector, context in zip(sealed, contexts, strict=True):
                bare.verify(vector, context)
            return bare.weighted_sum(sealed, weights)

        block_time, bare_time = harness.paired(execute, operations, repeats=5)
    report.add(cipher=cipher, updates=devices, bits=key_bits,
               **{"block (s)": block_time.median, "bare (s)": bare_time.median,
                  "block / bare": block_time.median / bare_time.median})


def benchmark(report: harness.Report) -> None:
    """Both ciphers."""
    measure(report, "ring-masked", 5, 1024 if report.quick else 2048)
    measure(report, "packed", 5, 1024 if report.quick else 2048)
    report.notes.append("The aim is ≤ 1.1 for Eq. (5) on packed Paillier, the paper's cipher; the "
                        "ring-masked sum is so cheap that hashing its blobs shows.")


if __name__ == "__main__":
    harness.main("mining contract", benchmark)
