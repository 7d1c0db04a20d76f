"""The model files, backends and precisions that ``benchmark`` and ``plan`` measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slimpose.runtime import models
from slimpose.runtime.auto_backend import ANY, BackendChoice, choices_for_file
from slimpose.runtime.backends.available import BackendStatus, read_metadata
from slimpose.runtime.backends.base import BackendError, file_precision
from slimpose.runtime.session import models_of_tasks
from slimpose.tasks import Task

_KINDS: Mapping[Task, str] = {"pose": "pose model", "detect": "person detector"}
_TASKS: Mapping[Task, tuple[Task, ...]] = {"pose": ("pose", "one-stage")}


def models_for_task(task: Task, names: Sequence[str] = ()) -> list[Path]:
    """Return the files of the named models that are for a task; of all shipped ones by default.

    One-stage models are pose models too.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If no models are shipped and none is named.
        ValueError: If a name is unknown, or a named model is for another task.
    """
    paths = [models.resolve(name) for name in names] or list(models.shipped().values())
    if not paths:
        raise RuntimeError(
            f"no models in {models.WEIGHTS}: this package was built without weights; "
            "expected the name of a model file"
        )
    found = models_of_tasks(_TASKS.get(task, (task,)), paths)
    if names and (others := [str(path) for path in paths if path not in found]):
        raise ValueError(
            f"{', '.join(others)}: not a {_KINDS[task]}; expected one (see slimpose models)"
        )
    if not found:
        raise ValueError(f"no {_KINDS[task]} is shipped; expected the name of a model file")
    return found


def check_installed(name: str, available: Mapping[str, BackendStatus]) -> None:
    """Raise BackendError unless a backend of this name is installed."""
    if name not in available:
        raise BackendError(f"no backend is named {name!r}; expected one of {', '.join(available)}")
    if available[name].install:
        raise BackendError(f"{name} is not installed: {available[name].install}")


def backend_choices(
    path: Path,
    available: Mapping[str, BackendStatus],
    *,
    backends: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> list[BackendChoice]:
    """Return the ``available`` backends and precisions with which a model file can be measured.

    ``backends`` and ``precisions``, if any are given, leave out all others. The file's own
    precision is given by name: "fp32", "int8".

    Raises:
        BackendError: If one of ``backends`` is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a model file.
    """
    for name in backends:
        check_installed(name, available)
    own = file_precision(read_metadata(path))
    return [
        choice
        for choice in choices_for_file(path, ANY, available)
        if (not backends or choice.backend in backends)
        and (not precisions or (choice.precision or own) in precisions)
    ]


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a name for each file: its stem, or its whole path where several share that stem.

    >>> unique_names([Path("a/best.onnx"), Path("net.onnx")])[Path("net.onnx")]
    'net'
    """
    stems = Counter(path.stem for path in set(paths))
    return {path: path.stem if stems[path.stem] == 1 else str(path) for path in paths}
