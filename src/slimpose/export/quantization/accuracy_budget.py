"""A smaller model file whose accuracy was measured beside the float file's: kept to the promise, or refused."""

from __future__ import annotations

import dataclasses
import datetime
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx
import onnxruntime
from onnx import numpy_helper

from slimpose.arrays import Crops
from slimpose.export.quantization import rounding_search, samples
from slimpose.export.quantization.equalize import channel_peaks, equalize
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import GraphParts, network_of, read_float, split_graph
from slimpose.export.quantization.int8 import with_biases
from slimpose.export.quantization.schemes import Scheme
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile
from slimpose.formats.files import write_bytes
from slimpose.runtime.session import ModelInfo, Session

MAX_FLOAT_SHARE = 0.5
"""Of the layers; with more of them in float it is no INT8 model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRequest:
    """What is wanted.

    Attributes:
        model: The fp32 file.
        images: Folder of the annotated images.
        annotations: COCO file.
        precision: What to make.
        max_ap_loss: The promise, in points of AP.
        calibrated_people: About how many people calibrate (images, for a detector).
        measured_people: About how many people the promise is measured on.
        scheme: How values become 8 bits, one of ``schemes.SCHEMES``.
        deconvolutions: Whether deconvolutions are rounded too.
        fine_tuning_steps: Of quantization-aware fine-tuning, where rounding alone breaks the
            promise; 0 for none.
        every_sensitivity: Measure each layer's sensitivity even if nothing needs to go back to
            float.
        threads: CPU threads; None for the runtime's choice.
    """

    model: Path
    images: Path
    annotations: Path
    precision: Literal["int8", "fp16"]
    max_ap_loss: float
    calibration_people: int
    measured_people: int
    scheme: Scheme
    deconvolutions: bool
    fine_tuning_steps: int
    every_sensitivity: bool
    threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationResult:
    """What was made, and how it was measured; AP in points."""

    name: str
    precision: str
    method: str
    calibration_people: int
    measured_people: int
    ap_float: float
    ap: float
    float_layers: tuple[str, ...]
    layers: int
    bytes_float: int
    bytes_made: int

    @property
    def loss(self) -> float:
        """Points of AP lost."""
        return self.ap_float - self.ap


class AccuracyBudgetError(RuntimeError):
    """No file keeps the promise; the message tells the best that was found."""


def quantize(
    request: QuantizationRequest, out: Path, *, tell: Callable[[str], None] = lambda line: None
) -> QuantizationResult:
    """Write a smaller file that loses at most ``max_ap_loss`` points of AP on people it was not calibrated on.

    Raises:
        ValueError: If the model or the annotations will not do.
        PromiseError: If the loss is larger whatever is tried; nothing is written.
    """
    model, info = read_float(request.model)
    if info.task == "bottom-up":
        raise ValueError(
            f"{request.model} is a {info.task} model; expected a pose net or a person detector"
        )
    parts = split_graph(
        model, deconvolutions=request.deconvolutions, maps_too=request.scheme.rounds_maps
    )
    truth = _truth(request, info)
    calibrated, measured = samples.split(
        truth,
        task=info.task,
        calibrated_people=request.calibration_people,
        measured_people=request.measured_people,
    )
    people = [
        sum(samples.people_counts(part, task=info.task).values()) for part in (calibrated, measured)
    ]
    tell(f"{people[0]} people calibrate, {people[1]} others measure ({request.annotations})")
    ap_float = samples.average_precision(
        Session(request.model, threads=request.threads), measured, request.images
    )
    if ap_float <= 0:
        raise ValueError(
            f"{info.name} has AP {ap_float:.1f} on the measured people of {request.annotations}: there is nothing to "
            "keep (annotations of other images? another skeleton?)"
        )
    tell(f"fp32: AP {ap_float:.2f}")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ap_of(candidate: onnx.ModelProto) -> float:
            file = folder / "candidate.onnx"
            file.write_bytes(candidate.SerializeToString())
            return samples.average_precision(
                Session(file, threads=request.threads), measured, request.images
            )

        if request.precision == "fp16":
            made, method, float_layers, ap = to_fp16(model, parts), "every layer", (), 0.0
            ap = ap_of(made)
            if ap_float - ap > request.max_ap_loss:
                raise AccuracyBudgetError(_refusal(request, ap_float, {0: ap_float - ap}))
        else:
            pictures = samples.pictures(calibrated, request.images, info)
            made, method, float_layers, ap = _int8(
                request,
                model,
                parts,
                pictures,
                ap_float=ap_float,
                ap_of=ap_of,
                folder=folder,
                tell=tell,
            )
    outcome = QuantizationResult(
        name=f"{info.name}-{request.precision}",
        precision=request.precision,
        method=method,
        calibration_people=people[0] if request.precision == "int8" else 0,
        measured_people=people[1],
        ap_float=ap_float,
        ap=ap,
        float_layers=float_layers,
        layers=len(parts.layers),
        bytes_float=request.model.stat().st_size,
        bytes_made=0,
    )
    _describe(made, info, outcome, request)
    onnx.checker.check_model(made)
    data = made.SerializeToString()
    write_bytes(out, data)
    return dataclasses.replace(outcome, bytes_made=len(data))


def _truth(request: QuantizationRequest, info: ModelInfo) -> CocoFile:
    truth = coco.read(request.annotations, keypoints=info.task == "pose")
    if info.task == "pose" and truth.skeleton.joints != info.skeleton.joints:
        raise ValueError(
            f"{request.annotations} has the joints {', '.join(truth.skeleton.joints)}; {info.name} gives "
            f"{', '.join(info.skeleton.joints)}"
        )
    truth.check_images(request.images)
    return truth


def _int8(
    request: QuantizationRequest,
    model: onnx.ModelProto,
    parts: GraphParts,
    pictures: Crops,
    *,
    ap_float: float,
    ap_of: Callable[[onnx.ModelProto], float],
    folder: Path,
    tell: Callable[[str], None],
) -> tuple[onnx.ModelProto, str, tuple[str, ...], float]:
    """The graph, how its ranges were found, its float layers, its AP."""
    if request.scheme.power_of_two:
        model = equalize(
            model, channel_peaks(network_of(model, parts), pictures, threads=request.threads)
        )
    measured = rounding_search.prepare_evaluation(
        network_of(model, parts), parts, pictures, threads=request.threads
    )
    tell(f"{len(parts.layers)} layers to round; ranges from {len(measured.calibrating)} pictures:")
    rounding = rounding_search.choose_rounding(
        measured, folder=folder, tell=tell, scheme=request.scheme
    )
    is_corrected = bool(rounding.biases)
    by_sensitivity: list[str] = []

    def order() -> list[str]:
        if not by_sensitivity:
            tell("error of the maps with one layer alone rounded, the largest:")
            found = rounding_search.sensitivities(measured, rounding)
            for layer, error in found[:12]:
                tell(f"  {error:.3%}  {_told(model, layer)}")
            by_sensitivity.extend(layer for layer, _ in found)
        return by_sensitivity

    if request.every_sensitivity:
        order()
    made: dict[int, tuple[onnx.ModelProto, tuple[str, ...], float]] = {}

    def loss_of(count: int) -> float:
        if count in made:
            return ap_float - made[count][2]
        back = set(order()[:count]) if count else set()
        kept = [layer for layer in parts.layers if layer not in back]
        candidate = rounding.applied(model, parts, kept)
        ap = ap_of(candidate)
        float_layers = tuple(_told(model, layer) for layer in by_sensitivity if layer in back)
        made[count] = candidate, float_layers, ap
        tell(f"{count} layers in float: AP {ap:.2f}, {ap_float - ap:+.2f} lost")
        return ap_float - ap

    tuned = ""
    if request.fine_tuning_steps and loss_of(0) > request.max_ap_loss:
        model, measured, rounding = _fine_tuned(
            request, model, parts, measured, rounding, tell=tell
        )
        by_sensitivity.clear()
        made.clear()
        tuned = f", {request.fine_tuning_steps} steps of fine-tuning"
    most = int(MAX_FLOAT_SHARE * len(parts.layers))
    count, losses = rounding_search.fewest_float_layers(
        loss_of, most=most, max_loss=request.max_ap_loss
    )
    if count is None:
        raise AccuracyBudgetError(_refusal(request, ap_float, losses))
    method = (
        f"{request.scheme.name}, {rounding.method}"
        + (", biases corrected" if is_corrected else "")
        + tuned
    )
    candidate, float_layers, ap = made[count]
    return candidate, method, float_layers, ap


def _fine_tuned(
    request: QuantizationRequest,
    model: onnx.ModelProto,
    parts: GraphParts,
    measured: rounding_search.QuantizationEvaluation,
    rounding: rounding_search.Rounding,
    *,
    tell: Callable[[str], None],
) -> tuple[onnx.ModelProto, rounding_search.QuantizationEvaluation, rounding_search.Rounding]:
    """All of them with weights that were moved for rounding; what the maps should be stays as it was."""
    from slimpose.export.quantization.finetune import fine_tune

    model = with_biases(model, rounding.biases, parts.layers)
    values = fine_tune(
        network_of(model, parts),
        rounding.ranges,
        parts,
        rounding.scheme,
        measured.calibrating,
        teacher=measured.network,
        steps=request.fine_tuning_steps,
        threads=request.threads,
        tell=tell,
    )
    for entry in model.graph.initializer:
        if entry.name in values:
            entry.CopyFrom(numpy_helper.from_array(values[entry.name], entry.name))
    measured = dataclasses.replace(measured, network=network_of(model, parts))
    rounding = dataclasses.replace(rounding, biases={})
    error = measured.error(rounding.applied(measured.network, parts, parts.layers))
    tell(f"  error of the maps {rounding.error:.3%} before, {error:.3%} now")
    return model, measured, dataclasses.replace(rounding, error=error)


def _told(model: onnx.ModelProto, layer: str) -> str:
    """A layer by its weight's name, which says where it is; a sum by its own."""
    node = next(node for node in model.graph.node if node.name == layer)
    return node.input[1].removesuffix(".weight") if node.op_type != "Add" else layer


