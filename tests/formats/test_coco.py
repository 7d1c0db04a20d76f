from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose.arrays import Size
from slimpose.evaluate.boxes import ground_truth_boxes
from slimpose.formats import coco
from slimpose.messages import DataWarning
from slimpose.skeleton import COCO17

Document = dict[str, Any]
Write = Callable[[Any], Path]


# known values


def test_keypoint_file_is_read_in_image_pixels(document: Document, write_coco: Write) -> None:
    read = coco.read(write_coco(document), keypoints=True)
    (person,) = read.people
    assert read.images[7] == coco.CocoImage(id=7, file_name="street.png", height=48, width=64)
    assert read.skeleton is COCO17
    assert person.box_image.tolist() == [10, 8, 40, 40]  # x1, y1, x2, y2
    assert person.keypoints is not None
    assert person.keypoints[3].tolist() == [15, 13, 2]
    assert person.area == 960
    assert not person.is_crowd


def test_missing_optional_fields_get_defaults(document: Document, write_coco: Write) -> None:
    del document["annotations"][0]["area"]
    (person,) = coco.read(write_coco(document), keypoints=True).people
    assert person.joint_weights is not None
    assert person.joint_weights.tolist() == [1] * 17
    assert person.teacher_keypoints is None
    assert np.isnan(person.teacher_agreement)
    assert person.source == ""
    assert person.area == 30 * 32  # the area of the box


def test_additional_fields_are_read(document: Document, write_coco: Write) -> None:
    document["annotations"][0] |= {
        "weights": [0.5] * 17,
        "teacher_keypoints": [1.0, 2.0, 0.75] * 17,
        "teacher_agreement": 0.9,
        "source": "lspet",
    }
    (person,) = coco.read(write_coco(document), keypoints=True).people
    assert person.joint_weights is not None
    assert person.joint_weights[0] == 0.5
    assert person.teacher_keypoints is not None
    assert person.teacher_keypoints[16].tolist() == [1, 2, 0.75]
    assert (person.teacher_agreement, person.source) == (0.9, "lspet")


def test_box_file_needs_no_keypoints(document: Document, write_coco: Write) -> None:
    del document["annotations"][0]["keypoints"], document["categories"][0]["keypoints"]
    (person,) = coco.read(write_coco(document), keypoints=False).people
    assert person.keypoints is None


def test_other_categories_are_skipped(document: Document, write_coco: Write) -> None:
    document["categories"].append({"id": 2, "name": "dog"})
    document["annotations"].append(
        {"id": 71, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]}
    )
    assert [person.id for person in coco.read(write_coco(document), keypoints=True).people] == [70]


def test_images_without_people_are_kept(document: Document, write_coco: Write) -> None:
    document["images"].append({"id": 8, "file_name": "empty.png", "height": 48, "width": 64})
    grouped = coco.read(write_coco(document), keypoints=True).people_by_image()
    assert [len(grouped[image_id]) for image_id in (7, 8)] == [1, 0]


def test_skeleton_is_read_from_the_category(document: Document, write_coco: Write) -> None:
    document["categories"] = [
        {
            "id": 1,
            "name": "hand",
            "keypoints": ["wrist", "tip"],
            "skeleton": [[1, 2]],
            "sigmas": [0.1, 0.2],
        }
    ]
    document["annotations"][0]["keypoints"] = [1, 2, 2, 3, 4, 1]
    skeleton = coco.read(write_coco(document), keypoints=True).skeleton
    assert skeleton.joints == ("wrist", "tip")
    assert skeleton.limbs == (("wrist", "tip"),)
    assert skeleton.sigmas == (0.1, 0.2)


@pytest.mark.parametrize(
    "change", [{"iscrowd": "0"}, {"iscrowd": False}, {"iscrowd": None}, {"iscrowd": 0.0}]
)
def test_iscrowd_may_be_written_as_text(
    document: Document, write_coco: Write, change: Document
) -> None:
    """Text "0" is true in Python: everyone was a crowd."""
    document["annotations"][0] |= change
    (person,) = coco.read(write_coco(document), keypoints=True).people
    assert not person.is_crowd


