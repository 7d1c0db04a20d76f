"""How well people keep their ids, and how smooth and how late their joints are, on films with known truth.

    pip install --no-deps trackeval && pip install scipy matplotlib tabulate     # see below
    python benchmarks/tracking.py --annotations person_keypoints.json --images images/

Ids: films of people who cross, overtake, hide behind others and behind a pillar
(``scene.crossings``). Three trackers on the same poses of the same boxes, in every frame: plain box
overlap, the same with as long a memory as ours, ours; then the whole ``Follower``, whose detector
looks at every eighth frame. Once with the detector's boxes, once with true ones (of everybody a
quarter of whom is to be seen). IDF1, HOTA and id switches are TrackEval's: "box" at box IoU 0.5,
"pose" at OKS 0.5, where whoever is given a neighbor's pose is not found. People less than a
quarter of whom is to be seen count neither as missed nor, where they are found, as wrong.
``trackeval`` asks for opencv-python, which quarrels with the headless one here: hence --no-deps.

Jitter: mean length of the second difference of the joints of people who stand, in pixels. Lag: how
much later the wrists of people who swing are than they should be, by the phase of their swing. Both
of labeled joints that the net finds within a fifth of the person's size.

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import scene
import tyro
from scene import Film, Truth

from slimpose import geometry
from slimpose.media.frame import Frame
from slimpose.oks import oks_matrix
from slimpose.poses import Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline, load
from slimpose.runtime.tracking.assignment import assign
from slimpose.runtime.tracking.smoothing import PoseSmoother
from slimpose.runtime.tracking.tracker import Tracker, select_people

VISIBLE = 0.25
COCO_AREA = 0.51  # of the box: the mean of COCO's people
DETECT_EVERY = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """One frame of a film."""

    time_s: float
    image: np.ndarray
    truth: list[Truth]


class TrueBoxes(Detector):
    """Stands in for the detector: the boxes of everybody to be seen in the frame it was last told of."""

    def __init__(self) -> None:  # no model: the truth is told
        self.truth: Sequence[Truth] = ()

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002 (a detector's signature)
        """Return boxes and scores (1)."""
        boxes = [truth.box_image for truth in self.truth if truth.visible >= VISIBLE]
        return np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32)


class PlainIou:
    """The baseline: boxes that overlap the last ones most are the same people; no motion, no poses."""

    def __init__(self, *, keep_s: float) -> None:
        self._keep_s = keep_s
        self._tracks: list[tuple[int, np.ndarray, float]] = []
        self._count = 0

    def update(self, poses: Poses, time_s: float) -> Poses:
        """Return the poses with ids."""
        boxes = poses.boxes_image
        last = np.array([box for _, box, _ in self._tracks], np.float32).reshape(-1, 4)
        pairs = {row: place for place, row in assign(geometry.box_iou(last, boxes), 0.3)}
        ids, tracks = [], []
        for row, box in enumerate(boxes):
            if row in pairs:
                number = self._tracks[pairs[row]][0]
            else:
                self._count += 1
                number = self._count
            ids.append(number)
            tracks.append((number, box, time_s))
        taken = set(pairs.values())
        kept = [
            track
            for place, track in enumerate(self._tracks)
            if place not in taken and time_s - track[2] <= self._keep_s
        ]
        self._tracks = tracks + kept
        return select_people(poses, list(range(len(poses))), ids)


def shoot(film: Film) -> list[Shot]:
    """Return the frames of a film."""
    return [Shot(time_s=time_s, image=image, truth=truth) for time_s, image, truth in film.frames()]


def pose_all(
    shots: Sequence[Shot], pipeline: Pipeline, true_boxes: TrueBoxes | None
) -> list[Poses]:
    """Return the poses of every frame, each with all its boxes: the detector's, or the true ones."""
    results = []
    for shot in shots:
        if true_boxes is None:
            results.append(pipeline(shot.image))
        else:
            true_boxes.truth = shot.truth
            results.append(pipeline(shot.image, true_boxes(shot.image)[0]))
    return results


def follow_all(
    shots: Sequence[Shot],
    pipeline: Pipeline,
    true_boxes: TrueBoxes | None,
    *,
    detect_every: int = DETECT_EVERY,
) -> list[Poses]:
    """Return what ``Follower`` says of a film, unsmoothed."""
    if true_boxes is not None:
        pipeline = Pipeline(estimator=pipeline.estimator, detector=true_boxes)
    follower = Follower(pipeline, detect_every=detect_every, smooth=False)
    results = []
    for shot in shots:
        if true_boxes is not None:
            true_boxes.truth = shot.truth
        results += follower.step([Frame(camera=0, image=shot.image, timestamp_s=shot.time_s)])
    return results


Runs = Sequence[tuple[Sequence[Shot], Sequence[Poses]]]


