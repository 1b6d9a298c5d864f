"""The small language of `where`, `when.if` and `derived`: arithmetic, comparison, a few functions.

Evaluated by simpleeval, a well-kept library, never by Python's own evaluation; attributes,
subscripts and any function not listed here are refused when the expression is read.
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

_REFUSED = {
    ast.Attribute: "an attribute (a dot after a name)",
    ast.Subscript: "a subscript ([...])",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
}


class Expression:
    """One expression, parsed once; `names` are the parameters it reads.

    Raises ValueError, with the reason, for text that is no expression of the language.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except SyntaxError as error:
            raise ValueError(f"{text!r} is no expression: {error.msg}") from error
        self.names: tuple[str, ...] = _names_of(tree, text)
        self._evaluator = simpleeval.SimpleEval(functions=FUNCTIONS)
        for kind in _REFUSED:
            self._evaluator.nodes.pop(kind, None)
        self._parsed = self._evaluator.parse(text.strip())

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Return the value under `values`; raise ValueError that names the values it failed at."""
        self._evaluator.names = values
        try:
            return self._evaluator.eval(self.text, previously_parsed=self._parsed)
        except (simpleeval.InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            at = ", ".join(f"{name} = {values[name]!r}" for name in self.names)
            raise ValueError(f"{self.text!r} fails at {at}: {error}") from error


def _names_of(tree: ast.AST, text: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    functions = set()
    for node in ast.walk(tree):
        if type(node) in _REFUSED:
            raise ValueError(
                f"{text!r} holds {_REFUSED[type(node)]}, which expressions do not have"
            )
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
                called = ast.unparse(node.func)
                known = ", ".join(FUNCTIONS)
                raise ValueError(f"{text!r} calls {called!r}; the functions are {known}")
            functions.add(id(node.func))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in functions:
            names[node.id] = None
    return tuple(names)
