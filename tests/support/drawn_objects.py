"""Drawn objects with keypoints: a tool of 5, a hand of 21, a person of 13, an animal of 20.

They vary in pose, view, size, proportions, colors, background, blur and occlusion. As a program
(KIND FOLDER COUNT SEED) it writes a data set: FOLDER/images and FOLDER/labels.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320
Generator = np.random.Generator
Part = tuple[str, str, float, int]
"""Two joints, a width in units of the object's size, and the number of a color."""


@dataclass(frozen=True)
class Kind:
    """A kind of object; ``pose`` returns its joints in three dimensions, y downwards, z away."""

    name: str
    joints: tuple[str, ...]
    parts: tuple[Part, ...]
    dots: tuple[tuple[str, float, int], ...]
    pose: Callable[[Generator], np.ndarray]
    tilt_deg: float
    turn_deg: float
    category: dict[str, Any]


def _at(x: float, y: float, z: float) -> np.ndarray:
    return np.array([x, y, z])


def _limb(start: np.ndarray, length: float, angle: float, out: float = 0.0) -> np.ndarray:
    """The end of a limb that hangs down at angle 0, forwards (x) by ``angle``, sideways by out."""
    a, o = np.deg2rad([angle, out])
    return start + length * np.array([np.sin(a), np.cos(a) * np.cos(o), np.sin(o)])


def _tool(rng: Generator) -> np.ndarray:
    """Shears: a pivot, two tips above and two handles of other lengths below."""
    opening, crank = np.deg2rad(rng.uniform(8, 40)), np.deg2rad(rng.uniform(-10, 10))
    blade, handle = rng.uniform(0.8, 1.1), rng.uniform(0.6, 0.9)

    def ray(angle: float, length: float) -> list[float]:
        return [length * np.sin(angle), -length * np.cos(angle), 0.0]

    return np.array([
        [0, 0, 0],
        ray(-opening / 2, blade), ray(opening / 2, blade * rng.uniform(0.85, 1)),
        ray(np.pi + opening * 0.7 + crank, handle), ray(np.pi - opening * 0.7 + crank, handle),
    ])  # fmt: skip


def _hand(rng: Generator) -> np.ndarray:
    """A hand with the thumb to the left or to the right."""
    points = [np.zeros(3)]
    spread, curl = rng.uniform(0.6, 1.2), rng.uniform(0, 25)
    for finger in range(5):
        angle = spread * (-48 if finger == 0 else -22 + 14 * (finger - 1)) + rng.normal(0, 3)
        lengths = (0.35, 0.3, 0.25, 0.2) if finger == 0 else (0.75, 0.33, 0.22, 0.17)
        bend = curl + abs(rng.normal(0, 14)) + 45 * (rng.random() < 0.15)
        point, total = np.zeros(3), 0.0
        for knuckle, length in enumerate(lengths):
            total += bend * (knuckle > 0)
            a, b = np.deg2rad([angle, total])
            point = point + length * np.array(
                [np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), -np.sin(b)]
            )
            points.append(point)
    hand = np.array(points)
    hand[:, 0] *= rng.choice([-1.0, 1.0])
    return hand


def _person(rng: Generator) -> np.ndarray:
    """A person who faces us or shows the back (x is left in the image, so left is at +x)."""
    width, hip = rng.uniform(0.19, 0.25), rng.uniform(0.1, 0.14)
    lean = np.array([rng.normal(0, 0.08), 0, rng.normal(0, 0.05)])
    neck = np.array([0, -0.55, 0]) + lean
    joints = [neck + _at(rng.normal(0, 0.03), -0.22, -0.03)]
    sides: list[list[np.ndarray]] = [[], []]
    for index, side in enumerate((1, -1)):
        shoulder = neck + _at(side * width, 0.03, 0)
        lift = rng.choice([rng.uniform(5, 45), rng.uniform(45, 150)])
        elbow = _limb(shoulder, 0.3, side * lift, rng.normal(0, 20))
        wrist = _limb(elbow, 0.27, side * (lift + rng.uniform(-70, 60)), rng.normal(0, 25))
        start = np.array([side * hip, 0, 0])
        swing = rng.normal(4, 12)
        knee = _limb(start, 0.42, side * swing, rng.normal(0, 18))
        ankle = _limb(knee, 0.42, side * (swing - abs(rng.normal(0, 10))), rng.normal(0, 18))
        sides[index] = [shoulder, elbow, wrist, start, knee, ankle]
    for one, other in zip(*sides, strict=True):
        joints += [one, other]
    return np.array(joints)


