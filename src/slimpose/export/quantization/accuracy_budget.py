"""Quantization within an accuracy budget: a file whose measured loss exceeds it is not written."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import numpy_helper

from slimpose.arrays import Crops
from slimpose.export.quantization import rounding, samples
from slimpose.export.quantization.equalize import channel_peaks, equalize
from slimpose.export.quantization.float_layers import Candidate, FloatLayerSearch
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import (
    GraphParts,
    network_of,
    read_float_model,
    split_graph,
)
from slimpose.export.quantization.int8 import with_biases
from slimpose.export.quantization.request import QuantizationRequest
from slimpose.export.quantization.rounding import Evaluation, Log, Rounding
from slimpose.export.quantization.schemes import SCHEMES
from slimpose.formats import coco
from slimpose.formats.coco import CocoFile
from slimpose.formats.coco_skeleton import with_sigmas_of
from slimpose.formats.files import write_bytes
from slimpose.formats.temporary_folder import temporary_folder
from slimpose.runtime.session import ModelInfo, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationResult:
    """The file that was written, and its measured accuracy; AP in points."""

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
    """No file stays within the accuracy budget; the message reports the best that was found."""


def quantize(
    path: Path, request: QuantizationRequest, out: Path, *, log: Log = lambda line: None
) -> QuantizationResult:
    """Write a smaller file of an fp32 ONNX file that loses at most ``max_ap_loss`` points of AP.

    The loss is measured on people that the file was not calibrated on; ``log`` gets each line of
    progress.

    Raises:
        ValueError: If the model or the annotations are not suitable.
        AccuracyBudgetError: If every attempt loses more; nothing is written.
    """
    model, info = read_float_model(path)
    if info.task == "bottom-up":
        raise ValueError(f"{path} is a {info.task} model; expected a pose model or person detector")
    parts = split_graph(
        model,
        deconvolutions=request.rounds_deconvolutions,
        include_maps=SCHEMES[request.scheme].rounds_maps,
    )
    calibration, measured = samples.split(
        _read_annotations(request, info),
        task=info.task,
        calibration_people=request.calibration_people,
        measured_people=request.people,
    )
    people = [
        sum(samples.people_counts(part, task=info.task).values())
        for part in (calibration, measured)
    ]
    log(f"{people[0]} people calibrate, {people[1]} others measure ({request.annotations})")

    def ap_of(file: Path) -> float:
        session = Session(file, threads=request.threads)
        return samples.average_precision(session, measured, request.calibration)

    ap_float = ap_of(path)
    if ap_float <= 0:
        raise ValueError(
            f"{info.name} has AP {ap_float:.1f} on the measured people of {request.annotations}; "
            "expected a model that finds them (annotations of other images? another skeleton?)"
        )
    log(f"fp32: AP {ap_float:.2f}")
    with temporary_folder(out.parent) as folder:
        attempt = _Attempt(request, model, parts, ap_of, ap_float, folder, log)
        if request.precision == "fp16":
            candidate, method = attempt.fp16(), "every layer"
        else:
            images = samples.model_inputs(calibration, request.calibration, info)
            candidate, method = attempt.int8(images)
    result = QuantizationResult(
        name=f"{info.name}-{request.precision}",
        precision=request.precision,
        method=method,
        calibration_people=people[0] if request.precision == "int8" else 0,
        measured_people=people[1],
        ap_float=ap_float,
        ap=candidate.ap,
        float_layers=candidate.float_layers,
        layers=len(parts.layers),
        bytes_float=path.stat().st_size,
        bytes_made=0,
    )
    _write_metadata(candidate.model, info, result, request)
    onnx.checker.check_model(candidate.model)
    data = candidate.model.SerializeToString()
    write_bytes(out, data)
    return dataclasses.replace(result, bytes_made=len(data))


def _read_annotations(request: QuantizationRequest, info: ModelInfo) -> CocoFile:
    annotations = coco.read(request.annotations, keypoints=info.task == "pose")
    if info.task == "pose" and not annotations.skeleton.has_same_joints(info.skeleton):
        raise ValueError(
            f"{request.annotations} has the keypoints {', '.join(annotations.skeleton.joints)}; "
            f"expected those of {info.name}: {', '.join(info.skeleton.joints)}"
        )
    annotations.check_images(request.calibration)
    return with_sigmas_of(annotations, info.skeleton) if info.task == "pose" else annotations


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Conversions of one float model, each measured against the accuracy budget by ``ap_of``.

    ``folder`` is for temporary files; ``log`` is called with each line of progress.
    """

    request: QuantizationRequest
    model: onnx.ModelProto
    parts: GraphParts
    ap_of: Callable[[Path], float]
    ap_float: float
    folder: Path
    log: Log

    def fp16(self) -> Candidate:
        """Return the FP16 model.

        Raises:
            AccuracyBudgetError: If it loses too much.
        """
        converted = to_fp16(self.model, self.parts)
        ap = self._measure(converted)
        if self.ap_float - ap > self.request.max_ap_loss:
            raise self._over_budget({0: self.ap_float - ap})
        return Candidate(converted, (), ap)

    def int8(self, images: Crops) -> tuple[Candidate, str]:
        """Return the INT8 model with the fewest float layers, and the method that made it.

        The images are the model's input for the calibration people.

        Raises:
            AccuracyBudgetError: If even the most float layers lose too much.
        """
        request, parts, log = self.request, self.parts, self.log
        scheme, threads = SCHEMES[request.scheme], request.threads
        model = self.model
        if scheme.power_of_two:
            peaks = channel_peaks(network_of(model, parts), images, threads=threads)
            model = equalize(model, peaks)
        evaluation = rounding.prepare(network_of(model, parts), parts, images, threads=threads)
        count = len(evaluation.calibration)
        log(f"{len(parts.layers)} layers to round; ranges from {count} images:")
        chosen = rounding.choose(evaluation, folder=self.folder, log=log, scheme=scheme)
        method = f"{scheme.name}, {chosen.method}" + ", biases corrected" * bool(chosen.biases)
        measures = (self._measure, self.ap_float, log)
        search = FloatLayerSearch(model, evaluation, chosen, *measures)
        if request.sensitivity:
            search.layers_by_sensitivity()
        if request.fine_tuning_steps and search.loss(0) > request.max_ap_loss:
            search = FloatLayerSearch(*self._fine_tuned(model, evaluation, chosen), *measures)
            method += f", {request.fine_tuning_steps} steps of fine-tuning"
        best, losses = search.fewest(max_loss=request.max_ap_loss)
        if best is None:
            raise self._over_budget(losses)
        return best, method

    def _measure(self, candidate: onnx.ModelProto) -> float:
        file = self.folder / "candidate.onnx"
        file.write_bytes(candidate.SerializeToString())
        return self.ap_of(file)

    def _fine_tuned(
        self, model: onnx.ModelProto, evaluation: Evaluation, chosen: Rounding
    ) -> tuple[onnx.ModelProto, Evaluation, Rounding]:
        """Return all three with fine-tuned weights; the float maps to be reached stay the same."""
        from slimpose.export.quantization.finetune import fine_tune

        model = with_biases(model, chosen.biases, self.parts.layers)
        values = fine_tune(
            network_of(model, self.parts),
            chosen.ranges,
            self.parts,
            chosen.scheme,
            evaluation.calibration,
            teacher=evaluation.network,
            steps=self.request.fine_tuning_steps,
            threads=self.request.threads,
            log=self.log,
        )
        for entry in model.graph.initializer:
            if entry.name in values:
                entry.CopyFrom(numpy_helper.from_array(values[entry.name], entry.name))
        evaluation = dataclasses.replace(evaluation, network=network_of(model, self.parts))
        tuned = dataclasses.replace(chosen, biases={})
        error = evaluation.error(tuned.apply(evaluation.network, self.parts, self.parts.layers))
        self.log(f"  error of the maps {chosen.error:.3%} before, {error:.3%} after")
        return model, evaluation, dataclasses.replace(tuned, error=error)

    def _over_budget(self, losses: Mapping[int, float]) -> AccuracyBudgetError:
        count = min(losses, key=lambda key: losses[key])
        layers = f", with {count} layers in float" if self.request.precision == "int8" else ""
        return AccuracyBudgetError(
            f"no {self.request.precision} file stays within the accuracy budget of "
            f"{self.request.max_ap_loss:g} AP: the best loses {losses[count]:.2f} of "
            f"{self.ap_float:.2f}{layers}; nothing was written "
            "(try a larger --max-ap-loss, or more people)"
        )


def _write_metadata(
    model: onnx.ModelProto,
    info: ModelInfo,
    result: QuantizationResult,
    request: QuantizationRequest,
) -> None:
    """Record in the model, in place, what it is and how it was made."""
    quantized: dict[str, Any] = {
        "precision": result.precision,
        "from_name": info.name,
        "method": result.method,
        "annotations": request.annotations.name,
        "calibration_people": result.calibration_people,
        "measured_people": result.measured_people,
        "ap_fp32": round(result.ap_float, 2),
        f"ap_{result.precision}": round(result.ap, 2),
        "max_ap_loss": request.max_ap_loss,
        "float_layers": list(result.float_layers),
        "onnxruntime": onnxruntime.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }
    card = {**info.card, "quantized": quantized}
    if "measured" in card:
        card["measured"] = f"of the fp32 file: {card['measured']}"
    changes = {"name": result.name, "precision": result.precision, "card": json.dumps(card)}
    for entry in model.metadata_props:
        entry.value = changes.get(entry.key, entry.value)
    model.graph.name = result.name
