"""Which tool a label file is of, and reading and writing by its name."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from slimpose.fields import Fields, id_key
from slimpose.formats import coco
from slimpose.formats.coco_document import to_document
from slimpose.formats.files import read_json, write_json
from slimpose.labels.interchange import deeplabcut, label_studio, sleap, yolo
from slimpose.labels.interchange.label_data import (
    READ_ERRORS,
    LabelData,
    Progress,
    no_progress,
    reason_of,
)
from slimpose.labels.repair import repaired
from slimpose.media.annotated_image import read_annotated_image
from slimpose.messages import DataWarning, quoted

Kind = Literal["coco", "label-studio", "yolo", "sleap", "sleap-analysis", "deeplabcut"]
_READ = {
    "id", "image_id", "category_id", "bbox", "area", "iscrowd", "num_keypoints", "keypoints",
    "weights", "teacher_keypoints", "teacher_agreement", "source", "color", "isbbox", "ignore",
}  # fmt: skip
"""Fields of annotations that are kept, or are only of the tool's display."""


def kind_of(path: Path) -> Kind:
    """Return the tool whose file this is, by its name and contents.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it is none of a known tool.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        for name, kind in (("config.yaml", "deeplabcut"), ("data.yaml", "yolo")):
            if (path / name).is_file():
                return kind  # pyright: ignore[reportReturnType] - one of Kind
        raise ValueError(
            f"{path} has neither config.yaml nor data.yaml; expected a DeepLabCut project, a YOLO "
            "data set, or a file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no label file {path}")
    if suffix == ".slp":
        return "sleap"
    if suffix in (".h5", ".hdf5"):
        import h5py

        try:
            with h5py.File(path) as file:
                return "sleap-analysis" if "tracks" in file else "deeplabcut"
        except READ_ERRORS as error:
            raise ValueError(
                f"{path} is not HDF5 ({reason_of(error)}); expected a file of SLEAP or DeepLabCut"
            ) from error
    if suffix in (".yaml", ".yml"):
        return "deeplabcut" if path.name == "config.yaml" else "yolo"
    if suffix == ".csv":
        return "deeplabcut"
    if suffix == ".json":
        return "label-studio" if label_studio.is_export(path) else "coco"
    raise ValueError(
        f"{path}: no known label file; expected COCO or Label Studio (.json), YOLO (data.yaml), "
        "SLEAP (.slp, .h5) or DeepLabCut (config.yaml, CollectedData_*.csv, .h5)"
    )


def read_labels(
    path: Path,
    *,
    images: Path | None = None,
    frames: Path | None = None,
    split: str | None = None,
    category: str | None = None,
    kind: Kind | None = None,
    on_progress: Progress = no_progress,
) -> LabelData:
    """Read the labels of any known tool.

    Args:
        path: A file or folder.
        images: Folder of the images of a COCO or Label Studio file; by default where the usual
            tools put them.
        frames: Folder to write the frames to that a SLEAP file labels in videos.
        split: Of a YOLO data set: train, val or test.
        category: Of a file of COCO, Label Studio or YOLO with several: the one that is read.
        kind: The tool; recognized by default.
        on_progress: Called with (images done, all images).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file or entry is invalid.
    """
    kind = kind or kind_of(path)
    if split is not None and kind != "yolo":
        raise ValueError(f"--split is {split}, for YOLO data sets; {path} is of {kind}")
    if category is not None and kind not in ("coco", "label-studio", "yolo"):
        raise ValueError(
            f"--category is {category}, for COCO, Label Studio and YOLO; {path} is of {kind}"
        )
    if kind == "coco":
        return _read_coco(path, images, category)
    if kind == "label-studio":
        return label_studio.read(path, images=images, category=category, on_progress=on_progress)
    if images is not None:
        raise ValueError(
            f"--images is for files of COCO and Label Studio; {path} is of {kind}, which names its "
            "images"
        )
    if kind == "yolo":
        file = path / "data.yaml" if path.is_dir() else path
        return yolo.read(file, split=split, category=category, on_progress=on_progress)
    if kind == "deeplabcut":
        return deeplabcut.read(path, on_progress=on_progress)
    return sleap.read(path, frames=frames, on_progress=on_progress)


def write_labels(
    data: LabelData,
    path: Path,
    kind: Kind,
    *,
    split: str = "train",
    on_progress: Progress = no_progress,
) -> list[str]:
    """Write labels for a tool; return notes on what its files cannot hold.

    Raises:
        ValueError: If the path's suffix is of another kind of file, or cannot be written; or if an
            image is missing or of another size than declared, so the labels are of other pixels.
    """
    suffixes = {"coco": (".json",), "sleap": (".slp",), "sleap-analysis": (".h5", ".hdf5")}
    expected = suffixes.get(kind, ("",))
    if path.suffix.lower() not in expected:
        what = "a folder" if expected == ("",) else f"a name that ends in {expected[0]}"
        raise ValueError(f"--out is {path}; expected {what} for {kind}")
    if kind == "label-studio":
        raise ValueError("label-studio is only read; expected coco, which Label Studio can import")
    if kind == "coco":
        write_json(path, to_document(data.file))
        return []
    data.file.check_images(data.image_folder)
    for number, image_id in enumerate(data.file.images, start=1):
        read_annotated_image(data.file, data.image_folder, image_id)
        on_progress(number, len(data.file.images))
    lost = _left_out(data, kind)
    if kind == "yolo":
        return [*yolo.write(data, path, split=split, on_progress=on_progress), *lost]
    if kind == "deeplabcut":
        return [*deeplabcut.write(data, path, on_progress=on_progress), *lost]
    return [*sleap.write(data, path), *lost]


def _left_out(data: LabelData, kind: Kind) -> list[str]:
    """Notes on what only COCO's files have."""
    people = data.file.people
    counts = {
        "boxes of crowds": sum(one.is_crowd for one in people),
        "instances without keypoints": sum(
            not one.is_labeled and not one.is_crowd for one in people if kind != "yolo"
        ),
        "instances' weights, teacher's keypoints or sources": sum(
            bool(one.source)
            or one.teacher_keypoints is not None
            or (one.joint_weights is not None and bool((one.joint_weights != 1).any()))
            for one in people
        ),
    }
    return [f"{count} {what} are left out" for what, count in counts.items() if count]


