"""``slimpose export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from slimpose.arrays import Crops, Size
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.sample_crops import sample_crops
from slimpose.export import onnx as onnx_export
from slimpose.export.onnx import smooth_noise_images
from slimpose.export.runtimes import convert as runtimes
from slimpose.formats.files import read_json
from slimpose.media.images import image_files, read_image
from slimpose.network.build import spec_named
from slimpose.network.weights import LoadedNetwork, load_network, random_network
from slimpose.runtime.backends.available import metadata_of
from slimpose.runtime.backends.base import ENDINGS, FILE_SUFFIXES
from slimpose.runtime.backends.ncnn import SUFFIX as NCNN_SUFFIX
from slimpose.runtime.backends.ncnn import weights_path as ncnn_files
from slimpose.runtime.letterbox import letterbox
from slimpose.runtime.models import resolve, shipped
from slimpose.runtime.session import read_info

_NOISE, _COMPARED, _CALIBRATED = 8, 64, 256
"""Pictures to compare on; people who give INT8 its ranges."""


def export(
    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")],
    /,
    out: Path,
    name: str | None = None,
    card: Path | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    images: Path | None = None,
    annotations: Path | None = None,
    heatmaps: bool = True,
    untrained: bool = False,
    size: str | None = None,
) -> int:
    """Turn weights into a file that a runtime opens: pixels in, points or boxes out.

    The name of --out says for which: FILE.onnx (ONNX Runtime, OpenVINO, TensorRT), FILE.xml
    (OpenVINO), FILE.tflite (LiteRT), FILE.ncnn.param (NCNN), FILE.engine (TensorRT, on the machine
    with the GPU). predict, live, evaluate, benchmark and verify take all of them. LiteRT's and
    NCNN's graphs end in the heatmaps, which slimpose decodes.

    Args:
        weights: best.safetensors of a run, or what slimpose import-weights wrote; with --untrained
            a net's name. For FILE.xml and FILE.engine also a shipped model's name or an ONNX file,
            INT8 too.
        out: The file to write.
        name: The model's name; the file's by default.
        card: JSON object with facts for the metadata: data, licenses, measured accuracy.
        precision: Of FILE.xml, FILE.tflite (int8 too), FILE.ncnn.param and FILE.engine; slimpose
            quantize makes smaller ONNX files.
        images: Folder of pictures of people to compare with PyTorch on, smooth noise by default;
            int8 needs some hundred people, who give the ranges of values.
        annotations: COCO file that says where in the pictures the people are; the shipped detector
            by default.
        heatmaps: Whether a pose net's FILE.onnx also gives its heatmaps, for flip tests.
        untrained: Random weights, to time a net that nobody has weights of; lightweight-openpose
            then takes whole images and gives the maps that people are grouped from.
        size: Input HEIGHTxWIDTH of an untrained net; the one of its paper by default.
    """
    if size is not None and not untrained:
        raise ValueError(
            "--size is for --untrained; weights are exported at the size they were trained for"
        )
    source = _source(weights, untrained=untrained, size=size)
    check_output_paths({"--out": out}, {}, [Path(weights), card, annotations])
    if annotations is not None and images is None:
        raise ValueError(
            "--annotations names pictures; expected --images, the folder they are in, too"
        )
    if precision == "int8" and images is None:
        raise ValueError(
            "int8 takes its ranges of values from real people; expected --images, a folder of pictures"
        )
    facts = read_json(card, kind="card") if card else {}
    if not isinstance(facts, dict):
        raise ValueError(f"{card} holds a JSON {type(facts).__name__}; expected an object")
    is_onnx = out.suffix.lower() == ".onnx"
    if not (is_onnx or out.suffix.lower() in FILE_SUFFIXES):
        raise ValueError(
            f"--out is {out}; expected a name that ends in .onnx, {', '.join(ENDINGS.values())}"
        )
    if is_onnx and precision != "fp32":
        raise ValueError(
            f"ONNX files are exported in fp32; slimpose quantize --precision {precision} makes one of those"
        )
    if isinstance(source, Path) and (is_onnx or name is not None or card is not None):
        raise ValueError(
            f"{weights} is an ONNX file, with its name and card; expected weights, or --out FILE.xml for OpenVINO "
            "without --name and --card"
        )
    if not (is_onnx or heatmaps):
        raise ValueError("--no-heatmaps is for FILE.onnx; expected another --out, or none of it")
    task, shape = _task_and_size(source)
    crops = smooth_noise_images(_NOISE, shape)
    if images is not None and task == "pose":
        people = _CALIBRATED if precision == "int8" else _COMPARED
        crops, _ = sample_crops(images, annotations, size=shape, people=people)
    elif images is not None:
        crops = _letterboxed(images, shape)
    called = name or out.name.removesuffix(NCNN_SUFFIX).removesuffix(out.suffix)
    if is_onnx and isinstance(source, LoadedNetwork):
        drift = onnx_export.export(
            source, out, name=called, card=facts, images=crops, heatmaps=heatmaps
        )
    else:
        drift = runtimes.convert(
            source, out, name=called, card=facts, precision=precision, pictures=crops
        )
    said = "PyTorch" if isinstance(source, LoadedNetwork) else weights
    on = f"{len(crops)} people" if images is not None else "noise"
    print(
        f"{out}: {_megabytes(out):.1f} MB, within {drift.pixels:.2g} px and {drift.maps:.2g} of {said} on {on}"
    )
    return 0


def _source(weights: str, *, untrained: bool, size: str | None) -> LoadedNetwork | Path:
    if untrained:
        spec = spec_named(weights, size=Size.parse(size) if size is not None else None)
        return random_network(spec)
    if weights in shipped() or weights.lower().endswith(".onnx"):
        return resolve(weights)
    return load_network(Path(weights))


def _task_and_size(source: LoadedNetwork | Path) -> tuple[str, Size]:
    if isinstance(source, LoadedNetwork):
        return source.task, source.spec.size
    info = read_info(source, metadata_of(source))
    return info.task, info.size


def _megabytes(out: Path) -> float:
    """Of the file and, where there are some, the weights beside it."""
    weights = {".xml": out.with_suffix(".bin"), ".param": ncnn_files(out)[0]}.get(
        out.suffix.lower()
    )
    return (out.stat().st_size + (weights.stat().st_size if weights is not None else 0)) / 1e6


def _letterboxed(folder: Path, size: Size) -> Crops:
    return np.stack(
        [letterbox(read_image(file), size)[0] for file in image_files(folder)[:_COMPARED]]
    )
