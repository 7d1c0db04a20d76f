"""``slimpose evaluate``: accuracy of a model on a COCO file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from slimpose.cli.doctor import wide_console
from slimpose.cli.model_file_options import DetectorFileOptions, ModelFileOptions
from slimpose.cli.options import RuntimeOptions
from slimpose.cli.output_paths import check_output_paths
from slimpose.evaluate import detector as detector_evaluation
from slimpose.evaluate import pose as pose_evaluation
from slimpose.evaluate.boxes import (
    ScoredBoxes,
    boxes_above_score,
    boxes_from_file,
    ground_truth_boxes,
)
from slimpose.evaluate.coco_ap import require_pycocotools
from slimpose.evaluate.error_analysis import analysis, findings, page
from slimpose.formats import coco
from slimpose.formats.files import write_json
from slimpose.messages import printable
from slimpose.runtime import models
from slimpose.runtime.auto_backend import open_session
from slimpose.runtime.one_stage import OneStageEstimator
from slimpose.runtime.session import Model, Session
from slimpose.runtime.tiles import TiledDetector, Tiles, new_detector
from slimpose.runtime.timing import Durations

POSE_NMS_OKS = 0.9

Figures = dict[str, Any]
Records = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseOptions:
    """Options for pose models; a detector takes none of them.

    Attributes:
        boxes: Person boxes: gt for those of the annotation file, detector for those of --detector,
            or a COCO box results file.
        detector: The person detector for --boxes detector.
        flip: Average the heatmaps with those of the mirrored crops (twice the work).
        flip_shift: With --flip, move the mirrored heatmaps one cell to the right first, as the
            published protocol does for heatmaps in the biased pixel convention. The models of this
            project, imported checkpoints included, do not need it.
        decoding: dark, or quarter for the method before DARK: the maximum's cell and a quarter cell
            to the higher neighbor.
        analyze: Write an error analysis into this folder: a page (index.html) and its figures
            (analysis.json) by joint, size, crowding and occlusion, by kind of error, and images of
            the worst people.

    Raises:
        ValueError: If options contradict each other.
    """

    boxes: str = "gt"
    detector: str = models.DEFAULT_DETECTOR
    flip: bool = False
    flip_shift: bool = False
    decoding: pose_evaluation.Decoding = "dark"
    analyze: Path | None = None

    def __post_init__(self) -> None:
        if self.flip_shift and not self.flip:
            raise ValueError("--flip-shift is a part of --flip; expected both")

    def given(self) -> list[str]:
        """Return the options that are not at their defaults."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]

    def check_boxes(self, box_threshold: float | None) -> None:
        """Check that the options about boxes fit together.

        Raises:
            ValueError: If they do not.
        """
        if self.boxes == "gt" and box_threshold is not None:
            raise ValueError(
                "--box-threshold is for detected boxes; --boxes is gt, expected FILE or detector"
            )
        if self.boxes != "detector" and self.detector != models.DEFAULT_DETECTOR:
            raise ValueError(
                f"--detector is for --boxes detector; --boxes is {self.boxes}, expected detector"
            )
        if Path(self.boxes).suffix in (".onnx", ".safetensors"):
            raise ValueError(
                f"--boxes is {self.boxes}, a model; "
                f"expected --boxes detector --detector {self.boxes}"
            )


