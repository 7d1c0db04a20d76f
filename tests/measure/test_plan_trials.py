from pathlib import Path

from slimpose.measure.plan_trials import quality_of
from slimpose.runtime import models
from slimpose.runtime.session import Session
from synthetic_models import write_pose_model


def test_quality_is_the_ap_less_the_loss_by_quantization() -> None:
    opened = {name: Session(path, threads=1) for name, path in models.shipped().items()}
    quality = {
        name: quality_of(model) for name, model in opened.items() if model.info.task == "pose"
    }
    assert set(quality) == {"hr", "hr-fast", "mnv2", "mnv2-int8"}
    # The accuracy budget of quantize.
    assert 0.5 < quality["mnv2-int8"] < quality["mnv2"] < quality["mnv2-int8"] + 0.005


def test_model_without_ap_has_quality_0(tmp_path: Path) -> None:
    assert quality_of(Session(write_pose_model(tmp_path / "pose.onnx"))) == 0
