"""Label files of other tools: what they really write is read, and what is written comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drawn_objects import KINDS, write_dataset
from run_main import run_main
from slimpose.labels.interchange.kinds import Kind, kind_of, read_labels, write_labels
from slimpose.labels.interchange.label_data import LabelData

JOINTS = ["nose", "left_ear", "right_ear", "tail"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelData:
    """Twelve drawn animals of 20 joints, some hidden."""
    folder = tmp_path_factory.mktemp("animals")
    write_dataset(KINDS["animal"], folder, 12, seed=3)
    return read_labels(folder / "labels.json")


def rows(read: LabelData) -> dict[tuple[str, int], np.ndarray]:
    """The labeled keypoints by the image's name without folders, and number in it."""
    found: dict[tuple[str, int], np.ndarray] = {}
    for image_id, people in read.file.people_by_image().items():
        name = Path(read.file.images[image_id].file_name).name
        labeled = [one for one in people if one.is_labeled and not one.is_crowd]
        for number, person in enumerate(labeled):
            assert person.keypoints is not None
            found[(name, number)] = person.keypoints
    return found


@pytest.mark.parametrize(
    ("kind", "out", "keeps_hidden"),
    [
        ("coco", "labels.json", True),
        ("yolo", "yolo", True),
        ("sleap", "labels.slp", True),
        ("sleap-analysis", "labels.h5", False),  # has positions only
        ("deeplabcut", "dlc", False),
    ],
)
def test_labels_come_back_as_they_were_written(
    data: LabelData, tmp_path: Path, kind: Any, out: str, keeps_hidden: bool
) -> None:
    write_labels(data, tmp_path / out, kind)
    assert kind_of(tmp_path / out) == kind
    back = read_labels(tmp_path / out, images=data.image_folder if kind == "coco" else None)
    assert back.file.skeleton.joints == data.file.skeleton.joints
    before, after = rows(data), rows(back)
    assert before.keys() == after.keys()
    for key, keypoints in before.items():
        labeled = keypoints[:, 2] > 0
        np.testing.assert_array_equal(after[key][:, 2] > 0, labeled)
        np.testing.assert_allclose(after[key][labeled, :2], keypoints[labeled, :2], atol=2e-3)
        if keeps_hidden:
            np.testing.assert_array_equal(after[key][:, 2], keypoints[:, 2])
    if kind in ("coco", "yolo"):
        boxes = [[one.box_image for one in part.file.people] for part in (data, back)]
        np.testing.assert_allclose(boxes[1], boxes[0], atol=2e-3)
    if kind != "yolo":
        assert set(back.file.skeleton.limbs) == set(data.file.skeleton.limbs)
    if kind in ("yolo", "sleap"):
        np.testing.assert_array_equal(
            back.file.skeleton.flip_indices, data.file.skeleton.flip_indices
        )


def test_files_are_read_back_by_the_tools_own_libraries(data: LabelData, tmp_path: Path) -> None:
    """SLEAP's by sleap-io, DeepLabCut's by sleap-io and as DeepLabCut does, by pandas."""
    import pandas
    import sleap_io

    write_labels(data, tmp_path / "labels.slp", "sleap")
    write_labels(data, tmp_path / "labels.h5", "sleap-analysis")
    write_labels(data, tmp_path / "dlc", "deeplabcut")
    library: Any = sleap_io
    for labels in (library.load_slp(str(tmp_path / "labels.slp")),
                   library.load_analysis_h5(str(tmp_path / "labels.h5")),
                   library.load_dlc_project(str(tmp_path / "dlc"))):  # fmt: skip
        frames = [one for one in labels if len(one.instances)]
        assert len(frames) == sum(map(bool, data.file.people_by_image().values())) > 10
        assert set(labels.skeleton.node_names) == set(data.file.skeleton.joints)
    (folder,) = (tmp_path / "dlc/labeled-data").iterdir()
    from_h5: Any = pandas.read_hdf(folder / "CollectedData_slimpose.h5")
    from_csv = pandas.read_csv(
        folder / "CollectedData_slimpose.csv", header=[0, 1, 2, 3], index_col=[0, 1, 2]
    )
    assert list(from_h5.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    np.testing.assert_allclose(from_h5.to_numpy(), from_csv.to_numpy())
    assert (folder / from_h5.index[0][2]).is_file()


def image(folder: Path, name: str, width: int = 64, height: int = 48) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


KEYPOINTS = [10, 12, 2, 20, 8, 2, 22, 16, 1, 0, 0, 0]


def cvat() -> dict[str, Any]:
    """As CVAT 2 exports "COCO Keypoints 1.0"."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "version": ""},
        "categories": [
            {"id": 1, "name": "mouse", "supercategory": "", "keypoints": JOINTS,
             "skeleton": [[1, 2], [1, 3]]},
        ],
        "images": [
            {"id": 1, "width": 64, "height": 48, "file_name": "a.png", "license": 0,
             "flickr_url": "", "coco_url": "", "date_captured": 0},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [], "area": 192.0,
             "bbox": [8.0, 6.0, 16.0, 12.0], "iscrowd": 0,
             "attributes": {"occluded": False, "keyframe": False},
             "keypoints": KEYPOINTS, "num_keypoints": 3},
        ],
    }  # fmt: skip


def label_studio() -> dict[str, Any]:
    """As label-studio-sdk's converter writes keypoints: no area, a box of the keypoints."""
    return {
        "images": [{"width": 64, "height": 48, "id": 0, "file_name": "images/a.png"}],
        "categories": [
            {"id": 0, "name": "mouse"},
            {"id": 1, "name": "default", "supercategory": "default", "keypoints": JOINTS,
             "skeleton": []},
        ],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": [8, 6, 16, 12],
             "ignore": 0, "iscrowd": 0, "area": 192},
            {"id": 1, "image_id": 0, "category_id": 1, "keypoints": KEYPOINTS,
             "num_keypoints": 3, "bbox": [10, 8, 12, 8], "iscrowd": 0},
        ],
        "info": {"year": 2026, "version": "1.0", "contributor": "Label Studio"},
    }  # fmt: skip


