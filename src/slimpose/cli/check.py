"""``slimpose check``."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress
from rich.table import Table

import slimpose
from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.output_paths import check_not_replaced, check_output_paths
from slimpose.formats.coco_document import to_document
from slimpose.formats.files import read_json, write_json
from slimpose.labels import page
from slimpose.labels.checks.check import CheckedFile, check_file, check_leaks
from slimpose.labels.checks.findings import ERRORS, MEANINGS, Finding, counts
from slimpose.labels.interchange.kinds import coco_image_folder, kind_of, read_labels
from slimpose.labels.repair import repaired
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.machine import check_threads


def check(
    labels: Path,
    /,
    images: Path | None = None,
    val: Path | None = None,
    val_images: Path | None = None,
    model: str | None = None,
    out: Path = Path("check"),
    fix: Path | None = None,
    allow: int = 0,
    threads: int | None = None,
    overwrite: bool = False,
) -> int:
    """Check labels before training: faults, and labels that are suspicious.

    The exit code is 1 if there are faults, or more suspicious labels than --allow. Faults are
    entries that cannot be read or contradict each other, images that are missing, broken or of
    another size, and images that are in train and val. Suspicious are exchanged sides, joints off
    the body or at unusual distances, duplicates, merged and split instances, boxes that cut joints
    off; with --model also labels that it contradicts.

    Args:
        labels: COCO file, or labels of another tool that slimpose convert reads.
        images: Folder of the images of a COCO file (default: where the usual tools put them).
        val: COCO file to evaluate on, checked too, and compared with the images to train on.
        val_images: Folder of its images.
        model: Pose model of the same keypoints to compare the labels with; best one that was not
            trained on them.
        out: Folder for the page index.html and findings.json.
        fix: COCO file to write, with what is certain corrected: areas, boxes, num_keypoints. No
            keypoint is changed.
        allow: Number of suspicious labels up to which the exit code is 0.
        threads: CPU threads of the model.
        overwrite: Replace --fix if it exists.
    """
    if allow < 0:
        raise ValueError(f"--allow is {allow}; expected 0 or more")
    check_threads(threads)
    check_output_paths({"--fix": fix}, {"--out": out}, [labels, val])
    if fix is not None:
        check_not_replaced({"--fix": fix}, overwrite=overwrite)
    estimator = None if model is None else slimpose.load(model, None, threads=threads).estimator
    files = [_check(labels, images, estimator, is_val=False)]
    if val is not None:
        files.append(_check(val, val_images, estimator, is_val=True))
    elif val_images is not None:
        raise ValueError(f"--val-images is {val_images}; expected --val with it")
    findings = [finding for one in files for finding in one.findings]
    if len(files) == 2:
        findings += check_leaks(*files)
    written = page.write(out, files, findings, model=model)
    _print(findings)
    print(f"written: {written}")
    if fix is not None:
        _write_fixed(files[0], fix)
    faults = sum(one.kind in ERRORS for one in findings)
    return int(faults > 0 or len(findings) - faults > allow)


def _check(
    labels: Path, images: Path | None, estimator: PoseEstimator | None, *, is_val: bool
) -> CheckedFile:
    """Read a file as it is, COCO's with all its faults, and check it."""
    if kind_of(labels) == "coco":
        document = read_json(labels, kind="annotation file")
        folder = images or coco_image_folder(labels, document)
    else:
        data = read_labels(labels, images=images)
        document, folder = to_document(data.file), data.image_folder
    if not folder.is_dir():
        raise NotADirectoryError(f"no image folder {folder}")
    with Progress(transient=True) as bar:
        tasks = {name: bar.add_task(name, visible=False) for name in ("images", "model")}
        return check_file(
            document,
            labels,
            folder,
            estimator=estimator,
            is_val=is_val,
            on_progress=lambda what, done, total: bar.update(
                tasks[what], completed=done, total=total, visible=True
            ),
        )


def _print(findings: list[Finding]) -> None:
    numbers = counts(findings)
    table = Table("found", "", "meaning")
    for kind, number in numbers.items():
        if number:
            table.add_row(kind, str(number), MEANINGS[kind])
    if any(numbers.values()):
        plain_console(stderr=False).print(table)
    else:
        print("nothing found")


def _write_fixed(checked: CheckedFile, path: Path) -> None:
    document, lines = repaired(checked.document, extend=checked.extended_boxes())
    write_json(path, document)
    print(f"written: {path} ({'; '.join(lines) or counted(0, 'correction')})")
