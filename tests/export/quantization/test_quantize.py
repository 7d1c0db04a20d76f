"""``slimpose quantize``: which layers are rounded, that the promise is kept as measured, and what is refused."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from slimpose.cli.main import main
from slimpose.export.quantization import calibration, rounding_search, samples
from slimpose.export.quantization.equalize import channel_peaks, equalize
from slimpose.export.quantization.fp16 import to_fp16
from slimpose.export.quantization.graph import (
    GraphParts,
    Runner,
    network_of,
    read_float,
    relative_error,
    split_graph,
    with_outputs,
)
from slimpose.export.quantization.int8 import (
    bias_corrected,
    channel_means,
    quantize_graph,
    with_bias_pairs,
)
from slimpose.export.quantization.pixel_input import pixel_input
from slimpose.export.quantization.samples import split
from slimpose.export.quantization.schemes import SCHEMES, power_of_two
from slimpose.formats import coco
from slimpose.runtime.session import Session
from small_nets import LAYERS, SIZE, self_labeled, small_net
from synthetic_models import CANVAS, HALF_BOX, dot_image, write_detector_model, write_pose_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net, ``small.onnx``, and pictures that it labeled, in ``pictures``."""
    made = tmp_path_factory.mktemp("quantize")
    small_net(made / "small.onnx")
    self_labeled(made / "small.onnx", made / "pictures")
    return made


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0)


def words(folder: Path, out: Path, *more: object, model: Path | None = None) -> list[object]:
    pictures = folder / "pictures"
    given = [
        "--calibration",
        pictures,
        "--annotations",
        pictures / "people.json",
        "--out",
        out,
        "--threads",
        "1",
    ]
    return ["quantize", model or folder / "small.onnx", *given, *more]


def small_bench(folder: Path) -> tuple[rounding_search.QuantizationEvaluation, GraphParts]:
    model, _ = read_float(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=False)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (10, *SIZE, 3)).astype(np.uint8)
    return rounding_search.prepare_evaluation(
        network_of(model, parts), parts, pictures, threads=1
    ), parts


def test_layers_are_those_between_pixels_and_maps_and_maps_stay_float(folder: Path) -> None:
    model, _ = read_float(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=False)
    assert parts.layers == LAYERS
    assert (parts.kept_float, parts.maps) == (("d1", "maps"), ("heatmaps",))
    assert {"cast", "div", "argmax", "center"} <= set(
        parts.outside
    )  # the decoding's sums are no layers
    assert split_graph(model, deconvolutions=True).layers == (*LAYERS, "d1")


@pytest.mark.parametrize(("node", "axis", "channels"), [("c1", 0, 8), ("c3", 0, 8), ("d1", 1, 6)])
def test_each_output_channel_has_a_scale_of_its_own(
    folder: Path, node: str, axis: int, channels: int
) -> None:
    model, _ = read_float(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=True)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    ranges = calibration.ranges(network_of(model, parts), pictures, method="minmax", folder=folder)
    graph = quantize_graph(model, ranges, parts, parts.layers).graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    convolution = next(entry for entry in graph.node if entry.name == node)
    unpack = next(entry for entry in graph.node if entry.output[0] == convolution.input[1])
    assert {attribute.name: attribute.i for attribute in unpack.attribute}["axis"] == axis
    weight, scales = constants[unpack.input[0]], constants[unpack.input[1]]
    assert (weight.dtype, len(scales), weight.shape[axis]) == (np.int8, channels, channels)
    original = numpy_helper.to_array(
        next(e for e in model.graph.initializer if e.name == f"{node}.weight")
    )
    largest = np.abs(original).max(axis=tuple(set(range(4)) - {axis}))
    np.testing.assert_allclose(scales, largest / 127, rtol=0.01)


def test_only_the_layers_asked_for_are_rounded(folder: Path) -> None:
    measured, parts = small_bench(folder)
    ranges = calibration.ranges(
        measured.network, measured.calibrating, method="minmax", folder=folder
    )
    errors = [
        measured.error(quantize_graph(measured.network, ranges, parts, layers))
        for layers in ([], parts.layers)
    ]
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert 1e-6 < errors[1] < 0.05


