"""DeepLabCut projects: ``CollectedData_SCORER.csv`` and ``.h5`` in ``labeled-data/VIDEO/``.

Read by pandas, which DeepLabCut writes them with: sleap-io leaves out images that are missing and
orders the keypoints by name.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from slimpose import fields
from slimpose.arrays import Size
from slimpose.formats.coco import CocoImage, CocoPerson
from slimpose.formats.files import parse_file, replace_when_done, write_text
from slimpose.labels.interchange.hdf_pickles import refuse_code_in_pickles
from slimpose.labels.interchange.label_data import (
    READ_ERRORS,
    Builder,
    LabelData,
    Progress,
    check_declared_size,
    no_progress,
    own_skeleton,
    read_yaml,
    reason_of,
    size_of,
)
from slimpose.messages import quoted

if TYPE_CHECKING:
    from pandas import DataFrame

SCORER = "slimpose"
_KEY = "df_with_missing"  # of the table in DeepLabCut's HDF5 files
_READ_ERRORS = (*READ_ERRORS, csv.Error)
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")


def read(path: Path, *, on_progress: Progress = no_progress) -> LabelData:
    """Read a project (its folder or ``config.yaml``), or one ``CollectedData`` file.

    Raises:
        FileNotFoundError: If a file or an image is missing.
        ValueError: If a file is not one of DeepLabCut's labels.
    """
    config_path = _config_path(path)
    config = _read_config(config_path) if config_path else {}
    files = _label_files(path, config_path, str(config.get("scorer") or ""))
    tables = [(file, _read_table(file)) for file in files]
    joints = _joints(tables, config)
    limbs = _limbs(config, joints, str(config_path))
    name = str(config.get("Task") or "animal")
    root = config_path.parent if config_path else _root(files[0])
    builder = Builder(path=path, skeleton=own_skeleton(name, joints, limbs))
    videos = _video_sizes(config)
    total, done = sum(len(table) for _, table in tables), 0
    for file, table in tables:
        for row in range(len(table)):
            image = _image(table.index[row], file, root)
            size = size_of(image)
            if _is_scaled(size, declared := videos.get(image.parent.name)):
                check_declared_size(file, image.name, size, declared)
            image_id = builder.add_image(image.relative_to(root).as_posix(), size)
            for keypoints in _instances(table, row, joints):
                builder.add_instance(image_id, keypoints)
            done += 1
            on_progress(done, total)
    labels, notes = builder.build()
    notes += _left_out(tables, joints)
    return LabelData(file=labels, image_folder=root, notes=tuple(notes))


def _left_out(tables: Sequence[tuple[Path, DataFrame]], joints: Sequence[str]) -> list[str]:
    """Notes on what is in the tables and not in COCO's files."""
    columns = [table.columns for _, table in tables]
    parts = {str(one) for names in columns for one in names.get_level_values("bodyparts")}
    notes = []
    if unique := sorted(parts - set(joints)):
        notes.append(f"unique body parts are left out: {', '.join(map(quoted, unique))}")
    if any("individuals" in names.names for names in columns):
        notes.append("names of individuals are left out")
    return notes


def write(data: LabelData, folder: Path, *, on_progress: Progress = no_progress) -> list[str]:
    """Write a project with copies of the images into a folder; return notes on what is lost."""
    people = data.file.people_by_image()
    labeled = {
        image_id: [one for one in these if one.is_labeled and not one.is_crowd]
        for image_id, these in people.items()
    }
    most = max(map(len, labeled.values()), default=1)
    individuals = [f"individual{number}" for number in range(1, most + 1)] if most > 1 else []
    by_video: defaultdict[str, list[CocoImage]] = defaultdict(list)
    for image in data.file.images.values():
        parent = PurePosixPath(image.file_name).parent
        by_video["_".join(p for p in parent.parts if p != "labeled-data") or "images"].append(image)
    done = 0
    for video, images in by_video.items():
        target = folder / "labeled-data" / video
        target.mkdir(parents=True, exist_ok=True)
        names = Counter(PurePosixPath(image.file_name).name for image in images)
        if doubled := [name for name, count in names.items() if count > 1]:
            raise ValueError(
                f"several images would be {target / doubled[0]}; expected folders whose names "
                "differ in more than _ and /"
            )
        for image in images:
            source = data.image_folder / image.file_name
            copy = target / PurePosixPath(image.file_name).name
            if source.resolve() != copy.resolve():
                with replace_when_done(copy) as partial:
                    shutil.copyfile(source, partial)
            done += 1
            on_progress(done, len(people))
        table = _table(video, images, labeled, data.file.skeleton.joints, individuals)
        with replace_when_done(target / f"CollectedData_{SCORER}.csv") as partial:
            table.to_csv(partial, errors="backslashreplace")
        with replace_when_done(target / f"CollectedData_{SCORER}.h5") as partial:
            table.to_hdf(partial, key=_KEY, mode="w")
    videos = {
        f"{video}.mp4": {"crop": f"0, {images[0].width}, 0, {images[0].height}"}
        for video, images in by_video.items()
    }
    _write_config(folder, data, individuals, videos)
    return ["DeepLabCut's files have no boxes, areas, sigmas or mirror pairs; hidden is visible"]


