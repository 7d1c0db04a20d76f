"""Conditions in target files: arithmetic on the facts of a layer, without arbitrary code."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slimpose.export.hardware.layers import Fact
from slimpose.messages import quoted

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type[ast.AST], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.In: ("in", lambda value, choices: value in choices),
    ast.NotIn: ("not in", lambda value, choices: value not in choices),
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "ceil_div": lambda value, by: -(-value // by),
    "max": max,
    "min": min,
}
_MAX_LENGTH = 500
"""Characters of an expression: a limit for its nesting and its numbers."""
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class MissingFactError(LookupError):
    """A rule needs a fact that is not known from the file."""


class ExpressionError(ValueError):
    """An expression has no value for the facts of a layer; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed condition or number that uses only the allowed operations.

    >>> Expression.parse("ceil_div(channels, 8) <= 4").explain({"channels": 40})
    'ceil_div(channels, 8) <= 4: 5 <= 4'
    """

    text: str
    tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Return the expression.

        Raises:
            ValueError: If it is not an expression, is too long, or uses more than arithmetic,
                comparisons, and/or/not, numbers, strings, ``ceil_div``, ``max`` and ``min``.
        """
        if len(text) > _MAX_LENGTH:
            raise ValueError(
                f"{quoted(text)} is not an expression: expected at most {_MAX_LENGTH} characters"
            )
        try:
            tree = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"{quoted(text)} is not an expression: {error.msg}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(
                f"{quoted(text)} is not an expression: expected text without null bytes, nested "
                "less deeply"
            ) from error
        _check(tree, text)
        return cls(text, tree)

    def value(self, facts: Mapping[str, Fact]) -> Any:
        """Return the value for the facts of a layer.

        Raises:
            MissingFactError: If it uses a fact that is not known.
            ExpressionError: If it has no value: it divides by zero, or adds a number and a text.
        """
        return self._value_of(self.tree, facts)

    def _is_false(self, part: ast.expr, facts: Mapping[str, Fact]) -> bool:
        try:
            return not self._value_of(part, facts)
        except ExpressionError:  # behind an "and" whose first part is false
            return False

    def _value_of(self, part: ast.expr, facts: Mapping[str, Fact]) -> Any:
        try:
            return _value(part, facts)
        except ZeroDivisionError as error:
            reason = "it divides by zero"
            raise ExpressionError(self._failure(reason, facts)) from error
        except (TypeError, OverflowError) as error:
            reason = "it needs numbers where it has text, or the reverse"
            raise ExpressionError(self._failure(reason, facts)) from error

    def _failure(self, reason: str, facts: Mapping[str, Fact]) -> str:
        known = {name: facts[name] for name in sorted(self.names) if name in facts}
        values = ", ".join(f"{name} is {quoted(value)}" for name, value in known.items())
        return f"{quoted(self.text)} has no value: {reason}{f' ({values})' if values else ''}"

    def explain(self, facts: Mapping[str, Fact]) -> str:
        """Return the condition with its numbers; if it is false, only the parts that are false."""
        parts = (
            self.tree.values
            if isinstance(self.tree, ast.BoolOp) and isinstance(self.tree.op, ast.And)
            else [self.tree]
        )
        broken = [part for part in parts if self._is_false(part, facts)]
        return "; ".join(_explain(part, facts) for part in broken or parts)

    @property
    def names(self) -> frozenset[str]:
        """Names of the facts and parameters it uses."""
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        return frozenset(
            node.id
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and id(node) not in called
        )


def fill_placeholders(text: str, facts: Mapping[str, Fact]) -> str:
    """Replace each ``{expression}`` in a text by its value, or by "?" if a fact is not known.

    >>> fill_placeholders("at most {256 * parallel} channels", {"parallel": 8})
    'at most 2048 channels'
    """

    def value_of(found: re.Match[str]) -> str:
        try:
            return str(_format(Expression.parse(found[1]).value(facts)))
        except MissingFactError:
            return "?"

    return _PLACEHOLDER.sub(value_of, text)


def parse_placeholders(text: str) -> list[Expression]:
    """Return the ``{expressions}`` in a text.

    Raises:
        ValueError: If one of them is invalid.
    """
    return [Expression.parse(found) for found in _PLACEHOLDER.findall(text)]


def _explain(tree: ast.expr, facts: Mapping[str, Fact]) -> str:
    if not isinstance(tree, ast.Compare):
        names = sorted(Expression("", tree).names)
        values = ", ".join(f"{name} is {facts[name]}" for name in names if name in facts)
        return f"{ast.unparse(tree)}: {values}"
    values = [_value(side, facts) for side in (tree.left, *tree.comparators)]
    text = str(_format(values[0]))
    for sign, value in zip(tree.ops, values[1:], strict=True):
        text += f" {_COMPARE[type(sign)][0]} {_format(value)}"
    return f"{ast.unparse(tree)}: {text}"


def _format(value: object) -> object:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return value


def _check(tree: ast.AST, text: str) -> None:
    match tree:
        case ast.Constant(value=value):
            allowed = isinstance(value, int | float | str)
        case ast.UnaryOp(op=sign):
            allowed = isinstance(sign, ast.Not | ast.USub)
        case ast.BinOp(op=sign):
            allowed = type(sign) in _BINARY
        case ast.Compare(ops=signs):
            allowed = all(type(sign) in _COMPARE for sign in signs)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            count = len(arguments)
            allowed = name in _FUNCTIONS and (count == 2 or (name != "ceil_div" and count > 2))
        case _:
            allowed = isinstance(tree, ast.BoolOp | ast.Tuple | ast.Name)
    if not allowed:
        raise ValueError(
            f"{quoted(text)} contains {quoted(ast.unparse(tree))}; "
            "expected only arithmetic and comparisons of facts"
        )
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.expr):
            _check(child, text)


def _value(tree: ast.AST, facts: Mapping[str, Fact]) -> Any:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            if name not in facts:
                raise MissingFactError(name)
            return facts[name]
        case ast.BinOp(left=left, op=sign, right=right):
            operands = (_value(left, facts), _value(right, facts))
            if not all(isinstance(operand, int | float) for operand in operands):
                raise TypeError  # Python would multiply and add texts
            return _BINARY[type(sign)](*operands)
        case ast.Compare(left=left, ops=signs, comparators=rest):
            lower = _value(left, facts)
            for sign, side in zip(signs, rest, strict=True):
                upper = _value(side, facts)
                if not _COMPARE[type(sign)][1](lower, upper):
                    return False
                lower = upper
            return True
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(part, facts) for part in values)
        case ast.BoolOp(values=values):
            return any(_value(part, facts) for part in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, facts)
        case ast.UnaryOp(operand=operand):
            return -_value(operand, facts)
        case ast.Tuple(elts=values):
            return tuple(_value(part, facts) for part in values)
        case ast.Call(func=ast.Name(id=name), args=values):
            return _FUNCTIONS[name](*(_value(part, facts) for part in values))
    raise AssertionError(f"{ast.dump(tree)} passed the check")
