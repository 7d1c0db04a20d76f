from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiny_training
from slimpose.arrays import Size
from slimpose.formats import coco
from slimpose.network.encoder import Encoder
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from slimpose.network.weights import Checkpoint, load_checkpoint, load_into, save_checkpoint
from slimpose.train import checkpoint
from slimpose.train.inference import frozen_stem
from slimpose.train.loop import average_into, make_optimizer, train
from slimpose.train.pose_task import heatmap_loss, pose_task
from slimpose.train.recipe import Phase, Recipe
from slimpose.train.run import BEST, CHECKPOINT, METRICS, Progress, load_start, run
from tiny_training import tiny_recipe, tiny_task

pytestmark = pytest.mark.usefixtures("one_thread")


def run_all(pictures: Path, out: Path, *, resume: bool = False, **more: Any) -> list[Progress]:
    recipe = tiny_recipe()
    return list(run(tiny_task(recipe, pictures), recipe, out, resume=resume, notes={}, **more))


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run_all(pictures, out)
    return out


def logged(out: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    return [
        {name: value for name, value in record.items() if name != "seconds"} for record in records
    ]


def assert_same_run(one: Path, other: Path) -> None:
    assert logged(one) == logged(other)
    for name in (CHECKPOINT, BEST):
        mine, theirs = load_checkpoint(one / name), load_checkpoint(other / name)
        assert mine.metadata == theirs.metadata
        assert mine.tensors.keys() == theirs.tensors.keys()
        different = [
            key for key in mine.tensors if not torch.equal(mine.tensors[key], theirs.tensors[key])
        ]
        assert different == []


# learning


def test_one_batch_is_learnt_by_heart(pictures: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), phases=(Phase(size=tiny_training.SIZE, samples=4 * 120),), learning_rate=4e-3
    )
    task = tiny_task(recipe, pictures)
    batch = task.batch_at(0)
    steps = train(
        model=task.model,
        averaged=tiny_task(recipe, pictures).model,
        optimizer=make_optimizer(task.model, recipe),
        recipe=recipe,
        batches=itertools.repeat(batch),
        loss_of=task.loss_of,
    )
    losses = [step.loss for step in steps]
    assert losses[0] == pytest.approx(1, abs=0.15)  # all-zero maps cost 1
    assert losses[-1] < 0.4 * losses[0]


def test_an_empty_map_costs_one_whatever_the_sigma() -> None:
    from slimpose import heatmap

    for sigma_px in (1.0, 2.0, 3.0):
        target = heatmap.encode(np.array([[[20, 25]]], np.float32), Size(48, 40), sigma_px=sigma_px)
        target = torch.from_numpy(target)
        loss = heatmap_loss(torch.zeros_like(target), target, torch.ones(1, 1), sigma_px=sigma_px)
        assert float(loss) == pytest.approx(1, rel=1e-3)


def test_an_unlabeled_joint_costs_nothing() -> None:
    predicted = torch.zeros(1, 2, 8, 8)
    predicted[0, 1] = 100
    loss = heatmap_loss(
        predicted, torch.zeros(1, 2, 8, 8), torch.tensor([[1.0, 0.0]]), sigma_px=1.0
    )
    assert float(loss) == 0


def test_a_batch_without_any_label_costs_nothing_and_is_not_nan() -> None:
    loss = heatmap_loss(
        torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8), torch.zeros(1, 2), sigma_px=1.0
    )
    assert float(loss) == 0


def test_a_loss_that_is_no_number_stops_the_run(pictures: Path) -> None:
    recipe = tiny_recipe()
    task = tiny_task(recipe, pictures)
    with pytest.raises(
        FloatingPointError, match="loss is nan at step 0; the learning rate may be too high"
    ):
        next(
            train(
                model=task.model,
                averaged=task.model,
                optimizer=make_optimizer(task.model, recipe),
                recipe=recipe,
                batches=itertools.repeat(task.batch_at(0)),
                loss_of=lambda model, batch: task.loss_of(model, batch) * float("nan"),
            )
        )


# the optimizer


