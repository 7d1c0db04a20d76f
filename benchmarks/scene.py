"""Synthetic videos with ground truth: real people on known paths over real backgrounds.

A video is a pure function of its seed. The appearance of the people, the backgrounds and the joint
labels are real. The motion is not: people glide (with a small bob) instead of moving their limbs,
so a "moving wrist" is the wrist of a person who swings from side to side as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from cutouts import HEIGHT, WIDTH, Cutout

_NOISE = 3.0  # gray levels of sensor noise
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path2D:
    """The path of an actor's feet: straight lines between points at given times.

    Attributes:
        times_s: Times of the points, ascending.
        x: x of the middle of the feet, pixels.
        y: y, likewise.
        swing_px: Amplitude of a swing from side to side.
        swing_hz: Frequency of the swing.
        bob: Vertical motion while walking, as a share of the height.
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
    """Return the height in pixels of a person at this y; near people are lower and taller."""
    return 130 + 0.55 * (feet_y - 300)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Actor:
    """A person of a video and the person's path."""

    number: int
    cutout: Cutout
    path: Path2D
    role: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """One person in one frame: the box clipped to the image, the joints, the visible share.

    ``joints_shown`` (17,): which are labeled as visible, inside the image, and not covered.
    """

    number: int
    role: str
    box_image: np.ndarray
    joints_image: np.ndarray
    visible: float
    joints_shown: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneVideo:
    """A video of actors in front of a background, and pillars (x, width, y of the foot)."""

    background: np.ndarray
    actors: tuple[Actor, ...]
    pillars: tuple[tuple[int, int, int], ...]
    fps: float
    frame_count: int
    seed: int

    def frames(self) -> Iterator[tuple[float, np.ndarray, list[Truth]]]:
        """Yield all frames in order."""
        return (self.frame(index) for index in range(self.frame_count))

    def frame(self, index: int) -> tuple[float, np.ndarray, list[Truth]]:
        """Return time, RGB image and ground truth of a frame."""
        time_s = index / self.fps
        image, truth = self._draw(time_s)
        return time_s, _add_camera_noise(image, np.random.default_rng([self.seed, index])), truth

    def _draw(self, time_s: float) -> tuple[np.ndarray, list[Truth]]:
        """Draw from far to near; the visible share of an actor is what no nearer layer covers."""
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
    """None if less than 4 pixels of the box's width or height are inside the image."""
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
        joints_shown=_shown(joints, visible_mask),
    )


def _shown(joints: np.ndarray, visible_mask: np.ndarray) -> np.ndarray:
    columns, rows = np.rint(joints[:, :2]).astype(int).T
    inside = (columns >= 0) & (columns < WIDTH) & (rows >= 0) & (rows < HEIGHT)
    mask = visible_mask[np.clip(rows, 0, HEIGHT - 1), np.clip(columns, 0, WIDTH - 1)]
    return inside & (joints[:, 2] == 2) & (mask > 0.5)


def _add_camera_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add sensor noise, slight flicker, and JPEG compression."""
    light = 1 + 0.004 * rng.standard_normal()
    noisy = np.clip(
        image * light + _NOISE * rng.standard_normal(image.shape, np.float32), 0, 255
    ).astype(np.uint8)
    _, code = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))


def crossings(
    cutouts: Sequence[Cutout], background: np.ndarray, seed: int, *, fps: float = 12.5
) -> SceneVideo:
    """Return 18 s of people who cross, overtake, pass a pillar and standing people, and turn."""
    rng = np.random.default_rng([seed, 1])
    people = iter([cutouts[index] for index in rng.permutation(len(cutouts))[:9]])
    actors: list[Actor] = []
    out = 90.0  # outside the image

    def add(role: str, *points: tuple[float, float, float]) -> None:
        """Add an actor who walks through these points (time, x, y)."""
        times_s, x, y = zip(*points, strict=True)
        actors.append(
            Actor(
                number=len(actors),
                cutout=next(people),
                path=Path2D(times_s=times_s, x=x, y=y),
                role=role,
            )
        )

    for start_s in (-0.5, 9.0):  # two people who meet
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
    return SceneVideo(
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
) -> SceneVideo:
    """Return 6 s of two people who stand and two who swing.

    The amplitude is a quarter of the person's size (root of the box area).
    """
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
    return SceneVideo(
        background=background,
        actors=tuple(actors),
        pillars=(),
        fps=fps,
        frame_count=round(6 * fps),
        seed=seed,
    )


def visits(
    cutouts: Sequence[Cutout], background: np.ndarray, seed: int, *, fps: float = 12.5
) -> SceneVideo:
    """Return 16 s of six people who walk to the middle, stay there for a while, and leave again.

    Each has an own distance to the camera; one passes without a stop, one turns back before.
    """
    rng = np.random.default_rng([seed, 3])
    chosen = [cutouts[index] for index in rng.permutation(len(cutouts))[:6]]
    out, actors = 90.0, []
    for number, cutout in enumerate(chosen):
        y = 335.0 + 27 * number + rng.uniform(-4, 4)
        from_x, to_x = (-out, WIDTH + out) if rng.random() < 0.5 else (WIDTH + out, -out)
        stop_x = WIDTH * rng.uniform(0.44, 0.56)
        start_s = 0.5 + 1.4 * number + rng.uniform(0, 0.5)
        role = "passing" if number == 2 else "turning" if number == 4 else "visiting"
        if role == "turning":
            stop_x, to_x = from_x + 0.24 * (WIDTH + 2 * out) * np.sign(to_x - from_x), from_x
        stay_s = 0.0 if role == "passing" else rng.uniform(2.0, 3.5)
        reach_s, back_s = 3.2, 3.2
        actors.append(
            Actor(
                number=number,
                cutout=cutout,
                path=Path2D(
                    times_s=(
                        start_s,
                        start_s + reach_s,
                        start_s + reach_s + stay_s,
                        start_s + reach_s + stay_s + back_s,
                    ),
                    x=(from_x, stop_x, stop_x, to_x),
                    y=(y, y, y, y),
                ),
                role=role,
            )
        )
    return SceneVideo(
        background=background,
        actors=tuple(actors),
        pillars=(),
        fps=fps,
        frame_count=round(16 * fps),
        seed=seed,
    )
