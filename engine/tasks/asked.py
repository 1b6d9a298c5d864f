"""The tasks that have questions, by name, and how large each is without making it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from phasecube.engine.tasks.modular_sums import base_of, modular_sums
from phasecube.engine.tasks.parentheses import openings, parentheses
from phasecube.engine.tasks.questions import Questions
from phasecube.engine.tasks.sorting import sorted_lists

if TYPE_CHECKING:
    from phasecube.engine.streams import Stream

Task = Literal["modular_sum", "sorting", "parentheses"]
ANSWERS_OF_MANY = 8  # right answers kept of each prompt that has more than one


@dataclass(frozen=True)
class Size:
    """N prompts of P tokens, answers of at most L tokens; symbols without the end token."""

    prompts: int
    places: int
    prompt_symbols: int
    tokens: int
    symbols: int


def size_of(params: Any) -> Size:
    """Return the size of the task that the parameters name."""
    end = params.end_token
    if params.task == "modular_sum":
        base = base_of(params.modulus, params.digits)
        n = params.modulus**params.terms
        return Size(n, params.terms, params.modulus, params.digits + end, base)
    if params.task == "sorting":
        length, symbols = params.list_length, params.list_symbols
        return Size(symbols**length, length, symbols, length + end, symbols)
    left = params.string_length - params.prefix_length
    n = len(openings(params.string_length, params.prefix_length))
    return Size(n, params.prefix_length, 2, left + end, 2)


def questions_of(params: Any, stream: Stream) -> Questions:
    """Return the questions of the task that the parameters name."""
    end = params.end_token
    if params.task == "modular_sum":
        return modular_sums(params.modulus, params.terms, params.digits, end=end)
    if params.task == "sorting":
        return sorted_lists(params.list_length, params.list_symbols, end=end)
    return parentheses(
        params.string_length,
        params.prefix_length,
        end=end,
        answers=ANSWERS_OF_MANY,
        stream=stream,
    )