def scores(runs: Runs) -> dict[str, float]:
    """Return IDF1 (%) by boxes and by poses, and by boxes HOTA, recall, precision (%) and id switches, of all films."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"PRINT_CONFIG": False}
    by_box = [_for_trackeval(shots, results, _box_iou) for shots, results in runs]
    by_pose = [_for_trackeval(shots, results, _oks) for shots, results in runs]

    def over(metric: Any, films: list[dict[str, Any]]) -> dict[str, Any]:
        return metric.combine_sequences(
            {str(index): metric.eval_sequence(film) for index, film in enumerate(films)}
        )

    clear = over(CLEAR(quiet), by_box)
    return {
        "idf1_box": round(100 * float(over(Identity(quiet), by_box)["IDF1"]), 1),
        "idf1_pose": round(100 * float(over(Identity(quiet), by_pose)["IDF1"]), 1),
        "hota": round(100 * float(np.mean(over(HOTA(), by_box)["HOTA"])), 1),
        "recall": round(100 * float(clear["CLR_Re"]), 1),
        "precision": round(100 * float(clear["CLR_Pr"]), 1),
        "switches": int(clear["IDSW"]),
    }


def _box_iou(truth: Sequence[Truth], poses: Poses) -> np.ndarray:
    boxes = np.array([person.box_image for person in truth], np.float32).reshape(-1, 4)
    return geometry.box_iou(boxes, poses.boxes_image)


def _oks(truth: Sequence[Truth], poses: Poses) -> np.ndarray:
    joints = np.array([person.joints_image for person in truth], np.float32).reshape(-1, 17, 3)
    boxes = np.array([person.box_image for person in truth], np.float32).reshape(-1, 4)
    areas = (COCO_AREA * geometry.box_areas(boxes)).astype(np.float32)
    return oks_matrix(
        joints[:, :, :2], poses.points_image, areas, poses.skeleton, counted_a=joints[:, :, 2] > 0
    )


def _for_trackeval(
    shots: Sequence[Shot],
    results: Sequence[Poses],
    likeness: Callable[[Sequence[Truth], Poses], np.ndarray],
) -> dict[str, Any]:
    """The dictionary that TrackEval's metrics take."""
    people: dict[int, int] = {}
    tracks: dict[int, int] = {}
    gt_ids, tracker_ids, similarities = [], [], []
    for shot, poses in zip(shots, results, strict=True):
        alike = likeness(shot.truth, poses)
        shown = [place for place, person in enumerate(shot.truth) if person.visible >= VISIBLE]
        hidden = {row for place, row in assign(alike, 0.5) if place not in shown}
        rows = [row for row in range(len(poses)) if row not in hidden]
        gt_ids.append(
            np.array(
                [people.setdefault(shot.truth[place].number, len(people)) for place in shown], int
            )
        )
        tracker_ids.append(
            np.array([tracks.setdefault(int(poses.ids[row]), len(tracks)) for row in rows], int)
        )
        similarities.append(alike[np.ix_(shown, rows)].astype(np.float64))
    return {
        "gt_ids": gt_ids,
        "tracker_ids": tracker_ids,
        "similarity_scores": similarities,
        "num_timesteps": len(shots),
        "num_gt_ids": len(people),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, tracker_ids)),
    }


def smoothed(
    shots: Sequence[Shot], results: Sequence[Poses], smoother: PoseSmoother
) -> list[Poses]:
    """Return the results smoothed."""
    return [smoother(poses, shot.time_s) for shot, poses in zip(shots, results, strict=True)]