def test_ids_may_be_written_as_text(document: Document, write_coco: Write) -> None:
    document["annotations"][0] |= {"category_id": "1", "image_id": "7", "id": "70"}
    assert len(coco.read(write_coco(document), keypoints=True).people_by_image()[7]) == 1
    document["annotations"][0] |= {"category_id": 1}
    document["categories"][0]["id"] = "1"
    assert len(coco.read(write_coco(document), keypoints=True).people) == 1


def test_absent_joints_may_be_marked_with_minus_one(document: Document, write_coco: Write) -> None:
    """Once v = -1 counted as a label for the boxes, and as none for the rest."""
    document["annotations"][0]["keypoints"] = [-1, -1, -1] * 17
    file = coco.read(write_coco(document), keypoints=True)
    assert not file.people[0].is_labeled
    assert ground_truth_boxes(file) == {}


def test_backslashes_and_a_byte_order_mark_are_read(
    document: Document, write_coco: Write, tmp_path: Path
) -> None:
    document["images"][0]["file_name"] = "sub\\street.png"
    path = write_coco("\ufeff" + json.dumps(document))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    file = coco.read(path, keypoints=True)
    assert file.images[7].file_name == "sub/street.png"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "street.png").touch()
    file.check_images(tmp_path)


ROOT = {"id": 0, "name": "person", "supercategory": "none"}
PROJECT = {"id": 0, "name": "pose-x7", "supercategory": "none"}


@pytest.mark.parametrize(
    ("others", "changes"),
    [
        ([ROOT], {"supercategory": "person"}),  # Roboflow's root, without annotations
        ([PROJECT], {"supercategory": "pose-x7"}),
        ([PROJECT], {"name": "people", "supercategory": "pose-x7"}),
        ([ROOT], {"name": "people", "supercategory": "person"}),  # the root is called person
        ([{"id": 5, "name": "car"}, {"id": 6, "name": "bus"}], {}),
        ([{"id": 5, "name": "car"}], {"name": "Person"}),
        ([], {"name": "human"}),
    ],
)
@pytest.mark.parametrize("keypoints", [True, False])
def test_people_are_found_next_to_other_categories(
    document: Document,
    write_coco: Write,
    others: list[Document],
    changes: Document,
    keypoints: bool,
) -> None:
    document["categories"][0] |= changes
    document["categories"] = [*others, *document["categories"]]
    assert len(coco.read(write_coco(document), keypoints=keypoints).people) == 1


def test_left_out_categories_with_keypoints_are_reported(
    document: Document, write_coco: Write
) -> None:
    document["categories"].append(document["categories"][0] | {"id": 2, "name": "player"})
    document["annotations"].append(document["annotations"][0] | {"id": 71, "category_id": 2})
    with pytest.warns(DataWarning, match=r"left out: 2 'player' \(1 annotations\)"):
        assert len(coco.read(write_coco(document), keypoints=True).people) == 1


def test_file_without_people_of_the_person_category_has_none(
    document: Document, write_coco: Write
) -> None:
    document["categories"].append({"id": 2, "name": "dog", "supercategory": "animal"})
    document["annotations"][0]["category_id"] = 2
    assert coco.read(write_coco(document), keypoints=False).people == ()


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (None, "1 of 1 people have no area"),
        (0, "1 of 1 people have no area"),
    ],
)
def test_missing_area_is_the_boxes_with_a_warning(
    document: Document, write_coco: Write, area: float | None, message: str
) -> None:
    document["annotations"][0]["area"] = area
    with pytest.warns(DataWarning, match=message):
        file = coco.read(write_coco(document), keypoints=True)
    assert (file.people[0].area, file.people_without_area) == (30 * 32, 1)


