"""The machine as read from files as Linux writes them, and ``slimpose doctor``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from run_cli import Capture
from run_main import run_main
from slimpose.cli.doctor import describe_machine, explain_choice
from slimpose.runtime import auto_backend
from slimpose.runtime.auto_backend import BackendChoice, TrialResult
from slimpose.runtime.machine import peak_memory_bytes, read_machine
from synthetic_models import write_pose_model

X86 = (
    "processor\t: 0\nmodel name\t: Tiny CPU\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\n"
    "model name\t: Other\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n"
MEMORY = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\n"


def linux(root: Path, **files: str) -> Path:
    """Write files by path, or by one of three short names, and return the folder."""
    names = {"cpuinfo": "proc/cpuinfo", "meminfo": "proc/meminfo", "cgroup": "proc/self/cgroup"}
    for name, content in files.items():
        path = root / names.get(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_avx512_and_vnni_are_read(tmp_path: Path) -> None:
    machine = read_machine(linux(tmp_path, cpuinfo=X86, meminfo=MEMORY), architecture="x86_64")
    assert machine.cpu == "Tiny CPU"
    assert machine.features == {
        "avx2": True,
        "avx512f": True,
        "vnni": True,
        "avx512_bf16": False,
        "amx": False,
    }
    assert (machine.memory_bytes, machine.available_bytes) == (8_192_000_000, 4_096_000_000)


def test_small_board_is_named_after_the_board(tmp_path: Path) -> None:
    root = linux(tmp_path, cpuinfo=ARM, **{"proc/device-tree/model": "Raspberry Pi 5 Model B\0"})
    machine = read_machine(root, architecture="aarch64")
    assert machine.cpu == "Raspberry Pi 5 Model B"
    assert machine.features == {"asimd": True, "dotprod": True, "bf16": False, "i8mm": False}


@pytest.mark.parametrize(
    ("group", "files", "quota", "threads"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5, 1),
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, None, None),
        # The parent's counts too.
        ("0::/box/in", {"sys/fs/cgroup/box/cpu.max": "150000 100000"}, 1.5, 1),
        # Without a period.
        ("4:cpu,cpuacct:/d", {"sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "100000"}, None, None),
        (
            "4:cpu,cpuacct:/d",
            {
                "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000",
            },
            1.0,
            1,
        ),
        ("4:cpu:/d", {"sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1"}, None, None),
    ],
)
def test_threads_are_limited_by_the_control_groups_quota(
    tmp_path: Path, group: str, files: dict[str, str], quota: float | None, threads: int | None
) -> None:
    machine = read_machine(
        linux(tmp_path, cpuinfo=X86, cgroup=group, **files), architecture="x86_64"
    )
    assert machine.quota_cores == quota
    assert machine.threads == (threads or min(machine.cores, machine.affinity or machine.cores))


def test_memory_is_limited_by_the_control_group(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "1000000000\n"}
    machine = read_machine(
        linux(tmp_path, cpuinfo=X86, meminfo=MEMORY, cgroup="0::/", **files), architecture="x86_64"
    )
    assert machine.memory_bytes == machine.available_bytes == 1_000_000_000


def test_unknown_facts_are_reported(tmp_path: Path) -> None:
    machine = read_machine(tmp_path, architecture="arm64")
    assert machine.features == {}
    assert machine.memory_bytes is None
    assert machine.cores == (os.cpu_count() or 1)
    (reported,) = [
        line for line in describe_machine(machine) if line.startswith("could not determine")
    ]
    for word in ("features", "quota", "memory"):
        assert word in reported


@pytest.mark.parametrize(
    ("cpuinfo", "architecture", "is_reported"),
    [
        (X86, "x86_64", False),
        (X86.replace("avx512_vnni", "sse4_2"), "x86_64", True),
        (ARM, "aarch64", False),
    ],
)
def test_int8_that_saves_no_time_is_reported(
    tmp_path: Path, cpuinfo: str, architecture: str, is_reported: bool
) -> None:
    machine = read_machine(linux(tmp_path, cpuinfo=cpuinfo), architecture=architecture)
    lines = describe_machine(machine)
    assert any("INT8 files save memory here, not time" in line for line in lines) == is_reported


def test_peak_memory_of_this_process_is_known() -> None:
    peak = peak_memory_bytes()
    assert peak is None or peak > 10_000_000


@pytest.mark.parametrize(
    ("median_ms", "backend", "expected"),
    [
        ({}, "onnxruntime", "it is the only one that is installed for this"),
        (
            {"onnxruntime": 9.0},
            "onnxruntime",
            "it is the only one that runs (onnxruntime 9.0 ms; measured now)",
        ),
        (
            {"onnxruntime": 9.0, "openvino": 6.0},
            "openvino",
            "the fastest, 1.50 times as fast as onnxruntime (onnxr",
        ),
        (
            {"onnxruntime": 9.0, "openvino": 9.0},
            "onnxruntime",
            "no other takes under 95 % of its time",
        ),
    ],
)
def test_choice_is_explained(median_ms: dict[str, float], backend: str, expected: str) -> None:
    result = TrialResult(
        choice=BackendChoice(backend=backend), median_ms=median_ms, failed={}, is_cached=False
    )
    assert explain_choice(result).startswith(expected)


@pytest.fixture
def short_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(auto_backend, "TRIAL_ROUNDS", 2)


@pytest.mark.usefixtures("short_trial")
def test_doctor_reports_machine_backends_and_choice(tmp_path: Path, capsys: Capture) -> None:
    pose = str(write_pose_model(tmp_path / "pose.onnx"))
    assert run_main("doctor", "--model", pose, "--threads", "1", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["machine"]["threads"] >= 1
    names = [backend["name"] for backend in report["backends"]]
    assert names == [
        "onnxruntime",
        "openvino",
        "tensorrt",
        "cuda",
        "litert",
        "ncnn",
        "tensorrt-engine",
    ]
    for backend in report["backends"]:
        assert bool(backend["version"]) != bool(backend["install"])
    assert report["choices"]["own"]["choice"]["precision"] is None
    assert run_main("doctor", "--model", pose, "--threads", "1") == 0
    text = capsys.readouterr().out
    assert "processor: " in text
    assert "in its own precision" in text


@pytest.mark.usefixtures("short_trial")
def test_doctor_without_trial_makes_no_choice(tmp_path: Path, capsys: Capture) -> None:
    pose = str(write_pose_model(tmp_path / "pose.onnx"))
    assert run_main("doctor", "--model", pose, "--no-try-backends", "--json") == 0
    assert json.loads(capsys.readouterr().out)["choices"] == {}
    assert run_main("doctor", "--precision", "fp7") == 2
    assert "no precision is named 'fp7'" in capsys.readouterr().err
