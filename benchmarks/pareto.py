"""Plot accuracy against time of whole systems, detector and pose model: one process, one data set.

    python benchmarks/pareto.py --annotations FILE --images DIR --peers DIR --out pareto.svg

AP is keypoint AP end to end, on the detector's own boxes, without flip test. The time is that of an
image (1280x720) with five people, detector included, on ``--threads`` threads; all systems
alternate. The detectors run, and then all systems get the same five boxes. ``--peers`` is a folder
of other projects' files (docs/models.md); without it only the shipped models are measured, in ONNX
Runtime and in OpenVINO with BF16. The last line is JSON: figures, processor, versions, commit.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine

from slimpose.cli.arguments import run
from slimpose.cli.evaluate import POSE_NMS_OKS
from slimpose.cli.verify import open_model
from slimpose.compare.plot import new_pyplot, save_figure
from slimpose.evaluate import detector as detector_evaluation
from slimpose.evaluate import pose as pose_evaluation
from slimpose.evaluate.boxes import ScoredBoxes, boxes_above_score
from slimpose.formats.coco import CocoFile
from slimpose.measure.synthetic_video import GroundTruthDetector, make_video, sample_people
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import PoseEstimator
from slimpose.runtime.models import resolve
from slimpose.runtime.pipeline import Pipeline
from slimpose.runtime.session import Session
from slimpose.runtime.timing import time_interleaved

PEOPLE = 5
OURS = (
    ("hr", "detector"),
    ("hr@openvino:bf16", "detector@openvino:bf16"),
    ("hr-fast", "detector"),
    ("hr-fast@openvino:bf16", "detector@openvino:bf16"),
    ("mnv2", "detector"),
    ("mnv2-int8", "detector"),
    ("mnv2-int8@openvino:bf16", "detector@openvino:bf16"),
)
PEERS = (
    ("tinypose-256x192.onnx", "picodet-s-320-person.onnx"),
    ("tinypose-256x192.onnx", "rtmdet-nano-320-person.onnx"),
    ("movenet-thunder.onnx", "picodet-s-320-person.onnx"),
    ("movenet-lightning.onnx", "picodet-s-320-person.onnx"),
    ("movenet-thunder.onnx", "yolox-nano.onnx"),
)
BOX_THRESHOLD = 0.2
"""Lowest score of a detected person whose pose counts."""
_OFFSETS = [
    (side * distance, rise, align)
    for rise in (0, 9, -9, 18, -18, 27, -27)
    for side, distance, align in ((1, 8, "left"), (-1, 8, "right"), (1, 0, "center"))
    if rise or distance
]
"""Where a name may stand, in points from its marker; the first that is free is taken."""


@dataclass(slots=True, kw_only=True)
class System:
    """A pose model with a detector, and what was measured of them."""

    pose: Session
    detector: Session
    is_ours: bool
    name: str
    ap: float = 0.0
    ms: float = 0.0


def main(
    annotations: Path,
    images: Path,
    out: Path,
    peers: Path | None = None,
    threads: int = 2,
    rounds: int = 40,
) -> None:
    """Measure all systems and draw the plot.

    Args:
        annotations: COCO annotation file.
        images: Folder of its images.
        out: SVG or PNG file for the plot.
        peers: Folder of other projects' models.
        threads: CPU threads.
        rounds: Timed rounds.
    """
    systems = _systems(peers, threads)
    _measure_ap(systems, annotations, images)
    _measure_time(systems, rounds)
    best_first = sorted(systems, key=lambda system: -system.ap)
    print(f"{'AP':>5} {'ms':>6}  pose model and detector; {PEOPLE} people, {threads} threads")
    for system in best_first:
        print(f"{100 * system.ap:5.1f} {system.ms:6.1f}  {system.name}")
    _plot(best_first, out, threads)
    figures = {s.name: {"ap": round(s.ap, 4), "ms": round(s.ms, 2)} for s in best_first}
    print(json.dumps({"systems": figures, "threads": threads, **machine.about()}))


def _systems(peers: Path | None, threads: int) -> list[System]:
    opened: dict[str, Session] = {}

    def session(text: str) -> Session:
        if text not in opened:
            opened[text] = open_model(text, threads)
        return opened[text]

    pairs = [(*pair, True) for pair in OURS]
    if peers is not None:
        pairs += [(str(peers / pose), str(peers / detector), False) for pose, detector in PEERS]
    return [
        System(
            pose=session(pose),
            detector=session(detector),
            is_ours=ours,
            name=_label(pose, detector),
        )
        for pose, detector, ours in pairs
    ]


def _label(pose: str, detector: str) -> str:
    """Names without sizes and suffixes; the backend once."""
    model, _, backend = pose.partition("@")
    names = [
        Path(text).name.split("@")[0].removesuffix(".onnx").split("-256x192")[0].split("-320")[0]
        for text in (model, detector)
    ]
    return " + ".join(names) + (f", {backend}" if backend else "")


def _measure_ap(systems: list[System], annotations: Path, images: Path) -> None:
    boxes: dict[int, dict[int, ScoredBoxes]] = {}
    for system in systems:
        detector = system.detector
        truth = pose_evaluation.read_ground_truth(annotations, system.pose.info).file
        if id(detector) not in boxes:
            boxes[id(detector)] = _boxes(truth, images, detector)
        records = pose_evaluation.pose_records(
            truth,
            images,
            boxes[id(detector)],
            pose_evaluation.crop_predictor(system.pose),
            crop_size=system.pose.info.size,
            nms_oks_threshold=POSE_NMS_OKS,
        )
        system.ap = pose_evaluation.pose_ap(truth, records)["AP"]


def _boxes(truth: CocoFile, images: Path, detector: Session) -> dict[int, ScoredBoxes]:
    find = Detector(detector, score_threshold=detector_evaluation.MIN_SCORE)
    found = detector_evaluation.detected_boxes(truth, images, find)
    return boxes_above_score(found, BOX_THRESHOLD)


def _measure_time(systems: list[System], rounds: int) -> None:
    patches, _ = sample_people(None, Detector(Session(resolve("detector"))))
    video = make_video(patches, PEOPLE, frames=1)
    image = video.frame(0)
    calls: dict[str, Any] = {}
    for system in systems:
        detector = GroundTruthDetector(system.detector)
        detector.boxes_image = video.boxes_image[0]
        pipeline = Pipeline(estimator=PoseEstimator(system.pose), detector=detector)
        calls[system.name] = lambda pipeline=pipeline: pipeline(image)
    times = time_interleaved(calls, rounds=rounds)
    for system in systems:
        system.ms = times[system.name].min_ms


def _plot(systems: list[System], out: Path, threads: int) -> None:
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(figsize=(8.5, 5.2))
    for system in systems:
        marker, fill = ("D", "black") if system.is_ours else ("o", "white")
        axes.plot(system.ms, 100 * system.ap, marker, color="black", markerfacecolor=fill)
    axes.set_xlabel(f"ms per image with {PEOPLE} people, detector included, {threads} threads")
    axes.set_ylabel("keypoint AP, end to end, no flip")
    axes.margins(x=0.35, y=0.15)
    axes.grid(color="0.9")
    _write_names(figure, axes, systems)
    save_figure(figure, out)


def _write_names(figure: Any, axes: Any, systems: list[System]) -> None:
    """Write each name next to its marker, within the axes, off other names and markers."""
    figure.canvas.draw()
    marks = [axes.transData.transform((one.ms, 100 * one.ap)) for one in systems]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in marks]
    area = axes.get_window_extent()
    for system in systems:
        for x, y, align in _OFFSETS:
            text = axes.annotate(
                system.name,
                (system.ms, 100 * system.ap),
                xytext=(x, y),
                textcoords="offset points",
                horizontalalignment=align,
                verticalalignment="center",
                fontsize=8,
            )
            box = text.get_window_extent()
            if (
                area.contains(box.x0, box.y0)
                and area.contains(box.x1, box.y1)
                and not any(
                    box.x0 < right and left < box.x1 and box.y0 < top and low < box.y1
                    for left, low, right, top in taken
                )
            ):
                break
            text.remove()
        else:
            raise RuntimeError(f"no room for the name {system.name}; expected fewer systems")
        taken.append((box.x0, box.y0, box.x1, box.y1))


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
