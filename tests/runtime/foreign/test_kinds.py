"""Files of every kind are recognized, and what was planted in them is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from foreign_models import (
    CROPS,
    DETECTOR_SIZE,
    JOINTS_PX,
    PERSON_BOX,
    SIZE,
    box_outputs,
    people_outputs,
    save_graph,
    write_constant,
    write_heatmaps,
    write_movenet,
    write_multipose,
    write_outputs,
    write_simcc,
)
from slimpose import heatmap
from slimpose.arrays import Size
from slimpose.geometry import CellAlignment
from slimpose.runtime.detector import Detector
from slimpose.runtime.foreign.kinds import KINDS
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.session import Session

IMAGES = np.random.default_rng(1).integers(0, 256, (3, *DETECTOR_SIZE, 3)).astype(np.uint8)
AMBIGUOUS = {"rtmdet-nms", "yolox-nms", "rt-detr"}


def say(path: Path, text: str) -> None:
    path.with_suffix(".toml").write_text(text)


@pytest.mark.parametrize("alignment", ["multiples", "corners", "centers"])
def test_heatmaps_are_decoded_by_their_alignment(tmp_path: Path, alignment: CellAlignment) -> None:
    path = write_heatmaps(tmp_path / "net.onnx", alignment)
    say(path, f'alignment = "{alignment}"\n')
    model = Session(path)
    assert model.info.kind == "heatmaps"
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=0.2)
    assert (scores > 0.7).all()
    step = 47 / 11 if alignment == "corners" else 4.0
    # The Gaussian's own covariance: 2 cells.
    assert covariances[0, 8, 0, 0] == pytest.approx((2 * step) ** 2, rel=0.2)


@pytest.mark.parametrize("alignment", ["multiples", "corners", "centers"])
def test_heatmaps_for_teachers_have_our_cells(tmp_path: Path, alignment: CellAlignment) -> None:
    path = write_heatmaps(tmp_path / "net.onnx", alignment)
    say(path, f'alignment = "{alignment}"\n')
    (maps,) = Session(path).run(CROPS, ("heatmaps",))
    centers = write_heatmaps(tmp_path / "ours.onnx", "centers")
    say(centers, 'alignment = "centers"\n')
    (expected,) = Session(centers).run(CROPS, ("heatmaps",))
    middle = slice(4, 12)  # joints whose Gaussians lie within the maps
    # Cells of "corners" are 47 / 11 pixels apart, so its Gaussian is wider.
    tolerance = 0.08 if alignment == "corners" else 0.02
    np.testing.assert_allclose(maps[:, middle], expected[:, middle], atol=tolerance)


def test_vitpose_is_run_where_it_is_said(tmp_path: Path) -> None:
    path = write_heatmaps(tmp_path / "net.onnx", "corners")
    say(path, 'kind = "vitpose"\n')
    (points,) = Session(path).run(CROPS, ("points",))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=0.2)


@pytest.mark.parametrize("bins", [1, 2])
def test_simcc_bins_become_pixels_and_the_lower_axis_scores(tmp_path: Path, bins: int) -> None:
    model = Session(write_simcc(tmp_path / "net.onnx", bins=bins))
    assert (model.info.kind, model.info.size) == ("rtmpose", SIZE)
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(scores, 0.6)
    assert (np.linalg.eigvalsh(covariances) > 0).all()


@pytest.mark.parametrize("names", [("simcc_y", "simcc_x"), ("y", "x"), ("y_out", "x_out")])
def test_simcc_outputs_are_told_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    size = Size(64, 64)
    y, x = np.zeros((2, 1, 17, 96), np.float32)  # 1.5 bins per pixel
    for joint in range(17):
        x[0, joint, 3 * joint], y[0, joint, 3 * joint + 12] = 0.9, 0.9
    path = write_outputs(tmp_path / "net.onnx", size, dict(zip(names, (y, x), strict=True)))
    (points,) = Session(path).run(np.zeros((2, *size, 3), np.uint8), ("points",))
    expected = np.stack([2.0 * np.arange(17), 2.0 * np.arange(17) + 8], axis=1)
    np.testing.assert_allclose(points, np.tile(expected, (2, 1, 1)), atol=1e-4)


def test_simcc_outputs_are_told_by_their_bins(tmp_path: Path) -> None:
    x, y = np.zeros((1, 17, 96), np.float32), np.zeros((1, 17, 128), np.float32)
    for joint, (column, row) in enumerate(JOINTS_PX.astype(int)):
        x[0, joint, 2 * column], y[0, joint, 2 * row] = 0.9, 0.9
    path = write_outputs(tmp_path / "net.onnx", SIZE, {"a": y, "b": x})
    (points,) = Session(path).run(CROPS, ("points",))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)


@pytest.mark.parametrize("input_shape", [(*SIZE, 3), (3, *SIZE)])
@pytest.mark.parametrize("is_last", [False, True])
def test_heatmaps_and_images_may_have_channels_last(
    tmp_path: Path, input_shape: tuple[int, ...], is_last: bool
) -> None:
    maps = 0.8 * heatmap.encode(JOINTS_PX[None] / 4, Size(16, 12), sigma_px=2.0)
    maps = maps.transpose(0, 2, 3, 1) if is_last else maps
    image = (TensorProto.FLOAT, ["n", *input_shape])
    model = Session(write_constant(tmp_path / "net.onnx", image, maps=np.ascontiguousarray(maps)))
    points, own = model.run(CROPS, ("points", "heatmaps"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=0.2)
    assert own.shape == (3, 17, 16, 12)


def test_yolox_may_have_decoded_its_boxes(tmp_path: Path) -> None:
    outputs = box_outputs()["yolox"]
    x1, y1, x2, y2 = PERSON_BOX
    outputs["output"][0, 26, :4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    session = Session(write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, outputs))
    assert session.info.kind == "yolox"
    np.testing.assert_allclose(Detector(session)(IMAGES[0])[0], [PERSON_BOX], atol=0.01)


def test_rtmos_outputs_may_have_any_names(tmp_path: Path) -> None:
    outputs = people_outputs(17)["rtmo"]
    renamed = {"kpts": outputs["keypoints"], "boxes": outputs["dets"]}
    session = Session(write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, renamed))
    assert session.info.kind == "rtmo"
    assert len(OneStageEstimator(session)(np.zeros((192, 128, 3), np.uint8))) == 1


@pytest.mark.parametrize("classes", [1, 2])
def test_rf_detr_may_be_of_one_class(tmp_path: Path, classes: int) -> None:
    outputs = box_outputs()["rf-detr"]
    outputs["labels"] = np.roll(outputs["labels"], -1, axis=2)[..., :classes].copy()
    session = Session(write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, outputs))
    assert session.info.kind == "rf-detr"
    np.testing.assert_allclose(Detector(session)(IMAGES[0])[0], [PERSON_BOX], atol=0.01)


def test_movenets_shares_of_the_crop_become_pixels(tmp_path: Path) -> None:
    model = Session(write_movenet(tmp_path / "movenet.onnx"))
    points, scores = model.run(CROPS, ("points", "scores"))
    np.testing.assert_allclose(points, np.tile(JOINTS_PX, (3, 1, 1)), atol=1e-4)
    assert (scores == 0.75).all()


def test_multipose_finds_people_best_first(tmp_path: Path) -> None:
    estimator = OneStageEstimator(Session(write_multipose(tmp_path / "multi.onnx")))
    poses = OneStageEstimator(estimator.session, score_threshold=0.1)(
        np.zeros((128, 96, 3), np.uint8)  # twice the input size
    )
    second = 2 * JOINTS_PX + 0.5
    np.testing.assert_allclose(poses.points_image[1], second, atol=0.01)
    np.testing.assert_allclose(poses.points_image[0], np.add(second, [8, 0]), atol=0.01)
    np.testing.assert_allclose(poses.person_scores, [0.6, 0.225], atol=1e-6)


@pytest.mark.parametrize("kind", sorted(box_outputs()))
def test_detectors_give_the_planted_box(tmp_path: Path, kind: str) -> None:
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, box_outputs()[kind])
    if kind in AMBIGUOUS:
        say(path, f'kind = "{kind}"\n')
    session = Session(path)
    assert (session.info.kind, session.info.task) == (kind, "detect")
    boxes, scores = session.run(IMAGES, ("boxes", "scores"))
    assert len(boxes) == len(scores) == 3
    found, confidence = Detector(session)(IMAGES[0])
    np.testing.assert_allclose(found, [PERSON_BOX], atol=0.01)
    np.testing.assert_allclose(confidence, [0.9], atol=1e-4)


@pytest.mark.parametrize("joints", [17, 26, 133])
@pytest.mark.parametrize("kind", sorted(people_outputs(17)))
def test_one_stage_models_give_the_planted_person(tmp_path: Path, kind: str, joints: int) -> None:
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, people_outputs(joints)[kind])
    if (kind, joints) == ("yolo-pose-nms", 26):  # RT-DETR of 80 classes has as many values
        say(path, f'kind = "{kind}"\n')
    session = Session(path)
    assert (session.info.kind, session.info.task) == (kind, "one-stage")
    poses = OneStageEstimator(session)(np.zeros((192, 128, 3), np.uint8))
    assert len(poses) == 1
    expected = np.array([2 * JOINTS_PX[joint % 17] + 0.5 for joint in range(joints)])
    np.testing.assert_allclose(poses.points_image[0], expected, atol=0.01)
    assert len(poses.skeleton.joints) == joints
    if "detr" not in kind:
        np.testing.assert_allclose(poses.boxes_image, [2 * np.array(PERSON_BOX) + 0.5], atol=0.01)
        np.testing.assert_allclose(poses.person_scores, [0.9 * 0.75], atol=1e-5)


@pytest.mark.parametrize("kind", ["yolo", "yolo-pose"])
def test_values_of_yolos_may_come_last(tmp_path: Path, kind: str) -> None:
    """With a person's 56 values they look like YOLOX, so that the kind has to be said."""
    outputs = (box_outputs() | people_outputs(17))[kind]
    last = {name: array.transpose(0, 2, 1).copy() for name, array in outputs.items()}
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, last)
    if kind == "yolo-pose":
        with pytest.raises(ValueError, match=r"could be of 2 kinds; .*yolox for .*; yolo-pose for"):
            Session(path)
        say(path, f'kind = "{kind}"\n')
    name = "box_scores" if kind == "yolo-pose" else "scores"
    boxes, scores = Session(path).run(IMAGES, ("boxes", name))
    np.testing.assert_allclose(boxes[0, scores[0].argmax()], PERSON_BOX, atol=0.01)