@pytest.mark.parametrize("area", [1, 9, 0.5, 2000, 1e12])
def test_area_that_does_not_fit_the_box_is_rejected(
    document: Document, write_coco: Write, area: float
) -> None:
    document["annotations"][0]["area"] = area
    with pytest.raises(ValueError, match="the area of 1 of 1 people does not fit their bbox"):
        coco.read(write_coco(document), keypoints=True)
    coco.read(write_coco(document), keypoints=True, areas=False)  # to train on


def test_areas_of_another_image_size_are_reported(document: Document, write_coco: Write) -> None:
    """Boxes and keypoints were doubled, areas were not: AP falls, and nothing else shows it."""
    (one,) = document["annotations"]
    document["annotations"] = [one | {"id": number, "area": 120} for number in range(5)]
    with pytest.warns(DataWarning, match=r"area of people is 0\.12 of their box's as a rule"):
        coco.read(write_coco(document), keypoints=True)


@pytest.mark.parametrize(
    ("size", "is_right"), [([48, 64], True), ([64, 48], False), ([96, 128], False)]
)
def test_masks_have_the_size_of_their_images(
    document: Document, write_coco: Write, size: list[int], is_right: bool
) -> None:
    document["annotations"][0]["segmentation"] = {"size": size, "counts": [0, 3072]}
    if is_right:
        coco.read(write_coco(document), keypoints=True)
        return
    with pytest.raises(ValueError, match=r"annotation 70: segmentation: size is \[\d+, \d+\]; exp"):
        coco.read(write_coco(document), keypoints=True)


def test_few_odd_areas_are_kept_with_a_warning(document: Document, write_coco: Write) -> None:
    """A file with one odd area is measured as pycocotools measures it."""
    (one,) = document["annotations"]
    document["annotations"] = [one | {"id": 1000 + number} for number in range(200)]
    document["annotations"][3]["area"] = 1
    with pytest.warns(DataWarning, match="the area of 1 of 200 people does not fit their bbox"):
        file = coco.read(write_coco(document), keypoints=True)
    assert file.people[3].area == 1


def test_empty_boxes_of_people_without_keypoints_are_left_out_with_a_warning(
    document: Document, write_coco: Write
) -> None:
    document["annotations"][0]["bbox"] = [10, 8, 0, 32]
    with pytest.warns(DataWarning, match="the bbox of 1 of 1 people has no area"):
        coco.read(write_coco(document), keypoints=False, areas=False)
    document["annotations"][0]["keypoints"] = [0] * 51
    (person,) = coco.read(write_coco(document), keypoints=True, areas=False).people
    assert not person.has_box


@pytest.mark.parametrize("pairs", [[[2, 3]], [["a", "b"]]])
def test_mirror_pairs_are_read_from_the_category(
    document: Document, write_coco: Write, pairs: object
) -> None:
    joints = ["top", "a", "b"]
    document["categories"] = [{"id": 1, "name": "x", "keypoints": joints, "flip_pairs": pairs}]
    document["annotations"][0]["keypoints"] = [15, 15, 2] * 3
    skeleton = coco.read(write_coco(document), keypoints=True).skeleton
    assert skeleton.flip_indices.tolist() == [0, 2, 1]


def test_numbers_are_names_of_keypoints(document: Document, write_coco: Write) -> None:
    document["categories"] = [{"id": 1, "name": "x", "keypoints": [1, 2, 3]}]
    document["annotations"][0]["keypoints"] = [15, 15, 2] * 3
    assert coco.read(write_coco(document), keypoints=True).skeleton.joints == ("1", "2", "3")


def test_sigmas_of_a_file_are_used_for_coco_joints_too(
    document: Document, write_coco: Write
) -> None:
    document["categories"][0]["sigmas"] = [0.05] * 17
    skeleton = coco.read(write_coco(document), keypoints=True).skeleton
    assert (skeleton.joints, skeleton.sigmas) == (COCO17.joints, (0.05,) * 17)