def _read_coco(path: Path, images: Path | None, category: str | None) -> LabelData:
    """Read a COCO file as tools write it: what is certain is corrected, and noted."""
    document = read_json(path, kind="annotation file")
    original = document
    if category is not None:
        document = _only_category(document, path, category)
    document, repairs = repaired(document)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        file = coco.parse(document, path, keypoints=True, areas=False)
    notes = [*repairs, *(str(warning.message) for warning in caught)]
    notes += _not_read(original, file.category_id)
    folder = images or coco_image_folder(path, document)
    return LabelData(file=file, image_folder=folder, notes=tuple(notes))


def _not_read(document: dict[str, Any], category_id: int) -> list[str]:
    """Notes on annotations of other categories, and on fields that are not kept."""
    names = {str(one["id"]): one["name"] for one in document["categories"]}
    others: Counter[str] = Counter()
    fields: Counter[str] = Counter()
    for one in document["annotations"]:
        category = str(one["category_id"])
        if category != str(category_id):
            others[names[category]] += 1
            continue
        attributes = one.get("attributes")
        fields.update(name for name in one.keys() - _READ - {"attributes"} if one[name])
        if isinstance(attributes, dict):
            fields.update(f"attribute {name}" for name in attributes if attributes[name])
    notes = [
        f"{count} annotations of {quoted(name)} are left out" for name, count in others.items()
    ]
    if fields:
        listed = ", ".join(f"{name} ({fields[name]})" for name in sorted(fields))
        notes.append(f"fields of annotations that are not kept: {listed}")
    return notes


def _only_category(document: Any, path: Path, name: str) -> Any:
    """The document with the annotations of one category; all images stay."""
    if not isinstance(document, dict) or not {"annotations", "categories"} <= document.keys():
        coco.parse(document, path, keypoints=True)  # raises
    entries = Fields(document, str(path)).items("categories")
    categories = [one for one in entries if isinstance(one, dict)]
    chosen = [one for one in categories if one.get("name") == name]
    if len(chosen) != 1:
        raise ValueError(
            f"{path}: {len(chosen)} categories are named {quoted(name)}; expected one of "
            f"{quoted([one.get('name') for one in categories])}"
        )
    annotations = Fields(document, str(path)).items("annotations")
    number = id_key(chosen[0].get("id"))
    kept = [
        one
        for one in annotations
        if not isinstance(one, dict) or id_key(one.get("category_id")) == number
    ]
    return {**document, "categories": chosen, "annotations": kept}


def coco_image_folder(path: Path, document: object) -> Path:
    """Return where the usual tools put the images of a COCO file: next to it, or in images/.

    CVAT writes ``annotations/person_keypoints_default.json`` and ``images/default/``.
    """
    split = path.stem.rpartition("_")[2]
    near, above = path.parent / "images", path.parent.parent / "images"
    folders = [path.parent, near, near / split, above, above / split]
    images = document.get("images") if isinstance(document, dict) else None
    entries = images if isinstance(images, list) else []
    names = [one["file_name"] for one in entries if isinstance(one, dict) and "file_name" in one]
    name = next((one for one in names if isinstance(one, str) and one), "")
    return next((folder for folder in folders if name and (folder / name).is_file()), path.parent)
