"""Films with known truth: real people, cut out of labeled pictures, moved along known paths over real backgrounds.

A film is a pure function of its seed. What is real: the people's looks, the backgrounds, the labels
of the joints. What is not: people glide (with a small bob) instead of moving their limbs, so a
"moving wrist" is the wrist of a person who swings from side to side as a whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from slimpose.media.images import read_image
from slimpose.skeleton import COCO17

WIDTH, HEIGHT = 640, 480
_NOISE = 3.0  # gray levels of sensor noise
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cutout:
    """A person: RGB, how much of each pixel is theirs (0..1), and the joints (17, 3: x, y, labeled) in its pixels."""

    rgb: np.ndarray
    alpha: np.ndarray
    joints: np.ndarray
    box: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path2D:
    """Where an actor's feet are and how tall they are: ``at`` the times (seconds), straight lines in between.

    Attributes:
        times_s: Ascending.
        x: Of the middle of the feet, pixels.
        y: The same.
        swing_px: Amplitude of a swing from side to side.
        swing_hz: And its frequency.
        bob: Up and down, as a share of the height, while walking.
    """

    times_s: tuple[float, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    swing_px: float = 0.0
    swing_hz: float = 0.0
    bob: float = 0.012

    def at(self, time_s: float) -> tuple[float, float, float]:
        """Return x, y of the feet and the height in pixels."""
        x, y = (
            float(np.interp(time_s, self.times_s, self.x)),
            float(np.interp(time_s, self.times_s, self.y)),
        )
        height = person_height(y)
        ahead = float(np.interp(time_s + 0.01, self.times_s, self.x))
        walking = abs(ahead - x) > 1e-6
        bob = self.bob * height * abs(math.sin(2 * math.pi * 0.9 * time_s)) if walking else 0.0
        return x + self.swing_px * math.sin(2 * math.pi * self.swing_hz * time_s), y - bob, height


def person_height(feet_y: float) -> float:
    """Return how tall people are whose feet are there: nearer ones lower in the picture, and taller."""
    return 130 + 0.55 * (feet_y - 300)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """A person of a film and their path."""

    number: int
    cutout: Cutout
    path: Path2D
    role: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """One person in one frame: who, the whole box cut at the border, the joints, and the share of them to be seen."""

    number: int
    role: str
    box_image: np.ndarray
    joints_image: np.ndarray
    visible: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """Actors before a background, and things that stand before them (x, width, feet_y of the depth)."""

    background: np.ndarray
    actors: tuple[Actor, ...]
    pillars: tuple[tuple[int, int, int], ...]
    fps: float
    frame_count: int
    seed: int

    def frames(self) -> Iterator[tuple[float, np.ndarray, list[Truth]]]:
        """Yield every frame in turn."""
        return (self.frame(index) for index in range(self.frame_count))

    def frame(self, index: int) -> tuple[float, np.ndarray, list[Truth]]:
        """Return time, RGB picture and truth of a frame."""
        time_s = index / self.fps
        image, truth = self._draw(time_s)
        return time_s, _as_filmed(image, np.random.default_rng([self.seed, index])), truth

    def _draw(self, time_s: float) -> tuple[np.ndarray, list[Truth]]:
        """From far to near; an actor's visible share is what nobody nearer covers."""
        image = self.background.astype(np.float32)
        layers: list[tuple[float, Actor | tuple[int, int, int]]] = []
        for actor in self.actors:
            layers.append((actor.path.at(time_s)[1], actor))
        layers += [(float(pillar[2]), pillar) for pillar in self.pillars]
        masks: list[tuple[Actor, np.ndarray, np.ndarray]] = []
        for _, layer in sorted(layers, key=lambda entry: entry[0]):
            if isinstance(layer, Actor):
                affine = _place(layer, time_s)
                alpha = cv2.warpAffine(
                    layer.cutout.alpha, affine, (WIDTH, HEIGHT), flags=cv2.INTER_AREA
                )
                rgb = cv2.warpAffine(
                    layer.cutout.rgb,
                    affine,
                    (WIDTH, HEIGHT),
                    flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
                if not alpha.any():
                    continue
                masks = [(actor, mask * (1 - alpha), to_image) for actor, mask, to_image in masks]
                masks.append((layer, alpha, affine))
                image += alpha[:, :, None] * (rgb.astype(np.float32) - image)
            else:
                x, width, _ = layer
                shade = 60 + 50 * np.sin(np.linspace(0.4, 2.8, width))[None, :, None] * np.array(
                    [1.0, 0.98, 0.92]
                )
                image[:, x : x + width] = shade
                for _, mask, _ in masks:
                    mask[:, x : x + width] = 0
        truths = [_truth(actor, mask, to_image) for actor, mask, to_image in masks]
        return image, [truth for truth in truths if truth is not None]


def _place(actor: Actor, time_s: float) -> np.ndarray:
    x, y, height = actor.path.at(time_s)
    x1, y1, x2, y2 = actor.cutout.box
    scale = height / (y2 - y1)
    return np.array([[scale, 0, x - scale * (x1 + x2) / 2], [0, scale, y - scale * y2]], np.float64)


def _truth(actor: Actor, visible_mask: np.ndarray, to_image: np.ndarray) -> Truth | None:
    """None where under 4 pixels of the box's width or height are inside the picture."""
    joints = actor.cutout.joints.copy()
    joints[:, :2] = joints[:, :2] @ to_image[:, :2].T + to_image[:, 2]
    corners = actor.cutout.box.reshape(2, 2) @ to_image[:, :2].T + to_image[:, 2]
    whole = corners.reshape(4)
    box = np.clip(whole, -0.5, np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]) - 0.5)
    if (box[2:] - box[:2] < 4).any():
        return None
    scale = to_image[0, 0]
    shown = float(visible_mask.sum()) / max(1.0, float(actor.cutout.alpha.sum()) * scale**2)
    return Truth(
        number=actor.number,
        role=actor.role,
        box_image=box.astype(np.float32),
        joints_image=joints,
        visible=min(1.0, shown),
    )


