"""The command line of a function: its signature gives the options, its docstring the help.

    def crop(image: Path, /, size: int = 256, names: Annotated[tuple[str, ...], "--name"] = ()):

Positional-only parameters are arguments, all others options. Types are bool (a switch), int,
float, str, Path, Literal, a tuple or list of one of them (several values), each with ``| None``,
and dataclasses, whose fields are options themselves. An annotated string is the name on the
command line where it is not that of the parameter. ``--out`` and ``--model`` have the short names
``-o`` and ``-m`` in all commands.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import math
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from slimpose.cli.renamed_options import name_here
from slimpose.media.addresses import redacted

_MAX_WIDTH, _MAX_ECHO = 100, 80
_SHORT = {"--out": "-o", "--model": "-m"}
_REQUIRED = inspect.Parameter.empty
_SECTION = re.compile(r"^(?:Args|Attributes|Raises|Returns):$", re.M)
_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.M)


def run(function: Callable[..., int | None], arguments: Sequence[str], *, prog: str) -> int:
    """Call a function with the values of a command line; return its exit code, by default 0.

    With --help among the arguments, print the help instead.

    Raises:
        ValueError: If an argument is unknown, missing, or has an invalid value; and what the
            function raises.
    """
    parameters = list(_parameters(function))
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if {"-h", "--help"} & set(arguments[:end]):
        print(_help(function, parameters, prog))
        return 0
    try:
        given = _given(parameters, arguments[:end], arguments[end + 1 :], prog)
    except ValueError as error:
        raise ValueError(f"{error}; {prog} --help lists all") from None
    return (
        function(*_positional_values(parameters, given), **_option_values(parameters, given)) or 0
    )


@dataclass(frozen=True, slots=True)
class _Type:
    """How one value is read: its placeholder in the help, what is expected, and the reader."""

    metavar: str
    expected: str
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """An argument or an option.

    Attributes:
        name: Name of the parameter or field.
        shown: What it is called on the command line: --people, or SOURCE.
        type: Type of one value; None for a switch.
        collect: Makes one of several values; None if there is one value.
        default: Its default, or ``_REQUIRED``.
        text: The help.
        is_positional: Whether it is an argument and not an option.
        owner: The function's parameter whose value the field is a part of, and its class.
    """

    name: str
    shown: str
    type: _Type | None
    collect: Callable[[Sequence[Any]], Any] | None
    default: Any
    text: str
    is_positional: bool = False
    owner: tuple[str, type] | None = None

    @property
    def usage(self) -> str:
        """Return it as the line of usage shows it."""
        value = "" if self.type is None else self.type.metavar
        text = f"{self.shown if self.is_positional else value}{' ...' if self.collect else ''}"
        return text if self.is_positional else f"{self.shown} {text}".strip()

    @property
    def help(self) -> str:
        """Return the help, with the default where it is a value."""
        if self.default is _REQUIRED:
            note = "" if self.is_positional else " (required)"
        elif self.default is True:
            note = " (on by default)"
        elif self.type is None or self.default in (None, (), math.inf):
            note = ""
        else:
            values = self.default if isinstance(self.default, (tuple, list)) else (self.default,)
            note = f" (default: {' '.join(map(_shortest, values))})"
        return f"{self.text}{note}".replace("%", "%%")


def _shortest(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parameters(function: Callable[..., Any]) -> Iterator[_Parameter]:
    """Yield a function's arguments and options, those of its dataclasses last."""
    hints = get_type_hints(function, include_extras=True)
    texts = _documented(function)
    nested = []
    for name, parameter in inspect.signature(function).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            nested.append((name, hints[name]))
        else:
            is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
            yield _parameter(
                name, hints[name], parameter.default, texts, is_positional=is_positional
            )
    for owner, kind in nested:
        hints, texts = get_type_hints(kind, include_extras=True), _documented(kind)
        for field in dataclasses.fields(kind):
            default = _REQUIRED if field.default is dataclasses.MISSING else field.default
            yield _parameter(field.name, hints[field.name], default, texts, owner=(owner, kind))


