"""The ``supervision`` package takes the poses: zones, counters, annotators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import supervision

import slimpose
from run_cli import write_models, write_walk
from slimpose.formats.supervision import to_keypoints
from slimpose.media.sources import open_media
from walkers import poses_of


def test_detections_have_ids_scores_and_keypoints() -> None:
    poses = poses_of([(50, 100), (200, 100)], ids=[7, 9])
    detections: Any = poses.to_supervision()
    np.testing.assert_array_equal(detections.xyxy, poses.boxes_image)
    np.testing.assert_array_equal(detections.confidence, poses.person_scores)
    assert detections.tracker_id.tolist() == [7, 9]
    assert detections.class_id.tolist() == [0, 0]
    second: Any = detections[detections.tracker_id == 9]
    np.testing.assert_array_equal(second.data["keypoints"], poses.points_image[1:])
    np.testing.assert_array_equal(second.data["keypoint_scores"], poses.scores[1:])
    np.testing.assert_array_equal(second.data["covariance"], poses.covariances_image[1:])
    assert second.data["class_name"].tolist() == ["person"]
    detections.xyxy[:] = 0  # a copy
    assert poses.boxes_image.any()
    assert isinstance(detections, supervision.Detections)


def test_people_without_ids_and_no_people() -> None:
    assert poses_of([(50, 100)]).to_supervision().tracker_id is None
    empty = poses_of([]).to_supervision()
    assert len(empty) == 0
    merged: Any = supervision.Detections.merge([empty, poses_of([(50, 100)]).to_supervision()])
    assert len(merged) == 1


def test_keypoints_for_annotators() -> None:
    poses = poses_of([(50, 100), (200, 100)], ids=[7, 9])
    points: Any = to_keypoints(poses)
    np.testing.assert_array_equal(points.detection_confidence, poses.person_scores)
    np.testing.assert_array_equal(points.keypoint_confidence, poses.scores)
    assert points.as_detections().confidence.tolist() == poses.person_scores.tolist()
    assert points[1].data["covariance"].shape == (1, 17, 2, 2)


def test_line_zone_counts_our_ids_in_a_video(tmp_path: Path) -> None:
    """A walker crosses the line once; jumps back, which is a new person, and crosses it again."""
    options = write_models(tmp_path / "models")
    pipeline = slimpose.load(options[1], options[3], threads=1)
    video = write_walk(tmp_path / "walk.avi", 60)
    follower = slimpose.Follower(pipeline, detect_every=2)
    line = supervision.LineZone(
        start=supervision.Point(48, 0),
        end=supervision.Point(48, 96),
        triggering_anchors=[supervision.Position.CENTER],
    )
    crossed: list[int] = []
    for number, frame in enumerate(open_media(video).frames):
        if number == 30:
            follower.forget(0)
        (poses,) = follower.step([frame])
        detections: Any = poses.to_supervision()
        into, out = line.trigger(detections)
        crossed += poses.ids[into | out].tolist()
    assert crossed == [1, 2]
    assert line.in_count + line.out_count == 2
    assert 0 in (line.in_count, line.out_count)  # both in one direction