def joint_tracks(
    shots: Sequence[Shot], results: Sequence[Poses], role: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for each person of the role, found and true joints (frames, 17, 2); NaN where there are none."""
    found: dict[int, np.ndarray] = {}
    true: dict[int, np.ndarray] = {}
    for frame, (shot, poses) in enumerate(zip(shots, results, strict=True)):
        for place, row in assign(_box_iou(shot.truth, poses), 0.5):
            person = shot.truth[place]
            if person.role == role:
                for tracks in (found, true):
                    tracks.setdefault(person.number, np.full((len(shots), 17, 2), np.nan))
                joints, box = person.joints_image, person.box_image
                size = np.sqrt((box[2:] - box[:2]).prod())
                near = np.linalg.norm(joints[:, :2] - poses.points_image[row], axis=1) < 0.2 * size
                use = near & (joints[:, 2] > 0)
                found[person.number][frame, use] = poses.points_image[row][use]
                true[person.number][frame, use] = joints[use, :2]
    return [(found[number], true[number]) for number in sorted(found)]


def jitter_px(shots: Sequence[Shot], results: Sequence[Poses]) -> float:
    """Return the mean length of the second difference of standing people's joints, in pixels."""
    bends = [np.diff(found, n=2, axis=0) for found, _ in joint_tracks(shots, results, "standing")]
    return float(np.nanmean(np.linalg.norm(np.concatenate(bends, axis=1), axis=2)))


def lag_frames(
    shots: Sequence[Shot], results: Sequence[Poses], *, fps: float, swing_hz: float
) -> float:
    """Return how many frames the wrists of swinging people are behind the truth, by the phase of the swing."""
    lags = []
    for found, true in joint_tracks(shots, results, "swinging"):
        for wrist in (9, 10):
            seen = np.isfinite(found[:, wrist, 0])
            if seen.mean() > 2 / 3:
                turn = 2 * np.pi * swing_hz * np.flatnonzero(seen) / fps
                behind = _phase(true[seen, wrist, 0], turn) - _phase(found[seen, wrist, 0], turn)
                lags.append(((behind + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi * swing_hz) * fps)
    return float(np.mean(lags))


def _phase(x: np.ndarray, turn: np.ndarray) -> float:
    """The phase of a sine of known frequency, by least squares."""
    basis = np.stack([np.sin(turn), np.cos(turn), np.ones_like(turn)], axis=1)
    (a, b, _), *_ = np.linalg.lstsq(basis, x, rcond=None)
    return float(np.arctan2(b, a))


Update = Callable[[Poses, float], Poses]


def by_tracker(shots: Sequence[Shot], poses: Sequence[Poses], update: Update) -> list[Poses]:
    """Return what a tracker makes of the poses of every frame."""
    return [update(found, shot.time_s) for shot, found in zip(shots, poses, strict=True)]


def ours(shots: Sequence[Shot], poses: Sequence[Poses]) -> list[Poses]:
    """Return what ``Tracker`` makes of them; it sees the pictures, for the colors."""
    tracker = Tracker(poses[0].skeleton)
    return [
        tracker.update(found, shot.time_s, image=shot.image)
        for shot, found in zip(shots, poses, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """Jitter of people who stand and lag of wrists that swing, without and with smoothing."""

    swing_hz: float
    jitter_px: float
    jitter_smoothed_px: float
    lag_frames: float
    lag_smoothed_frames: float


def steadiness(
    film: Film, pipeline: Pipeline, *, swing_hz: float, smoother: PoseSmoother
) -> Steadiness:
    """Follow a film of ``scene.still_and_swinging`` with true boxes and return how steady the joints are."""
    shots = shoot(film)
    raw = follow_all(shots, pipeline, TrueBoxes())
    smooth = smoothed(shots, raw, smoother)
    lags = [
        lag_frames(shots, results, fps=film.fps, swing_hz=swing_hz) for results in (raw, smooth)
    ]
    return Steadiness(
        swing_hz=swing_hz,
        jitter_px=jitter_px(shots, raw),
        jitter_smoothed_px=jitter_px(shots, smooth),
        lag_frames=lags[0],
        lag_smoothed_frames=lags[1],
    )


def all_trackers(
    shots: Sequence[Shot], pipeline: Pipeline, true_boxes: TrueBoxes | None
) -> dict[str, list[Poses]]:
    """Return what each tracker makes of a film, by the tracker's name."""
    poses = pose_all(shots, pipeline, true_boxes)
    return {
        "plain IoU": by_tracker(shots, poses, PlainIou(keep_s=0.2).update),
        "plain IoU, keeps 3 s": by_tracker(shots, poses, PlainIou(keep_s=3.0).update),
        "Tracker": ours(shots, poses),
        f"Follower, 1 in {DETECT_EVERY}": follow_all(shots, pipeline, true_boxes),
    }


def main(
    annotations: Path,
    images: Path,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    threads: int = 1,
    swings: tuple[float, ...] = (1.0, 0.5),
) -> None:
    """Measure ids, jitter and lag.

    Args:
        annotations: COCO keypoints of the people to cut out.
        images: Their pictures.
        seeds: A film of crossings a seed.
        threads: CPU threads of the models.
        swings: Swings a second of the people who swing, one film each.
    """
    cutouts, backgrounds = scene.read_cast(annotations, images)
    pipeline = load(threads=threads)
    runs: dict[tuple[str, str], list[tuple[Sequence[Shot], Sequence[Poses]]]] = {}
    for seed in seeds:
        shots = shoot(scene.crossings(cutouts, backgrounds[seed % len(backgrounds)], seed))
        nothing = np.zeros((0, 0, 3), np.uint8)
        blind = [
            replace(shot, image=nothing) for shot in shots
        ]  # a film is 200 MB; its truth is enough
        for boxes, true_boxes in (("detector", None), ("true", TrueBoxes())):
            for name, results in all_trackers(shots, pipeline, true_boxes).items():
                runs.setdefault((boxes, name), []).append((blind, results))
    ids: dict[str, dict[str, float]] = {}
    for (boxes, name), films in sorted(runs.items(), key=lambda entry: entry[0][0]):
        ids[f"{boxes} boxes: {name}"] = scores(films)
        print(f"{boxes + ' boxes':15s} {name:21s} {ids[f'{boxes} boxes: {name}']}", flush=True)
    motion = []
    for swing_hz in swings:
        film = scene.still_and_swinging(cutouts, backgrounds[0], seeds[0], swing_hz=swing_hz)
        found = steadiness(film, pipeline, swing_hz=swing_hz, smoother=PoseSmoother())
        motion.append({name: round(value, 3) for name, value in asdict(found).items()})
        print(motion[-1], flush=True)
    about = {**machine.about(), "pose": pipeline.estimator.session.info.name, "seeds": seeds}
    print(json.dumps({**about, "ids": ids, "motion": motion}))


if __name__ == "__main__":
    tyro.cli(main)
