"""Small ONNX files in the formats of third-party pose models, with constant outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slimpose import heatmap
from slimpose.arrays import Size
from slimpose.geometry import CellAlignment

SIZE = Size(64, 48)
JOINTS_PX = np.stack([np.arange(17) + 10.0, 2 * np.arange(17) + 8.0], axis=1).astype(np.float32)
"""The joints of all synthetic models: x and y in crop pixels."""
CROPS = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    image: tuple[int, list[Any]],
    outputs: dict[str, list[Any]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write an ONNX file; ``image`` is the type and shape of its only input."""
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", *image)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_constant(
    path: Path,
    image: tuple[int, list[Any]],
    metadata: Mapping[str, str] | None = None,
    /,
    **outputs: np.ndarray,
) -> Path:
    """Write a model with the same outputs for every image of a batch."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "inner"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["zero"]),
    ]
    constants = {"inner": np.array([1, 2, 3], np.int64), "factor": np.array(0, np.float32)}
    shapes: dict[str, list[Any]] = {}
    for name, value in outputs.items():
        constants[f"{name}_value"] = value
        constants[f"{name}_shape"] = np.array([-1, *[1] * (value.ndim - 1)], np.int64)
        nodes += [
            helper.make_node("Reshape", ["zero", f"{name}_shape"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]),
        ]
        shapes[name] = [image[1][0], *value.shape[1:]]
    return save_graph(path, nodes, constants, image=image, outputs=shapes, metadata=metadata)


def write_relu(path: Path) -> Path:
    """Write a graph that no adapter reads."""
    shape = [1, 3, 8, 8]
    node = helper.make_node("Relu", ["image"], ["y"])
    return save_graph(path, [node], {}, image=(TensorProto.FLOAT, shape), outputs={"y": shape})


def write_movenet(path: Path, *, joints: int = 17) -> Path:
    values = np.zeros((1, 1, joints, 3), np.float32)
    values[0, 0, :17, 0] = (JOINTS_PX[:joints, 1] + 0.5) / SIZE.height
    values[0, 0, :17, 1] = (JOINTS_PX[:joints, 0] + 0.5) / SIZE.width
    values[..., 2] = 0.75
    return write_constant(path, (TensorProto.INT32, [1, *SIZE, 3]), poses=values)


def write_multipose(path: Path, *, sides: tuple[int | str, int | str] = SIZE) -> Path:
    """Write a model that finds two people, the second with the higher score; others score 0.05."""
    people = np.zeros((1, 6, 56), np.float32)
    people[0, :, 51:55] = [0.1, 0.2, 0.9, 0.8]
    people[0, :, 55] = [0.3, 0.8, 0.05, 0.05, 0.05, 0.05]
    values = people[0, :, :51].reshape(6, 17, 3)  # a view: writes go to ``people``
    values[..., 0] = (JOINTS_PX[:, 1] + 0.5) / SIZE.height
    values[..., 1] = (JOINTS_PX[:, 0] + 0.5) / SIZE.width
    values[..., 2] = 0.75
    values[1, :, 1] += 4 / SIZE.width
    assert people[0, 1, 50] == 0.75
    return write_constant(path, (TensorProto.INT32, [1, *sides, 3]), people=people)


def write_simcc(
    path: Path, *, bins: int = 2, height: int | str = SIZE.height, joints: int = 17
) -> Path:
    along_x = np.zeros((1, joints, bins * SIZE.width), np.float32)
    along_y = np.zeros((1, joints, bins * SIZE.height), np.float32)
    for joint in range(joints):
        x, y = JOINTS_PX[joint % 17]
        along_x[0, joint, round(bins * x)] = 0.9
        along_y[0, joint, round(bins * y)] = 0.6
    image = (TensorProto.FLOAT, ["n", 3, height, SIZE.width])
    return write_constant(path, image, x=along_x, y=along_y)


def write_heatmaps(path: Path, alignment: CellAlignment = "multiples") -> Path:
    step = np.array([47 / 11, 63 / 15]) if alignment == "corners" else np.array([4.0, 4.0])
    start = 1.5 if alignment == "centers" else 0.0
    cells = ((JOINTS_PX - start) / step).astype(np.float32)
    maps = heatmap.encode(cells[None], Size(SIZE.height // 4, SIZE.width // 4), sigma_px=2.0)
    return write_constant(path, (TensorProto.FLOAT, ["n", 3, *SIZE]), maps=0.8 * maps)


PERSON_BOX = (8.0, 4.0, 40.0, 52.0)
"""The one person of all synthetic detectors: x1, y1, x2, y2 from the input's outer border."""
DETECTOR_SIZE = Size(96, 64)


