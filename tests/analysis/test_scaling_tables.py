"""Tables as people write them, and tables shaped as the public sets: recovered, or warned of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phasecube.analysis.scaling.convention import FlopRule
from phasecube.analysis.scaling.fit import Fit, fit_law
from phasecube.analysis.scaling.law import CHINCHILLA, POWER_WITH_FLOOR
from phasecube.analysis.scaling.points import points_of
from phasecube.analysis.scaling.profiles import budgets_of
from phasecube.analysis.scaling.statement import stated
from phasecube.cli import main
from phasecube.engine.errors import StudyError

TRUTH = {"E": 1.8172, "A": 477.8, "B": 2143.0, "alpha": 0.3473, "beta": 0.3672}
EXPONENT = TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"])


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loss(size: np.ndarray, tokens: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    off = noise * np.random.default_rng(seed).standard_normal(len(size))
    return CHINCHILLA.predict(TRUTH, N=size, D=tokens) * np.exp(off)


def isoflop(budgets: Any, n: int, spread: float = 5.0) -> tuple[np.ndarray, ...]:
    flop = np.repeat(np.asarray(budgets, float), n)
    best = 0.12 * flop**EXPONENT
    size = best * np.tile(np.geomspace(1 / spread, spread, n), len(budgets))
    return size, flop / (6 * size), flop


def names(found: Any) -> set[str]:
    return {c.name for c in found.cautions}


ROWS = "1e6,1e9,4.0\n2e6,2e9,3.5\n4e6,3e9,3.2\n"


@pytest.mark.parametrize(
    "text",
    [
        "N,D,loss\n" + ROWS,
        "\ufeffN,D,loss\n" + ROWS,
        "# made on a Monday\n\nN,D,loss\n" + ROWS,
        "N;D;loss\n" + ROWS.replace(",", ";"),
        "N;D;loss\n1e6;1e9;4,0\n2e6;2e9;3,5\n4e6;3e9;3,2\n",
        "N\tD\tloss\n" + ROWS.replace(",", "\t"),
        "N D loss\n" + ROWS.replace(",", " "),
        'N,D,loss\n"1,000,000","1,000,000,000",4.0\n"2,000,000",2e9,3.5\n"4,000,000",3e9,3.2\n',
        "N,D,loss\n1M,1B,4.0\n2M,2B,3.5\n4M,3B,3.2\n",
        "params_M,tokens (B),loss\n1,1,4.0\n2,2,3.5\n4,3,3.2\n",
        "N,D,loss\r\n" + ROWS.replace("\n", "\r\n") + "\r\n\r\n",
        ("N,D,loss\n" + ROWS).encode("utf-16"),
    ],
    ids=[
        *("plain", "BOM", "comment", "semicolons", "decimal commas", "tabs", "blanks"),
        *("thousands", "suffixes", "units in names", "CRLF", "UTF-16"),
    ],
)
def test_a_table_is_read_however_it_is_written(text: str | bytes, tmp_path: Path) -> None:
    found = points_of(written(tmp_path, text))
    assert found.features["N"].tolist() == [1e6, 2e6, 4e6]
    assert found.features["D"].tolist() == [1e9, 2e9, 3e9]
    assert found.y_N.tolist() == [4.0, 3.5, 3.2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a table has a line of names"),
        ("\n  \n", "is empty"),
        ("N,D,loss\n", "has a header and no rows"),
        (ROWS, "has no header: line 1 is numbers"),
        ("N,D,loss\n1e6,1e9,4.0\n2e6,big,3.5\n", "'D' holds 'big' in line 3, which is no number"),
        ("N,D,loss\n1e6,1e9,4.0\nN,D,loss\n2e6,1e9,3\n", "line 3 is the header again"),
        (
            "N;D;loss\n1e6;1e9;3,406\n2e6;1e9;3,101\n",
            "'3,406' in line 2, which may be 3.406 or 3406",
        ),
        ("N,D,loss\n1e6,1e9,0\n2e6,1e9,3\n", "'loss' holds 0 in line 2: a power law needs"),
        ("N,D,loss\n1e6,1e9,-4\n2e6,1e9,3\n", "'loss' holds -4 in line 2"),
        ("N,D,loss\n1e6,1e9,4,4,4\n2e6,1e9,3\n3,3,3,3,3,3\n", "cannot be read as CSV"),
        ("N,D,loss\n1e6,1e9,4\n1e6,2e9,3,9\n", "line 3 has 4 values and the header 3 names"),
        (b"\x89PNG\x00\x00\x00", "is no text; save the table as CSV"),
        (b"N,D,loss\n1,2,\xff\xfa\n", "is not UTF-8 at byte"),
        ("N,D,loss\nnan,1e9,4\n", "no row has a number in every column"),
        ("a,b,loss\n1,2,3\n", "no column is called as N, D, C would be"),
        ("N,D,score\n1,2,3\n", "no column is called as a loss would be"),
        ("N,params,D,loss\n1,2,3,4\n", "N may be any of 'N', 'params'; say which"),
        ("N,N,D,loss\n1,2,3,4\n", "two columns are called 'N'; rename one"),
    ],
)
def test_nonsense_is_refused_with_its_place(
    text: str | bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(written(tmp_path, text))]) == 1
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("Model Size,Training FLOP,loss", {"N": "'Model Size'", "C": "'Training FLOP'"}),
        ("n_params,tokens,final_loss", {"N": "'n_params'", "D": "'tokens'", "y": "'final_loss'"}),
        ("params,tokens,budget,loss", {"N": "'params'", "C": "'budget'"}),
        ("numParams,train_tokens,val_loss", {"N": "'numParams'", "D": "'train_tokens'"}),
    ],
)
def test_columns_of_obvious_names_are_taken_and_said(
    header: str, taken: dict[str, str], tmp_path: Path
) -> None:
    values = "1e8,6e18,1e19,3\n2e8,6e18,1e19,2.9\n".replace(",1e19", "", 0)
    n = header.count(",") + 1
    cells = "\n".join(
        ",".join([*line.split(",")[: n - 1], line.split(",")[-1]]) for line in values.split()
    )
    read = points_of(written(tmp_path, f"{header}\n{cells}\n")).read
    assert {f"{name} = {column}" for name, column in taken.items()} <= set(read)


def test_units_that_do_not_fit_each_other_are_told_of() -> None:
    size, tokens, flop = isoflop([1e19, 1e20, 1e21], 6)
    table = pd.DataFrame({"N": size, "D": tokens, "C": flop, "loss": loss(size, tokens)})
    columns = {"N": "N", "D": "D"}
    assert "mixed_units" not in names(points_of(table, "loss", {**columns, "C": "C"}))
    assert "mixed_units" in names(points_of(table.assign(D=tokens / 1e9), "loss", columns))
    wrong = table.assign(C=np.where(np.arange(18) < 4, flop / 1e9, flop))
    assert "mixed_units" in names(points_of(wrong, "loss", {**columns, "C": "C"}))
    in_units = table.assign(N=size / 1e6, D=tokens / 1e9)
    assert "mixed_units" in names(points_of(in_units, "loss", columns))
    some = table.assign(N=np.where(np.arange(18) < 4, size / 1e6, size))
    assert "mixed_units" in names(points_of(some, "loss", columns))


def test_delimiters_that_end_lines_of_a_spreadsheet_are_no_values(tmp_path: Path) -> None:
    text = "N,D,loss\n1e6,1e9,4.0,\n2e6,2e9,3.5,\n3e6,3e9,3.2\n"
    assert points_of(written(tmp_path, text)).y_N.tolist() == [4.0, 3.5, 3.2]


def test_embeddings_are_added_or_taken_off_as_asked_and_said() -> None:
    size, tokens, _ = isoflop([1e19, 1e20, 1e21], 6)
    table = pd.DataFrame({"N": size, "D": tokens, "loss": loss(size, tokens), "emb": size / 10})
    options: dict[str, Any] = {"embeddings": "emb"}
    less = points_of(table, "loss", {"N": "N", "D": "D"}, count="without_embeddings", **options)
    more = points_of(table, "loss", {"N": "N", "D": "D"}, count="all", **options)
    np.testing.assert_allclose(less.features["N"], 0.9 * size)
    np.testing.assert_allclose(more.features["N"], 1.1 * size)
    assert (
        str(less.convention).startswith("N counts no embeddings")
        and "'emb' taken off in N" in less.read
    )
    with pytest.raises(StudyError, match="say what N shall count"):
        points_of(table, "loss", {"N": "N", "D": "D"}, **options)
    with pytest.raises(StudyError, match="D cannot follow from C = 6 N D"):
        points_of(table.assign(C=1e19), "loss", {"N": "N", "C": "C"}, count="all", **options)


def test_flops_that_are_not_6nd_move_the_line_and_are_told_of() -> None:
    """C = 9 N^1.1 D: on the surface N* ~ C^(beta / (alpha + 1.1 beta))."""
    size, tokens, _ = isoflop(np.geomspace(1e18, 1e21, 5), 7)
    table = pd.DataFrame({"N": size, "D": tokens, "C": 9 * size**1.1 * tokens})
    points = points_of(table.assign(loss=loss(size, tokens)), "loss", {c: c for c in "NDC"})
    statement = stated(fit_law(CHINCHILLA, points), 0, approaches=["surface"])
    assert "flop_not_6nd" in names(statement) and points.convention.flop == "exact"
    expected = TRUTH["beta"] / (TRUTH["alpha"] + 1.1 * TRUTH["beta"])
    assert statement.optima[0].exponent == pytest.approx(expected, rel=1e-6)
    best = statement.optima[0].size(1e20)
    near = best * np.array([0.98, 1.0, 1.02])
    least = CHINCHILLA.predict(TRUTH, N=near, D=FlopRule(9.0, 1.1, 1.0).tokens(1e20, near))
    assert least.argmin() == 1


def surface(table: pd.DataFrame, tmp_path: Path, **options: Any) -> Fit:
    path = tmp_path / "public.csv"
    table.to_csv(path, index=False)
    return fit_law(CHINCHILLA, points_of(path, **options))


def exponents(fit: Fit) -> list[float]:
    return [fit.values["alpha"], fit.values["beta"]]


TRUE = pytest.approx([TRUTH["alpha"], TRUTH["beta"]], rel=0.1)


def test_a_set_read_off_a_figure_is_recovered_and_its_worst_rows_told_of(tmp_path: Path) -> None:
    """245 rows; colours and pixels beside them; 5 rows at the smallest budget far too high."""
    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(np.log(5e7), np.log(1.6e10), 245))
    flop = rng.choice([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21], 245)
    flop = flop * np.exp(0.05 * rng.standard_normal(245))
    y = loss(size, flop / (6 * size), 0.004)
    y[:5] *= 1.3
    table = pd.DataFrame(
        {"x": rng.uniform(0, 300, 245), "y": rng.uniform(0, 300, 245), "color": "#faebdd",
         "Model Size": size, "Training FLOP": flop, "loss": y}
    )  # fmt: skip
    found = surface(table, tmp_path)
    assert exponents(found) == TRUE and "rows_far_out" in names(found)


def test_a_plain_table_of_three_and_of_four_columns_is_recovered(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    size = np.sort(rng.choice(np.geomspace(7e7, 1.2e10, 40).round(), 234))
    tokens = np.exp(rng.uniform(np.log(1.4e9), np.log(3e11), 234)).round()
    table = pd.DataFrame({"C": 6 * size * tokens, "N": size, "D": tokens})
    table["loss"] = loss(size, tokens, 0.005).round(6)
    assert exponents(surface(table, tmp_path)) == TRUE
    assert exponents(surface(table.drop(columns="D"), tmp_path)) == TRUE


def public(tmp_path: Path, other: float = 1.0) -> Path:
    """Several sets in one table: source, flags, budgets; `other` multiplies one source's loss."""
    parts = []
    for place, (source, budgets, n) in enumerate(
        [
            ("ours", [6e18, 1e19, 3e19, 1e20, 3e20, 1e21, 3e21], 9),
            ("theirs", [3e18, 9e18, 3e19, 9e19], 8),
        ]
    ):
        size, tokens, flop = isoflop(budgets, n)
        y = loss(size, tokens, 0.002, seed=place) * (other if place else 1)
        parts.append(pd.DataFrame({"source": source, "tokens": tokens, "params": size.round(),
                                   "budget": flop, "loss": y, "outlier": False}))  # fmt: skip
    table = pd.concat(parts)
    table.iloc[[3, 20], 5] = True
    path = tmp_path / "isoflops.csv"
    table.to_csv(path, index=False)
    return path


