"""Target files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint_graphs import one_layer
from slimpose.export.hardware.check import check_layers
from slimpose.export.hardware.graph import graph_of
from slimpose.export.hardware.patterns import layers_of
from slimpose.export.hardware.target import load_target, read_target, target_names

TARGET = """
title = "A chip"
[sources]
book = "the book, page 1"
[[runs]]
on = ["conv"]
source = "book"
[[limits]]
id = "kernel"
on = ["conv"]
holds = "kernel_height <= 3"
because = "small"
fix = "smaller"
source = "book"
"""


def test_a_target_file_of_the_user_is_read(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(TARGET)
    report = check_layers(layers_of(graph_of(one_layer("conv"))), load_target(str(file)))
    assert not report.leaving
    assert report.verdicts[1].met == (("kernel", "kernel_height <= 3: 3 <= 3", "the book, page 1"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A chip"', "", "no title"),
        (
            'source = "book"\n[[limits]]',
            'source = "manual"\n[[limits]]',
            "names source 'manual'; expected one of book",
        ),
        ('holds = "kernel_height <= 3"', 'holds = "exec(kernel)"', "expected only arithmetic"),
        ('holds = "kernel_height <= 3"', "", "has no condition"),
        ('because = "small"', "", "rule 'kernel' lacks because"),
        ('because = "small"', 'because = "{small +}"', "'small \\+' is not an expression"),
        (
            'fix = "smaller"',
            'fix = "smaller"\nlevel = "loud"',
            "level 'loud'; expected leaves or advice",
        ),
        ('fix = "smaller"', 'fix = "smaller"\ncolor = "red"', "unknown color"),
        (
            'on = ["conv"]\nholds',
            'on = ["depthwise_conv"]\nholds',
            "kernel applies to 'depthwise_conv', which is neither a kind of layer",
        ),
        (
            'on = ["conv"]\nsource',
            'on = ["convolution"]\nsource',
            "runs applies to 'convolution', which is neither .* concat, conv,",
        ),
        ("[[limits]]", "[[limit]]", "unknown limit; expected"),
        ("[[limits]]", "[[limits", "is not TOML"),
    ],
)
def test_invalid_target_files_are_rejected(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(TARGET.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_target(file)


def test_documented_targets_are_packaged() -> None:
    dpus = {f"dpu-b{size}-isa{isa}" for size in (512, 1024, 2304, 4096) for isa in (0, 1)}
    runtimes = {"tensorrt-7", "tensorrt-10", "litert-xnnpack", "litert-gpu", "ncnn"}
    assert set(target_names()) == dpus | runtimes
    assert load_target("dpu-b1024").name == "dpu-b1024-isa0"
