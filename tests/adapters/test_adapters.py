"""Other people's models behind one contract: synthetic files whose answers can be worked out, and the peers' own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slimpose import heatmap
from slimpose.adapters.blazepose import BlazePose
from slimpose.adapters.heatmap_net import Cells, HeatmapNet
from slimpose.adapters.movenet import MoveNet, MultiPose
from slimpose.adapters.open_model import open_pose_model
from slimpose.adapters.part_affinity import BottomUpEstimator
from slimpose.adapters.simcc import SimccNet
from slimpose.adapters.tf_pose import TfPose
from slimpose.arrays import Size
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.session import Session
from slimpose.skeleton import COCO17
from synthetic_models import write_pose_model

SHARED = Path(__file__).parents[3] / "shared"
SIZE = Size(64, 48)
PLACES = np.stack([np.arange(17) + 10.0, 2 * np.arange(17) + 8.0], axis=1).astype(np.float32)
"""Where the synthetic nets' joints are, x and y in crop pixels."""


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    given: tuple[int, list[Any]],
    answers: dict[str, list[Any]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", *given)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in answers.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_constant(path: Path, given: tuple[int, list[Any]], **answers: np.ndarray) -> Path:
    """A model that gives the same for every picture, whatever the batch."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "inner"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["zero"]),
    ]
    constants = {"inner": np.array([1, 2, 3], np.int64), "nought": np.array(0, np.float32)}
    shapes = {}
    for name, value in answers.items():
        constants |= {
            f"{name}_value": value,
            f"{name}_shape": np.array([-1, *[1] * (value.ndim - 1)], np.int64),
        }
        nodes += [
            helper.make_node("Reshape", ["zero", f"{name}_shape"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]),
        ]
        shapes[name] = [given[1][0], *value.shape[1:]]
    return save(path, nodes, constants, given=given, answers=shapes)


def write_movenet(path: Path, *, joints: int = 17) -> Path:
    triples = np.zeros((1, 1, joints, 3), np.float32)
    triples[0, 0, :17, 0] = (PLACES[:joints, 1] + 0.5) / SIZE.height
    triples[0, 0, :17, 1] = (PLACES[:joints, 0] + 0.5) / SIZE.width
    triples[..., 2] = 0.75
    return write_constant(path, (TensorProto.INT32, [1, *SIZE, 3]), poses=triples)


def write_simcc(path: Path, *, bins: int = 2, height: int | str = SIZE.height) -> Path:
    along_x, along_y = (
        np.zeros((1, 17, bins * SIZE.width), np.float32),
        np.zeros((1, 17, bins * SIZE.height), np.float32),
    )
    for joint, (x, y) in enumerate(PLACES):
        along_x[0, joint, round(bins * x)] = 0.9
        along_y[0, joint, round(bins * y)] = 0.6
    return write_constant(
        path, (TensorProto.FLOAT, ["n", 3, height, SIZE.width]), x=along_x, y=along_y
    )


def write_heatmaps(path: Path, cells: Cells) -> Path:
    step = np.array([47 / 11, 63 / 15]) if cells == "corners" else np.array([4.0, 4.0])
    start = 1.5 if cells == "centers" else 0.0
    at = ((PLACES - start) / step).astype(np.float32)
    maps = heatmap.encode(at[None], Size(SIZE.height // 4, SIZE.width // 4), sigma_px=2.0)
    return write_constant(path, (TensorProto.FLOAT, ["n", 3, *SIZE]), maps=0.8 * maps)


CROPS = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)


def test_movenets_shares_of_the_crop_become_pixels(tmp_path: Path) -> None:
    model = MoveNet(write_movenet(tmp_path / "movenet.onnx"))
    points, scores = model.run(CROPS, ("points", "scores"))
    np.testing.assert_allclose(points, np.tile(PLACES, (3, 1, 1)), atol=1e-4)
    assert (scores == 0.75).all()


@pytest.mark.parametrize("bins", [1, 2])
def test_simcc_bins_become_pixels_and_the_less_sure_axis_scores(tmp_path: Path, bins: int) -> None:
    points, scores = SimccNet(write_simcc(tmp_path / "net.onnx", bins=bins)).run(
        CROPS, ("points", "scores")
    )
    np.testing.assert_allclose(points, np.tile(PLACES, (3, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(scores, 0.6)


@pytest.mark.parametrize("cells", ["multiples", "corners", "centers"])
def test_heatmaps_are_decoded_in_the_convention_the_net_was_taught(
    tmp_path: Path, cells: Cells
) -> None:
    model = HeatmapNet(write_heatmaps(tmp_path / "net.onnx", cells), cells=cells)
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    np.testing.assert_allclose(points, np.tile(PLACES, (3, 1, 1)), atol=0.2)
    assert (scores > 0.7).all()
    step = 47 / 11 if cells == "corners" else 4.0
    assert covariances[0, 8, 0, 0] == pytest.approx(
        (2 * step) ** 2, rel=0.2
    )  # the Gaussian's own, 2 cells


def test_nets_of_the_pytorch_world_get_normalized_red_first(tmp_path: Path) -> None:
    """Each joint's heatmap is the mean of its channel over 4x4 pixels: red for all but the second, blue for it."""
    weights = np.zeros((17, 3, 4, 4), np.float32)
    weights[:, 0] = 1 / 16
    weights[1] = 0
    weights[1, 2] = 1 / 16
    nodes = [helper.make_node("Conv", ["image", "weights"], ["maps"], strides=[4, 4])]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        {"weights": weights},
        given=(TensorProto.FLOAT, ["n", 3, *SIZE]),
        answers={"maps": ["n", 17, 16, 12]},
    )
    crop = np.zeros((1, *SIZE, 3), np.uint8)
    crop[0, 32:36, 20:24] = [166, 0, 0]  # (166 - 123.675) / 58.395 = 0.72
    crop[0, 12:16, 8:12] = [0, 0, 146]  # (146 - 103.53) / 57.375 = 0.74
    points, scores = HeatmapNet(path).run(crop, ("points", "scores"))
    np.testing.assert_allclose(points[0, :2], [[20, 32], [8, 12]], atol=4.1)
    np.testing.assert_allclose(scores[0, :2], [0.725, 0.740], atol=0.002)


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_movenet, MoveNet),
        (write_simcc, SimccNet),
        (lambda path: write_heatmaps(path, "multiples"), HeatmapNet),
        (write_pose_model, Session),
    ],
)
def test_a_file_is_opened_by_the_adapter_that_fits(tmp_path: Path, write: Any, kind: type) -> None:
    model = open_pose_model(write(tmp_path / "some name.onnx"))
    assert isinstance(model, kind)
    assert model.info.task == "pose"
    assert model.info.size == SIZE
    points, scores, covariances = model.run(CROPS, ("points", "scores", "covariances"))
    assert (points.shape, scores.shape, covariances.shape) == ((3, 17, 2), (3, 17), (3, 17, 2, 2))
    assert (np.linalg.eigvalsh(covariances) > 0).all()


