"""Users' own modules, models and clients that fail: one line that names the option, status 2."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments.config import RunConfig
from bdn.experiments.folder import RunFolder
from bdn.experiments.participants import from_data

TOY = ["--devices", "4", "--threshold", "2", "--epochs", "1", "--samples", "40", "--key-bits",
       "512", "--norm-bound", "none", "--no-baseline", "--edges", "1"]

MODULE = '''
import sys
import numpy as np
from bdn.learning.models.softmax import SoftmaxRegression

def leaves(**_): sys.exit()
def leaves_well(**_): raise SystemExit(0)
def base(**_): raise BaseException("x")
def lines(**_): raise ValueError("one\\ntwo\\r\\n  three")
def unreadable(**_):
    class Odd(Exception):
        def __str__(self): raise RuntimeError
    raise Odd

class Base(SoftmaxRegression):
    def __init__(self, sample_shape, classes): super().__init__(sample_shape, classes, 0)

class HeldOut(Base):
    """Fails on more samples than a device has."""
    def scores(self, w, X):
        if len(X) > 40: sys.exit(0)
        return super().scores(w, X)

class WrongScores(Base):
    def scores(self, w, X): return "scores"

def broken(name, value):
    def answer(self, *_):
        if isinstance(value, BaseException): raise value
        return value
    if name in ("size", "classes", "sample_shape"): answer = property(answer, lambda *_: None)
    return type("Broken", (Base,), {name: answer})

negative = broken("size", -1)
text = broken("size", "many")
raising = broken("size", KeyError("k"))
leaving = broken("size", SystemExit(0))
huge = broken("size", 10 ** 15)
classes = broken("classes", SystemExit())
shape = broken("sample_shape", BaseException("two\\nlines"))
nothing = broken("parameters", None)
listed = broken("parameters", [0.0] * 7850)
failing = broken("parameters", SystemExit())
double = broken("parameters", np.zeros(7850))
short = broken("parameters", np.zeros(7, np.float32))
unclear = broken("parameters", np.full(7850, np.nan, np.float32))
evil = broken("exports", {"../evil": b""})
ledger = broken("exports", {"ledger.sqlite": b""})
unnamed = broken("exports", {3: b""})
texts = broken("exports", {"model.pt": "text"})
listing = broken("exports", [1])
stopping = broken("exports", SystemExit(0))

class LeavesInTraining(Base):
    def training_gradient(self, *_): sys.exit()

class Client:
    sample_count = 10
    def __init__(self, device): self.device = device
    def get_parameters(self, config): sys.exit(0)
    def fit(self, parameters, config): return parameters, 10, {}
    def evaluate(self, parameters, config): return 1.0, 10, {}
'''


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The modules ``user_code`` and ``user_exits``, importable."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "user_code.py").write_text(MODULE)
    (folder / "user_exits.py").write_text("raise SystemExit\n")
    (folder / "user_base.py").write_text("raise BaseException('two\\nlines')\n")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in ("user_code", "user_exits", "user_base"):
        sys.modules.pop(name, None)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with status 2."""
    status = invoke(list(arguments))
    said = capsys.readouterr().err
    assert status == 2, said
    lines = [line for line in said.splitlines() if line.startswith("bdn")]
    assert len(lines) == 1
    assert "Traceback" not in said
    return lines[0]


@pytest.mark.parametrize("option", ["--data", "--model", "--clients"])
@pytest.mark.parametrize(("function", "says"), [
    ("sys:exit", "raised SystemExit"), ("user_exits:f", "importing user_exits raised SystemExit"),
    ("user_base:f", "importing user_base raised BaseException: two lines"),
    ("user_code:leaves", "raised SystemExit"),
    ("user_code:leaves_well", "raised SystemExit: 0"), ("user_code:base", "BaseException: x"),
    ("user_code:lines", "raised ValueError: one two three"),
    ("user_code:unreadable", "raised Odd: its message cannot be read"),
])
def test_a_function_that_ends_the_program_is_refused(
    option: str, function: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    softmax = ["--model", "softmax"] if option == "--data" else []

    line = refused(capsys, "run", *TOY, "--out", str(tmp_path / "run"), *softmax,
                   option, function)
    assert line.startswith(f"bdn: {option}")
    assert f"{function}: " in line
    assert says in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("factory", "says"), [
    ("negative", "size must be at least 1, not -1"), ("text", "size must be an integer, not a"),
    ("raising", "raised KeyError: 'k'"), ("leaving", "raised SystemExit: 0"),
    ("huge", "size is 1000000000000000, and a model has at most"),
    ("classes", "raised SystemExit"), ("shape", "raised BaseException: two lines"),
    ("nothing", "parameters() must return a flat float32 array of 7850 finite"),
    ("listed", "not a list"), ("failing", "parameters() raised SystemExit"),
    ("double", "not a float64 array of shape (7850,)"), ("short", "not a float32 array of shape"),
    ("unclear", "not values that are not finite"), ("evil", "not a bytes under '../evil'"),
    ("ledger", "under the name model.pt"), ("unnamed", "under 3"), ("texts", "not a str under"),
    ("listing", "exports() raised TypeError"), ("stopping", "exports() raised SystemExit: 0"),
])
def test_a_wrong_model_is_refused_before_the_run(factory: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_data(RunConfig(model=f"user_code:{factory}", devices=2, threshold=1))
    assert str(caught.value).startswith(f"--model user_code:{factory}")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("factory", "says"), [
    ("HeldOut", "SystemExit: 0"), ("WrongScores", "raised")])
def test_a_model_that_fails_on_the_held_out_samples_is_named(factory: str, says: str) -> None:
    people = from_data(RunConfig(model=f"user_code:{factory}", devices=2, threshold=1))
    with pytest.raises(UsageError, match=f"^--model user_code:{factory}: judging") as caught:
        people.judge(people.w)
    assert says in str(caught.value)


def test_a_model_is_exported_into_its_own_file_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for name in ("../evil", "ledger.sqlite", "a/b"):
        with pytest.raises(UsageError, match=r"exported as model\.pt, not as"):
            folder.write_exports({name: b""})
    assert not any(tmp_path.iterdir())


def test_a_client_that_ends_the_program_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "run", *TOY, "--out", str(tmp_path / "run"), "--clients",
                   "user_code:Client")
    assert line.startswith("bdn: --clients: ")
    assert "raised SystemExit: 0" in line


def test_a_model_that_ends_the_program_in_training_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "run", *TOY, "--out", str(tmp_path / "run"), "--model",
                   "user_code:LeavesInTraining")
    assert "the model raised SystemExit" in line