def test_sources_that_differ_are_told_of_and_can_be_chosen(tmp_path: Path) -> None:
    mixed = fit_law(CHINCHILLA, points_of(public(tmp_path, other=1.05)))
    assert {"sorts_differ", "flagged_rows"} <= names(mixed)
    assert "--only source=VALUE fits one" in str([c.message for c in mixed.cautions])
    one = fit_law(CHINCHILLA, points_of(public(tmp_path, other=1.05), only={"source": "ours"}))
    assert exponents(one) == TRUE and "sorts_differ" not in names(one)


def test_sources_of_one_law_are_not_told_apart(tmp_path: Path) -> None:
    found = fit_law(CHINCHILLA, points_of(public(tmp_path)))
    assert exponents(found) == TRUE and not {"sorts_differ", "form_does_not_fit"} & names(found)
    statement = stated(found, 0)
    assert {o.approach for o in statement.optima} == {"isoflop", "surface"}
    assert all(o.exponent == pytest.approx(EXPONENT, abs=0.02) for o in statement.optima)


def test_narrow_windows_at_few_budgets_are_recovered_by_both_approaches(tmp_path: Path) -> None:
    """Two budgets of two sets, as of a small laboratory: 85 rows."""
    size, tokens, flop = isoflop([3e18, 9e18, 1.8e19, 3e19, 9e19], 17, spread=8)
    table = pd.DataFrame({"params": size, "tokens": tokens, "budget": flop})
    table["loss"] = loss(size, tokens, 0.003)
    found = surface(table, tmp_path)
    assert exponents(found) == TRUE
    assert all(abs(o.exponent - EXPONENT) < 0.03 for o in stated(found, 0).optima)


