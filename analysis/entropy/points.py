"""The points through which the entropy law is laid: which records count, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAST_POINTS = 5  # records of a trial
CONSTANT = 1e-6  # a reward that moves less over a whole trial is constant: float32 holds 1e-7


class Ends(TypedDict):
    """Where trials begin and end, medians over them; see `Law`."""

    first_entropy: float
    first_reward: float
    last_entropy: float
    last_reward: float
    spent: float
    early_spent: float


class Points:
    """What is used of each trial, and what speaks against using it at all."""

    def __init__(
        self,
        step_S: Floats,
        r_NS: Floats,
        h_NS: Floats,
        *,
        from_step: int,
        floor: float,
        early: float,
    ) -> None:
        self.step_S, self.r_NS, self.h_NS, self.floor = step_S, r_NS, h_NS, floor
        self.known_NS = np.isfinite(r_NS) & np.isfinite(h_NS)
        place_S = np.arange(len(step_S))
        last_N = np.where(self.known_NS, place_S, -1).max(1, initial=-1)
        self.n_gaps = int(((place_S <= last_N[:, None]) & ~self.known_NS).sum())
        after_NS = np.maximum.accumulate(self.known_NS & (h_NS < floor), axis=1)
        self.used_NS: Bools = np.logical_and(self.known_NS & ~after_NS, step_S >= from_step)
        self.last_N = np.maximum(last_N, 0)
        self.first_N = np.argmax(self.known_NS & (step_S >= from_step), axis=1)
        rows = np.arange(len(r_NS))
        self.h0_N, self.r0_N = h_NS[rows, self.first_N], r_NS[rows, self.first_N]
        self.h1_N, self.r1_N = h_NS[rows, self.last_N], r_NS[rows, self.last_N]
        begin_N, end_N = step_S[self.first_N], step_S[self.last_N]
        self.until_N = begin_N + early * (end_N - begin_N)

    def faults(self) -> npt.NDArray[np.str_]:
        """Return why each trial cannot be fitted, empty where it can."""
        some_N = self.known_NS.any(1)
        used = np.where(self.used_NS, self.r_NS, np.nan)
        span_N = np.array([np.ptp(v[np.isfinite(v)]) if np.isfinite(v).any() else 0 for v in used])
        return np.select(
            [
                ~some_N,
                self.h0_N < self.floor,
                self.used_NS.sum(1) < LEAST_POINTS,
                span_N < CONSTANT,
            ],
            ["no values", "deterministic start", "too few points", "constant reward"],
            "",
        )

    def early_errors(self, x_NS: Floats, y_NS: Floats, usable_N: Bools, spacing: str) -> Floats:
        """Return |predicted - reached| last reward, NaN where the early steps allow no fit."""
        early_NS = self.used_NS & (self.step_S <= self.until_N[:, None])
        enough_N = usable_N & (early_NS.sum(1) >= LEAST_POINTS)
        early_NS = np.logical_and(early_NS, enough_N[:, None])
        sums = sums_of(weights(self.h_NS, early_NS, spacing), x_NS, y_NS)
        a_N, b_N = solved(sums.per_trial, sums)
        found: Floats = np.abs(b_N - a_N * np.exp(self.h1_N) - self.r1_N)
        return found

    def summary(self, usable_N: Bools) -> Ends:
        """Return where the usable trials begin and end, and how soon entropy is spent."""
        if not usable_N.any():
            usable_N = np.asarray(self.known_NS.any(1))
        if not usable_N.any():
            return Ends(
                first_entropy=np.nan,
                first_reward=np.nan,
                last_entropy=np.nan,
                last_reward=np.nan,
                spent=np.nan,
                early_spent=np.nan,
            )
        low_N = np.nanmin(np.where(self.known_NS, self.h_NS, np.nan)[usable_N], axis=1)
        early_NS = self.known_NS & (self.step_S <= self.until_N[:, None])
        low_early_N = np.nanmin(np.where(early_NS, self.h_NS, np.inf)[usable_N], axis=1)
        h0_N = self.h0_N[usable_N]
        with np.errstate(invalid="ignore", divide="ignore"):
            spent_N = (h0_N - low_N) / h0_N
            early_N = (h0_N - low_early_N) / (h0_N - low_N)
        return {
            "first_entropy": float(np.median(h0_N)),
            "first_reward": float(np.median(self.r0_N[usable_N])),
            "last_entropy": float(np.median(self.h1_N[usable_N])),
            "last_reward": float(np.median(self.r1_N[usable_N])),
            "spent": float(np.median(spent_N)),
            "early_spent": float(np.median(early_N)),
        }


def weights(h_NS: Floats, used_NS: Bools, spacing: str) -> Floats:
    """Return the piece of entropy that each used record stands for; trapezoids."""
    if spacing == "records":
        return used_NS.astype(np.float64)
    order_NS = np.argsort(np.where(used_NS, h_NS, np.inf), axis=1, kind="stable")
    sorted_NS = np.take_along_axis(h_NS, order_NS, 1)
    counts_NS = np.take_along_axis(used_NS, order_NS, 1)
    both_NS = counts_NS[:, 1:] & counts_NS[:, :-1]
    half_NS = np.where(both_NS, np.diff(np.where(counts_NS, sorted_NS, 0.0), axis=1), 0.0) / 2
    weight_NS = np.zeros(h_NS.shape)
    weight_NS[:, 1:] += half_NS
    weight_NS[:, :-1] += half_NS
    found_NS = np.zeros(h_NS.shape)
    np.put_along_axis(found_NS, order_NS, weight_NS, 1)
    return found_NS


@dataclass(frozen=True)
class Sums:
    """Weighted sums (N, 4) of 1, x, x^2 and of y, x y (N, 2 more), about (x, y)."""

    per_trial: Floats
    x: float
    y: float


def sums_of(w_NS: Floats, x_NS: Floats, y_NS: Floats) -> Sums:
    """Return the sums of each trial that least squares need; those of several trials add up."""
    whole = w_NS.sum() or 1.0
    x, y = float((w_NS * x_NS).sum() / whole), float((w_NS * y_NS).sum() / whole)
    dx_NS, dy_NS = x_NS - x, y_NS - y  # about the middle, so that no digits cancel
    terms = (np.ones_like(dx_NS), dx_NS, dx_NS**2, dy_NS, dx_NS * dy_NS)
    return Sums(np.stack([(w_NS * term).sum(1) for term in terms], 1), x, y)


def solved(sums_B5: Floats, about: Sums) -> tuple[Floats, Floats]:
    """Return slope a and height b of y = a x + b for each row of sums, NaN without a spread."""
    w_B, x_B, xx_B, y_B, xy_B = sums_B5.T
    with np.errstate(invalid="ignore", divide="ignore"):
        a_B = (w_B * xy_B - x_B * y_B) / (w_B * xx_B - x_B**2)
        b_B = (y_B - a_B * x_B) / w_B + about.y - a_B * about.x
    known_B = np.isfinite(a_B) & np.isfinite(b_B)
    return np.where(known_B, a_B, np.nan), np.where(known_B, b_B, np.nan)