def _parameter(
    name: str, hint: Any, default: Any, texts: dict[str, str], **place: Any
) -> _Parameter:
    shown = name.upper() if place.get("is_positional") else f"--{name.replace('_', '-')}"
    hint = _without_none(hint)  # Python 3.10 puts None around Annotated where it is the default
    if get_origin(hint) is Annotated:
        hint, shown = get_args(hint)
        hint = _without_none(hint)
    collect = get_origin(hint) if get_origin(hint) in (tuple, list) else None
    if collect:
        hint = get_args(hint)[0]
    return _Parameter(
        name=name,
        shown=shown,
        type=None if hint is bool else _type_of(hint, shown),
        collect=collect,
        default=default,
        text=texts[name],
        **place,
    )


def _without_none(hint: Any) -> Any:
    parts = get_args(hint)
    return next(part for part in parts if part is not NoneType) if NoneType in parts else hint


def _type_of(hint: Any, shown: str) -> _Type:
    """Return how a value of a type is read."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return _Type(
            f"{{{','.join(choices)}}}",
            " or ".join(choices),
            dict(zip(choices, choices, strict=True)).__getitem__,
        )
    return {
        int: _Type("N", "a whole number", int),
        float: _Type("NUMBER", "a number", _read_number),
        str: _Type(shown.lstrip("-").upper(), "a value", str),
        Path: _Type("PATH", "a path", _read_path),
    }[hint]


def _read_number(text: str) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError(text)
    return number


def _read_path(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(text)


def _read(parameter: _Parameter, text: str) -> Any:
    """Return a value.

    Raises:
        ValueError: If the text is not one.
    """
    assert parameter.type is not None
    try:
        return parameter.type.read(text)
    except (ValueError, KeyError):
        raise ValueError(
            f"{parameter.shown} is {_echo(text)}; expected {parameter.type.expected}"
        ) from None


def _echo(text: str) -> str:
    """Return a word of the command line for a message: short, without passwords or escape codes."""
    return repr(redacted(text if len(text) <= _MAX_ECHO else f"{text[:_MAX_ECHO]}..."))


class _OptionParser(argparse.ArgumentParser):
    """Reads the options; what is left over are arguments and unknown options."""

    def __init__(self, options: Sequence[_Parameter]) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.expected = {}
        for option in options:
            _add_to(self, option)
            self.expected[option.shown] = (
                "no value" if option.type is None else option.type.expected
            )

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError with what argparse says of an option's value."""
        shown, _, reason = message.removeprefix("argument ").partition(": ")
        shown = shown.partition("/")[0]  # of --draw/--no-draw
        if reason.startswith("expected"):
            raise ValueError(f"{shown} has no value; expected {self.expected[shown]}")
        value = reason.removeprefix("ignored explicit argument ")
        raise ValueError(f"{shown} is {value}; expected no value")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # keeps --option-names whole


def _add_to(parser: Any, parameter: _Parameter) -> None:
    """Add a parameter to an argparse parser or group; texts are read later, by ``_read``."""
    settings: dict[str, Any] = {"help": parameter.help, "default": argparse.SUPPRESS}
    if parameter.type is None:
        # A switch that is None by default may be turned on and off.
        has_off = parameter.default is not False
        action = argparse.BooleanOptionalAction if has_off else "store_true"
        parser.add_argument(parameter.shown, dest=parameter.name, action=action, **settings)
        return
    if parameter.collect:  # --option a b and --option a --option b are the same
        settings |= {"nargs": "*", "action": "extend"}
    if parameter.is_positional:
        parser.add_argument(parameter.shown, metavar=parameter.shown, **settings)
    else:
        settings |= {"dest": parameter.name, "metavar": parameter.type.metavar}
        short = [_SHORT[parameter.shown]] if parameter.shown in _SHORT else []
        parser.add_argument(parameter.shown, *short, **settings)


