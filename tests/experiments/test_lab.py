"""Every experiment of the lab holds, and says so; a defence that is taken away is seen to fail."""

import pytest

from bdn.cli import invoke
from bdn.errors import UsageError
from bdn.experiments import lab


@pytest.mark.parametrize("name", list(lab.EXPERIMENTS))
def test_the_defence_holds(name: str) -> None:
    finding = lab.experiment(name)(512)
    assert finding.held, finding.happened
    assert finding.tried
    assert finding.claimed
    assert finding.not_covered


def test_the_lab_sees_a_defence_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a cipher whose edge applies the weights would be found out."""
    real = lab.attack
    monkeypatch.setattr(lab, "attack", lambda cipher, vectors, weights, _form, rng: real(
        cipher, vectors, weights, "edge", rng))
    assert not lab.edge_weights(512).held


def test_unknown_experiments_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="edge-weights"):
        lab.experiment("nothing")
    assert invoke(["lab", "nothing"]) == 2
    assert invoke(["lab"]) == 0
    assert "lying-primary" in capsys.readouterr().out
