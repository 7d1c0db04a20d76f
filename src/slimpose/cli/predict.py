"""``slimpose predict``."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import cv2
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import slimpose
from slimpose.arrays import Boxes, Image, PersonScores
from slimpose.draw import draw_poses
from slimpose.formats import boxes as box_files
from slimpose.formats import results
from slimpose.formats.files import write_bytes, write_json
from slimpose.runtime.images import ImageError
from slimpose.runtime.pipeline import Pipeline, check_boxes
from slimpose.runtime.sources import BrokenOffError, Frame, Media, SourceError, expand, open_media

JPEG_QUALITY = 92
_LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp", ".avif", ".jp2"})


def predict(
    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    /,
    out: Path = Path("out"),
    json: Path | None = None,
    model: str = "mnv2",
    detector: str = "detector",
    boxes: Path | None = None,
    threads: int = 0,
    score_threshold: float | None = None,
    draw: bool = True,
) -> int:
    """Find everyone in pictures and videos, draw their poses, and write them as JSON.

    What cannot be read is told at once and again at the end, the rest is done, and the exit code is 2 (1 where it was
    not the input's fault).

    Args:
        sources: Pictures, videos, folders of them, or quoted patterns such as 'photos/**/*.jpg'.
        out: Folder for the drawn pictures and videos (videos become mp4, without sound).
        json: File for the poses: a list with one record a person.
        model: A shipped pose model's name (slimpose models lists them), or an ONNX file.
        detector: The same for the person detector.
        boxes: Boxes to look at instead of the detector's: a COCO annotation file, or a list of results.
        threads: CPU threads for the networks; 0 leaves the choice to ONNX Runtime.
        score_threshold: Least score 0..1 of a person's box; the detector's own by default.
        draw: Whether to draw and write pictures.
    """
    if not sources:
        raise ValueError("nothing to look at; expected pictures, videos or folders: slimpose predict street.jpg")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # a broken file gets our line, not the decoder's ten
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(f"--score-threshold is {score_threshold:g}; expected a number 0..1")
    given = box_files.read(boxes) if boxes is not None else None
    pipeline = slimpose.load(model, None if given else detector, threads, score_threshold)

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    run = _Run(pipeline=pipeline, console=console, given=given, least_box_score=score_threshold or 0.0)
    files = run.expanded(sources)
    _check_targets(out if draw else None, json, [*files, *filter(None, [boxes, Path(model), Path(detector)])])
    outputs = _Outputs(out, files) if draw else None
    names = Counter(file.name for file in files)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=len(files))
        for file in files:
            progress.update(task, description=file.name)
            file_name = file.name if names[file.name] == 1 else file.as_posix()
            run.look_at(file, file_name, outputs, progress, task)

    if json is not None and run.done:
        _write_json(json, run.records)
    _summarise(run, out=out if draw else None, json=json, threads=threads)
    if run.failed:
        console.print(f"slimpose: {len(run.failed)} of {len(run.failed) + run.done_whole} inputs failed:")
        for name in run.failed:
            console.print(f"  {name}")
    return run.exit_code if run.failed else 0


@dataclass(slots=True, kw_only=True)
class _Run:
    """What a call has found and lost so far; times in milliseconds, one entry a frame."""

    pipeline: Pipeline
    console: Console
    given: box_files.GivenBoxes | None
    least_box_score: float
    exit_code: int = 2
    records: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    done: int = 0
    done_whole: int = 0
    pictures: int = 0
    videos: int = 0
    people: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)

    def expanded(self, sources: Iterable[str]) -> list[Path]:
        """The files that the sources name, each once."""
        files: dict[Path, Path] = {}
        for source in sources:
            try:
                for file in expand(source):
                    files.setdefault(file.resolve(), file)
            except SourceError as error:
                self.fail(source, error)
        return list(files.values())

    def look_at(self, file: Path, file_name: str, outputs: _Outputs | None, progress: Progress, task: TaskID) -> None:
        """Do one input; what is wrong with it is told and noted."""
        try:
            started = perf_counter()
            media = open_media(file)
            self.time("read", started)
            if media.is_video and media.frame_count:
                total = progress.tasks[0].total or 0
                progress.update(task, total=total + media.frame_count - 1)
            records = self._frames(media, file_name, outputs, progress, task)
        except (ImageError, SourceError) as error:
            self.fail(str(file), error)
            return
        except (RuntimeError, OSError, OverflowError, MemoryError, cv2.error) as error:
            self.fail(str(file), error)
            self.exit_code = 1
            return
        self.records += records
        self.done += 1
        self.done_whole += str(file) not in self.failed
        self.videos += media.is_video
        self.pictures += not media.is_video

    def _frames(
        self,
        media: Media,
        file_name: str,
        outputs: _Outputs | None,
        progress: Progress,
        task: TaskID,
    ) -> list[dict[str, Any]]:
        """Find, draw and write; return the records once all is written."""
        records: list[dict[str, Any]] = []
        with _drawn(media, outputs) as write:
            for frame in self._sound_frames(media):
                timed = self.pipeline.timed(frame.image, *self._given_boxes(media.path, frame))
                self.times.setdefault("detect", []).append(timed.detect_ms)
                self.times.setdefault("pose", []).append(timed.pose_ms)
                records += results.records(timed.poses, file_name=file_name, frame=frame.index)
                if write is not None:
                    started = perf_counter()
                    write(draw_poses(frame.image, timed.poses))
                    self.time("draw and write", started)
                progress.advance(task)
        self.people += len(records)
        return records

    def _given_boxes(self, file: Path, frame: Frame) -> tuple[()] | tuple[Boxes, PersonScores]:
        """The frame's boxes and scores of the boxes file, checked; nothing without such a file."""
        if self.given is None:
            return ()
        try:
            boxes, scores = self.given.of(file, frame.index)
            check_boxes(boxes, frame.image)
        except ValueError as error:
            raise SourceError(f"{file}: {error}") from error
        counted = scores >= self.least_box_score
        return boxes[counted], scores[counted]

    def _sound_frames(self, media: Media) -> Iterator[Frame]:
        """The frames; a video that breaks off is noted as failed, and what came before is kept."""
        started = perf_counter()
        try:
            for frame in media.frames:
                if frame.index:
                    self.time("read", started)
                yield frame
                started = perf_counter()
        except BrokenOffError as error:
            self.fail(str(media.path), error)

    def time(self, stage: str, started: float) -> None:
        self.times.setdefault(stage, []).append(1e3 * (perf_counter() - started))

    def fail(self, name: str, error: Exception) -> None:
        reason = str(error)
        self.console.print(f"slimpose: {reason if reason.startswith(name) else f'{name}: {reason}'}")
        self.failed.append(name)


class _Outputs:
    """Names for the drawn files: no two the same, none an input's."""

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self.folder = folder
        self._inputs = _identities(inputs)
        self._taken: set[str] = set()

    def claim(self, media: Media) -> Path:
        suffix = ".mp4" if media.is_video else ".jpg" if media.path.suffix.lower() in _LOSSY_SUFFIXES else ".png"
        for number in count(1):
            name = f"{media.path.stem}{f'-{number}' if number > 1 else ''}{suffix}"
            if name.lower() not in self._taken and not _identities([self.folder / name]) & self._inputs:
                self._taken.add(name.lower())
                return self.folder / name
        raise AssertionError("count ended")


def _identities(files: Iterable[Path]) -> set[tuple[int, int]]:
    """What tells files apart, whatever links and spellings lead to them."""
    return {(status.st_dev, status.st_ino) for file in files if file.exists() for status in [file.stat()]}


def _check_targets(out: Path | None, json: Path | None, inputs: list[Path]) -> None:
    """Refuse what could never be written, before hours of work; make the folders."""
    if out is not None and out.exists() and not out.is_dir():
        raise NotADirectoryError(f"--out {out} is a file; expected a folder")
    if json is not None and json.is_dir():
        raise IsADirectoryError(f"--json {json} is a folder; expected a file to write")
    if json is not None and _identities([json]) & _identities(inputs):
        raise ValueError(f"--json {json} is an input of this call; it would be overwritten")
    for folder in (out, json.parent if json is not None else None):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RuntimeError(f"cannot write to {folder}: {error.strerror or error}") from error


@contextmanager
def _drawn(media: Media, outputs: _Outputs | None) -> Iterator[Any]:
    """Give the function that takes each drawn frame, or None; a video gets its name only when it is whole."""
    if outputs is None:
        yield None
    elif not media.is_video:
        yield lambda image: _write_image(outputs.claim(media), image)
    else:
        target = outputs.claim(media)
        writer = _VideoWriter(target, media.fps)
        try:
            yield writer.write
            writer.finish()
        finally:
            writer.discard()


def _write_image(target: Path, image: Image) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if target.suffix == ".jpg" else []
    try:
        encoded, data = cv2.imencode(target.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
        if not encoded:
            raise RuntimeError(f"cannot write {target}: OpenCV did not encode it")
        write_bytes(target, data.tobytes())
    except (ValueError, OSError, cv2.error) as error:
        raise RuntimeError(f"cannot write {target}: {error}") from error


class _VideoWriter:
    """An mp4 under a temporary name until ``finish``."""

    def __init__(self, target: Path, fps: float) -> None:
        self._target, self._fps, self._frames = target, fps, 0
        self._writer: cv2.VideoWriter | None = None
        try:
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".mp4")
        except OSError as error:
            raise RuntimeError(f"cannot write to {target.parent}: {error.strerror or error}") from error
        os.close(handle)
        self._partial = Path(name)

    def write(self, image: Image) -> None:
        if self._writer is None:
            # The codec wants even sides: an odd picture loses its last row or column.
            self._size = (max(2, image.shape[1] // 2 * 2), max(2, image.shape[0] // 2 * 2))
            self._writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
            if not self._writer.isOpened():
                raise RuntimeError(f"cannot write {self._target}: no mp4 of {self._size} pixels can be made")
        width, height = self._size
        if image.shape[:2] != (height, width):
            same = (image.shape[1] // 2 * 2, image.shape[0] // 2 * 2) == self._size
            image = image[:height, :width] if same else cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def finish(self) -> None:
        """Close the file, count its frames (the writer says nothing of a full disk), and name it."""
        assert self._writer is not None
        self._writer.release()
        check = cv2.VideoCapture(str(self._partial), cv2.CAP_FFMPEG)
        written = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) if check.isOpened() else 0
        check.release()
        if written != self._frames:
            raise RuntimeError(
                f"cannot write {self._target}: {written} of {self._frames} frames arrived (is the disk full?)"
            )
        try:
            self._partial.chmod(0o644)
            self._partial.replace(self._target)
        except OSError as error:
            raise RuntimeError(f"cannot write {self._target}: {error.strerror or error}") from error

    def discard(self) -> None:
        """Remove what ``finish`` has not named."""
        if self._writer is not None:
            self._writer.release()
        self._partial.unlink(missing_ok=True)


def _write_json(target: Path, records: list[dict[str, Any]]) -> None:
    try:
        write_json(target, records)
    except (ValueError, OSError) as error:
        raise RuntimeError(f"cannot write {target}: {error}") from error


def _summarise(run: _Run, *, out: Path | None, json: Path | None, threads: int) -> None:
    pipeline = run.pipeline
    kinds = [
        f"{number} {kind}{'s' * (number != 1)}" for number, kind in ((run.pictures, "image"), (run.videos, "video"))
    ]
    seen = " and ".join(kind for kind in kinds if not kind.startswith("0 ")) or "nothing"
    frames = len(run.times.get("pose", []))
    if run.videos:
        seen += f" ({frames} frames)"
    who = f"{run.people} {'person' if run.people == 1 else 'people'}"
    finder = pipeline.detector.session.info.name if pipeline.detector is not None else "given boxes"
    workers = f"{threads or f'automatic (of {os.cpu_count()})'} CPU threads"
    print(f"{seen}, {who}; {finder} + {pipeline.estimator.session.info.name}, {workers}")
    if frames:
        stages = ", ".join(f"{stage} {median(times):.1f}" for stage, times in run.times.items())
        print(f"median ms a frame: {stages}")
    places = [str(place) for place in (out, json if run.done else None) if place is not None]
    if run.done and places:
        print(f"written: {', '.join(places)}")