def test_an_adapter_stands_in_for_our_own_model_and_gives_poses(tmp_path: Path) -> None:
    estimator = PoseEstimator(MoveNet(write_movenet(tmp_path / "movenet.onnx")))
    image = np.zeros((200, 300, 3), np.uint8)
    poses = estimator(
        image, np.array([[50.0, 40.0, 98.0, 104.0]], np.float32)
    )  # the crop shows it at 0.8
    assert poses.skeleton is COCO17
    center = np.array([(SIZE.width - 1) / 2, (SIZE.height - 1) / 2])
    np.testing.assert_allclose(
        poses.points_image[0], (PLACES - center) / 0.8 + [74.0, 72.0], atol=0.01
    )


def write_multipose(path: Path, *, sides: tuple[int | str, int | str] = SIZE) -> Path:
    """Two people of six: the second the better; the others score 0.05."""
    people = np.zeros((1, 6, 56), np.float32)
    people[0, :, 55] = [0.3, 0.8, 0.05, 0.05, 0.05, 0.05]
    triples = people[0, :, :51].reshape(6, 17, 3)  # a view: what is written here is in the people
    triples[..., 0], triples[..., 1] = (
        (PLACES[:, 1] + 0.5) / SIZE.height,
        (PLACES[:, 0] + 0.5) / SIZE.width,
    )
    triples[..., 2] = 0.75
    triples[1, :, 1] += 4 / SIZE.width
    assert people[0, 1, 50] == 0.75
    return write_constant(path, (TensorProto.INT32, [1, *sides, 3]), people=people)


