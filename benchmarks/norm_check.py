"""What the norm check sees, and what it costs, for the paper's model under a 2048-bit key.

docs/norm-check.md. How near the estimate is to the true norm (updates of the paper's CNN on the
digits, five devices), by the number of probes R; how seldom an update that was shaped against it
escapes; and what an epoch costs more, beside the opening of the aggregate that it comes before::

    python benchmarks/norm_check.py [--quick] [--json FILE]

The costs are of one device's update in 3,825 ciphertexts and of five devices' probes. The opening
of the aggregate is measured on 96 of its ciphertexts and scaled, as in benchmarks/sealing.py.
"""

from typing import Any

import numpy as np
from gmpy2 import mpz
from harness import Report, main, timed

from bdn.experiments.config import RunConfig
from bdn.experiments.material import make_settings
from bdn.experiments.participants import from_data
from bdn.paillier import KeyShare, PackedCipher, PublicKey, deal
from bdn.paillier.batch import combine_many, encrypt_many, partially_decrypt_many
from bdn.paillier.norms import estimate_norm, make_probes, probe_signs

PARAMETERS, DEVICES, THRESHOLD = 252_398, 5, 3
TOTAL_WEIGHT = 27_450
PROBES = (1, 2, 4, 8, 16)
DEFAULT = 16
SCALED_CIPHERTEXTS = 96
SLOTS = 66


def measure(report: Report) -> None:
    """Fill the report."""
    for delta in updates(1 if report.quick else 3):
        for R in PROBES:
            report.rows.append(accuracy(delta, R, 40 if report.quick else 200))
    for R in PROBES:
        report.rows.append(escapes(R, 2_000 if report.quick else 20_000))
    report.rows.extend(costs(report.quick))


def updates(epochs: int) -> list[np.ndarray]:
    """δ_1 of the first epochs, float64 (|w|,)."""
    config = RunConfig(devices=DEVICES)
    people = from_data(config)
    settings = make_settings(config, people)
    w, found = people.w, []
    for epoch in range(1, epochs + 1):
        deltas = [learner.update(w, settings, epoch, np.random.default_rng(k), None).w - w
                  for k, learner in enumerate(people.learners)]
        found.append(deltas[0].astype(np.float64))
        w = w + np.mean(deltas, axis=0).astype(np.float32)
    return found


def accuracy(delta: np.ndarray, R: int, trials: int) -> dict[str, Any]:
    """The estimate's relative error over many seeds."""
    count = -(-len(delta) // SLOTS)
    rows = np.zeros(count * SLOTS)
    rows[: len(delta)] = delta
    rows = rows.reshape(count, SLOTS)
    true = np.linalg.norm(delta)
    errors = []
    for trial in range(trials):
        signs = np.array([probe_signs(trial.to_bytes(4, "big"), j, count) for j in range(R)])
        errors.append(abs(np.sqrt(((signs @ rows) ** 2).sum() / R) / true - 1))
    median, high = np.quantile(errors, [0.5, 0.95])
    return {"probes R": R, "sums opened": R * SLOTS, "‖δ‖": float(true),
            "error, median": f"{median:.1%}", "error, 95 % of seeds below": f"{high:.1%}"}


def escapes(R: int, trials: int) -> dict[str, Any]:
    """An update shaped as two equal ciphertexts: how often all of its probes are zero."""
    hidden = 0
    for trial in range(trials):
        hidden += not any(probe_signs(trial.to_bytes(4, "big"), j, 2).sum() for j in range(R))
    return {"probes R": R, "shaped update unseen": f"{hidden / trials:.4%}",
            "2^−R": f"{2.0**-R:.4%}", "trials": trials}


def costs(quick: bool) -> list[dict[str, Any]]:
    """Seconds of each step; the aggregate's opening beside it."""
    bits = 1024 if quick else 2048
    public_key, shares = deal(parties=DEVICES, threshold=THRESHOLD, bits=bits)
    cipher = PackedCipher(public_key, PARAMETERS + 1, 1.0, 16, total_weight=TOTAL_WEIGHT,
                          probed=PARAMETERS)
    few, _ = encrypt_many(public_key, list(range(SCALED_CIPHERTEXTS)))
    ciphertexts = (few * (cipher.ciphertext_count // len(few) + 1))[: cipher.ciphertext_count]
    made = make_probes(cipher, ciphertexts, b"seed", DEFAULT)
    repeats = 1 if quick else 3
    probing = timed(lambda: make_probes(cipher, ciphertexts, b"seed", DEFAULT), repeats, 0)
    rows = [row(bits, "probes of one update, an edge server", probing.median)]
    everybody = made * DEVICES
    rows += opening(bits, public_key, shares, everybody, cipher)
    scale = cipher.ciphertext_count / SCALED_CIPHERTEXTS
    share = timed(lambda: partially_decrypt_many(shares[0], few), repeats, 0)
    rows.append(row(bits, "for comparison: a share of the aggregate", share.median * scale))
    width = public_key.width
    rows.append({"key bits": bits, "bytes": "probes of an epoch, on every edge server",
                 "amount": len(everybody) * width})
    rows.append({"key bits": bits, "bytes": "a share of them, before encryption to the group",
                 "amount": len(everybody) * width})
    rows.append({"key bits": bits, "bytes": "for comparison: an update",
                 "amount": cipher.ciphertext_count * width})
    return rows


def opening(
    bits: int, public_key: PublicKey, shares: Any, everybody: list[mpz], cipher: PackedCipher
) -> list[dict[str, Any]]:
    """A holder's share of all probes, and reading the norms off t shares."""
    holders: list[KeyShare] = list(shares[:THRESHOLD])
    share = timed(lambda: partially_decrypt_many(holders[0], everybody), 1, 0)
    parts = [partially_decrypt_many(holder, everybody) for holder in holders]

    def read() -> list[int]:
        opened = combine_many(public_key, everybody, parts, as_signed=True)
        return [estimate_norm(cipher, opened[at : at + DEFAULT])
                for at in range(0, len(opened), DEFAULT)]

    return [row(bits, f"a share of {DEVICES} updates' probes, a key holder", share.median),
            row(bits, "reading the norms, proofs checked, a key holder", timed(read, 1, 0).median)]


def row(bits: int, what: str, seconds: float) -> dict[str, Any]:
    """One line of the table of costs."""
    return {"key bits": bits, "step": what, "seconds": seconds}


if __name__ == "__main__":
    main("Norm check", measure)
