"""Evaluate tracking and smoothing on synthetic videos: ids, jitter and lag.

    pip install --no-deps trackeval && pip install scipy matplotlib tabulate     # see below
    python benchmarks/tracking.py --annotations person_keypoints.json --images images/

Ids: videos of people who cross, overtake, and pass behind others and behind a pillar
(``scene.crossings``). Three trackers get the same poses of the same boxes in every frame: plain box
overlap, the same with the memory of our tracker, and our tracker; then the complete ``Follower``
with the detector on every eighth frame. All are run with the detector's boxes and with true boxes
(of people who are at least a quarter visible). IDF1, HOTA and id switches are TrackEval's: "box" at
box IoU 0.5, "pose" at OKS 0.5, where a person with a neighbor's pose is a miss. People who are less
than a quarter visible count neither as misses nor as false positives. ``trackeval`` requires
opencv-python, which conflicts with opencv-python-headless: hence --no-deps.

Jitter: mean length of the second difference of the joints of standing people, in pixels. Lag: delay
of the wrists of swinging people, by the phase of the swing. Both are of labeled joints that the
network predicts within a fifth of the person's size.

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import scene
from cutouts import read_cutouts
from scene import SceneVideo, Truth

from slimpose import geometry
from slimpose.cli.arguments import run
from slimpose.media.frame import Frame
from slimpose.oks import oks_matrix
from slimpose.poses import Poses
from slimpose.runtime.detector import Detector
from slimpose.runtime.follower import Follower
from slimpose.runtime.pipeline import Pipeline, load
from slimpose.tracking.assignment import assign
from slimpose.tracking.smoothing import PoseSmoother
from slimpose.tracking.tracker import Tracker, select_people

MIN_VISIBLE = 0.25
COCO_AREA = 0.51  # share of the box area: the mean of COCO's people
DETECT_EVERY = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueFrame:
    """One frame of a video with its ground truth."""

    time_s: float
    image: np.ndarray
    truth: list[Truth]


class TrueBoxes(Detector):
    """A detector that returns the true boxes of the visible people in ``truth``."""

    def __init__(self) -> None:  # no model
        self.truth: Sequence[Truth] = ()

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002
        """Return boxes and scores (1)."""
        boxes = [truth.box_image for truth in self.truth if truth.visible >= MIN_VISIBLE]
        return np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32)


class PlainIou:
    """The baseline: a tracker by the overlap with the last boxes, without motion or poses."""

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


def all_frames(video: SceneVideo) -> list[TrueFrame]:
    """Return the frames of a video."""
    return [
        TrueFrame(time_s=time_s, image=image, truth=truth)
        for time_s, image, truth in video.frames()
    ]


def pose_all(
    frames: Sequence[TrueFrame], pipeline: Pipeline, true_boxes: TrueBoxes | None
) -> list[Poses]:
    """Return the poses of every frame, from the detector's boxes or the true ones."""
    results = []
    for frame in frames:
        if true_boxes is None:
            results.append(pipeline(frame.image))
        else:
            true_boxes.truth = frame.truth
            results.append(pipeline(frame.image, true_boxes(frame.image)[0]))
    return results


def follow_all(
    frames: Sequence[TrueFrame],
    pipeline: Pipeline,
    true_boxes: TrueBoxes | None,
    *,
    detect_every: int = DETECT_EVERY,
) -> list[Poses]:
    """Return the poses of ``Follower`` in a video, without smoothing."""
    if true_boxes is not None:
        pipeline = Pipeline(estimator=pipeline.estimator, detector=true_boxes)
    follower = Follower(pipeline, detect_every=detect_every, smooth=False)
    results = []
    for frame in frames:
        if true_boxes is not None:
            true_boxes.truth = frame.truth
        results += follower.step([Frame(camera=0, image=frame.image, timestamp_s=frame.time_s)])
    return results


Runs = Sequence[tuple[Sequence[TrueFrame], Sequence[Poses]]]


