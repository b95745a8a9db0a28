"""Collaborative learning (Section 4.1): the paper's CNN, its local rules, Algorithm 1, detection.

The package stands alone: it knows nothing of encryption, ledgers or consensus. Ten lines train a
model over five devices and judge it::

    >>> from bdn.learning import PaperCNN, TrainingSettings, accuracy, federated, load, split
    >>> data = load("digits")                                # 1,797 real handwritten digits
    >>> devices = split(data.train, 5, kind="iid", seed=0)   # disjoint parts, s_1 … s_5
    >>> cnn = PaperCNN(classes=10, seed=0)                   # 252,398 parameters
    >>> rules = TrainingSettings(rule="sgd", epochs=4, iterations=20, step_size=0.1)
    >>> for result in federated(cnn, devices, rules):        # Algorithm 1
    ...     print(result.epoch, result.global_loss < 2.3, len(result.contributors))
    1 True 5
    2 True 5
    3 True 5
    4 True 5
    >>> accuracy(cnn, result.best_w, data.test) > 0.9        # on digits that nobody trained on
    True

**The network** (`PaperCNN`) holds no parameters: ``w`` is one flat float32 vector, because that is
what a device seals and uploads; `bdn.learning.models.shapes` says which part is which. It is
written twice: `models.plain` to be read, `models.fast` to be run; tests hold them equal to each
other, to finite differences and to PyTorch.

**What a device does** (`local_update`, `local_gradient`, `local_loss`) is pure functions of (model,
parameters, data, rule, generator), so that they run here, in a worker process, or on another
machine (`open_executor`: ``serial``, ``processes``, ``dask:ADDRESS``) with the same result.

**Algorithm 1** (`federated`) is the oracle of the encrypted run: both call the same local
functions, draw batches from the same named substreams (`device_generator`), and add up by
`weighted_sum` and `apply_update` (Eq. (4)). A diverged or failing device is named in the result and
left out of the average.

**Devices of other kinds** (`client_learner`) need only Flower's NumPyClient methods, so a PyTorch
model joins as it is; `CnnClient` is our device for a Flower server.

**Other models** (`SoftmaxRegression`, `MultilayerPerceptron`, any `Classifier`) take the CNN's
place, and so does a PyTorch module (`bdn.learning.torch`); `make_model` makes one by its name.

**Data** (`load`): embedded digits, MNIST-like IDX files, arrays, tables, folders of pictures, a
VOCdevkit, made scenes, or a Python function. `split` spreads
a set over devices: IID, by size, Dirichlet(α), by class.

**Detection** (`detect`, `draw`): windows of several sizes, non-maximum suppression, boxes;
`evaluate_detections` is VOC's average precision, 11-point and all-point; `judge_detector` takes it
of a model on a source's whole held-out pictures.

Where we differ from the paper:

- Eq. (1) divides ΣF_k by s though F_k is already a mean; here F = Σ s_k F_k / s.
- Eq. (3) as printed is `svrg-literal`. With stochastic gradients over b samples it is `svrg`, whose
  step is λ b / s_k; b = 1 is the single-sample rule from which Eq. (3) comes.
- Algorithm 1's loop test compares w^(f) with w^(p-1) and is false at once, line 12 leaves the next
  epoch's start unset: here the loop runs until ‖w^(p) − w^(p-1)‖₂ ≤ ε or p = P, each epoch from
  w^(p-1).
- "mean precision accuracy" is not defined: `evaluate` gives mean per-class precision, and
  `evaluate_detections` VOC's mAP.
- A detector needs to know what is no object, so scenes (and VOC, if asked) have one more class,
  "background", and w3 one more column.
- The paper's validation instances lie inside its training set; here ``train`` and ``val`` are
  disjoint.
"""

from bdn.learning.datasets.annotations import VocObject
from bdn.learning.datasets.arrays import as_data
from bdn.learning.datasets.dataset import Data, Dataset, Picture
from bdn.learning.datasets.pictures import Box, overlap, read_grey
from bdn.learning.datasets.sources import SOURCES, load
from bdn.learning.datasets.splits import KINDS as SPLITS
from bdn.learning.datasets.splits import split
from bdn.learning.datasets.voc import BACKGROUND, VOC_CLASSES
from bdn.learning.detection.average_precision import (
    ClassResult,
    Detection,
    DetectionResult,
    average_precision,
    evaluate_detections,
)
from bdn.learning.detection.judging import (
    DetectorFigures,
    fitting_windows,
    judge_detector,
    sample_pictures,
)
from bdn.learning.detection.windows import DetectorSettings, detect, draw
from bdn.learning.errors import DataError, DeviceError, ModelError, TooFewDevicesError
from bdn.learning.evaluation import Evaluation, accuracy, confusion, evaluate, global_loss
from bdn.learning.executors import (
    Executor,
    FutureResult,
    Serial,
    WorkerLostError,
    open_executor,
)
from bdn.learning.federated import (
    EpochResult,
    TrainingSettings,
    apply_update,
    device_generator,
    federated,
    train,
    weighted_sum,
)
from bdn.learning.learners import (
    ClientLayout,
    ClientLearner,
    CnnClient,
    CnnLearner,
    Learner,
    NumPyClient,
    client_learner,
    flatten,
    unflatten,
)
from bdn.learning.local import (
    RULES,
    LocalResult,
    TrainingRules,
    local_gradient,
    local_loss,
    local_update,
)
from bdn.learning.model_files import (
    SavedModel,
    history_rows,
    load_checkpoint,
    save_checkpoint,
    write_history,
)
from bdn.learning.models.classifier import Classifier, Model
from bdn.learning.models.cnn import PaperCNN
from bdn.learning.models.factory import MODELS, as_model, make_model
from bdn.learning.models.mlp import MultilayerPerceptron
from bdn.learning.models.softmax import SoftmaxRegression

__all__ = [
    "BACKGROUND",
    "MODELS",
    "RULES",
    "SOURCES",
    "SPLITS",
    "VOC_CLASSES",
    "Box",
    "ClassResult",
    "Classifier",
    "ClientLayout",
    "ClientLearner",
    "CnnClient",
    "CnnLearner",
    "Data",
    "DataError",
    "Dataset",
    "Detection",
    "DetectionResult",
    "DetectorFigures",
    "DetectorSettings",
    "DeviceError",
    "EpochResult",
    "Evaluation",
    "Executor",
    "FutureResult",
    "Learner",
    "LocalResult",
    "Model",
    "ModelError",
    "MultilayerPerceptron",
    "NumPyClient",
    "PaperCNN",
    "Picture",
    "SavedModel",
    "Serial",
    "SoftmaxRegression",
    "TooFewDevicesError",
    "TrainingRules",
    "TrainingSettings",
    "VocObject",
    "WorkerLostError",
    "accuracy",
    "apply_update",
    "as_data",
    "as_model",
    "average_precision",
    "client_learner",
    "confusion",
    "detect",
    "device_generator",
    "draw",
    "evaluate",
    "evaluate_detections",
    "federated",
    "fitting_windows",
    "flatten",
    "global_loss",
    "history_rows",
    "judge_detector",
    "load",
    "load_checkpoint",
    "local_gradient",
    "local_loss",
    "local_update",
    "make_model",
    "open_executor",
    "overlap",
    "read_grey",
    "sample_pictures",
    "save_checkpoint",
    "split",
    "train",
    "unflatten",
    "weighted_sum",
    "write_history",
]  # fmt: skip