def roboflow() -> dict[str, Any]:
    """As Roboflow exports COCO: a root category without annotations."""
    return {
        "info": {"year": "2026", "version": "1", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "", "name": "Private"}],
        "categories": [
            {"id": 0, "name": "mice", "supercategory": "none"},
            {"id": 1, "name": "mouse", "supercategory": "mice", "keypoints": JOINTS,
             "skeleton": [[1, 2], [1, 3]]},
        ],
        "images": [
            {"id": 0, "license": 1, "file_name": "a.png", "height": 48, "width": 64,
             "date_captured": "2026-11-01T10:00:00+00:00", "extra": {"name": "mouse.jpg"}},
        ],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 1, "bbox": [8, 6, 16, 12], "area": 192,
             "segmentation": [], "iscrowd": 0, "keypoints": KEYPOINTS},
        ],
    }  # fmt: skip


def coco_annotator() -> dict[str, Any]:
    """As COCO Annotator exports: keypoints alone have an empty box, boxes alone no keypoints."""
    return {
        "images": [
            {"id": 3, "dataset_id": 1, "category_ids": [2], "path": "/datasets/mice/a.png",
             "width": 64, "height": 48, "file_name": "a.png", "annotated": True, "deleted": False,
             "num_annotations": 2, "metadata": {}, "milliseconds": 0, "is_modified": False},
        ],
        "categories": [
            {"id": 2, "name": "mouse", "supercategory": "", "color": "#ff0000", "metadata": {},
             "keypoints": JOINTS, "skeleton": [[1, 2], [1, 3]],
             "keypoint_colors": ["#bf5c4d"] * 4},
        ],
        "annotations": [
            {"id": 5, "image_id": 3, "category_id": 2, "segmentation": [], "area": 0,
             "bbox": [0, 0, 0, 0], "iscrowd": False, "isbbox": False, "color": "#00ff00",
             "keypoints": KEYPOINTS, "num_keypoints": 3, "metadata": {}},
            {"id": 6, "image_id": 3, "category_id": 2, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]],
             "area": 64, "bbox": [1, 1, 8, 8], "iscrowd": False, "isbbox": True, "metadata": {}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize("document", [cvat, label_studio, roboflow, coco_annotator])
def test_coco_files_are_read_as_tools_write_them(document: Any, tmp_path: Path) -> None:
    written = document()
    image(tmp_path, written["images"][0]["file_name"])
    (tmp_path / "export.json").write_text(json.dumps(written))
    assert run_main("convert", tmp_path / "export.json", "--out", tmp_path / "labels.json") == 0
    read = read_labels(tmp_path / "labels.json")
    (person,) = [one for one in read.file.people if one.is_labeled]
    assert person.keypoints is not None
    assert person.keypoints.ravel().tolist() == KEYPOINTS
    assert person.has_box
    assert read.file.skeleton.joints == tuple(JOINTS)


def label_studio_task(**changes: Any) -> dict[str, Any]:
    """As Label Studio exports "JSON": regions with parents, percent of the image."""
    size = {"original_width": 64, "original_height": 48, "image_rotation": 0}

    def region(name: str, kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {**size, "id": name, "type": kind, "value": value, "origin": "manual",
                "to_name": "img", "from_name": "kp", **more}  # fmt: skip

    def box(name: str, x: float) -> dict[str, Any]:
        value = {"x": x, "y": 25, "width": 40, "height": 50, "rotation": 0}
        return region(name, "rectanglelabels", {**value, "rectanglelabels": ["mouse"]})

    def point(x: float, y: float, label: str, **more: Any) -> dict[str, Any]:
        value = {"x": x, "y": y, "width": 0.6, "keypointlabels": [label]}
        return region(f"{label}{x}", "keypointlabels", value, **more)

    result = [
        box("a", 0), box("b", 20),  # they overlap: the parents say whose
        point(25, 50, "nose", parentID="a"), point(30, 50, "tail tip", parentID="b"),
        point(26.0625, 50, "nose", parentID="b"),
        {"type": "relation", "from_id": "Öhrchen35", "to_id": "a", "direction": "right"},
        point(35, 50, "Öhrchen"), point(10, 50, "tail tip"),  # by a relation, by the rectangle
    ]  # fmt: skip
    newest = {"id": 2, "was_cancelled": False, "result": result, "updated_at": "2026-11-02"}
    older = {"id": 1, "was_cancelled": False, "result": result[:2], "updated_at": "2026-11-01"}
    canceled = {"id": 3, "was_cancelled": True, "result": [], "updated_at": "2026-11-03"}
    task = {"id": 7, "data": {"image": "/data/upload/3/0a1b2c3d-a.png"}, "predictions": []}
    return {**task, "annotations": [older, newest, canceled]} | changes


def test_json_of_label_studio_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its COCO export joins the instances of an image."""
    image(tmp_path, "images/a.png")
    image(tmp_path, "images/b c.png")
    empty = {"id": 8, "data": {"image": "/data/local-files/?d=mice/b%20c.png"}, "annotations": []}
    (tmp_path / "export.json").write_text(json.dumps([label_studio_task(), empty]))
    assert run_main("convert", tmp_path / "export.json", "--out", tmp_path / "labels.json") == 0
    assert "1 tasks have several annotations" in capsys.readouterr().err
    read = read_labels(tmp_path / "labels.json")
    assert [one.file_name for one in read.file.images.values()] == [
        "images/a.png",
        "images/b c.png",
    ]
    assert read.file.skeleton.joints == ("nose", "tail tip", "Öhrchen")
    assert [one.keypoints.tolist() for one in read.file.people if one.keypoints is not None] == [
        [[16, 24, 2], pytest.approx([6.4, 24, 2]), pytest.approx([22.4, 24, 2])],
        [pytest.approx([16.68, 24, 2]), pytest.approx([19.2, 24, 2]), [0, 0, 0]],
    ]
    assert read.file.people[0].box_image.tolist() == pytest.approx([0, 12, 25.6, 36])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result[2].pop("parentID"), "'nose' lies in 2 rectangles"),
        (lambda result: result[2]["value"].update(keypointlabels=["tail tip"]), "'tail tip' twice"),
        (lambda result: result[2].update(image_rotation=90), "rotated by 90 degrees"),
        (lambda result: result[0]["value"].update(rectanglelabels=["rat"]), "--category NAME"),
    ],
)
def test_unclear_label_studio_files_are_rejected(tmp_path: Path, change: Any, message: str) -> None:
    image(tmp_path, "a.png")
    task = label_studio_task()
    change(task["annotations"][1]["result"])
    (tmp_path / "export.json").write_text(json.dumps([task]))
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "export.json")


def test_what_is_not_kept_is_noted(tmp_path: Path) -> None:
    image(tmp_path, "a.png")
    document = cvat()
    document["annotations"][0]["attributes"] = {"occluded": True, "track_id": 3, "keyframe": False}
    document["annotations"][0]["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    other = {"id": 9, "image_id": 1, "category_id": 2, "bbox": [1, 1, 8, 8], "iscrowd": 0}
    crowd = document["annotations"][0] | {"id": 8, "iscrowd": 1, "source": "web"}
    bare = document["annotations"][0] | {"id": 7, "keypoints": [0] * 12, "num_keypoints": 0}
    document["annotations"] += [other, crowd, bare]
    document["categories"].append({"id": 2, "name": "cage"})
    (tmp_path / "labels.json").write_text(json.dumps(document))
    data = read_labels(tmp_path / "labels.json")
    assert "1 annotations of 'cage' are left out" in data.notes
    lost = "fields of annotations that are not kept: attribute occluded (3), attribute track_id (3)"
    assert f"{lost}, segmentation (3)" in data.notes
    for kind in ("yolo", "deeplabcut"):
        notes = " / ".join(write_labels(data, tmp_path / kind, kind))
        assert "areas" in notes
        assert "1 boxes of crowds are left out" in notes
        assert ("1 instances without keypoints are left out" in notes) == (kind == "deeplabcut")
        assert "1 instances' weights, teacher's keypoints or sources are left out" in notes


def test_given_parts_of_a_skeleton_are_kept(tmp_path: Path) -> None:
    image(tmp_path, "a.png")
    document = cvat()
    parts = {
        "upper_body": ["nose", "left_ear"], "trunk": ["tail"], "sigmas": [0.05] * 4,
        "colors": [[255, 0, 0]] * 4, "flip_pairs": [[2, 3]], "sigma_source": "two people",
    }  # fmt: skip
    document["categories"][0] |= parts
    (tmp_path / "labels.json").write_text(json.dumps(document))
    data = read_labels(tmp_path / "labels.json")
    write_labels(data, tmp_path / "out.json", "coco")
    skeleton = read_labels(tmp_path / "out.json").file.skeleton
    assert skeleton == data.file.skeleton
    assert (skeleton.trunk, skeleton.sigma_source) == (("tail",), "two people")
    (tmp_path / "plain.json").write_text(json.dumps(cvat()))
    write_labels(read_labels(tmp_path / "plain.json"), tmp_path / "plain2.json", "coco")
    written = json.loads((tmp_path / "plain2.json").read_text())["categories"][0]
    assert not parts.keys() & written.keys()


def labels_of_two_images(folder: Path, second: str) -> LabelData:
    """As CVAT writes them: of a.png and of a second image, without instances."""
    image(folder, "a.png")
    image(folder, second)
    document = cvat()
    document["images"].append(document["images"][0] | {"id": 2, "file_name": second})
    (folder / "labels.json").write_text(json.dumps(document))
    return read_labels(folder / "labels.json")


def test_images_without_instances_come_back_from_sleap(tmp_path: Path) -> None:
    data = labels_of_two_images(tmp_path, "b.png")
    write_labels(data, tmp_path / "labels.slp", "sleap")
    read = read_labels(tmp_path / "labels.slp")
    assert [one.file_name for one in read.file.images.values()] == ["a.png", "b.png"]


def test_empty_boxes_are_noted(tmp_path: Path) -> None:
    image(tmp_path, "a.png")
    (tmp_path / "export.json").write_text(json.dumps(coco_annotator()))
    notes = read_labels(tmp_path / "export.json").notes
    assert any("1 empty boxes of people with keypoints" in note for note in notes)


@pytest.mark.parametrize("place", ["annotations/person_keypoints_default.json", "labels.json"])
def test_images_are_found_where_tools_put_them(tmp_path: Path, place: str) -> None:
    image(tmp_path, "images/default/a.png" if "/" in place else "images/a.png")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(json.dumps(cvat()))
    read = read_labels(tmp_path / place)
    read.file.check_images(read.image_folder)


DLC_ROWS = (
    "scorer,Ann,Ann,Ann,Ann,Ann,Ann,Ann,Ann",
    "bodyparts,nose,nose,left_ear,left_ear,right_ear,right_ear,tail,tail",
    "coords,x,y,x,y,x,y,x,y",
    "labeled-data/clip/img0001.png,10.5,12,20,8,22,16,,",
)


def test_old_deeplabcut_rows_have_one_path(tmp_path: Path) -> None:
    """Before version 2.2 an image's path was one column."""
    image(tmp_path, "labeled-data/clip/img0001.png")
    path = tmp_path / "labeled-data/clip/CollectedData_Ann.csv"
    path.write_text("\n".join(DLC_ROWS))
    (person,) = read_labels(path).file.people
    assert person.keypoints is not None
    assert person.keypoints.tolist() == [[10.5, 12, 2], [20, 8, 2], [22, 16, 2], [0, 0, 0]]


def test_individuals_of_deeplabcut_are_instances(tmp_path: Path) -> None:
    image(tmp_path, "labeled-data/clip/img0001.png")
    path = tmp_path / "labeled-data/clip/CollectedData_Ann.csv"
    lines = [
        "scorer,,,Ann,Ann,Ann,Ann,Ann,Ann,Ann,Ann",
        "individuals,,,m1,m1,m1,m1,m2,m2,m2,m2",
        "bodyparts,,,nose,nose,tail,tail,nose,nose,tail,tail",
        "coords,,,x,y,x,y,x,y,x,y",
        "labeled-data,clip,img0001.png,1,2,3,4,30,31,32,33",
    ]
    path.write_text("\n".join(lines))
    people = read_labels(path).file.people
    assert [one.keypoints[0, 0] for one in people if one.keypoints is not None] == [1, 30]


def test_unique_body_parts_of_deeplabcut_are_noted(tmp_path: Path) -> None:
    """They are labeled for an individual named single; its names may be numbers."""
    image(tmp_path, "labeled-data/clip/img0001.png")
    lines = [
        "scorer,,,Ann,Ann,Ann,Ann,Ann,Ann",
        "individuals,,,m1,m1,m1,m1,single,single",
        "bodyparts,,,1,1,tail,tail,corner,corner",
        "coords,,,x,y,x,y,x,y",
        "labeled-data,clip,img0001.png,1,2,3,4,30,31",
    ]
    (tmp_path / "labeled-data/clip/CollectedData_Ann.csv").write_text("\n".join(lines))
    (tmp_path / "config.yaml").write_text(
        "Task: mice\nscorer: Ann\nbodyparts: MULTI!\nmultianimalbodyparts: [1, tail]\n"
        "uniquebodyparts: [corner]\nskeleton:\n- [1, tail, corner]\n"
    )
    read = read_labels(tmp_path)
    assert read.file.skeleton.limbs == (("1", "tail"),)
    assert len(read.file.people) == 1
    assert "unique body parts are left out: 'corner'" in read.notes
    assert "names of individuals are left out" in read.notes


def test_missing_image_of_deeplabcut_is_an_error(tmp_path: Path) -> None:
    """sleap-io leaves such rows out, and gives their images' labels to others."""
    path = tmp_path / "labeled-data/clip/CollectedData_Ann.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(DLC_ROWS))
    with pytest.raises(FileNotFoundError, match=r"labels labeled-data/clip/img0001\.png"):
        read_labels(path)


def test_analysis_files_of_old_versions_of_sleap_are_read(tmp_path: Path) -> None:
    """They have no scores; sleap-io fails."""
    import h5py

    image(tmp_path, "frames/0.png")
    image(tmp_path, "frames/1.png")
    tracks = np.full((1, 2, 2, 2), np.nan)
    tracks[0, :, :, 1] = [[10, 20], [11, 21]]  # x, then y, of both nodes in frame 1
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["tracks"] = tracks
        file["track_occupancy"] = np.array([[0], [1]])
        file["node_names"] = np.array([b"head", b"tail"])
        file["video_path"] = str(tmp_path / "frames").encode()
    read = read_labels(tmp_path / "old.h5")
    assert [one.file_name for one in read.file.images.values()] == ["1.png"]
    (person,) = read.file.people
    assert person.keypoints is not None
    assert person.keypoints.tolist() == [[10, 11, 2], [20, 21, 2]]


def test_frames_of_videos_are_written(tmp_path: Path) -> None:
    import sleap_io

    library: Any = sleap_io
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)
    )
    for level in range(5):
        writer.write(np.full((48, 64, 3), 40 * level, np.uint8))
    writer.release()
    skeleton = library.Skeleton(nodes=["head", "tail"], edges=[[0, 1]])
    instance = library.Instance.from_numpy(np.array([[10.0, 11], [20, 21]]), skeleton=skeleton)
    video = library.Video.from_filename(str(tmp_path / "clip.mp4"))
    frame = library.LabeledFrame(video=video, frame_idx=3, instances=[instance])
    labels = library.Labels(labeled_frames=[frame], videos=[video], skeletons=[skeleton])
    library.save_slp(labels, str(tmp_path / "clip.slp"))
    with pytest.raises(ValueError, match="expected --frames FOLDER"):
        read_labels(tmp_path / "clip.slp")
    read = read_labels(tmp_path / "clip.slp", frames=tmp_path / "frames")
    written = cv2.imread(str(tmp_path / "frames/clip/000003.png"))
    assert written is not None
    assert abs(int(written.mean()) - 120) < 6
    assert [one.file_name for one in read.file.images.values()] == ["clip/000003.png"]


