"""Federated averaging in plaintext under a run's fixed-point code: what the ledger must equal.

    python tests/experiments/plaintext_fedavg.py RUN

trains the finished run's model again without keys, seals, ledger or consensus, and compares each
bit of its last model; exit status 1 where one differs. Only the code of numbers is shared with the
run: how an update is shrunk to its limits and rounded to levels, and how a sum of levels becomes a
step of the model. The levels are added up as plain integers.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from bdn.experiments.folder import NodeStore, RunFolder
from bdn.experiments.machine import one_blas_thread
from bdn.experiments.provisioning import Material, provision
from bdn.learning import RULES, apply_update, device_generator
from bdn.nodes.ciphers import clips, make_cipher
from bdn.nodes.device.work import fit_to_bound, fit_to_clips
from bdn.nodes.settings import WEIGHTS
from bdn.paillier import PublicKey
from bdn.paillier.vector.fixedpoint import FixedPoint
from bdn.randomness import SeededRandomness
from bdn.runfolder import MODEL, NODES
from bdn.trace import DISCARD


def plaintext_models(
    material: Material, contributors: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    """Return w^(1) … w^(P), float32, for a run whose epochs had these contributors."""
    settings, people = material.settings, material.participants
    assert not RULES[settings.rule].needs_gradient, "gradient phases are not played here"
    key = PublicKey.from_bytes(material.public_key)
    rng = SeededRandomness(material.config.seed)
    learners = dict(zip(material.device_names, people.learners, strict=True))
    clip = clips(settings, WEIGHTS)
    code = FixedPoint(len(clip), clip, settings.value_bits, settings.total_weight)
    models, w = [], people.w
    for epoch, names in enumerate(contributors, start=1):
        cipher = make_cipher(settings, key, WEIGHTS, epoch, bytes(32))  # knows the norm bound
        total, weight = np.zeros(len(clip), np.int64), 0
        for name in names:
            learner = learners[name]
            result = learner.update(w, settings, epoch, device_generator(rng, name, epoch), None)
            vector = np.append((result.w - w).astype(np.float64), result.local_loss)
            vector, _ = fit_to_clips(vector, clip, with_loss=True)
            vector, _ = fit_to_bound(cipher, vector, with_loss=True)
            total += learner.sample_count * code.quantise(vector)
            weight += learner.sample_count
        w = apply_update(w, code.to_values(total)[:-1], weight)
        models.append(w)
    return models


def main(path: Path) -> int:
    """Compare the run in ``path``; returns the exit status."""
    folder = RunFolder.open(path)
    history = folder.read_history()
    contributors = [row["contributors"] for row in history["epochs"] if not row["closing"]]
    with one_blas_thread(required=False), closing(NodeStore(path / NODES)) as store:
        material = provision(folder.config, store, DISCARD, 0)
        ours = plaintext_models(material, contributors)[-1]
    with np.load(path / MODEL) as arrays:
        theirs = arrays["w_last"]
    different = int((ours.view(np.int32) != theirs.view(np.int32)).sum())
    moved = int((theirs != material.participants.w).sum())
    print(f"{len(ours):,} parameters, {len(contributors)} epochs, {material.config.key_bits}-bit "
          f"key: {different} differ from plaintext federated averaging; {moved:,} from w^(0)")
    return 1 if different or not moved else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
