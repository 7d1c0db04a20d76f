from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import slimpose
from slimpose.runtime import auto_backend, timing
from slimpose.runtime.auto_backend import (
    BackendChoice,
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


def backend(name: str, precisions: tuple[str, ...] = ("fp32",), *, version: str = "1.0") -> BackendStatus:
    install = "" if version else f"pip install {name}"
    return BackendStatus(name=name, version=version, precisions=precisions, providers=(), install=install)


def found(*, openvino: str = "2.0") -> dict[str, BackendStatus]:
    return {
        "onnxruntime": backend("onnxruntime"),
        "openvino": backend("openvino", ("fp32", "bf16"), version=openvino),
        "tensorrt": backend("tensorrt", (), version=""),
    }


class Clock:
    """A time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeSession(Session):
    """A session whose calls take as long as is said."""

    def __init__(self, path: Path, clock: Clock, ms: float) -> None:
        super().__init__(path, threads=1)
        self._clock, self._ms = clock, ms

    def run(self, batch: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        self._clock.now_s += self._ms / 1e3
        return super().run(batch, outputs)


class Machine:
    """Opens sessions that take so many milliseconds a call; None cannot be opened. Counts the openings."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, ms: dict[BackendChoice, float | None]
    ) -> None:
        self.clock, self.ms, self.opened = Clock(), ms, 0
        real = timing.time_interleaved
        monkeypatch.setattr(
            auto_backend,
            "time_interleaved",
            lambda calls, **given: real(calls, **given, clock_s=self.clock),
        )

    def open_one(self, path: Path, _threads: int, choice: BackendChoice) -> Session:
        self.opened += 1
        ms = self.ms[choice]
        if ms is None:
            raise BackendError("the driver is gone")
        return FakeSession(path, self.clock, ms)


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return write_pose_model(tmp_path / "pose.onnx")


@pytest.mark.parametrize(
    ("own", "precision", "expected"),
    [
        ("fp32", "", [ORT, OPENVINO]),  # nothing that costs accuracy unasked
        ("fp32", "fp32", [ORT, OPENVINO]),
        ("int8", "", [ORT, OPENVINO]),
        ("int8", "int8", [ORT, OPENVINO]),
        ("fp32", "bf16", [BF16]),
        ("fp32", "any", [ORT, OPENVINO, BF16]),
        ("int8", "any", [ORT, OPENVINO, BF16]),
    ],
)
def test_only_precisions_that_were_accepted_are_tried(
    own: str, precision: str, expected: list[BackendChoice]
) -> None:
    assert choices_for_precision(own, precision, found()) == expected


def test_a_precision_that_nothing_computes_says_what_could_be_installed() -> None:
    with pytest.raises(
        BackendError,
        match="computes a file of fp32 in bf16; not installed: openvino: pip install openv",
    ):
        choices_for_precision("fp32", "bf16", found(openvino=""))
    with pytest.raises(
        BackendError, match="the file is fp32; expected an INT8 file for int8, in any backend"
    ):
        choices_for_precision("fp32", "int8", found())
    with pytest.raises(
        BackendError, match="the file is int8, and its layers stay so; expected an FP32 file"
    ):
        choices_for_precision("int8", "fp32", found(openvino=""))


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
def test_the_fastest_is_chosen_and_the_default_unless_another_is_clearly_faster(
    pose: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ms: dict[BackendChoice, float | None],
    expected: BackendChoice,
) -> None:
    machine = Machine(monkeypatch, ms)
    verdict = choose_backend(
        pose, threads=1, cache=tmp_path / "c.json", available=found(), open_model=machine.open_one
    )
    assert verdict.choice == expected
    assert not verdict.is_cached
    assert verdict.median_ms == {
        str(one): pytest.approx(taken) for one, taken in ms.items() if taken is not None
    }
    assert verdict.failed == {
        str(one): "the driver is gone" for one, taken in ms.items() if taken is None
    }


def test_a_trial_lasts_as_long_as_it_may(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, {ORT: 100.0, OPENVINO: 50.0})
    choose_backend(
        pose,
        threads=1,
        cache=tmp_path / "c.json",
        available=found(),
        open_model=machine.open_one,
        seconds=1.0,
    )
    assert 1.0 <= machine.clock.now_s < 1.5


