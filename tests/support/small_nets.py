"""A small convolutional pose network as an ONNX file, and images that it labels itself.

    crops ── normalize ── c1 s2 ── c2 s2 ── c3 (depthwise) ── + c2 ── c4 s2 ── deconvolution ── 1x1
    ── heatmaps ── peak

Its weights are random. Its own predictions are the annotations, so its AP is 100, and a rounded
copy loses what rounding costs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from slimpose.arrays import Size
from slimpose.runtime.crops import crop_people
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17
from synthetic_models import metadata_of

SIZE = Size(64, 48)
IMAGE_SIZE = Size(96, 80)
BOX = [16.0, 10.0, 44.0, 60.0]
"""x, y, width, height in each image."""
LAYERS = ("c1", "c2", "c3", "sum", "c4")
OUTLIER = 3000.0


def small_net(path: Path, *, outliers: Sequence[str] = (), precision: str = "fp32") -> Path:
    """Write the network.

    The layers named in ``outliers`` have a channel that is always OUTLIER and that no layer uses:
    with 256 levels up to there, the others, of about 1, are rounded to zero.
    """
    rng = np.random.default_rng(3)
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def layer(name: str, source: str, kind: str, shape: tuple[int, ...], **attributes: Any) -> str:
        fan_in = np.prod(shape[1:]) if kind == "Conv" else shape[0] * 4
        weight = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, shape[0] if kind == "Conv" else shape[1]).astype(np.float32)
        if kind == "Conv" and name in outliers:
            weight[0], bias[0] = 0, OUTLIER
        if kind == "Conv" and attributes.get("group", 1) == 1 and name != "c1":
            weight[:, 0] = 0
        inputs = [source, constant(f"{name}.weight", weight), constant(f"{name}.bias", bias)]
        nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name, **attributes))
        return f"{name}_out"

    def relu(source: str) -> str:
        nodes.append(helper.make_node("Relu", [source], [f"{source}_relu"], f"{source}_relu"))
        return f"{source}_relu"

    nodes.append(helper.make_node("Transpose", ["crops"], ["chw"], "transpose", perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Cast", ["chw"], ["float"], "cast", to=TensorProto.FLOAT))
    nodes.append(
        helper.make_node(
            "Sub", ["float", constant("mean", np.array(127.5, np.float32))], ["even"], "sub"
        )
    )
    nodes.append(helper.make_node("Div", ["even", "mean"], ["normal"], "div"))
    x = relu(layer("c1", "normal", "Conv", (8, 3, 3, 3), strides=[2, 2], pads=[1] * 4))
    x = before = relu(layer("c2", x, "Conv", (8, 8, 3, 3), strides=[2, 2], pads=[1] * 4))
    x = relu(layer("c3", x, "Conv", (8, 1, 3, 3), pads=[1] * 4, group=8))
    nodes.append(helper.make_node("Add", [x, before], ["sum_out"], "sum"))
    x = relu(layer("c4", "sum_out", "Conv", (8, 8, 3, 3), strides=[2, 2], pads=[1] * 4))
    x = relu(layer("d1", x, "ConvTranspose", (8, 6, 4, 4), strides=[2, 2], pads=[1] * 4))
    layer("maps", x, "Conv", (17, 6, 1, 1))
    nodes[-1].output[0] = "heatmaps"

    height, width = SIZE.height // 4, SIZE.width // 4
    axis = constant("axis", np.array([-1], np.int64))
    nodes += [
        helper.make_node(
            "Reshape", ["heatmaps", constant("flat", np.array([0, 17, -1]))], ["cells"], "flatten"
        ),
        helper.make_node("ReduceMax", ["cells", axis], ["top"], "top", keepdims=0),
        helper.make_node("Sigmoid", ["top"], ["scores"], "score"),
        helper.make_node("ArgMax", ["cells"], ["index"], "argmax", axis=2, keepdims=1),
        helper.make_node(
            "Mod", ["index", constant("columns", np.array(width))], ["column"], "column"
        ),
        helper.make_node("Div", ["index", "columns"], ["row"], "row"),
        helper.make_node("Concat", ["column", "row"], ["xy"], "xy", axis=2),
        helper.make_node("Cast", ["xy"], ["xy_float"], "xy_float", to=TensorProto.FLOAT),
        helper.make_node(
            "Mul", ["xy_float", constant("stride", np.array(4, np.float32))], ["xy_px"], "px"
        ),
        helper.make_node(
            "Add", ["xy_px", constant("half", np.array(1.5, np.float32))], ["points"], "center"
        ),
        helper.make_node(
            "Mul", ["top", constant("zero", np.array(0, np.float32))], ["zeros"], "zeros"
        ),
        helper.make_node(
            "Unsqueeze", ["zeros", constant("last", np.array([2, 3]))], ["square"], "square"
        ),
        helper.make_node(
            "Add",
            ["square", constant("one", np.eye(2, dtype=np.float32))],
            ["covariances"],
            "spread",
        ),
    ]
    outputs = {
        "points": [17, 2],
        "scores": [17],
        "covariances": [17, 2, 2],
        "heatmaps": [17, height, width],
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", *SIZE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in outputs.items()
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    fields = metadata_of("pose", SIZE, name="small", precision=precision)
    helper.set_model_props(model, fields)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def self_labeled(model: Path, folder: Path, *, count: int = 24) -> Path:
    """Write images of random color gradients and the model's predictions as their COCO file."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    session = Session(model, threads=1)
    x, y, width, height = BOX
    corners = np.array([[x, y, x + width, y + height]], np.float32)
    images, people = [], []
    for number in range(1, count + 1):
        coarse = rng.integers(0, 256, (7, 6, 3), dtype=np.uint8)
        image = cv2.resize(
            coarse, (IMAGE_SIZE.width, IMAGE_SIZE.height), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f"{number}.png"), image[:, :, ::-1])
        crop, affine = crop_people(image, corners, SIZE)
        points = session.run(crop, ["points"])[0][0].astype(np.float64)
        points = (points - affine[0, :, 2]) / affine[0, 0, 0]
        keypoints = [float(value) for px, py in points for value in (px, py, 2)]
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "height": IMAGE_SIZE.height,
                "width": IMAGE_SIZE.width,
            }
        )
        person = {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "bbox": BOX,
            "area": width * height,
            "iscrowd": 0,
        }
        people.append({**person, "num_keypoints": 17, "keypoints": keypoints})
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    path = folder / "people.json"
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return path
