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

from slimpose.formats import coco
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


# properties


def _is_read_or_rejected_by_name(path: Path) -> None:
    message = None
    try:
        coco.read(path, keypoints=True)
    except ValueError as error:
        message = str(error)
    assert message is None or str(path) in message


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
            "annotation 70: keypoints is [1, 2, 3], 3 values; expected 51 finite numbers: x, y, v of",
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
            "annotation 70 has no keypoints; it has ['id', 'image_id'",
        ),
        (_drop("annotations", "bbox"), "annotation 70 has no bbox; it has"),
        (_drop("images", "height"), "image 7 has no height; it has"),
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
    with pytest.raises(ValueError, match=re.escape("got a JSON list (is it a results file?)")):
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
