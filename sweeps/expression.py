"""The small language of `where`, `when.if` and `derived`: arithmetic, comparison, a few functions.

Evaluated by simpleeval, a well-kept library, never by Python's own evaluation. What is not
listed in _GRAMMAR and FUNCTIONS is refused when the expression is read.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import simpleeval

FUNCTIONS = {
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "exp": math.exp,
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "int": int,
    "float": float,
}
LITERALS = {"true": True, "false": False}  # as TOML writes them
# Both keep Python's parser and simpleeval, which recurse, far from the end of the stack.
MAX_LETTERS, MAX_DEPTH = 1000, 100

_GRAMMAR: tuple[type[ast.AST], ...] = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.IfExp, ast.Tuple, ast.List),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)
_REFUSED = {
    ast.Attribute: "an attribute (a dot after a name)",
    ast.Subscript: "a subscript ([...])",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
    ast.keyword: "a named argument",
}


class Expression:
    """One expression, parsed once; `names` are the parameters it reads.

    Raises ValueError, with the reason, for text that is no expression of the language.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_LETTERS:
            raise ValueError(
                f"has {len(text)} letters, at most {MAX_LETTERS}; use `derived` for parts"
            )
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ValueError(f"{text!r} is no expression: {reason}") from error
        if _depth(tree) > MAX_DEPTH:
            raise ValueError(f"{text[:40] + '...'!r} is nested too deeply; use `derived` for parts")
        self.names: tuple[str, ...] = _names_of(tree, text)
        self._evaluator = simpleeval.EvalWithCompoundTypes(
            functions=dict(FUNCTIONS)
        )  # it adds its own
        self._parsed = self._evaluator.parse(text.strip())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return the value under `values`; raise ValueError that names the values it failed at."""
        self._evaluator.names = {**LITERALS, **values}
        try:
            return self._evaluator.eval(self.text, previously_parsed=self._parsed)
        except (simpleeval.InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            at = at_values({name: values[name] for name in self.names})
            raise ValueError(f"{self.text!r} fails{at}: {error}") from error


def at_values(values: Mapping[str, Any]) -> str:
    """Return ` at a = 1, b = 2` for a message, "" for no values."""
    listing = ", ".join(f"{name} = {value!r}" for name, value in values.items())
    return f" at {listing}" if listing else ""


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _names_of(tree: ast.AST, text: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    functions = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
                called = ast.unparse(node.func)
                known = ", ".join(FUNCTIONS)
                raise ValueError(f"{text!r} calls {called!r}; the functions are {known}")
            functions.add(id(node.func))
        if not _is_allowed(node):
            what = _REFUSED.get(type(node)) or repr(ast.unparse(node) or type(node).__name__)
            raise ValueError(f"{text!r} holds {what}, which expressions do not have")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions and node.id not in LITERALS:
            names[node.id] = None
    return tuple(names)


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float | str)
    return isinstance(node, _GRAMMAR)
