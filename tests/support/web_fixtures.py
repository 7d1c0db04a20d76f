"""What the tests of the browser module compare it with: inputs and results of Python, as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.geometry import CanvasFit
from slimpose.media.frame import Frame
from slimpose.poses import Poses, person_scores
from slimpose.runtime.crops import crop_people, fit_canvas
from slimpose.runtime.detector import Detector
from slimpose.runtime.estimator import CropBatch, PoseEstimator
from slimpose.runtime.follower import Follower
from slimpose.runtime.people_limits import ALL_PEOPLE, PeopleLimits
from slimpose.runtime.pipeline import Pipeline
from slimpose.skeleton import COCO17
from slimpose.web.folder import skeleton_entry
from walkers import box, person

SIZE = Size(120, 160)
HEIGHT_PX = 60.0
CROP, CANVAS = Size(64, 48), Size(40, 44)


def write_fixtures(folder: Path) -> None:
    (folder / "pixels.json").write_text(json.dumps([_pixels(*case) for case in _PIXEL_CASES]))
    (folder / "follower.json").write_text(
        json.dumps(
            {
                "skeleton": skeleton_entry(COCO17),
                "scenes": [_record(scene) for scene in SCENES],
            }
        )
    )


# crops and canvases

_PIXEL_CASES: list[tuple[str, Size, list[list[float]]]] = [
    ("enlarged, and over every border", Size(60, 80), [[10, 8, 30, 40], [-9, -7, 20, 30]]),
    ("over the lower right corner", Size(60, 80), [[60.3, 41.7, 95.2, 77.9]]),
    ("shrunk by 1, 2, 3", Size(211, 317), [[20, 9, 90, 140], [3, 2, 200, 205], [1, 1, 300, 210]]),
    ("a canvas of half the size", Size(80, 88), []),
    ("a canvas of whole pixels, 3 by 2", Size(80, 132), []),
    ("wider, and lower than the canvas", Size(30, 100), []),
    ("smaller than the canvas", Size(23, 31), []),
]  # fmt: skip


def _pixels(name: str, size: Size, boxes: list[list[float]]) -> dict[str, Any]:
    rng = np.random.default_rng(size.height * size.width)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    boxes_image = np.array(boxes, np.float32).reshape(-1, 4)
    fits: tuple[CanvasFit, ...] = ("stretch", "letterbox", "letterbox-center")
    return {
        "name": name,
        "image": {"height": size.height, "width": size.width, "rgb": _text(image)},
        "crop_size": {"height": CROP.height, "width": CROP.width},
        "canvas_size": {"height": CANVAS.height, "width": CANVAS.width},
        "boxes": boxes_image.tolist(),
        "crops": [_text(crop) for crop in crop_people(image, boxes_image, CROP)[0]],
        "canvases": {fit: _text(fit_canvas(image, CANVAS, fit)[0]) for fit in fits},
    }


def _text(pixels: np.ndarray) -> str:
    return base64.b64encode(pixels.tobytes()).decode()


# the follower


@dataclass(frozen=True, kw_only=True)
class Scene:
    """People who walk, with what the detector misses; everything else is noise."""

    name: str
    starts: Sequence[tuple[float, float]]
    speeds: Sequence[tuple[float, float]]
    frames: int = 50
    fps: float = 10.0
    hidden: Sequence[tuple[int, int, int]] = ()  # person, first and last frame
    missed: Sequence[tuple[int, int, int]] = ()  # the same, by the detector only
    flicker: tuple[int, int] | None = None  # something that is not a person, first and last frame
    pauses: dict[int, float] = field(default_factory=dict)  # seconds before a frame
    limits: PeopleLimits = ALL_PEOPLE
    detect_every: int = 8
    noise_px: float = 0.8


SCENES = [
    Scene(name="one person", starts=[(30, 60)], speeds=[(14, 0)]),
    Scene(
        name="two cross in other colors",
        starts=[(20, 60), (140, 62)],
        speeds=[(26, 0), (-26, 0)],
    ),
    Scene(name="two cross in one color", starts=[(20, 58), (140, 62)], speeds=[(20, 1), (-20, -1)]),
    Scene(
        name="hidden for a second, and for longer than the buffer",
        starts=[(40, 60), (110, 60)],
        speeds=[(6, 0), (-4, 0)],
        hidden=[(0, 12, 22), (1, 20, 55)],
        frames=80,
    ),
    Scene(
        name="missed by the detector",
        starts=[(40, 60), (110, 60)],
        speeds=[(3, 1), (2, 0)],
        missed=[(0, 5, 99)],
        frames=115,
        detect_every=3,
    ),
    Scene(
        name="someone arrives, something flickers",
        starts=[(-60, 60), (100, 60)],
        speeds=[(28, 0), (1, 0)],
        flicker=(20, 44),
        frames=60,
    ),
    Scene(
        name="time lapse",
        starts=[(30, 60), (120, 60)],
        speeds=[(2, 0), (-1, 0)],
        fps=0.5,
        frames=12,
    ),
    Scene(
        name="gaps",
        starts=[(30, 60), (110, 60)],
        speeds=[(3, 0), (2, 0)],
        pauses={15: 1.0, 30: 9.0},
    ),
    Scene(
        name="the largest two of four",
        starts=[(20, 60), (60, 60), (100, 60), (140, 60)],
        speeds=[(2, 0), (-2, 1), (1, -1), (0, 1)],
        limits=PeopleLimits(max_people=2),
    ),
    Scene(name="very noisy", starts=[(40, 60), (120, 60)], speeds=[(8, 2), (-8, 1)], noise_px=4.0),
]
_COLORS = [
    ((200, 40, 40), (30, 30, 160)),
    ((40, 180, 60), (220, 210, 60)),
    ((120, 60, 180), (60, 60, 60)),
    ((240, 240, 240), (10, 10, 10)),
]


@dataclass(eq=False)
class _Models:
    """A detector and a pose model that know the scene; they record what they return."""

    scene: Scene
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    frame: int = 0
    time_s: float = 0.0
    detected: list[Any] | None = None
    estimated: list[Any] = field(default_factory=list)

    def center(self, number: int) -> np.ndarray:
        return np.add(
            self.scene.starts[number], np.multiply(self.scene.speeds[number], self.time_s)
        )

    def visible(self, absences: Sequence[tuple[int, int, int]] = ()) -> list[int]:
        absent = {
            number
            for number, first, last in (*self.scene.hidden, *absences)
            if first <= self.frame <= last
        }
        return [number for number in range(len(self.scene.starts)) if number not in absent]

    def height_px(self, number: int) -> float:
        return HEIGHT_PX * (1 + 0.1 * number)

    def detect(self, image: Image) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes of the people in the image, a little off."""
        boxes = [
            box(*self.center(number), height_px=self.height_px(number))
            for number in self.visible(self.scene.missed)
        ]
        found = np.array(boxes, np.float32).reshape(-1, 4)
        found = (found + self.rng.normal(0, 1.2, found.shape)).astype(np.float32)
        limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32) - 0.5
        found = np.clip(found, -0.5, limits).astype(np.float32)
        found = found[((found[:, 2:] - found[:, :2]) >= 12).all(axis=1)]
        scores = np.sort(self.rng.uniform(0.5, 0.95, len(found)))[::-1].astype(np.float32)
        self.detected = [
            {"box": one, "score": score}
            for one, score in zip(found.tolist(), scores.tolist(), strict=True)
        ]
        return found, scores

    def estimate(self, batch: CropBatch) -> Poses:
        """Return the pose of the person with the most overlap; faint ones elsewhere."""
        poses = self._poses(batch.boxes_image[0], batch.box_scores[0])
        self.estimated = [
            {
                "box": one.boxes_image[0].tolist(),
                "points": one.points_image.ravel().tolist(),
                "scores": one.scores.ravel().tolist(),
                "covariances": one.covariances_image.ravel().tolist(),
                "score": float(one.person_scores[0]),
            }
            for one in poses
        ]
        return poses

    def _poses(self, boxes: np.ndarray, box_scores: np.ndarray) -> Poses:
        n = len(boxes)
        points, scores = np.zeros((n, 17, 2), np.float32), np.zeros((n, 17), np.float32)
        visible = self.visible()
        truth = np.array(
            [box(*self.center(one), height_px=self.height_px(one)) for one in visible], np.float32
        ).reshape(-1, 4)
        for row, overlaps in enumerate(geometry.box_iou(boxes, truth)):
            best = int(np.argmax(overlaps)) if len(overlaps) else -1
            fit = float(overlaps[best]) if best >= 0 else 0.0
            middle = (
                self.center(visible[best]) if fit > 0.2 else boxes[row].reshape(2, 2).mean(axis=0)
            )
            height = self.height_px(visible[best]) if fit > 0.2 else 20.0
            points[row] = person(*middle, height_px=height)
            scores[row] = np.clip(0.15 + 0.9 * fit + self.rng.normal(0, 0.08, 17), 0.02, 0.98)
        points += self.rng.normal(0, self.scene.noise_px, points.shape)
        spreads = self.rng.uniform(1, 3, (n, 17, 2, 2))
        covariances = (spreads @ spreads.transpose(0, 1, 3, 2)).astype(np.float32)
        return Poses(
            points_image=points,
            scores=scores,
            covariances_image=covariances,
            boxes_image=boxes,
            person_scores=person_scores(scores, box_scores),
            ids=np.full(n, -1, np.int64),
            skeleton=COCO17,
        )

    def rectangles(self) -> list[list[int]]:
        """Return what is in the image: x1, y1, x2, y2 and a color each, later ones in front."""
        found = []
        if self.scene.flicker and self.scene.flicker[0] <= self.frame <= self.scene.flicker[1]:
            found.append([3, 3, 40, 30, *[255 if self.frame % 2 else 20] * 3])
        same = self.scene.name.endswith("one color")
        for number in self.visible():
            x1, y1, x2, y2 = box(*self.center(number), height_px=self.height_px(number)).tolist()
            middle = (y1 + y2) / 2
            for top, bottom, color in zip(
                (y1, middle), (middle, y2), _COLORS[0 if same else number], strict=True
            ):
                corners = np.clip([x1, top, x2, bottom], 0, [SIZE.width, SIZE.height] * 2)
                found.append([*np.round(corners).astype(int).tolist(), *color])
        return found


