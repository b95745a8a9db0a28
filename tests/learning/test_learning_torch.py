"""PyTorch modules as models, compared with PyTorch's own training loop."""

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

from bdn.learning import (
    Dataset,
    ModelError,
    TrainingSettings,
    local_update,
    make_model,
    train,
)
from bdn.learning.local import batches

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch)")
from bdn.learning.torch import TorchModel  # noqa: E402 - needs PyTorch

nn = torch.nn
CLASSES = 3


def network(kind: str = "batch-norm", seed: int = 0) -> Any:
    """A small network for (6, 5, 3) pictures, channels last."""
    torch.manual_seed(seed)
    norm = {"batch-norm": nn.BatchNorm2d(4), "group-norm": nn.GroupNorm(2, 4),
            "dropout": nn.Dropout(0.5), "cumulative": nn.BatchNorm2d(4, momentum=None)}[kind]
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * 30, CLASSES))


def pictures(count: int = 40, seed: int = 1) -> Dataset:
    """Noise with a bright channel per class, float32."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    X = rng.random((count, 6, 5, 3), np.float32)
    X[np.arange(count), :, :, y] += 1
    return Dataset(X, y, CLASSES)


def torch_training(module: Any, data: Dataset, iterations: int, step: float, size: int,
                   rng: np.random.Generator, **options: Any) -> Any:
    """PyTorch's own loop over the same batches; returns the trained copy."""
    module = copy.deepcopy(module).train()
    optimiser = torch.optim.SGD(module.parameters(), lr=step, **options)
    drawn = batches(len(data), size, rng)
    for _ in range(iterations):
        X, y = data.batch(next(drawn))
        optimiser.zero_grad()
        inputs = torch.from_numpy(X).permute(0, 3, 1, 2)
        nn.functional.cross_entropy(module(inputs), torch.from_numpy(y)).backward()
        optimiser.step()
    return module


@pytest.mark.parametrize("kind", ["batch-norm", "group-norm"])
@pytest.mark.parametrize(("rule", "options"), [("sgd", {}), ("momentum", {"momentum": 0.9})])
def test_a_local_update_is_pytorchs_own(kind: str, rule: str, options: dict[str, float]) -> None:
    """Parameters and running statistics, after twelve steps over the same batches."""
    module, data = network(kind), pictures()
    model = TorchModel(module, (6, 5, 3), CLASSES)
    untouched = copy.deepcopy(module.state_dict())
    result = local_update(model, model.parameters(), data, rule, 12, 0.05, 8,
                          np.random.default_rng(5))
    theirs = torch_training(module, data, 12, 0.05, 8, np.random.default_rng(5), **options)
    ours = model.state_dict(result.w)
    assert list(ours) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)
            assert not torch.equal(ours[name], untouched[name])
        else:
            assert torch.equal(ours[name], untouched[name])  # a counter stays at home
        assert torch.equal(module.state_dict()[name], untouched[name])
        assert ours[name].dtype == value.dtype


