"""Opens any model file: by ``Session``, or by the adapter of what no backend runs."""

from __future__ import annotations

from pathlib import Path

from slimpose.adapters.tf_pose import TfPose
from slimpose.runtime.session import Model, Session


def open_model(path: Path, *, threads: int | None = None) -> Model:
    """Return the model of a file: slimpose's, or a known one of another project.

    Raises:
        FileNotFoundError: If there is no such file.
        BackendError: If the package that reads such a file is not installed.
        ValueError: If it is not such a file, or not one of the known kinds.
    """
    if path.suffix.lower() == ".pb":
        return TfPose(path, threads=threads)
    return Session(path, threads=threads)
