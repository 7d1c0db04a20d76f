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
from slimpose.network.build import named
from slimpose.runtime.images import IMAGE_SUFFIXES, read_image

_MOST_PICTURES = 64


def export(
    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    out: Path,
    name: str | None = None,
    card: Path | None = None,
    images: Path | None = None,
    heatmaps: bool = True,
    untrained: bool = False,
    size: str | None = None,
) -> int:
    """Turn weights into an ONNX file that needs nothing else: pixels in, points or boxes out.

    Args:
        weights: best.safetensors of a run, or what slimpose import-weights wrote; with --untrained a net's name.
        out: The ONNX file to write.
        name: The model's name; the file's stem by default.
        card: JSON object with facts for the metadata: data, licences, measured accuracy.
        images: Folder of pictures to compare with PyTorch on; smooth noise by default.
        heatmaps: Whether a pose file also gives its heatmaps, for flip tests.
        untrained: Random weights, to time a net that nobody has weights of; lightweight-openpose then takes whole
            images and gives the maps that people are grouped from.
        size: Input HEIGHTxWIDTH of an untrained net; the one of its paper by default.
    """
    if size is not None and not untrained:
        raise ValueError("--size is for --untrained; weights are exported at the size they were trained for")
    if untrained:
        spec = named(weights, size=Size.parse(size) if size is not None else None)
        loaded = onnx_export.untrained(spec, task="bottom-up" if weights == "lightweight-openpose" else "pose")
    else:
        loaded = onnx_export.load_weights(Path(weights))
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
