"""The Markdown table and the plot of a comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimpose.compare.plot import plot_comparison
from slimpose.compare.report import ComparisonRow, to_markdown


def test_usual_protocol_is_a_footnote_and_others_are_notes() -> None:
    rows = [
        ComparisonRow(system="a", published_ap=70.0, protocol="usual"),
        ComparisonRow(system="b", published_ap=71.0, protocol="usual"),
        ComparisonRow(system="c", published_ap=42.0, protocol="odd", note="Bottom-up."),
        ComparisonRow(
            system="d",
            weights="d.onnx",
            runs_in="litert, int8",
            gmac=0.5,
            ms={1: 8.0},
            measured={"AP": 0.5},
        ),
    ]
    lines = to_markdown(rows, threads=(1,), measured_on="5 people", machine="a CPU").splitlines()
    assert lines[2] == "| a |  | - | - | - | - | - | no weights | 70.0 |"
    assert lines[4].startswith("| c [1] |")
    assert lines[5] == "| d |  | litert, int8 | - | 0.500 | - | 8.0 | 50.0 | - |"
    assert "[1] Published AP: odd. Bottom-up." in lines
    assert any(line.startswith("Published AP: usual, unless") for line in lines)


def test_plot_without_any_ap_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no AP to draw"):
        plot_comparison([ComparisonRow(system="a", gmac=1.0)], tmp_path / "a.svg", threads=1)
    assert not (tmp_path / "a.svg").exists()
