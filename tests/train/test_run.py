from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_training
from slimpose.network.build import spec_from_json
from slimpose.network.encoder import Encoder
from slimpose.network.pose_net import PoseNet
from slimpose.network.weights import load_checkpoint, load_into, save_checkpoint
from slimpose.train.recipe import Recipe
from slimpose.train.run import BEST, CHECKPOINT, METRICS, Progress, run
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


def run_all(
    people_folder: Path,
    out: Path,
    recipe: Recipe | None = None,
    *,
    resume: bool = False,
    notes: dict[str, str] | None = None,
    stop_after_s: float = float("inf"),
) -> list[Progress]:
    recipe, notes = recipe or tiny_recipe(), notes or {}
    task = tiny_task(recipe, people_folder)
    return list(run(task, recipe, out, resume=resume, notes=notes, stop_after_s=stop_after_s))


@pytest.fixture(scope="module")
def uninterrupted(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    run_all(people_folder, out)
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name != "seconds"} for record in records
    ]


def assert_same_run(one: Path, other: Path) -> None:
    assert logged(one) == logged(other)
    for name in (CHECKPOINT, BEST):
        first, second = load_checkpoint(one / name), load_checkpoint(other / name)
        assert first.metadata == second.metadata
        assert first.tensors.keys() == second.tensors.keys()
        for key, tensor in first.tensors.items():
            assert torch.equal(tensor, second.tensors[key]), key


