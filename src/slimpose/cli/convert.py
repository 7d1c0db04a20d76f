"""``slimpose convert``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from rich.progress import Progress

from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_not_replaced, check_output_paths
from slimpose.labels.interchange.kinds import kind_of, read_labels, write_labels

_Written = Literal["coco", "yolo", "sleap", "sleap-analysis", "deeplabcut"]


def convert(
    labels: Path,
    /,
    out: Path,
    to: Annotated[_Written | None, "--to"] = None,
    images: Path | None = None,
    frames: Path | None = None,
    split: str | None = None,
    category: str | None = None,
    overwrite: bool = False,
) -> int:
    """Convert keypoint labels between tools; what a format cannot hold is printed.

    COCO as CVAT, Label Studio, Roboflow, COCO Annotator and slimpose write it; Label Studio's JSON
    (only read); YOLO-pose (data.yaml); SLEAP (.slp, analysis .h5); DeepLabCut (project,
    CollectedData .csv or .h5). All but COCO and Label Studio's JSON need
    pip install 'slimpose[labels]'.

    Args:
        labels: File or folder to read; the tool is recognized.
        out: File (.json, .slp, .h5) or folder (yolo, deeplabcut, with copies of the images) to
            write.
        to: Tool to write for (default: by the name of --out).
        images: Folder of the images of a COCO or Label Studio file (default: where the usual tools
            put them).
        frames: Folder to write the frames to that SLEAP labels in videos.
        split: Of a YOLO data set to read or write: train (default), val or test.
        category: Of a file of COCO, Label Studio or YOLO with several categories: the one to read.
        overwrite: Replace labels that exist.
    """
    kind = to or _kind_by_name(out)
    check_output_paths({"--out": out} if out.suffix else {}, {"--frames": frames}, [labels])
    check_not_replaced({"--out": _labels_of(out, kind, split)}, overwrite=overwrite)
    if images is not None and not images.is_dir():
        raise NotADirectoryError(f"no image folder {images}")
    if split is not None and "yolo" not in (kind, kind_of(labels)):
        raise ValueError(f"--split is {split}, for YOLO data sets; expected one to read or write")
    with Progress(transient=True) as bar:
        task = bar.add_task("images")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        read_split = split if kind_of(labels) == "yolo" else None
        data = read_labels(
            labels,
            images=images,
            frames=frames,
            split=read_split,
            category=category,
            on_progress=show,
        )
        lost = write_labels(data, out, kind, split=split or "train", on_progress=show)
    for note in [*data.notes, *lost]:
        print(f"slimpose: {note}", file=sys.stderr)
    instances = sum(person.is_labeled for person in data.file.people)
    print(
        f"{counted(len(data.file.images), 'image')}, {counted(instances, 'instance')} of "
        f"{counted(len(data.file.skeleton.joints), 'keypoint')}"
    )
    if kind == "coco":
        print(f"images: {data.image_folder}")
    print(f"written: {out}")
    return 0


def _labels_of(out: Path, kind: _Written, split: str | None) -> Path:
    """Return what a conversion replaces: a file, or the folder of a split's labels."""
    folders = {"yolo": Path("labels") / (split or "train"), "deeplabcut": Path("labeled-data")}
    return out / folders.get(kind, "")


def _kind_by_name(out: Path) -> _Written:
    kinds: dict[str, _Written] = {".json": "coco", ".slp": "sleap", ".h5": "sleap-analysis"}
    if out.suffix.lower() not in kinds:
        raise ValueError(
            f"--out is {out}; expected a name that ends in .json, .slp or .h5, or --to yolo or "
            "deeplabcut with a folder"
        )
    return kinds[out.suffix.lower()]