@pytest.mark.parametrize("layer", ["c1", "c3"])
def test_biases_take_back_what_rounding_adds_to_each_channel_on_average(
    folder: Path, layer: str
) -> None:
    measured, parts = small_bench(folder)
    network = measured.network
    ranges = calibration.ranges(network, measured.calibrating, method="minmax", folder=folder)
    means = channel_means(network, parts.layers, measured.calibrating, threads=1)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in network.graph.initializer}
    weight, bias = constants[f"{layer}.weight"], constants[f"{layer}.bias"]
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    added = np.round(weight / scale) * scale - weight
    mean = means["normal" if layer == "c1" else "c2_out_relu"]
    by_input = added.sum(axis=(2, 3))  # depthwise: its one input channel is the output's own
    expected = bias - (by_input[:, 0] * mean if layer == "c3" else by_input @ mean)
    np.testing.assert_allclose(
        bias_corrected(network, ranges, parts, means)[layer], expected, atol=2e-4
    )


def test_an_int8_net_reads_the_pixels_themselves_and_loses_no_bit_of_them(folder: Path) -> None:
    """(u - 127.5) / 127.5 rounded to 8 bits would lose the last bit; the mean's half level is in the bias."""
    measured, parts = small_bench(folder)
    network, pictures = measured.network, measured.calibrating
    found = pixel_input(network, parts)
    assert found is not None
    assert (found.stem, found.pixels, found.zero_point) == ("c1", "chw", 128)
    np.testing.assert_allclose(found.offsets, 0.5 / 127.5)
    ranges = calibration.ranges(network, pictures, method="minmax", folder=folder)
    rounded = quantize_graph(network, ranges, parts, ["c1"])
    assert not {"Cast", "Sub", "Div"} & {node.op_type for node in rounded.graph.node}
    weights = next(entry for entry in rounded.graph.node if entry.name == "c1").input[1]
    assert weights.startswith("c1.weight")
    maps = [
        Runner(rounded, threads=1).maps(np.full((1, *SIZE, 3), level, np.uint8))[0]
        for level in range(200, 204)
    ]
    assert all(np.abs(after - before).max() > 0 for before, after in pairwise(maps))


@pytest.mark.parametrize(("mean", "is_read"), [(127.5, True), (127.2, True), (110.0, False)])
def test_pixels_stay_normalized_where_no_whole_level_is_near_all_means(
    folder: Path, mean: float, is_read: bool
) -> None:
    network = small_bench(folder)[0].network
    parts = split_graph(network, deconvolutions=False)
    means = np.array([127.5, 127.5, mean], np.float32).reshape(3, 1, 1)
    network.graph.initializer.append(numpy_helper.from_array(means, "means"))
    next(node for node in network.graph.node if node.name == "sub").input[1] = "means"
    assert (pixel_input(network, parts) is not None) == is_read


def test_int8_keeps_the_promise_and_says_in_the_file_how_it_was_made(
    folder: Path, tmp_path: Path
) -> None:
    out, figures = tmp_path / "int8.onnx", tmp_path / "figures.json"
    assert run(*words(folder, out, "--max-ap-loss", "30", "--json", figures)) == 0
    told = json.loads(figures.read_text())
    assert told["ap_float"] == pytest.approx(100, abs=0.5)
    assert told["loss"] <= 30
    assert told["calibration_people"] + told["measured_people"] == 24
    small, session = Session(folder / "small.onnx", threads=1), Session(out, threads=1)
    assert (session.info.precision, session.info.name) == ("int8", "small-int8")
    assert (session.info.gmac, session.info.skeleton) == (small.info.gmac, small.info.skeleton)
    entry = session.info.card["quantized"]
    assert (entry["annotations"], entry["measured_people"]) == ("people.json", 12)
    assert entry["ap_int8"] == pytest.approx(told["ap"], abs=0.01)
    assert session.info.card["license"] == small.info.card["license"]
    assert not list(tmp_path.glob(".int8*"))