def test_only_convolution_weights_decay_and_the_encoder_learns_at_its_own_rate() -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), encoder_rate=0.1, learning_rate=1.0, weight_decay=0.5
    )
    model = PoseNet(tiny_training.NET)
    groups = make_optimizer(model, recipe).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0)
    encoder = {id(parameter) for parameter in model.encoder.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["peak"] == pytest.approx(0.1 if id(parameter) in encoder else 1.0)


def test_the_average_moves_by_its_share_and_counters_are_copied() -> None:
    averaged, model = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.constant_(model.weight, 3.0)
    assert model.num_batches_tracked is not None
    model.num_batches_tracked.fill_(7)
    average_into(averaged, model, 0.75)
    assert averaged.weight.tolist() == [1.5, 1.5]
    assert averaged.num_batches_tracked is not None
    assert averaged.num_batches_tracked.item() == 7


# going on


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(
    pictures: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    program = [sys.executable, tiny_training.__file__, str(pictures), str(out), "6"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stalled\n"
        child.kill()  # SIGKILL: nothing is tidied up
    assert len(logged(out)) == 7
    with (out / METRICS).open("a") as metrics:
        metrics.write('{"step": 7, "lo')  # the line it was writing
    resumed = run_all(pictures, out, resume=True)
    assert [progress.step.number for progress in resumed] == list(
        range(4, 12)
    )  # saved behind step 3
    assert_same_run(out, whole)


def test_a_run_that_is_stopped_after_every_step_is_the_same_run(
    pictures: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    for step in range(12):
        (progress,) = run_all(pictures, out, resume=step > 0, stop_after_s=0.0)
        assert progress.step.number == step
    assert_same_run(out, whole)


def test_resuming_a_finished_run_does_nothing(pictures: Path, whole: Path) -> None:
    before = {name: (whole / name).read_bytes() for name in (CHECKPOINT, BEST, METRICS)}
    assert run_all(pictures, whole, resume=True) == []
    assert before == {name: (whole / name).read_bytes() for name in before}


def test_a_run_leaves_nothing_but_its_three_files(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == sorted([CHECKPOINT, BEST, METRICS])


def test_the_best_weights_say_what_they_are(whole: Path) -> None:
    best = load_checkpoint(whole / BEST)
    assert NetSpec.from_json(best.metadata["net"]) == tiny_recipe().net
    assert best.metadata["recipe"] == tiny_recipe().to_json()
    assert "AP" in json.loads(best.metadata["figures"])
    load_into(PoseNet(tiny_training.NET), best.tensors, path=whole / BEST)


def test_best_is_chosen_at_the_final_input_size(whole: Path) -> None:
    evaluated = [record for record in logged(whole) if "AP" in record]
    assert [record["size"] for record in evaluated] == ["32x32", "64x64", "64x64"]
    best = json.loads(load_checkpoint(whole / BEST).metadata["figures"])["AP"]
    assert best == max(record["AP"] for record in evaluated[1:])


@pytest.mark.parametrize("share", [0.5, 0.0001, 0.0])
def test_a_checkpoint_that_was_cut_off_is_refused(
    pictures: Path, whole: Path, tmp_path: Path, share: float
) -> None:
    content = (whole / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    message = f"{tmp_path / CHECKPOINT} is not a safetensors file, or is truncated"
    with pytest.raises(ValueError, match=re.escape(message)):
        run_all(pictures, tmp_path, resume=True)


def test_resuming_under_another_recipe_is_refused(pictures: Path, whole: Path) -> None:
    other = tiny_recipe(seed=1)
    with pytest.raises(
        ValueError,
        match="was written by another recipe or other options; use the same ones to resume",
    ):
        next(run(tiny_task(other, pictures), other, whole, resume=True, notes={}))


WRITTEN_BY_0_1 = (
    '{"name": "tiny", "task": "pose", "net": {"encoder": "mobilenetv2_100", "head_width": 16, "deconv_widths": '
    '[16, 16, 16], "skip": "none", "encoder_stride": 32, "activation": "as-trained", "squeeze_excite": true, "size": '
    '[64, 64], "joints": 17, "width_multiplier": 0.35}, "phases": [{"size": [32, 32], "samples": 24, "augmentation": '
    '1.0}, {"size": [64, 64], "samples": 24, "augmentation": 1.0}], "batch": 4, "learning_rate": 0.001, '
    '"encoder_rate": 1.0, "frozen_stages": 0, "weight_decay": 0.01, "warmup_share": 0.02, "ema": 0.5, "augmentation": '
    '{"flip": 0.5, "scale": 0.3, "rotation_deg": 40.0, "rotate": 0.6, "shift": 0.08, "half_body": 0.2, "color_jitter": 0.25, '
    '"grayscale": 0.05, "blur": 0.05, "random_erase": 0.3}, "source_repeats": {}, "teacher_labels": {"weight": 0.4, '
    '"min_agreement": 0.7, "min_score": 0.4}, "sigma_share": 0.125, "evaluations": 3, "seed": 0}'
)
"""What ``tiny_recipe().to_json()`` was before recipes had starts, epochs, flat rates, drops and teachers."""


def test_a_run_of_an_earlier_version_goes_on(pictures: Path, whole: Path, tmp_path: Path) -> None:
    assert Recipe.from_json(WRITTEN_BY_0_1) == tiny_recipe()
    out = tmp_path / "old"
    (progress,) = run_all(pictures, out, stop_after_s=0.0)
    saved = load_checkpoint(out / CHECKPOINT)
    save_checkpoint(out / CHECKPOINT, saved.tensors, {**saved.metadata, "recipe": WRITTEN_BY_0_1})
    assert progress.step.number == 0
    assert [progress.step.number for progress in run_all(pictures, out, resume=True)] == list(
        range(1, 12)
    )
    assert_same_run(out, whole)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        WRITTEN_BY_0_1.replace('"seed": 0', '"seed": 0, "momentum": 0.9'),
        WRITTEN_BY_0_1.replace('"batch": 4', '"batch": 8'),
    ],
)
def test_a_checkpoint_of_settings_that_are_not_the_recipes_is_refused(
    pictures: Path, whole: Path, tmp_path: Path, text: str
) -> None:
    saved = load_checkpoint(whole / CHECKPOINT)
    save_checkpoint(tmp_path / CHECKPOINT, saved.tensors, {**saved.metadata, "recipe": text})
    with pytest.raises(ValueError, match="was written by another recipe or other options"):
        run_all(pictures, tmp_path, resume=True)


def test_resuming_without_a_checkpoint_names_what_is_missing(
    pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"{tmp_path} holds no {CHECKPOINT} to resume from")
    ):
        run_all(pictures, tmp_path, resume=True)


def test_a_run_is_never_overwritten(pictures: Path, whole: Path) -> None:
    with pytest.raises(
        FileExistsError,
        match="already holds a run; pass --resume to go on with it, or another --out",
    ):
        run_all(pictures, whole)


def test_weights_are_no_training_state(whole: Path) -> None:
    model = PoseNet(tiny_training.NET)
    weights = Checkpoint(tensors={}, metadata={})
    with pytest.raises(
        ValueError, match=r"holds no training state; expected a checkpoint\.safetensors"
    ):
        checkpoint.unpack_training(
            weights, model, model, make_optimizer(model, tiny_recipe()), path=whole / BEST
        )


# weights in and out of files


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.tensor(5), "c": torch.randn(2).half()}
    save_checkpoint(tmp_path / "new" / "x.safetensors", tensors, {"license": "Apache-2.0"})
    loaded = load_checkpoint(tmp_path / "new" / "x.safetensors")
    assert loaded.metadata == {"license": "Apache-2.0"}
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)


def test_a_save_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"a": torch.zeros(2)}, {"step": 5})  # pyright: ignore[reportArgumentType]
    assert load_checkpoint(path).tensors["a"].tolist() == [1, 1]
    assert [left.name for left in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(2, 3)}, "lacks bias (2,) (another network's weights?)"),
        ({"weight": torch.ones(4, 3), "bias": torch.ones(2)}, "weight is (4, 3); expected (2, 3)"),
        (
            {"weight": torch.ones(2, 3), "bias": torch.ones(2), "scale": torch.ones(1)},
            "holds scale, which the network does not have (another network's weights?)",
        ),
    ],
)
def test_another_networks_weights_are_refused_by_name(
    tensors: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_into(nn.Linear(3, 2), tensors, path=Path("w.safetensors"))


def test_a_run_starts_from_an_earlier_ones_weights(pictures: Path, whole: Path) -> None:
    recipe = tiny_recipe(seed=9)
    task = tiny_task(recipe, pictures)
    assert load_start(task, recipe, str(whole / BEST)).startswith(
        BEST
    )  # the run notes what it began from
    best = load_checkpoint(whole / BEST).tensors
    assert all(torch.equal(tensor, best[name]) for name, tensor in task.model.state_dict().items())


def test_an_encoder_cut_at_stride_16_starts_from_the_whole_trunk(
    pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    trunk = Encoder(tiny_training.NET)
    save_checkpoint(
        tmp_path / "trunk.safetensors", trunk.state_dict(), {"trunk": "mobilenetv2_100"}
    )
    cut = dataclasses.replace(
        recipe, net=dataclasses.replace(recipe.net, encoder_stride=16, deconv_widths=(16, 16))
    )
    task = tiny_task(cut, pictures)
    load_start(task, cut, str(tmp_path / "trunk.safetensors"))
    whole = trunk.state_dict()
    own = task.model.get_submodule("encoder").state_dict()
    assert 0 < len(own) < len(whole)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in own.items())


def test_a_folded_trunk_gets_statistics_from_the_first_batches(
    pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny_recipe()
    trunk = Encoder(tiny_training.NET)
    metadata = {"trunk": tiny_training.NET.encoder, "folded": "1", "origin": "a graph"}
    save_checkpoint(tmp_path / "trunk.safetensors", trunk.state_dict(), metadata)
    task = tiny_task(recipe, pictures)
    assert load_start(task, recipe, str(tmp_path / "trunk.safetensors")) == "a graph"
    encoder = task.model.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    pixels = torch.from_numpy(task.pictures_of(task.batch_at(0))).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.eval()(pixels)[-1], trunk.eval()(pixels)[-1], atol=1e-4, rtol=1e-3
        )
    moved = [
        module.running_mean.abs().max() > 0
        for module in encoder.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
    ]
    assert all(moved)


def test_a_net_for_other_joints_is_refused(pictures: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe(), net=dataclasses.replace(tiny_recipe().net, joints=5)
    )
    people = coco.read(pictures / "people.json", keypoints=True)
    with pytest.raises(ValueError, match=re.escape("has 17 joints; the net gives 5 heatmaps")):
        pose_task(recipe, train=people, train_images=pictures, val=people, val_images=pictures)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_frozen_stages_computed_elsewhere_give_the_same_maps(stages: int) -> None:
    torch.manual_seed(0)
    encoder = Encoder(tiny_training.NET).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        expected = encoder(images)
    encoder.frozen_stem = frozen_stem(encoder, stages)
    assert encoder.frozen_stem is not None
    encoder.training = True  # its norms stay in evaluation mode
    with torch.inference_mode():
        found = encoder(images)
    assert len(found) == len(expected)
    for there, here in zip(expected, found, strict=True):
        assert here.shape == there.shape
        assert (
            here - there
        ).abs().max() < 0.04 * there.abs().max()  # BF16 keeps 8 bits, seven stages long


def test_a_run_with_frozen_stages_computes_them_elsewhere_and_keeps_them(
    pictures: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(tiny_recipe(), frozen_stages=2)
    task = tiny_task(recipe, pictures)
    encoder = task.model.get_submodule("encoder")
    assert isinstance(encoder, Encoder)
    assert encoder.frozen_stem is None
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    list(run(task, recipe, tmp_path, resume=False, notes={}))
    assert encoder.frozen_stem is not None
    assert encoder.frozen_stem.stages == 2
    after = encoder.state_dict()
    kept = ("body.conv_stem", "body.bn1", "body.blocks.0", "body.blocks.1")
    for name, tensor in before.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, after[name]) == name.startswith(kept), name
    assert not any(name.startswith("encoder.frozen_stem") for name in task.model.state_dict())


def test_nothing_frozen_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tiny_training.NET)
    assert frozen_stem(encoder, 0) is None
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert frozen_stem(encoder, 2) is None


