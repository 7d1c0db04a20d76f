"""``slimpose label`` and ``new-project``: what they write, and the way back into training."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

from drawn_objects import KINDS, write_video
from run_cli import write_dot, write_models
from run_main import run_main
from slimpose.formats import coco
from slimpose.formats.skeleton_file import read_skeleton
from slimpose.labels.interchange.kinds import read_labels
from slimpose.labels.proposals import Proposal, hardest_first, with_jumps
from slimpose.poses import Poses
from slimpose.skeleton import COCO17

NAN = float("nan")


def proposal(name: str, *hardness: float, x: float = 50.0, people: int = 1) -> Proposal:
    """An image with people whose joints are all at x, 50, in boxes of 40x40."""
    poses = Poses(
        points_image=np.full((people, 17, 2), (x, 50), np.float32),
        scores=np.full((people, 17), 0.9, np.float32),
        covariances_image=np.tile(np.eye(2, dtype=np.float32), (people, 17, 1, 1)),
        boxes_image=np.tile(np.array([x - 20, 30, x + 20, 70], np.float32), (people, 1)),
        person_scores=np.full(people, 0.9, np.float32),
        ids=np.full(people, -1, np.int64),
        skeleton=COCO17,
    )
    values = (*hardness, NAN, NAN, NAN, NAN)[:4]
    return Proposal(file_name=name, height=100, width=200, poses=poses, hardness=values)


def test_hardest_images_come_first() -> None:
    """By the mean of the ranks of what is known."""
    easy, middle, hard = proposal("a", 0.1, 2.0), proposal("b", 0.2, 1.0), proposal("c", 0.9, 3.0)
    ordered = hardest_first([easy, middle, hard])
    assert [one.file_name for one, _ in ordered] == ["c", "a", "b"]
    assert [difficulty for _, difficulty in ordered] == [1.0, 0.25, 0.25]


def test_jump_between_frames_is_hard() -> None:
    series = [proposal(f"clip/{n:03}.png", x=60 + 30 * (n == 2)) for n in range(5)]
    jumps = [one.hardness[3] for one in with_jumps([*series, proposal("other.png")])]
    assert np.isnan(jumps[0])
    assert np.isnan(jumps[5])
    assert jumps[2] > jumps[1] > 0
    assert jumps[1] == jumps[3]


def test_person_missing_between_two_frames_is_hard() -> None:
    series = [proposal(f"{n}.png", people=int(n != 1)) for n in range(3)]
    assert with_jumps(series)[1].hardness[3] == 1.0


@pytest.fixture
def proposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with proposals for three images by the synthetic models."""
    monkeypatch.chdir(tmp_path)
    models = write_models(tmp_path / "models")
    for name, x in (("a", 30), ("b", 50), ("c", 60)):
        write_dot(f"photos/{name}.png", x)
    assert run_main("label", "photos", *models, "--copy-images", "up") == 0
    return tmp_path


def test_labels_are_a_valid_coco_file(proposed: Path) -> None:
    file = coco.read(proposed / "labels.json", keypoints=True, areas=False)
    assert len(file.people) == 3
    file.check_images(proposed / "up")
    (label,) = json.loads((proposed / "cvat-labels.json").read_text())
    assert label["type"] == "skeleton"
    assert [one["name"] for one in label["sublabels"]] == list(file.skeleton.joints)
    assert label["svg"].count("<circle") == len(file.skeleton.joints)
    images = json.loads((proposed / "labels.json").read_text())["images"]
    assert [one["difficulty"] for one in images] == sorted(
        (one["difficulty"] for one in images), reverse=True
    )


def test_only_the_hardest_are_written_and_copied(proposed: Path) -> None:
    models = ["--model", proposed / "models/pose.onnx", "--detector",
              proposed / "models/detector.onnx"]  # fmt: skip
    assert run_main("label", "photos", *models) == 2  # labels.json may be corrected by now
    out = ("--out", "two.json", "--copy-images", "two", "--limit", 2)
    assert run_main("label", "photos", *models, *out) == 0
    assert len(list((proposed / "two").iterdir())) == 2


def test_frames_of_videos_are_written_as_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    models = write_models(tmp_path / "models")
    write_video(KINDS["person"], tmp_path / "clip.avi", frames=9)
    assert run_main("label", "clip.avi", *models) == 2
    assert "expected --copy-images for its frames" in capsys.readouterr().err
    assert run_main("label", "clip.avi", *models, "--copy-images", "up", "--every", 4) == 0
    file = coco.read(tmp_path / "labels.json", keypoints=True, areas=False)
    assert sorted(one.file_name for one in file.images.values()) == [
        f"clip/{number:06d}.png" for number in range(3)
    ]
    file.check_images(tmp_path / "up")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "expected 1 or more"),
        (["--min-score", "2"], "expected a number 0..1"),
        (["--out", "labels.slp"], "ends in .json"),
    ],
)
def test_wrong_options_are_rejected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("label", "photos", *arguments) == 2
    assert message in capsys.readouterr().err