def yolo(folder: Path, line: str, **changes: Any) -> Path:
    import yaml

    image(folder, "train/images/a.png")
    (folder / "train/labels").mkdir()
    (folder / "train/labels/a.txt").write_text(line)
    document = {
        "train": "../train/images", "val": "../valid/images", "names": ["mouse"],
        "kpt_shape": [2, 3], "flip_idx": [1, 0],
    }  # fmt: skip
    (folder / "data.yaml").write_text(yaml.safe_dump(document | changes))
    return folder / "data.yaml"


def test_yolo_of_roboflow_is_read(tmp_path: Path) -> None:
    """Its folders are named relative to a folder next to data.yaml."""
    read = read_labels(yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.75 1\n"))
    (person,) = read.file.people
    assert person.keypoints is not None
    assert person.keypoints.tolist() == [[16, 12, 2], [32, 36, 1]]
    assert person.box_image.tolist() == [16, 12, 48, 36]
    assert read.file.skeleton.flip_indices.tolist() == [1, 0]


@pytest.mark.parametrize("listed", ["folder", "absolute", "own folder"])
def test_yolo_images_elsewhere_are_read(tmp_path: Path, listed: str) -> None:
    """A YAML file of Ultralytics may be far from its images, and ./ is the list's folder."""
    line = "0 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.75 1\n"
    path = yolo(tmp_path / "data/images", line)
    (tmp_path / "data/labels").mkdir()
    images = path.parent / "train/images"
    (tmp_path / "lists").mkdir()
    if listed == "own folder":
        (tmp_path / "lists/images").mkdir()
        (tmp_path / "lists/labels").mkdir()
        (images / "a.png").rename(tmp_path / "lists/images/a.png")
        (path.parent / "train/labels/a.txt").rename(tmp_path / "lists/labels/a.txt")
    names = {"absolute": images / "a.png", "own folder": "./images/a.png"}
    (tmp_path / "lists/all.txt").write_text(f"{names.get(listed)}\n")
    train = str(images if listed == "folder" else tmp_path / "lists/all.txt")
    (tmp_path / "settings").mkdir()
    there = path.rename(tmp_path / "settings/mouse.yaml")
    text = there.read_text().replace("../train/images", train)
    there.write_text(text)
    read = read_labels(there)
    assert len(read.file.people) == 1
    read.file.check_images(read.image_folder)


def test_yolo_images_are_known_by_their_contents(tmp_path: Path) -> None:
    path = yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.75 1\n")
    images = path.parent / "train/images"
    (images / "a.png").rename(images / "a.jfif")
    (images / "notes.txt").touch()
    assert len(read_labels(path).file.people) == 1


def test_yolo_without_visibility_is_read(tmp_path: Path) -> None:
    path = yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.25 0.25 0 0\n", kpt_shape=[2, 2])
    (person,) = read_labels(path).file.people
    assert person.keypoints is not None
    assert person.keypoints[:, 2].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("line", "changes", "message"),
    [
        ("0 0.5 0.5\n", {}, r"a\.txt: line 1 .* expected 11 numbers"),
        ("0 a\n", {}, "expected 11 numbers"),
        ("0 .5 .5 .5 .5 .3 .3 2 .5 .5 0.93\n", {}, r"line 1 has the visibility 0\.93; expected 0"),
        ("7 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.75 1\n", {}, "line 1 has class 7; expected one of"),
        ("0 32 24 32 24 16 12 2 32 36 1\n", {}, r"a\.txt: line 1 .* normalized"),
        ("", {"names": ["mouse", "rat"]}, "has 2 classes"),
        ("", {"flip_idx": [1, 1]}, "each pair naming each other"),
        ("", {"kpt_shape": [2]}, r"expected \[keypoints, 2 or 3\]"),
        ("", {"train": "nowhere"}, "which is not in"),
        ("", {"kpt_names": {0: ["a"]}}, "expected 2 names"),
    ],
)
def test_invalid_yolo_files_are_rejected(
    tmp_path: Path, line: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_labels(yolo(tmp_path, line, **changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json", "--out", "x.json"], "no label file"),
        (["labels.json", "--out", "x"], "expected a name that ends in"),
        (["labels.json", "--out", "x.slp", "--to", "yolo"], "expected a folder"),
        (["labels.json", "--out", "x.json", "--split", "val"], "for YOLO data sets"),
        (["labels.txt", "--out", "x.json"], "no known label file"),
        (["labels.json", "--out", "x.json", "--images", "missing"], "no image folder missing"),
    ],
)
def test_wrong_arguments_are_rejected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    image(tmp_path, "a.png")
    Path("labels.json").write_text(json.dumps(cvat()))
    Path("labels.txt").touch()
    assert run_main("convert", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["yolo", "deeplabcut", "sleap"])
def test_images_of_another_size_than_declared_are_rejected(tmp_path: Path, kind: Kind) -> None:
    image(tmp_path, "a.png")
    document = cvat()
    document["images"][0]["width"] *= 1000
    (tmp_path / "labels.json").write_text(json.dumps(document))
    out = tmp_path / ("out.slp" if kind == "sleap" else "out")
    with pytest.raises(ValueError, match=r"a\.png, is declared \d+000 wide and .* the file is"):
        write_labels(read_labels(tmp_path / "labels.json"), out, kind)
    assert not out.exists()


@pytest.mark.parametrize("out", ["out.slp", "out"])
def test_images_that_were_resized_after_labeling_in_other_tools_are_rejected(
    tmp_path: Path, out: str
) -> None:
    """SLEAP's files and DeepLabCut's projects state the size that was labeled."""
    image(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(json.dumps(cvat()))
    kind: Kind = "sleap" if out == "out.slp" else "deeplabcut"
    write_labels(read_labels(tmp_path / "labels.json"), tmp_path / out, kind)
    assert len(read_labels(tmp_path / out).file.people) == 1
    for file in tmp_path.rglob("a.png"):
        image(file.parent, "a.png", 128, 96)
    with pytest.raises(ValueError, match=r"'a\.png' is declared 64 wide and .* is 128 wide"):
        read_labels(tmp_path / out)


def test_part_of_a_video_of_deeplabcut_is_no_other_size(tmp_path: Path) -> None:
    """Frames may be cropped, or not, whatever ``crop`` in the configuration says."""
    image(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(json.dumps(cvat()))
    write_labels(read_labels(tmp_path / "labels.json"), tmp_path / "dlc", "deeplabcut")
    for file in (tmp_path / "dlc").rglob("a.png"):
        image(file.parent, "a.png", 64, 90)
    assert len(read_labels(tmp_path / "dlc").file.people) == 1


def test_keypoints_outside_of_images_that_state_no_size_are_rejected(tmp_path: Path) -> None:
    image(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(json.dumps(cvat()))
    write_labels(read_labels(tmp_path / "labels.json"), tmp_path / "out.h5", "sleap-analysis")
    image(tmp_path, "a.png", 16, 12)
    with pytest.raises(ValueError, match="2 of 3 labeled keypoints are outside their images"):
        read_labels(tmp_path / "out.h5")


def test_images_that_would_share_a_label_file_are_rejected(tmp_path: Path) -> None:
    data = labels_of_two_images(tmp_path, "a.jpg")
    with pytest.raises(ValueError, match=r"one label file in YOLO's data sets, a\.txt"):
        write_labels(data, tmp_path / "yolo", "yolo")


def test_keypoints_outside_the_image_are_noted(tmp_path: Path) -> None:
    image(tmp_path, "a.png")
    document = cvat()
    document["annotations"][0]["keypoints"][0] = 70
    (tmp_path / "labels.json").write_text(json.dumps(document))
    notes = write_labels(read_labels(tmp_path / "labels.json"), tmp_path / "yolo", "yolo")
    assert "1 keypoints outside their images are moved to the border" in notes


def test_one_of_several_categories_of_coco_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path, "a.png")
    entry = {"image_id": 1, "bbox": [8, 6, 16, 12], "iscrowd": 0, "keypoints": KEYPOINTS}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "category_id": 1, **entry},
            {"id": 2, "category_id": "2", **entry, "keypoints": KEYPOINTS[:6]},
        ],
        "categories": [
            {"id": 1, "name": "dog", "keypoints": ["nose", "left_ear", "right_ear", "tail"]},
            {"id": 2, "name": "cup", "keypoints": ["rim", "foot"]},
        ],
    }
    labels, out = tmp_path / "labels.json", tmp_path / "out.json"
    labels.write_text(json.dumps(document))
    assert run_main("convert", labels, "--out", out) == 2
    assert "slimpose convert FILE --category NAME --out OUT" in capsys.readouterr().err
    assert run_main("convert", labels, "--category", "cat", "--out", out) == 2
    assert "expected one of 'dog', 'cup'" in capsys.readouterr().err.replace("[", "")
    assert run_main("convert", labels, "--category", "cup", "--out", out) == 0
    read = read_labels(out)
    assert read.file.skeleton.joints == ("rim", "foot")
    assert len(read.file.people) == 1
    before = out.read_bytes()
    assert run_main("convert", labels, "--category", "dog", "--out", out) == 2
    assert f"--out {out} exists; --overwrite replaces it" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert run_main("convert", labels, "--category", "dog", "--out", out, "--overwrite") == 0
    assert out.read_bytes() != before


