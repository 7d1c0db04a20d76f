from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slimpose
from slimpose.runtime import auto_backend, timing
from slimpose.runtime.auto_backend import (
    BackendChoice,
    TrialResult,
    choices_for_precision,
    choose_backend,
    open_session,
)
from slimpose.runtime.backends.available import BackendStatus
from slimpose.runtime.backends.base import BackendError
from slimpose.runtime.session import Session
from synthetic_models import CROP, metadata_of, write_detector_model, write_pose_model

ORT, OPENVINO = BackendChoice(), BackendChoice(backend="openvino")
BF16 = BackendChoice(backend="openvino", precision="bf16")


def status(
    name: str, precisions: tuple[str, ...] = ("fp32",), *, version: str = "1.0"
) -> BackendStatus:
    return BackendStatus(
        name=name,
        version=version,
        precisions=precisions,
        providers=(),
        install="" if version else f"pip install {name}",
    )


def statuses(*, openvino: str = "2.0") -> dict[str, BackendStatus]:
    return {
        "onnxruntime": status("onnxruntime"),
        "openvino": status("openvino", ("fp32", "bf16"), version=openvino),
        "tensorrt": status("tensorrt", (), version=""),
    }


class Clock:
    """A clock that only fake work moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeSession(Session):
    """A session whose calls take a fixed time."""

    def __init__(self, path: Path, clock: Clock, ms: float) -> None:
        super().__init__(path, threads=1)
        self._clock, self._ms = clock, ms

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        self._clock.now_s += self._ms / 1e3
        return super().run(batch, outputs)


class Machine:
    """Opens sessions of fixed milliseconds per call, None for an error; counts the openings."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        ms: dict[BackendChoice, float | None],
    ) -> None:
        self.clock, self.ms, self.opened = Clock(), ms, 0
        self.cache = folder / "c.json"
        real = timing.time_interleaved
        monkeypatch.setattr(
            auto_backend,
            "time_interleaved",
            lambda calls, **options: real(calls, **options, clock_s=self.clock),
        )

    def open_model(self, path: Path, _threads: int | None, choice: BackendChoice) -> Session:
        self.opened += 1
        ms = self.ms[choice]
        if ms is None:
            raise BackendError("the driver is gone")
        return FakeSession(path, self.clock, ms)

    def choose(self, path: Path, **changes: Any) -> TrialResult:
        options: dict[str, Any] = {"threads": 1, "available": statuses(), "cache": self.cache}
        return choose_backend(path, open_model=self.open_model, **(options | changes))


NewMachine = Callable[[dict[BackendChoice, float | None]], Machine]


@pytest.fixture
def new_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewMachine:
    return partial(Machine, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("own", "precision", "expected"),
    [
        ("fp32", None, [ORT, OPENVINO]),  # nothing that costs accuracy by default
        ("fp32", "fp32", [ORT, OPENVINO]),
        ("int8", None, [ORT, OPENVINO]),
        ("int8", "int8", [ORT, OPENVINO]),
        ("fp32", "bf16", [BF16]),
        ("fp32", "any", [ORT, OPENVINO, BF16]),
        ("int8", "any", [ORT, OPENVINO, BF16]),
    ],
)
def test_only_allowed_precisions_are_tried(
    own: str, precision: str | None, expected: list[BackendChoice]
) -> None:
    assert choices_for_precision(own, precision, statuses()) == expected


def test_unavailable_precision_reports_what_to_install() -> None:
    with pytest.raises(
        BackendError,
        match="computes a file of fp32 in bf16; not installed: openvino: pip install openv",
    ):
        choices_for_precision("fp32", "bf16", statuses(openvino=""))
    with pytest.raises(
        BackendError, match="the file is fp32; expected an INT8 file for int8, in any backend"
    ):
        choices_for_precision("fp32", "int8", statuses())
    with pytest.raises(
        BackendError, match="the file is int8, and its layers stay so; expected an FP32 file"
    ):
        choices_for_precision("int8", "fp32", statuses(openvino=""))


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        ({ORT: 10.0, OPENVINO: 7.0}, OPENVINO),
        ({ORT: 10.0, OPENVINO: 12.0}, ORT),
        ({ORT: 10.0, OPENVINO: 9.8}, ORT),  # not clearly faster
        ({ORT: 10.0, OPENVINO: None}, ORT),
        ({ORT: None, OPENVINO: 12.0}, OPENVINO),
    ],
)
def test_default_backend_is_chosen_unless_another_is_clearly_faster(
    pose: Path,
    new_machine: NewMachine,
    ms: dict[BackendChoice, float | None],
    expected: BackendChoice,
) -> None:
    result = new_machine(ms).choose(pose)
    assert result.choice == expected
    assert not result.is_cached
    assert result.median_ms == {
        str(choice): pytest.approx(taken) for choice, taken in ms.items() if taken is not None
    }
    assert result.failed == {
        str(choice): "the driver is gone" for choice, taken in ms.items() if taken is None
    }


