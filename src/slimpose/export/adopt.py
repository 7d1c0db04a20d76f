"""A pose model of another project as a file of slimpose: it takes pixels and gives points."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper, version_converter
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.export.onnx import ExportDrift, drift_of
from slimpose.formats.files import replace_when_done
from slimpose.geometry import alignment_matrix
from slimpose.network.build import Spec
from slimpose.network.dark import DarkDecoder
from slimpose.runtime.foreign.facts import Facts
from slimpose.runtime.foreign.free_batch import free_batch
from slimpose.runtime.foreign.graph import Recognized
from slimpose.runtime.foreign.pose_decoders import (
    MIN_SPREAD_PX2,
    cell_steps,
    maps_shape,
    simcc_axes,
)
from slimpose.runtime.onnx_file import open_onnx_file
from slimpose.runtime.session import Session

OPSET = 18
MAX_POINT_DRIFT_PX = 0.05
MAX_SCORE_DRIFT = 1e-3
_ADOPTED = ("heatmaps", "vitpose", "rtmpose")
_TYPES = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(int32)": TensorProto.INT32,
}

_TORCH_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class _HeatmapDecoding(nn.Module):
    """Heatmaps in their own cells to points, scores, covariances, and heatmaps in ours."""

    step_px: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, facts: Facts, shape: Sequence[int]) -> None:
        super().__init__()
        _, *cells = maps_shape(shape, facts.size)
        self.is_last = shape[1] == cells[0]
        spec = cast("Spec", SimpleNamespace(heatmap_size=tuple(cells), stride=facts.stride))
        self.dark, self.stride = DarkDecoder(spec), facts.stride
        step_px, self.start_px = cell_steps(facts, (cells[0], cells[1]))
        self.register_buffer("step_px", torch.from_numpy(step_px))
        for name, side in zip(("rows", "columns"), cells, strict=True):
            matrix = alignment_matrix(side, facts.alignment, stride=facts.stride)
            self.register_buffer(name, torch.from_numpy(matrix))

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        heatmaps = (heatmaps.permute(0, 3, 1, 2) if self.is_last else heatmaps).float()
        points, scores, covariances = self.dark(heatmaps)
        share = self.step_px / self.stride
        points = (points - (self.stride - 1) / 2) * share + self.start_px
        covariances = covariances * torch.outer(share, share)
        return points, scores, covariances, self.rows @ heatmaps @ self.columns.T


class _SimccDecoding(nn.Module):
    """x and y (n, joints, bins), in the order of the file, to points, scores, covariances."""

    def __init__(self, facts: Facts, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.axes = simcc_axes(facts.names, [shape[2] for shape in shapes], facts.size)
        bins = [shapes[axis][2] for axis in self.axes]
        self.px_per_bin = facts.size.width / bins[0], facts.size.height / bins[1]

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y = ((first, second)[axis].float() for axis in self.axes)
        points = torch.stack(
            [
                axis.argmax(dim=2).float() * px
                for axis, px in zip((x, y), self.px_per_bin, strict=True)
            ],
            dim=-1,
        )
        scores = torch.minimum(x.amax(dim=2), y.amax(dim=2)).clamp(0, 1)
        spread = torch.eye(2) * MIN_SPREAD_PX2
        return points, scores, scores[..., None, None].abs() * 0 + spread


def adopt(path: Path, out: Path, *, license_text: str, origin: str, images: Crops) -> ExportDrift:
    """Write a file of slimpose from a heatmap or SimCC network in ONNX.

    Args:
        path: The file; its FILE.toml says what it does not say itself.
        out: The file to write.
        license_text: License of its weights, for the metadata.
        origin: Where it comes from, likewise.
        images: uint8 crops (n, H, W, 3) on which both are compared before the file is written.

    Returns:
        The largest differences of points and scores.

    Raises:
        ValueError: If it is another kind of model, or its graph cannot be extended.
        RuntimeError: If the results differ; nothing is written then.
    """
    reference = Session(path)
    if reference.info.kind not in _ADOPTED:
        raise ValueError(
            f"{path} is {reference.info.kind or 'a file of slimpose'}; expected a heatmap or SimCC "
            f"network of another project: one of {', '.join(_ADOPTED)}"
        )
    file = Recognized(path, open_onnx_file(path, optimize=False))
    model = _composed(file, path)
    for key, value in _metadata(file, path, out, license_text, origin).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    with replace_when_done(out) as partial:
        partial.write_bytes(model.SerializeToString())
        drift = _drift(reference, Session(partial), images)
        if not (drift.pixels <= MAX_POINT_DRIFT_PX and drift.maps <= MAX_SCORE_DRIFT):
            raise RuntimeError(
                f"the new file differs from {path} by {drift.pixels:.3g} px and {drift.maps:.3g} "
                f"in its scores; expected at most {MAX_POINT_DRIFT_PX} px and {MAX_SCORE_DRIFT:g}; "
                "nothing was written"
            )
    return drift


def _drift(reference: Session, adopted: Session, images: Crops) -> ExportDrift:
    names: list[str] = ["points", "scores"]
    theirs, ours = (model.run(images, names) for model in (reference, adopted))
    return drift_of(dict(zip(names, theirs, strict=True)), dict(zip(names, ours, strict=True)))


def _metadata(
    file: Recognized, path: Path, out: Path, license_text: str, origin: str
) -> dict[str, str]:
    cost, digest = cost_of_onnx(path), hashlib.sha256(path.read_bytes()).hexdigest()
    card = {
        "start": origin,
        "license": license_text,
        "adopted_from": f"{path.name} sha256 {digest}",
    }
    metadata = {key: value for key, value in file.metadata.items() if key != "kind"}
    return metadata | {
        "name": out.stem,
        "precision": "fp32",
        "gmac": f"{cost.gmac:.4f}",
        "params": str(cost.params),
        "card": json.dumps(card),
        "weights_sha256": digest,
    }


def _composed(file: Recognized, path: Path) -> onnx.ModelProto:
    """Return pixels to points in one graph: the normalization, the file, its decoding."""
    source = free_batch(path, file.signature) if file.signature.batch > 0 else path
    if source is None:
        raise ValueError(
            f"{path} has a fixed batch size that its graph needs; expected a file exported with a "
            "free one"
        )
    try:
        network = version_converter.convert_version(onnx.load(str(source)), OPSET)
        network = compose.add_prefix(network, "net/")
        before = compose.add_prefix(_normalization(file), "before/", rename_inputs=False)
        after = _decoding(file)
        network.ir_version = before.ir_version = after.ir_version
        joined = compose.merge_models(
            before, network, io_map=[("before/image", f"net/{file.signature.image.name}")]
        )
        names = [f"net/{name}" for name in file.facts.names]
        outputs = [value.name for value in after.graph.output]
        inputs = [value.name for value in after.graph.input]
        joined = compose.merge_models(
            joined, after, io_map=list(zip(names, inputs, strict=True)), outputs=outputs
        )
        del joined.metadata_props[:]
        onnx.checker.check_model(joined)
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path}: its graph cannot be extended to opset {OPSET} with normalization and "
            f"decoding: {reason} (export it with opset {OPSET}?)"
        ) from error
    return joined


def _normalization(file: Recognized) -> onnx.ModelProto:
    """Return uint8 crops to the input of the network, here named "image"."""
    height, width = file.signature.size
    kind = _TYPES[file.signature.image.type]
    constants = {
        "mean": file.mean.reshape(1, 1, 1, 3),
        "factor": file.factor.reshape(1, 1, 1, 3),
        "order": np.array([2, 1, 0] if file.bgr else [0, 1, 2], np.int64),
    }
    steps: list[tuple[str, list[str], Mapping[str, Any]]] = [
        ("Cast", [], {"to": TensorProto.FLOAT}),
        *([("Sub", ["mean"], {}), ("Mul", ["factor"], {})] if file.normalizes else []),
        ("Gather", ["order"], {"axis": 3}),
        *([] if file.signature.is_channels_last else [("Transpose", [], {"perm": [0, 3, 1, 2]})]),
        ("Cast", [], {"to": kind}),
    ]
    nodes, current = [], "crops"
    for number, (operator, others, attributes) in enumerate(steps):
        last = number == len(steps) - 1
        result = "image" if last else f"{operator.lower()}_{number}"
        nodes.append(helper.make_node(operator, [current, *others], [result], **attributes))
        current = result
    shape = ["n", height, width, 3] if file.signature.is_channels_last else ["n", 3, height, width]
    graph = helper.make_graph(
        nodes,
        "normalization",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", height, width, 3])],
        [helper.make_tensor_value_info("image", kind, shape)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _decoding(file: Recognized) -> onnx.ModelProto:
    """Return the file's outputs to those of a pose model."""
    shapes = file.signature.shapes
    names = ["points", "scores", "covariances"]
    module: nn.Module
    if "heatmaps" in file.outputs:
        module = _HeatmapDecoding(file.facts, shapes[0])
        names.append("heatmaps")
    else:
        module = _SimccDecoding(file.facts, shapes)
    examples = tuple(
        torch.rand(2, *port.shape[1:]).to(_TORCH_TYPES[port.type])
        for port in file.signature.outputs
    )
    free = torch.export.Dim("n", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"raw_{number}" for number in range(len(shapes))],
            output_names=names,
            dynamic_shapes=tuple({0: free} for _ in shapes),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def check_texts(texts: Sequence[tuple[str, str]]) -> None:
    """Raise ValueError if a text for the metadata is empty."""
    for option, text in texts:
        if not text.strip():
            raise ValueError(f"{option} is empty; expected a text for the file's metadata")
