"""Small ONNX files in the formats of third-party pose models, with constant outputs."""

from __future__ import annotations

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
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_constant(path: Path, image: tuple[int, list[Any]], **outputs: np.ndarray) -> Path:
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
    return save_graph(path, nodes, constants, image=image, outputs=shapes)


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
    people[0, :, 55] = [0.3, 0.8, 0.05, 0.05, 0.05, 0.05]
    values = people[0, :, :51].reshape(6, 17, 3)  # a view: writes go to ``people``
    values[..., 0] = (JOINTS_PX[:, 1] + 0.5) / SIZE.height
    values[..., 1] = (JOINTS_PX[:, 0] + 0.5) / SIZE.width
    values[..., 2] = 0.75
    values[1, :, 1] += 4 / SIZE.width
    assert people[0, 1, 50] == 0.75
    return write_constant(path, (TensorProto.INT32, [1, *sides, 3]), people=people)


def write_simcc(path: Path, *, bins: int = 2, height: int | str = SIZE.height) -> Path:
    along_x = np.zeros((1, 17, bins * SIZE.width), np.float32)
    along_y = np.zeros((1, 17, bins * SIZE.height), np.float32)
    for joint, (x, y) in enumerate(JOINTS_PX):
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