def test_one_of_several_classes_of_yolo_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path, "train/images/a.png")
    (tmp_path / "train/labels").mkdir()
    lines = "0 .5 .5 .5 .5 .4 .4 2 .6 .6 2\n1 .5 .5 .2 .2 .45 .45 2 .55 .55 2\n"
    (tmp_path / "train/labels/a.txt").write_text(lines)
    yaml = "train: train/images\nkpt_shape: [2, 3]\nnames: {0: dog, 1: cup}\n"
    (tmp_path / "data.yaml").write_text(yaml + "kpt_names: {0: [nose, tail], 1: [rim, foot]}\n")
    out = tmp_path / "out.json"
    assert run_main("convert", tmp_path, "--out", out) == 2
    assert "convert --category NAME" in capsys.readouterr().err
    assert run_main("convert", tmp_path, "--category", "cup", "--out", out) == 0
    read = read_labels(out)
    assert read.file.skeleton.joints == ("rim", "foot")
    (person,) = read.file.people
    assert person.box_image[2] - person.box_image[0] == pytest.approx(0.2 * 64, abs=0.01)
    (tmp_path / "train/labels/a.txt").write_text(lines.replace("\n1", "\n7"))
    other = tmp_path / "other.json"
    assert run_main("convert", tmp_path, "--category", "cup", "--out", other) == 2
    assert "line 2 has class 7; expected one of" in capsys.readouterr().err