def scores(runs: Runs) -> dict[str, float]:
    """Return IDF1 (%) by boxes and by poses, and HOTA, recall, precision (%) and id switches.

    All but the second are by boxes; all are over all videos.
    """
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"PRINT_CONFIG": False}
    by_box = [_for_trackeval(frames, results, _box_iou) for frames, results in runs]
    by_pose = [_for_trackeval(frames, results, _oks) for frames, results in runs]

    def over(metric: Any, videos: list[dict[str, Any]]) -> dict[str, Any]:
        return metric.combine_sequences(
            {str(index): metric.eval_sequence(video) for index, video in enumerate(videos)}
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
    frames: Sequence[TrueFrame],
    results: Sequence[Poses],
    similarity: Callable[[Sequence[Truth], Poses], np.ndarray],
) -> dict[str, Any]:
    """The input of TrackEval's metrics."""
    people: dict[int, int] = {}
    tracks: dict[int, int] = {}
    gt_ids, tracker_ids, similarities = [], [], []
    for frame, poses in zip(frames, results, strict=True):
        similar = similarity(frame.truth, poses)
        shown = [place for place, person in enumerate(frame.truth) if person.visible >= MIN_VISIBLE]
        hidden = {row for place, row in assign(similar, 0.5) if place not in shown}
        rows = [row for row in range(len(poses)) if row not in hidden]
        gt_ids.append(
            np.array(
                [people.setdefault(frame.truth[place].number, len(people)) for place in shown], int
            )
        )
        tracker_ids.append(
            np.array([tracks.setdefault(int(poses.ids[row]), len(tracks)) for row in rows], int)
        )
        similarities.append(similar[np.ix_(shown, rows)].astype(np.float64))
    return {
        "gt_ids": gt_ids,
        "tracker_ids": tracker_ids,
        "similarity_scores": similarities,
        "num_timesteps": len(frames),
        "num_gt_ids": len(people),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, tracker_ids)),
    }


def smoothed(
    frames: Sequence[TrueFrame], results: Sequence[Poses], smoother: PoseSmoother
) -> list[Poses]:
    """Return the results smoothed."""
    return [smoother(poses, frame.time_s) for frame, poses in zip(frames, results, strict=True)]


