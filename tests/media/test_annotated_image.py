from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from coco_documents import coco_document
from slimpose.formats import coco
from slimpose.media.annotated_image import read_annotated_image

_EXIF_TURNED = (
    b"\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00"
    b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
)
"""An APP1 segment with orientation 6: shown turned by 90 degrees."""


@pytest.fixture
def file() -> coco.CocoFile:
    document = coco_document()
    document["images"][0]["file_name"] = "street.jpg"
    return coco.parse(json.loads(json.dumps(document)), Path("truth.json"), keypoints=True)


def write(path: Path, *, height: int, width: int, segment: bytes = b"") -> None:
    data = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    path.write_bytes(data[:2] + segment + data[2:])


def test_image_of_the_declared_size_is_read(tmp_path: Path, file: coco.CocoFile) -> None:
    write(tmp_path / "street.jpg", height=48, width=64)
    assert read_annotated_image(file, tmp_path, 7).shape == (48, 64, 3)
    write(tmp_path / "street.jpg", height=64, width=48, segment=_EXIF_TURNED)  # as it is shown
    assert read_annotated_image(file, tmp_path, 7).shape == (48, 64, 3)


def test_image_of_another_size_is_rejected(tmp_path: Path, file: coco.CocoFile) -> None:
    write(tmp_path / "street.jpg", height=24, width=32)
    with pytest.raises(ValueError, match=r"truth\.json: image 7, street\.jpg, .*resized after"):
        read_annotated_image(file, tmp_path, 7)


def test_image_labeled_before_its_exif_rotation_is_rejected(
    tmp_path: Path, file: coco.CocoFile
) -> None:
    write(tmp_path / "street.jpg", height=48, width=64, segment=_EXIF_TURNED)
    with pytest.raises(ValueError, match=r"the file is 48 wide and 64 high; .*EXIF"):
        read_annotated_image(file, tmp_path, 7)