def test_what_8_bits_cannot_hold_goes_back_to_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An outlier behind the first convolution spoils it and the next; with both in float the rest is rounded."""
    model = small_net(tmp_path / "small.onnx", outliers=["c1"])
    self_labeled(model, tmp_path / "pictures")
    figures = tmp_path / "figures.json"
    asked = words(
        tmp_path, tmp_path / "int8.onnx", "--max-ap-loss", "30", "--json", figures, model=model
    )
    assert run(*asked) == 0
    told = json.loads(figures.read_text())
    assert sorted(told["float_layers"]) == ["c1", "c2"]
    assert told["loss"] <= 30
    assert "0 layers in float: AP 0" in capsys.readouterr().out


def test_a_promise_that_cannot_be_kept_is_refused_with_the_best_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_net(tmp_path / "small.onnx", outliers=["c1", "c2", "c4"])
    self_labeled(model, tmp_path / "pictures")
    out = tmp_path / "int8.onnx"
    assert run(*words(tmp_path, out, "--max-ap-loss", "1", model=model)) == 1
    told = capsys.readouterr().err
    assert "no int8 file keeps the promise of 1 AP: the best found loses" in told
    assert "nothing was written" in told
    assert not out.exists()


def test_fp16_halves_the_file_and_keeps_inputs_and_outputs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "fp16.onnx"
    assert run(*words(folder, out, "--precision", "fp16", "--max-ap-loss", "5")) == 0
    small, half = Session(folder / "small.onnx", threads=1), Session(out, threads=1)
    assert half.info.precision == "fp16"
    weights = [
        entry for entry in onnx.load(str(out)).graph.initializer if entry.name.endswith(".weight")
    ]
    assert len(weights) == 6
    assert {entry.data_type for entry in weights} == {onnx.TensorProto.FLOAT16}
    pictures = np.random.default_rng(2).integers(0, 256, (3, *SIZE, 3)).astype(np.uint8)
    maps = [session.run(pictures, ["heatmaps"])[0] for session in (small, half)]
    assert maps[1].dtype == np.float32
    assert 0 < relative_error(maps[1:], maps[:1]) < 1e-4


def test_what_decodes_an_fp16_file_computes_in_single(folder: Path) -> None:
    """The points of its own maps, exactly: a point at 200 px that went through FP16 would be off by 1/16."""
    model, _ = read_float(folder / "small.onnx")
    half = to_fp16(model, split_graph(model, deconvolutions=True))
    added = with_outputs(half, ["heatmaps", "points", "scores"])
    picture = np.random.default_rng(3).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8)
    maps, points, scores = Runner(added, threads=1).outputs(picture)
    flat = maps.reshape(17, -1)
    rows, columns = np.divmod(flat.argmax(axis=1), maps.shape[3])
    np.testing.assert_array_equal(points[0], np.stack([columns, rows], axis=1) * 4 + 1.5)
    np.testing.assert_allclose(scores[0], 1 / (1 + np.exp(-flat.max(axis=1))), rtol=1e-6)


def test_a_person_calibrates_or_measures_never_both(folder: Path) -> None:
    people = coco.read(folder / "pictures" / "people.json", keypoints=True)
    parts = split(people, task="pose", calibrated_people=5, measured_people=7)
    assert [len(part.images) for part in parts] == [5, 7]
    assert not set(parts[0].images) & set(parts[1].images)
    assert all(person.image_id in part.images for part in parts for person in part.people)


def test_a_detector_is_measured_on_whole_pictures_by_its_boxes(tmp_path: Path) -> None:
    """A dot a picture, and a box about its first pixel, where the detector's is: AP is 100. A crowd is no person."""
    session = Session(write_detector_model(tmp_path / "detector.onnx"), threads=1)
    x, y = HALF_BOX
    images, people = [], []
    for number, dot in enumerate(((40, 40), (50, 44), (44, 60)), start=1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), dot_image(CANVAS, *dot))
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "height": CANVAS.height,
                "width": CANVAS.width,
            }
        )
        box = [dot[0] - 1 - x, dot[1] - 1 - y, 2 * x, 2 * y]
        crowd = int(number == 3)
        people.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": box,
                "area": 1536,
                "iscrowd": crowd,
            }
        )
    document = {
        "images": images,
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    truth = coco.read(tmp_path / "boxes.json", keypoints=False)
    assert samples.people_counts(truth, task="detect") == {1: 1, 2: 1}
    parts = split(truth, task="detect", calibrated_people=9, measured_people=9)
    assert sorted(image_id for part in parts for image_id in part.images) == [1, 2]
    assert samples.pictures(truth, tmp_path, session.info).shape == (3, *CANVAS, 3)
    assert samples.average_precision(session, parts[0], tmp_path) == pytest.approx(100, abs=0.5)


@given(most=st.integers(0, 70), needed=st.integers(0, 80))
def test_the_fewest_float_layers_are_found_where_more_is_never_worse(
    most: int, needed: int
) -> None:
    asked: list[int] = []

    def loss(count: int) -> float:
        asked.append(count)
        return 0.0 if count >= needed else 1.0

    found, losses = rounding_search.fewest_float_layers(loss, most=most, max_loss=0.5)
    assert found == (needed if needed <= most else None)
    assert len(asked) == len(set(asked)) == len(losses) <= 15


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--precision", "bf16"],
            "bf16 needs no file of its own.*--backend openvino --precision bf16",
        ),
        (["--max-ap-loss", "nan"], "--max-ap-loss is nan"),
        (["--max-ap-loss", "-1"], "--max-ap-loss is -1"),
        (["--people", "0"], "--people is 0"),
        (["--precision", "fp16", "--sensitivity"], "are about int8"),
        (["--calibration", "nowhere"], "no image folder nowhere"),
        (["--annotations", "nowhere.json"], "no annotation file nowhere.json"),
        (["--out", "int8.txt"], "expected an ONNX file to write"),
    ],
)
def test_what_will_not_do_is_refused(
    folder: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8.onnx"
    assert run(*words(folder, out, *more)) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "name"),
    [("--out", "small.onnx"), ("--json", "small.onnx"), ("--json", "pictures/people.json")],
)
def test_what_it_reads_is_not_overwritten(
    folder: Path, tmp_path: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / name).read_bytes()
    assert run(*words(folder, tmp_path / "int8.onnx", option, folder / name)) == 2
    assert "is an input of this call; it would be overwritten" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_names_the_picture_it_lacks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words(folder, tmp_path / "int8.onnx", "--calibration", tmp_path)) == 2
    assert "names 1.png, which is not in" in capsys.readouterr().err