def test_multiposes_people_are_found_in_the_whole_image_best_first(tmp_path: Path) -> None:
    model = open_pose_model(write_multipose(tmp_path / "multi.onnx"))
    assert isinstance(model, MultiPose)
    assert (model.info.task, model.info.size) == ("bottom-up", SIZE)
    poses = BottomUpEstimator(model)(np.zeros((128, 96, 3), np.uint8))  # twice the net's size
    np.testing.assert_allclose(poses.person_scores, [0.8, 0.3])
    at = 2 * PLACES + 0.5
    np.testing.assert_allclose(poses.points_image, np.stack([at + np.array([8, 0]), at]), atol=0.01)
    np.testing.assert_allclose(poses.boxes_image[1], [*at.min(axis=0), *at.max(axis=0)], atol=0.01)
    with pytest.raises(
        ValueError, match="multi has no output heatmaps; expected of points, scores, person_scores"
    ):
        model.run(np.zeros((1, *SIZE, 3), np.uint8), ("heatmaps",))


def test_multipose_of_any_size_is_run_at_its_own(tmp_path: Path) -> None:
    assert open_pose_model(
        write_multipose(tmp_path / "multi.onnx", sides=("h", "w"))
    ).info.size == Size(256, 256)
    with pytest.raises(
        ValueError, match=r"expected MoveNet MultiPose: one input \(1, height, width, 3\)"
    ):
        MultiPose(write_movenet(tmp_path / "movenet.onnx"))


class Interpreter:
    """Stands in for the .tflite reader: landmark k of any picture is at (k + 10, 2 k + 8) - the crop's brightness."""

    def __init__(self, *, model_path: str, num_threads: int | None) -> None:
        if Path(model_path).read_bytes() != b"landmarks":
            raise ValueError("Model provided has model identifier '<ht', should be 'TFL3'")
        assert num_threads is None or num_threads > 0

    def allocate_tensors(self) -> None:
        pass

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "shape": np.array([1, 64, 48, 3])}]

    def get_output_details(self) -> list[dict[str, Any]]:
        shapes = {1: [1, 1], 2: [1, 195], 3: [1, 16, 12, 39]}
        return [{"index": index, "shape": np.array(shape)} for index, shape in shapes.items()]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert (index, value.dtype) == (0, np.float32)
        self.brightness = float(value.mean())

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> np.ndarray:
        if index == 3:
            maps = np.full((1, 16, 12, 39), -30.0, np.float32)
            maps[0, 3, 4, 0] = (
                3.0  # the nose: sure of cell (4, 3), two cells from where it was regressed
            )
            maps[0, 12, 2, 28] = 3.0  # the right ankle: sure of a cell out of reach
            return maps
        assert index == 2
        numbers = np.zeros((39, 5), np.float32)
        numbers[:, 0] = np.arange(39) + 10 - self.brightness
        numbers[:, 1] = 2 * np.arange(39) + 8 - self.brightness
        return numbers.reshape(1, 195)


@pytest.fixture
def tflite(monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("ai_edge_litert"), ModuleType("ai_edge_litert.interpreter")
    module.Interpreter = Interpreter  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


@pytest.mark.usefixtures("tflite")
def test_blazeposes_landmarks_become_cocos_joints(tmp_path: Path) -> None:
    file = tmp_path / "pose_landmark.tflite"
    file.write_bytes(b"landmarks")
    white = np.full((1, *SIZE, 3), 255, np.uint8)  # 1.0 as the model sees it
    model = open_pose_model(file)
    points, scores = model.run(white, ("points", "scores"))
    assert isinstance(model, BlazePose)
    assert points.shape == (1, 17, 2)
    regressed = [[8.5, 6.5], [23.5, 36.5], [36.5, 62.5]]  # landmarks 0, 15, 28
    np.testing.assert_allclose(points[0, [0, 9, 16]], [[15.5, 11.5], *regressed[1:]], atol=1e-4)
    assert (scores == 0.5).all()  # logit 0
    (plain,) = BlazePose(file, refine=False).run(white, ("points",))
    np.testing.assert_allclose(plain[0, [0, 9, 16]], regressed)


@pytest.mark.usefixtures("tflite")
def test_a_broken_tflite_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "page.tflite").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"page\.tflite is not a \.tflite file that can be loaded"):
        open_pose_model(tmp_path / "page.tflite")


