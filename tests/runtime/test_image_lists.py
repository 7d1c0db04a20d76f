"""Lists of images: results are those of each image alone, broken images cost only themselves."""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

import slimpose
from slimpose.arrays import Size
from slimpose.runtime import image_lists
from synthetic_models import dot_image

SIZE = Size(96, 96)
UNCHECKED: Any = getattr(slimpose.Pipeline.__call__, "__wrapped__", slimpose.Pipeline.__call__)
"""Without beartype, which would reject the arguments first."""


@pytest.fixture
def pipeline(pose: Path, detector: Path) -> slimpose.Pipeline:
    return slimpose.load(pose, detector, threads=1)


def dots(count: int) -> list[np.ndarray]:
    """Images of one person each, at different places; every fourth is empty."""
    return [
        np.full((*SIZE, 3), 20, np.uint8) if i % 4 == 3 else dot_image(SIZE, 30 + i % 40, 40)
        for i in range(count)
    ]


def assert_same(found: Sequence[slimpose.Poses], expected: Sequence[slimpose.Poses]) -> None:
    assert [len(poses) for poses in found] == [len(poses) for poses in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.points_image, other.points_image, atol=1e-4)
        np.testing.assert_array_equal(one.boxes_image, other.boxes_image)


def test_list_gives_what_each_image_gives(pipeline: slimpose.Pipeline) -> None:
    images = dots(90)  # more than a batch
    assert_same(pipeline(images), [pipeline(image) for image in images])
    assert pipeline([]) == []
    assert pipeline(()) == []


def test_people_of_all_images_are_one_batch(
    pipeline: slimpose.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    run = pipeline.estimator.session.run

    def counted(batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        batches.append(len(batch))
        return run(batch, outputs)

    monkeypatch.setattr(pipeline.estimator.session, "run", counted)
    pipeline(dots(8))
    assert batches == [6]
    batches.clear()
    monkeypatch.setattr(image_lists, "_MAX_PIXELS", 2 * SIZE.height * SIZE.width)
    pipeline(dots(8))  # large images wait in pairs
    assert batches == [2, 1, 2, 1]


def test_list_of_everything(pipeline: slimpose.Pipeline, tmp_path: Path) -> None:
    image = dot_image(SIZE, 50, 40)
    image[:, :, 2] //= 2  # BGR differs from RGB
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), image[:, :, ::-1])
    opened = PIL.Image.open(path)
    mixed = [image, path, str(path), path.read_bytes(), opened, opened, PIL.Image.fromarray(image)]
    assert_same(pipeline(mixed), [pipeline(image)] * len(mixed))
    bgr = [image[:, :, ::-1], path]
    assert_same(pipeline(bgr, color="bgr"), [pipeline(image)] * 2)


def test_boxes_of_a_list(pose: Path) -> None:
    pipeline = slimpose.load(pose, None, threads=1)
    images = dots(2)
    boxes = [np.array([[10, 20, 50, 60], [0, 0, 90, 90]], np.float32), np.zeros((0, 4), np.float32)]
    assert [len(poses) for poses in pipeline(images, boxes)] == [2, 0]
    with pytest.raises(ValueError, match=r"there are boxes for 1 images; expected 2"):
        pipeline(images, boxes[:1])
    outside = [boxes[0], np.array([[100, 0, 120, 9]], np.float32)]
    with pytest.raises(ValueError, match="image 1: box lies outside the image"):
        pipeline(images, outside)
    with pytest.raises(ValueError, match="image 0: this pipeline has no detector"):
        pipeline(images)


def test_broken_images_are_named_and_the_others_done(
    pipeline: slimpose.Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = dot_image(SIZE, 50, 40)
    cut = tmp_path / "cut.png"
    cut.write_bytes(cv2.imencode(".png", image)[1].tobytes()[:-20])
    mixed = [image, cut, image.astype(np.float32), tmp_path / "none.png", 7, image]
    with pytest.raises(slimpose.ImagesError) as caught:
        pipeline(mixed)
    error = caught.value
    text = str(error)
    assert text.startswith("4 of 6 images cannot be read: image 1: ")
    assert f"{cut}: the image is truncated" in text
    assert "image 2: the image is float32 (96, 96, 3)" in text
    assert "and 1 more (see errors)" in text
    assert "\n" not in text
    assert sorted(error.errors) == [1, 2, 3, 4]
    assert [poses is not None for poses in error.results] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert len(error.results[5] or []) == 1
    restored = pickle.loads(pickle.dumps(error))
    assert str(restored) == text
    assert len(restored.results[0]) == 1

    with caplog.at_level(logging.WARNING, "slimpose"):
        results = pipeline(mixed, on_error="none")
    assert [poses is not None for poses in results] == [True, False, False, False, False, True]
    assert [record.name for record in caplog.records] == ["slimpose.runtime.pipeline"] * 4
    assert "none.png: no such file" in caplog.text


def test_broken_single_image(pipeline: slimpose.Pipeline) -> None:
    with pytest.raises(slimpose.ImageError, match=r"^none.png: no such file$") as caught:
        pipeline("none.png")
    assert not isinstance(caught.value, slimpose.ImagesError)
    assert pipeline("none.png", on_error="none") is None
    with pytest.raises(ValueError, match="on_error is 'ignore'; expected 'raise' or 'none'"):
        UNCHECKED(pipeline, "none.png", on_error="ignore")


# Previews in notebooks.


def decoded(png: bytes | None) -> np.ndarray:
    assert png is not None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_preview_is_drawn_over_the_image(pipeline: slimpose.Pipeline, tmp_path: Path) -> None:
    image = dot_image(Size(300, 2000), 600, 100)
    boxes = np.array([[580, 80, 620, 120]], np.float32)
    (first, second) = pipeline([image, image], [boxes, boxes])
    drawn = decoded(first._repr_png_())
    assert drawn.shape == (154, 1024, 3)  # not larger than a page
    assert len(first) == 1
    without = decoded(first[first.person_scores > 2]._repr_png_())
    assert not np.array_equal(drawn, without)
    assert second[0]._repr_png_() == first._repr_png_()
    # A file is read again, unless it has changed.
    path = tmp_path / "dot.png"
    cv2.imwrite(str(path), image)
    poses, _ = pipeline([path, dot_image(SIZE, 30, 30)], [boxes, boxes[:0]])
    assert decoded(poses._repr_png_()).shape == (154, 1024, 3)
    cv2.imwrite(str(path), dot_image(SIZE, 30, 30))
    assert poses._repr_png_() is None
    assert slimpose.Poses.empty(slimpose.COCO17)._repr_png_() is None


def test_poses_keep_no_image_alive(pipeline: slimpose.Pipeline) -> None:
    image = dot_image(SIZE, 50, 40)
    first = pipeline(image)
    again = first._repr_png_()
    assert again is not None
    kept = pipeline(image[:, ::-1])  # a temporary array: the pipeline keeps the newest image
    assert kept._repr_png_() is not None
    pipeline(image)
    gc.collect()
    assert kept._repr_png_() is None
    assert first._repr_png_() == again  # the caller's array exists
    del image
    pipeline(dot_image(SIZE, 30, 30))
    gc.collect()
    assert first._repr_png_() is None


def test_preview_is_not_pickled(pipeline: slimpose.Pipeline) -> None:
    poses = pickle.loads(pickle.dumps(pipeline(dot_image(SIZE, 50, 40))))
    assert len(poses) == 1
    assert poses.preview is None
