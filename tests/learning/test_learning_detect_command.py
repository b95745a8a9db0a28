"""`bdn detect`: pictures with boxes and JSON; bad input is one line, and nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bdn.cli.detect import detect
from bdn.errors import BdnError
from bdn.learning import PaperCNN, SavedModel, read_grey, save_checkpoint
from bdn.learning.datasets.pictures import write_grey

pytest.importorskip("PIL", reason="pictures need Pillow (extra report)")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Finds bright squares: its first filter passes the image, whose mean must exceed 0.9."""
    cnn = PaperCNN(classes=2)
    w = np.zeros(cnn.size, np.float32)
    layers = cnn.layers(w)
    layers.w1[0, 0, 1, 1] = 1
    layers.w2[:196, 0] = 1 / 196
    layers.w3[0, 1], layers.b3[0, 1] = 100, -90
    save_checkpoint(tmp_path / "m.npz", SavedModel(cnn, w, ("background", "square")))
    return tmp_path / "m.npz"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    picture = np.zeros((60, 80), np.float32)
    picture[10:50, 20:60] = 1
    write_grey(tmp_path / "camera.png", picture)
    return tmp_path / "camera.png"


def test_boxes_are_written_and_told_as_json(model: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(detect, ["--model", str(model), str(image), "--out", str(out),
                                         "--smallest", "38", "--json"])
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.output)[str(image)]
    assert answer["name"] == "square"
    assert np.allclose(answer["box"], [21, 11, 60, 50], atol=5)
    assert not np.array_equal(read_grey(out / "camera.png"), read_grey(image))


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7, 0.9, 0.95])
def test_no_answer_is_below_the_threshold(
    model: Path, image: Path, tmp_path: Path, threshold: float
) -> None:
    """Votes lower a confidence; the threshold applies to the confidence that is told."""
    def told(least: float) -> list[float]:
        arguments = ["--model", str(model), str(image), "--out", str(tmp_path / "out"),
                     "--smallest", "38", "--json", "--threshold", str(least)]
        result = CliRunner().invoke(detect, arguments)
        assert result.exit_code == 0, result.output
        return [answer["confidence"] for answer in json.loads(result.output)[str(image)]]

    everything = told(0)
    assert everything
    assert told(threshold) == [value for value in everything if value >= threshold]


@pytest.mark.parametrize("case", ["no model", "no image", "overwrite", "same names", "broken"])
def test_bad_input_leaves_nothing(model: Path, image: Path, tmp_path: Path, case: str) -> None:
    out = tmp_path / "out"
    source, images, target = model, [image], out
    match case:
        case "no model":
            source = tmp_path / "absent"
        case "no image":
            images = [image, tmp_path / "absent.png"]
        case "overwrite":
            target = tmp_path
        case "same names":
            images = [image, image]
        case "broken":
            image.write_bytes(b"\x89PNG")
    before = image.read_bytes()
    arguments = ["--model", str(source), *map(str, images), "--out", str(target)]
    with pytest.raises(BdnError):
        CliRunner().invoke(detect, arguments, catch_exceptions=False)
    assert image.read_bytes() == before
    assert not out.exists()