def test_runs_repeated_with_other_seeds_are_rows_of_their_own(tmp_path: Path) -> None:
    size, tokens, _ = isoflop([1e19, 1e20, 1e21], 6)
    size, tokens = np.repeat(size, 3), np.repeat(tokens, 3)
    table = pd.DataFrame({"n_params": size, "tokens": tokens, "seed": np.tile([0, 1, 2], 18)})
    table["eval_loss"] = loss(size, tokens, 0.003)
    found = surface(table, tmp_path)
    assert len(found.points) == 54 and exponents(found) == TRUE


def test_training_curves_with_a_run_column_are_curves(tmp_path: Path) -> None:
    """Checkpoints of 20 sizes, as of sets that publish every 1,000 steps."""
    size = np.repeat(np.geomspace(5e7, 2e9, 20).round(), 30)
    tokens = np.tile(np.geomspace(1e9, 3e11, 30), 20)
    table = pd.DataFrame(
        {"run_name": [f"m{int(s)}" for s in size], "params": size, "tokens": tokens}
    )
    table["loss"] = loss(size, tokens, 0.0005)
    found = surface(table, tmp_path)
    assert "run = 'run_name'" in found.points.read
    statement = stated(found, 0)
    assert {o.approach for o in statement.optima} == {"envelope", "isoflop", "surface"}
    assert all(abs(o.exponent - EXPONENT) < 0.04 for o in statement.optima)


