"""``slimpose quantize``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_output_paths
from slimpose.evaluate.coco_ap import require_pycocotools
from slimpose.export.quantization.request import QuantizationRequest
from slimpose.formats.files import write_json
from slimpose.runtime.models import resolve


def quantize(
    model: str,
    /,
    request: QuantizationRequest,
    out: Path,
    json_file: Annotated[Path | None, "--json"] = None,
) -> int:
    """Write a smaller, faster file of a model, if its measured accuracy stays within a budget.

    The images of the annotations are split in two: the value ranges are calibrated on the people of
    one half, the loss is measured on those of the other, with ground-truth boxes and without flip
    test (for a detector: person-box AP). Nothing is written if the loss exceeds the budget.

    Args:
        model: A shipped name, or an fp32 ONNX file of slimpose export.
        request: The options.
        out: The ONNX file to write.
        json_file: JSON file for the results.
    """
    path = resolve(model)
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"--out is {out}; expected an ONNX file to write")
    check_output_paths({"--out": out, "--json": json_file}, {}, [path, request.annotations])
    require_pycocotools()
    from slimpose.export.quantization.accuracy_budget import quantize

    result = quantize(path, request, out, log=lambda line: print(line, flush=True))
    if json_file is not None:
        write_json(json_file, {**asdict(result), "loss": result.loss})
    for layer in result.float_layers:
        print(f"  float: {layer}")
    line = (
        f"{out}: AP {result.ap_float:.2f} -> {result.ap:.2f} ({result.loss:+.2f} lost, "
        f"{request.max_ap_loss:g} allowed) on {counted(result.measured_people, 'person')}; "
        f"{result.bytes_float / 1e6:.1f} -> {result.bytes_made / 1e6:.1f} MB"
    )
    if request.precision == "int8":
        line += f"; {len(result.float_layers)} of {result.layers} layers in float"
    print(line)
    return 0