def joint_tracks(
    frames: Sequence[TrueFrame], results: Sequence[Poses], role: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return predicted and true joints (frames, 17, 2) of each person of a role; NaN if missing."""
    found: dict[int, np.ndarray] = {}
    true: dict[int, np.ndarray] = {}
    for index, (frame, poses) in enumerate(zip(frames, results, strict=True)):
        for place, row in assign(_box_iou(frame.truth, poses), 0.5):
            person = frame.truth[place]
            if person.role == role:
                for tracks in (found, true):
                    tracks.setdefault(person.number, np.full((len(frames), 17, 2), np.nan))
                joints, box = person.joints_image, person.box_image
                size = np.sqrt((box[2:] - box[:2]).prod())
                near = np.linalg.norm(joints[:, :2] - poses.points_image[row], axis=1) < 0.2 * size
                use = near & (joints[:, 2] > 0)
                found[person.number][index, use] = poses.points_image[row][use]
                true[person.number][index, use] = joints[use, :2]
    return [(found[number], true[number]) for number in sorted(found)]


def jitter_px(frames: Sequence[TrueFrame], results: Sequence[Poses]) -> float:
    """Return the mean length of the second difference of standing people's joints, in pixels."""
    bends = [np.diff(found, n=2, axis=0) for found, _ in joint_tracks(frames, results, "standing")]
    return float(np.nanmean(np.linalg.norm(np.concatenate(bends, axis=1), axis=2)))


def lag_frames(
    frames: Sequence[TrueFrame], results: Sequence[Poses], *, fps: float, swing_hz: float
) -> float:
    """Return the delay in frames of swinging people's wrists, by the phase of the swing."""
    lags = []
    for found, true in joint_tracks(frames, results, "swinging"):
        for wrist in (9, 10):
            is_found = np.isfinite(found[:, wrist, 0])
            if is_found.mean() > 2 / 3:
                turn = 2 * np.pi * swing_hz * np.flatnonzero(is_found) / fps
                true_x, found_x = true[is_found, wrist, 0], found[is_found, wrist, 0]
                behind = _phase(true_x, turn) - _phase(found_x, turn)
                lags.append(((behind + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi * swing_hz) * fps)
    return float(np.mean(lags))


def _phase(x: np.ndarray, turn: np.ndarray) -> float:
    """The phase of a sine of known frequency, by least squares."""
    basis = np.stack([np.sin(turn), np.cos(turn), np.ones_like(turn)], axis=1)
    (a, b, _), *_ = np.linalg.lstsq(basis, x, rcond=None)
    return float(np.arctan2(b, a))


Update = Callable[[Poses, float], Poses]


def by_tracker(frames: Sequence[TrueFrame], poses: Sequence[Poses], update: Update) -> list[Poses]:
    """Return the poses of every frame with the ids of a tracker."""
    return [update(found, frame.time_s) for frame, found in zip(frames, poses, strict=True)]


def by_our_tracker(frames: Sequence[TrueFrame], poses: Sequence[Poses]) -> list[Poses]:
    """Return the poses with the ids of ``Tracker``, which also uses the colors of the images."""
    tracker = Tracker(poses[0].skeleton)
    return [
        tracker.update(found, frame.time_s, image=frame.image)
        for frame, found in zip(frames, poses, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFigures:
    """Jitter of standing people and lag of swinging wrists, without and with smoothing."""

    swing_hz: float
    jitter_px: float
    jitter_smoothed_px: float
    lag_frames: float
    lag_smoothed_frames: float


def motion_figures(
    video: SceneVideo, pipeline: Pipeline, *, swing_hz: float, smoother: PoseSmoother
) -> MotionFigures:
    """Return jitter and lag in a video of ``scene.still_and_swinging`` with true boxes."""
    frames = all_frames(video)
    raw = follow_all(frames, pipeline, TrueBoxes())
    smooth = smoothed(frames, raw, smoother)
    lags = [
        lag_frames(frames, results, fps=video.fps, swing_hz=swing_hz) for results in (raw, smooth)
    ]
    return MotionFigures(
        swing_hz=swing_hz,
        jitter_px=jitter_px(frames, raw),
        jitter_smoothed_px=jitter_px(frames, smooth),
        lag_frames=lags[0],
        lag_smoothed_frames=lags[1],
    )


def all_trackers(
    frames: Sequence[TrueFrame], pipeline: Pipeline, true_boxes: TrueBoxes | None
) -> dict[str, list[Poses]]:
    """Return the poses of a video with the ids of each tracker, by the tracker's name."""
    poses = pose_all(frames, pipeline, true_boxes)
    return {
        "plain IoU": by_tracker(frames, poses, PlainIou(keep_s=0.2).update),
        "plain IoU, keeps 3 s": by_tracker(frames, poses, PlainIou(keep_s=3.0).update),
        "Tracker": by_our_tracker(frames, poses),
        f"Follower, 1 in {DETECT_EVERY}": follow_all(frames, pipeline, true_boxes),
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
        annotations: COCO keypoints of people.
        images: Folder of their images.
        seeds: Seeds; each gives one video of crossings.
        threads: CPU threads of the models.
        swings: Frequencies in Hz of the swinging people; each gives one video.
    """
    cutouts, backgrounds = read_cutouts(annotations, images)
    pipeline = load(threads=threads)
    runs: dict[tuple[str, str], list[tuple[Sequence[TrueFrame], Sequence[Poses]]]] = {}
    for seed in seeds:
        frames = all_frames(scene.crossings(cutouts, backgrounds[seed % len(backgrounds)], seed))
        nothing = np.zeros((0, 0, 3), np.uint8)
        # The images of a video are 200 MB; the ground truth is enough.
        truth_only = [replace(frame, image=nothing) for frame in frames]
        for boxes, true_boxes in (("detector", None), ("true", TrueBoxes())):
            for name, results in all_trackers(frames, pipeline, true_boxes).items():
                runs.setdefault((boxes, name), []).append((truth_only, results))
    ids: dict[str, dict[str, float]] = {}
    for (boxes, name), videos in sorted(runs.items(), key=lambda entry: entry[0][0]):
        ids[f"{boxes} boxes: {name}"] = scores(videos)
        print(f"{boxes + ' boxes':15s} {name:21s} {ids[f'{boxes} boxes: {name}']}", flush=True)
    motion = []
    for swing_hz in swings:
        video = scene.still_and_swinging(cutouts, backgrounds[0], seeds[0], swing_hz=swing_hz)
        found = motion_figures(video, pipeline, swing_hz=swing_hz, smoother=PoseSmoother())
        motion.append({name: round(value, 3) for name, value in asdict(found).items()})
        print(motion[-1], flush=True)
    about = {**machine.about(), "pose": pipeline.estimator.session.info.name, "seeds": seeds}
    print(json.dumps({**about, "ids": ids, "motion": motion}))


if __name__ == "__main__":
    run(main, sys.argv[1:], prog=sys.argv[0])
