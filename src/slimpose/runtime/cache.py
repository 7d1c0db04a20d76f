"""The folder of cached files, which can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return slimpose's cache folder (in ``XDG_CACHE_HOME``, else ``~/.cache``); it may not exist.

    A relative ``XDG_CACHE_HOME`` is ignored, as its specification demands.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "slimpose"