def test_a_run_whose_data_cannot_tell_which_weights_are_best_is_refused(pictures: Path) -> None:
    people = coco.read(pictures / "people.json", keypoints=True)
    nobody = dataclasses.replace(people, people=())
    with pytest.raises(
        ValueError, match=r"people\.json: nobody has a labeled joint; expected people to measure"
    ):
        pose_task(
            tiny_recipe(), train=people, train_images=pictures, val=nobody, val_images=pictures
        )


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("train_file", "--train"),
        ("val_file", "--val"),
        ("unlabeled", "--unlabeled"),
        ("teacher", "--teacher"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(
    pictures: Path, tmp_path: Path, name: str, option: str
) -> None:
    recipe = tiny_recipe()
    begun = run(
        tiny_task(recipe, pictures),
        recipe,
        tmp_path,
        resume=False,
        notes={name: "a.json"},
        stop_after_s=0,
    )
    assert len(list(begun)) == 1
    for now, told in (({name: "b.json"}, "b.json"), ({}, "nothing")):
        with pytest.raises(
            ValueError, match=f"begun with {option} a.json; got {told}; pass the same {option}"
        ):
            next(run(tiny_task(recipe, pictures), recipe, tmp_path, resume=True, notes=now))
    resumed = run(
        tiny_task(recipe, pictures), recipe, tmp_path, resume=True, notes={name: "a.json"}
    )
    assert len(list(resumed)) == recipe.steps - 1


def test_a_phase_without_a_step_is_refused(pictures: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), batch=64)
    with pytest.raises(
        ValueError, match="a phase of 24 samples at 32x32 makes no step with a batch of 64"
    ):
        next(run(tiny_task(recipe, pictures), recipe, tmp_path / "run", resume=False, notes={}))
    assert not (tmp_path / "run").exists()


def test_a_state_to_resume_from_is_no_start(pictures: Path, whole: Path) -> None:
    recipe = tiny_recipe()
    with pytest.raises(
        ValueError, match=r"checkpoint to resume from; expected the run's best\.safetensors"
    ):
        load_start(tiny_task(recipe, pictures), recipe, str(whole / CHECKPOINT))
