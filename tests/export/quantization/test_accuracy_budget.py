"""``slimpose quantize``: the accuracy budget, the metadata it writes, and rejected input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from quantization_helpers import random_images
from run_main import run_main
from slimpose.export.quantization.graph import (
    network_of,
    read_float_model,
    relative_error,
    split_graph,
)
from slimpose.export.quantization.int8 import calibrate, quantize_graph
from slimpose.runtime.session import Session
from small_nets import SIZE, self_labeled, small_net
from synthetic_models import write_detector_model, write_pose_model


def run(folder: Path, out: Path, *options: object, model: Path | None = None) -> int:
    """Run ``slimpose quantize`` on the network and the images of a folder; return the exit code."""
    images = folder / "images"
    words = [model or folder / "small.onnx", "--calibration", images, "--threads", "1"]
    words += ["--annotations", images / "people.json", "--out", out, *options]
    return run_main("quantize", *words)


def test_an_int8_file_stays_within_the_budget_and_records_how_it_was_made(
    folder: Path, tmp_path: Path
) -> None:
    out, results = tmp_path / "int8.onnx", tmp_path / "results.json"
    assert run(folder, out, "--max-ap-loss", "30", "--json", results) == 0
    result = json.loads(results.read_text())
    assert result["ap_float"] == pytest.approx(100, abs=0.5)
    assert result["loss"] <= 30
    assert result["calibration_people"] + result["measured_people"] == 24
    small, session = Session(folder / "small.onnx", threads=1), Session(out, threads=1)
    assert (session.info.precision, session.info.name) == ("int8", "small-int8")
    assert (session.info.gmac, session.info.skeleton) == (small.info.gmac, small.info.skeleton)
    entry = session.info.card["quantized"]
    assert (entry["annotations"], entry["measured_people"]) == ("people.json", 12)
    assert entry["ap_int8"] == pytest.approx(result["ap"], abs=0.01)
    assert session.info.card["license"] == small.info.card["license"]
    assert not list(tmp_path.glob(".int8*"))


def test_layers_that_8_bits_cannot_represent_go_back_to_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An outlier after the first convolution spoils it and the next; the others are rounded."""
    model = small_net(tmp_path / "small.onnx", outliers=["c1"])
    self_labeled(model, tmp_path / "images")
    out, results = tmp_path / "int8.onnx", tmp_path / "results.json"
    assert run(tmp_path, out, "--max-ap-loss", "30", "--json", results) == 0
    result = json.loads(results.read_text())
    assert sorted(result["float_layers"]) == ["c1", "c2"]
    assert result["loss"] <= 30
    assert "0 layers in float: AP 0" in capsys.readouterr().out


def test_a_budget_that_no_file_meets_is_an_error_that_reports_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_net(tmp_path / "small.onnx", outliers=["c1", "c2", "c4"])
    self_labeled(model, tmp_path / "images")
    out = tmp_path / "int8.onnx"
    assert run(tmp_path, out, "--max-ap-loss", "1") == 1
    error = capsys.readouterr().err
    assert "no int8 file stays within the accuracy budget of 1 AP: the best loses" in error
    assert "nothing was written" in error
    assert not out.exists()


def test_fp16_halves_the_file_and_keeps_inputs_and_outputs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "fp16.onnx"
    assert run(folder, out, "--precision", "fp16", "--max-ap-loss", "5") == 0
    small, half = Session(folder / "small.onnx", threads=1), Session(out, threads=1)
    assert half.info.precision == "fp16"
    weights = [
        entry for entry in onnx.load(str(out)).graph.initializer if entry.name.endswith(".weight")
    ]
    assert len(weights) == 6
    assert {entry.data_type for entry in weights} == {onnx.TensorProto.FLOAT16}
    images = random_images(3, seed=2)
    maps = [session.run(images, ["heatmaps"])[0] for session in (small, half)]
    assert maps[1].dtype == np.float32
    assert 0 < relative_error(maps[1:], maps[:1]) < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--precision", "bf16"],
            "bf16 needs no file of its own.*--backend openvino --precision bf16",
        ),
        (["--max-ap-loss", "nan"], "--max-ap-loss is 'nan'; expected a number"),
        (["--max-ap-loss", "-1"], "--max-ap-loss is -1"),
        (["--people", "0"], "--people is 0"),
        (["--precision", "fp16", "--sensitivity"], "apply to int8"),
        (["--calibration", "nowhere"], "no image folder nowhere"),
        (["--annotations", "nowhere.json"], "no annotation file nowhere.json"),
        (["--out", "int8.txt"], "expected an ONNX file to write"),
    ],
)
def test_invalid_options_are_rejected(
    folder: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(folder, tmp_path / "int8.onnx", *options) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "name"),
    [("--out", "small.onnx"), ("--json", "small.onnx"), ("--json", "images/people.json")],
)
def test_input_files_are_not_overwritten(
    folder: Path, tmp_path: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / name).read_bytes()
    assert run(folder, tmp_path / "int8.onnx", option, folder / name) == 2
    assert "is an input of this call; it would be overwritten" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_an_image_missing_from_the_folder_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "int8.onnx", "--calibration", tmp_path) == 2
    assert "names 1.png, which is not in" in capsys.readouterr().err


