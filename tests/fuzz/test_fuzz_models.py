"""Malformed model files, weights, hardware targets and recipes; see ``fuzz_harness``."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuzz_harness import Case, Kind, check
from fuzz_mutations import VALUES, damaged_bytes, damaged_json, damaged_toml
from image_files import encoded
from slimpose.skeleton import COCO17
from synthetic_models import (
    CANVAS,
    CROP,
    dot_image,
    metadata_of,
    write_detector_model,
    write_pose_model,
)

pytest.importorskip("torch")

OUTPUTS = ("p.json", "p.jsonl", "p.csv")
TARGET = """
title = "A chip"
extends = "dpu-isa0"
aliases = ["chip"]
[parameters]
channel_parallel = 8
channel_multiple = 8
max_pool_kernel_least = 2
[sources]
target = "its manual"
[[runs]]
on = ["conv", "relu", "ReduceMean"]
source = "target"
[[refuses]]
id = "no-mod"
on = ["Mod"]
because = "no division, {channel_parallel} at a time"
fix = "leave it out"
source = "target"
[[limits]]
id = "width"
on = ["*"]
holds = "ceil_div(channel_parallel, 4) % 2 == 0 and max(channel_parallel, 1) // 2 <= 8"
because = "it has {channel_parallel // 2} columns"
fix = "fewer"
source = "target"
level = "advice"
"""
RECIPE = """
extends = "mnv2"
start = ""
batch = 4
learning_rate = 0.001
encoder_rate = 1.0
frozen_stages = 0
weight_decay = 0.01
warmup_share = 0.02
flat = 0.0
drops = []
ema = 0.5
distillation_weight = 0.0
sigma_share = 0.125
evaluations = 1
seed = 0
[augmentation]
rotation_deg = 30.0
flip = 0.5
[net]
encoder = "mobilenetv2_100"
width_multiplier = 0.35
depth_multiplier = 0.3
head_width = 8
deconv_widths = [8, 8, 8]
activation = "relu"
skip = "none"
size = "64x64"
[[phases]]
size = "64x64"
samples = 8
augmentation = 1.0
[source_repeats]
mine = 1.0
"""


def prepare_models(folder: Path) -> None:
    write_pose_model(folder / "pose.onnx")
    write_detector_model(folder / "detector.onnx")
    (folder / "dot.png").write_bytes(encoded(".png", dot_image(CANVAS, 40, 40)))


def onnx_case(rng: random.Random, shared: Path) -> Case:
    """A model whose bytes or metadata are damaged, for ``predict`` or ``lint``."""
    task = rng.choice(("pose", "detect"))
    good = shared / ("pose.onnx" if task == "pose" else "detector.onnx")
    if rng.random() < 0.5:
        data = damaged_bytes(rng, good.read_bytes())
    else:
        data = _with_metadata(good.read_bytes(), _damaged_metadata(rng, task))
    models = {"--model": str(shared / "pose.onnx"), "--detector": str(shared / "detector.onnx")}
    models["--model" if task == "pose" else "--detector"] = "bad.onnx"
    call = ["predict", str(shared / "dot.png"), "--no-draw", "--threads", "1", "--json", "p.json"]
    call += [
        "--csv",
        "p.csv",
        "--jsonl",
        "p.jsonl",
        *(part for item in models.items() for part in item),
    ]
    if rng.random() < 0.2:
        call = ["lint", "bad.onnx", "--target", "tensorrt-10"]
    return Case(files={"bad.onnx": data}, arguments=call, subject="bad.onnx", outputs=OUTPUTS)


def _damaged_metadata(rng: random.Random, task: Any) -> dict[str, str]:
    fields = metadata_of(task, CANVAS if task == "detect" else CROP)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(fields))
        way = rng.randrange(6)
        if way == 0:
            del fields[name]
        elif way <= 2 and name in ("card", "skeleton"):
            fields[name] = damaged_json(rng, json.loads(fields[name])).decode(errors="replace")
        else:
            fields[name] = _text(rng.choice(VALUES))
        if not fields:
            break
    return fields


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _with_metadata(model: bytes, fields: dict[str, str]) -> bytes:
    import onnx

    loaded = onnx.load_from_string(model)
    del loaded.metadata_props[:]
    onnx.helper.set_model_props(loaded, fields)
    return loaded.SerializeToString()


def prepare_weights(folder: Path) -> None:
    from slimpose.network.build import build
    from slimpose.network.weights import save_checkpoint
    from tiny_training import SHALLOW, tiny_recipe, write_people

    metadata = {
        "task": "pose",
        "net": SHALLOW.to_json(),
        "skeleton": COCO17.to_json(),
        "recipe": tiny_recipe(net=SHALLOW, evaluations=1).to_json(),
        "alignment": "centers",
        "start": "random weights",
    }
    save_checkpoint(folder / "good.safetensors", build(SHALLOW).state_dict(), metadata)
    write_people(folder)


def weights_case(rng: random.Random, shared: Path) -> Case:
    """Weights whose bytes, header or metadata are damaged."""
    good = shared / "good.safetensors"
    data = good.read_bytes()
    if rng.random() < 0.3:
        data = damaged_bytes(rng, data)
    else:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.6:
            metadata = header["__metadata__"]
            name = rng.choice(list(metadata))
            way = rng.randrange(4)
            if way == 0:
                del metadata[name]
            elif way == 1:
                metadata[name] = _text(rng.choice(VALUES))
            elif name in ("net", "skeleton", "recipe"):
                metadata[name] = damaged_json(rng, json.loads(metadata[name])).decode(
                    errors="replace"
                )
            else:
                metadata["step"] = _text(rng.choice(VALUES))
            text = json.dumps(header).encode()
        else:
            text = damaged_json(rng, header)
        data = struct.pack("<Q", len(text)) + text + data[8 + length :]
    call = rng.choice(
        (
            ["average", str(good), "bad.safetensors", "--out", "mean.safetensors"],
            ["average", "bad.safetensors", str(good), "--out", "mean.safetensors"],
            ["evaluate", "bad.safetensors", *_labeled(shared), "--results", "r.json"],
            ["train", "bad.safetensors", "--out", "run", *_data(shared)],
        )
    )
    return Case(
        files={"bad.safetensors": data},
        arguments=call,
        subject="bad.safetensors",
        outputs=("mean.safetensors", "p.json", "r.json", "run"),
    )


def _labeled(shared: Path) -> list[str]:
    return ["--annotations", str(shared / "people.json"), "--images", str(shared)]


def _data(shared: Path) -> list[str]:
    people = str(shared / "people.json")
    files = [
        "--train",
        people,
        "--images",
        str(shared),
        "--val",
        people,
        "--val-images",
        str(shared),
    ]
    return [*files, "--stop-after-minutes", "0", "--threads", "1"]


def target_case(rng: random.Random, shared: Path) -> Case:
    """A hardware target for ``lint``."""
    name = f"chip-{rng.randrange(10**9)}.toml"
    expressions = (
        "1 // 0", "channel_parallel % 0 == 1", "'a' * 10 ** 10", "-'a'", "'a' < 1", "1 + (1, 2)",
        "max()", "max(1)", "ceil_div(1, 0)", "ceil_div(1)", "1 in 2", "(" * 4000 + "1" + ")" * 4000,
        "not " * 3000 + "1", "9 * " * 3000 + "9", "'a' * 999999999", "lambda: 1", "other == 1", "",
    )  # fmt: skip
    if rng.random() < 0.3:
        text = TARGET.replace("channel_parallel // 2}", rng.choice(expressions) + "}")
        if rng.random() < 0.6:
            text = TARGET.replace("max(channel_parallel, 1) // 2 <= 8", rng.choice(expressions))
        data = text.replace("dpu-isa0", rng.choice(("dpu-isa0", "dpu-b1024-isa0"))).encode()
    else:
        data = damaged_toml(rng, TARGET)
    call = ["lint", str(shared / "pose.onnx"), "--target", name]
    call += rng.choice((["--whole", "--all"], ["--whole", "--json"], []))
    return Case(files={name: data}, arguments=call, subject=name)


def prepare_people(folder: Path) -> None:
    from tiny_training import write_people

    write_people(folder)


def recipe_case(rng: random.Random, shared: Path) -> Case:
    """A recipe for ``train``, which stops after its first step."""
    call = ["train", "mine.toml", "--out", "run", *_data(shared)]
    files = {"mine.toml": damaged_toml(rng, RECIPE)}
    return Case(files=files, arguments=call, subject="mine.toml", outputs=("run",))


KINDS = (
    Kind(name="ONNX", count=220, make=onnx_case, prepare=prepare_models),
    Kind(name="safetensors", count=160, make=weights_case, prepare=prepare_weights),
    Kind(name="TOML: hardware targets", count=140, make=target_case, prepare=prepare_models),
    Kind(name="TOML: recipes", count=120, make=recipe_case, prepare=prepare_people),
)
Record = Callable[[str, object], None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_tenth_malformed_input_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property, every=10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_malformed_input_is_rejected_in_one_line(
    kind: Kind, tmp_path: Path, record_property: Record
) -> None:
    check(kind, tmp_path, record_property)