def _animal(rng: Generator) -> np.ndarray:
    """A four-legged animal that faces right; its left side (z < 0) is towards us."""
    length, leg, half = rng.uniform(0.8, 1.2), rng.uniform(0.45, 0.7), rng.uniform(0.1, 0.15)
    withers, rump = np.array([length / 2, -0.05, 0]), np.array([-length / 2, 0, 0])
    neck = np.deg2rad(rng.uniform(-75, 10))
    head = withers + rng.uniform(0.3, 0.5) * np.array([np.cos(neck), np.sin(neck), 0])
    nose = head + _at(rng.uniform(0.18, 0.26), rng.uniform(0.05, 0.16), rng.normal(0, 0.03))
    joints = [nose]
    for height, back in ((-0.06, 0.05), (-0.2, -0.05)):
        joints += [head + _at(back, height, side * 0.07) for side in (-1, 1)]
    joints += [withers, rump, rump + _at(-rng.uniform(0.2, 0.4), rng.uniform(-0.2, 0.3), 0)]
    for start in (withers + _at(-0.05, 0.15, 0), rump + _at(0.05, 0.12, 0)):
        for side in (-1, 1):
            top = start + _at(0, 0, side * half)
            swing = rng.normal(0, 22)
            knee = _limb(top, leg / 2, swing)
            joints += [top, knee, _limb(knee, leg / 2, swing - abs(rng.normal(0, 18)))]
    return np.array(joints)