def test_trial_lasts_as_long_as_requested(pose: Path, new_machine: NewMachine) -> None:
    machine = new_machine({ORT: 100.0, OPENVINO: 50.0})
    machine.choose(pose, seconds=1.0)
    assert 1.0 <= machine.clock.now_s < 1.5


def test_all_reasons_are_reported_if_nothing_runs(pose: Path, new_machine: NewMachine) -> None:
    machine = new_machine({ORT: None, OPENVINO: None})
    with pytest.raises(
        RuntimeError, match=r"nothing here can run .*pose\.onnx: the driver is gone; the driver"
    ):
        machine.choose(pose)


def test_result_is_cached_by_weights_threads_precision_and_versions(
    pose: Path, tmp_path: Path, new_machine: NewMachine
) -> None:
    machine = new_machine({ORT: 10.0, OPENVINO: 5.0, BF16: 3.0})
    machine.cache = tmp_path / "deep" / "c.json"
    assert not machine.choose(pose).is_cached
    opened = machine.opened
    assert machine.choose(pose).is_cached
    assert machine.opened == opened
    assert not machine.choose(pose, threads=2).is_cached
    assert not machine.choose(pose, precision="any").is_cached
    assert not machine.choose(pose, available=statuses(openvino="2.1")).is_cached
    other = write_pose_model(
        tmp_path / "other.onnx", metadata={**metadata_of("pose", CROP), "name": "other"}
    )
    assert not machine.choose(other).is_cached
    assert not machine.choose(pose, refresh=True).is_cached
    assert machine.choose(pose).is_cached


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"KEY": 3}',
        '{"KEY": {}}',
        '{"KEY": {"backend": "gone", "precision": null}}',
    ],
)
def test_broken_cache_is_ignored_and_replaced(
    pose: Path, new_machine: NewMachine, content: str
) -> None:
    machine = new_machine({ORT: 10.0, OPENVINO: 5.0})
    machine.choose(pose)
    (key,) = json.loads(machine.cache.read_text())
    machine.cache.write_text(content.replace("KEY", key))
    assert not machine.choose(pose).is_cached
    assert machine.choose(pose) == TrialResult(
        choice=OPENVINO,
        median_ms={"onnxruntime": 10.0, "openvino": 5.0},
        failed={},
        is_cached=True,
    )


def test_cache_that_cannot_be_written_is_ignored(
    pose: Path, tmp_path: Path, new_machine: NewMachine
) -> None:
    (tmp_path / "file").write_text("not a folder")
    machine = new_machine({ORT: 10.0, OPENVINO: 5.0})
    assert machine.choose(pose, cache=tmp_path / "file" / "c.json").choice == OPENVINO


def test_cache_is_in_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert auto_backend.cache_folder() == tmp_path / "slimpose"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, by its specification
    assert auto_backend.cache_folder() == Path.home() / ".cache" / "slimpose"


def test_auto_opens_an_installed_backend(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_backend, "TRIAL_ROUNDS", 2)
    detector = write_detector_model(tmp_path / "detector.onnx")
    session = slimpose.load(pose, detector, 1, backend="auto").estimator.session
    assert isinstance(session, Session)
    assert session.precision == "fp32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tpu"}, "no backend is named 'tpu'; expected auto or one of onnxruntime"),
        ({"precision": "fp7"}, "no precision is named 'fp7'; expected any or one of fp32"),
        ({"precision": "any"}, "--precision any lets --backend auto choose; expected both"),
    ],
)
def test_unknown_names_are_rejected(pose: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        open_session(pose, **options)


def test_auto_rejects_threads_under_one(pose: Path) -> None:
    with pytest.raises(ValueError, match=r"threads is 0; expected 1\.\.1024"):
        open_session(pose, backend="auto", threads=0)