def evaluate(
    model: str,
    /,
    annotations: Path,
    images: Path,
    pose: PoseOptions,
    runtime: RuntimeOptions,
    model_file: ModelFileOptions,
    detector_file: DetectorFileOptions,
    tiles: Tiles = "off",
    box_threshold: float | None = None,
    json_file: Annotated[Path | None, "--json"] = None,
    results: Path | None = None,
) -> int:
    """Measure a model's accuracy: keypoint AP of a pose model, person-box AP of a detector.

    Args:
        model: A shipped model's name, an ONNX file, or a run's best.safetensors (needs PyTorch).
        annotations: COCO annotation file with the ground truth; or a list of images without
            annotations, such as image_info_test-dev2017.json, with --boxes and --results, to
            predict without measuring.
        images: Folder of its images.
        pose: Options for pose models.
        runtime: How models are run.
        model_file: What the model file does not say itself.
        detector_file: The same for the file of --detector.
        tiles: For a detector, or a pose model with --boxes detector: run the detector also on
            enlarged tiles of each image, around whatever may be a small person.
        box_threshold: For a pose model: ignore boxes of a file or a detector that do not score more
            than this (default: 0.05). For a detector: score threshold for the recall and the false
            positives (default: its own).
        json_file: File for the figures.
        results: File for the poses (or a detector's boxes) as COCO results, ready for COCO's test
            server.
    """
    require_pycocotools()
    if box_threshold is not None and not 0 <= box_threshold <= 1:
        raise ValueError(f"--box-threshold is {box_threshold:g}; expected a number 0..1")
    check_output_paths(
        {"--json": json_file, "--results": results},
        {"--analyze": pose.analyze},
        [annotations, *map(Path, (model, pose.boxes, pose.detector))],
    )
    model_file.remember(model)
    detector_file.remember(pose.detector, is_used=pose.boxes == "detector")
    loaded = open_model(model, runtime)
    if tiles != "off" and loaded.info.task != "detect" and pose.boxes != "detector":
        raise ValueError(
            f"--tiles are for a person detector; {loaded.info.name} is a {loaded.info.task} model "
            f"and --boxes is {pose.boxes}; expected --boxes detector"
        )
    truth = None
    if loaded.info.task == "detect":
        if pose.given():
            raise ValueError(
                f"{', '.join(pose.given())}: only for pose models; {loaded.info.name} is a person "
                "detector"
            )
        figures, records = evaluate_detector(loaded, annotations, images, box_threshold, tiles)
    elif loaded.info.task == "one-stage":
        truth = _ground_truth(annotations, loaded, pose, results)
        figures, records = evaluate_one_stage(loaded, truth, images, pose, box_threshold)
    else:
        pose.check_boxes(box_threshold)
        predict = pose_evaluation.crop_predictor(
            loaded, flip=pose.flip, flip_shift=pose.flip_shift, decoding=pose.decoding
        )
        truth = _ground_truth(annotations, loaded, pose, results)
        boxes = _boxes(truth.file, images, pose, runtime, box_threshold, tiles)
        figures, records = evaluate_pose(loaded, truth, images, boxes, predict, pose)
    figures |= {"annotations": annotations.name, "threads": runtime.threads}
    figures |= {"tiles": tiles} if tiles != "off" else {}
    if isinstance(loaded, Session):
        figures |= {"backend": loaded.backend, "precision": loaded.precision}
    if results:
        write_json(results, records)
    if json_file:
        write_json(json_file, figures)
    summary: list[str] = []
    if pose.analyze is not None and truth is not None:
        summary = _analyze(pose.analyze, truth.file, records, figures, images)
    _print_figures(figures)
    for line in summary:
        print(line)
    return 0


def open_model(model: str, runtime: RuntimeOptions) -> Model:
    """Open a shipped model, an ONNX file, or training weights, which PyTorch runs.

    Raises:
        ValueError: If weights are to be run by another backend or in another precision than
            PyTorch's FP32.
    """
    if not model.endswith(".safetensors"):
        return open_session(models.resolve(model), **dataclasses.asdict(runtime))
    if runtime.backend != "onnxruntime" or runtime.precision not in (None, "fp32"):
        raise ValueError(
            f"{model} holds weights, which PyTorch runs in FP32; --backend and --precision are "
            "for ONNX files"
        )
    import torch

    from slimpose.export.torch_model import TorchModel
    from slimpose.network.weights import load_network

    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    return TorchModel(load_network(Path(model)), name=model)