def test_rows_with_no_floor_in_sight_do_not_pass_for_sure(tmp_path: Path) -> None:
    """A floor of a hundredth of the smallest loss, under noise of 1 %."""
    x = np.geomspace(1e6, 1e8, 40)
    noise = 0.01 * np.random.default_rng(0).standard_normal(40)
    table = pd.DataFrame({"x": x, "loss": 3 * (x / 1e6) ** -0.1 * np.exp(noise)})
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    fit = fit_law(POWER_WITH_FLOOR, points_of(path, needed=("x",)))
    assert names(stated(fit, 100)) & {"no_floor", "floor_uncertain"}


def test_another_form_is_told_of_rather_than_fitted_in_silence() -> None:
    """y falls with the logarithm of x: no power law has that over four decades."""
    x = np.geomspace(1e2, 1e6, 60)
    y = (6 - 0.35 * np.log(x)) * np.exp(0.002 * np.random.default_rng(0).standard_normal(60))
    table = pd.DataFrame({"x": x, "loss": y})
    fit = fit_law(POWER_WITH_FLOOR, points_of(table, "loss", {"x": "x"}))
    assert names(fit) & {"form_does_not_fit", "no_floor"}


def test_a_law_that_holds_is_not_said_to_bend() -> None:
    """The chance of a false alarm is .001 a fit: of 40, 2 or more have a chance of .1 %."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = np.geomspace(10, 1e5, 30)
        y = (0.4 + 4 * x**-0.4) * np.exp(0.01 * rng.standard_normal(30))
        table = pd.DataFrame({"x": x, "loss": y})
        fit = fit_law(POWER_WITH_FLOOR, points_of(table, "loss", {"x": "x"}), starts=0)
        alarms += "form_does_not_fit" in names(fit)
    assert alarms <= 1


def test_rows_between_budgets_do_not_join_them() -> None:
    rng = np.random.default_rng(0)
    flop = np.concatenate(
        [np.repeat([1e19, 1e20], 10), np.exp(rng.uniform(np.log(1e19), np.log(1e20), 60))]
    )
    size = np.exp(rng.uniform(np.log(1e8), np.log(1e9), 80))
    table = pd.DataFrame({"N": size, "C": flop, "loss": loss(size, flop / (6 * size))})
    for _, rows in budgets_of(points_of(table, "loss", {"N": "N", "C": "C"})):
        assert np.ptp(np.log(flop[rows])) <= 0.25


def test_the_largest_table_is_fitted_and_its_interval_is_that_of_all_rows(tmp_path: Path) -> None:
    """40,000 rows, of which half are drawn: the interval narrows as the root of the rows."""
    rng = np.random.default_rng(0)
    widths = []
    for n in (1000, 40_000):
        x = np.exp(rng.uniform(0, np.log(1e4), n))
        y = 5 * x**-0.5 * np.exp(0.05 * rng.standard_normal(n))
        table = pd.DataFrame({"x": x, "loss": y})
        found = stated(
            fit_law(POWER_WITH_FLOOR, points_of(table, "loss", {"x": "x"}), delta=10.0, starts=2),
            30,
        )
        assert found.again is not None
        widths.append(found.again.standard_error("alpha"))
    # Of 30 resamples a standard error is known to 13 %, of two of them to 18 %.
    assert widths[0] / widths[1] == pytest.approx(40**0.5, rel=0.55)


def test_the_json_of_a_fit_is_strict_and_says_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fit", str(public(tmp_path)), "--resamples", "0", "--at", "1e22", "--json"]
    assert main([*arguments, "--only", "source=ours", "--count", "all", "--flop", "6ND"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda c: pytest.fail(c))
    assert "N = 'params'" in found["read"] and found["convention"] == {"N": "all", "C": "6ND"}
    assert {"approach", "exponent", "interval_95", "at"} <= set(found["optima"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "source"], "--only 'source' is not COLUMN=VALUE"),
        (["--only", "source=mine"], "no row has source = 'mine'; it holds 'ours', 'theirs'"),
        (["--only", "sauce=ours"], "no column 'sauce'"),
        (["--at", "-1"], "--at takes numbers above 0"),
        (["--delta", "0"], "--delta takes a number above 0"),
        (["--resamples", "-1"], "--resamples takes a number from 0 on"),
        (["--approach", "envelope"], "no run has three records of one size"),
    ],
)
def test_what_cannot_be_asked_of_a_table_is_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(public(tmp_path)), "--resamples", "0", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_rows_that_are_alike_are_kept_where_they_are_of_different_runs() -> None:
    table = pd.DataFrame(
        {"N": [1e6, 1e6, 1e6], "D": [1e9, 1e9, 1e9], "loss": [3.1, 3.1, 3.1], "id": ["a", "b", "b"]}
    )
    features = {"N": "N", "D": "D"}
    assert len(points_of(table, "loss", features, run="id")) == 2
    assert len(points_of(table, "loss", features)) == 1