def test_without_its_reader_a_tflite_file_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "net.tflite").write_bytes(b"landmarks")
    with pytest.raises(BackendError, match="pip install ai-edge-litert"):
        open_pose_model(tmp_path / "net.tflite")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_simcc(path, height="h"), "exported with free height and width?"),
        (
            lambda path: write_movenet(path, joints=18),
            "expected one float input (n, 3, height, width)",
        ),
        (
            lambda path: write_constant(
                path, (TensorProto.FLOAT, ["n", 3, *SIZE]), classes=np.zeros((1, 5), np.float32)
            ),
            "expected a slimpose model, MoveNet SinglePose",
        ),
        (lambda path: path.write_bytes(b"no model"), "not an ONNX file that ONNX Runtime can load"),
        (lambda path: None, "no model file"),
    ],
)
def test_what_no_adapter_reads_is_told(tmp_path: Path, write: Any, message: str) -> None:
    write(tmp_path / "net.onnx")
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        open_pose_model(tmp_path / "net.onnx")
    assert message in str(raised.value)


def test_a_batch_of_another_size_is_refused(tmp_path: Path) -> None:
    model = MoveNet(write_movenet(tmp_path / "movenet.onnx"))
    with pytest.raises(
        ValueError, match=r"batch is uint8 \(3, 48, 64, 3\); movenet expects uint8 \(n, 64, 48, 3\)"
    ):
        model.run(CROPS.transpose(0, 2, 1, 3), ("points",))
    with pytest.raises(
        ValueError, match="movenet has no output heatmaps; expected of points, scores, covariances"
    ):
        model.run(CROPS, ("heatmaps",))


def test_another_skeletons_joints_are_refused(tmp_path: Path) -> None:
    skeleton = type(COCO17)(
        name="two", joints=("a", "b"), limbs=(), sigmas=(0.1, 0.1), upper_body=()
    )
    with pytest.raises(ValueError, match=r"expected two outputs \(n, 2, bins\)"):
        SimccNet(write_simcc(tmp_path / "net.onnx"), skeleton=skeleton)


