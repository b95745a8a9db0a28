"""The accuracy that collaborative training must reach, in plaintext (Algorithm 1).

The encrypted run equals this up to its fixed-point step, so these figures are about learning alone.
Targets: digits, ten IID devices, 20 epochs: ≥ 0.96 and ≥ 3 points above the best device
alone at equal iterations; Dirichlet(0.3): ≥ 0.94; literal single-sample SVRG (λ = 0.5): ≥ 0.90 in 5
epochs; Fashion-MNIST, ten devices of 2,745 images, 20 × 15 iterations: ≥ 0.76; made scenes:
mAP@0.5 ≥ 0.60. Whole-batch Eq. (3) exactly as printed is reported, without a target.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np

from bdn.learning import (
    DetectorSettings,
    PaperCNN,
    TrainingSettings,
    accuracy,
    detect,
    evaluate_detections,
    load,
    split,
    train,
)
from bdn.learning.datasets.scenes import scene_part

SHARED = Path(os.environ.get("BDN_SHARED", Path(__file__).parents[2] / "shared"))

IID = TrainingSettings(epochs=20, iterations=40, step_size=0.1, batch_size=16)
DIRICHLET = TrainingSettings(epochs=20, iterations=20, step_size=0.1, batch_size=64)
SINGLE_SAMPLE = TrainingSettings("svrg", epochs=5, iterations=300, step_size=0.5, batch_size=1)
AS_PRINTED = TrainingSettings("svrg-literal", epochs=5, iterations=60, step_size=0.5)
FASHION = TrainingSettings(epochs=20, iterations=15, step_size=0.1, batch_size=64)
SCENES = TrainingSettings(epochs=15, iterations=30, step_size=0.1, batch_size=64)


def row(
    report: harness.Report, what: str, figure: float, target: float | None, rules: TrainingSettings,
    started: float,
) -> None:  # fmt: skip
    """One line of the table."""
    report.add(
        what=what, rule=rules.rule, epochs=rules.epochs, iterations=rules.iterations,
        step_size=rules.step_size, batch=rules.batch_size, figure=round(figure, 4),
        target="" if target is None else target,
        reached="" if target is None else figure >= target,
        seconds=round(time.perf_counter() - started, 1),
    )


def digits(report: harness.Report) -> None:
    """Ten devices on the embedded digits."""
    data, cnn = load("digits"), PaperCNN()
    devices = split(data.train, 10)
    started = time.perf_counter()
    together = accuracy(cnn, train(cnn, devices, IID)[-1].best_w, data.test)
    row(report, "digits, 10 IID devices", together, 0.96, IID, started)
    started = time.perf_counter()
    alone = [accuracy(cnn, train(cnn, {str(k): device}, IID)[-1].best_w, data.test)
             for k, device in enumerate(devices)]
    row(report, "  its lead over the best device alone", together - max(alone), 0.03, IID, started)
    row(report, "  its lead over the mean device alone", together - float(np.mean(alone)), None,
        IID, started)
    started = time.perf_counter()
    uneven = split(data.train, 10, "dirichlet", alpha=0.3)
    figure = accuracy(cnn, train(cnn, uneven, DIRICHLET)[-1].best_w, data.test)
    row(report, "digits, 10 devices, Dirichlet(0.3)", figure, 0.94, DIRICHLET, started)


def literal(report: harness.Report) -> None:
    """Eq. (3) with single samples, and as printed with full batches."""
    data, cnn = load("digits"), PaperCNN()
    devices = split(data.train, 10)
    rules = replace(SINGLE_SAMPLE, iterations=150) if report.quick else SINGLE_SAMPLE
    started = time.perf_counter()
    figure = accuracy(cnn, train(cnn, devices, rules)[-1].best_w, data.test)
    row(report, "digits, literal SVRG, single samples", figure, 0.90, rules, started)
    started = time.perf_counter()
    printed = replace(AS_PRINTED, iterations=30) if report.quick else AS_PRINTED
    figure = accuracy(cnn, train(cnn, devices, printed)[-1].best_w, data.test)
    row(report, "digits, Eq. (3) exactly as printed", figure, None, printed, started)


def fashion(report: harness.Report) -> None:
    """Ten devices of 2,745 images, the paper's sizes, on Fashion-MNIST."""
    folder = SHARED / "data" / "fashion-mnist"
    if not folder.is_dir():
        report.missing.append("Fashion-MNIST is not beside the repository: its row is absent")
        return
    data, cnn = load(f"idx:{folder}"), PaperCNN()
    chosen = data.train.subset(np.arange(27_450))
    started = time.perf_counter()
    result = train(cnn, split(chosen, 10), FASHION)[-1]
    figure = accuracy(cnn, result.best_w, data.test)
    row(report, "Fashion-MNIST, 10 × 2,745 images", figure, 0.76, FASHION, started)


def scenes(report: harness.Report) -> None:
    """A detector by collaborative training of five devices, judged on made scenes."""
    data, cnn = load("scenes"), PaperCNN(classes=11)
    started = time.perf_counter()
    result = train(cnn, split(data.train, 5), SCENES)[-1]
    pages: dict[str, Any] = {str(i): scene for i, scene in
                             enumerate(scene_part("val", 60))}
    settings = DetectorSettings(largest=60)
    said = {name: detect(cnn, result.best_w, data.class_names, page.picture, settings)
            for name, page in pages.items()}
    figures = evaluate_detections({name: page.objects for name, page in pages.items()}, said)
    row(report, "made scenes, mAP@0.5, all points", figures.mean_all_point, 0.60, SCENES, started)
    row(report, "made scenes, mAP@0.5, 11 points", figures.mean_eleven_point, None, SCENES, started)


def measure(report: harness.Report) -> None:
    """Everything; the quick profile leaves out what takes long."""
    digits(report)
    literal(report)
    if report.quick:
        report.missing.append("quick: Fashion-MNIST and the detector on made scenes are left out")
        return
    fashion(report)
    scenes(report)


def draw(whole: dict[str, Any], path: Path) -> None:
    """Each figure, and the target where there is one."""
    import plots

    rows = whole["rows"]
    figure, axes = plots.subplots(figsize=(9, 1 + 0.4 * len(rows)))
    axis = axes[0, 0]
    axis.barh(range(len(rows)), [row["figure"] for row in rows], color=plots.BLUE, label="reached")
    aims = [(row["target"], i) for i, row in enumerate(rows) if row["target"] != ""]
    axis.plot(*zip(*aims, strict=True), "|", color=plots.RED, markersize=16, markeredgewidth=3,
              label="target")
    axis.set_yticks(range(len(rows)), [row["what"].strip() for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel("accuracy, lead in accuracy, or mAP")
    axis.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=2)
    plots.save(figure, path)


if __name__ == "__main__":
    harness.main("Accuracy of collaborative training", measure, draw=draw)
