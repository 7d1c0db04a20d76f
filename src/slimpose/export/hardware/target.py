"""Hardware targets: what a chip or runtime computes, read from ``export/targets/*.toml``."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from slimpose.export.hardware.expressions import Expression, parse_placeholders
from slimpose.export.hardware.facts import DERIVED_KINDS, KINDS
from slimpose.export.hardware.layers import Fact
from slimpose.formats.files import read_toml

TARGETS = Path(__file__).parent.parent / "targets"
ANY_KIND = "*"
MODEL_KIND = "model"
"""The kind that rules about the whole file apply to."""
Level = Literal["leaves", "advice"]
_KEYS = {"title", "aliases", "family", "extends", "parameters", "sources"}
_KEYS |= {"runs", "refuses", "limits"}
_RULE_KEYS = {"id", "on", "holds", "because", "fix", "source", "level"}


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
    """

    id: str
    on: tuple[str, ...]
    holds: Expression | None
    because: str
    fix: str
    source: str
    level: Level = "leaves"


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
        file.stem for file in TARGETS.glob("*.toml") if not _read(file).get("family", False)
    )


def all_targets() -> list[Target]:
    """Return the packaged targets, by name."""
    return [load_target(name) for name in target_names()]


@lru_cache(maxsize=64)
def load_target(name: str) -> Target:
    """Return a packaged target by name or alias, or one from your own .toml file.

    Raises:
        ValueError: If there is no target of that name, or if the file is invalid.
        FileNotFoundError: If the file does not exist.
    """
    if name.endswith(".toml"):
        return read_target(Path(name))
    aliases = {
        alias: stem
        for stem in target_names()
        for alias in _read(TARGETS / f"{stem}.toml").get("aliases", ())
    }
    stem = aliases.get(name, name)
    if stem not in target_names():
        known = ", ".join(sorted([*target_names(), *aliases]))
        raise ValueError(f"no target is named {name!r}; expected one of {known}, or a .toml file")
    return read_target(TARGETS / f"{stem}.toml")


def read_target(file: Path) -> Target:
    """Return the target of a file, including what it inherits from the family it extends.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a valid target file.
    """
    chain = [_read(file)]
    while "extends" in chain[0]:
        chain.insert(0, _read(TARGETS / f"{chain[0]['extends']}.toml"))
    sources: dict[str, str] = {}
    parameters: dict[str, Fact] = {}
    for document in chain:
        sources |= document.get("sources", {})
        parameters |= document.get("parameters", {})
    runs: dict[str, str] = {}
    refusals: dict[str, Rule] = {}
    limits: dict[str, Rule] = {}
    for document in chain:
        _check_unique_ids(document, file)
        for entry in document.get("runs", ()):
            for kind in _kinds(entry, file):
                runs[kind] = _source(entry, sources, file)
                refusals = {
                    key: dataclasses.replace(
                        rule, on=tuple(name for name in rule.on if name != kind)
                    )
                    for key, rule in refusals.items()
                    if rule.on != (kind,)
                }
        for entry in document.get("refuses", ()):
            rule = _rule(entry, sources, file)
            runs = {kind: source for kind, source in runs.items() if kind not in rule.on}
            refusals[rule.id] = rule
        for entry in document.get("limits", ()):
            rule = _rule(entry, sources, file)
            if rule.holds is None:
                raise ValueError(
                    f'{file.name}: limit {rule.id!r} has no condition; expected holds = "..."'
                )
            limits[rule.id] = rule
    return Target(
        name=file.stem,
        title=chain[-1]["title"],
        aliases=tuple(chain[-1].get("aliases", ())),
        parameters=parameters,
        runs=runs,
        refusals=tuple(refusals.values()),
        limits=tuple(limits.values()),
    )


def _read(file: Path) -> dict[str, Any]:
    document = read_toml(file, kind="target file")
    if unknown := document.keys() - _KEYS:
        raise ValueError(
            f"{file.name}: unknown {', '.join(sorted(unknown))}; "
            f"expected {', '.join(sorted(_KEYS))}"
        )
    if "title" not in document:
        raise ValueError(f"{file.name}: no title; expected the name of the hardware")
    return document


def _rule(entry: Mapping[str, Any], sources: Mapping[str, str], file: Path) -> Rule:
    where = f"{file.name}: rule {entry.get('id', '(no id)')!r}"
    if missing := _RULE_KEYS - {"holds", "level"} - entry.keys():
        raise ValueError(f"{where} lacks {', '.join(sorted(missing))}")
    if unknown := entry.keys() - _RULE_KEYS:
        raise ValueError(f"{where} has unknown {', '.join(sorted(unknown))}")
    level = entry.get("level", "leaves")
    if level not in ("leaves", "advice"):
        raise ValueError(f"{where} has level {level!r}; expected leaves or advice")
    try:
        parse_placeholders(entry["because"] + entry["fix"])
        holds = Expression.parse(entry["holds"]) if "holds" in entry else None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Rule(
        id=entry["id"],
        on=_kinds(entry, file),
        holds=holds,
        because=entry["because"],
        fix=entry["fix"],
        source=_source(entry, sources, file),
        level=level,
    )


def _kinds(entry: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    kinds = {*KINDS.values(), *DERIVED_KINDS}
    for kind in entry["on"]:
        if kind not in {ANY_KIND, MODEL_KIND} | kinds and not _is_operator(kind):
            raise ValueError(
                f"{file.name}: {entry.get('id', 'runs')} applies to {kind!r}, which is neither a "
                f"kind of layer nor an ONNX operator; the kinds are {', '.join(sorted(kinds))}"
            )
    return tuple(entry["on"])


def _is_operator(kind: str) -> bool:
    try:
        import onnx
    except ModuleNotFoundError:  # only to list the shipped targets; every model needs onnx
        return True
    return onnx.defs.has(kind)


def _source(entry: Mapping[str, Any], sources: Mapping[str, str], file: Path) -> str:
    if entry.get("source") not in sources:
        raise ValueError(
            f"{file.name}: {entry.get('id') or entry.get('on')} "
            f"names source {entry.get('source')!r}; "
            f"expected one of {', '.join(sources)}"
        )
    return sources[entry["source"]]


def _check_unique_ids(document: Mapping[str, Any], file: Path) -> None:
    rules = [*document.get("refuses", ()), *document.get("limits", ())]
    for rule_id, uses in Counter(rule.get("id", "") for rule in rules).items():
        if uses > 1:
            raise ValueError(f"{file.name}: rule {rule_id!r} is defined twice")
