"""Named sets of a run's choices: ``bdn run --preset NAME``.

``paper`` is section 5's training as it is printed: (learning rate, epochs, iterations) =
(0.5, 1, 1500), ten Raspberry Pis, the rule of Eq. (3). As printed that rule divides λ by s_k though
∇F_k is a mean already, so its 1,500 steps are small ones, and each is a pass over all of a device's
samples; what comes out is reported as it is (docs/learning.md). The paper's data are VOC2012's
objects: give them with ``--data voc:DIR``; without, the embedded digits take their place.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"devices": 10, "epochs": 1, "iterations": 1500, "step_size": 0.5,
              "rule": "svrg-literal"},
}
"""Name → fields of `RunConfig` that differ from its defaults."""
