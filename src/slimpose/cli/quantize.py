"""``slimpose quantize``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import tyro

from slimpose.cli.output_paths import check_output_paths
from slimpose.evaluate.coco_ap import require_pycocotools
from slimpose.formats.files import write_json
from slimpose.runtime.machine import check_threads
from slimpose.runtime.models import resolve


def quantize(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    /,
    calibration: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    annotations: Path,
    out: Path,
    max_ap_loss: float = 0.5,
    precision: Literal["int8", "fp16", "bf16"] = "int8",
    calibration_people: int = 200,
    people: int = 1000,
    scheme: Literal["affine", "symmetric", "power-of-two"] = "affine",
    deconvolutions: Literal["float", "int8"] | None = None,
    qat: bool = False,
    qat_steps: int = 400,
    sensitivity: bool = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    threads: int | None = None,
) -> int:
    """Make a smaller, faster file of a model, with a promise on its accuracy: kept as measured, or nothing is written.

    The people of the annotations are split in two by image: one part gives the ranges of values,
    the promise is measured on the other, with ground-truth boxes and without flip test (a detector:
    person-box AP).

    Args:
        model: A shipped name, or an fp32 ONNX file of slimpose export.
        calibration: Folder of the annotated images. Originals: pictures saved anew cost accuracy.
        annotations: COCO file with their people; with keypoints for a pose net.
        out: The ONNX file to write.
        max_ap_loss: The promise, in points of AP.
        precision: int8, or fp16 (half the size, for accelerators that compute it). bf16 needs no
            file: OpenVINO makes it of the fp32 file when it runs.
        calibration_people: About how many people give the ranges; whole images are taken.
        people: About how many people the promise is measured on, of the other images.
        scheme: How values become 8 bits. affine is for CPUs: zero points, a scale a channel of the
            weights. symmetric is for TensorRT. power-of-two is what Xilinx's DPU computes (XINT8):
            a scale a tensor, the maps too.
        deconvolutions: int8 rounds them too: always so but in the affine scheme, where OpenVINO
            alone would gain; ONNX Runtime computes them in float in any case on a CPU, and would
            only lose time and accuracy.
        qat: If rounding alone breaks the promise, fine-tune the weights for it before layers go
            back to float: on the calibration people (take 1000 or more), without labels; needs
            PyTorch.
        qat_steps: Of 8 pictures each; some two a second on two cores.
        sensitivity: Measure how much each layer suffers, even if none needs to go back to float.
        json_file: Where to write the figures.
        threads: CPU threads; the runtime's choice by default.
    """
    if precision == "bf16":
        raise ValueError(
            "bf16 needs no file of its own: OpenVINO makes it of the fp32 file when it runs; "
            "expected --backend openvino --precision bf16 where the model is used"
        )
    if not (math.isfinite(max_ap_loss) and max_ap_loss >= 0):
        raise ValueError(
            f"--max-ap-loss is {max_ap_loss:g}; expected points of AP, 0 or more, such as 0.5"
        )
    for option, value in (
        ("--calibration-people", calibration_people),
        ("--people", people),
        ("--qat-steps", qat_steps),
    ):
        if value < 1:
            raise ValueError(f"{option} is {value}; expected 1 or more")
    if precision == "fp16" and (
        deconvolutions is not None or sensitivity or qat or scheme != "affine"
    ):
        raise ValueError(
            "--scheme, --deconvolutions, --qat and --sensitivity are about int8; expected none of them with "
            "--precision fp16"
        )
    if scheme != "affine" and deconvolutions == "float":
        raise ValueError(
            f"the {scheme} scheme is for chips that compute deconvolutions in int8; expected them so"
        )
    path = resolve(model)
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"--out is {out}; expected an ONNX file to write")
    check_threads(threads)
    check_output_paths({"--out": out, "--json": json_file}, {}, [path, annotations])
    require_pycocotools()
    from slimpose.export.quantization.accuracy_budget import QuantizationRequest, quantize
    from slimpose.export.quantization.schemes import SCHEMES

    request = QuantizationRequest(
        model=path,
        images=calibration,
        annotations=annotations,
        precision=precision,
        max_ap_loss=max_ap_loss,
        calibration_people=calibration_people,
        measured_people=people,
        scheme=SCHEMES[scheme],
        deconvolutions=deconvolutions == "int8" or scheme != "affine",
        fine_tuning_steps=qat_steps if qat else 0,
        every_sensitivity=sensitivity,
        threads=threads,
    )
    made = quantize(request, out, tell=lambda line: print(line, flush=True))
    for layer in made.float_layers:
        print(f"  float: {layer}")
    print(
        f"{out}: AP {made.ap_float:.2f} -> {made.ap:.2f} ({made.loss:+.2f} lost, {max_ap_loss:g} allowed) on "
        f"{made.measured_people} people; {made.bytes_float / 1e6:.1f} -> {made.bytes_made / 1e6:.1f} MB"
        + (
            f"; {len(made.float_layers)} of {made.layers} layers in float"
            if precision == "int8"
            else ""
        )
    )
    if json_file is not None:
        figures = {name: getattr(made, name) for name in made.__slots__}
        write_json(
            json_file, {**figures, "float_layers": list(made.float_layers), "loss": made.loss}
        )
    return 0
