"""Reading the images that an annotation file describes."""

from __future__ import annotations

from pathlib import Path

from slimpose.arrays import Image, Size
from slimpose.formats.coco import CocoFile
from slimpose.media.images import read_image


def read_annotated_image(annotations: CocoFile, folder: Path, image_id: int) -> Image:
    """Read an image of an annotation file from the folder of its images.

    Raises:
        ImageError: If it is missing or broken.
        ValueError: If its size is not the declared one, so the annotations are of other pixels.
    """
    image = read_image(folder / annotations.images[image_id].file_name)
    annotations.check_size(image_id, Size(*image.shape[:2]))
    return image
