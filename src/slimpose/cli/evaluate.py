"""``slimpose evaluate``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from slimpose.arrays import Crops
from slimpose.cli.output_paths import check_output_paths
from slimpose.evaluate import detector as detector_evaluation
from slimpose.evaluate import pose as pose_evaluation
from slimpose.evaluate.boxes import ImageBoxes, boxes_in_file, ground_truth_boxes
from slimpose.evaluate.coco_ap import require_pycocotools
from slimpose.evaluate.error_analysis import analysis, findings, page
from slimpose.formats import coco
from slimpose.formats.files import read_json, write_json
from slimpose.runtime import models
from slimpose.runtime.auto_backend import open_session
from slimpose.runtime.session import Model, Session

BOX_FLOOR = 0.05
"""Boxes scored lower are not looked at by default: their poses could add a tenth of an AP, at ten times the work."""
POSE_NMS_OKS = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How models are opened; see ``open_session``."""

    threads: int
    backend: str
    precision: str

    def __call__(self, model: str) -> Model:
        """Return a model by a shipped name, from an ONNX file, or from training weights, which PyTorch runs.

        Raises:
            ValueError: If weights were to be run by another backend or in another precision than
                PyTorch's FP32.
        """
        if not model.endswith(".safetensors"):
            return open_session(
                models.resolve(model),
                threads=self.threads,
                backend=self.backend,
                precision=self.precision,
            )
        if (self.backend, self.precision) not in (("onnxruntime", ""), ("onnxruntime", "fp32")):
            raise ValueError(
                f"{model} holds weights, which PyTorch runs in FP32; --backend and --precision are for ONNX files"
            )
        import torch

        from slimpose.export.torch_model import TorchModel
        from slimpose.network.weights import load_network

        if self.threads:
            torch.set_num_threads(self.threads)
        return TorchModel(load_network(Path(model)), name=model)


@dataclass(slots=True)
class Stopwatch:
    """Adds up the time that a function's calls take."""

    seconds: float = 0.0
    calls: int = 0

    def timed(self, function: Callable[[Crops], Any]) -> Callable[[Crops], Any]:
        """Return the function, timed."""

        def call(batch: Crops) -> Any:
            started = time.perf_counter()
            result = function(batch)
            self.seconds += time.perf_counter() - started
            self.calls += 1
            return result

        return call


