from pathlib import Path

import pytest

from drawn_person import drawn_person
from slimpose.measure.pipeline_latency import STAGES, time_pipeline
from slimpose.measure.synthetic_video import make_video
from slimpose.runtime.session import Session
from synthetic_models import write_detector_model, write_pose_model


def test_all_people_of_all_cameras_are_processed(tmp_path: Path) -> None:
    pose = Session(write_pose_model(tmp_path / "pose.onnx"), threads=1)
    detector = Session(write_detector_model(tmp_path / "detector.onnx"), threads=1)
    video = make_video([drawn_person()], 3, frames=4)
    times = time_pipeline(pose, detector, video, cameras=2, detect_every=1, steps=4, seconds=60.0)
    assert times.people_per_frame >= 3
    assert times.detector_share == pytest.approx(1.0)
    assert set(times.stages_ms) == set(STAGES)
    assert sum(times.stages_ms.values()) <= 1.2 * 1e3 / times.fps
    assert times.step.calls == 4
