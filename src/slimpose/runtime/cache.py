"""Where what can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return slimpose's folder in the user's cache (``XDG_CACHE_HOME``, else ``~/.cache``); it need not exist.

    A relative ``XDG_CACHE_HOME`` is ignored, as its specification demands.
    """
    said = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(said) if said and Path(said).is_absolute() else Path.home() / ".cache"
    return base / "slimpose"
