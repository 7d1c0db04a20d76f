"""Command lines of functions: what is read, what is refused and how, and what the help says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from run_cli import Capture
from run_main import run_main
from slimpose.cli.arguments import run
from slimpose.cli.main import COMMANDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """How it runs.

    Attributes:
        threads: Threads, at most 100 %.
    """

    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Base):
    """What it runs.

    Attributes:
        scale: A factor.

    Raises:
        ValueError: If the factor is negative.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError(f"--scale is {self.scale:g}; expected 0 or more")


def call(*arguments: str) -> dict[str, Any]:
    """Return what a function with every kind of parameter gets."""
    values: dict[str, Any] = {}

    def command(
        sources: Annotated[tuple[str, ...], "SOURCE"],
        /,
        out_file: Path,
        options: Options,
        mode: Literal["fast", "exact"] = "fast",
        counts: tuple[int, ...] = (1, 2),
        draw: bool = True,
        quiet: Annotated[bool, "--silent"] = False,
        name: Annotated[str | None, "--label"] = None,
    ) -> None:
        """Do something with ``sources``.

        A second paragraph.

        Args:
            sources: The inputs.
            out_file: The file
                to write.
            options: Not shown.
            mode: How exactly.
            counts: Some numbers.
            draw: Draw.
            quiet: Print nothing.
            name: A label.
        """
        values.update(locals())
        del values["values"]

    assert run(command, arguments, prog="prog") == 0
    return values


def test_values_reach_the_function_with_their_types() -> None:
    values = call(
        "a.jpg", "--out-file", "o.txt", "b.jpg", "--scale=2.5", "--threads", "3", "--mode", "exact",
        "--counts", "4", "5", "--no-draw", "--silent", "--label", "-", "--", "-c.jpg",
    )  # fmt: skip
    assert values == {
        "sources": ("a.jpg", "b.jpg", "-c.jpg"),
        "out_file": Path("o.txt"),
        "options": Options(threads=3, scale=2.5),
        "mode": "exact",
        "counts": (4, 5),
        "draw": False,
        "quiet": True,
        "name": "-",
    }


def test_values_of_an_option_that_is_given_twice_are_kept() -> None:
    assert call("a", "--out-file", "o", "--counts", "4", "--counts", "5", "6")["counts"] == (
        4,
        5,
        6,
    )


def test_defaults_are_those_of_the_signature() -> None:
    values = call("-", "--out-file", "o")
    del values["sources"], values["out_file"]
    assert values == {
        "options": Options(),
        "mode": "fast",
        "counts": (1, 2),
        "draw": True,
        "quiet": False,
        "name": None,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "missing SOURCE ..., --out-file PATH"),
        ("a", "missing --out-file PATH"),
        ("a --out-file", "--out-file has no value; expected a path"),
        ("a --out-file o --threads abc", "--threads is 'abc'; expected a whole number"),
        ("a --out-file o --threads None", "--threads is 'None'; expected a whole number"),
        ("a --out-file o --scale nan", "--scale is 'nan'; expected a number"),
        ("a --out-file o --counts 1 x", "--counts is 'x'; expected a whole number"),
        ("a --out-file o --mode slow", "--mode is 'slow'; expected fast or exact"),
        ("a --out-file o --silent=1", "--silent is '1'; expected no value"),
        ("a --out-file o --no-draw=1", "--draw is '1'; expected no value"),
        ("a --out_file o", "unknown option '--out_file' (expected --out-file?)"),
        ("a --out-file o --quiet", "unknown option '--quiet'"),
        ("a --out o", "unknown option '--out'"),  # no abbreviations
        ("-a.jpg --out-file o", "unknown option '-a.jpg' (a file of that name is ./NAME)"),
        ("a --rtsp://me:secret@host", "unknown option '--rtsp://***@host'"),
        (f"a --out-file o --threads {'9x' * 1000}", "--threads is '9x9x"),
    ],
)
def test_refused_arguments_are_named_with_what_was_expected(arguments: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - compared below
        call(*arguments.split())
    text = str(refused.value)
    assert text.startswith(message)
    assert text.endswith("; prog --help lists all")
    assert len(text) < 200


def test_empty_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^--out-file is .*; expected a path;"):
        call("a", "--out-file", "")


def test_escape_codes_are_not_echoed() -> None:
    with pytest.raises(ValueError, match="unknown option") as refused:
        call("--\x1b[31mred")
    assert "\x1b" not in str(refused.value)


def test_dataclass_refuses_with_its_own_message() -> None:
    with pytest.raises(ValueError, match=r"^--scale is -1; expected 0 or more$"):
        call("a", "--out-file", "o", "--scale", "-1")


def test_help_shows_usage_texts_values_and_defaults(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert call("--help") == {}
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "usage: prog SOURCE ... --out-file PATH [options]",
        "",
        "Do something with sources.",
        "",
        "A second paragraph.",
        "",
        "arguments:",
        "SOURCE The inputs.",
        "",
        "options:",
        "--out-file PATH The file to write. (required)",
        "--mode {fast,exact} How exactly. (default: fast)",
        "--counts [N ...] Some numbers. (default: 1 2)",
        "--draw, --no-draw Draw. (on by default)",
        "--silent Print nothing.",
        "--label LABEL A label.",
        "",
        "What it runs:",
        "--threads N Threads, at most 100 %.",
        "--scale NUMBER A factor. (default: 1)",
    ]


@pytest.mark.parametrize("columns", ["1", "40", "80", "1000"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_fits_the_terminal(
    command: str, columns: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run_main(command, "--help") == 0
    text = capsys.readouterr().out
    assert text.isascii()
    for wrong in ("None", "(default: )", "``", "%%", "inf)"):
        assert wrong not in text
    if columns in ("80", "1000"):
        _, _, body = text.partition("\n")  # the line of usage is as long as it is
        assert max(map(len, body.splitlines())) <= min(int(columns), 100)


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_option_of_every_command_is_refused_in_one_line(command: str, capsys: Capture) -> None:
    assert run_main(command, "--no-such-option") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("slimpose: unknown option '--no-such-option'")
    assert output.err.count("\n") == 1
