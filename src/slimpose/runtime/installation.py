"""How packages that are missing here can be installed, by what works for this installation."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SHARED_FOLDERS = {
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
}
"""Modules that several packages install; removing one of them removes the files of the others."""

_BASE = ("numpy", "rich", "jaxtyping", *_SHARED_FOLDERS)
"""The modules of the base dependencies."""


def install_extra(extra: str) -> str:
    """Return the command that installs an extra of slimpose, from where slimpose came from."""
    origin = _origin()
    if origin is None:  # a package index
        return f"pip install 'slimpose[{extra}]'"
    url, is_editable = origin
    parts = urlsplit(url)
    if parts.scheme != "file":
        return f"pip install 'slimpose[{extra}] @ {url}'"
    return f"pip install {'-e ' if is_editable else ''}'{unquote(parts.path)}[{extra}]'"


def missing_base_module(module: str, reason: str) -> str | None:
    """Return what is wrong with a module of a base dependency; None for any other module."""
    if module not in _BASE:
        return None
    packages = _SHARED_FOLDERS.get(module, (module,))
    installed = [name for name in packages if _is_installed(name)]
    if not installed:
        return f"{module} is not installed, which slimpose always needs: pip install {packages[0]}"
    cause = (
        f"its files were removed, with another of {', '.join(packages)}, or by hand?"
        if len(packages) > 1
        else "its files were removed?"
    )
    others = "" if len(installed) == 1 else f"pip uninstall {' '.join(installed)}, then "
    owner = "" if installed == [module] else f" of {' and '.join(installed)}"
    return (
        f"{module}{owner} cannot be imported ({reason}; {cause}): "
        f"{others}pip install --force-reinstall --no-deps {installed[0]}"
    )


def _origin() -> tuple[str, bool] | None:
    """Return the address slimpose was installed from and whether it is used in place.

    None if it came from a package index.
    """
    try:
        text = metadata.distribution("slimpose").read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # on the path only, as in a clone
        folder = Path(__file__).resolve().parents[3]
        return (folder.as_uri(), True) if (folder / "pyproject.toml").is_file() else None
    if text is None:
        return None
    document = json.loads(text)
    if "vcs_info" in document:
        return f"{document['vcs_info']['vcs']}+{document['url']}", False
    return document["url"], bool(document.get("dir_info", {}).get("editable"))


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True
