"""Whether the updates of a collection still know the policy that answered.

The loss weights a sampled token by the ratio of its probability now to that when it was
sampled. Ratios of mean 1 and standard deviation s are worth 1 / (1 + s^2) as many samples
that need no weights (Kong 1992). Beyond s = 1 more than half of what was sampled is lost, and
what such updates do is their step size's doing, not their method's: KL-Cov with a coefficient
too large for the learning rate throws tokens to and fro across its kink.
"""

from __future__ import annotations

import xarray as xr

from phasecube.analysis.order_parameters import curve, taken

RATIO_STD = 1.0  # beyond it a collection's effective samples are fewer than half
SHARE = 0.1  # of collections: a first burst of a large learning rate is no throwing about


def far_share(ds: xr.Dataset, measure: str = "ratio_std") -> xr.DataArray:
    """Return the share of a trial's records at which half of the effective samples were lost.

    NaN for a trial without a record.
    """
    values = curve(taken(ds, measure), measure)
    known = values.notnull()
    far = ((values > RATIO_STD) & known).sum("step") / known.sum("step").where(known.any("step"))
    return far.assign_attrs(long_name="share of collections with fewer than half effective samples")


def thrown_about(ds: xr.Dataset, measure: str = "ratio_std") -> xr.DataArray:
    """Return which trials lost half of the effective samples in over a tenth of their records."""
    return (far_share(ds, measure) > SHARE).assign_attrs(long_name="ratios too far")