def test_yolo_images_may_be_anywhere(tmp_path: Path) -> None:
    """A YAML file next to other data sets, with absolute paths and lists of images."""
    image(tmp_path, "mice/images/deep/a.jpg")
    image(tmp_path, "mice/images/b.jpg")
    for name in ("deep/a", "b"):
        labels = tmp_path / f"mice/labels/{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("0 0.5 0.5 0.5 0.5 0.25 0.25 2 0.5 0.75 1\n")
    (tmp_path / "mice/lists").mkdir()
    (tmp_path / "mice/lists/val.txt").write_text("./../images/b.jpg\n")
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs/mice.yaml"
    path.write_text(
        f"train: [{tmp_path}/mice/images/deep, {tmp_path}/mice/images]\n"
        "val: ../mice/lists/val.txt\nkpt_shape: [2, 3]\nnames: [mouse]\n"
    )
    for split, count in (("train", 2), ("val", 1)):
        read = read_labels(path, split=split)
        read.file.check_images(read.image_folder)
        assert len(read.file.people) == count
        assert read.notes == ()


def test_negative_keypoints_without_visibility_are_absent(tmp_path: Path) -> None:
    """As Ultralytics reads them."""
    path = yolo(tmp_path, "0 0.5 0.5 0.5 0.5 0.25 0.25 -0.005 -0.005\n", kpt_shape=[2, 2])
    (person,) = read_labels(path).file.people
    assert person.keypoints is not None
    assert person.keypoints[:, 2].tolist() == [2, 0]