@pytest.mark.parametrize(
    ("field", "values", "cause"),
    [
        ("bbox", [10, 8, 300, 320], "x1, y1, x2, y2"),
        ("bbox", [0.1, 0.1, 0.5, 0.6], "normalized"),
        ("keypoints", [0.4, 0.3, 2] * 17, "normalized"),
        ("keypoints", [300, 320, 2] * 17, "of another image"),
        ("keypoints", [*([20, 20, 2] * 8), *([0, 0, 2] * 9)], "absent ones with v 2"),
    ],
)
def test_coordinates_that_contradict_each_other_are_rejected(
    document: Document, write_coco: Write, field: str, values: list[float], cause: str
) -> None:
    """Boxes that do not fit their images, keypoints that do not fit their boxes."""
    (person,) = document["annotations"]
    person["bbox"] = [40, 30, 20, 16]
    person["keypoints"] = [45, 35, 2] * 17
    assert coco.read(write_coco(document), keypoints=True, areas=False).people
    person[field] = values
    message = f"the {field} of 1 of 1 people cannot be right; the first is annotation 70: bbox x="
    with pytest.raises(ValueError, match=f"{message}.*{cause}"):
        coco.read(write_coco(document), keypoints=True, areas=False)


def test_few_odd_coordinates_are_kept(document: Document, write_coco: Write) -> None:
    """COCO has 2 people of 1000 whose keypoints are mostly outside of their boxes."""
    (person,) = document["annotations"]
    document["annotations"] = [{**person, "id": number} for number in range(1, 11)]
    document["annotations"][0]["keypoints"] = [0, 0, 2] * 17
    assert len(coco.read(write_coco(document), keypoints=True).people) == 10


def test_declared_size_is_compared_with_the_images(document: Document, write_coco: Write) -> None:
    file = coco.read(write_coco(document), keypoints=True)
    file.check_size(7, Size(48, 64))
    with pytest.raises(ValueError, match=r"is declared 64 wide and 48 high.*resized after"):
        file.check_size(7, Size(24, 32))
    with pytest.raises(ValueError, match=r"48 wide and 64 high; .*EXIF"):
        file.check_size(7, Size(64, 48))


# properties


