"""Hardware targets: what a chip or runtime computes, read from ``export/targets/*.toml``."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from slimpose import fields
from slimpose.export.hardware.expressions import Expression, parse_placeholders
from slimpose.export.hardware.facts import DERIVED_KINDS, KINDS
from slimpose.export.hardware.layers import Fact
from slimpose.fields import Fields
from slimpose.formats.files import read_toml
from slimpose.messages import quoted

TARGETS = Path(__file__).parent.parent / "targets"
ANY_KIND = "*"
MODEL_KIND = "model"
"""The kind that rules about the whole file apply to."""
Level = Literal["leaves", "advice"]
_KEYS = {"title", "aliases", "family", "extends", "parameters", "sources"}
_KEYS |= {"runs", "refuses", "limits"}
_RULE_KEYS = {"id", "on", "holds", "because", "fix", "source", "level"}
_RUN_KEYS = {"on", "source"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit, or a refusal if ``holds`` is None.

    Attributes:
        id: Unique in its target.
        on: Kinds of layers, or ONNX operators, that it applies to.
        holds: The condition for staying on the accelerator.
        because: Why; ``{expressions}`` in it are evaluated for the layer.
        fix: How to change the network; may contain ``{expressions}``.
        source: Document and section, or URL.
        level: ``leaves``: a layer that breaks it runs elsewhere; ``advice``: it stays on the
            accelerator but wastes capacity.
        where: Its file and id, for error messages.
    """

    id: str
    on: tuple[str, ...]
    holds: Expression | None
    because: str
    fix: str
    source: str
    level: Level = "leaves"
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A hardware target: a chip or a runtime.

    Attributes:
        name: The value of ``--target``.
        title: Product and version.
        aliases: Other names.
        parameters: Numbers of the hardware that rules refer to.
        runs: Kinds of layers and ONNX operators that it computes, each with its source.
        refusals: What it does not compute, as documented.
        limits: Conditions on what it computes.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, Fact]
    runs: Mapping[str, str]
    refusals: tuple[Rule, ...]
    limits: tuple[Rule, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The documents it is based on, without repetition."""
        rules = (*self.refusals, *self.limits)
        return tuple(dict.fromkeys((*self.runs.values(), *(rule.source for rule in rules))))


def target_names() -> list[str]:
    """Return the names of the packaged targets."""
    return sorted(
        file.stem for file in TARGETS.glob("*.toml") if not _read(file).values.get("family", False)
    )


def all_targets() -> list[Target]:
    """Return the packaged targets, by name."""
    return [load_target(name) for name in target_names()]


def load_target(name: str) -> Target:
    """Return a packaged target by name or alias, or one from your own .toml file.

    Raises:
        ValueError: If there is no target of that name, or if the file is invalid.
        FileNotFoundError: If the file does not exist.
    """
    return read_target(Path(name)) if name.endswith(".toml") else _packaged_target(name)


@lru_cache(maxsize=64)
def _packaged_target(name: str) -> Target:
    aliases = {
        alias: stem
        for stem in target_names()
        for alias in _read(TARGETS / f"{stem}.toml").values.get("aliases", ())
    }
    stem = aliases.get(name, name)
    if stem not in target_names():
        known = ", ".join(sorted([*target_names(), *aliases]))
        raise ValueError(
            f"no target is named {quoted(name)}; expected one of {known}, or a .toml file"
        )
    return read_target(TARGETS / f"{stem}.toml")


def read_target(file: Path) -> Target:
    """Return the target of a file, including what it inherits from the family it extends.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a valid target file.
    """
    chain = _chain(file)
    sources: dict[str, str] = {}
    parameters: dict[str, Fact] = {}
    for document in chain:
        sources |= {
            name: table.line(name) for table in _table(document, "sources") for name in table.values
        }
        parameters |= _parameters(document)
    runs: dict[str, str] = {}
    refusals: dict[str, Rule] = {}
    limits: dict[str, Rule] = {}
    for document in chain:
        _check_unique_ids(document)
        for entry in _entries(document, "runs"):
            _check_keys(entry, required=_RUN_KEYS)
            for kind in _kinds(entry):
                runs[kind] = _source(entry, sources)
                refusals = {
                    key: dataclasses.replace(
                        rule, on=tuple(name for name in rule.on if name != kind)
                    )
                    for key, rule in refusals.items()
                    if rule.on != (kind,)
                }
        for entry in _entries(document, "refuses"):
            rule = _rule(entry, sources)
            runs = {kind: source for kind, source in runs.items() if kind not in rule.on}
            refusals[rule.id] = rule
        for entry in _entries(document, "limits"):
            rule = _rule(entry, sources)
            if rule.holds is None:
                raise ValueError(f'{entry.where} has no condition; expected holds = "..."')
            limits[rule.id] = rule
    return Target(
        name=file.stem,
        title=chain[-1].line("title"),
        aliases=chain[-1].texts("aliases") if chain[-1].has("aliases") else (),
        parameters=parameters,
        runs=runs,
        refusals=tuple(refusals.values()),
        limits=tuple(limits.values()),
    )


def _chain(file: Path) -> list[Fields]:
    """Return the documents of the targets that a file extends, and its own as the last."""
    chain = [_read(file)]
    names = [file.stem] if file.resolve().parent == TARGETS else []
    while chain[0].has("extends"):
        name = chain[0].line("extends")
        if name in names:
            raise ValueError(
                f"{chain[0].what('extends')} is {quoted(name)}, which extends this target itself; "
                "expected a chain of targets that ends"
            )
        packaged = sorted(path.stem for path in TARGETS.glob("*.toml"))
        if name not in packaged:
            raise fields.fail(chain[0].what("extends"), name, f"one of {', '.join(packaged)}")
        names.append(name)
        chain.insert(0, _read(TARGETS / f"{name}.toml"))
    return chain


def _read(file: Path) -> Fields:
    document = Fields(read_toml(file, kind="target file"), str(file))
    _check_keys(document, required={"title"}, optional=_KEYS)
    document.line("title")
    return document


def _check_keys(entry: Fields, *, required: Set[str], optional: Set[str] = frozenset()) -> None:
    if unknown := entry.values.keys() - required - optional:
        raise ValueError(
            f"{entry.where}: unknown {quoted(min(unknown))}; "
            f"expected {', '.join(sorted(required | optional))}"
        )
    if missing := required - entry.values.keys():
        raise ValueError(f"{entry.where} lacks {', '.join(sorted(missing))}")


def _table(document: Fields, name: str) -> list[Fields]:
    """Return a table of a document, or nothing if it has none."""
    if name not in document.values:
        return []
    return [fields.table(document.get(name), document.what(name), f"a table [{name}]")]


def _entries(document: Fields, name: str) -> list[Fields]:
    """Return the tables of a list of a document."""
    if name not in document.values:
        return []
    expected = f"tables [[{name}]]"
    entries = []
    for number, value in enumerate(document.items(name, expected), start=1):
        entry = fields.table(value, f"{document.what(name)} {number}", expected)
        if "id" in entry.values:
            entry = Fields(
                entry.values,
                f"{document.where}: rule {quoted(entry.line('id'))}",
            )
        entries.append(entry)
    return entries


def _parameters(document: Fields) -> dict[str, Fact]:
    parameters: dict[str, Fact] = {}
    for table in _table(document, "parameters"):
        for name, value in table.values.items():
            is_number = isinstance(value, int | float) and 0 <= value < math.inf
            if not (is_number or isinstance(value, str)):
                raise fields.fail(
                    table.what(name), value, "a finite number of 0 or more, or a text"
                )
            parameters[name] = value
    return parameters


def _rule(entry: Fields, sources: Mapping[str, str]) -> Rule:
    _check_keys(entry, required=_RULE_KEYS - {"holds", "level"}, optional=_RULE_KEYS)
    level = entry.get("level") if entry.has("level") else "leaves"
    if level not in ("leaves", "advice"):
        raise fields.fail(entry.what("level"), level, "leaves or advice")
    try:
        parse_placeholders(entry.line("because") + entry.line("fix"))
        holds = Expression.parse(entry.line("holds")) if entry.has("holds") else None
    except ValueError as error:
        text = str(error)
        where = "" if text.startswith(entry.where) else f"{entry.where}: "
        raise ValueError(f"{where}{text}") from error
    return Rule(
        id=entry.line("id"),
        on=_kinds(entry),
        holds=holds,
        because=entry.line("because"),
        fix=entry.line("fix"),
        source=_source(entry, sources),
        level=level,
        where=entry.where,
    )


def _kinds(entry: Fields) -> tuple[str, ...]:
    kinds = {*KINDS.values(), *DERIVED_KINDS}
    for kind in entry.texts("on"):
        if kind not in {ANY_KIND, MODEL_KIND} | kinds and not _is_operator(kind):
            raise ValueError(
                f"{entry.what('on')} has {quoted(kind)}, which is neither a "
                f"kind of layer nor an ONNX operator; the kinds are {', '.join(sorted(kinds))}"
            )
    return entry.texts("on")


def _is_operator(kind: str) -> bool:
    try:
        import onnx
    except ModuleNotFoundError:  # only to list the shipped targets; every model needs onnx
        return True
    return onnx.defs.has(kind)


def _source(entry: Fields, sources: Mapping[str, str]) -> str:
    name = entry.text("source")
    if name not in sources:
        raise fields.fail(entry.what("source"), name, f"one of {', '.join(sources) or 'none'}")
    return sources[name]


def _check_unique_ids(document: Fields) -> None:
    entries = [*_entries(document, "refuses"), *_entries(document, "limits")]
    ids = Counter(entry.line("id") for entry in entries if entry.has("id"))
    for rule_id, uses in ids.items():
        if uses > 1:
            raise ValueError(f"{document.where}: rule {quoted(rule_id)} is defined twice")
