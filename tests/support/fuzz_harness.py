"""Plays malformed inputs on the command line and counts what must not happen.

A worker process runs ``slimpose.cli.main.main`` for one case after another; a case that crashes or
hangs costs only the worker. What counts as a fault:

- an exception that leaves ``main``, or a printed traceback; a dead worker; no end within a minute
- an output that cannot be read, or a temporary or partial file left behind
- a rejection in more than one line, in Python's words, without the name of the input's file, with
  raw control characters, or of endless length; lines of other libraries

A kind of input is a ``Kind``; ``make`` builds its n-th case from a generator that depends on n.
As a program, this file is the worker.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import re
import select
import shutil
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEADLINE_S, FIRST_DEADLINE_S = 60.0, 300.0
"""Time limit of a case that takes 0.1 s on an idle machine, and of a worker's first, which imports
PyTorch."""
MAX_LINE, MAX_OUTPUT_LINE = 2200, 20_000
"""Characters of a line on standard error, and on standard output."""
SHARED = "shared"
"""Folder of the files that all cases of a kind use, next to their own folders."""

PYTHON_WORDS = re.compile(
    r"NoneType|object (is not|has no|cannot|does not)|is not (subscriptable|iterable|callable)"
    r"|index out of|out of bounds|KeyError|TypeError|ValueError|RuntimeError|OSError|Errno"
    r"|has no attribute|could not convert|invalid literal|unhashable|unpack|<class|int\(\)|float\("
    r"|(string|list|tuple|sequence) ind(ex|ices)|not supported between|unsupported operand"
    r"|positional argument|keyword argument|missing \d+ required|must be (str|int|real)"
    r"|argument must|codec can't|cannot convert float|math domain|inhomogeneous"
    r"|(division|modulo) (or modulo )?by zero"
    r"|setting an array|broadcast|recursion|ndarray|bytes-like|\bdict\b|\bstr\b",
)
FOREIGN_LINES = re.compile(
    r"^\[\w+ @ 0x|^\[ *(WARN|ERROR|INFO)|libpng|Corrupt JPEG|Premature end|^TIFF\w*:|onnxruntime"
    r"|^Warning:|Warning: |imread_\(|OpenCV\(|terminate called|Segmentation",
    re.MULTILINE,
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call with malformed input.

    Attributes:
        files: Contents of the files in the call's working folder, by name.
        arguments: Of ``slimpose``; paths are relative to that folder.
        subject: The malformed file, which a rejection must name; "" if none has to be named.
        outputs: Files and folders that the call may write.
    """

    files: Mapping[str, bytes]
    arguments: Sequence[str]
    subject: str
    outputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of input.

    Attributes:
        name: For the table, and the seed of every case.
        count: How many cases there are.
        make: Builds a case from its generator and the folder of shared files.
        prepare: Writes the shared files.
    """

    name: str
    count: int
    make: Callable[[random.Random, Path], Case]
    prepare: Callable[[Path], None] = lambda folder: None

    def case(self, number: int, shared: Path) -> Case:
        """Return the case of this number, the same in every run."""
        return self.make(random.Random(f"{self.name} {number}"), shared)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: its exit code, -1 without one, and what it printed."""

    code: int
    stdout: str = ""
    stderr: str = ""
    failure: str = ""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What the cases of a kind came to."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


COLUMNS = (
    "inputs", "accepted", "rejected", "traceback", "hang", "crash", "half-written", "message",
)  # fmt: skip