def evaluate_detector(
    loaded: Model, annotations: Path, images: Path, threshold: float | None, tiles: Tiles
) -> tuple[Figures, Records]:
    """Return a detector's figures and its boxes as COCO result records."""
    truth = coco.read(annotations, keypoints=False)
    truth.check_images(images)
    durations = Durations()
    detector = new_detector(loaded, score_threshold=detector_evaluation.MIN_SCORE, tiles=tiles)
    with Progress(transient=True) as bar:
        task = bar.add_task("images")
        found = detector_evaluation.detected_boxes(
            truth,
            images,
            durations.timed()(detector),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    threshold = loaded.info.score_threshold if threshold is None else threshold
    figures: Figures = {
        **detector_evaluation.detector_figures(truth, found, threshold=threshold),
        **_area_note(truth),
        "model": loaded.info.name,
        "ms_per_image": durations.mean_ms,
    }
    if isinstance(detector, TiledDetector):
        figures["detector_runs_per_image"] = detector.runs / max(1, detector.images)
    return figures, detector_evaluation.box_records(truth, found)


def evaluate_one_stage(
    loaded: Model,
    truth: pose_evaluation.GroundTruth,
    images: Path,
    options: PoseOptions,
    threshold: float | None,
) -> tuple[Figures, Records]:
    """Return the figures of a model that finds people itself, and its poses as COCO records."""
    if unused := [option for option in options.given() if option != "--analyze"]:
        raise ValueError(
            f"{', '.join(unused)}: only for pose models of crops; {loaded.info.name} finds people "
            "in whole images"
        )
    truth.file.check_images(images)
    score = pose_evaluation.MIN_BOX_SCORE if threshold is None else threshold
    estimator = OneStageEstimator(loaded, score_threshold=score)
    durations = Durations()
    records = pose_evaluation.image_records(truth.file, images, durations.timed()(estimator))
    figures: Figures = {
        **(pose_evaluation.pose_ap(truth.file, records) if truth.is_labeled else {}),
        **_area_note(truth.file),
        "boxes": "its own",
        "images": len(truth.file.images),
        "people": len(records),
        "model": loaded.info.name,
        "ms_per_image": durations.mean_ms,
        "flip": False,
        "decoding": "its own",
        "sigmas": truth.file.skeleton.sigma_source or "given",
    }
    return figures, records


def evaluate_pose(
    loaded: Model,
    truth: pose_evaluation.GroundTruth,
    images: Path,
    boxes: dict[int, ScoredBoxes],
    predict: pose_evaluation.PredictCrops,
    options: PoseOptions,
) -> tuple[Figures, Records]:
    """Return a pose model's figures and its poses as COCO result records."""
    durations = Durations()
    people = sum(len(found.scores) for found in boxes.values())
    truth.file.check_images(images, boxes)
    with Progress(transient=True) as bar:
        task = bar.add_task("people", total=people)
        records = pose_evaluation.pose_records(
            truth.file,
            images,
            boxes,
            durations.timed()(predict),
            crop_size=loaded.info.size,
            nms_oks_threshold=None if options.boxes == "gt" else POSE_NMS_OKS,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    accuracy = pose_evaluation.pose_ap(truth.file, records) if truth.is_labeled else {}
    figures: Figures = {
        **accuracy,
        **_area_note(truth.file),
        "boxes": options.boxes if options.boxes in ("gt", "detector") else Path(options.boxes).name,
        "images": len(truth.file.images),
        "people": people,
        "model": loaded.info.name,
        "ms_per_person": durations.total_ms / max(1, people),
        "flip": options.flip,
        "flip_shift": options.flip_shift,
        "decoding": options.decoding,
        "sigmas": truth.file.skeleton.sigma_source or "given",
    }
    return figures, records


def _area_note(truth: coco.CocoFile) -> Figures:
    """Return how many people were measured with the areas of their boxes, if some were."""
    count = truth.people_without_area
    return {"people_without_area": count} if count else {}


def _ground_truth(
    annotations: Path, loaded: Model, options: PoseOptions, results: Path | None
) -> pose_evaluation.GroundTruth:
    truth = pose_evaluation.read_ground_truth(annotations, loaded.info)
    if not truth.is_labeled and (options.boxes == "gt" or results is None):
        raise ValueError(
            f"{annotations} has no annotations to compare with; expected --boxes FILE (or "
            "detector) and --results FILE to write poses for COCO's test server, or a file with "
            "annotations"
        )
    if not truth.is_labeled and options.analyze is not None:
        raise ValueError(f"--analyze compares with annotations; {annotations} has none")
    return truth


def _boxes(
    truth: coco.CocoFile,
    images: Path,
    options: PoseOptions,
    runtime: RuntimeOptions,
    threshold: float | None,
    tiles: Tiles,
) -> dict[int, ScoredBoxes]:
    if options.boxes == "gt":
        boxes = ground_truth_boxes(truth)
        if not boxes:
            raise ValueError(
                f"{truth.path}: no person has a labeled joint; expected people to evaluate, or "
                "--boxes detector"
            )
        return boxes
    if options.boxes == "detector":
        truth.check_images(images)
        models.check_detector_of(truth.skeleton, options.detector)
        detector = open_model(options.detector, runtime)
        if detector.info.task != "detect":
            raise ValueError(
                f"{options.detector} is a {detector.info.task} model; expected a person detector"
            )
        find = new_detector(detector, score_threshold=detector_evaluation.MIN_SCORE, tiles=tiles)
        boxes = detector_evaluation.detected_boxes(truth, images, find)
    else:
        boxes = boxes_from_file(truth, Path(options.boxes))
    return boxes_above_score(
        boxes, pose_evaluation.MIN_BOX_SCORE if threshold is None else threshold
    )


def _print_figures(figures: Figures) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, Text(printable(_shown(value))))
    wide_console().print(table)


def _shown(value: object) -> str:
    """Return a figure for a person; -1 is COCO's mark of an AP without anything to measure."""
    if value is None:
        return "automatic"
    if value == -1:
        return "nothing to measure"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _analyze(
    folder: Path, truth: coco.CocoFile, records: Records, figures: Figures, images: Path
) -> list[str]:
    """Write the error analysis into a folder; return the lines of its summary."""
    errors = analysis.analyze(truth, records)
    boxes = {"gt": "ground-truth boxes", "detector": "the detector's boxes"}.get(
        figures["boxes"], figures["boxes"]
    )
    flip = "flip test" if figures["flip"] else "no flip test"
    protocol = f"{boxes}, {flip}, {figures['decoding']} decoding"
    page_file = page.write(folder, errors, truth, images, model=figures["model"], protocol=protocol)
    return [findings.short_table(errors), *findings.findings(errors), str(page_file)]
