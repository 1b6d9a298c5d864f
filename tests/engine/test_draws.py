"""Weights and data are drawn once for all trials that they are the same for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from engine_cases import Mlp, MlpParams, make_trials

from phasecube.engine.draws import draw
from phasecube.engine.reads import Reads, watched


class Counted(Mlp):
    """Counts how often its data are drawn."""

    name = "counted"
    drawn: ClassVar[list[float]] = []

    def data(self, params: MlpParams, stream: Any) -> dict[str, torch.Tensor]:
        self.drawn.append(params.noise)
        return super().data(params, stream)


class Branched(Counted):
    """Reads `dropout` where there is noise only."""

    name = "branched"

    def data(self, params: MlpParams, stream: Any) -> dict[str, torch.Tensor]:
        self.drawn.append(0.0)
        scale = params.dropout if params.noise > 0 else 1.0
        return {"x": scale * torch.as_tensor(stream.normal("x", (3,)))}


def n_drawn(experiment: Counted, **columns: list[float]) -> int:
    n = len(next(iter(columns.values())))
    Counted.drawn.clear()
    draw(experiment, make_trials(experiment, n, columns), torch.float64)
    return len(Counted.drawn)


def test_data_are_drawn_once_for_trials_that_differ_in_what_they_do_not_read() -> None:
    assert n_drawn(Counted(), dropout=[0.1, 0.2, 0.3], lr=[1.0, 2.0, 3.0]) == 1


def test_data_are_drawn_for_each_seed_and_each_value_that_is_read() -> None:
    assert n_drawn(Counted(), noise=[0.0, 0.1, 0.0, 0.1], seed=[0, 0, 1, 1]) == 4


def test_a_parameter_that_is_read_for_some_trials_only_counts_for_those() -> None:
    columns = {"noise": [0.0, 0.0, 0.1, 0.1], "dropout": [0.1, 0.2, 0.1, 0.2]}
    assert n_drawn(Branched(), **columns) == 3
    drawn = draw(Branched(), make_trials(Branched(), 4, columns), torch.float64)
    (_, x_K3), *_ = drawn.data.stacked(torch.device("cpu"))
    assert torch.equal(x_K3[0], x_K3[1]) and torch.equal(x_K3[2] * 2, x_K3[3])


READ_ALL: list[Callable[[Any], Any]] = [
    lambda p: p.model_dump(),
    dict,
    vars,
    hash,
    lambda p: p.model_copy(update={"width": 3}),
    pickle.dumps,
]


@pytest.mark.parametrize("reader", READ_ALL)
def test_what_reads_parameters_together_may_have_read_each(reader: Callable[[Any], Any]) -> None:
    reads = Reads()
    reader(watched(MlpParams(noise=0.5), reads))
    assert reads.among(["noise", "dropout"]) == {"noise", "dropout"}


def test_a_method_of_the_parameters_reads_what_its_body_reads() -> None:
    class Own(MlpParams):
        def level(self) -> float:
            return 2 * self.noise

        @property
        def kept(self) -> float:
            return 1 - self.dropout

    reads = Reads()
    params = watched(Own(noise=0.5), reads)
    assert params.level() == 1.0 and reads.among(["noise", "dropout"]) == {"noise"}
    assert params.kept == 0.75 and reads.among(["noise", "dropout"]) == {"noise", "dropout"}


def test_watched_parameters_are_the_parameters() -> None:
    params = MlpParams(width=7, noise=0.5)
    seen = watched(params, Reads())
    assert isinstance(seen, MlpParams) and seen.model_dump() == params.model_dump()
    assert pickle.loads(pickle.dumps(seen)) == params
    assert np.isclose(seen.noise, 0.5)
