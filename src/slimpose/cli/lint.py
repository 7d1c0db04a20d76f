"""``slimpose lint``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from slimpose.runtime.models import shipped

if TYPE_CHECKING:
    from slimpose.export.hardware.layers import Layer

TABLE_MODELS = ("b1", "lite1", "mnv2", "dpu", "dpu-b2304")


def lint(
    models: Annotated[tuple[str, ...], "MODEL"] = (),
    /,
    target: str | None = None,
    json: bool = False,
    listed: Annotated[bool, "--list"] = False,
    every_layer: Annotated[bool, "--all"] = False,
    batch: int | None = None,
    shape: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    until: tuple[str, ...] = (),
    whole: bool = False,
    table: bool = False,
) -> int:
    """Report which layers of a model a hardware target computes, which it does not, why, and a fix.

    The exit code is 1 if any layer would leave the accelerator.

    Args:
        models: An ONNX file, the name of a shipped model, or a network of the family (built
            untrained, which needs PyTorch).
        target: The hardware target: a chip or runtime of --list, or your own .toml file.
        json: Print JSON, with every layer and the numbers of every limit.
        listed: List the targets instead.
        every_layer: List every layer, not only those with a finding.
        batch: Value of a free first dimension of an input; 1 if omitted. The multiply-adds are
            those of the whole batch.
        shape: INPUT=1x3x256x192 for an input with other free dimensions.
        allow: Operators or kinds, unknown to the target, that you know to run on it; otherwise they
            count as leaving.
        until: Tensors at which the network ends in a file of another project; what follows is
            decoding. slimpose files contain this information.
        whole: Count the normalization of the pixels and the decoding too.
        table: Print a Markdown table of models, or of the family, on all targets.
    """
    if listed:
        if models or target or table:
            raise ValueError(
                "--list prints the targets; expected no MODEL, no --target and no --table with it"
            )
        return _list(json=json)
    if batch is not None and batch < 1:
        raise ValueError(f"--batch is {batch}; expected 1 or more")
    shapes = dict(_parse_shape(text) for text in shape)
    if table:
        if target is not None:
            raise ValueError("--table covers all targets; expected no --target")
        names = models or TABLE_MODELS
        layers = {name: _layers(name, batch=batch, shapes=shapes, until=until) for name in names}
        return _table(layers, json=json, allow=allow, whole=whole)
    if len(models) != 1 or target is None:
        raise ValueError(
            "expected one MODEL and --target NAME, for example: slimpose lint mnv2 "
            "--target dpu-b1024"
        )
    from slimpose.export.hardware import report_text
    from slimpose.export.hardware.check import check_layers
    from slimpose.export.hardware.target import load_target

    hardware = load_target(target)
    layers = _layers(models[0], batch=batch, shapes=shapes, until=until)
    report = check_layers(layers, hardware, allowed=set(allow), whole=whole)
    if json:
        print(dumps(report_text.report_json(report, name=models[0]), indent=1))
    else:
        for line in report_text.format_report(report, name=models[0], every_layer=every_layer):
            print(line)
    return 1 if report.leaving else 0


def _layers(
    name: str, *, batch: int | None, shapes: Mapping[str, Sequence[int]], until: Sequence[str]
) -> list[Layer]:
    """Return the layers of a file, of a shipped model, or of an untrained network of the family."""
    from slimpose.export.hardware.graph import graph_of, read_graph
    from slimpose.export.hardware.patterns import layers_of

    known = shipped()
    if name in known or Path(name).is_file():
        graph = read_graph(known.get(name, Path(name)), batch=batch, shapes=shapes)
    elif Path(name).suffix == ".onnx" or len(Path(name).parts) > 1:
        raise FileNotFoundError(f"no model file {name}")
    else:
        from slimpose.network.family import FAMILY, family_spec

        if name not in FAMILY:
            raise ValueError(
                f"no model is named {name!r}; expected an ONNX file, one of {', '.join(known)} "
                f"(shipped), or one of {', '.join(FAMILY)} (the family)"
            )
        from slimpose.export import onnx
        from slimpose.network.weights import random_network

        graph = graph_of(
            onnx.to_onnx(random_network(family_spec(name)), name=name, card={}),
            batch=batch,
            shapes=shapes,
        )
    try:
        return layers_of(graph, until=until)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, numbers = text.rpartition("=")
    parts = numbers.lower().split("x")
    if not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(
            f"--shape {text!r} is not INPUT=NUMBERS; expected for example images=1x3x256x192"
        )
    return name, tuple(int(part) for part in parts)


def _list(*, json: bool) -> int:
    from slimpose.export.hardware.target import all_targets

    targets = all_targets()
    if json:
        entries = [
            {
                "name": target.name,
                "aliases": list(target.aliases),
                "title": target.title,
                "parameters": dict(target.parameters),
                "limits": [rule.id for rule in target.limits],
                "refuses": {kind: rule.id for rule in target.refusals for kind in rule.on},
                "runs": list(target.runs),
                "sources": list(target.sources),
            }
            for target in targets
        ]
        print(dumps(entries, indent=1))
        return 0
    width = max(len(target.name) for target in targets)
    for target in targets:
        alias = f", also {', '.join(target.aliases)}" if target.aliases else ""
        refused = sum(len(rule.on) for rule in target.refusals)
        print(
            f"{target.name:<{width}}  {target.title}{alias}: "
            f"{len(target.runs)} kinds run, {refused} do not, {len(target.limits)} limits"
        )
    return 0


def _table(
    models: Mapping[str, Sequence[Layer]], *, json: bool, allow: Sequence[str], whole: bool
) -> int:
    from slimpose.export.hardware import report_text
    from slimpose.export.hardware.check import check_layers
    from slimpose.export.hardware.target import all_targets

    rows = [
        (
            target.name,
            [
                check_layers(layers, target, allowed=set(allow), whole=whole)
                for layers in models.values()
            ],
        )
        for target in all_targets()
    ]
    if json:
        cells = [
            report_text.summary_json(report, name=name)
            for _, reports in rows
            for name, report in zip(models, reports, strict=True)
        ]
        print(dumps(cells, indent=1))
    else:
        for line in report_text.format_table(rows, list(models)):
            print(line)
    return 0
