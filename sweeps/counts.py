"""What a trial's model and step come to: an experiment's counts, as expressions to evaluate.

The engine keeps them as text. Here they are read: a study carries them, so that laws can be
fitted against parameters, tokens and FLOP of every trial without the experiment's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from phasecube.engine.errors import Fault
from phasecube.sweeps.expression import Expression
from phasecube.sweeps.faults import suggest

COUNTS: Mapping[str, str] = {
    "parameters": "numbers that are trained",
    "embedding_parameters": "those of `parameters` that are looked up and not multiplied",
    "tokens_per_step": "tokens that a step learns from",
    "examples_per_step": "examples that a step learns from",
    "flop_per_step": "FLOP of the loss and of its gradient, once, matrix products only",
}


def counts_of(experiment: Any) -> Mapping[str, str]:
    """Return the counts that an experiment declares, none where it declares none."""
    return dict(getattr(experiment, "counts", {}))


def count_faults(experiment: Any, parameters: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each count of another name, in another language or of no parameter."""
    known = set(parameters)
    for name, text in counts_of(experiment).items():
        if name not in COUNTS:
            yield Fault("experiment", f"counts names {name!r}; " + suggest(name, COUNTS))
            continue
        try:
            expression = Expression(text)
        except ValueError as error:
            yield Fault("experiment", f"counts, {name}: {error}")
            continue
        for unknown in expression.names:
            if unknown not in known:
                message = f"counts, {name}: there is no parameter {unknown!r}; "
                yield Fault("experiment", message + suggest(unknown, known))
