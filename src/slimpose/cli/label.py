"""``slimpose label``."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rich.progress import Progress

from slimpose.cli.console import plain_console
from slimpose.cli.counted import counted
from slimpose.cli.model_file_options import ModelFileOptions
from slimpose.cli.options import ModelOptions
from slimpose.cli.output_paths import check_not_replaced, check_output_paths
from slimpose.cli.predict_inputs import Failures, Input, expand_all, name_inputs
from slimpose.formats.files import replace_when_done, write_json
from slimpose.labels.cvat import label_constructor
from slimpose.labels.proposals import (
    MIN_LABEL_SCORE,
    Proposal,
    hardest_first,
    propose,
    to_document,
    with_jumps,
)
from slimpose.media.addresses import SourceError
from slimpose.media.image_writer import write_image
from slimpose.media.images import ImageError
from slimpose.media.sources import open_media
from slimpose.media.video_reader import silence_opencv_logs
from slimpose.runtime.pipeline import Pipeline

CVAT_LABELS = "cvat-labels.json"


def label(
    sources: Annotated[tuple[str, ...], "SOURCE"],
    /,
    *,
    models: ModelOptions,
    model_file: ModelFileOptions,
    out: Path = Path("labels.json"),
    limit: int | None = None,
    copy_images: Path | None = None,
    every: int = 10,
    min_score: float = MIN_LABEL_SCORE,
    overwrite: bool = False,
) -> int:
    """Propose labels with a model, for people to correct; the hardest images come first.

    Writes a COCO keypoints file that CVAT (COCO Keypoints 1.0) and FiftyOne import, and next to it
    cvat-labels.json, the skeleton for the Raw tab of a new CVAT task. Hard is an image with low
    scores, wide covariances, poses that differ in the mirrored image, or jumps between frames. The
    corrected file comes back with slimpose train --train FILE --start WEIGHTS.

    Args:
        sources: Images, videos, folders of them, or quoted patterns.
        models: Models and how they run.
        model_file: What the model file does not say itself.
        out: COCO file to write.
        limit: Write so many images only, the hardest.
        copy_images: Folder to copy the written images to, for an upload; needed for videos.
        every: Use every N-th frame of a video.
        min_score: Joints that score less are proposed as absent.
        overwrite: Replace --out if it exists; corrections in it are lost.
    """
    if (limit is not None and limit < 1) or every < 1:
        raise ValueError(f"--limit is {limit}, --every {every}; expected 1 or more")
    if not 0 <= min_score <= 1:
        raise ValueError(f"--min-score is {min_score:g}; expected a number 0..1")
    if out.suffix.lower() != ".json":
        raise ValueError(f"--out is {out}; expected a name that ends in .json")
    silence_opencv_logs()
    failures = Failures(plain_console(stderr=True))
    inputs = name_inputs(expand_all(sources, failures))
    if not inputs:
        return failures.summarize(completed=0)
    cvat = out.with_name(CVAT_LABELS)
    files = {"--out": out, CVAT_LABELS: cvat}
    check_output_paths(files, {"--copy-images": copy_images}, [one.path for one in inputs])
    check_not_replaced({"--out": out}, overwrite=overwrite)
    model_file.remember(models.model)
    found = _Found(models.load(), copy_images, every)
    with Progress(transient=True) as bar:
        task = bar.add_task("images", total=len(inputs))
        for one in inputs:
            found.add(one, failures)
            bar.advance(task)
    if not found.proposals:
        return failures.summarize(completed=0)
    ordered = hardest_first(with_jumps(found.proposals))[:limit]
    skeleton = found.pipeline.estimator.session.info.skeleton
    write_json(out, to_document(ordered, skeleton, min_score=min_score))
    write_json(cvat, label_constructor(skeleton, [one.poses for one, _ in ordered]))
    found.write_images([one.file_name for one, _ in ordered])
    instances = sum(len(one.poses) for one, _ in ordered)
    print(
        f"{counted(len(ordered), 'image')} of {len(found.proposals)}, "
        f"{counted(instances, 'instance')}; hardest: {ordered[0][0].file_name}"
    )
    print(f"written: {out}, {cvat}" + (f", {copy_images}" if copy_images else ""))
    return failures.summarize(completed=len(inputs) - len(failures.names))


@dataclass(slots=True)
class _Found:
    """The proposals so far, and where their images come from."""

    pipeline: Pipeline
    folder: Path | None
    every: int
    proposals: list[Proposal] = field(default_factory=list)
    _files: dict[str, Path] = field(default_factory=dict)

    def add(self, item: Input, failures: Failures) -> None:
        """Propose labels for an image or the frames of a video."""
        try:
            media = open_media(item.path)
            if media.is_video and self.folder is None:
                raise SourceError(f"{item.path}: a video; expected --copy-images for its frames")
            for frame in media.frames:
                if media.is_video and frame.index % self.every:
                    continue
                name = self._name(item, frame.index if media.is_video else None)
                if media.is_video:
                    assert self.folder is not None
                    write_image(self.folder / name, frame.image)
                else:
                    self._files[name] = item.path
                estimator = self.pipeline.estimator
                self.proposals.append(
                    propose(frame.image, self.pipeline, estimator, file_name=name)
                )
        except (ImageError, SourceError, OSError) as error:
            failures.add(str(item.path), error)

    def _name(self, item: Input, frame: int | None) -> str:
        """The name of an image: its own, or of a frame by its place among the used ones."""
        if frame is not None:
            return f"{item.stem}/{frame // self.every:06d}.png"
        if self.folder is not None:
            return f"{item.stem}{item.path.suffix}"
        if "/" in item.source:
            raise SourceError(
                f"{item.path}: another image is named {item.path.name} too; expected "
                "--copy-images, which gives them different names"
            )
        return item.source

    def write_images(self, names: list[str]) -> None:
        """Copy the images that are used, and remove the frames that are not."""
        if self.folder is None:
            return
        used = set(names)
        for name, path in self._files.items():
            target = self.folder / name
            if name in used and path.resolve() != target.resolve():
                with replace_when_done(target) as partial:
                    shutil.copyfile(path, partial)
        for one in self.proposals:
            if one.file_name not in used and one.file_name not in self._files:
                (self.folder / one.file_name).unlink(missing_ok=True)