def _is_read_or_rejected_by_name(path: Path) -> None:
    """No refusal is in Python's words."""
    message = None
    try:
        coco.read(path, keypoints=True)
    except ValueError as error:
        message = str(error)
    assert message is None or (message.startswith(str(path)) and "expected" in message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from(
    [
        (part, field)
        for part, names in {
            "images": ("id", "file_name", "height", "width"),
            "annotations": (
                "id",
                "image_id",
                "category_id",
                "bbox",
                "area",
                "iscrowd",
                "keypoints",
                "weights",
                "source",
            ),
            "categories": ("id", "name", "keypoints", "skeleton", "sigmas"),
        }.items()
        for field in names
    ]
)


@given(fields, json_values)
def test_any_field_value_is_read_or_rejected_with_the_file_name(
    write_coco: Write, field: tuple[str, str], value: object
) -> None:
    from coco_documents import coco_document

    broken = coco_document()
    broken[field[0]][0][field[1]] = value
    path = write_coco(broken)
    _is_read_or_rejected_by_name(path)


@given(st.sampled_from(["images", "annotations", "categories"]), json_values)
def test_any_section_is_read_or_rejected_with_the_file_name(
    write_coco: Write, part: str, value: object
) -> None:
    from coco_documents import coco_document

    path = write_coco(coco_document() | {part: value})
    _is_read_or_rejected_by_name(path)


# errors


def _set(part: str, field: str, value: object) -> Callable[[Document], None]:
    return lambda document: document[part][0].__setitem__(field, value)


def _drop(part: str, field: str) -> Callable[[Document], None]:
    return lambda document: document[part][0].pop(field)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (
            _set("annotations", "bbox", [1, 2, 3]),
            "annotation 70: bbox is [1, 2, 3], 3 values; expected 4 finite numbers: x, y, width",
        ),
        (
            _set("annotations", "bbox", [1, 2, 3, float("nan")]),
            "annotation 70: bbox is [1, 2, 3, nan]; expected 4 finite numbers",
        ),
        (
            _set("annotations", "bbox", [1, 2, 3, 1e39]),
            "annotation 70: bbox is [1, 2, 3, 1e+39]; expected 4 finite numbers",
        ),
        (_set("annotations", "id", float("inf")), "annotations[0]: id is inf; expected an integer"),
        (_set("categories", "id", None), "categories[0]: id is None; expected an integer"),
        (
            _set("annotations", "keypoints", [1, 2, 3]),
            "annotation 70: keypoints is [1, 2, 3], 3 values; expected 51 finite numbers: x, y",
        ),
        (_set("annotations", "weights", [2.0] * 17), "expected numbers 0..1, one for each of 17"),
        (_set("annotations", "weights", [1.0] * 3), "expected 17 finite numbers: 0..1"),
        (
            _set("annotations", "teacher_keypoints", [1]),
            "annotation 70: teacher_keypoints is [1], 1 values; expected 51 finite numbers",
        ),
        (
            _set("annotations", "image_id", 99),
            "annotation 70 names image 99, which is not in images",
        ),
        (
            _drop("annotations", "keypoints"),
            "annotation 70 has no keypoints; expected it among its fields, ['id', 'image_id'",
        ),
        (_set("annotations", "area", -1), "annotation 70: area is -1; expected a finite number"),
        (_set("annotations", "area", float("nan")), "annotation 70: area is nan; expected a"),
        (_set("annotations", "area", "960"), "annotation 70: area is '960'; expected a finite"),
        (_set("annotations", "iscrowd", "yes"), "annotation 70: iscrowd is 'yes'; expected 0 or 1"),
        (_set("annotations", "category_id", None), "annotation 70: category_id is None; expected"),
        (_set("annotations", "category_id", 9), "1 annotations have category_id 9; expected one"),
        (_set("annotations", "keypoints", [1, 2, 3] * 17), "v of keypoint 'nose' is 3; expected 0"),
        (_set("annotations", "keypoints", [1, 2, 0.9] * 17), "v of keypoint 'nose' is 0.9;"),
        (_set("annotations", "keypoints", [None] * 51), "annotation 70: keypoints is [None, None"),
        (
            _set("annotations", "bbox", [0, 0, 0, 0]),
            "the bbox of 1 people with keypoints has no area; the first is annotation 70",
        ),
        (_set("images", "width", 0), "image 7: width is 0; expected an integer of 1 or more"),
        (_set("images", "file_name", None), "image 7: file_name is None; expected text"),
        (_set("images", "file_name", " "), "image 7: file_name is ' '; expected text"),
        (_set("categories", "keypoints", ["a", None]), "keypoints[1] is None; expected a keypoint"),
        (_set("categories", "keypoints", ["a", "a"]), "has several joints named 'a'; expected"),
        (
            _set("categories", "sigmas", [float("nan")] * 17),
            "category 'person': sigmas[0] is nan; expected a finite number",
        ),
        (_set("categories", "sigmas", [0] * 17), "the sigma of 'nose' is 0.0; expected a number"),
        (_set("categories", "sigmas", [-0.1] * 17), "the sigma of 'nose' is -0.1; expected"),
        (_set("categories", "sigmas", [26] * 17), "the sigma of 'nose' is 26.0; expected"),
        (_set("categories", "flip_pairs", [[1, 1]]), "flip_pairs has 'nose' twice; expected"),
        (lambda document: document.update(images=None), "images is None; expected a list"),
        (lambda document: document.update(annotations=[3]), "annotations[0] is 3; expected an"),
        (
            lambda document: document["images"].append(document["images"][0] | {"id": 8}),
            "images 7 and 8 have one file_name, 'street.png'; expected one entry per image",
        ),
        (
            lambda document: (
                document["categories"].append(document["categories"][0] | {"id": 2})
                or document["annotations"].append(
                    document["annotations"][0] | {"id": 71, "category_id": 2}
                )
            ),
            "2 categories may be the people: 1 'person' (1 annotations), 2 'person'",
        ),
        (_drop("annotations", "bbox"), "annotation 70 has no bbox; expected it among its fields,"),
        (_drop("images", "height"), "image 7 has no height; expected it among its fields,"),
        (_drop("categories", "keypoints"), "no category has keypoints; got 1 'person'"),
        (_set("categories", "keypoints", []), "no category has keypoints"),
        (
            lambda document: document["categories"][0].update(
                keypoints=["a", "b"], skeleton=[[1, 3]]
            ),
            "category 'person': skeleton[0] is [1, 3]; expected two numbers 1..2",
        ),
        (
            lambda document: document["categories"][0].update(
                keypoints=["a", "b"], skeleton=[[0, 1]]
            ),
            "category 'person': skeleton[0] is [0, 1]; expected two numbers 1..2",
        ),
        (
            lambda document: document.update(
                categories=[{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}]
            ),
            "1 annotations have category_id 1; expected one of the file's categories, 2 'cat' (0",
        ),
    ],
)
def test_invalid_entry_is_rejected_by_name(
    document: Document, write_coco: Write, corrupt: Callable[[Document], object], message: str
) -> None:
    corrupt(document)
    path = write_coco(document)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        coco.read(path, keypoints=True)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",  # leaves the folder
        "a/../../secret.png",  # leaves the folder later
        "/etc/passwd",  # absolute
        "..\\secret.png",  # a Windows path
        "\\\\server\\share.png",  # a network path
        "C:\\secret.png",  # a drive
        "https://example.org/x.png",  # a URL
    ],
)
def test_file_name_outside_the_image_folder_is_rejected(
    document: Document, write_coco: Write, name: str
) -> None:
    document["images"][0]["file_name"] = name
    with pytest.raises(
        ValueError, match=re.escape(f"image 7: file_name {name!r} leaves the image folder")
    ):
        coco.read(write_coco(document), keypoints=True)