def test_the_cost_of_a_foreign_graph_is_that_of_its_layers(tmp_path: Path) -> None:
    """3x3 s2 convolution, depthwise 3x3, transposed 4x4 s2, a matrix product of two activations, a dense layer."""
    constants = {
        "a": np.zeros((8, 3, 3, 3), np.float32),
        "a_bias": np.zeros(8, np.float32),
        "b": np.zeros((8, 1, 3, 3), np.float16),  # stored as half, cast in the graph
        "c": np.zeros((8, 5, 4, 4), np.float32),
        "d": np.zeros((24 * 32 * 5 * 4, 10), np.float32),
        "flat": np.array([1, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["image", "a", "a_bias"], ["p"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["p", "b_float"], ["q"], group=8, pads=[1] * 4),
        helper.make_node("ConvTranspose", ["q", "c"], ["r"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Transpose", ["r"], ["s"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["r", "s"], ["t"]),
        helper.make_node("Reshape", ["r", "flat"], ["u"]),
        helper.make_node("Gemm", ["u", "d"], ["v"]),
    ]
    path = save(
        tmp_path / "net.onnx",
        nodes,
        constants,
        given=(TensorProto.FLOAT, ["n", 3, *SIZE]),
        answers={"v": [1, 10], "t": [1, 5, 64, 64]},
    )
    cost = cost_of_onnx(path)
    half = 32 * 24
    layers = [27 * 8 * half, 9 * 8 * half, 8 * 5 * 16 * half, 5 * 64 * 64 * 48, 64 * 48 * 5 * 10]
    assert cost.macs == sum(layers)
    assert cost.params == 8 * 27 + 8 + 8 * 9 + 8 * 5 * 16 + 24 * 32 * 5 * 4 * 10
    assert cost.left_out == ()


def test_a_shape_that_is_not_known_is_told(tmp_path: Path) -> None:
    path = save(
        tmp_path / "net.onnx",
        [helper.make_node("Conv", ["image", "a"], ["p"], name="first")],
        {"a": np.zeros((8, 3, 3, 3), np.float32)},
        given=(TensorProto.FLOAT, ["n", 3, "h", "w"]),
        answers={"p": ["n", 8, "a", "b"]},
    )
    with pytest.raises(ValueError, match="the shape of 'p' at Conv 'first' is not known"):
        cost_of_onnx(path)


def test_the_shipped_nets_cost_what_their_files_say() -> None:
    from slimpose.runtime.models import shipped

    if not shipped():
        pytest.skip("needs the shipped weights")
    for path in shipped().values():
        assert cost_of_onnx(path).gmac == pytest.approx(Session(path).info.gmac, rel=0.001)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "gmac", "least"), [("thunder", 1.22, 0.55), ("lightning", 0.27, 0.45)]
)
def test_movenet_finds_the_people_of_the_sample_photos(
    name: str, gmac: float, least: float
) -> None:
    from slimpose.evaluate.boxes import ground_truth_boxes
    from slimpose.evaluate.pose import pose_ap, pose_records
    from slimpose.formats import coco

    path, truth = (
        SHARED / "peers" / f"movenet-{name}.onnx",
        SHARED / "data" / "demo" / "person_keypoints.json",
    )
    if not path.exists() or not truth.exists():
        pytest.skip("needs the peers' files and the labeled sample photos")
    model, file = MoveNet(path, threads=1), coco.read(truth, keypoints=True)
    photos = Path(__file__).parents[2] / "examples" / "photos"
    records = pose_records(
        file,
        photos,
        ground_truth_boxes(file),
        lambda batch: tuple(model.run(batch, ("points", "scores"))),  # pyright: ignore[reportArgumentType]
        crop_size=model.info.size,
    )
    assert pose_ap(file, records)["AP"] > least
    assert cost_of_onnx(path).gmac == pytest.approx(gmac, rel=0.01)


def tf_pose_graph(path: Path, maps: int = 57) -> Path:
    """Channels last, any size: map 0 is where the picture is blue, map 1 where it is red, the others are nought."""
    weight = np.zeros((maps, 3, 8, 8), np.float32)
    weight[0, 0], weight[1, 2] = 1 / 64 / 255, 1 / 64 / 255
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "weight"], ["cells"], strides=[8, 8]),
        helper.make_node("Transpose", ["cells"], ["maps"], perm=[0, 2, 3, 1]),
    ]
    shape = ["n", "h", "w"]
    return save(
        path,
        nodes,
        {"weight": weight},
        given=(TensorProto.FLOAT, [*shape, 3]),
        answers={"maps": ["n", "h8", "w8", maps]},
    )


def test_tf_poses_graph_is_given_blue_first_and_its_maps_are_told_apart(tmp_path: Path) -> None:
    """The file is ONNX here, which OpenVINO reads as it reads .pb: only the answer's shape says whose it is."""
    model = TfPose(tf_pose_graph(tmp_path / "graph.onnx"), threads=1)
    assert (model.info.task, model.info.size, model.info.stride) == ("bottom-up", Size(368, 432), 8)
    image = np.zeros((2, 368, 432, 3), np.uint8)
    image[1, 80:88, 160:168] = (255, 0, 51)  # RGB
    heatmaps, affinities = model.run(image, ("heatmaps", "affinities"))
    assert (heatmaps.shape, affinities.shape) == ((2, 18, 46, 54), (2, 38, 46, 54))
    assert heatmaps[1, :2, 10, 20] == pytest.approx([0.2, 1.0], abs=1e-5)
    assert heatmaps[0].max() == 0
    with pytest.raises(ValueError, match="has no output points"):
        model.run(image, ("points",))
    with pytest.raises(ValueError, match=r"expected tf-pose's images .* and 57 maps"):
        TfPose(tf_pose_graph(tmp_path / "other.onnx", maps=20))
    (tmp_path / "graph.pb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"graph\.pb cannot be read by OpenVINO"):
        open_pose_model(tmp_path / "graph.pb")