CELLS = 96 + 24 + 6


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"o": (3 * CELLS, 6)}, "YOLOv5 of one class: x, y, w, h, not corners"),
        ({"o": (3 * CELLS, 57)}, "YOLOv5-pose"),
        ({"o": (3 * (CELLS + 2), 57)}, "YOLOv7-w6-pose: four strides"),
        ({"boxes": (1917, 4), "scores": (1917, 91)}, "SSD: anchors, softmax"),
    ],
)
def test_dense_heads_are_not_taken_for_lists_of_people(
    tmp_path: Path, outputs: dict[str, tuple[int, int]], reason: str
) -> None:
    arrays = {name: np.zeros((1, *shape), np.float32) for name, shape in outputs.items()}
    path = write_outputs(tmp_path / "net.onnx", DETECTOR_SIZE, arrays)
    with pytest.raises(ValueError, match="the outputs of no model kind known"):
        pytest.fail(f"{reason}: taken for {Session(path).info.kind}")


def test_every_kind_is_tested() -> None:
    tested = {*box_outputs(), *people_outputs(17), "heatmaps", "vitpose", "rtmpose", "movenet"}
    assert tested | {"movenet-multipose"} == set(KINDS)


@pytest.mark.parametrize(
    ("settings", "red", "blue"),
    [
        ("", (166 - 123.675) / 58.395, (146 - 103.53) / 57.375),
        ("bgr = true\n", (146 - 103.53) / 57.375, (166 - 123.675) / 58.395),
        ("mean = [0, 0, 0]\nstd = [200, 1, 200]\n", 166 / 200, 146 / 200),
    ],
)
def test_input_is_normalized_in_the_order_of_its_channels(
    tmp_path: Path, settings: str, red: float, blue: float
) -> None:
    """Each heatmap is a channel's mean over 4x4 pixels: the last for joint 1, else the first."""
    weights = np.zeros((17, 3, 4, 4), np.float32)
    weights[:, 0] = 1 / 16
    weights[1] = 0
    weights[1, 2] = 1 / 16
    path = save_graph(
        tmp_path / "net.onnx",
        [helper.make_node("Conv", ["image", "weights"], ["maps"], strides=[4, 4])],
        {"weights": weights},
        image=(TensorProto.FLOAT, ["n", 3, *SIZE]),
        outputs={"maps": ["n", 17, 16, 12]},
    )
    say(path, settings)
    crop = np.zeros((1, *SIZE, 3), np.uint8)
    crop[0, 32:36, 20:24] = [166, 0, 0]
    crop[0, 12:16, 8:12] = [0, 0, 146]
    (scores,) = Session(path).run(crop, ("scores",))
    np.testing.assert_allclose(scores[0, :2], [red, blue], atol=0.002)


