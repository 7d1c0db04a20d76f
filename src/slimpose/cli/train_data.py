"""The data of ``slimpose train``: files, what is held out, and the skeleton."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from slimpose.data.hold_out import hold_out
from slimpose.formats import coco, coco_layout
from slimpose.formats.coco_layout import CocoLayout
from slimpose.formats.coco_skeleton import complete_skeleton
from slimpose.formats.skeleton_file import read_skeleton
from slimpose.skeleton import Skeleton

_MAX_FOLDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where the data are.

    Attributes:
        coco_folder: Folder of COCO 2017 in its usual layout, instead of the next four.
        train: COCO annotation file to train on.
        images: Folder of its images.
        val: COCO annotation file to evaluate on during the run; without it images of --train are
            held out.
        val_images: Folder of its images.
        hold_out: Share of the images of --train to hold out where there is no --val.
        folds: Train this many times, each with another part of the images held out, into
            OUT/fold-1, ...; print the AP of each and their mean.
        skeleton: TOML file with parts of the skeleton that the annotation file does not have:
            flip_pairs, limbs, sigmas, upper_body, trunk, colors.
        repeated_labels: Annotation file of the same images by other people, from which the
            keypoints' sigmas are measured.
    """

    coco_folder: Annotated[Path | None, "--coco"] = None
    train: Path | None = None
    images: Path | None = None
    val: Path | None = None
    val_images: Path | None = None
    hold_out: float = 0.2
    folds: int = 0
    skeleton: Path | None = None
    repeated_labels: Path | None = None

    def layout(self) -> CocoLayout:
        """Return the files and folders; without --val those of --train twice.

        Raises:
            ValueError: If some are missing, or given besides the folder of COCO.
        """
        train, images, val, val_images = self.train, self.images, self.val, self.val_images
        options = {"--train": train, "--images": images, "--val": val, "--val-images": val_images}
        given = sorted(option for option, path in options.items() if path is not None)
        if self.coco_folder is not None:
            if given:
                raise ValueError(f"--coco contains all data; leave out {', '.join(given)}")
            if self.folds:
                raise ValueError("--folds divides --train; expected it without --coco")
            return coco_layout.find(self.coco_folder)
        if train is None or images is None or (val is None) != (val_images is None):
            missing = [option for option in options if option not in given]
            if val is None and val_images is None:
                missing = [option for option in missing if not option.startswith("--val")]
            raise ValueError(
                f"{', '.join(missing)} missing; expected --coco FOLDER, or {', '.join(options)} "
                "(without the last two, images of --train are held out)"
            )
        if val is not None and self.folds:
            raise ValueError("--folds holds out images of --train; expected no --val")
        if not 0 < self.hold_out < 1 or self.folds == 1 or not 0 <= self.folds <= _MAX_FOLDS:
            raise ValueError(
                f"--hold-out is {self.hold_out:g}, --folds {self.folds}; expected a share between "
                f"0 and 1, and 2..{_MAX_FOLDS} folds"
            )
        return CocoLayout(
            train=train, train_images=images, val=val or train, val_images=val_images or images
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitData:
    """Annotations to train and to validate on, and the subfolder of their run ("" for none)."""

    train: coco.CocoFile
    val: coco.CocoFile
    subfolder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadData:
    """The annotations of a run, or of one for each fold, and lines to print about them."""

    splits: tuple[SplitData, ...]
    skeleton: Skeleton
    lines: tuple[str, ...]

    @property
    def box_shape(self) -> float:
        """The median of height per width of all boxes of people with keypoints."""
        file = self.splits[0].train
        boxes = [person.box_image for person in file.people if person.is_labeled]
        sizes = np.array([box[2:] - box[:2] for box in boxes], np.float64).reshape(-1, 2)
        return float(np.median(sizes[:, 1] / sizes[:, 0])) if len(sizes) else 1.0


def read_data(options: DataOptions, files: CocoLayout, *, keypoints: bool) -> ReadData:
    """Read the annotations, hold out images if there is no other validation set.

    For keypoints the skeleton is completed from the labels to train on (``coco_skeleton.py``).

    Raises:
        ValueError: If a file is invalid, or its labels do not show what is missing.
    """
    holds_out = options.coco_folder is None and options.val is None
    people = coco.read(files.train, keypoints=keypoints, areas=holds_out)
    if keypoints and not (people.skeleton.sigmas or holds_out):
        # Sigmas are relative to the areas.
        people = coco.read(files.train, keypoints=True)
    if options.coco_folder is not None:
        coco_layout.check_all_images_exist(people, files.train_images)
    lines: list[str] = []
    if keypoints:
        if options.skeleton is not None:
            skeleton = read_skeleton(options.skeleton, base=people.skeleton)
            people = dataclasses.replace(people, skeleton=skeleton)
        repeated = options.repeated_labels
        found = complete_skeleton(
            people, None if repeated is None else coco.read(repeated, keypoints=True, areas=False)
        )
        people = dataclasses.replace(people, skeleton=found.skeleton)
        lines += found.lines if found.skeleton.name != "coco17" else ()
    elif options.skeleton is not None or options.repeated_labels is not None:
        raise ValueError("--skeleton and --repeated-labels are for pose networks, not detectors")
    splits = tuple(_splits(options, files, people, keypoints=keypoints))
    if holds_out:
        held = splits[0].val
        lines.append(
            f"held out {len(held.images)} of {len(people.images)} images ({len(held.people)} of "
            f"{len(people.people)} instances) to measure AP"
            + (f", in each of {options.folds} folds" if options.folds else "")
        )
    return ReadData(splits=splits, skeleton=people.skeleton, lines=tuple(lines))


def _splits(
    options: DataOptions, files: CocoLayout, people: coco.CocoFile, *, keypoints: bool
) -> Iterator[SplitData]:
    if options.coco_folder is not None or options.val is not None:
        val = coco.read(files.val, keypoints=keypoints)
        if keypoints and not val.skeleton.sigmas:
            # AP is measured with the tolerances of the training set.
            val = dataclasses.replace(val, skeleton=_with_sigmas(val.skeleton, people.skeleton))
        yield SplitData(train=people, val=val)
    elif not options.folds:
        train, val = hold_out(people, start=0.0, stop=options.hold_out)
        yield SplitData(train=train, val=val)
    for fold in range(options.folds):
        span = fold / options.folds, (fold + 1) / options.folds
        train, val = hold_out(people, start=span[0], stop=span[1])
        yield SplitData(train=train, val=val, subfolder=f"fold-{fold + 1}")


def _with_sigmas(skeleton: Skeleton, other: Skeleton) -> Skeleton:
    if not skeleton.has_same_joints(other):
        return skeleton  # rejected by the task, with both files' names
    return dataclasses.replace(skeleton, sigmas=other.sigmas, sigma_source=other.sigma_source)
