"""Whatever is asked of a study has the same numbers on dask arrays, in chunks of any kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic_study import jump, study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.caution import Caution
from phasecube.analysis.cube.joined import joined
from phasecube.analysis.cube.query import query
from phasecube.analysis.lines.slices import value_at
from phasecube.analysis.maps.drawings import draw
from phasecube.analysis.order_parameters import final_value, onset
from phasecube.engine.record import Outcome
from phasecube.sweeps.analyses import ANALYSES

STEPS = list(range(0, 121, 10))
S = np.asarray(STEPS, float)


def with_ends(ds: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """Return the study with a tenth of its trials pruned early and a tenth diverged early."""
    random = np.random.default_rng(seed)
    fate, n = random.random(ds.outcome.shape), ds.sizes["step"]
    ended = np.where(fate < 0.2, random.integers(1, n, fate.shape), n)
    outcome = np.select([fate < 0.1, fate < 0.2], [Outcome.DIVERGED, Outcome.PRUNED], ds.outcome)
    places = xr.DataArray(np.arange(n), dims="step")
    recorded = ds.n_recorded.copy(data=np.minimum(ended, ds.n_recorded).astype(np.int32))
    curves = {
        str(k): v.where(places < recorded) for k, v in ds.data_vars.items() if "step" in v.dims
    }
    outcome_of = ds.outcome.copy(data=outcome.astype(np.uint8))
    return ds.assign(**curves, n_recorded=recorded, outcome=outcome_of)


def grokked() -> xr.Dataset:
    """Onsets on both sides of the last step; a loss with a floor; a vector measure; a cadence."""
    random = np.random.default_rng(0)
    lr, decay, seeds = [0.001, 0.01, 0.1], [0.5, 1.0, 2.0, 5.0], range(6)
    shape = (len(lr), len(decay), len(seeds))
    loss = 0.2 + np.exp(-S * np.array(lr)[:, None, None, None]) * (1 + random.random((*shape, 1)))
    ds = study_dataset(
        {"lr": lr, "weight_decay": decay, "seed": seeds},
        STEPS,
        {
            "train_accuracy": jump(STEPS, random.uniform(0, 40, shape)),
            "val_accuracy": jump(STEPS, random.uniform(0, 180, shape)),
            "loss": loss,
            "rare": np.where(np.arange(len(STEPS)) % 3 == 0, loss, np.nan),
        },
    )
    ds["rare"].attrs["cadence_steps"] = STEPS[::3]
    spectrum = random.random((*shape, 2, 3)).astype("f4")
    ds["spectrum"] = ((*ds.outcome.dims, "vector_step", "k"), spectrum, {"units": "1"})
    ds = ds.assign_coords(vector_step=[0, 120], k=[1, 2, 3])
    return with_ends(ds)


def policies() -> xr.Dataset:
    """Two methods whose reward is a law of their entropy, and one that differs."""
    rate = np.array([0.02, 0.01, 0.04])[:, None] * (1 + 0.05 * np.arange(4))
    entropy = 2 * np.exp(-rate[..., None] * S)
    noise = 0.002 * np.random.default_rng(0).standard_normal(entropy.shape)
    reward = 1 - 0.15 * (np.exp(entropy) - 1) + noise
    change = -np.diff(entropy, axis=-1, prepend=entropy[..., :1]) + noise
    measures = {
        "reward": reward,
        "entropy": entropy,
        "entropy_change": change,
        "entropy_change_predicted": change * (1 + noise),
    }
    methods = {"algorithm": ["grpo", "slow", "fast"], "seed": range(4)}
    return with_ends(study_dataset(methods, STEPS, measures), 3)


def widths(n_lr: int = 1) -> xr.Dataset:
    """Losses .5 + 2 width^-.5 with a bowl over lr that moves with width; they grow above lr 1."""
    width, lr = (
        np.array([8.0, 16, 32, 64, 128]),
        np.geomspace(1e-3, 10.0, 9)[:: 10 - 9 * (n_lr > 1)],
    )
    random = np.random.default_rng(1)
    bowl = 0.03 * np.log2(lr * width[:, None] ** 0.5 / 0.5) ** 2
    end = 0.5 + 2 * width[:, None] ** -0.5 + bowl * (n_lr > 1)
    end = end[..., None] * (1 + 0.01 * random.standard_normal((*end.shape, 4)))
    loss = end[..., None] * (1 + np.exp(-S / 20))
    axes = {"width": width.astype(int), "lr": lr, "seed": range(4)}
    grown = (lr[:, None, None] * width[:, None, None, None] ** 0.7) * (1 + S)
    logits = np.broadcast_to(grown, loss.shape) * (1 + 0.1 * random.random((*end.shape, 1)))
    ds = study_dataset(axes, STEPS, {"loss": loss, "max_attention_logit": logits})
    lost = np.broadcast_to(lr[:, None] * width[:, None, None] ** 0.5 > 10, ds.outcome.shape)
    return ds.assign(outcome=ds.outcome.copy(data=np.where(lost, Outcome.DIVERGED, ds.outcome)))


def sharpening() -> xr.Dataset:
    """A share that rises through .5 at x = 1, more sharply in larger systems."""
    x, size = np.linspace(0.4, 1.6, 13), np.array([16, 32, 64, 128])
    chance = 1 / (1 + np.exp(-(x[:, None] - 1) * size**0.5))
    met = np.random.default_rng(2).random((13, 4, 12)) < chance[..., None]
    accuracy = np.where(met[..., None], 1.0, 0.1) * np.minimum(1, S / 60)
    return study_dataset(
        {"fraction": x, "width": size, "seed": range(12)}, STEPS, {"acc": accuracy}
    )


def tokens() -> xr.Dataset:
    """The Chinchilla surface over sizes and tokens, with a little noise."""
    n, d = np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 7)
    loss = 1.7 + 400 * n[:, None] ** -0.34 + 2000 * d**-0.37
    loss = loss * (1 + 0.002 * np.random.default_rng(3).standard_normal(loss.shape))
    axes = {"parameters": n, "tokens": d, "seed": [0]}
    return study_dataset(axes, STEPS, {"loss": loss[..., None, None] * (1 + np.exp(-S / 9))})


def diagonal() -> xr.Dataset:
    """A square map split by a line that is not smooth."""
    side = np.geomspace(1e-3, 1e3, 33)
    lost = np.add.outer(np.arange(33), np.arange(33)) + np.arange(33) % 3 > 33
    curves = np.where(lost[..., None], [4.0, 40.0, 400.0, 0.0], [4.0, 2.0, 0.5, 0.25])
    return study_dataset(
        {"b": side, "a": side},
        [0, 10, 20, 30],
        {"loss": curves},
        outcome=np.where(lost, Outcome.DIVERGED, Outcome.DONE),
        n_recorded=np.where(lost, 3, 4),
    )


def searched() -> xr.Dataset:
    """Sixty points over lr and width, lost above lr = 1, with an objective and a question."""
    places = np.random.default_rng(0).random((60, 2))
    lr = 0.1 * 100 ** places[:, 0]
    lost = np.repeat((lr > 1)[:, None], 2, 1)
    ds = study_dataset(
        {"point": range(60), "seed": [0, 1]},
        [0, 10],
        {"loss": lr[:, None, None] * [[2.0, 1.0], [2.1, 1.1]]},
        outcome=np.where(lost, Outcome.DIVERGED, Outcome.DONE),
    ).drop_vars("point")
    side = {"low": 0.1, "high": 10.0, "choices": []}
    axes = [{"name": "lr", "scale": "log", **side}, {"name": "width", **side, "low": 0.0}]
    facts = {
        "kind": "boundary",
        "axes": axes,
        "objectives": [{"measure": "loss"}],
        "question": {"outcome": "diverged"},
    }
    ds = ds.assign_coords(lr=("point", lr), width=("point", places[:, 1]))
    return ds.assign_attrs(search=json.dumps(facts), fixed="{}")


def bred() -> xr.Dataset:
    """Three generations of two members; each goes on from the better one before."""
    parents, begin = [-1, -1, 0, 0, 2, 3], np.repeat([0, 10, 20], 2)
    steps = np.arange(0, 31, 5)
    inside = (steps >= begin[:, None]) & (steps <= begin[:, None] + 10)
    last = np.array([2.0, 9.0, 1.5, 1.2, 1.1, 0.6])
    value = np.where(inside, last[:, None] + (begin[:, None] + 10 - steps) / 100, np.nan)
    ds = study_dataset({"point": range(6), "seed": [0, 1]}, steps, {"loss": value[:, None]})
    names = np.array([[f"{p:016d}{s:016d}" for s in (0, 1)] for p in range(6)])
    from_ = np.array([["" if p < 0 else names[p, s] for s in (0, 1)] for p in parents])
    ds["digest"] = (("point", "seed"), names)
    ds["stopped_at"] = (("point", "seed"), np.repeat(begin[:, None] + 10, 2, 1))
    return ds.drop_vars("point").assign_coords(
        lr=("point", [0.1, 1.0, 0.1, 0.12, 0.1, 0.144], {"scale": "log"}),
        steps=("point", begin + 10),
        parent_point=("point", parents),
        branch_step=("point", begin),
        parent_trial=(("point", "seed"), from_),
    )


class Case(NamedTuple):
    study: Callable[[], xr.Dataset]
    options: Mapping[str, Any]


LOSS = {"measure": "loss"}
FEATURES = {"features": {"N": "parameters", "D": "tokens"}, "resamples": 4}
CASES: Mapping[str, tuple[Case, ...]] = {
    "grokking": (
        Case(grokked, {}),
        Case(grokked, {"sustained": True, "max_delay": 50}),
        Case(
            grokked,
            {"train": "loss", "validation": "rare", "above": False, "relative_to": "initial"},
        ),
    ),
    "phase_diagram": (
        Case(grokked, LOSS),
        Case(grokked, {**LOSS, "statistic": "mean"}),
        Case(grokked, {"measure": "rare", "statistic": "share", "threshold": 0.5}),
        Case(grokked, {**LOSS, "quantity": "onset", "threshold": 0.5, "above": False}),
    ),
    "curves": (Case(grokked, {"measures": ["loss", "rare"]}),),
    "slices": (
        Case(grokked, {**LOSS, "x": "lr", "by": "weight_decay", "fit": True, "times": "lr"}),
        Case(grokked, {"measure": "spectrum", "x": "k", "over": ["seed", "lr"]}),
        Case(grokked, {"measure": "rare", "x": "lr", "step": 30, "statistic": "mean"}),
    ),
    "trajectories": (
        Case(grokked, {**LOSS, "by": "lr"}),
        Case(grokked, {"measure": "spectrum", "by": "k", "reference": ["1 / lr"]}),
    ),
    "instability_forecast": (Case(lambda: widths(9), {"x": "width", "by": "lr"}),),
    "lr_transfer": (Case(lambda: widths(9), {**LOSS, "x": "width", "tail": 3}),),
    "lr_stability": (
        Case(lambda: widths(9), {**LOSS, "x": "width", "tail": 2, "sensitivity": "loss"}),
        Case(
            lambda: widths(9), {**LOSS, "x": "width", "label": "converged", "converged_below": 1.0}
        ),
        Case(lambda: widths(9), {**LOSS, "x": "width", "estimator": "logistic"}),
    ),
    "scaling_law": (
        Case(widths, {**LOSS, "features": {"x": "width"}, "resamples": 4}),
        Case(
            lambda: widths(9),
            {**LOSS, "features": {"x": "width"}, "best_over": ["lr"], "resamples": 4},
        ),
        Case(widths, {**LOSS, "features": {"x": "width * (step + 1)"}, "resamples": 4}),
    ),
    "compute_optimal": (Case(tokens, {**LOSS, **FEATURES}),),
    "search": (Case(searched, {}),),
    "lineage": (Case(bred, LOSS),),
    "boundary_dimension": (
        Case(diagonal, {**LOSS, "x": "a", "y": "b", "label": "converged", "converged_below": 1.0}),
    ),
    "refined_boundary": (
        Case(searched, {"x": "width", "y": "lr"}),
        Case(searched, {"x": "width", "y": "lr", "question": {**LOSS, "below": 0.3}}),
    ),
    "boundary_law": (Case(lambda: widths(9), {**LOSS, "x": "lr", "against": "width"}),),
    "finite_size": (
        Case(
            sharpening,
            {"measure": "acc", "x": "fraction", "size": "width", "threshold": 0.9, "resamples": 4},
        ),
    ),
    "entropy_law": (Case(policies, {"by": "algorithm"}),),
    "entropy_phase": (Case(policies, {"x": "algorithm", "learnt": 0.5}),),
    "entropy_methods": (Case(policies, {}),),
    "entropy_covariance": (Case(policies, {"by": "algorithm"}),),
}
AS_CUBE, AS_ROWS = "all trials at some steps", "some trials at all steps"


def chunked(ds: xr.Dataset, how: str) -> xr.Dataset:
    """Return the study in dask chunks like those of a cube, or like those of rows."""
    first = str(ds.outcome.dims[0])
    sizes = {"step": 5, "vector_step": 1} if how == AS_CUBE else {first: 2}
    curves = [n for n, v in ds.data_vars.items() if {"step", "vector_step"} & set(v.dims)]
    found = {n: ds[n].chunk({d: k for d, k in sizes.items() if d in ds[n].dims}) for n in curves}
    return ds.assign(found)


def drawn(ds: xr.Dataset, kind: str, options: Mapping[str, Any]) -> list[Any]:
    """Return all that an analysis says: tables, captions and cautions of its maps and plots."""
    with np.errstate(all="ignore"):
        found = draw(ds, request(kind, options))
    maps = [each for section in found.sections for each in section.maps]
    return [(m.table, m.caption, m.cautions) for m in [*maps, *found.plots]]


@cache
def on_numpy(kind: str, place: int) -> list[Any]:
    return drawn(CASES[kind][place].study(), kind, CASES[kind][place].options)


def test_every_analysis_has_a_case() -> None:
    assert set(CASES) == set(ANALYSES)


@pytest.mark.parametrize("how", [AS_CUBE, AS_ROWS])
@pytest.mark.parametrize(
    ("kind", "place"),
    [(kind, place) for kind, cases in CASES.items() for place in range(len(cases))],
)
def test_an_analysis_says_the_same_on_dask(kind: str, place: int, how: str) -> None:
    case = CASES[kind][place]
    plain, by_dask = on_numpy(kind, place), drawn(chunked(case.study(), how), kind, case.options)
    assert len(plain) == len(by_dask) > 0
    for (table, *said), (other, *said_too) in zip(plain, by_dask, strict=True):
        assert len(table) > 0 or kind == "curves"
        pd.testing.assert_frame_equal(table, other, check_exact=True)
        assert said == said_too and all(isinstance(c, Caution) for c in said[1])


def table_of(ds: xr.Dataset, **asked: Any) -> pd.DataFrame:
    found = query(ds, **asked)
    return found.assign(notes="; ".join(found.attrs["notes"]))


QUESTIONS: Mapping[str, Callable[[xr.Dataset], pd.DataFrame | xr.Dataset | xr.DataArray]] = {
    "last": table_of,
    "last of a rarer cadence": lambda ds: table_of(ds, measures=["rare"]),
    "last of those that diverged": lambda ds: table_of(ds, outcomes=["diverged"]),
    "at a step": lambda ds: table_of(ds, step=30, select={"lr": [0.001, 0.1]}),
    "every statistic": lambda ds: table_of(
        ds,
        reduce=[("seed", s) for s in ("median", "mean", "min", "max", "std", "count", "iqr", "q9")],
    ),
    "statistic of a statistic": lambda ds: table_of(ds, reduce=[("seed", "iqr"), ("lr", "max")]),
    "labels of a vector": lambda ds: table_of(ds, measures=["spectrum"], reduce=[("k", "q25")]),
    "in bins of steps": lambda ds: table_of(ds, measures=["loss"], bins=(3, "median")),
    "onset": lambda ds: onset(ds, "loss", 0.5, above=False).dataset("t", "onset"),
    "onset that lasts": lambda ds: onset(ds, "val_accuracy", 0.5, sustained=True).dataset("t", "o"),
    "final value": lambda ds: final_value(ds, "loss").compute(),
    "value of a vector": lambda ds: value_at(ds, "spectrum", None).compute(),
    "joined": lambda ds: joined(
        {"a": ds.isel(lr=[0, 1]), "b": ds.drop_vars("rare").isel(lr=[1, 2])}
    ).compute(),
}


@pytest.mark.parametrize("how", [AS_CUBE, AS_ROWS])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_has_the_same_answer_on_dask(question: str, how: str) -> None:
    ask, ds = QUESTIONS[question], grokked()
    plain, by_dask = ask(ds), ask(chunked(ds, how))
    if isinstance(plain, pd.DataFrame):
        assert len(plain) > 0
        pd.testing.assert_frame_equal(plain, by_dask, check_exact=True)
    else:
        xr.testing.assert_identical(plain, by_dask)
