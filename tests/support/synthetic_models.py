"""Small ONNX models with the format of ``slimpose export`` and outputs that are easy to compute.

Both find the brightest pixel: the pose model places every joint there, the detector a person around
it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slimpose.arrays import Size
from slimpose.skeleton import COCO17, Skeleton
from slimpose.tasks import Task

CROP = Size(64, 48)
CANVAS = Size(96, 96)
HALF_BOX = (16.0, 24.0)
"""Half the width and height, in canvas pixels, of the detector's box around the brightest pixel."""
CARD = {"start": "by hand", "data": "none", "license": "Apache-2.0"}

_Nodes = list[onnx.NodeProto]


def _constant(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


def _brightest(source: str, size: Size) -> tuple[_Nodes, list[onnx.TensorProto]]:
    """Nodes for value ``peak`` (n, 1) 0..1 and place ``xy`` (n, 1, 2) of the brightest pixel."""
    nodes = [
        helper.make_node("Cast", [source], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "last"], ["gray"], keepdims=0),
        helper.make_node("Reshape", ["gray", "flat"], ["pixels"]),
        helper.make_node("ReduceMax", ["pixels", "one"], ["white"], keepdims=1),
        helper.make_node("Div", ["white", "most"], ["peak"]),
        helper.make_node("ArgMax", ["pixels"], ["index"], axis=1, keepdims=1),
        helper.make_node("Mod", ["index", "width"], ["column"]),
        helper.make_node("Div", ["index", "width"], ["row"]),
        helper.make_node("Concat", ["column", "row"], ["place"], axis=1),
        helper.make_node("Cast", ["place"], ["place_float"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["place_float", "one"], ["xy"]),
    ]
    constants = [
        _constant("last", np.array([3], np.int64)),
        _constant("one", np.array([1], np.int64)),
        _constant("flat", np.array([0, size.height * size.width], np.int64)),
        _constant("most", np.array(255, np.float32)),
        _constant("width", np.array(size.width, np.int64)),
    ]
    return nodes, constants


def _save(
    path: Path,
    nodes: _Nodes,
    constants: list[onnx.TensorProto],
    *,
    source: str,
    size: Size,
    outputs: dict[str, list[int | str]],
    metadata: dict[str, str],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info(source, TensorProto.UINT8, ["n", *size, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def metadata_of(task: Task, size: Size, **changes: str) -> dict[str, str]:
    fields = {
        "slimpose": "1",
        "task": task,
        "name": f"synthetic-{task}",
        "precision": "fp32",
        "height": str(size.height),
        "width": str(size.width),
        "stride": "4",
        "gmac": "0.0010",
        "params": "12",
        "card": json.dumps(CARD),
        "weights_sha256": "0" * 64,
    }
    if task == "pose":
        fields["skeleton"] = json.dumps(dataclasses.asdict(COCO17))
    else:
        fields |= {"score_threshold": "0.3", "nms_iou_threshold": "0.6"}
    return fields | changes


def write_pose_model(
    path: Path, *, skeleton: Skeleton = COCO17, metadata: dict[str, str] | None = None
) -> Path:
    """Joint j is j/4 pixels right of the brightest pixel; scores are its value, covariances 1."""
    nodes, constants = _brightest("crops", CROP)
    joints = len(skeleton.joints)
    offsets = np.zeros((1, joints, 2), np.float32)
    offsets[0, :, 0] = np.arange(joints) / 4
    nodes += [
        helper.make_node("Add", ["xy", "offsets"], ["points"]),
        helper.make_node("Mul", ["peak", "ones"], ["scores"]),
        helper.make_node("Mul", ["peak", "zero"], ["zero_vector"]),
        helper.make_node("Unsqueeze", ["zero_vector", "axes"], ["zero_matrix"]),
        helper.make_node("Add", ["zero_matrix", "identity"], ["covariances"]),
    ]
    constants += [
        _constant("offsets", offsets),
        _constant("ones", np.ones((1, joints), np.float32)),
        _constant("zero", np.array(0, np.float32)),
        _constant("axes", np.array([2, 3], np.int64)),
        _constant("identity", np.tile(np.eye(2, dtype=np.float32), (1, joints, 1, 1))),
    ]
    outputs: dict[str, list[int | str]] = {
        "points": ["n", joints, 2],
        "scores": ["n", joints],
        "covariances": ["n", joints, 2, 2],
    }
    fields = metadata or metadata_of(
        "pose", CROP, skeleton=json.dumps(dataclasses.asdict(skeleton))
    )
    return _save(
        path, nodes, constants, source="crops", size=CROP, outputs=outputs, metadata=fields
    )


def write_detector_model(
    path: Path,
    *,
    metadata: dict[str, str] | None = None,
    offsets: Sequence[Sequence[float]] | None = None,
    scores: Sequence[float] = (0.9, 0.8, 0.1),
) -> Path:
    """Write a detector with three boxes: around the brightest pixel, shifted by 1 and by 30 pixels.

    Scores are 0.9, 0.8 and 0.1 times the pixel's value on a scale from the gray of the canvas (0)
    to white (1); darker pixels score 0. ``offsets``, from the pixel to the corners, and ``scores``
    replace these boxes.
    """
    nodes, constants = _brightest("images", CANVAS)
    x, y = HALF_BOX
    if offsets is None:
        offsets = [[-x, -y, x, y], [1 - x, -y, 1 + x, y], [30 - x, -y, 30 + x, y]]
    nodes += [
        helper.make_node("Concat", ["xy", "xy"], ["corners"], axis=2),
        helper.make_node("Add", ["corners", "offsets"], ["boxes"]),
        helper.make_node("Sub", ["peak", "gray_share"], ["over"]),
        helper.make_node("Div", ["over", "white_share"], ["share"]),
        helper.make_node("Relu", ["share"], ["lit"]),
        helper.make_node("Mul", ["lit", "weights"], ["scores"]),
    ]
    constants += [
        _constant("offsets", np.array([offsets], np.float32)),
        _constant("gray_share", np.array(114 / 255, np.float32)),
        _constant("white_share", np.array(141 / 255, np.float32)),
        _constant("weights", np.array([scores], np.float32)),
    ]
    outputs: dict[str, list[int | str]] = {
        "boxes": ["n", len(scores), 4],
        "scores": ["n", len(scores)],
    }
    fields = metadata or metadata_of("detect", CANVAS)
    return _save(
        path, nodes, constants, source="images", size=CANVAS, outputs=outputs, metadata=fields
    )


def dot_image(size: Size, x: int, y: int) -> np.ndarray:
    """A dark image with one white block of 3x3 pixels centered at x, y."""
    image = np.full((*size, 3), 20, np.uint8)
    image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 255
    return image
