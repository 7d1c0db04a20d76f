"""``slimpose export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from slimpose.arrays import Crops, Size
from slimpose.export import onnx as onnx_export
from slimpose.formats.files import read_json
from slimpose.runtime.images import IMAGE_SUFFIXES, read_image

_MOST_PICTURES = 64


def export(
    weights: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    out: Path,
    name: str | None = None,
    card: Path | None = None,
    images: Path | None = None,
    heatmaps: bool = True,
) -> int:
    """Turn weights into an ONNX file that needs nothing else: pixels in, points or boxes out.

    Args:
        weights: best.safetensors of a run.
        out: The ONNX file to write.
        name: The model's name; the file's stem by default.
        card: JSON object with facts for the metadata: data, licences, measured accuracy.
        images: Folder of pictures to compare with PyTorch on; smooth noise by default.
        heatmaps: Whether a pose file also gives its heatmaps, for flip tests.
    """
    loaded = onnx_export.load_weights(weights)
    facts = read_json(card, kind="card") if card else {}
    if not isinstance(facts, dict):
        raise ValueError(f"{card} holds a JSON {type(facts).__name__}; expected an object")
    pictures = _pictures(images, loaded.spec.size) if images else None
    drift = onnx_export.export(loaded, out, name=name or out.stem, card=facts, pictures=pictures, heatmaps=heatmaps)
    size_mb = out.stat().st_size / 1e6
    print(f"{out}: {size_mb:.1f} MB, within {drift.pixels:.2g} px and {drift.maps:.2g} of PyTorch")
    return 0


def _pictures(folder: Path, size: Size) -> Crops:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)[:_MOST_PICTURES]
    if not files:
        raise ValueError(f"{folder} holds no pictures; expected files like {', '.join(sorted(IMAGE_SUFFIXES)[:4])}")
    return np.stack([cv2.resize(read_image(file), (size.width, size.height)) for file in files])