def _table(
    video: str,
    images: Sequence[CocoImage],
    labeled: dict[int, list[CocoPerson]],
    joints: Sequence[str],
    individuals: Sequence[str],
) -> DataFrame:
    import pandas

    rows = []
    for image in images:
        points = np.full((max(1, len(individuals)), len(joints), 2), np.nan)
        for number, person in enumerate(labeled[image.id]):
            assert person.keypoints is not None
            known = person.keypoints[:, 2] > 0
            points[number, known] = person.keypoints[known, :2]
        rows.append(points.ravel())
    parts = [[SCORER], *([list(individuals)] if individuals else []), list(joints), ["x", "y"]]
    names = [name for name in _LEVELS if individuals or name != "individuals"]
    columns = pandas.MultiIndex.from_product(parts, names=names)
    index = pandas.MultiIndex.from_tuples(
        [("labeled-data", video, PurePosixPath(image.file_name).name) for image in images]
    )
    return pandas.DataFrame(np.array(rows), index=index, columns=columns)


def _write_config(
    folder: Path, data: LabelData, individuals: Sequence[str], videos: dict[str, Any]
) -> None:
    import yaml

    skeleton = data.file.skeleton
    bodyparts: dict[str, Any] = {"bodyparts": list(skeleton.joints)}
    if individuals:
        bodyparts = {
            "individuals": list(individuals),
            "uniquebodyparts": [],
            "multianimalbodyparts": list(skeleton.joints),
            "bodyparts": "MULTI!",
        }
    config = {
        "Task": skeleton.name,
        "scorer": SCORER,
        "date": "",
        "multianimalproject": bool(individuals),
        "identity": False if individuals else None,
        "project_path": str(folder.resolve()),
        "engine": "pytorch",
        "video_sets": videos,
        **bodyparts,
        "skeleton": [list(limb) for limb in skeleton.limbs],
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "albumentations",
        "snapshotindex": -1,
        "pcutoff": 0.6,
    }
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def _config_path(path: Path) -> Path | None:
    """The project's ``config.yaml``; None for label files without one."""
    if path.is_dir() or path.name == "config.yaml":
        config = path / "config.yaml" if path.is_dir() else path
        if not config.is_file():
            raise FileNotFoundError(f"no DeepLabCut project {config}")
        return config
    for folder in path.absolute().parents[:3]:
        if (folder / "config.yaml").is_file():
            return folder / "config.yaml"
    return None


def _read_config(path: Path) -> dict[str, Any]:
    config = read_yaml(path, "DeepLabCut project")
    if not isinstance(config, dict) or "bodyparts" not in config:
        raise ValueError(
            f"{path} has no bodyparts; expected the config.yaml of a DeepLabCut project"
        )
    return config


def _limbs(config: dict[str, Any], joints: Sequence[str], where: str) -> list[tuple[str, str]]:
    """The pairs of joints that the project draws lines between; a line may have several."""
    place = f"{where}: skeleton"
    limbs: list[tuple[str, str]] = []
    for limb in fields.items(config.get("skeleton") or [], place, "pairs of bodyparts"):
        if not isinstance(limb, list) or len(limb) < 2:
            raise fields.fail(place, limb, "lists of two bodyparts or more")
        limbs += pairwise(map(str, limb))
    return [limb for limb in limbs if set(limb) <= set(joints)]


def _video_sizes(config: dict[str, Any]) -> dict[str, Size]:
    """The frame sizes of a project's videos by name, from ``crop``: x1, x2, y1, y2."""
    videos = config.get("video_sets")
    sizes: dict[str, Size] = {}
    for path, entry in videos.items() if isinstance(videos, dict) else ():
        crop = str(entry.get("crop") if isinstance(entry, dict) else "").split(",")
        if len(crop) == 4 and all(side.strip().isdecimal() for side in crop):
            x1, x2, y1, y2 = map(int, crop)
            sizes[PurePosixPath(str(path).replace("\\", "/")).stem] = Size(y2 - y1, x2 - x1)
    return sizes


def _is_scaled(size: Size, declared: Size | None) -> bool:
    """Whether an image is a video's frame in another resolution, not another part of it."""
    if declared is None or min(declared) < 1:
        return False
    height = size.width * declared.height / declared.width
    return size != declared and abs(height - size.height) <= 1