def test_proposals_survive_other_tools(proposed: Path) -> None:
    """As YOLO and SLEAP files and back, as a person's corrections come back."""
    for out in ("y", "l.slp"):
        kind = ["--to", "yolo"] if out == "y" else []
        arguments = ("labels.json", "--images", "up", "--out", out)
        assert run_main("convert", *arguments, *kind) == 0
        assert len(read_labels(proposed / out).file.people) == 3


IMPORT = """
import sys
from datumaro import Dataset
found = Dataset.import_from(sys.argv[1], "coco_person_keypoints")
for item in found:
    points = [one for one in item.annotations if one.type.name == "points"]
    print(item.id, len(points), len(points[0].points) // 2 if points else 0)
"""
IMPORT_FIFTYONE = """
import os, sys
import mongomock, pymongo
pymongo.MongoClient = mongomock.MongoClient  # FiftyOne needs MongoDB at import
mongomock.MongoClient.server_info = lambda self, *a, **k: {"version": "7.0.0"}
os.environ |= {"FIFTYONE_DATABASE_URI": "mongodb://localhost", "FIFTYONE_DO_NOT_TRACK": "1",
               "FIFTYONE_DATABASE_VALIDATION": "false"}
from fiftyone.utils.coco import COCODetectionDatasetImporter
with COCODetectionDatasetImporter(data_path=sys.argv[2], labels_path=sys.argv[1],
                                  label_types=["detections", "keypoints"]) as importer:
    for path, metadata, labels in importer:
        points = labels["keypoints"].keypoints
        print(os.path.basename(path).partition(".")[0], len(points), len(points[0].points))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("packages", "program"),
    [(["datumaro"], IMPORT), (["fiftyone", "mongomock"], IMPORT_FIFTYONE)],
    ids=["datumaro", "fiftyone"],
)
def test_other_tools_import_the_labels(
    proposed: Path, tmp_path: Path, packages: list[str], program: str
) -> None:
    """Their own importers, each in an environment of its own: their versions of NumPy differ.

    CVAT reads COCO keypoints with datumaro. FiftyOne runs without its database here.
    """
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    folder = proposed / "upload"
    (folder / "annotations").mkdir(parents=True)
    (proposed / "up").rename(folder / "images")
    labels = folder / "annotations/person_keypoints_default.json"
    (proposed / "labels.json").rename(labels)
    arguments = [folder] if packages == ["datumaro"] else [labels, folder / "images"]
    done = subprocess.run(
        [python, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    joints = len(coco.read(labels, keypoints=True, areas=False).skeleton.joints)
    assert sorted(done.stdout.split("\n"))[1:] == [f"{name} 1 {joints}" for name in "abc"]


def test_project_has_recipe_skeleton_and_commands(tmp_path: Path) -> None:
    folder = tmp_path / "mouse"
    arguments = ("--keypoints", "nose", "ear_l", "ear_r", "tail")
    assert run_main("new-project", folder, *arguments) == 0
    skeleton = read_skeleton(folder / "skeleton.toml")
    assert skeleton.joints == ("nose", "ear_l", "ear_r", "tail")
    assert skeleton.flip_pairs == (("ear_l", "ear_r"),)
    text = (folder / "README.md").read_text()
    commands = [line.split()[1] for line in text.splitlines() if line.startswith("slimpose ")]
    assert commands == ["convert", "check", "train", "export", "predict", "label"]


@pytest.mark.parametrize(
    ("joints", "is_known"),
    [
        (("oreja_izq", "nariz"), False),
        (("ear_l", "ear_r", "left_paw"), False),
        (("1", "2"), False),  # training warns
        (("ear_l", "ear_r", "nose"), True),
    ],
)
def test_project_says_nothing_of_pairs_that_are_not_known(
    tmp_path: Path, joints: tuple[str, ...], is_known: bool
) -> None:
    assert run_main("new-project", tmp_path / "mouse", "--keypoints", *joints) == 0
    skeleton = read_skeleton(tmp_path / "mouse/skeleton.toml")
    assert (skeleton.flip_pairs is not None) == is_known
    if skeleton.mirror.unpaired:
        with pytest.raises(ValueError, match="no partner"):
            skeleton.check_mirroring()


def test_recipe_of_a_project_is_valid(tmp_path: Path) -> None:
    recipes = pytest.importorskip("slimpose.train.recipes", reason="needs the training extra")
    assert run_main("new-project", tmp_path / "p", "--keypoints", "a", "b") == 0
    assert recipes.load_recipe(str(tmp_path / "p/recipe.toml")).task == "pose"


def test_project_takes_its_keypoints_from_labels(proposed: Path) -> None:
    assert run_main("new-project", "mine", "--labels", "labels.json") == 0
    file = coco.read(proposed / "labels.json", keypoints=True, areas=False)
    assert read_skeleton(proposed / "mine/skeleton.toml").joints == file.skeleton.joints


def test_project_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run_main("new-project", tmp_path, "--keypoints", "a") == 2
    assert "is not empty" in capsys.readouterr().err
    assert run_main("new-project", tmp_path / "new") == 2
