"""Planted laws come back from made studies; conventions, averages and records are as asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from synthetic_study import study_dataset

from phasecube.analysis.analyses import request
from phasecube.analysis.cube.joined import joined
from phasecube.analysis.scaling import compute_optimal_plot
from phasecube.analysis.scaling import law_plot as scaling_law_plot
from phasecube.analysis.scaling.from_cube import points_from_cube
from phasecube.analysis.scaling.law import CHINCHILLA, KAPLAN, OVER_TRAINING
from phasecube.engine.errors import StudyError
from phasecube.engine.record import Outcome

SURFACE = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}
EXPONENT = SURFACE["beta"] / (SURFACE["alpha"] + SURFACE["beta"])
SIZES = np.geomspace(1e6, 1e8, 13).round()
STEPS = np.unique(np.geomspace(1, 3000, 40).round().astype(int))
TOKENS_A_STEP = 1e6
COUNTS = {
    "parameters": "size + table",
    "embedding_parameters": "table",
    "tokens_per_step": "batch * context",
    "flop_per_step": "6.0 * size * batch * context",
}


def curves(noise: float = 0.0, seeds: int = 2, **extra: Any) -> xr.Dataset:
    """L(N, D) of sizes x seeds at every step, N = size and D = 10^6 step."""
    rng = np.random.default_rng(0)
    loss_NT = CHINCHILLA.predict(SURFACE, N=SIZES[:, None], D=TOKENS_A_STEP * STEPS)
    off_NS = noise * rng.standard_normal((len(SIZES), seeds))
    axes = {"size": SIZES, "seed": range(seeds)}
    ds = study_dataset(axes, STEPS, {"loss": loss_NT[:, None] * np.exp(off_NS)[..., None]})
    fixed = {"batch": 1000, "context": 1000, "table": 1e6, "schedule": "constant", **extra}
    return ds.assign_attrs(fixed=json.dumps(fixed))


def declaring(ds: xr.Dataset, **counts: str) -> xr.Dataset:
    return ds.assign_attrs(counts=json.dumps({**COUNTS, **counts}))


def table(ds: xr.Dataset, law: str, features: dict[str, str], **more: Any) -> Any:
    options = {"measure": "loss", "law": law, "features": features, "resamples": 0, **more}
    (plot,) = scaling_law_plot.draw(ds, request("scaling_law", options).options)
    return plot.table.set_index("parameter")["value"]


ND = {"N": "size", "D": "batch * context * step"}


@pytest.mark.parametrize(
    ("law", "features", "true"),
    [
        ("chinchilla", ND, SURFACE),
        ("kaplan", ND, {"A": 11.5, "B": 20.0, "alpha_N": 0.076, "alpha_D": 0.095}),
        ("over_training", ND, {"E": 1.8, "a": 700.0, "b": 2400.0, "eta": 0.18}),
        ("power_with_floor", {"x": "step"}, {"E": 0.3, "A": 5.0, "alpha": 0.5}),
        ("power_with_floor", {"x": "1000 * step"}, {"E": 1.2, "A": 9.0, "alpha": 0.3}),
        ("power_with_floor", {"x": "size"}, {"E": 0.9, "A": 60.0, "alpha": 0.4}),
    ],
    ids=["surface", "Kaplan", "over-training", "learning curve", "data", "size"],
)
def test_a_planted_law_comes_back_from_a_study(
    law: str, features: dict[str, str], true: dict[str, float]
) -> None:
    forms = {"chinchilla": CHINCHILLA, "kaplan": KAPLAN, "over_training": OVER_TRAINING}
    ds = curves()
    n, d = SIZES[:, None], TOKENS_A_STEP * STEPS[None, :]
    x = {"step": STEPS[None, :], "1000 * step": 1e3 * STEPS[None, :], "size": n}
    if law in forms:
        y_NT = forms[law].predict(
            true,
            **{f: {"N": n, "D": d, "C": 6 * n * d, "M": d / n}[f] for f in forms[law].features},
        )
    else:
        y_NT = true["E"] + true["A"] * x[features["x"]] ** -true["alpha"] + 0 * n * d
    y = np.broadcast_to(y_NT[:, None], ds.loss.shape)
    found = table(ds.assign(loss=ds.loss.copy(data=y)), law, features)
    # The cube's numbers are handed over in float64, and the fit ends at float64's tolerance.
    assert found.to_dict() == pytest.approx(true, rel=1e-4)


def test_all_approaches_find_the_best_size_of_a_study_and_say_its_ratio() -> None:
    options = {"measure": "loss", "features": ND, "resamples": 20, "at": [1e17]}
    plots = compute_optimal_plot.draw(curves(), request("compute_optimal", options).options)
    assert [p.name.rsplit("_", 1)[1] for p in plots] == ["envelope", "isoflop", "0"]
    found = plots[-1].table.set_index("approach")
    # Surface exact; parabolas in windows of x8 and sizes 1.47 apart err by some hundredths.
    assert found.exponent_of_size["surface"] == pytest.approx(EXPONENT, abs=1e-6)
    assert found.exponent_of_size["isoflop"] == pytest.approx(EXPONENT, abs=0.02)
    assert found.exponent_of_size["envelope"] == pytest.approx(EXPONENT, abs=0.02)
    assert {"N_at_1e+17_flop", "D_over_N_low_at_1e+17_flop"} <= set(found.columns)
    assert all(p.figure() is not None for p in plots)


def test_the_envelope_of_the_solvable_law_has_its_exponent() -> None:
    """L(N, t) = sum_{i<=N} i^-a e^{-2 t i^-b} + tail, through the path of a study."""
    a, b = 1.6, 1.2
    i = np.arange(1, 40_000.0)
    tail = np.append(np.cumsum((i**-a)[::-1])[::-1], 0) + 40_000 ** (1 - a) / (a - 1)
    sizes = np.unique(np.geomspace(8, 1024, 41).astype(int))
    steps = np.unique(np.geomspace(1, 20_000, 120).astype(int))
    decayed = i[:1024, None] ** -a * np.exp(-2 * i[:1024, None] ** -b * steps)
    loss = np.array([decayed[:n].sum(0) + tail[n] for n in sizes])
    ds = study_dataset({"modes": sizes}, steps, {"loss": loss})
    options = {"measure": "loss", "features": {"N": "modes", "D": "step"}, "resamples": 0}
    options |= {"approaches": ["envelope"]}
    *_, plot = compute_optimal_plot.draw(ds, request("compute_optimal", options).options)
    assert plot.table.exponent_of_size[0] == pytest.approx(1 / (1 + b), abs=0.005)


def test_features_that_are_left_out_are_those_the_experiment_declares() -> None:
    found = points_from_cube(declaring(curves()), "loss", records="all")
    without = points_from_cube(
        declaring(curves()), "loss", records="all", count="without_embeddings"
    )
    np.testing.assert_allclose(np.unique(found.features["N"]), SIZES + 1e6)
    np.testing.assert_allclose(np.unique(without.features["N"]), SIZES)
    np.testing.assert_allclose(np.unique(found.features["D"]), TOKENS_A_STEP * STEPS)
    assert str(without.convention) == "N counts no embeddings; C is 6 N D"
    assert found.convention.as_dict() == {"N": "all", "C": "6ND"}


def test_exact_flops_are_those_declared_and_the_line_is_told_in_them() -> None:
    """FLOPs of the sizes without the table: 6 N D of what is counted without embeddings."""
    exact = points_from_cube(declaring(curves()), "loss", records="all", flop="exact")
    np.testing.assert_allclose(
        exact.features["C"], 6 * (exact.features["N"] - 1e6) * exact.features["D"]
    )
    options = {"measure": "loss", "flop": "exact", "resamples": 0, "approaches": ["surface"]}
    (plot,) = compute_optimal_plot.draw(
        declaring(curves()), request("compute_optimal", options).options
    )
    assert "flop_not_6nd" in {c.name for c in plot.cautions}
    assert "C is as given" in plot.caption


def test_the_last_record_counts_with_the_steps_it_was_trained_for() -> None:
    found = points_from_cube(declaring(curves()), "loss")
    assert len(found) == 2 * len(SIZES)
    assert set(found.features["D"]) == {TOKENS_A_STEP * STEPS[-1]}


def test_records_before_the_first_step_have_no_data_and_are_left_out() -> None:
    ds = curves().assign_coords(step=np.concatenate([[0], STEPS[1:]]))
    found = points_from_cube(ds, "loss", ND)
    assert len(found) == 2 * len(SIZES) * (len(STEPS) - 1)


def test_a_study_that_declares_nothing_is_asked_for_features() -> None:
    with pytest.raises(StudyError, match="does not declare its counts: say features"):
        points_from_cube(curves(), "loss")
    with pytest.raises(StudyError, match="say what the law is of, as features"):
        points_from_cube(declaring(curves()), "loss", needed=("x",))
    lacking = curves().assign_attrs(counts='{"parameters": "size", "tokens_per_step": "batch"}')
    with pytest.raises(StudyError, match="and not embedding_parameters, which this convention"):
        points_from_cube(lacking, "loss", count="without_embeddings")


def test_studies_that_count_differently_are_not_mixed_in_one_fit() -> None:
    one, other = declaring(curves()), declaring(curves(), parameters="size")
    with pytest.raises(StudyError, match="one fit cannot mix them"):
        points_from_cube(joined({"one": one, "other": other}), "loss")


def test_cubes_of_two_schemas_joined_are_told_of() -> None:
    one = declaring(curves()).assign_attrs(schema_version=1)
    other = declaring(curves()).assign_attrs(schema_version=2)
    found = points_from_cube(joined({"one": one, "other": other}), "loss")
    assert "schema_versions_differ" in {c.name for c in found.cautions}


def test_an_average_over_seeds_is_of_y_and_its_interval_is_of_seeds() -> None:
    """Errors that are 1 or 3 by chance have the mean 2 and medians that jump."""
    rng = np.random.default_rng(0)
    widths = np.geomspace(8, 512, 7)
    factor = rng.choice([0.5, 1.5], (7, 400))
    loss = 3 * widths[:, None] ** -0.5 * factor
    ds = study_dataset({"width": widths, "seed": range(400)}, [10], {"loss": loss[..., None]})
    rows = points_from_cube(ds, "loss", {"x": "width"}, average=("seed",))
    assert len(rows) == 7 and len(rows.members) == 2800
    np.testing.assert_allclose(rows.y_N, loss.mean(1), rtol=1e-6)
    options = {"measure": "loss", "law": "power", "features": {"x": "width"}, "average": "seed"}
    (plot,) = scaling_law_plot.draw(ds, request("scaling_law", options | {"resamples": 60}).options)
    alpha = plot.table.set_index("parameter").loc["alpha"]
    assert alpha.low < 0.5 < alpha.high
    # Slope's error of 7 means of 400 draws of relative sd .5, over ln 64 in equal parts.
    error = 0.5 / np.sqrt(400) / np.sqrt(((np.log(widths) - np.log(widths).mean()) ** 2).sum())
    assert abs(alpha.value - 0.5) < 4 * error
    assert alpha.standard_error == pytest.approx(error, rel=0.4)


def test_an_axis_to_average_over_is_named_where_it_is_none() -> None:
    with pytest.raises(StudyError, match="average names wdth; the axes are size, seed"):
        points_from_cube(curves(), "loss", ND, average=("wdth",))


def test_cells_with_one_seed_are_told_of() -> None:
    found = points_from_cube(curves(seeds=1), "loss", ND)
    assert "one_seed" in {c.name for c in found.cautions}


def test_a_loss_of_zero_is_refused_by_its_place() -> None:
    ds = curves()
    ds.loss[3, 1, -1] = 0.0
    with pytest.raises(StudyError, match=r"loss is 0 at size = .*, seed = 1: a power law needs"):
        points_from_cube(ds, "loss", {"x": "size"})


def test_a_trial_that_ended_without_a_number_is_counted() -> None:
    ds = curves()
    ds.loss[3, 1] = np.nan
    told = {c.name: c.message for c in points_from_cube(ds, "loss", {"x": "size"}).cautions}
    assert told["rows_without_a_number"].startswith("1 trials ended in good order without a value")


def test_records_under_a_decaying_rate_are_told_of() -> None:
    names = {c.name for c in points_from_cube(curves(schedule="cosine"), "loss", ND).cautions}
    assert "records_under_a_decaying_rate" in names


def test_one_size_and_too_few_trials_are_refused_in_a_study() -> None:
    with pytest.raises(StudyError, match="N is 1e\\+06 in every row: nothing tells its exponent"):
        table(curves().isel(size=[0]), "chinchilla", ND)
    with pytest.raises(StudyError, match="power_with_floor has 3 parameters and there are 2 rows"):
        table(curves(seeds=1).isel(size=[0, 1]), "power_with_floor", {"x": "size"})


def test_a_best_size_at_the_edge_is_told_of_by_every_approach() -> None:
    ds = curves().isel(size=slice(0, 4))  # the best sizes of most budgets lie above
    options = {"measure": "loss", "features": ND, "resamples": 0}
    plots = compute_optimal_plot.draw(ds, request("compute_optimal", options).options)
    told = {c.name for p in plots for c in p.cautions}
    assert told & {"optimum_at_the_edge", "approach_left_out", "one_approach_only"}


def test_a_budget_far_beyond_the_study_is_told_of() -> None:
    options = {"measure": "loss", "features": ND, "resamples": 0, "at": [1e22]}
    *_, plot = compute_optimal_plot.draw(curves(), request("compute_optimal", options).options)
    assert "far_extrapolation" in {c.name for c in plot.cautions}


def test_a_study_half_done_says_so_on_every_figure() -> None:
    ds = curves()
    ds.outcome[-1] = Outcome.NOT_RUN
    options = {"measure": "loss", "features": ND, "resamples": 0}
    plots = compute_optimal_plot.draw(ds, request("compute_optimal", options).options)
    assert all("half_a_study" in {c.name for c in p.cautions} for p in plots)