_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_LEGS = ("fl", "fr", "hl", "hr")
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "shears", ("pivot", "tip_left", "tip_right", "handle_left", "handle_right"),
            (("pivot", "tip_left", 0.1, 0), ("pivot", "tip_right", 0.1, 0),
             ("pivot", "handle_left", 0.16, 1), ("pivot", "handle_right", 0.16, 1)),
            (("pivot", 0.07, 2), ("handle_left", 0.13, 1), ("handle_right", 0.1, 1)),
            _tool, 180, 0, {},
        ),
        Kind(
            "hand", ("wrist", *(f"{finger}_{i}" for finger in _FINGERS for i in range(1, 5))),
            (*((("wrist", f"{f}_1", 0.3, 0)) for f in _FINGERS),
             *((f"{f}_{i}", f"{f}_{i + 1}", 0.17, 0) for f in _FINGERS for i in (1, 2, 3))),
            tuple((f"{f}_4", 0.07, 1) for f in _FINGERS), _hand, 40, 25, {"flip_pairs": []},
        ),
        Kind(
            "person",
            ("Head", *(f"{s}{p}" for p in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
                       for s in "LR")),
            (("LShoulder", "RHip", 0.26, 0), ("RShoulder", "LHip", 0.26, 0),
             ("LShoulder", "RShoulder", 0.16, 0),
             *((f"{s}{a}", f"{s}{b}", w, c) for s in "LR" for a, b, w, c in (
                 ("Shoulder", "Elbow", 0.1, 0), ("Elbow", "Wrist", 0.08, 1),
                 ("Hip", "Knee", 0.14, 2), ("Knee", "Ankle", 0.11, 2)))),
            (("Head", 0.12, 1),), _person, 15, 35, {},
        ),
        Kind(
            "animal", ("nose", "eye.L", "eye.R", "ear.L", "ear.R", "withers", "rump", "tail",
                       *(f"{leg}_{part}" for leg in _LEGS for part in ("top", "knee", "hoof"))),
            (("withers", "rump", 0.34, 0), ("withers", "ear.L", 0.16, 0),
             ("ear.R", "nose", 0.13, 0), ("rump", "tail", 0.05, 1),
             *((f"{leg}_{a}", f"{leg}_{b}", w, 0) for leg in _LEGS
               for a, b, w in (("top", "knee", 0.11), ("knee", "hoof", 0.08)))),
            (("nose", 0.045, 2), ("eye.L", 0.025, 2), ("eye.R", 0.025, 2),
             ("ear.L", 0.05, 1), ("ear.R", 0.05, 1),
             *((f"{leg}_hoof", 0.05, 2) for leg in _LEGS)), _animal, 12, 40, {},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What one object looks like: its colors, proportions and size stay over a video."""

    colors: np.ndarray
    size_px: float

    @classmethod
    def draw(cls, rng: Generator, largest_px: float = 95) -> Look:
        return cls(rng.integers(20, 236, (3, 3)).astype(float), rng.uniform(45, largest_px))


def projected(kind: Kind, rng: Generator) -> np.ndarray:
    """Return the joints of a random pose from a random view (joints, 3), the center at 0."""
    points = kind.pose(rng)
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    turn = np.deg2rad(rng.uniform(-kind.turn_deg, kind.turn_deg))
    if kind.name == "animal" and rng.random() < 0.5:
        turn += np.pi
    roll = np.deg2rad(rng.uniform(-kind.tilt_deg, kind.tilt_deg))
    c, s = np.cos(turn), np.sin(turn)
    points = points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    c, s = np.cos(roll), np.sin(roll)
    return points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T


def background(rng: Generator) -> np.ndarray:
    """Return a random image (HEIGHT, WIDTH, 3): a blurred pattern with lines, discs and noise."""
    coarse = rng.integers(30, 226, (*rng.integers(3, 9, 2), 3)).astype(np.float32)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(4, 14)):
        color = rng.integers(0, 256, 3).tolist()
        a, b = (tuple(int(v) for v in rng.uniform((0, 0), (WIDTH, HEIGHT))) for _ in range(2))
        if rng.random() < 0.5:
            cv2.line(image, a, b, color, int(rng.integers(2, 14)), cv2.LINE_AA)
        else:
            cv2.circle(image, a, int(rng.integers(4, 26)), color, cv2.FILLED, cv2.LINE_AA)
    return image + rng.normal(0, rng.uniform(2, 9), image.shape)


def draw(image: np.ndarray, kind: Kind, look: Look, points: np.ndarray) -> None:
    """Draw an object, its joints (joints, 3) in pixels, farther parts first and darker."""
    where = {name: points[index] for index, name in enumerate(kind.joints)}
    depth = max(1.0, float(np.ptp(points[:, 2])))

    def color(index: int, z: float) -> list[float]:
        return (look.colors[index] * (1 - 0.35 * np.clip(z / depth, -1, 1))).clip(0, 255).tolist()

    items = [((where[a][2] + where[b][2]) / 2, a, b, w, c) for a, b, w, c in kind.parts]
    items += [(where[name][2] - 0.02 * depth, name, name, 2 * w, c) for name, w, c in kind.dots]
    for z, a, b, width, index in sorted(items, key=lambda item: -item[0]):
        ends = [tuple(round(16 * float(v)) for v in where[name][:2]) for name in (a, b)]
        stroke = max(1, round(width * look.size_px))
        cv2.line(image, ends[0], ends[1], [25.0] * 3, stroke + 2, cv2.LINE_AA, 4)
        cv2.line(image, ends[0], ends[1], color(index, z), stroke, cv2.LINE_AA, 4)


def annotation(points: np.ndarray, hidden: np.ndarray, look: Look) -> dict[str, Any]:
    """Return the fields of a COCO annotation; joints outside of the image are absent."""
    is_inside = (points[:, :2] >= 0) & (points[:, :2] < (WIDTH, HEIGHT))
    inside = np.asarray(is_inside.all(axis=1))
    v = np.where(inside, np.where(hidden, 1, 2), 0)
    keypoints = np.where(inside[:, None], points[:, :2], 0)
    margin = 0.12 * look.size_px
    low = np.clip(points[:, :2].min(axis=0) - margin, 0, (WIDTH, HEIGHT))
    high = np.clip(points[:, :2].max(axis=0) + margin, 0, (WIDTH, HEIGHT))
    x, y, w, h = (round(float(value), 2) for value in (*low, *(high - low)))
    return {
        "bbox": [x, y, w, h],
        "area": round(0.5 * w * h, 2),
        "iscrowd": 0,
        "num_keypoints": int((v > 0).sum()),
        "keypoints": np.column_stack([keypoints.round(2), v]).ravel().tolist(),
    }


def image_with(
    kind: Kind, rng: Generator, *, objects: int = 1, label_noise: float = 0.01
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return an image and the annotations of its objects, with noise as of a human labeler."""
    image, annotations = background(rng), []
    for place in range(objects):
        look = Look.draw(rng, 95 if objects == 1 else 62)
        points = projected(kind, rng)
        points *= look.size_px / max(0.5, float(np.abs(points[:, :2]).max()))
        low, high = (place + 0.35) / objects * WIDTH, (place + 0.65) / objects * WIDTH
        points[:, :2] += rng.uniform((low, 0.4 * HEIGHT), (high, 0.6 * HEIGHT))
        draw(image, kind, look, points)
        hidden = np.zeros(len(points), bool)
        if rng.random() < 0.3:
            center = points[rng.integers(len(points)), :2] + rng.normal(0, 6, 2)
            radius = int(look.size_px * rng.uniform(0.1, 0.25))
            cv2.circle(
                image, tuple(int(v) for v in center), radius, rng.integers(0, 256, 3).tolist(), -1
            )
            hidden = np.linalg.norm(points[:, :2] - center, axis=1) < radius
        noisy = points + label_noise * look.size_px * rng.normal(0, 1, points.shape)
        annotations.append(annotation(noisy, hidden, look))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5))
    return image.clip(0, 255).astype(np.uint8), annotations


