"""A model with little training: people who cannot be followed are reported."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

import slimpose
from slimpose.arrays import Size
from slimpose.poses import Poses
from slimpose.runtime.estimator import CropBatch, PoseEstimator
from synthetic_models import dot_image, write_detector_model, write_pose_model


@pytest.mark.parametrize(("factor", "notes"), [(0.1, 1), (1.0, 0)])
def test_people_who_cannot_be_followed_are_reported_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    factor: float,
    notes: int,
) -> None:
    estimate = PoseEstimator.estimate_crops

    def scaled(estimator: PoseEstimator, crops: CropBatch) -> list[Poses]:
        return [
            dataclasses.replace(poses, scores=poses.scores * factor)
            for poses in estimate(estimator, crops)
        ]

    monkeypatch.setattr(PoseEstimator, "estimate_crops", scaled)
    pose = write_pose_model(tmp_path / "pose.onnx")
    detector = write_detector_model(tmp_path / "detector.onnx")
    follower = slimpose.Follower(slimpose.load(pose, detector), detect_every=1)
    with caplog.at_level(logging.WARNING, "slimpose"):
        for number in range(20):
            image = dot_image(Size(96, 96), 30 + number, 40)
            follower.step([slimpose.Frame(image=image, timestamp_s=number / 25)])
    found = [text for text in caplog.messages if "none can be followed" in text]
    assert len(found) == notes
