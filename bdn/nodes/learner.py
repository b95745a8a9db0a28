"""What learns at a device: the paper's CNN on the device's own data, by the run's local rule."""

from dataclasses import dataclass

from bdn.learning import (
    Dataset,
    DeviceError,
    PaperCNN,
    device_generator,
    local_gradient,
    local_loss,
    local_update,
)
from bdn.nodes.settings import Settings
from bdn.nodes.tasks import Vector
from bdn.randomness import Randomness


@dataclass(frozen=True, slots=True)
class CnnLearner:
    """A `bdn.nodes.tasks.Learner`: the local model of Section 3.2, component 1.

    Attributes:
        name: the device's; with ``rng`` it names the generator of its batches, as in the
            plaintext `bdn.learning.federated`.
        cnn: the network.
        dataset: the device's samples.
        settings: rule, T, λ and batch size.
        rng: seeds the batches.
    """

    name: str
    cnn: PaperCNN
    dataset: Dataset
    settings: Settings
    rng: Randomness

    @property
    def sample_count(self) -> int:
        """s_k."""
        return len(self.dataset)

    def update(
        self, w: Vector, epoch: int, global_gradient: Vector | None
    ) -> tuple[Vector, float]:
        """(w_k, F_k(w)); raises `DeviceError` for a model that diverged."""
        s = self.settings
        result = local_update(
            self.cnn, w, self.dataset, s.rule, s.iterations, s.step_size, s.batch_size,
            device_generator(self.rng, self.name, epoch), global_gradient,
        )
        if result.diverged:
            raise DeviceError(f"{self.name} diverged in epoch {epoch}: {result.reason}")
        return result.w, result.local_loss

    def gradient(self, w: Vector) -> Vector:
        """∇F_k(w)."""
        return local_gradient(self.cnn, w, self.dataset)

    def loss(self, w: Vector) -> float:
        """F_k(w)."""
        return local_loss(self.cnn, w, self.dataset)
