"""What learns at a device (Section 3.2, component 1), by the rules that genesis fixes."""

from dataclasses import dataclass

from bdn.learning import DeviceError, Learner, device_generator
from bdn.nodes.settings import Settings
from bdn.nodes.tasks import Vector
from bdn.randomness import Randomness


@dataclass(frozen=True, slots=True)
class DeviceLearner:
    """A `bdn.learning.Learner` under a run's settings.

    Attributes:
        name: the device's; with ``rng`` it names the generator of its batches, as in the
            plaintext `bdn.learning.federated`.
        learner: the model and the device's own samples.
        settings: rule, T, λ and batch size.
        rng: seeds the batches.
    """

    name: str
    learner: Learner
    settings: Settings
    rng: Randomness

    @property
    def sample_count(self) -> int:
        """s_k."""
        return self.learner.sample_count

    def update(
        self, w: Vector, epoch: int, global_gradient: Vector | None
    ) -> tuple[Vector, float]:
        """(w_k, F_k(w)); raises `DeviceError` for a model that diverged."""
        generator = device_generator(self.rng, self.name, epoch)
        result = self.learner.update(w, self.settings, epoch, generator, global_gradient)
        if result.diverged:
            raise DeviceError(f"{self.name} diverged in epoch {epoch}: {result.reason}")
        return result.w, result.local_loss

    def gradient(self, w: Vector) -> Vector:
        """∇F_k(w)."""
        return self.learner.gradient(w)

    def loss(self, w: Vector) -> float:
        """F_k(w)."""
        return self.learner.loss(w)