def evaluate(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    /,
    annotations: Path,
    images: Path,
    boxes: str = "gt",
    box_threshold: float | None = None,
    flip: bool = False,
    flip_shift: bool = False,
    decoding: pose_evaluation.Decoding = "dark",
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    results: Path | None = None,
    analyze: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    detector: str = models.DEFAULT_DETECTOR,
    threads: int = 0,
    backend: str = "onnxruntime",
    precision: str = "",
) -> int:
    """Measure a model's accuracy: keypoint AP of a pose net, person-box AP of a detector.

    Args:
        model: A shipped name, an ONNX file, or a run's best.safetensors (needs PyTorch).
        annotations: COCO annotation file with the truth; or a list of images without, such as
            image_info_test-dev2017.json, with --boxes and --results: nothing is measured then.
        images: Folder of its images.
        boxes: gt for the file's own boxes, detector for those of --detector, or a COCO box results
            file.
        box_threshold: Leave out boxes of a file or a detector that score no more: 0.05 by default.
            Of a detector that is measured itself: the score from which people found and false boxes
            are counted, its own by default.
        flip: Average the heatmaps with those of the mirrored crops (twice the work).
        flip_shift: With --flip, move the mirrored maps one cell to the right first, as the
            published protocol does for maps in the biased pixel convention. Maps here, those of
            imported checkpoints included, need none.
        decoding: dark, or quarter: the maximum's cell and a quarter cell towards its neighbor, as
            before DARK.
        json_file: Where to write the figures.
        results: Where to write the poses (a detector's boxes) as COCO results, ready for COCO's
            test server.
        analyze: Where to write a page about a pose net's errors (index.html) and their figures
            (analysis.json): by joint, size, crowding and occlusion, of which kind, and the worst
            people in pictures.
        detector: The detector of --boxes detector.
        threads: CPU threads; 0 leaves the backend's choice.
        backend: What computes the networks: onnxruntime, openvino, tensorrt or cuda; auto is the
            fastest here, by a short trial that is remembered.
        precision: What it computes in: bf16 or fp16 where slimpose doctor lists it, any lets
            --backend auto choose; by default the files' own.
    """
    require_pycocotools()
    if threads < 0:
        raise ValueError(f"--threads is {threads}; expected 0 (the runtime's choice) or more")
    if box_threshold is not None and not 0 <= box_threshold <= 1:
        raise ValueError(f"--box-threshold is {box_threshold:g}; expected a number 0..1")
    if flip_shift and not flip:
        raise ValueError("--flip-shift says how --flip averages; expected both")
    check_output_paths(
        {"--json": json_file, "--results": results},
        {"--analyze": analyze},
        [annotations, *map(Path, (model, boxes, detector))],
    )
    opened = ModelOptions(threads=threads, backend=backend, precision=precision)
    loaded, given = opened(model), None
    if loaded.info.task == "detect":
        about_poses = {
            "--boxes": boxes != "gt",
            "--detector": detector != models.DEFAULT_DETECTOR,
            "--flip": flip,
            "--flip-shift": flip_shift,
            "--decoding": decoding != "dark",
            "--analyze": analyze is not None,
        }
        if any(about_poses.values()):
            useless = ", ".join(option for option, is_given in about_poses.items() if is_given)
            raise ValueError(
                f"{useless}: about poses; {loaded.info.name} is a person detector, expected a pose net"
            )
        figures, records = _evaluate_detector(loaded, annotations, images, box_threshold)
    else:
        if boxes == "gt" and box_threshold is not None:
            raise ValueError(
                "--box-threshold leaves out boxes that were found; --boxes is gt, expected FILE or detector"
            )
        if boxes != "detector" and detector != models.DEFAULT_DETECTOR:
            raise ValueError(
                f"--detector is the one of --boxes detector; --boxes is {boxes}, expected detector"
            )
        if Path(boxes).suffix in (".onnx", ".safetensors"):
            raise ValueError(
                f"--boxes is {boxes}, a model; expected --boxes detector --detector {boxes}"
            )
        given = _truth(annotations, loaded, boxes=boxes, results=results)
        if analyze is not None and not given.is_labeled:
            raise ValueError(f"--analyze compares with annotations; {annotations} has none")
        figures, records = _evaluate_pose(
            loaded,
            given,
            images,
            boxes=boxes,
            box_threshold=BOX_FLOOR if box_threshold is None else box_threshold,
            predict=_predictor(loaded, flip=flip, flip_shift=flip_shift, decoding=decoding),
            detector=detector,
            opened=opened,
        )
        figures |= {"flip": flip, "flip_shift": flip_shift, "decoding": decoding}
    figures |= {"annotations": annotations.name, "threads": threads}
    if isinstance(loaded, Session):
        figures |= {"backend": loaded.backend, "precision": loaded.precision}
    if results:
        write_json(results, records)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console().print(table)
    if json_file:
        write_json(json_file, figures)
    if analyze is not None and given is not None:
        _analyze(analyze, given.file, records, figures, images)
    return 0


def _analyze(
    folder: Path,
    truth: coco.CocoFile,
    records: list[dict[str, Any]],
    figures: dict[str, Any],
    images: Path,
) -> None:
    taken_apart = analysis.analyze(truth, records)
    boxes = {"gt": "ground-truth boxes", "detector": "the detector's boxes"}.get(
        figures["boxes"], figures["boxes"]
    )
    flip = "flip test" if figures["flip"] else "no flip test"
    subject = page.PageHeader(
        model=figures["model"], protocol=f"{boxes}, {flip}, {figures['decoding']} decoding"
    )
    page_file = page.write(folder, taken_apart, subject, truth, images)
    print(findings.short_table(taken_apart), *findings.findings(taken_apart), page_file, sep="\n")


