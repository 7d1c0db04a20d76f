"""HEIC images, as phones write them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pillow_heif
import pytest

import slimpose
from run_cli import Capture, all_files, in_work_folder, records_of
from slimpose.arrays import Size
from slimpose.media.images import ImageError, read_image
from slimpose.media.sources import open_media
from synthetic_models import dot_image


def write_heic(path: Path, rgb: np.ndarray, **options: object) -> Path:
    pillow_heif.from_pillow(PIL.Image.fromarray(rgb)).save(path, quality=95, **options)
    return path


@pytest.fixture
def stripes() -> np.ndarray:
    """Red, green and blue from left to right."""
    image = np.zeros((64, 96, 3), np.uint8)
    for part in range(3):
        image[:, 32 * part : 32 * part + 32, part] = 250
    return image


def test_pixels_are_rgb_and_turned_upright(tmp_path: Path, stripes: np.ndarray) -> None:
    image = read_image(write_heic(tmp_path / "a.heic", stripes))
    assert np.abs(image.astype(int) - stripes).mean() < 6
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    turned = write_heic(tmp_path / "turned.heic", stripes, exif=exif.tobytes())
    upright = np.asarray(_opened_by_pillow(turned))
    assert upright.shape == (96, 64, 3)
    assert np.abs(read_image(turned).astype(int) - upright).mean() < 3
    media = open_media(turned)
    assert (media.is_video, media.frame_count) == (False, 1)


def _opened_by_pillow(path: Path) -> PIL.Image.Image:
    from PIL import ImageOps

    pillow_heif.register_heif_opener()
    return ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")


def test_predict_reads_heic_by_its_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    write_heic(Path("IMG_1.HEIC"), dot_image(Size(96, 96), 50, 40))
    Path("IMG_1.HEIC").rename("IMG_2.jpg")
    write_heic(Path("IMG_1.HEIC"), dot_image(Size(96, 96), 50, 40))
    assert predict(".", "--json", "p.json") == 0
    for record in records_of("p.json"):
        np.testing.assert_allclose(record["keypoints"][:2], [50, 40], atol=3)
    assert all_files("out") == ["IMG_1.jpg", "IMG_2.jpg"]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_damaged_heic_is_reported_in_one_line(
    tmp_path: Path, stripes: np.ndarray, share: float
) -> None:
    data = write_heic(tmp_path / "a.heic", stripes).read_bytes()
    path = tmp_path / "half.heic"
    path.write_bytes(data[: max(24, int(share * len(data)))])
    with pytest.raises(ImageError, match=r"half\.heic: ") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_without_pillow_heif_the_extra_is_named(
    tmp_path: Path, stripes: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    predict = in_work_folder("predict", tmp_path, monkeypatch)
    write_heic(Path("a.heic"), stripes)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert predict("a.heic") == 2
    message = "a.heic: a HEIC image, which needs the extra heic (pip install pillow-heif)"
    assert capsys.readouterr().err == f"slimpose: {message}\n"


def test_bytes_and_images_of_pillow_are_read_too(
    pose: Path, detector: Path, tmp_path: Path
) -> None:
    path = write_heic(tmp_path / "a.heic", dot_image(Size(96, 96), 50, 40))
    pipeline = slimpose.load(pose, detector, threads=1)
    (poses,) = pipeline([path.read_bytes()])
    np.testing.assert_allclose(poses.points_image[0, 0], [50, 40], atol=3)
    assert len(pipeline(_opened_by_pillow(path))) == 1
