"""`phasecube fit`: a table in, numbers with intervals and warnings out; never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phasecube.analysis.scaling.law import CHINCHILLA
from phasecube.cli import main

TRUTH = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = []
    for flop in np.geomspace(1e18, 1e21, 5):
        for n in np.geomspace(0.2, 5, 7) * 2e8 * (flop / 1e19) ** 0.5:
            rows.append((n, flop / (6 * n), flop))
    frame = pd.DataFrame(rows, columns=["size", "tokens", "flops"])
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(frame))
    frame["loss"] = CHINCHILLA.predict(TRUTH, N=frame["size"], D=frame["tokens"]) * np.exp(noise)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_it_says_every_parameter_with_its_interval(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--feature", "N=size", "--feature", "C=flops"]
    assert main(["fit", str(table), *columns, "--resamples", "100", "--at", "1e22", "--json"]) == 0
    found = json.loads(told(capsys))
    for name in ("alpha", "beta", "E"):
        low, high = found["parameters"][name]["interval_95"]
        error = found["parameters"][name]["standard_error"]
        assert abs(found["parameters"][name]["value"] - TRUTH[name]) < 4 * error
        assert low < high
    assert [o["approach"] for o in found["optima"]] == ["isoflop", "surface"]
    # b = alpha / (alpha + beta) of the truth; the noise of .1 % leaves it within .02.
    assert found["optima"][1]["exponent"] == pytest.approx(0.37 / 0.71, abs=0.02)


def test_its_figure_is_written_and_warnings_stand_in_it(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(table)
    frame.loc[3, "loss"] *= 1.5
    frame.to_csv(table, index=False)
    columns = ["--feature", "N=size", "--feature", "D=tokens"]
    stem = table.parent / "figure"
    assert main(["fit", str(table), *columns, "--resamples", "0", "--figure", str(stem)]) == 0
    assert "warning: rows_far_out: 1 of 35 rows" in told(capsys)
    assert stem.with_suffix(".pdf").exists() and stem.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--law", "hoffmann"], "there is no law 'hoffmann'; there are: chinchilla, kaplan"),
        (["--law", "power"], "no column is called as x would be; the table has 'size', 'tokens'"),
        (["--feature", "N"], "--feature 'N' is not NAME=COLUMN"),
        (["--feature", "N=size"], "chinchilla needs N, D; say which column is D"),
        (["--feature", "N=tokens", "--feature", "D=tokens"], "N and D are both column 'tokens'"),
        (
            ["--law", "kaplan", "--feature", "N=size", "--feature", "D=tokens", "--at", "1e22"],
            "--at asks for the compute-optimal size, which --law chinchilla answers",
        ),
        (["--law", "kaplan", "--approach", "surface"], "--approach asks for the compute-optimal"),
        (["--resamples", "1"], "--resamples 1 has no spread"),
        (["--feature", "N=sise"], "no column 'sise'; the table has 'size', 'tokens'"),
    ],
)
def test_what_is_missing_is_named(
    table: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(table), *arguments]) == 1
    assert message in capsys.readouterr().err
