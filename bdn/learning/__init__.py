"""Being built; see DESIGN section 11."""

from bdn.errors import UsageError
from bdn.learning.cnn import PaperCNN
from bdn.learning.dataset import Data, Dataset
from bdn.learning.digits import load_digits
from bdn.learning.errors import DataError, DeviceError, ModelError, TooFewDevicesError
from bdn.learning.evaluation import Evaluation, accuracy, evaluate, global_loss
from bdn.learning.executors import Executor, open_executor
from bdn.learning.federated import (
    EpochResult,
    TrainingSettings,
    apply_update,
    device_generator,
    federated,
    train,
    weighted_sum,
)
from bdn.learning.local import LocalResult, local_gradient, local_loss, local_update
from bdn.learning.splits import split


def load(name: str) -> Data:
    """See DESIGN section 11."""
    if name == "digits":
        return load_digits()
    raise UsageError(f"no data called {name!r}")


__all__ = [
    "Data", "DataError", "Dataset", "DeviceError", "EpochResult", "Evaluation", "Executor",
    "LocalResult", "ModelError", "PaperCNN", "TooFewDevicesError", "TrainingSettings", "accuracy",
    "apply_update", "device_generator", "evaluate", "federated", "global_loss", "load",
    "local_gradient", "local_loss", "local_update", "open_executor", "split", "train",
    "weighted_sum",
]  # fmt: skip
