"""What learning together gives: Table 1's training data insufficiency."""

from statistics import median

from bdn.experiments.history import alone
from bdn.experiments.lab.experiment import Experiment
from bdn.experiments.lab.poison import judged_run
from bdn.experiments.lab.small_runs import undisturbed
from bdn.experiments.run import opened_run
from bdn.runfolder.findings import INSUFFICIENCY, Finding


def alone_or_together(key_bits: int) -> Finding:
    """Each device learns alone, and all learn together over the ledger."""
    config = judged_run(key_bits)
    with opened_run(config) as run:
        baselines = alone(run.material, config, run.executor)
        singles = [baseline.accuracy or 0.0 for baseline in baselines]
        samples = [learner.sample_count for learner in run.material.participants.learners]
    joint = undisturbed(config).accuracy
    return Finding(
        tried=f"{config.devices} devices with {min(samples)} samples each learn alone, and "
              "together without giving their samples away; as many iterations either way.",
        happened=(
            f"Alone: {', '.join(f'{single:.1%}' for single in singles)} on held-out samples.",
            (f"Together: {joint:.1%}; {(joint - max(singles)) * 100:+.1f} points against the best "
             f"device alone, {(joint - median(singles)) * 100:+.1f} against the median one."),
        ),
        claimed="Table 1, training data insufficiency: devices share updates of their local models "
                "instead of data, and each gets an accurate global model.",
        not_covered="One seed and one split; benchmarks/precision.py has five seeds with "
                    "intervals. Devices whose data differ much gain less, or lose.",
        held=joint > max(singles),
    )


EXPERIMENTS = (
    Experiment("alone-or-together", "learning together", INSUFFICIENCY, alone_or_together),
)
