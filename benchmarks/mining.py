"""What the mining contract costs beside the arithmetic that it orders.

A run is driven to its first candidate block, and the block is taken back. Timed in alternation with
the bare operations (`verify` of each update and one `weighted_sum`, on vectors that lie parsed in
memory):

- the mining contract: Tx_co's call from the ledger, with its calls of the learning contract, gas,
  events, state and the Merkle root of the product; the vectors lie parsed in memory, as they do in
  an edge server that has taken them in, but nothing counts as verified or added yet;
- the whole block with every cache emptied: besides, six signatures, the upload calls, and all blobs
  out of the store with their Merkle roots.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import harness

from bdn.chain import UpdateTransaction, unpack_blob
from bdn.chain.execution import apply_transaction, execute
from bdn.chain.state import Overlay
from bdn.experiments.config import RunConfig
from bdn.experiments.run import opened_run
from bdn.nodes.ciphers import update_context


def measure(report: harness.Report, cipher: str, devices: int, key_bits: int) -> None:
    """One row: block execution over bare operations."""
    config = RunConfig(cipher=cipher, devices=devices, threshold=3, key_bits=key_bits, epochs=1,
                       iterations=1)
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

        machine, base = ledger.machine, execute(ledger.machine, ledger.state, block.header,
                                                block.transactions)
        aggregate = block.aggregate
        assert aggregate is not None, "a candidate block has its Tx_co"

        def contract() -> None:
            host._verified.clear()
            host._products.clear()
            receipt = apply_transaction(machine, Overlay(base.state), block.header, aggregate)
            assert receipt.ok, receipt.error

        def whole_block() -> None:
            for memory in (host._verified, host._parsed, host._products, ledger._checked):
                memory.clear()
            ledger.check(block)

        def operations() -> Any:
            for vector, context in zip(sealed, contexts, strict=True):
                bare.verify(vector, context)
            return bare.weighted_sum(sealed, weights)

        repeats = 5 if cipher == "packed" else 15
        whole_block()  # the vectors are parsed from now on
        contract_time, bare_time = harness.paired(contract, operations, repeats)
        block_time, bare_again = harness.paired(whole_block, operations, repeats)
    report.add(cipher=cipher, updates=devices, bits=key_bits, **{
        "bare (s)": bare_time.median, "call (s)": contract_time.median,
        "call / bare": contract_time.median / bare_time.median,
        "block (s)": block_time.median, "block / bare": block_time.median / bare_again.median})


def benchmark(report: harness.Report) -> None:
    """Both ciphers."""
    measure(report, "ring-masked", 5, 1024 if report.quick else 2048)
    measure(report, "packed", 5, 1024 if report.quick else 2048)
    report.notes.append("The aim is call / bare ≤ 1.1. The ring-masked arithmetic is so cheap "
                        "that reading and hashing 6 MB of blobs shows in the whole block.")


if __name__ == "__main__":
    harness.main("mining contract", benchmark)
