"""A surface whose loss grows with size has no compute-optimal size, and its fit still stands."""

from __future__ import annotations

import numpy as np
import pandas as pd

from phasecube.analysis.scaling.fit import fit_law
from phasecube.analysis.scaling.law import law_named
from phasecube.analysis.scaling.points import points_of
from phasecube.analysis.scaling.statement import stated


def test_a_loss_that_grows_with_size_is_told_and_is_no_traceback() -> None:
    n, d = (v.ravel() for v in np.meshgrid([10.0, 30.0, 90.0, 270.0], [1e3, 4e3, 16e3, 64e3]))
    loss = 1 + 0.1 * n**0.3 + 30 * d**-0.5
    frame = pd.DataFrame({"loss": loss, "N": n, "D": d})
    points = points_of(frame, "loss", {"N": "N", "D": "D"})
    found = stated(fit_law(law_named("chinchilla"), points), 0, approaches=["surface"])
    assert found.optimal is None
    told = {c.name: c.message for c in found.cautions}
    assert "the surface has no best size, as its loss grows: alpha = " in told["no_best_size"]