def test_extra_input_of_detrs_gets_the_size(tmp_path: Path) -> None:
    """The keypoints are shares, which the graph multiplies by width and height."""
    shape, sizes = ["n", 3, 64, 128], ["n", 2]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "inner"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Reshape", ["zero", "column"], ["zeros"]),
            helper.make_node("Add", ["zeros", "score"], ["scores"]),
            helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["sizes", "sides"], ["scale"]),
            helper.make_node("Mul", ["scale", "shares"], ["keypoints"]),
        ],
        "detr",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, sizes),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 1, 17, 2]),
        ],
        [
            helper.make_tensor(name, kind, np.shape(value), np.ravel(value).tolist())
            for name, kind, value in (
                ("inner", TensorProto.INT64, [1, 2, 3]),
                ("nothing", TensorProto.FLOAT, 0.0),
                ("column", TensorProto.INT64, [-1, 1]),
                ("score", TensorProto.FLOAT, [[0.9]]),
                ("sides", TensorProto.INT64, [-1, 1, 1, 2]),
                ("shares", TensorProto.FLOAT, np.tile([0.25, 0.5], (1, 1, 17, 1))),
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "detr.onnx"
    path.write_bytes(model.SerializeToString())
    session = Session(path)
    assert session.info.size == Size(64, 128)
    (points,) = session.run(np.zeros((2, 64, 128, 3), np.uint8), ("points",))
    np.testing.assert_allclose(points, np.tile([32, 32], (2, 1, 17, 1)))