def _refusal(request: QuantizationRequest, ap_float: float, losses: dict[int, float]) -> str:
    count = min(losses, key=lambda key: losses[key])
    back = f", with {count} layers in float" if request.precision == "int8" else ""
    return (
        f"no {request.precision} file keeps the promise of {request.max_ap_loss:g} AP: the best found loses "
        f"{losses[count]:.2f} of {ap_float:.2f}{back}; nothing was written (a larger --max-ap-loss, or more people)"
    )


def _describe(
    made: onnx.ModelProto,
    info: ModelInfo,
    outcome: QuantizationResult,
    request: QuantizationRequest,
) -> None:
    """Write into the metadata what the file is now and how it was made."""
    told: dict[str, Any] = {
        "precision": outcome.precision,
        "from_name": info.name,
        "method": outcome.method,
        "annotations": request.annotations.name,
        "calibration_people": outcome.calibration_people,
        "measured_people": outcome.measured_people,
        "ap_fp32": round(outcome.ap_float, 2),
        f"ap_{outcome.precision}": round(outcome.ap, 2),
        "max_ap_loss": request.max_ap_loss,
        "float_layers": list(outcome.float_layers),
        "onnxruntime": onnxruntime.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
    card = {**info.card, "quantized": told}
    if "measured" in card:
        card["measured"] = f"of the fp32 file: {card['measured']}"
    changes = {
        "name": outcome.name,
        "precision": outcome.precision,
        "card": json.dumps(card),
    }
    for entry in made.metadata_props:
        entry.value = changes.get(entry.key, entry.value)
    made.graph.name = outcome.name