def test_annotations_without_keypoints_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((folder / "pictures" / "people.json").read_text())
    for person in document["annotations"]:
        del person["keypoints"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    assert run(*words(folder, tmp_path / "int8.onnx", "--annotations", path)) == 2
    assert "lacks the field 'keypoints'" in capsys.readouterr().err


def test_models_that_will_not_do_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = onnx.load(str(folder / "small.onnx"))
    del foreign.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(foreign.SerializeToString())
    (tmp_path / "cut.onnx").write_bytes((folder / "small.onnx").read_bytes()[:3000])
    cases = {
        tmp_path / "foreign.onnx": "is not a slimpose model",
        tmp_path / "cut.onnx": "not an ONNX file that can be read",
        small_net(
            tmp_path / "int8.onnx", precision="int8"
        ): "is int8 already; expected the fp32 file",
        write_pose_model(tmp_path / "pose.onnx"): "holds no convolution to quantize",
        tmp_path / "none.onnx": "no model file",
    }
    for model, message in cases.items():
        assert run(*words(folder, tmp_path / "made.onnx", model=model)) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "made.onnx").exists()


def test_a_file_made_here_is_not_rounded_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = read_float(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=False)
    pictures = np.zeros((1, *SIZE, 3), np.uint8)
    ranges = calibration.ranges(
        network_of(model, parts), pictures, method="minmax", folder=tmp_path
    )
    rounded = tmp_path / "rounded.onnx"
    rounded.write_bytes(quantize_graph(model, ranges, parts, parts.layers).SerializeToString())
    assert run(*words(folder, tmp_path / "made.onnx", model=rounded)) == 2
    assert "is int8 already" in capsys.readouterr().err


def test_a_detector_of_which_nothing_can_be_rounded_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = write_detector_model(tmp_path / "detector.onnx")
    assert run(*words(folder, tmp_path / "made.onnx", model=detector)) == 2
    assert "holds no convolution to quantize" in capsys.readouterr().err


def all_rounded(folder: Path, scheme: str) -> tuple[Any, Any, np.ndarray]:
    """The small net and its rounded twin, from pixels to maps, and pictures."""
    model, _ = read_float(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=True, maps_too=SCHEMES[scheme].rounds_maps)
    network = network_of(model, parts)
    pictures = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3)).astype(np.uint8)
    ranges = calibration.ranges(network, pictures, method="minmax", folder=folder)
    return network, quantize_graph(network, ranges, parts, parts.layers, SCHEMES[scheme]), pictures