def test_annotations_without_keypoints_are_rejected(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((folder / "images" / "people.json").read_text())
    for person in document["annotations"]:
        del person["keypoints"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    assert run(folder, tmp_path / "int8.onnx", "--annotations", path) == 2
    assert "annotation 1 has no keypoints" in capsys.readouterr().err


def test_unsuitable_models_are_rejected(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = onnx.load(str(folder / "small.onnx"))
    del foreign.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(foreign.SerializeToString())
    (tmp_path / "truncated.onnx").write_bytes((folder / "small.onnx").read_bytes()[:3000])
    int8 = small_net(tmp_path / "int8.onnx", precision="int8")
    cases = {
        tmp_path / "foreign.onnx": "is not a slimpose model",
        tmp_path / "truncated.onnx": "is not a readable ONNX file",
        int8: "is already int8; expected the fp32 file",
        write_pose_model(tmp_path / "pose.onnx"): "has no convolution to quantize",
        tmp_path / "none.onnx": "no model file",
    }
    for model, message in cases.items():
        assert run(folder, tmp_path / "out.onnx", model=model) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_a_quantized_graph_is_not_quantized_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = read_float_model(folder / "small.onnx")
    parts = split_graph(model, deconvolutions=False)
    images = np.zeros((1, *SIZE, 3), np.uint8)
    ranges = calibrate(network_of(model, parts), images, method="minmax", folder=tmp_path)
    rounded = tmp_path / "rounded.onnx"
    rounded.write_bytes(quantize_graph(model, ranges, parts, parts.layers).SerializeToString())
    assert run(folder, tmp_path / "out.onnx", model=rounded) == 2
    assert "is already int8" in capsys.readouterr().err


def test_a_detector_without_convolutions_is_rejected(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = write_detector_model(tmp_path / "detector.onnx")
    assert run(folder, tmp_path / "out.onnx", model=detector) == 2
    assert "has no convolution to quantize" in capsys.readouterr().err


def test_the_scheme_option_selects_how_values_are_rounded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scheme in ("symmetric", "power-of-two"):
        out = tmp_path / f"{scheme}.onnx"
        assert run(folder, out, "--scheme", scheme, "--max-ap-loss", "60") == 0
        assert Session(out, threads=1).info.card["quantized"]["method"].startswith(f"{scheme}, ")
        transposed = next(
            node for node in onnx.load(str(out)).graph.node if node.op_type == "ConvTranspose"
        )
        assert "quant" in transposed.input[1].lower()
    capsys.readouterr()
    options = ("--scheme", "symmetric", "--deconvolutions", "float")
    assert run(folder, tmp_path / "no.onnx", *options) == 2
    assert "is for hardware that computes deconvolutions in int8" in capsys.readouterr().err


def test_the_weights_are_fine_tuned_if_rounding_alone_exceeds_the_budget(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--scheme", "power-of-two", "--qat", "--qat-steps", "3")
    assert run(folder, tmp_path / "a.onnx", *options, "--max-ap-loss", "90") == 0
    assert "fine-tuning" not in capsys.readouterr().out
    run(folder, tmp_path / "b.onnx", *options, "--max-ap-loss", "0")
    log = capsys.readouterr().out
    assert "fine-tuning, step 3 of 3: error of the maps" in log
    assert re.search(r"error of the maps [\d.]+% before, [\d.]+% after", log)
