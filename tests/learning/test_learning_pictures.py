"""Picture files as they come: deep, floating-point, transparent, turned, damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.learning import Box, DataError, Detection, draw, read_grey

Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow (extra report)")

RAMP = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""


def saved(folder: Path, name: str, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(("name", "pixels"), [
    ("eight.png", np.rint(RAMP * 255).astype(np.uint8)),
    ("sixteen.png", np.rint(RAMP * 65535).astype(np.uint16)),
    ("sixteen.tif", np.rint(RAMP * 65535).astype(np.uint16)),
    ("thirty-two.tif", np.rint(RAMP * 65535).astype(np.int32)),
    ("floating.tif", RAMP),
    ("colour.png", np.repeat(np.rint(RAMP * 255).astype(np.uint8)[..., None], 3, axis=2)),
])  # fmt: skip
def test_every_depth_gives_the_same_greys(tmp_path: Path, name: str, pixels: np.ndarray) -> None:
    read = read_grey(saved(tmp_path, name, pixels))
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, RAMP, atol=1 / 255)


@pytest.mark.parametrize("samples", [RAMP * 255, RAMP - 0.5, RAMP * np.nan])
def test_floating_samples_of_unknown_range_are_refused(
    tmp_path: Path, samples: np.ndarray
) -> None:
    with pytest.raises(DataError, match=r"odd\.tif.*\[0, 1\]"):
        read_grey(saved(tmp_path, "odd.tif", samples.astype(np.float32)))


def test_deep_samples_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"deep\.tif.*65535"):
        read_grey(saved(tmp_path, "deep.tif", np.array([[0, 70_000]], np.int32)))


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_turned_camera_gives_an_upright_picture(tmp_path: Path, tag: int) -> None:
    """The eight orientations of EXIF 2.3, section 4.6.4; the oracle turns the array itself."""
    stored = np.rint(RAMP * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    path = saved(tmp_path, "turned.png", stored, exif=exif)
    turned = {1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
              5: stored.T, 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T,
              8: np.rot90(stored)}[tag]
    np.testing.assert_allclose(read_grey(path), turned / np.float32(255), atol=1e-6)
    np.testing.assert_allclose(read_grey(path, (4, 3)).shape, (3, 4))  # the frame of its boxes
    draw(path, [Detection("a", 0.9, Box(1, 1, 2, 2))], tmp_path / "drawn.png")
    assert read_grey(tmp_path / "drawn.png").shape == turned.shape


def test_an_annotation_that_contradicts_its_picture_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "cat.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(DataError, match=r"cat\.png.*4×3 pixels.*says 40×30"):
        read_grey(path, (40, 30))


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    """Black strokes on a transparent ground are no black square."""
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0, 3] = 255  # one opaque black pixel
    assert read_grey(saved(tmp_path, "ink.png", pixels)).tolist() == [[0, 1], [1, 1]]


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.rint(RAMP * 255).astype(np.uint8)).save(stream, form)
    return stream.getvalue()


FORMS = {form: encoded(form) for form in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "PPM")}


@given(st.sampled_from(sorted(FORMS)), st.data())
def test_a_damaged_picture_is_one_line_or_a_picture(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    raw = bytearray(FORMS[form])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    path = tmp_path_factory.getbasetemp() / f"damaged.{form}"
    path.write_bytes(raw)
    try:
        read = read_grey(path)
    except DataError as error:
        said = str(error)
    else:
        said = "damaged"
        assert np.isfinite(read).all()
        assert 0 <= read.min() <= read.max() <= 1
    assert "damaged" in said
    assert "\n" not in said


def test_warnings_of_the_image_library_stay_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Pillow warns of a picture beyond its own limit, and refuses one of twice as many pixels."""
    path = saved(tmp_path, "large.png", np.zeros((3, 4), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_grey(path).shape == (3, 4)
    monkeypatch.setattr("bdn.learning.datasets.pictures.MAX_PIXELS", 11)
    with pytest.raises(DataError, match=r"large\.png: 4×3 pixels are too many"):
        read_grey(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match=r"large\.png: no readable picture \(Image size"):
        read_grey(path)
    assert not recwarn.list