def test_powers_of_two_are_the_scales_of_everything_and_the_maps_are_levels(folder: Path) -> None:
    network, rounded, pictures = all_rounded(folder, "power-of-two")
    constants = {entry.name: numpy_helper.to_array(entry) for entry in rounded.graph.initializer}
    pairs = [
        node
        for node in rounded.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    scales = np.concatenate([constants[node.input[1]].ravel() for node in pairs])
    np.testing.assert_array_equal(np.frexp(scales)[0], 0.5)
    assert all(constants[node.input[1]].size == 1 for node in pairs)
    assert all(not constants[node.input[2]].any() for node in pairs if len(node.input) > 2)
    last = next(node for node in rounded.graph.node if node.output[0] == "heatmaps")
    maps, truth = (
        Runner(rounded, threads=1).maps(pictures),
        Runner(network, threads=1).maps(pictures),
    )
    levels = maps[0] / constants[last.input[1]]
    np.testing.assert_array_equal(levels, np.round(levels))
    assert np.abs(levels).max() <= 128
    assert relative_error(maps, truth) < 0.05


def test_what_a_power_of_two_graph_computes_is_integer_arithmetic(folder: Path) -> None:
    """Convolutions of levels and shifts, in exact integers, give ONNX Runtime's maps to the bit."""
    _, rounded, pictures = all_rounded(folder, "power-of-two")
    newer = onnx.ModelProto()  # the same operators; the evaluator knows Q/DQ from 19 on
    newer.CopyFrom(rounded)
    newer.opset_import[0].version = 21
    exact = np.asarray(next(iter(ReferenceEvaluator(newer).run(None, {"crops": pictures[:1]}))))
    np.testing.assert_array_equal(Runner(rounded, threads=1).maps(pictures[:1])[0], exact)


@pytest.mark.parametrize("values", [[0.0], [0.5, -1.0], [3.0, 100.0], [1e-6, -2e-6]])
def test_a_power_of_two_leaves_the_least_error(values: list[float]) -> None:
    array = np.array(values)

    def error(scale: float) -> float:
        return float(((np.clip(np.round(array / scale), -128, 127) * scale - array) ** 2).sum())

    scale = power_of_two(array)
    assert np.frexp(scale)[0] == 0.5
    assert error(scale) <= min(error(2.0**exponent) for exponent in range(-40, 10)) + 1e-12


def test_equalized_channels_compute_the_same_and_have_like_ranges(folder: Path) -> None:
    network = small_bench(folder)[0].network
    weights = {entry.name: entry for entry in network.graph.initializer}
    for name, factor in (
        ("c2.weight", 50.0),
        ("d1.weight", 0.02),
    ):  # one output channel far from the others
        value = numpy_helper.to_array(weights[name]).copy()
        value[(3,) if name == "c2.weight" else (slice(None), 3)] *= factor
        weights[name].CopyFrom(numpy_helper.from_array(value, name))
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    evened = equalize(network, channel_peaks(network, pictures, threads=1))
    before, after = (Runner(model, threads=1).maps(pictures)[0] for model in (network, evened))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    value = {entry.name: numpy_helper.to_array(entry) for entry in evened.graph.initializer}
    given = np.abs(value["d1.weight"]).max(axis=(0, 2, 3))
    taken = np.abs(value["maps.weight"]).max(axis=(0, 2, 3))
    assert taken[0] == 0  # nothing to balance
    assert given[0] == 0  # nobody reads it
    np.testing.assert_allclose(given[1:], taken[1:], rtol=1e-3)
    np.testing.assert_array_equal(
        value["c2.bias"], numpy_helper.to_array(weights["c2.bias"])
    )  # two read it


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
def test_a_dead_channel_does_not_set_the_scale_of_a_tensor(folder: Path, activation: str) -> None:
    network = small_bench(folder)[0].network
    weights = {entry.name: entry for entry in network.graph.initializer}
    for name, value in (
        ("d1.weight", 1e3),
        ("d1.bias", -1e9),
    ):  # never fires, with weights like no other's
        changed = numpy_helper.to_array(weights[name]).copy()
        changed[(slice(None), 2) if changed.ndim > 1 else 2] = value
        weights[name].CopyFrom(numpy_helper.from_array(changed, name))
    if activation == "Clip":
        limits = [
            numpy_helper.from_array(np.array(limit, np.float32), f"limit_{limit}")
            for limit in (0, 6)
        ]
        network.graph.initializer.extend(limits)
        node = next(node for node in network.graph.node if node.input[0] == "d1_out")
        node.op_type = "Clip"
        node.input.extend(limit.name for limit in limits)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    evened = equalize(network, channel_peaks(network, pictures, threads=1))
    before, after = (Runner(model, threads=1).maps(pictures)[0] for model in (network, evened))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3 * np.abs(before).max())
    value = {entry.name: numpy_helper.to_array(entry) for entry in evened.graph.initializer}
    assert np.abs(value["d1.weight"]).max() < 10
    assert value["d1.bias"][2] == 0