@pytest.mark.parametrize("name", ["a.png", "train/a.png", "a..b.png", "ünïcode/a b.png"])
def test_file_name_inside_the_image_folder_is_accepted(
    document: Document, write_coco: Write, name: str
) -> None:
    document["images"][0]["file_name"] = name
    assert coco.read(write_coco(document), keypoints=True).images[7].file_name == name


def test_results_file_is_recognized_in_the_message(write_coco: Write) -> None:
    path = write_coco([{"image_id": 7, "category_id": 1, "keypoints": [], "score": 1}])
    with pytest.raises(ValueError, match=re.escape("got a list (is it a results file?)")):
        coco.read(path, keypoints=True)


def test_other_json_document_is_rejected_with_its_keys(write_coco: Write) -> None:
    path = write_coco({"name": "package", "version": "1"})
    with pytest.raises(
        ValueError,
        match=re.escape("expected images, annotations, categories; got ['name', 'version']"),
    ):
        coco.read(path, keypoints=True)


@pytest.mark.parametrize("text", ["", "images", json.dumps({"images": []})[:-1], "\x00"])
def test_invalid_json_is_rejected(write_coco: Write, text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        coco.read(write_coco(text), keypoints=True)


def test_deeply_nested_file_is_rejected(write_coco: Write) -> None:
    with pytest.raises(ValueError, match=r"annotations\.json .*nested too deeply"):
        coco.read(write_coco("[" * 200_000), keypoints=True)


def test_binary_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="is not JSON"):
        coco.read(path, keypoints=True)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"no annotation file {tmp_path / 'none.json'}")
    ):
        coco.read(tmp_path / "none.json", keypoints=True)


@pytest.mark.parametrize(
    ("entries", "kind"), [("images", "image id 7"), ("annotations", "annotation id 70")]
)
def test_duplicate_id_is_rejected(
    document: Document, write_coco: Write, entries: str, kind: str
) -> None:
    document[entries] *= 2
    with pytest.raises(ValueError, match=f"{kind} is duplicated"):
        coco.read(write_coco(document), keypoints=True)