def _given(
    parameters: Sequence[_Parameter],
    arguments: Sequence[str],
    literal: Sequence[str],
    prog: str,
) -> dict[str, Any]:
    """Return the values given on the command line, by name; ``literal`` are never options."""
    positional = [one for one in parameters if one.is_positional]
    options = [one for one in parameters if not one.is_positional]
    parsed, rest = _OptionParser(options).parse_known_args(list(arguments))
    texts = vars(parsed)
    # argparse takes -out for -o with the value "ut".
    glued = [
        text for text in arguments if text[:2] in _SHORT.values() and text[2:3] not in ("", "=")
    ]
    unknown = [text for text in rest if text.startswith("-") and text != "-"]
    _refuse_unknown([*glued, *unknown], options, prog)
    words = [*rest, *literal]
    for one in positional:
        if words:
            texts[one.name] = words if one.collect else words[0]
            words = [] if one.collect else words[1:]
    if words:
        raise ValueError(f"unexpected argument {_echo(words[0])}")
    missing = [
        one.usage for one in parameters if one.default is _REQUIRED and one.name not in texts
    ]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}")
    return {one.name: _value(one, texts[one.name]) for one in parameters if one.name in texts}


def _value(parameter: _Parameter, texts: Any) -> Any:
    if parameter.type is None:
        return texts
    if parameter.collect is None:
        return _read(parameter, texts)
    return parameter.collect([_read(parameter, text) for text in texts])


def _refuse_unknown(words: Sequence[str], options: Sequence[_Parameter], prog: str) -> None:
    if not words:
        return
    known = [one.shown for one in options]
    near = difflib.get_close_matches(
        words[0].partition("=")[0].replace("_", "-"), known, n=1, cutoff=0.75
    )
    hint = ""
    if elsewhere := name_here(prog.rpartition(" ")[2], words[0]):
        hint = f" (here: {elsewhere})"
    elif near:
        hint = f" (expected {near[0]}?)"
    elif not words[0].startswith("--"):
        hint = " (a file of that name is ./NAME)"
    raise ValueError(f"unknown option {_echo(words[0])}{hint}")


def _positional_values(parameters: Sequence[_Parameter], given: dict[str, Any]) -> list[Any]:
    return [given.get(one.name, one.default) for one in parameters if one.is_positional]


def _option_values(parameters: Sequence[_Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments, with an instance of each dataclass.

    Raises:
        ValueError: If a dataclass rejects its values.
    """
    owners = dict(one.owner for one in parameters if one.owner is not None)
    values = {
        one.name: given[one.name]
        for one in parameters
        if one.name in given and not one.is_positional and one.owner is None
    }
    for owner, kind in owners.items():
        names = [one.name for one in parameters if one.owner == (owner, kind)]
        values[owner] = kind(**{name: given[name] for name in names if name in given})
    return values


def _documented(obj: Any) -> dict[str, str]:
    """Return the texts of a docstring's Args or Attributes, a base class's included."""
    texts: dict[str, str] = {}
    for part in reversed(obj.__mro__) if isinstance(obj, type) else [obj]:
        for name, text in _ENTRY.findall(inspect.cleandoc(part.__doc__ or "")):
            texts[name] = _plain(" ".join(text.split()))
    return texts


def _plain(text: str) -> str:
    return text.replace("``", "")


def _help(function: Callable[..., Any], parameters: Sequence[_Parameter], prog: str) -> str:
    """Return the help: usage, description, arguments and options in groups."""
    width = min(max(shutil.get_terminal_size().columns - 2, 40), _MAX_WIDTH)
    description = _SECTION.split(inspect.cleandoc(function.__doc__ or ""))[0].strip()
    paragraphs = [
        textwrap.fill(_plain(part), width, break_on_hyphens=False)
        for part in description.split("\n\n")
    ]
    positional = [
        one.usage if one.default is _REQUIRED else f"[{one.usage}]"
        for one in parameters
        if one.is_positional
    ]
    required = [
        one.usage for one in parameters if one.default is _REQUIRED and not one.is_positional
    ]
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=" ".join([prog, *positional, *required, "[options]"]).replace("%", "%%"),
        description="\n\n".join(paragraphs).replace("%", "%%"),
        formatter_class=lambda prog: _HelpFormatter(prog, max_help_position=26, width=width),
        add_help=False,
    )
    groups: dict[str, Any] = {}
    for one in parameters:
        title = "arguments" if one.is_positional else "options"
        if one.owner is not None:
            title = inspect.cleandoc(one.owner[1].__doc__ or "").splitlines()[0].rstrip(".")
        if title not in groups:
            groups[title] = parser.add_argument_group(_plain(title))
        _add_to(groups[title], one)
    return parser.format_help().rstrip()