def test_pairs_about_biases_round_them_as_the_scheme_does(folder: Path) -> None:
    network = small_bench(folder)[0].network
    parts = split_graph(read_float(folder / "small.onnx")[0], deconvolutions=True, maps_too=True)
    values = {entry.name: numpy_helper.to_array(entry) for entry in network.graph.initializer}
    rounded = onnx.ModelProto()
    rounded.CopyFrom(network)
    for entry in rounded.graph.initializer:
        if entry.name.endswith(".bias"):
            scale = power_of_two(values[entry.name])
            levels = np.clip(np.round(values[entry.name] / scale), -128, 127)
            entry.CopyFrom(numpy_helper.from_array((levels * scale).astype(np.float32), entry.name))
    pictures = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    in_pairs = with_bias_pairs(network, parts.layers)
    maps, expected = (Runner(model, threads=1).maps(pictures)[0] for model in (in_pairs, rounded))
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert not np.array_equal(expected, Runner(network, threads=1).maps(pictures)[0])


def test_the_verb_rounds_as_the_scheme_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scheme in ("symmetric", "power-of-two"):
        out = tmp_path / f"{scheme}.onnx"
        assert run(*words(folder, out, "--scheme", scheme, "--max-ap-loss", "60")) == 0
        assert Session(out, threads=1).info.card["quantized"]["method"].startswith(f"{scheme}, ")
        transposed = next(
            node for node in onnx.load(str(out)).graph.node if node.op_type == "ConvTranspose"
        )
        assert "quant" in transposed.input[1].lower()
    capsys.readouterr()
    asked = words(
        folder, tmp_path / "no.onnx", "--scheme", "symmetric", "--deconvolutions", "float"
    )
    assert run(*asked) == 2
    assert "is for chips that compute deconvolutions in int8" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["affine", "power-of-two"])
def test_fine_tuning_brings_the_maps_nearer_to_the_float_ones(folder: Path, scheme: str) -> None:
    import torch

    from slimpose.export.quantization.finetune import QdqNet, fine_tune

    model, _ = read_float(folder / "small.onnx")
    chosen = SCHEMES[scheme]
    parts = split_graph(model, deconvolutions=True, maps_too=chosen.rounds_maps)
    network = network_of(model, parts)
    people = coco.read(folder / "pictures" / "people.json", keypoints=True)
    pictures = samples.pictures(people, folder / "pictures", Session(folder / "small.onnx").info)
    ranges = calibration.ranges(network, pictures, method="minmax", folder=folder)
    before = quantize_graph(network, ranges, parts, parts.layers, chosen)
    truth = Runner(network, threads=1).maps(pictures)
    np.testing.assert_allclose(
        QdqNet(network)(torch.from_numpy(pictures))[0].detach(), truth[0], atol=1e-4
    )
    values = fine_tune(
        network, ranges, parts, chosen, pictures, teacher=network, steps=60, threads=1
    )
    assert values.keys() <= {
        entry.name for entry in network.graph.initializer
    }  # biases too: none is lost
    for entry in network.graph.initializer:
        if entry.name in values:
            entry.CopyFrom(numpy_helper.from_array(values[entry.name], entry.name))
    after = quantize_graph(network, ranges, parts, parts.layers, chosen)
    errors = [
        relative_error(Runner(made, threads=1).maps(pictures), truth) for made in (before, after)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_the_verb_fine_tunes_where_rounding_alone_breaks_the_promise(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--scheme", "power-of-two", "--qat", "--qat-steps", "3")
    assert run(*words(folder, tmp_path / "a.onnx", *asked, "--max-ap-loss", "90")) == 0
    assert "fine-tuning" not in capsys.readouterr().out
    run(*words(folder, tmp_path / "b.onnx", *asked, "--max-ap-loss", "0"))
    said = capsys.readouterr().out
    assert "fine-tuning, step 3 of 3: error of the maps" in said
    assert re.search(r"error of the maps [\d.]+% before, [\d.]+% now", said)
