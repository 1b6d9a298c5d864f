"""The law R = b - a e^H: fitted, held against the end of training, and judged.

What a policy gains in reward it pays for in entropy, and at entropy 0 no more than b - a is
left to gain (Cui et al. 2025, arXiv:2505.22617, equation 4). The law is a good line through
curves that bend: one right answer of 16, all others alike, has R = p and no law, yet R2 is
.984 on points equispaced in p.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from phasecube.analysis.entropy.collapse import FLOOR
from phasecube.analysis.entropy.points import Points, solved, sums_of, weights
from phasecube.analysis.estimates.estimated import Estimated
from phasecube.analysis.estimates.intervals import resample_counts, widened

Floats = npt.NDArray[np.float64]


class Verdict(IntEnum):
    """Whether the law holds."""

    UNDECIDED = 0  # too little is known to tell
    HOLDS = 1
    FAILS = 2


@dataclass(frozen=True)
class LawRule:
    """Which records are fitted, and what a law must do to hold.

    Records before `from_step` and from the first with entropy below `floor` on are left out.
    `early`: share of a trial's steps from which its end is predicted. The law holds where R2
    is at least `least_r2` and the early prediction is off by at most `early_error`; this is
    asked only where the early steps spend at least `early_spent` of the fall of entropy,
    and nothing is asked where a trial spends less than `least_spent` of its entropy. `actions`:
    number of tokens to choose from, with which a near-uniform start is named:
    H(0) > `uniform` ln(actions); where it is not known, a reward below `weak_reward` is.
    """

    early: float = 0.3
    from_step: int = 0
    floor: float = FLOOR
    least_r2: float = 0.97
    # Between .10 on the sum chain and .19, the least after a warm start too short for the law.
    early_error: float = 0.15
    early_spent: float = 0.5
    least_spent: float = 0.2
    actions: int | None = None
    uniform: float = 0.95
    weak_reward: float = 0.3

    def sentence(self) -> str:
        """Return in words when the law is said to hold, for captions."""
        return (
            f"The law is said to hold where R² ≥ {self.least_r2:g} and the end is predicted to "
            f"{self.early_error:g} from the first {100 * self.early:g} % of the steps, if these "
            f"spend {100 * self.early_spent:g} % of the fall of H"
        )


NOWHERE = Estimated(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Law:
    """The law of one line: of all its trials together, and of each.

    `ceiling` is b - a. `early_error_N`: |predicted - reached| last reward of each trial.
    `spent`: share of the first entropy that was given up at the lowest, median over trials;
    `early_spent`: share of that fall in the early steps. `reason` says what the verdict stands
    on, `warnings` what a reader must know of the data.
    """

    a: Estimated
    b: Estimated
    ceiling: Estimated
    r2: float
    n_trials: int
    n_points: int
    n_dropped: int
    a_N: Floats
    b_N: Floats
    first_entropy: float
    first_reward: float
    last_entropy: float
    last_reward: float
    spent: float
    early_spent: float
    early_error_N: Floats
    verdict: Verdict = Verdict.UNDECIDED
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def early_error(self) -> float:
        """Return the median over trials, NaN where none could be predicted."""
        known_N = self.early_error_N[np.isfinite(self.early_error_N)]
        return float(np.median(known_N)) if known_N.size else np.nan

    def reward_at(self, entropy: npt.ArrayLike) -> Floats:
        """Return what the law gives at entropies."""
        found: Floats = self.b.value - self.a.value * np.exp(np.asarray(entropy, np.float64))
        return found


def fit_law(
    step_S: npt.ArrayLike,
    reward_NS: npt.ArrayLike,
    entropy_NS: npt.ArrayLike,
    rule: LawRule | None = None,
    *,
    spacing: str = "entropy",
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Law:
    """Return the law of trials (N, S), NaN where nothing was recorded, by linear least squares.

    With spacing = "entropy" a record counts by half the way in H to its neighbours in H, as
    points equispaced in H would, so that the many records after the collapse do not outvote
    it; with "records" each counts alike. The intervals resample whole trials and are widened
    for few of them (`intervals.widened`); one trial has none. Raises ValueError for shapes
    that do not fit.
    """
    rule = rule or LawRule()
    step_s = np.asarray(step_S, np.float64)
    r_NS, h_NS = np.asarray(reward_NS, np.float64), np.asarray(entropy_NS, np.float64)
    if r_NS.ndim != 2 or r_NS.shape != h_NS.shape or r_NS.shape[1:] != step_s.shape:
        raise ValueError(
            f"a law needs reward and entropy (N, S) at steps (S,), got {r_NS.shape}, "
            f"{h_NS.shape} and {step_s.shape}"
        )
    if spacing not in ("entropy", "records"):
        raise ValueError(f'spacing is "entropy" or "records", not {spacing!r}')
    trials = Points(
        *(step_s, r_NS, h_NS),
        from_step=rule.from_step,
        floor=rule.floor,
        early=rule.early,
    )
    usable_N = trials.faults() == ""
    weight_NS = np.where(usable_N[:, None], weights(h_NS, trials.used_NS, spacing), 0.0)
    x_NS, y_NS = -np.exp(np.where(trials.used_NS, h_NS, 0.0)), np.where(trials.used_NS, r_NS, 0.0)
    n = int(usable_N.sum())
    nan_N = np.full(len(r_NS), np.nan)
    a_N, b_N, error_N = nan_N.copy(), nan_N.copy(), nan_N.copy()
    a = b = ceiling = NOWHERE
    r2 = np.nan
    if n:
        sums = sums_of(weight_NS[usable_N], x_NS[usable_N], y_NS[usable_N])
        a_N[usable_N], b_N[usable_N] = solved(sums.per_trial, sums)
        a_B, b_B = solved(resample_counts(n, resamples) @ sums.per_trial, sums)
        a, b, ceiling = (_interval(v, n, confidence) for v in (a_B, b_B, b_B - a_B))
        w, x, y = (v[usable_N] for v in (weight_NS, x_NS, y_NS))
        rest = (w * (y - a.value * x - b.value) ** 2).sum()
        r2 = float(1 - rest / (w * (y - (w * y).sum() / w.sum()) ** 2).sum())
        error_N = trials.early_errors(x_NS, y_NS, usable_N, spacing)
    law = Law(
        *(a, b, ceiling, r2, n),
        n_points=int(trials.used_NS[usable_N].sum()),
        n_dropped=int((trials.known_NS & ~trials.used_NS)[usable_N].sum()),
        a_N=a_N,
        b_N=b_N,
        early_error_N=error_N,
        **trials.summary(usable_N),
    )
    return _judged(law, trials, rule)


def _interval(value_B: Floats, n: int, confidence: float) -> Estimated:
    if n < 2:
        return Estimated(float(value_B[0]), np.nan, np.nan)
    return Estimated(float(value_B[0]), *widened(value_B, n, confidence=confidence))


def _judged(law: Law, trials: Points, rule: LawRule) -> Law:
    """Return the law with its verdict, the reason for it and what a reader must be told."""
    faults_N = trials.faults()
    warnings = [
        f"{fault}: {int((faults_N == fault).sum())} of {len(faults_N)} trials not fitted"
        for fault in dict.fromkeys(str(f) for f in faults_N if f)
    ]
    if trials.n_gaps:
        warnings.append(f"{trials.n_gaps} records without a number")
    if law.n_trials == 1:
        warnings.append("one trial: no interval")
    verdict, reasons = _verdict(law, rule)
    if verdict == Verdict.FAILS:
        reasons += _likely(law, rule)
    if not law.n_trials:
        reasons = list(dict.fromkeys(str(f) for f in faults_N if f)) or ["no trial ended"]
    return replace(law, verdict=verdict, reason="; ".join(reasons), warnings=tuple(warnings))


def _verdict(law: Law, rule: LawRule) -> tuple[Verdict, list[str]]:
    if not law.n_trials:
        return Verdict.UNDECIDED, []
    if law.spent < rule.least_spent:
        told = f"only {100 * law.spent:.0f} % of the entropy was spent"
        return Verdict.UNDECIDED, [told]
    against = []
    if law.a.value <= 0:
        against.append(f"a = {law.a.value:.2g}: reward falls with entropy".replace("-", "−"))
    if law.r2 < rule.least_r2:
        against.append(f"R² {law.r2:.3f} < {rule.least_r2:g}")
    told = f"the first {100 * rule.early:g} % of the steps"
    if not np.isfinite(law.early_error):
        asked = [f"{told} hold too few records to predict from"]
    elif law.early_spent < rule.early_spent:
        asked = [f"{told} spend {100 * law.early_spent:.0f} % of the fall of H: no prediction"]
    elif law.early_error > rule.early_error:
        asked = []
        against.append(f"the end is off by {law.early_error:.2g} from {told}")
    else:
        asked = [f"the end is off by {law.early_error:.2g} from {told}"]
    if against:
        return Verdict.FAILS, against
    return Verdict.HOLDS, [f"R² {law.r2:.3f}", *asked]


def _likely(law: Law, rule: LawRule) -> list[str]:
    """Return what is known to break the law and was so here."""
    actions = float(np.exp(law.first_entropy))
    if rule.actions is not None:
        uniform = law.first_entropy > rule.uniform * np.log(rule.actions)
        told = f"a near-uniform start, {actions:.3g} of {rule.actions} tokens in use"
        return [told] if uniform else []
    if law.first_reward < rule.weak_reward:
        told = (
            f"perhaps a weak start, reward {law.first_reward:.2g} on {actions:.3g} effective tokens"
        )
        return [told]
    return []