def write_dataset(
    kind: Kind, folder: Path, count: int, *, seed: int = 0, label_noise: float = 0.01
) -> Path:
    """Write at least ``count`` objects in images of one or two; return the label file."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    while len(annotations) < count:
        number = len(images) + 1
        image, found = image_with(
            kind, rng, objects=1 + (rng.random() < 0.2), label_noise=label_noise
        )
        name = f"{number:04}.jpg"
        cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for one in found:
            key = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
            annotations.append(key | one)
    category = {"id": 1, "name": kind.name, "keypoints": list(kind.joints), **kind.category}
    labels = folder / "labels.json"
    document = {"images": images, "annotations": annotations, "categories": [category]}
    labels.write_text(json.dumps(document))
    return labels


def write_video(kind: Kind, path: Path, *, seed: int = 0, frames: int = 30) -> np.ndarray:
    """Write a video of two objects that move; return their boxes (frames, 2, 4)."""
    rng = np.random.default_rng(seed)
    back, boxes = background(rng), []
    looks = [Look(rng.integers(20, 236, (3, 3)).astype(float), 52) for _ in range(2)]
    poses = [projected(kind, rng) for _ in range(2)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15, (WIDTH, HEIGHT))
    for frame in range(frames):
        image, share = back.copy(), frame / frames
        for number, (look, pose) in enumerate(zip(looks, poses, strict=True)):
            points = pose * look.size_px / max(0.5, float(np.abs(pose[:, :2]).max()))
            x = WIDTH * (0.25 + 0.5 * number) + 30 * np.sin(3 * share)
            points[:, :2] += (x, HEIGHT * (0.45 + 0.1 * share))
            draw(image, kind, look, points)
            x, y, w, h = annotation(points, np.zeros(len(points), bool), look)["bbox"]
            boxes.append([x, y, x + w, y + h])
        writer.write(np.ascontiguousarray(image.clip(0, 255).astype(np.uint8)[..., ::-1]))
    writer.release()
    return np.array(boxes, np.float32).reshape(frames, 2, 4)


if __name__ == "__main__":
    write_dataset(KINDS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]), seed=int(sys.argv[4]))