def test_what_coco_files_lose_is_noted(tmp_path: Path) -> None:
    document = cvat()
    document["categories"].append({"id": 2, "name": "car", "keypoints": []})
    first = document["annotations"][0]
    first["attributes"] = {"occluded": True, "rotation": 12.0}
    document["annotations"].append(
        {**first, "id": 2, "category_id": 2, "keypoints": [], "num_keypoints": 0}
    )
    crowd = {"id": 3, "iscrowd": 1, "keypoints": [0] * 12, "num_keypoints": 0}
    document["annotations"].append(first | crowd | {"bbox": [-4, 0, 40, 40], "area": 1600.0})
    image(tmp_path, "a.png")
    (tmp_path / "labels.json").write_text(json.dumps(document))
    data = read_labels(tmp_path / "labels.json")
    assert "1 annotations of 'car' are left out" in data.notes
    outs: dict[Kind, str] = {"sleap": "x.slp", "sleap-analysis": "x.h5", "deeplabcut": "dlc"}
    for kind, out in outs.items():
        notes = write_labels(data, tmp_path / out, kind)
        assert "1 boxes of crowds are left out" in notes, kind
    notes = write_labels(data, tmp_path / "yolo", "yolo")
    assert "1 boxes that reach over their images end at the border" in notes
    assert any(note.startswith("areas,") for note in notes)