def test_where_nothing_runs_all_reasons_are_told(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, {ORT: None, OPENVINO: None})
    with pytest.raises(
        RuntimeError, match=r"nothing here can run .*pose\.onnx: the driver is gone; the driver"
    ):
        choose_backend(
            pose, threads=1, cache=tmp_path / "c.json", available=found(), open_model=machine.open_one
        )


def test_a_trial_is_remembered_for_the_same_weights_threads_precision_and_versions(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "c.json"
    machine = Machine(monkeypatch, {ORT: 10.0, OPENVINO: 5.0, BF16: 3.0})

    def again(**changes: Any) -> bool:
        given: dict[str, Any] = {"threads": 1, "found": found(), **changes}
        return choose_backend(
            given.pop("path", pose), cache=cache, open_model=machine.open_one, **given
        ).is_cached

    assert not again()
    opened = machine.opened
    assert again()
    assert machine.opened == opened
    assert not again(threads=2)
    assert not again(precision="any")
    assert not again(found=found(openvino="2.1"))
    other = write_pose_model(
        tmp_path / "other.onnx", metadata={**metadata_of("pose", CROP), "name": "other"}
    )
    assert not again(path=other)
    assert not again(again=True)
    assert again()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"KEY": 3}',
        '{"KEY": {}}',
        '{"KEY": {"backend": "gone", "precision": ""}}',
    ],
)
def test_a_broken_cache_is_as_none_and_is_mended(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    cache = tmp_path / "c.json"
    machine = Machine(monkeypatch, {ORT: 10.0, OPENVINO: 5.0})

    def go() -> auto_backend.TrialResult:
        return choose_backend(
            pose, threads=1, cache=cache, available=found(), open_model=machine.open_one
        )

    go()
    (key,) = json.loads(cache.read_text())
    cache.write_text(content.replace("KEY", key))
    assert not go().is_cached
    assert go() == auto_backend.TrialResult(
        choice=OPENVINO,
        median_ms={"onnxruntime": 10.0, "openvino": 5.0},
        failed={},
        is_cached=True,
    )


def test_a_cache_that_cannot_be_written_disturbs_nobody(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    machine = Machine(monkeypatch, {ORT: 10.0, OPENVINO: 5.0})
    cache = tmp_path / "file" / "c.json"
    assert (
        choose_backend(
            pose, threads=1, cache=cache, available=found(), open_model=machine.open_one
        ).choice
        == OPENVINO
    )


def test_the_cache_lies_where_the_user_keeps_such_things(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert auto_backend.cache_folder() == tmp_path / "slimpose"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert auto_backend.cache_folder() == Path.home() / ".cache" / "slimpose"


def test_auto_opens_what_is_here(
    pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_backend, "TRIAL_ROUNDS", 2)
    detector = write_detector_model(tmp_path / "detector.onnx")
    session = slimpose.load(pose, detector, 1, backend="auto").estimator.session
    assert isinstance(session, Session)
    assert session.precision == "fp32"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "tpu"}, "no backend is named 'tpu'; expected auto or one of onnxruntime"),
        ({"precision": "fp7"}, "no precision is named 'fp7'; expected any or one of fp32"),
        ({"precision": "any"}, "--precision any lets --backend auto choose; expected both"),
    ],
)
def test_unknown_names_are_refused(pose: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        open_session(pose, **given)


def test_things_that_take_turns_are_warmed_up_and_counted() -> None:
    clock, taken = Clock(), {"a": iter([90, 90, 1, 2, 3]), "b": iter([90, 90, 5, 5, 5])}

    def work(name: str) -> None:
        clock.now_s += next(taken[name]) / 1e3

    calls = {name: lambda name=name: work(name) for name in taken}
    times = timing.time_interleaved(calls, rounds=3, warm_up=2, clock_s=clock)
    assert (times["a"].median_ms, times["a"].min_ms, times["a"].calls) == (
        pytest.approx(2),
        pytest.approx(1),
        3,
    )
    assert times["a"].p95_ms == pytest.approx(2.9)
    assert times["b"].median_ms == pytest.approx(5)


def test_one_round_is_timed_however_late_it_is() -> None:
    clock = Clock()

    def work() -> None:
        clock.now_s += 10

    assert (
        timing.time_interleaved({"slow": work}, rounds=9, warm_up=3, seconds=1.0, clock_s=clock)[
            "slow"
        ].calls
        == 1
    )
