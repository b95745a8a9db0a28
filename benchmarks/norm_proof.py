"""What the norm proof costs beside sealing, over model size and key length, and beside others.

The paper's model (252,398 parameters and a loss, 16-bit values), devices of 2,745 samples, ten
contributors, a 2048-bit key, one core; medians in one run::

    python benchmarks/norm_proof.py [--quick] [--json FILE]

Processor time is measured, so that other work on the machine disturbs little. What a process does
once per key is apart, in the column "bases s".
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import Report, main

from bdn.encoding import decode_record
from bdn.paillier import PackedCipher, PublicKey, RingMaskedCipher, deal
from bdn.paillier.norm_proof import forget_relations, prove, verify, verify_together
from bdn.paillier.norm_proof.commitments import CommitmentKey
from bdn.paillier.norm_proof.protocol import SQUARES
from bdn.paillier.vector.cipher import SealingProof, VectorCipher
from bdn.randomness import SystemRandomness

PARAMETERS, SAMPLES, DEVICES = 252_398, 2745, 10
BOUND = 3.0
TARGETS = {"ring-masked": {"make": 0.6, "verify": 0.4, "ten together": 2.5},
           "packed": {"make": 1.2, "verify": 1.6}}
"""Seconds that the proof is to stay below; a ring-masked one also below 100 KB."""

PUBLISHED = (
    ("ACORN", "Bell et al., USENIX Security 2023, abstract",
     ("bounds in several norms, L2 among them, one server: 250,000 values of 16 bits in under 80 s "
      "of computation per client, and a tenth more communication than without validation")),
    ("RoFL", "Lycklama et al., IEEE S&P 2023, arXiv 2107.03311, abstract",
     "L2 and L∞ bounds, one server; no figure in the abstract, see RiseFL"),
    ("EIFFeL", "Roy Chowdhury et al., CCS 2022, arXiv 2112.12727, abstract",
     ("any check, shares between all clients: 2.4 s per iteration for an MNIST model, 100 clients, "
      "10 % of them malicious")),
    ("RiseFL", "Zhu et al., arXiv 2311.15310, abstract",
     ("random projections, too, one server: client computation up to 28 times faster than ACORN, "
      "53 than RoFL, 164 than EIFFeL")),
    ("PINE", "Rothblum et al., arXiv 2311.10237, abstract",
     ("an exact L2 bound for two servers that do not collude, as in Prio: a few per cent more "
      "communication for long vectors, where earlier approaches send 16 to 32 times as much")),
)
"""(system, source, what it reports and in which setting). None has a threshold key."""


def cpu(function: Callable[[], Any], repeats: int) -> float:
    """The median of ``repeats`` calls, in seconds of processor time."""
    seconds = []
    for _ in range(repeats):
        forget_relations()  # nothing is shared with whoever made the proof
        started = time.process_time()
        function()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def cipher_of(name: str, key: PublicKey, entries: int, bound: float | None) -> VectorCipher:
    """One of the two ciphers, for a model of ``entries`` and its loss."""
    clip = np.append(np.full(entries, 1.0), 16.0)
    options: dict[str, Any] = {"total_weight": SAMPLES * DEVICES, "norm_bound": bound,
                               "singles": 0 if bound is None else 1}
    if name == "packed":
        return PackedCipher(key, entries + 1, clip, **options)
    return RingMaskedCipher(key, entries + 1, clip, contributors=DEVICES, **options)


def cost(report: Report, name: str, key: PublicKey, entries: int, repeats: int) -> None:
    """One row: the proof's parts, alone and in a sealing."""
    cipher, free = (cipher_of(name, key, entries, bound) for bound in (BOUND, None))
    rng = np.random.default_rng(entries)
    vector = np.append(rng.normal(0, 0.9 * BOUND / entries**0.5, entries), 2.0)
    sealed = cipher.seal(vector, SAMPLES, context=b"device")
    free.seal(vector, SAMPLES)  # tables and transforms are made once per key and phase
    proof = decode_record(SealingProof, sealed.proof).norm
    assert proof is not None
    ciphertexts = cipher._ciphertexts(sealed)
    bound_to = cipher._proof_context(sealed, b"device")

    def statement() -> Any:
        return cipher._norm_statement(sealed, ciphertexts, bound_to)

    made: list[Any] = []

    def watch(self: Any, *arguments: Any) -> bytes:
        made[:] = arguments
        return prove_whole(self, *arguments)

    prove_whole = type(cipher)._prove
    type(cipher)._prove = watch  # type: ignore[method-assign]
    try:
        sealing = cpu(lambda: cipher.seal(vector, SAMPLES, context=b"device"), repeats)
    finally:
        type(cipher)._prove = prove_whole  # type: ignore[method-assign]
    _, _, nonces, _, _, about, hidden = made
    make = cpu(lambda: prove(about, about.witness(hidden, nonces), SystemRandomness()), repeats)
    integers = sum(block.count + SQUARES for block in about.blocks)
    row = {
        "cipher": name, "key": key.bits, "parameters": entries,
        "bases s": cpu(lambda: CommitmentKey(key.N, key.seed, integers), 1),
        "seal without s": cpu(lambda: free.seal(vector, SAMPLES), repeats),
        "seal with s": sealing, "make s": make,
        "verify s": cpu(lambda: verify(statement(), proof), repeats),
        "proof KB": len(proof.to_bytes()) / 1000, "upload KB": len(sealed.to_bytes()) / 1000,
    }
    report.add(**row)
    if entries != PARAMETERS or key.bits != 2048:
        return
    reached = {"make": make, "verify": float(row["verify s"])}
    if name == "ring-masked":
        epoch = [cipher.seal(vector, SAMPLES, context=b"device") for _ in range(DEVICES)]
        proofs = [decode_record(SealingProof, one.proof).norm for one in epoch]
        statements = [
            cipher._norm_statement(one, cipher._ciphertexts(one),
                                   cipher._proof_context(one, b"device"))
            for one in epoch]
        together = cpu(lambda: verify_together(statements, proofs), 1 if report.quick else 3)
        report.add(cipher=name, **{"ten one by one s": DEVICES * reached["verify"],
                                   "ten together s": together})
        reached["ten together"] = together
    for what, most in TARGETS[name].items():
        report.notes.append(f"{name}, {what}: {reached[what]:.2f} s of processor time, at most "
                            f"{most} s asked: {'held' if reached[what] <= most else 'MISSED'}")


def measure(report: Report) -> None:
    """Both ciphers at the paper's size; then sizes and keys."""
    repeats = 3 if report.quick else 5
    key, _ = deal(parties=3, threshold=2, bits=2048)
    for name in ("ring-masked", "packed"):
        cost(report, name, key, PARAMETERS, repeats)
    for entries in (10_000, 100_000) if report.quick else (10_000, 100_000, 1_000_000, 10_000_000):
        cost(report, "ring-masked", key, entries, 1 if entries > 10**6 else repeats)
        if entries <= 10**5:
            cost(report, "packed", key, entries, 1)
    for bits in (1024,) if report.quick else (1024, 3072):
        cost(report, "ring-masked", deal(parties=3, threshold=2, bits=bits)[0], PARAMETERS, repeats)
    for system, source, setting in PUBLISHED:
        report.add(system=system, source=source, setting=setting)


if __name__ == "__main__":
    sys.exit(0 if main("The norm proof", measure) else 1)