def _as_filmed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise, a little flicker of the light, JPEG."""
    light = 1 + 0.004 * rng.standard_normal()
    noisy = np.clip(
        image * light + _NOISE * rng.standard_normal(image.shape, np.float32), 0, 255
    ).astype(np.uint8)
    _, code = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))


def crossings(
    cutouts: Sequence[Cutout], background: np.ndarray, seed: int, *, fps: float = 12.5
) -> Film:
    """Return 18 s of people who cross, overtake, pass behind a pillar and before standing people, turn, come and go."""
    rng = np.random.default_rng([seed, 1])
    people = iter([cutouts[index] for index in rng.permutation(len(cutouts))[:9]])
    actors: list[Actor] = []
    out = 90.0  # so far beyond the border nobody is to be seen

    def add(role: str, *way: tuple[float, float, float]) -> None:
        """An actor who is at (time, x, y), and at each next."""
        times_s, x, y = zip(*way, strict=True)
        actors.append(
            Actor(
                number=len(actors),
                cutout=next(people),
                path=Path2D(times_s=times_s, x=x, y=y),
                role=role,
            )
        )

    for start_s in (-0.5, 9.0):  # two who meet
        y, seconds, late_s = rng.uniform(360, 440), rng.uniform(6.5, 8.0), rng.uniform(-0.5, 0.5)
        add(
            "crossing",
            (start_s, -out, y),
            (start_s + seconds, WIDTH + out, y + rng.uniform(-12, 12)),
        )
        add(
            "crossing",
            (start_s + late_s, WIDTH + out, y + 14),
            (start_s + late_s + seconds, -out, y + 14),
        )
    y = rng.uniform(330, 400)
    add("overtaken", (3.0, -out, y), (14.0, WIDTH + out, y))
    add("overtaking", (5.5, -out, y + 16), (12.5, WIDTH + out, y + 16))
    pillar_x = int(rng.uniform(250, 400))
    x, y = pillar_x + rng.choice([-1, 1]) * rng.uniform(110, 180), rng.uniform(340, 420)
    add("standing", (0.0, x, y), (1.0, x, y))
    x, y = rng.uniform(120, 500), rng.uniform(380, 450)
    add("turning", (2.0, WIDTH + out, y), (5.5, x, y), (7.0, x, y), (10.5, WIDTH + out, y))
    x, y = rng.uniform(120, 500), rng.uniform(330, 360)
    add("visiting", (11.5, -out, y), (14.0, x, y), (15.5, x, y), (18.5, -out, y))
    return Film(
        background=background,
        actors=tuple(actors),
        pillars=((pillar_x, 46, 480),),
        fps=fps,
        frame_count=round(18 * fps),
        seed=seed,
    )


def still_and_swinging(
    cutouts: Sequence[Cutout],
    background: np.ndarray,
    seed: int,
    *,
    fps: float = 25.0,
    swing_hz: float = 1.0,
) -> Film:
    """Return 6 s of two people who stand and two who swing by a quarter of their size (root of the box's area)."""
    rng = np.random.default_rng([seed, 2])
    chosen = rng.permutation(len(cutouts))[:4]
    actors = []
    for number, index in enumerate(chosen):
        cutout, x, y = cutouts[index], 100.0 + 145 * number, float(rng.uniform(380, 460))
        height = person_height(y)
        aspect = (cutout.box[2] - cutout.box[0]) / (cutout.box[3] - cutout.box[1])
        swings = number % 2 == 1
        path = Path2D(
            times_s=(0.0, 1.0),
            x=(x, x),
            y=(y, y),
            swing_px=0.25 * height * math.sqrt(aspect) if swings else 0.0,
            swing_hz=swing_hz if swings else 0.0,
        )
        actors.append(
            Actor(
                number=number, cutout=cutout, path=path, role="swinging" if swings else "standing"
            )
        )
    return Film(
        background=background,
        actors=tuple(actors),
        pillars=(),
        fps=fps,
        frame_count=round(6 * fps),
        seed=seed,
    )


def read_cast(annotations: Path, images: Path) -> tuple[list[Cutout], list[np.ndarray]]:
    """Return the whole, free-standing people of a COCO keypoints file and the backgrounds its pictures offer.

    People: 13 and more labeled joints, both ankles, upright, 170 and more pixels tall, inside the
    picture, hardly touched by anybody else's box. Backgrounds: the largest 4:3 part of a picture
    without any person, if it is 320 pixels high.
    """
    document = json.loads(annotations.read_text(encoding="utf-8"))
    by_image: dict[int, list[dict]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    cutouts: list[Cutout] = []
    backgrounds: list[np.ndarray] = []
    for record in sorted(document["images"], key=lambda record: record["id"]):
        people = by_image.get(record["id"], [])
        boxes = np.array([person["bbox"] for person in people], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        whole = [
            index
            for index, person in enumerate(people)
            if _is_whole(person, boxes, index, width=record["width"], height=record["height"])
        ]
        free = _free_part(boxes, width=record["width"], height=record["height"])
        if not whole and free is None:
            continue
        image = read_image(images / record["file_name"])
        for index in whole:
            joints = np.array(people[index]["keypoints"], np.float64).reshape(-1, 3)
            cutouts.append(cut_out(image, boxes[index], joints))
        if free is not None:
            x, y, width, height = free
            part = image[y : y + height, x : x + width]
            backgrounds.append(cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
    return cutouts, backgrounds


def _is_whole(person: dict, boxes: np.ndarray, index: int, *, width: int, height: int) -> bool:
    x1, y1, x2, y2 = boxes[index]
    if (
        person.get("iscrowd")
        or person["num_keypoints"] < 13
        or y2 - y1 < 170
        or min(person["keypoints"][47::3]) == 0
    ):
        return False
    shoulders, hips, ankles = (
        np.mean(person["keypoints"][first : first + 6 : 3]) for first in (16, 34, 46)
    )
    if x2 - x1 > 0.6 * (y2 - y1) or not shoulders < hips < ankles:
        return False
    if x1 < 2 or y1 < 2 or x2 > width - 2 or y2 > height - 2:
        return False
    shared = np.clip(
        np.minimum(boxes[:, 2:], (x2, y2)) - np.maximum(boxes[:, :2], (x1, y1)), 0, None
    ).prod(axis=1)
    shared[index] = 0
    return bool(shared.max() < 0.05 * (x2 - x1) * (y2 - y1))


def _free_part(boxes: np.ndarray, *, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The largest 4:3 part (x, y, width, height) that no box touches, on a grid of 20 pixels."""
    taken = np.zeros((height + 1, width + 1), np.int64)
    for x1, y1, x2, y2 in boxes:
        taken[max(0, int(y1) - 4) + 1 : int(y2) + 6, max(0, int(x1) - 4) + 1 : int(x2) + 6] = 1
    total = taken.cumsum(axis=0).cumsum(axis=1)
    for rows in range(height, 319, -20):
        columns = rows * 4 // 3
        for y in range(0, height - rows + 1, 20):
            for x in range(0, width - columns + 1, 20):
                y2, x2 = y + rows, x + columns
                if total[y2, x2] - total[y, x2] - total[y2, x] + total[y, x] == 0:
                    return x, y, columns, rows
    return None


def cut_out(image: np.ndarray, box: np.ndarray, joints: np.ndarray) -> Cutout:
    """Return the person, told from the background by GrabCut that starts from the joints, with a soft edge.

    Source:
        Rother et al., "GrabCut", SIGGRAPH 2004 (OpenCV's).
    """
    margin = 0.06 * (box[3] - box[1])
    x1, y1 = np.maximum(0, np.floor(box[:2] - margin)).astype(int)
    x2, y2 = np.minimum((image.shape[1], image.shape[0]), np.ceil(box[2:] + margin)).astype(int)
    part = np.ascontiguousarray(image[y1:y2, x1:x2])
    moved = joints.copy()
    moved[:, :2] -= (x1, y1)
    inner = box - np.array([x1, y1, x1, y1])
    size = float(inner[3] - inner[1])
    mask = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    low, high = np.floor(inner[:2] - 2).astype(int), np.ceil(inner[2:] + 2).astype(int)
    mask[max(0, low[1]) : high[1], max(0, low[0]) : high[0]] = cv2.GC_PR_BGD
    mask[_body(part.shape[:2], moved, 0.15 * size) & (mask == cv2.GC_PR_BGD)] = cv2.GC_PR_FGD
    mask[_body(part.shape[:2], moved, 0.045 * size)] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(
        part, mask, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK
    )
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    alpha = cv2.GaussianBlur(
        cv2.erode(person, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 1.2
    )
    return Cutout(rgb=part, alpha=alpha, joints=moved, box=inner)


def _body(shape: tuple[int, int], joints: np.ndarray, width_px: float) -> np.ndarray:
    """The limbs drawn this thick, the trunk filled, a disc for the head."""
    drawn = np.zeros(shape, np.uint8)
    points = {
        name: joint[:2] for name, joint in zip(COCO17.joints, joints, strict=True) if joint[2] > 0
    }
    for a, b in COCO17.limbs:
        if a in points and b in points:
            cv2.line(drawn, _pixel(points[a]), _pixel(points[b]), 1, max(1, round(width_px)))
    corners = [
        points[name]
        for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
        if name in points
    ]
    if len(corners) >= 3:
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.array(corners, np.float32)).astype(np.int32), 1)
    head = [points[name] for name in COCO17.joints[:5] if name in points]
    if head:
        cv2.circle(
            drawn, _pixel(np.mean(head, axis=0)), max(1, round(0.9 * width_px)), 1, cv2.FILLED
        )
    return drawn.astype(bool)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