def test_what_other_tools_lose_is_noted(tmp_path: Path) -> None:
    import sleap_io

    image(tmp_path, "labeled-data/clip/img0001.png")
    image(tmp_path, "labeled-data/clip/img0002.png")
    (tmp_path / "config.yaml").write_text(
        "Task: mice\nscorer: Ann\nbodyparts: MULTI!\nmultianimalbodyparts: [nose, tail]\n"
        "uniquebodyparts: [door]\n"
    )
    (tmp_path / "labeled-data/clip/CollectedData_Ann.csv").write_text(
        "scorer,,,Ann,Ann,Ann,Ann,Ann,Ann\nindividuals,,,m1,m1,m1,m1,single,single\n"
        "bodyparts,,,nose,nose,tail,tail,door,door\ncoords,,,x,y,x,y,x,y\n"
        "labeled-data,clip,img0001.png,1,2,3,4,30,31\n"
    )
    notes = read_labels(tmp_path / "config.yaml").notes
    assert "unique body parts are left out: 'door'" in notes
    assert "names of individuals are left out" in notes
    library: Any = sleap_io
    skeleton = library.Skeleton(nodes=["head", "tail"])
    track = library.Track("one")
    points = np.array([[10.0, 11], [20, 21]])
    instance = library.Instance.from_numpy(points, skeleton=skeleton, track=track)
    files = [str(tmp_path / f"labeled-data/clip/img000{n}.png") for n in (1, 2)]
    video = library.Video.from_filename(files)
    frames = [
        library.LabeledFrame(video=video, frame_idx=number, instances=instances)
        for number, instances in enumerate(([instance], []))
    ]
    labels = library.Labels(frames, videos=[video], skeletons=[skeleton], tracks=[track])
    library.save_slp(labels, str(tmp_path / "labels.slp"), embed=False)
    notes = read_labels(tmp_path / "labels.slp").notes
    assert "1 frames without labeled instances are left out" in notes
    assert "tracks, which instance is who, are not kept" in notes