class _Detector(Detector):
    def __init__(self, models: _Models) -> None:
        self._models = models

    def __call__(
        self, image: Image, *, score_threshold: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        assert score_threshold is None
        return self._models.detect(image)


class _Estimator(PoseEstimator):
    def __init__(self, models: _Models) -> None:
        self._models = models
        self.session: Any = SimpleNamespace(
            info=SimpleNamespace(skeleton=COCO17, size=CROP), backend="recorded"
        )

    def estimate_crops(self, batch: CropBatch) -> list[Poses]:
        return [self._models.estimate(batch)]


def paint(rectangles: list[list[int]]) -> Image:
    image = np.full((*SIZE, 3), 90, np.uint8)
    for x1, y1, x2, y2, *color in rectangles:
        image[y1:y2, x1:x2] = color
    return image


def _record(scene: Scene) -> dict[str, Any]:
    models = _Models(scene)
    pipeline = Pipeline(
        estimator=_Estimator(models), detector=_Detector(models), limits=scene.limits
    )
    follower = Follower(pipeline, detect_every=scene.detect_every)
    frames = []
    for number in range(scene.frames):
        models.frame, models.detected = number, None
        models.time_s += scene.pauses.get(number, 1 / scene.fps)
        rectangles = models.rectangles()
        frame = Frame(image=paint(rectangles), timestamp_s=models.time_s)
        (people,) = follower.step([frame])
        frames.append(
            {
                "time_s": models.time_s,
                "rectangles": rectangles,
                "detected": models.detected,
                "estimated": models.estimated,
                "people": [
                    {
                        "id": int(one.ids[0]),
                        "box": one.boxes_image[0].tolist(),
                        "points": one.points_image.ravel().tolist(),
                    }
                    for one in people
                ],
            }
        )
    return {
        "name": scene.name,
        "width": SIZE.width,
        "height": SIZE.height,
        "options": {
            "detectEvery": scene.detect_every,
            **({"maxPeople": scene.limits.max_people} if scene.limits.max_people else {}),
        },
        "frames": frames,
    }
