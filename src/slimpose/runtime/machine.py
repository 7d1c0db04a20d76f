"""This machine: processor and its instructions, the threads a process may use, memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

X86_FEATURES: Mapping[str, tuple[str, ...]] = {
    "avx2": ("avx2",),
    "avx512f": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "avx512_bf16": ("avx512_bf16",),
    "amx": ("amx_tile", "amx_int8", "amx_bf16"),
}
ARM_FEATURES: Mapping[str, tuple[str, ...]] = {
    "asimd": ("asimd",),
    "dotprod": ("asimddp",),
    "bf16": ("bf16",),
    "i8mm": ("i8mm",),
}
"""Instruction sets that speed up small networks, by any of the Linux kernel's names for them."""

_MAX_THREADS = 1024
_NO_LIMIT_BYTES = 1 << 60
"""Version 1 control groups say "unlimited" with a number as large as this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as a process sees it.

    Attributes:
        cpu: The processor's name.
        architecture: Such as "x86_64" or "aarch64".
        cores: Logical processors of the machine.
        threads: How many threads this process can keep busy: the minimum of cores, affinity and
            quota.
        affinity: Number of processors the process is bound to; None if unknown.
        quota_cores: Processor time a control group grants, in processors; None without a limit.
        features: Which of the architecture's features the processor has; empty if unknown.
        memory_bytes: Memory of the machine, or of the control group where that is less; None if
            unknown.
        available_bytes: Memory that is free now; None if unknown.
        unknown: What could not be determined.
    """

    cpu: str
    architecture: str
    cores: int
    threads: int
    affinity: int | None
    quota_cores: float | None
    features: Mapping[str, bool]
    memory_bytes: int | None
    available_bytes: int | None
    unknown: tuple[str, ...]


def check_threads(threads: int | None) -> None:
    """Check a number of CPU threads; None stands for an automatic choice.

    Raises:
        ValueError: If it is not an integer, under 1, or more than any machine has (starting them
            would take minutes).
    """
    if threads is not None and not (isinstance(threads, Integral) and 1 <= threads <= _MAX_THREADS):
        raise ValueError(
            f"threads is {threads!r}; expected 1..{_MAX_THREADS} (leave it out for an automatic "
            "choice)"
        )


def read_machine(root: Path = Path("/"), architecture: str | None = None) -> Machine:
    """Return what is known about this machine: everything on Linux, names and counts elsewhere.

    Args:
        root: The folder of ``proc`` and ``sys``.
        architecture: The processor's; that of this Python by default.
    """
    architecture = architecture or platform.machine()
    cpuinfo = _fields(root / "proc/cpuinfo")
    memory = _fields(root / "proc/meminfo")
    cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    quota_cores = _quota_cores(root)
    quota_threads = cores if quota_cores is None else max(1, int(quota_cores))
    features = _features(cpuinfo, architecture)
    memory_bytes = _bytes_of(memory.get("MemTotal"))
    available_bytes = _bytes_of(memory.get("MemAvailable"))
    limit_bytes = _memory_limit(root)
    if memory_bytes is not None and limit_bytes is not None:
        memory_bytes = min(memory_bytes, limit_bytes)
        available_bytes = min(available_bytes, limit_bytes) if available_bytes is not None else None
    unknown = [
        name
        for name, is_unknown in (
            ("processor features (no /proc/cpuinfo of a known kind)", not features),
            ("processors this process is bound to", affinity is None),
            ("processor quota (no control groups)", not (root / "proc/self/cgroup").is_file()),
            ("memory (no /proc/meminfo)", memory_bytes is None),
        )
        if is_unknown
    ]
    return Machine(
        cpu=_processor_name(root, cpuinfo) or platform.processor() or architecture or "unknown",
        architecture=architecture,
        cores=cores,
        threads=min(cores, affinity or cores, quota_threads),
        affinity=affinity,
        quota_cores=quota_cores,
        features=features,
        memory_bytes=memory_bytes,
        available_bytes=available_bytes,
        unknown=tuple(unknown),
    )


def overflows_int8(machine: Machine) -> bool | None:
    """Return whether sums of INT8 products overflow 16 bits (x86 without VNNI); None if unknown."""
    if _is_arm(machine.architecture):
        return False
    has_vnni = machine.features.get("vnni")
    return None if has_vnni is None else not has_vnni


def _fields(path: Path) -> dict[str, str]:
    """Return the first value of every key of a ``key : value`` file; {} if there is no file."""
    fields: dict[str, str] = {}
    for line in (_text(path) or "").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _processor_name(root: Path, cpuinfo: Mapping[str, str]) -> str:
    """Return the processor's name, or the board's: small ARM boards report only that."""
    board = (_text(root / "proc/device-tree/model") or "").strip("\0\n ")
    return cpuinfo.get("model name") or cpuinfo.get("Model") or board


def _features(cpuinfo: Mapping[str, str], architecture: str) -> dict[str, bool]:
    is_arm = _is_arm(architecture)
    flags = cpuinfo.get("Features" if is_arm else "flags")
    if flags is None:
        return {}
    present = set(flags.split())
    known = ARM_FEATURES if is_arm else X86_FEATURES
    return {feature: not present.isdisjoint(names) for feature, names in known.items()}


def _is_arm(architecture: str) -> bool:
    return architecture.lower().startswith(("arm", "aarch64"))


def _bytes_of(kilobytes: str | None) -> int | None:
    number = (kilobytes or "").partition(" ")[0]
    return 1024 * int(number) if number.isdigit() else None


def _group_folders(root: Path, controller: str) -> list[Path]:
    """Return the folders of the process's control group and its parents, of versions 1 and 2."""
    folders: list[Path] = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controller if controllers else root / "sys/fs/cgroup"
        folder = mount / group.strip().lstrip("/")
        folders += [folder, *(parent for parent in folder.parents if parent.is_relative_to(mount))]
    return folders


def _quota_cores(root: Path) -> float | None:
    quotas: list[float] = []
    for folder in _group_folders(root, "cpu"):
        quota, _, period = (_text(folder / "cpu.max") or "").strip().partition(" ")
        if not quota:
            quota = (_text(folder / "cpu.cfs_quota_us") or "").strip()
            period = (_text(folder / "cpu.cfs_period_us") or "").strip()
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory_limit(root: Path) -> int | None:
    limits: list[int] = []
    for folder in _group_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = (_text(folder / name) or "").strip()
            if text.isdigit() and int(text) < _NO_LIMIT_BYTES:
                limits.append(int(text))
    return min(limits, default=None)


def peak_memory_bytes() -> int | None:
    """Return the peak memory of this process since it started; None if unknown."""
    return _bytes_of(_fields(Path("/proc/self/status")).get("VmHWM"))