def _evaluate_detector(
    loaded: Model, annotations: Path, images: Path, threshold: float | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    truth = coco.read(annotations, keypoints=False)
    truth.check_images(images)
    threshold = loaded.info.score_threshold if threshold is None else threshold
    watch = Stopwatch()
    with Progress(transient=True) as bar:
        task = bar.add_task("images")
        found = detector_evaluation.detected_boxes(
            truth,
            images,
            watch.timed(detector_evaluation.detect_images(loaded)),
            canvas=loaded.info.size,
            nms_iou_threshold=loaded.info.nms_iou_threshold,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    figures: dict[str, Any] = {**detector_evaluation.box_ap(truth, found)}
    figures |= detector_evaluation.recall_and_false_positives(truth, found, threshold=threshold)
    people = sum(not person.is_crowd for person in truth.people)
    figures |= {
        "score_threshold": threshold,
        "images": len(truth.images),
        "people": people,
        "model": loaded.info.name,
        "ms_per_image": 1e3 * watch.seconds / max(1, watch.calls),
    }
    return figures, detector_evaluation.box_records(truth, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """The annotations, and whether there are any: a list of images may have none."""

    file: coco.CocoFile
    is_labeled: bool


def _truth(annotations: Path, loaded: Model, *, boxes: str, results: Path | None) -> GroundTruth:
    document = read_json(annotations, kind="annotation file")
    if isinstance(document, dict) and "annotations" not in document:
        if boxes == "gt" or results is None:
            raise ValueError(
                f"{annotations} has no annotations to compare with; expected --boxes FILE (or detector) and --results "
                "FILE to write poses for COCO's test server, or a file with annotations"
            )
        images = coco.parse_images(document, annotations)
        return GroundTruth(
            file=dataclasses.replace(images, skeleton=loaded.info.skeleton), is_labeled=False
        )
    truth = coco.parse(document, annotations, keypoints=True)
    if truth.skeleton.joints != loaded.info.skeleton.joints:
        raise ValueError(
            f"{annotations} has the joints {', '.join(truth.skeleton.joints)}; {loaded.info.name} gives "
            f"{', '.join(loaded.info.skeleton.joints)}: expected the same, in the same order"
        )
    return GroundTruth(file=truth, is_labeled=True)


def _evaluate_pose(
    loaded: Model,
    given: GroundTruth,
    images: Path,
    *,
    boxes: str,
    box_threshold: float,
    predict: pose_evaluation.PredictCrops,
    detector: str,
    opened: ModelOptions,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    truth, watch = given.file, Stopwatch()
    looked_at = _boxes(boxes, truth, images, detector=detector, opened=opened)
    if boxes != "gt":
        sure = {image_id: found.above_score(box_threshold) for image_id, found in looked_at.items()}
        looked_at = {image_id: found for image_id, found in sure.items() if len(found.scores)}
    people = sum(len(found.scores) for found in looked_at.values())
    if boxes == "gt" and not people:
        raise ValueError(
            f"{truth.path}: nobody has a labeled joint; expected people to look at, or --boxes detector"
        )
    truth.check_images(images, looked_at)
    with Progress(transient=True) as bar:
        task = bar.add_task("people", total=people)
        records = pose_evaluation.pose_records(
            truth,
            images,
            looked_at,
            watch.timed(predict),
            crop_size=loaded.info.size,
            nms_oks=None if boxes == "gt" else POSE_NMS_OKS,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    figures: dict[str, Any] = (
        {**pose_evaluation.pose_ap(truth, records)} if given.is_labeled else {}
    )
    figures |= {
        "boxes": boxes if boxes in ("gt", "detector") else Path(boxes).name,
        "images": len(truth.images),
        "people": people,
        "model": loaded.info.name,
        "ms_per_person": 1e3 * watch.seconds / max(1, people),
    }
    return figures, records


def _predictor(
    model: Model, *, flip: bool, flip_shift: bool, decoding: pose_evaluation.Decoding
) -> pose_evaluation.PredictCrops:
    if not flip and decoding == "dark":
        return pose_evaluation.predict_points(model)
    if "heatmaps" not in model.outputs:
        what = "--flip averages" if flip else f"--decoding {decoding} reads"
        raise ValueError(
            f"{model.info.name} gives no heatmaps, which {what}; export it with --heatmaps"
        )
    return pose_evaluation.predict_from_heatmaps(
        lambda batch: model.run(batch, ("heatmaps",))[0],
        model.info.skeleton,
        stride=model.info.stride,
        flip=flip,
        flip_shift=flip_shift,
        decoding=decoding,
    )


def _boxes(
    boxes: str, truth: coco.CocoFile, images: Path, *, detector: str, opened: ModelOptions
) -> dict[int, ImageBoxes]:
    if boxes == "gt":
        return ground_truth_boxes(truth)
    if boxes == "detector":
        truth.check_images(images)
        finder = opened(detector)
        if finder.info.task != "detect":
            raise ValueError(
                f"{detector} is a {finder.info.task} model; expected a person detector"
            )
        return detector_evaluation.detected_boxes(
            truth,
            images,
            detector_evaluation.detect_images(finder),
            canvas=finder.info.size,
            nms_iou_threshold=finder.info.nms_iou_threshold,
        )
    return boxes_in_file(truth, Path(boxes))