def test_scores_and_loss_are_those_of_the_module_in_evaluation_mode() -> None:
    module, data = network(), pictures()
    model = TorchModel(module, (6, 5, 3), CLASSES)
    w = local_update(model, model.parameters(), data, "sgd", 5, 0.05, 8,
                     np.random.default_rng(0)).w
    module.load_state_dict(model.state_dict(w))
    module.eval()
    with torch.no_grad():
        S = module(torch.from_numpy(data.images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(model.scores(w, data.images), S.numpy(), rtol=1e-5, atol=1e-6)
    loss = nn.functional.cross_entropy(S, torch.from_numpy(data.labels)).item()
    assert model.loss(w, data.images, data.labels) == pytest.approx(loss, rel=1e-5)


def test_the_vector_is_the_state_dict_in_its_order_without_counters() -> None:
    module = network()
    model = TorchModel(module, (6, 5, 3), CLASSES)
    expected = [value.numpy().ravel() for name, value in module.state_dict().items()
                if not name.endswith("num_batches_tracked")]
    np.testing.assert_array_equal(model.parameters(), np.concatenate(expected))
    assert model.size == 4 * 27 + 4 + 4 * 4 + 4 * 30 * 3 + 3
    back = model.state_dict(model.parameters())
    assert all(torch.equal(back[name], value) for name, value in module.state_dict().items())


def test_the_exported_file_is_a_state_dict() -> None:
    model = TorchModel(network(), (6, 5, 3), CLASSES)
    w = model.parameters() + np.float32(0.5)
    (name, data), = model.exports(w).items()
    assert name == "model.pt"
    other = network(seed=9)
    other.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
    np.testing.assert_array_equal(TorchModel(other, (6, 5, 3), CLASSES).parameters(), w)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_trains_and_keeps_its_type(kind: str) -> None:
    """w is float32, so that small steps are not lost; the module computes in its own type."""
    dtype = getattr(torch, kind)
    model = TorchModel(network("group-norm").to(dtype), (6, 5, 3), CLASSES)
    data = pictures()
    w = model.parameters()
    assert w.dtype == np.float32
    result = local_update(model, w, data, "sgd", 30, 0.1, 20, np.random.default_rng(0))
    assert model.loss(result.w, data.images, data.labels) < 0.7 * model.loss(
        w, data.images, data.labels)
    assert {value.dtype for value in model.state_dict(result.w).values()} == {dtype}


def test_dropout_depends_on_the_batch_and_on_nothing_else() -> None:
    """The same arguments give the same gradient, whatever PyTorch's generator was used for."""
    model, data = TorchModel(network("dropout"), (6, 5, 3), CLASSES), pictures(8)
    w = model.parameters()
    first = model.loss_and_gradient(w, data.images, data.labels)[1].copy()
    state = torch.random.get_rng_state()
    torch.manual_seed(1234)
    before = torch.random.get_rng_state()
    again = model.loss_and_gradient(w, data.images, data.labels)[1]
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(state)
    other = model.loss_and_gradient(w, data.images[::-1].copy(), data.labels[::-1].copy())[1]
    assert not np.allclose(first, other)


def test_a_pure_gradient_leaves_the_statistics_alone() -> None:
    model, data = TorchModel(network(), (6, 5, 3), CLASSES), pictures(8)
    w = model.parameters()
    kept = w.copy()
    gradient = model.loss_and_gradient(w, data.images, data.labels)[1].copy()
    np.testing.assert_array_equal(w, kept)
    out = np.empty_like(w)
    model.training_gradient(w, data.images, data.labels, out)
    np.testing.assert_array_equal(out, gradient)
    moved = np.flatnonzero(w != kept)
    assert set(moved) <= set(range(4 * 27 + 4 + 8, 4 * 27 + 4 + 16))  # running mean and variance
    assert len(moved) == 8


def test_a_frozen_or_unused_parameter_stays() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, CLASSES), nn.Linear(2, 2)
            self.used.bias.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    model = TorchModel(Odd(), (2,), CLASSES)
    data = Dataset(np.eye(2, dtype=np.float32), np.arange(2), CLASSES)
    result = local_update(model, model.parameters(), data, "sgd", 3, 0.1, 2,
                          np.random.default_rng(0))
    change = model.state_dict(result.w - model.parameters())
    assert torch.any(change["used.weight"] != 0)
    assert not torch.any(change["unused.weight"])
    assert not torch.any(change["used.bias"])


def test_tied_parameters_are_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(CLASSES, CLASSES), nn.Linear(CLASSES, CLASSES)
            self.b.weight = self.a.weight

        def forward(self, x: Any) -> Any:
            return self.b(self.a(x))

    module = Tied()
    model = TorchModel(module, (CLASSES,), CLASSES)
    assert model.size == 9 + 3 + 3
    state = model.state_dict(model.parameters() * np.float32(2))
    assert torch.equal(state["a.weight"], state["b.weight"])
    module.load_state_dict(state)


def test_grey_pictures_get_their_channel() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 4, CLASSES))
    model = TorchModel(module, (4, 4), CLASSES)
    X = np.random.default_rng(0).random((3, 4, 4), np.float32)
    expected = module(torch.from_numpy(X[:, None])).detach().numpy()
    np.testing.assert_allclose(model.scores(model.parameters(), X), expected, rtol=1e-6)


@pytest.mark.parametrize(("module", "says"), [
    (nn.Linear(4, CLASSES + 1), "scores of shape"), (nn.Linear(5, CLASSES), "RuntimeError"),
    (nn.Linear(4, CLASSES).double(), "float64; parameters may be"),
    (nn.LazyLinear(CLASSES), "has no shape yet"), (nn.Flatten(), "no parameters"),
    (nn.Linear(4, CLASSES, dtype=torch.complex64), "complex64")])
@pytest.mark.filterwarnings("ignore:.*Lazy modules")
@pytest.mark.filterwarnings("ignore:Complex modules")
def test_what_does_not_fit_is_refused(module: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        TorchModel(module, (4,), CLASSES)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_vector_of_another_length_is_refused() -> None:
    model = TorchModel(nn.Linear(4, CLASSES), (4,), CLASSES)
    for w in (np.zeros(14, np.float32), np.zeros(15)):
        with pytest.raises(ModelError, match="15 float32 values"):
            model.scores(w, np.zeros((1, 4), np.float32))
        with pytest.raises(ModelError, match="15 float32 values"):
            model.state_dict(w)


def test_federated_averaging_learns_with_a_pickled_model() -> None:
    model = pickle.loads(pickle.dumps(TorchModel(network("group-norm"), (6, 5, 3), CLASSES)))
    parts = [pictures(30, seed) for seed in (1, 2, 3)]
    results = train(model, parts, TrainingSettings(epochs=3, iterations=10, batch_size=10))
    test = pictures(60, 9)
    right = (model.predict(results[-1].best_w, test.images) == test.labels).mean()
    assert right > 0.9


def test_a_factory_of_a_network_class_is_enough(tmp_path: Any, monkeypatch: Any) -> None:
    """The class itself is the factory; the same seed gives the same w^(0)."""
    (tmp_path / "my_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = torch.nn.Linear(4, 3)\n"
        "    def forward(self, x):\n"
        "        return self.head(x)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    first = make_model("my_net:Net", (4,), 3, seed=5)
    again, other = (make_model("my_net:Net", (4,), 3, seed) for seed in (5, 6))
    assert isinstance(first, TorchModel)
    np.testing.assert_array_equal(first.parameters(), again.parameters())
    assert not np.array_equal(first.parameters(), other.parameters())
    sent = pickle.dumps(first)
    assert len(sent) < 300, "the name is sent, and not the network"
    np.testing.assert_array_equal(pickle.loads(sent).parameters(), first.parameters())
