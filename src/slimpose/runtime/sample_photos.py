"""The sample photos that come with the package."""

from __future__ import annotations

from pathlib import Path

from slimpose.media.images import image_files


def sample_photos_folder() -> Path:
    """Return the folder of sample photos: the installed package's, or that of a checkout."""
    file = Path(__file__).resolve()
    installed, checkout = file.parents[1] / "photos", file.parents[3] / "examples" / "photos"
    return installed if installed.is_dir() else checkout


def photo_files(folder: Path) -> list[Path]:
    """Return a folder's images; of the sample photos without a warning about their credits."""
    if folder == sample_photos_folder():
        return sorted(folder.glob("*.jpg"))
    return image_files(folder)
