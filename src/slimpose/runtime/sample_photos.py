"""The sample photos that come with the package."""

from __future__ import annotations

from pathlib import Path


def sample_photos_folder() -> Path:
    """Return the folder of sample photos: the installed package's, or that of a checkout."""
    file = Path(__file__).resolve()
    installed, checkout = file.parents[1] / "photos", file.parents[3] / "examples" / "photos"
    return installed if installed.is_dir() else checkout