def _label_files(path: Path, config: Path | None, scorer: str) -> list[Path]:
    """The label files: the one given, or of each video folder the HDF5 file, else the CSV."""
    if path.is_file() and path.name != "config.yaml":
        return [path]
    assert config is not None
    found: list[Path] = []
    for folder in sorted((config.parent / "labeled-data").glob("*/")):
        files = [*folder.glob("CollectedData_*.h5"), *folder.glob("CollectedData_*.csv")]
        named = [file for file in files if file.stem == f"CollectedData_{scorer}"]
        if len({file.stem for file in files}) > 1 and not named:
            raise ValueError(
                f"{folder} has labels of several scorers, {quoted([f.name for f in files])}; "
                f"expected CollectedData_{scorer or 'SCORER'}, as config.yaml says"
            )
        found += (named or files)[:1]
    if not found:
        raise FileNotFoundError(
            f"{config.parent} has no labels; expected labeled-data/VIDEO/CollectedData_SCORER.h5 "
            "or .csv"
        )
    return found


def _read_table(path: Path) -> DataFrame:
    """A label file as a table with the levels scorer, individuals (or not), bodyparts, coords."""
    import pandas

    if not path.is_file():
        raise FileNotFoundError(f"no DeepLabCut file {path}")
    try:
        if path.suffix.lower() in (".h5", ".hdf5"):
            refuse_code_in_pickles(path)
            table: Any = pandas.read_hdf(path)
        else:
            text = parse_file(path, str, language="CSV", kind="DeepLabCut's labels")
            rows = list(islice(csv.reader(io.StringIO(text)), 4))
            heads = next((n for n, row in enumerate(rows) if row and row[0] == "coords"), 0) + 1
            columns = 3 if len(rows[0]) > 2 and not any(rows[0][1:3]) else 1
            table = pandas.read_csv(
                io.StringIO(text), header=list(range(heads)), index_col=list(range(columns))
            )
    except _READ_ERRORS as error:
        raise ValueError(
            f"{path} cannot be read ({reason_of(error)}); expected DeepLabCut's labels"
        ) from error
    levels = list(getattr(table.columns, "names", []))
    if levels not in (list(_LEVELS), [one for one in _LEVELS if one != "individuals"]):
        raise ValueError(
            f"{path} has columns {quoted(levels)}; expected the labels of DeepLabCut, with scorer, "
            "bodyparts, coords"
        )
    if "likelihood" in table.columns.get_level_values("coords"):
        raise ValueError(
            f"{path} has predictions of a video (likelihood); expected labels, "
            "CollectedData_SCORER.h5 or .csv"
        )
    return table


def _joints(tables: Sequence[tuple[Path, DataFrame]], config: dict[str, Any]) -> list[str]:
    """The keypoints in the order of the config, or of the first file."""
    listed = config.get("bodyparts")
    if listed == "MULTI!":
        listed = config.get("multianimalbodyparts")
    names = [str(one) for one in listed] if isinstance(listed, list) else []
    for file, table in tables:
        used = [str(one) for one in dict.fromkeys(table.columns.get_level_values("bodyparts"))]
        if not names:
            names = used
        unique = config.get("uniquebodyparts")
        if isinstance(unique, list) and "individuals" in table.columns.names:
            used = [one for one in used if one not in map(str, unique)]
        if unknown := [one for one in used if one not in names]:
            raise ValueError(
                f"{file} labels {quoted(unknown[0])}; expected one of {quoted(names)} (renamed in "
                "config.yaml?)"
            )
    return names


def _root(file: Path) -> Path:
    """The folder that a label file's paths are relative to: the one of ``labeled-data``."""
    for folder in file.absolute().parents:
        if folder.name == "labeled-data":
            return folder.parent
    return file.absolute().parent


def _image(index: Any, file: Path, root: Path) -> Path:
    """The image of a row: in the project, or next to the label file."""
    parts = index if isinstance(index, tuple) else (str(index),)
    name = "/".join(str(part) for part in parts).replace("\\", "/")
    for candidate in (root / name, file.absolute().parent / PurePosixPath(name).name):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{file} labels {name}, which is not in {root} (images are needed for their sizes)"
    )


def _instances(table: DataFrame, row: int, joints: Sequence[str]) -> list[np.ndarray]:
    """The labeled instances of one row: x, y, v per joint."""
    number = {joint: index for index, joint in enumerate(joints)}
    with_individuals = "individuals" in table.columns.names
    found: dict[str, np.ndarray] = {}
    values = table.iloc[row].to_numpy(np.float64)
    for column, value in zip(table.columns, values, strict=True):
        labels = dict(zip(table.columns.names, column, strict=True))
        joint, coord = str(labels["bodyparts"]), str(labels["coords"])
        if joint not in number or not np.isfinite(value):
            continue
        owner = str(labels["individuals"]) if with_individuals else ""
        keypoints = found.setdefault(owner, np.full((len(joints), 3), np.nan))
        keypoints[number[joint], "xy".index(coord)] = value
    for keypoints in found.values():
        known = np.isfinite(keypoints[:, :2]).all(axis=1)
        keypoints[:, 2] = np.where(known, 2, 0)
        keypoints[~known] = 0
    return [keypoints for keypoints in found.values() if (keypoints[:, 2] > 0).any()]