def test_killed_run_resumes_exactly(
    people_folder: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    program = [sys.executable, tiny_training.__file__, str(people_folder), str(out), "6"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stalled\n"
        child.kill()  # SIGKILL: no cleanup
    assert len(logged(out)) == 7
    with (out / METRICS).open("a") as metrics:
        metrics.write('{"step": 7, "lo')  # a partial line
    resumed = run_all(people_folder, out, resume=True)
    # Saved after step 3.
    assert [progress.step.number for progress in resumed] == list(range(4, 12))
    assert_same_run(out, uninterrupted)


def test_run_stopped_after_every_step_resumes_exactly(
    people_folder: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    for step in range(12):
        (progress,) = run_all(people_folder, out, resume=step > 0, stop_after_s=0.0)
        assert progress.step.number == step
    assert_same_run(out, uninterrupted)


def test_resuming_a_finished_run_does_nothing(people_folder: Path, uninterrupted: Path) -> None:
    before = {name: (uninterrupted / name).read_bytes() for name in (CHECKPOINT, BEST, METRICS)}
    assert run_all(people_folder, uninterrupted, resume=True) == []
    assert before == {name: (uninterrupted / name).read_bytes() for name in before}


def test_run_leaves_only_its_three_files(uninterrupted: Path) -> None:
    assert sorted(path.name for path in uninterrupted.iterdir()) == sorted(
        [CHECKPOINT, BEST, METRICS]
    )


def test_best_weights_have_metadata(uninterrupted: Path) -> None:
    best = load_checkpoint(uninterrupted / BEST)
    assert spec_from_json(best.metadata["net"]) == tiny_recipe().net
    assert best.metadata["recipe"] == tiny_recipe().to_json()
    assert "AP" in json.loads(best.metadata["figures"])
    load_into(PoseNet(tiny_training.NET), best.tensors, path=uninterrupted / BEST)


def test_best_is_chosen_at_the_final_input_size(uninterrupted: Path) -> None:
    evaluated = [record for record in logged(uninterrupted) if "AP" in record]
    assert [record["size"] for record in evaluated] == ["32x32", "64x64", "64x64"]
    best = json.loads(load_checkpoint(uninterrupted / BEST).metadata["figures"])["AP"]
    assert best == max(record["AP"] for record in evaluated[1:])


@pytest.mark.parametrize("share", [0.5, 0.0001, 0.0])
def test_truncated_checkpoint_is_rejected(
    people_folder: Path, uninterrupted: Path, tmp_path: Path, share: float
) -> None:
    content = (uninterrupted / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    message = f"{tmp_path / CHECKPOINT} is not a safetensors file, or is truncated"
    with pytest.raises(ValueError, match=re.escape(message)):
        run_all(people_folder, tmp_path, resume=True)


def test_resuming_with_another_recipe_is_rejected(people_folder: Path, uninterrupted: Path) -> None:
    with pytest.raises(
        ValueError,
        match="was written with another recipe or other options; use the same ones to resume",
    ):
        run_all(people_folder, uninterrupted, tiny_recipe(seed=1), resume=True)


WRITTEN_BY_0_1 = (
    '{"name": "tiny", "task": "pose", "net": {"encoder": "mobilenetv2_100", "head_width": 16, '
    '"deconv_widths": [16, 16, 16], "skip": "none", "encoder_stride": 32, "activation": '
    '"as-trained", "squeeze_excite": true, "size": [64, 64], "joints": 17, "width_multiplier": '
    '0.35}, "phases": [{"size": [32, 32], "samples": 24, "augmentation": 1.0}, {"size": [64, '
    '64], "samples": 24, "augmentation": 1.0}], "batch": 4, "learning_rate": 0.001, '
    '"encoder_rate": 1.0, "frozen_stages": 0, "weight_decay": 0.01, "warmup_share": 0.02, '
    '"ema": 0.5, "augmentation": {"flip": 0.5, "scale": 0.3, "rotation_deg": 40.0, "rotate": '
    '0.6, "shift": 0.08, "half_body": 0.2, "color_jitter": 0.25, "grayscale": 0.05, "blur": '
    '0.05, "random_erase": 0.3}, "source_repeats": {}, "teacher_labels": {"weight": 0.4, '
    '"min_agreement": 0.7, "min_score": 0.4}, "sigma_share": 0.125, "evaluations": 3, "seed": '
    "0}"
)
"""``tiny_recipe().to_json()`` before recipes had starts, epochs, flat rates, drops and teachers."""


def test_run_of_an_earlier_version_resumes(
    people_folder: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    assert Recipe.from_json(WRITTEN_BY_0_1) == tiny_recipe()
    out = tmp_path / "old"
    (progress,) = run_all(people_folder, out, stop_after_s=0.0)
    saved = load_checkpoint(out / CHECKPOINT)
    save_checkpoint(out / CHECKPOINT, saved.tensors, {**saved.metadata, "recipe": WRITTEN_BY_0_1})
    assert progress.step.number == 0
    assert [progress.step.number for progress in run_all(people_folder, out, resume=True)] == list(
        range(1, 12)
    )
    assert_same_run(out, uninterrupted)


OTHER_RECIPE = "was written with another recipe or other options"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "metadata: recipe is ''; expected JSON"),
        ("[]", r"metadata: recipe is \[\]; expected an object"),
        ("{}", OTHER_RECIPE),
        (WRITTEN_BY_0_1.replace('"seed": 0', '"seed": 0, "momentum": 0.9'), OTHER_RECIPE),
        (WRITTEN_BY_0_1.replace('"batch": 4', '"batch": 8'), OTHER_RECIPE),
    ],
)
def test_checkpoint_with_other_settings_is_rejected(
    people_folder: Path, uninterrupted: Path, tmp_path: Path, text: str, message: str
) -> None:
    saved = load_checkpoint(uninterrupted / CHECKPOINT)
    save_checkpoint(tmp_path / CHECKPOINT, saved.tensors, {**saved.metadata, "recipe": text})
    with pytest.raises(ValueError, match=message):
        run_all(people_folder, tmp_path, resume=True)


def test_resuming_without_a_checkpoint_is_rejected(people_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"{tmp_path} has no {CHECKPOINT} to resume from")
    ):
        run_all(people_folder, tmp_path, resume=True)


def test_run_is_never_overwritten(people_folder: Path, uninterrupted: Path) -> None:
    with pytest.raises(
        FileExistsError,
        match="already contains a run; pass --resume to continue it, or another --out",
    ):
        run_all(people_folder, uninterrupted)


def test_frozen_stages_are_compiled_and_unchanged(people_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(frozen_stages=2)
    task = tiny_task(recipe, people_folder)
    encoder = task.model.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    assert encoder.frozen_stem is None
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    list(run(task, recipe, tmp_path, resume=False, notes={}))
    assert encoder.frozen_stem is not None
    assert encoder.frozen_stem.stages == 2
    after = encoder.state_dict()
    frozen = ("body.conv_stem", "body.bn1", "body.blocks.0", "body.blocks.1")
    for name, tensor in before.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, after[name]) == name.startswith(frozen), name
    assert not any(name.startswith("encoder.frozen_stem") for name in task.model.state_dict())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("train_file", "--train"),
        ("val_file", "--val"),
        ("unlabeled", "--unlabeled"),
        ("teacher", "--teacher"),
    ],
)
def test_resuming_with_other_data_is_rejected(
    people_folder: Path, tmp_path: Path, name: str, option: str
) -> None:
    started = run_all(people_folder, tmp_path, notes={name: "a.json"}, stop_after_s=0)
    assert len(started) == 1
    for notes, value in (({name: "b.json"}, "b.json"), ({}, "nothing")):
        with pytest.raises(
            ValueError, match=f"started with {option} a.json; got {value}; pass the same {option}"
        ):
            run_all(people_folder, tmp_path, resume=True, notes=notes)
    resumed = run_all(people_folder, tmp_path, resume=True, notes={name: "a.json"})
    assert len(resumed) == tiny_recipe().steps - 1


def test_phase_shorter_than_a_batch_is_rejected(people_folder: Path, tmp_path: Path) -> None:
    message = "a phase of 24 samples at 32x32 is less than a batch of 64"
    with pytest.raises(ValueError, match=message):
        run_all(people_folder, tmp_path / "run", tiny_recipe(batch=64))
    assert not (tmp_path / "run").exists()
