"""Target files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint_graphs import one_layer
from slimpose.export.hardware import target
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
        ('title = "A chip"', "", "own.toml lacks title"),
        ('title = "A chip"', "title = 3", "own.toml: title is 3; expected text"),
        ('"A chip"', '"\\u001b[31mchip"', "title is .*; expected one line of .* printable"),
        ('title = "A chip"', 'title = "A chip"\naliases = 3', "aliases is 3; expected a list"),
        ('title = "A chip"', 'title = "A"\nextends = "x"', "extends is 'x'; expected one of dpu-"),
        ('title = "A chip"', 'title = "A"\nextends = "../targets/ncnn"', "extends is '../targets"),
        (
            "[sources]",
            "[parameters]\nn = []\n[sources]",
            r"parameters: n is \[\]; expected a finite",
        ),
        (
            "[sources]",
            "[parameters]\nn = -1\n[sources]",
            "parameters: n is -1; expected a finite number of 0 or more",
        ),
        (
            "[sources]",
            "[parameters]\nn = nan\n[sources]",
            "parameters: n is nan; expected a finite",
        ),
        ("[sources]\nbook", "sources", "sources is 'the book, page 1'; expected a table"),
        (
            'source = "book"\n[[limits]]',
            'source = "manual"\n[[limits]]',
            "runs 1: source is 'manual'; expected one of book",
        ),
        ("[[runs]]", "[[runs]]\nkind = 1", "runs 1: unknown 'kind'; expected on, source"),
        ("[[limits]]", "[limits]", "limits is .*; expected tables"),
        ('holds = "kernel_height <= 3"', 'holds = "exec(kernel)"', "expected only arithmetic"),
        ('holds = "kernel_height <= 3"', 'holds = "max(1) < 3"', "expected only arithmetic"),
        ('holds = "kernel_height <= 3"', "holds = 3", "rule 'kernel': holds is 3; expected text"),
        ('"kernel_height <= 3"', '"' + "not " * 2000 + '1"', "rule 'kernel': holds is"),
        ('"kernel_height <= 3"', '"' + "(" * 240 + "1" + ")" * 240 + '"', "is not an expression"),
        ('holds = "kernel_height <= 3"', "", "rule 'kernel' has no condition"),
        ('because = "small"', "", "rule 'kernel' lacks because"),
        ('because = "small"', 'because = "{small +}"', "'small \\+' is not an expression"),
        (
            'fix = "smaller"',
            'fix = "smaller"\nlevel = "loud"',
            "level is 'loud'; expected leaves or advice",
        ),
        ('fix = "smaller"', 'fix = "smaller"\ncolor = "red"', "unknown 'color'"),
        ('id = "kernel"\non = ["conv"]', 'id = "kernel"\non = "conv"', "on is 'conv'; expected a"),
        ('id = "kernel"\non = ["conv"]', 'id = "kernel"\non = [[]]', r"on\[0\] is \[\]; expected"),
        (
            'on = ["conv"]\nholds',
            'on = ["depthwise_conv"]\nholds',
            "rule 'kernel': on has 'depthwise_conv', which is neither a kind of layer",
        ),
        (
            'on = ["conv"]\nsource',
            'on = ["convolution"]\nsource',
            "runs 1: on has 'convolution', which is neither .* concat, conv,",
        ),
        ("[[limits]]", "[[limit]]", "unknown 'limit'; expected"),
        ("[[limits]]", "[[limits", "is not TOML"),
    ],
)
def test_invalid_target_files_are_rejected(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(TARGET.replace(old, new))
    with pytest.raises(ValueError, match=message) as raised:
        read_target(file)
    assert "own.toml" in str(raised.value)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("kernel_height // 0 <= 3", "it divides by zero"),
        ("kernel_height % (stride_height - stride_height) == 0", "divides by zero .*stride_height"),
        ("ceil_div(kernel_height, 0) <= 3", "it divides by zero"),
        ("kind * 99 == 1", "it needs numbers where it has text"),
        ("kind < 3", "it needs numbers where it has text"),
        ("-kind == 1", "it needs numbers where it has text"),
        ("'a' * 99999 * 99999 == 'a'", "it needs numbers where it has text"),
        ("kernel_height in 3", "it needs numbers where it has text"),
        ("max(kind, kernel_height) == 3", "it needs numbers where it has text"),
    ],
)
@pytest.mark.parametrize("place", ["holds", "because", "fix"])
def test_condition_without_a_value_is_reported_with_file_and_rule(
    condition: str, reason: str, place: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    changed = TARGET.replace("kernel_height <= 3", "kernel_height <= 1")
    if place == "holds":
        changed = TARGET.replace("kernel_height <= 3", condition)
    else:
        word = {"because": "small", "fix": "smaller"}[place]
        changed = changed.replace(f'"{word}"', f'"{{{condition}}}"')
    file.write_text(changed)
    with pytest.raises(ValueError, match=rf"own\.toml: rule 'kernel': .*{reason}"):
        check_layers(layers_of(graph_of(one_layer("conv"))), load_target(str(file)))


def test_packaged_targets_that_extend_each_other_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "TARGETS", tmp_path)
    for name, other in (("a", "b"), ("b", "a"), ("self", "self")):
        text = TARGET.replace("[sources]", f'extends = "{other}"\n[sources]')
        (tmp_path / f"{name}.toml").write_text(text)
    for name in ("a", "self"):
        with pytest.raises(
            ValueError, match=r"\.toml: extends is '\w+', which extends this target"
        ):
            read_target(tmp_path / f"{name}.toml")


def test_target_file_is_read_again_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    for title in ("One chip", "Another chip"):
        file.write_text(TARGET.replace("A chip", title))
        assert load_target(str(file)).title == title


def test_documented_targets_are_packaged() -> None:
    dpus = {f"dpu-b{size}-isa{isa}" for size in (512, 1024, 2304, 4096) for isa in (0, 1)}
    runtimes = {"tensorrt-7", "tensorrt-10", "litert-xnnpack", "litert-gpu", "ncnn"}
    assert set(target_names()) == dpus | runtimes
    assert load_target("dpu-b1024").name == "dpu-b1024-isa0"