def write_outputs(
    path: Path,
    size: Size,
    outputs: Mapping[str, np.ndarray],
    *,
    batch: int | str = "n",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a model of float images (n, 3, height, width) with constant outputs (1, ...)."""
    return write_constant(path, (TensorProto.FLOAT, [batch, 3, *size]), metadata, **outputs)


def people_outputs(joints: int, size: Size = DETECTOR_SIZE) -> dict[str, dict[str, np.ndarray]]:
    """Return the outputs of one-stage models by kind: one person in ``PERSON_BOX``.

    Joint k lies at (k + 10, 2 k + 8), repeated after 17, and scores 0.75; the person 0.9.
    """
    box = np.array(PERSON_BOX, np.float32)
    points = np.array([JOINTS_PX[joint % 17] for joint in range(joints)], np.float32)
    triples = np.concatenate([points, np.full((joints, 1), 0.75, np.float32)], axis=1)
    center = np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
    cells = sum((size.height // stride) * (size.width // stride) for stride in (8, 16, 32))
    rows = np.zeros((1, 5 + 3 * joints, cells), np.float32)
    rows[0, :, 3] = [*center, 0.9, *triples.ravel()]
    rows[0, :, 7] = [*center, 0.8, *triples.ravel()]  # suppressed: the same box
    end_to_end = np.zeros((1, 5, 6 + 3 * joints), np.float32)
    end_to_end[0, 0] = [*box, 0.9, 0, *triples.ravel()]
    dets = np.zeros((1, 5, 5), np.float32)
    dets[0, 0] = [*box, 0.9]
    keypoints = np.zeros((1, 5, joints, 3), np.float32)
    keypoints[0, 0] = triples
    scores = np.array([[0.9, 0.1]], np.float32)
    logits = np.log(scores / (1 - scores))[..., None]
    shares = np.tile((points / [size.width, size.height]).ravel().astype(np.float32), (1, 2, 1))
    return {
        "yolo-pose": {"output0": rows},
        "yolo-pose-nms": {"output0": end_to_end},
        "rtmo": {"dets": dets, "keypoints": keypoints},
        "detrpose": {"scores": scores, "keypoints": np.tile(points, (1, 2, 1, 1))},
        "detrpose-raw": {"pred_logits": logits, "pred_keypoints": shares},
    }


def box_outputs(size: Size = DETECTOR_SIZE) -> dict[str, dict[str, np.ndarray]]:
    """Return the outputs of detectors by kind: one person in ``PERSON_BOX``, score 0.9."""
    x1, y1, x2, y2 = PERSON_BOX
    center, sides = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
    cells = sum((size.height // stride) * (size.width // stride) for stride in (8, 16, 32))
    yolo = np.zeros((1, 84, cells), np.float32)
    yolo[0, :5, 3] = [*center, *sides, 0.9]
    yolo[0, 5, 9] = 0.99  # another class
    yolox = np.zeros((1, cells, 85), np.float32)
    cell, stride = 3 * 8 + 2, 8  # column 2, row 3
    place = [center[0] / stride - 2, center[1] / stride - 3]
    yolox[0, cell, :6] = [*place, *np.log(np.array(sides) / stride), 1.0, 0.9]
    end_to_end = np.zeros((1, 5, 6), np.float32)
    end_to_end[0, :2] = [[*PERSON_BOX, 0.9, 0], [0, 0, 9, 9, 0.99, 7]]
    dets, labels = np.zeros((1, 5, 5), np.float32), np.zeros((1, 5), np.float32)
    dets[0, :2], labels[0, 1] = [[*PERSON_BOX, 0.9], [0, 0, 9, 9, 0.99]], 7
    maps = [np.full((1, 12 // n, 8 // n, 5), -9.0, np.float32) for n in (1, 2, 4)]
    maps[1][0, 1, 1] = [np.log(9), 16 - x1, 16 - y1, x2 - 16, y2 - 16]  # the cell at 16, 16
    plus = np.zeros((1, cells + 2, 112), np.float32)  # NanoDet-Plus: stride 64 has two cells
    row, distances = 96 + 1 * 4 + 1, np.array([16 - x1, 16 - y1, x2 - 16, y2 - 16]) / 16
    plus[0, row, 0] = 0.9
    for side, distance in enumerate(distances):
        low = int(distance)
        bins = np.full(8, -60.0)
        share = distance - low
        bins[low : low + 2] = [np.log(max(1 - share, 1e-20)), np.log(max(share, 1e-20))]
        plus[0, row, 80 + 8 * side : 88 + 8 * side] = bins
    logits = np.full((1, 5, 91), -9.0, np.float32)
    logits[0, 2, 1] = np.log(9)
    shares = np.full((1, 5, 4), 0.5, np.float32)
    shares[0, 2] = np.array([*center, *sides]) / ([size.width, size.height] * 2)
    boxes, scores = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4), np.float32)
    boxes[0, 1], scores[0, 1] = PERSON_BOX, 0.9
    rt_detr = np.zeros((1, 5, 84), np.float32)
    rt_detr[0, 2, :5] = [*shares[0, 2], 0.9]
    return {
        "rt-detr": {"output0": rt_detr},
        "yolo": {"output0": yolo},
        "yolo-nms": {"output0": end_to_end},
        "yolox": {"output": yolox},
        "rtmdet-nms": {"dets": dets, "labels": labels},
        "yolox-nms": {"dets": dets, "labels": labels},
        "rtmdet": {"a": maps[0], "b": maps[1], "c": maps[2]},
        "nanodet": {"output": plus},
        "rf-detr": {"dets": shares, "labels": logits},
        "picodet": {"boxes": boxes, "scores": scores},
    }
