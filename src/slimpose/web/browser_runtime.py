"""The files of onnxruntime-web: one pinned version, from npm's registry, checked by their hashes.

They are 41 MB and not part of the package, so this is the one place that downloads for an export.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

from slimpose.formats.files import write_bytes
from slimpose.runtime.cache import cache_folder

VERSION = "1.30.0"
"""Also in web/package.json; a test compares them."""
_URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
_INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""SHA-512 of the archive in base 64, as npm's lock files have it."""
_SHA256 = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": (
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
"""The builds for WASM and for WebGPU: a module, and its program with the code that starts it."""
_MAX_ARCHIVE_BYTES = 100_000_000
_TIMEOUT_S = 60.0


def runtime_files(folder: Path | None = None, *, download: bool = True) -> dict[str, Path]:
    """Return the files by name: of a folder, of the cache, or downloaded into the cache.

    Args:
        folder: Where they are, such as ``node_modules/onnxruntime-web/dist``; None for the cache.
        download: Whether files that are not in the cache are downloaded (33 MB).

    Raises:
        FileNotFoundError: If the folder lacks a file, or the cache does and nothing is downloaded.
        ValueError: If a file is not that of this version.
        RuntimeError: If the download fails.
    """
    where = _cache() if folder is None else folder
    files = {name: where / name for name in _SHA256}
    missing = [name for name, file in files.items() if not file.is_file()]
    if folder is None and (missing or any(map(_is_other, files.values()))):
        if not download:
            raise FileNotFoundError(f"no onnxruntime-web {VERSION} in {where}; expected a download")
        for name, data in _download().items():
            write_bytes(files[name], data)
    elif missing:
        raise FileNotFoundError(
            f"--runtime-dir {folder} has no {missing[0]}; expected the folder dist of "
            f"onnxruntime-web {VERSION} (npm install onnxruntime-web@{VERSION})"
        )
    for file in files.values():
        if _is_other(file):
            raise ValueError(
                f"{file} is not that of onnxruntime-web {VERSION}: its SHA-256 differs; "
                f"expected the files of npm install onnxruntime-web@{VERSION}"
            )
    return files


def _cache() -> Path:
    return cache_folder() / f"onnxruntime-web-{VERSION}"


def _is_other(file: Path) -> bool:
    return hashlib.sha256(file.read_bytes()).hexdigest() != _SHA256[file.name]


def _download() -> dict[str, bytes]:
    """Return the contents of the files, from the registry's archive."""
    hint = (
        f"expected access to the npm registry, or --runtime-dir with the folder dist of "
        f"npm install onnxruntime-web@{VERSION}"
    )
    try:
        with urllib.request.urlopen(_URL, timeout=_TIMEOUT_S) as response:
            archive = response.read(_MAX_ARCHIVE_BYTES)
    except OSError as error:
        raise RuntimeError(f"{_URL} cannot be downloaded: {error}; {hint}") from error
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != _INTEGRITY:
        raise RuntimeError(
            f"{_URL} has the SHA-512 {digest[:16]}... and {len(archive)} bytes; expected "
            f"{_INTEGRITY[:16]}... (a proxy that answers in its place?); {hint}"
        )
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        for name in _SHA256:
            member = opened.extractfile(f"package/dist/{name}")
            assert member is not None  # the archive's hash is known
            found[name] = member.read()
    return found
