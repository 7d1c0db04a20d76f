"""``slimpose export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from slimpose.arrays import Size
from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_output_paths
from slimpose.cli.sample_crops import sample_crops
from slimpose.fields import json_kind
from slimpose.formats.files import read_json
from slimpose.geometry import CanvasFit
from slimpose.media.images import image_files, read_image
from slimpose.runtime.backends.available import FILE_SUFFIXES, NATIVE_FILES, read_metadata
from slimpose.runtime.backends.ncnn import SUFFIX as NCNN_SUFFIX
from slimpose.runtime.backends.ncnn import companion_paths as ncnn_files
from slimpose.runtime.crops import fit_canvas
from slimpose.runtime.models import DEFAULT_DETECTOR, resolve, shipped
from slimpose.runtime.session import read_info
from slimpose.web.browser_runtime import VERSION, runtime_files
from slimpose.web.folder import check_folder, write_folder

if TYPE_CHECKING:
    from slimpose.network.weights import LoadedNetwork

_WEB_MODELS = ("hr", "mnv2")
_NOISE_IMAGES, _COMPARED_IMAGES, _CALIBRATION_PEOPLE = 8, 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """The folder for a browser.

    Attributes:
        web: Write this folder instead: a page for cameras, images and videos, its module for other
            pages, the models and onnxruntime-web, which is downloaded from the npm registry the
            first time (33 MB, pinned and checked by its hash). WEIGHTS is then a shipped pose model
            or an ONNX file (default: hr and mnv2).
        detector: With --web: the person detector, a shipped name or an ONNX file (default:
            detector).
        runtime_dir: With --web: folder dist of onnxruntime-web, instead of the download.
    """

    web: Path | None = None
    detector: str | None = None
    runtime_dir: Path | None = None


def export(
    weights: str | None = None,
    /,
    out: Path | None = None,
    name: str | None = None,
    card: Path | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    images: Path | None = None,
    annotations: Path | None = None,
    heatmaps: bool = True,
    untrained: bool = False,
    size: str | None = None,
    *,
    web: WebOptions,
) -> int:
    """Convert weights to a model file for a runtime: pixels in, points or boxes out.

    The suffix of --out selects the format: FILE.onnx (ONNX Runtime, OpenVINO, TensorRT), FILE.xml
    (OpenVINO), FILE.tflite (LiteRT), FILE.ncnn.param (NCNN), FILE.engine (TensorRT, on the machine
    with the GPU). predict, live, evaluate, benchmark and verify take all of them. The graphs for
    LiteRT and NCNN end in heatmaps, which slimpose decodes.

    Args:
        weights: best.safetensors of a run, or a file written by slimpose import-weights; with
            --untrained the name of a network. For FILE.xml and FILE.engine also the name of a
            shipped model or an ONNX file, including INT8.
        out: The file to write.
        name: Name of the model (default: the name of the file).
        card: JSON object with facts for the metadata: data, licenses, measured accuracy.
        precision: Of FILE.xml, FILE.tflite (int8 too), FILE.ncnn.param and FILE.engine. For smaller
            ONNX files use slimpose quantize.
        images: Folder of images of people to compare with PyTorch on (default: smooth noise). int8
            needs a few hundred people for calibration.
        annotations: COCO file with the people in the images (default: run the shipped detector).
        heatmaps: Include the heatmaps in the outputs of a pose model's FILE.onnx, for flip tests.
        untrained: Use random weights, to measure the speed of an untrained network.
            lightweight-openpose then takes whole images and outputs heatmaps and part affinities.
        size: Input HEIGHTxWIDTH of an untrained network (default: that of its paper).
        web: Options of the folder for a browser.
    """
    if web.web is not None:
        others = {
            "--out": out,
            "--name": name,
            "--card": card,
            "--precision": precision != "fp32",
            "--images": images,
            "--annotations": annotations,
            "--no-heatmaps": not heatmaps,
            "--untrained": untrained,
            "--size": size,
        }
        if given := [option for option, value in others.items() if value]:
            raise ValueError(f"{given[0]} is not for --web; expected a model, and --detector")
        return _export_web(web.web, weights, web.detector, web.runtime_dir)
    if web.detector is not None or web.runtime_dir is not None:
        option = "--detector" if web.detector is not None else "--runtime-dir"
        raise ValueError(f"{option} is for --web DIR; expected --web too")
    if weights is None or out is None:
        missing = "WEIGHTS" if weights is None else "--out"
        raise ValueError(f"missing {missing}; expected WEIGHTS --out FILE, or --web DIR")
    check_output_paths({"--out": out}, {}, [Path(weights), card, annotations])
    is_onnx = out.suffix.lower() == ".onnx"
    is_weights = untrained or not (weights in shipped() or weights.lower().endswith(".onnx"))
    _check_format(out, is_onnx=is_onnx, precision=precision, heatmaps=heatmaps)
    if size is not None and not untrained:
        raise ValueError(
            "--size is for --untrained; weights are exported at the size they were trained for"
        )
    if annotations is not None and images is None:
        raise ValueError("--annotations needs --images, the folder of the annotated images")
    if precision == "int8" and images is None:
        raise ValueError("int8 is calibrated on real people; expected --images, a folder of images")
    if not is_weights and (is_onnx or name is not None or card is not None):
        raise ValueError(
            f"{weights} is an ONNX file with its own name and card; expected weights, "
            "or --out FILE.xml for OpenVINO without --name and --card"
        )
    facts = _read_card(card)
    from slimpose.export import onnx as onnx_export
    from slimpose.export.runtimes import convert as runtimes

    source = _load(weights, untrained=untrained, size=size) if is_weights else resolve(weights)
    task, input_size, fit = _input_of(source)
    if images is None:
        crops = onnx_export.smooth_noise_images(_NOISE_IMAGES, input_size)
    elif task == "pose":
        people = _CALIBRATION_PEOPLE if precision == "int8" else _COMPARED_IMAGES
        crops, _ = sample_crops(images, annotations, size=input_size, people=people)
    else:
        files = image_files(images)[:_COMPARED_IMAGES]
        crops = np.stack([fit_canvas(read_image(file), input_size, fit)[0] for file in files])
    name = name or out.name.removesuffix(NCNN_SUFFIX).removesuffix(out.suffix)
    if is_onnx and not isinstance(source, Path):
        drift = onnx_export.export(
            source, out, name=name, card=facts, images=crops, heatmaps=heatmaps
        )
    else:
        options = onnx_export.FileOptions(name=name, card=facts, precision=precision, images=crops)
        drift = runtimes.convert(source, out, options)
    reference = "PyTorch" if is_weights else weights
    compared_on = counted(len(crops), "person") if images is not None else "noise"
    print(
        f"{out}: {_megabytes(out):.1f} MB, within {drift.pixels:.2g} px and {drift.maps:.2g} "
        f"of {reference} on {compared_on}"
    )
    return 0


def _export_web(
    folder: Path, model: str | None, detector: str | None, runtime_dir: Path | None
) -> int:
    """Write the folder for a browser."""
    check_folder(folder)
    poses = [resolve(name) for name in (_WEB_MODELS if model is None else (model,))]
    found = resolve(DEFAULT_DETECTOR if detector is None else detector)
    write_folder(folder, poses, found, runtime_files(runtime_dir))
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    print(
        f"{folder}: {', '.join(file.stem for file in poses)}, {found.stem}, "
        f"onnxruntime-web {VERSION}; {megabytes:.0f} MB"
    )
    print(f"Try it: python -m http.server --directory {folder}, then http://localhost:8000")
    return 0


def _check_format(out: Path, *, is_onnx: bool, precision: str, heatmaps: bool) -> None:
    """Raise ValueError unless the suffix, precision and outputs fit together."""
    if not (is_onnx or out.suffix.lower() in FILE_SUFFIXES):
        endings = ", ".join(files.ending for files in NATIVE_FILES.values())
        raise ValueError(f"--out is {out}; expected a name that ends in .onnx, {endings}")
    if is_onnx and precision != "fp32":
        raise ValueError(
            f"ONNX files are exported in fp32; use slimpose quantize --precision {precision} "
            "on the exported file"
        )
    if not (is_onnx or heatmaps):
        raise ValueError(
            "--no-heatmaps is for FILE.onnx; expected another --out, or no such option"
        )


def _read_card(card: Path | None) -> dict[str, Any]:
    facts = read_json(card, kind="card") if card else {}
    if not isinstance(facts, dict):
        raise ValueError(f"{card} holds {json_kind(facts)}; expected an object")
    return facts


def _load(weights: str, *, untrained: bool, size: str | None) -> LoadedNetwork:
    """Return a file's network, or the untrained network of that name."""
    from slimpose.network.build import spec_named
    from slimpose.network.weights import load_network, random_network

    if not untrained:
        return load_network(Path(weights))
    return random_network(spec_named(weights, size=None if size is None else Size.parse(size)))


def _input_of(source: LoadedNetwork | Path) -> tuple[str, Size, CanvasFit]:
    """Return the task, the input size, and how an image fills it."""
    if isinstance(source, Path):
        info = read_info(source, read_metadata(source))
        return info.task, info.size, info.fit
    return source.task, source.spec.size, source.spec.fit


def _megabytes(out: Path) -> float:
    """Return the size of a model file and, where the format has one, its separate weights file."""
    weights = {".xml": out.with_suffix(".bin"), ".param": ncnn_files(out)[0]}
    files = [out, weights.get(out.suffix.lower())]
    return sum(file.stat().st_size for file in files if file is not None) / 1e6
