"""Ready studies of scaling: made small they train and answer; the text's entropy is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import phasecube
from phasecube.analysis.plots import draw_plots, options_type
from phasecube.api import read
from phasecube.engine.experiments.language_model import LanguageModelParams, chain_of, sequences
from phasecube.engine.streams import Stream
from phasecube.sweeps.catalog import catalog

SMALL = {
    "scaling_transformer": (
        *("fixed.vocabulary=6", "fixed.sequences=64", "fixed.held_out=4", "fixed.warmup_steps=1"),
        *("fixed.context=4", "fixed.batch=2", "axes.width.values=[4, 32]"),
        *("axes.lr.values=[0.012, 0.03, 0.1]", "axes.steps.values=[2, 4, 8, 16]"),
    ),
    "scaling_teacher": (
        *("fixed.coordinates=64", "fixed.steps=20", "axes.features.values=[2, 4, 8]"),
        *("axes.rows.values=[0, 32]", "axes.seed.integers={start = 0, stop = 1}"),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param("scaling_transformer", marks=pytest.mark.slow), "scaling_teacher"]
)
def test_a_small_form_trains_and_its_laws_are_fitted(name: str, tmp_path: Path) -> None:
    path = catalog()[name].path
    ds = phasecube.run(path, tmp_path / "study", settings=SMALL[name])
    laws = [a for a in read(path, SMALL[name]).analyses if a.kind == "scaling_law"]
    assert laws
    for analysis in laws:
        options = {**analysis.options, "resamples": 0}
        plots = draw_plots(analysis.kind, ds, options_type(analysis.kind)(**options))
        assert plots and all(len(plot.table) for plot in plots), analysis.options["title"]


def test_the_entropy_that_the_transformer_s_study_names_is_that_of_its_chain() -> None:
    """sum_v pi_v H(row v), pi the chain's own law; held-out text costs its writer that."""
    params = LanguageModelParams(
        vocabulary=64,
        concentration=0.1,
        copy_probability=0.0,
        copy_distance=1,
        sequences=1,
        held_out=1024,
    )
    chain = chain_of(params, Stream(0))
    assert chain is not None
    next_VV = chain.next_VV
    law_V = np.full(64, 1 / 64)
    for _ in range(2000):
        law_V = law_V @ next_VV
    logs_VV = np.log(np.where(next_VV > 0, next_VV, 1))
    entropy = -float((law_V[:, None] * next_VV * logs_VV).sum())
    assert entropy == pytest.approx(2.3607, abs=5e-5)
    # -log p of a token has a standard deviation near 1.3 nat; 32768 of them, nearly independent.
    assert chain.least_loss(sequences(params, Stream(0))[1]) == pytest.approx(entropy, abs=0.03)