def table(tallies: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table of kinds, with their sums."""
    rows = [(str(tally["kind"]), tally["counts"]) for tally in tallies]
    rows.append(("all", dict(sum((Counter(counts) for _, counts in rows), Counter()))))
    width = max(len(kind) for kind, _ in rows)
    head = f"{'kind':<{width}}" + "".join(f"  {name:>12}" for name in COLUMNS)
    return [
        head,
        *(
            f"{kind:<{width}}" + "".join(f"  {counts.get(name, 0):>12}" for name in COLUMNS)
            for kind, counts in rows
        ),
    ]


def play(kind: Kind, folder: Path, *, every: int = 1) -> Tally:
    """Run every ``every``-th case of a kind in folders of its own; keep those with a fault."""
    shared = folder / SHARED
    shared.mkdir(parents=True)
    kind.prepare(shared)
    tally = Tally(kind=kind.name)
    worker = _Worker()
    try:
        for number in range(0, kind.count, every):
            case, place = kind.case(number, shared), folder / f"{number:04}"
            place.mkdir()
            for name, content in case.files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            outcome = worker.run(place, case.arguments)
            faults = find_faults(case, place, outcome)
            tally.counts["inputs"] += 1
            tally.counts["rejected" if _is_rejected(outcome) else "accepted"] += not outcome.failure
            for name, reason in faults:
                tally.counts[name] += 1
                call = " ".join(arg if len(arg) < 80 else "..." for arg in case.arguments)
                tally.faults.append(f"{place}: {name}: {reason}\n    slimpose {call}")
            if not faults:
                shutil.rmtree(place)
    finally:
        worker.stop()
    return tally


def check(
    kind: Kind, folder: Path, record: Callable[[str, object], None], *, every: int = 1
) -> None:
    """Play a kind; record its row for the table at the end; fail with the faults."""
    tally = play(kind, folder, every=every)
    record("fuzz", {"kind": tally.kind, "counts": dict(tally.counts)})
    assert tally.counts["inputs"] == math.ceil(kind.count / every)
    assert not tally.faults, f"{len(tally.faults)} faults:\n" + "\n".join(tally.faults)


def find_faults(case: Case, place: Path, outcome: Outcome) -> list[tuple[str, str]]:
    """Return a column of the table and a reason for everything that must not happen."""
    faults = []
    if outcome.failure:
        faults.append((outcome.failure, _last_line(outcome.stderr)))
    elif "Traceback (most recent call last)" in outcome.stdout + outcome.stderr:
        faults.append(("traceback", _last_line(outcome.stderr)))
    else:
        faults += [("message", reason) for reason in _unclear(case, outcome)]
    return faults + [("half-written", reason) for reason in _half_written(case, place)]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:300]


def _is_rejected(outcome: Outcome) -> bool:
    return outcome.code not in (0, 1) or outcome.stderr.startswith("slimpose: ")


def _unclear(case: Case, outcome: Outcome) -> list[str]:
    """Say what is wrong with the messages of a call that ended by itself."""
    lines = outcome.stderr.splitlines()
    reasons = []
    longest, longest_output = (
        max(map(len, text.splitlines()), default=0) for text in (outcome.stderr, outcome.stdout)
    )
    if longest > MAX_LINE or longest_output > MAX_OUTPUT_LINE:
        reasons.append(f"lines of {longest} and {longest_output} characters")
    if found := CONTROL.search(outcome.stderr + outcome.stdout):
        reasons.append(f"control character {found[0]!r}")
    if found := FOREIGN_LINES.search(outcome.stderr):
        reasons.append(f"another library's line: {outcome.stderr[found.start() :][:160]!r}")
    if _is_rejected(outcome):
        if found := PYTHON_WORDS.search(outcome.stderr):
            reasons.append(f"Python's words {found[0]!r}: {outcome.stderr[:300]!r}")
        if case.subject and Path(case.subject).stem not in outcome.stderr:
            reasons.append(f"{case.subject} is not named: {outcome.stderr[:300]!r}")
        if not outcome.stderr.startswith("slimpose: "):
            reasons.append(f"exit code {outcome.code}: {outcome.stderr[:300]!r}")
        others = [line for line in lines if not line.startswith("slimpose: ")]
        if others and len(lines) > 1 and "inputs failed" not in outcome.stderr:
            reasons.append(f"more than one line: {others[0][:200]!r}")
    return reasons


def _half_written(case: Case, place: Path) -> list[str]:
    """Say which files should not be there, or cannot be read."""
    reasons = []
    allowed = [place / name for name in case.outputs]
    for path in place.rglob("*"):
        name = path.relative_to(place).as_posix()
        if path.is_dir() or name in case.files:
            continue
        if path.name.startswith(".") or ".partial" in path.name:
            reasons.append(f"{name} is left")
        elif not any(path == output or output in path.parents for output in allowed):
            reasons.append(f"{name} was not asked for")
        elif problem := _unreadable(path):
            reasons.append(f"{name}: {problem}")
    return reasons


def _unreadable(path: Path) -> str:
    """Return why an output is not complete, "" if it is."""
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda file: json.loads(file.read_text(encoding="utf-8")),
        ".jsonl": lambda file: [json.loads(line) for line in file.read_text().splitlines()],
        ".csv": _read_csv,
        ".onnx": _read_onnx,
        ".safetensors": _read_safetensors,
        ".jpg": _read_image,
        ".png": _read_image,
        ".mp4": _read_video,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        return ""
    try:
        reader(path)
    except Exception as error:  # noqa: BLE001 - whatever a library raises
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def _read_csv(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("rows of different lengths, or none")


def _read_onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path))


def _read_safetensors(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="np") as opened:
        opened.metadata()


def _read_image(path: Path) -> None:
    import cv2

    if cv2.imread(str(path)) is None:
        raise ValueError("no image")


def _read_video(path: Path) -> None:
    import cv2

    if not cv2.VideoCapture(str(path)).read()[0]:
        raise ValueError("no frame")


class _Worker:
    """A process that runs calls; started again after one that crashed or hung."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._is_warm = False

    def run(self, folder: Path, arguments: Sequence[str]) -> Outcome:
        """Run ``slimpose`` in a folder."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        outputs = folder.with_suffix(".stdout"), folder.with_suffix(".stderr")
        request = {"folder": str(folder), "arguments": list(arguments)}
        request |= {"outputs": [str(path) for path in outputs]}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        limit_s = DEADLINE_S if self._is_warm else FIRST_DEADLINE_S
        ready, _, _ = select.select([process.stdout], [], [], limit_s)
        self._is_warm = True
        line = process.stdout.readline() if ready else ""
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in outputs]
        for path in outputs:
            path.unlink(missing_ok=True)
        if not line:
            self.stop()
            failure = "crash" if ready else "hang"
            reason = f"exit {process.returncode}" if ready else f"no end in {limit_s:g} s"
            return Outcome(-1, texts[0], f"{texts[1]}\n{reason}", failure)
        answer = json.loads(line)
        if answer["traceback"]:
            return Outcome(-1, texts[0], texts[1] + answer["traceback"], "traceback")
        return Outcome(answer["code"], *texts)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        self._is_warm = False
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._process


def _serve() -> None:
    """Run the calls that standard input asks for; answer each with its exit code."""
    from slimpose.cli.main import main

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        for descriptor, path in enumerate(request["outputs"], start=1):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, descriptor)
            os.close(handle)
        os.chdir(request["folder"])
        answer: dict[str, Any] = {"code": -1, "traceback": ""}
        try:
            main(request["arguments"])
        except SystemExit as stopped:
            answer["code"] = stopped.code
        except BaseException:  # noqa: BLE001 - what a user would get as a traceback
            answer["traceback"] = traceback.format_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir("/")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
