"""Calibration of the network's bands: specification, the rows it may learn from, and the conformal correction."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Booleans, Floats, Floats32, Sessions
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.errors import UsageError
from pipeline.forecasters.forecaster import LEVELS, MEDIAN


class CalibrationSpec(BaseModel, frozen=True, extra="forbid"):
    """A conformal correction of the network's quantiles: none, learned once per fold, or followed session by session.

    The two rates are steps in the logarithm of a band's width; tests/benchmarks/calibration.py chooses them on prices
    of before 2017 alone.
    """

    method: Literal["none", "split", "adaptive"] = Field(
        "adaptive",
        description="Correction of the network's bands: none, learned once on each fold's calibration range, or "
        "followed session by session from outcomes known by then",
    )
    scale_rate: float = Field(
        0.4, ge=0.0, le=4.0, description="Adaptive: step of the width that all levels of a horizon share"
    )
    level_rate: float = Field(0.02, ge=0.0, le=4.0, description="Adaptive: further step of each level by itself")


def refuse_missing_calibration(calibration: CalibrationSpec, folds: FoldSpec) -> None:
    """Raise UsageError where the split correction has no calibration range to learn from."""
    if calibration.method != "split":
        return
    if folds.train_end:
        raise UsageError(
            'found calibration.method = "split" with a fixed split (folds.train_end), which has no calibration range; '
            'expected folds by refit_months with calibration_months of at least 3, or method = "adaptive"'
        )
    if not folds.calibration_months:
        raise UsageError(
            'found calibration.method = "split" with folds.calibration_months = 0: there is nothing to learn it from; '
            'set calibration_months to at least 3, or method = "adaptive"'
        )


@dataclass(frozen=True)
class Correction:
    """A specification with the first day of a fold's calibration range and of its test; one day where it has none."""

    spec: CalibrationSpec
    first: np.datetime64
    tested: np.datetime64

    def starts(self, sessions: Sessions) -> tuple[int, int]:
        """Return the indices of the first session of the calibration range and of the test."""
        first, tested = np.searchsorted(sessions, np.array([self.first, self.tested]))
        return int(first), int(tested)


def correction_of(fold: Fold, spec: CalibrationSpec) -> Correction:
    """Return the correction of a fold's fits."""
    return Correction(spec, fold.calibration.first, fold.test.first)


def correction_after(trained_until: np.datetime64, folds: FoldSpec, spec: CalibrationSpec) -> Correction:
    """Return the correction of fits that saw nothing from `trained_until` on, the end of their fold's validation."""
    months = 0 if folds.train_end else folds.calibration_months  # a fixed split keeps no calibration range
    if not months:
        return Correction(spec, trained_until, trained_until)
    tested = (trained_until.astype("datetime64[M]") + np.timedelta64(months, "M")).astype("datetime64[D]")
    return Correction(spec, trained_until, tested)


SIDE = np.sign(np.array(LEVELS) - LEVELS[MEDIAN])
"""-1 for levels below the median, +1 above it."""


OFF_MEDIAN = np.flatnonzero(SIDE)


TAIL = np.where(SIDE < 0, np.array(LEVELS), 1 - np.array(LEVELS))
"""The share of outcomes that ought to lie beyond each level, away from the median."""


FEW_TICKERS = 10.0
"""With n tickers a step is n / (n + 10) of what it is with very many: on five, and on one, quicker ones cost more of
the pinball loss than they gain in coverage (prices of before 2017)."""


MOST_OF_SCALE, MOST_OF_LEVEL = np.log(4.0), np.log(2.0)
"""Bounds of the two parts of a log factor: without them a price that stands still would close its band for good."""


def calibrated(quantiles: Floats32, outcome: Floats32, spec: CalibrationSpec, warm: int = 0) -> Floats32:
    """Return corrected quantiles [ticker, origin, horizon, level] of log returns; NaN stays NaN, none cross.

    Origins are sessions in time's order without a gap; `outcome` [ticker, origin, horizon] is NaN where it is unknown
    or not to be used, and that of origin s and horizon h is known at s + h. The first `warm` origins are the fold's
    calibration range: the split correction is learned on them, the adaptive one runs through them first. A corrected
    quantile of origin t depends on no outcome that becomes known after t (split: after the calibration range).
    """
    match spec.method:
        case "none":
            return quantiles
        case "split":
            return stretched(quantiles, split_factors(quantiles[:, :warm], outcome[:, :warm]))
        case "adaptive":
            return _followed(quantiles, outcome, spec)


def stretched(quantiles: Floats32, factors: Floats) -> Floats32:
    """Return quantiles [..., horizon, level] stretched about their median by factors [horizon, level], in order."""
    median = quantiles[..., MEDIAN : MEDIAN + 1].astype(np.float64)
    result: Floats32 = np.sort(median + factors * (quantiles - median), axis=-1).astype(np.float32)
    return result


def split_factors(quantiles: Floats32, outcome: Floats32) -> Floats:
    """Return the factors [horizon, level] that a calibration range requires; labels not known within it are excluded.

    Romano, Patterson and Candes (2019), theorem 2, one side and level at a time, with the score (outcome - median) /
    (quantile - median) and rows pooled over tickers: the ceil((n + 1)(1 - tail))-th smallest of n scores. Where rows
    are exchangeable, the share beyond a level is at most its tail. The factor is 1 where there are too few rows for
    this, and within the bounds of the adaptive one.
    """
    origins, horizons = outcome.shape[1:]
    factors = np.ones((horizons, len(LEVELS)))
    for h in range(horizons):
        known = max(origins - h - 1, 0)
        scores = _scores(quantiles[:, :known, h], outcome[:, :known, h])
        for level in OFF_MEDIAN:
            factors[h, level] = _rank(scores[:, level], TAIL[level])
    most = np.exp(MOST_OF_SCALE + MOST_OF_LEVEL)
    return np.clip(factors, 1 / most, most)


def _scores(quantiles: Floats32, outcome: Floats32) -> Floats:
    """Return each known row's stretch [row, level] that brings a level's quantile onto the outcome."""
    known = _known(quantiles, outcome)
    values, truth = quantiles[known].astype(np.float64), outcome[known].astype(np.float64)
    median = values[:, MEDIAN]
    beyond, spread = (truth - median)[:, None] * SIDE, (values - median[:, None]) * SIDE
    return np.divide(beyond, spread, out=np.where(beyond > 0, np.inf, 0.0), where=spread > 0)


def _rank(scores: Floats, tail: float) -> float:
    rank = math.ceil(round((len(scores) + 1) * (1 - tail), 6))  # 0.9 x 30 is 27, not a hair more
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else 1.0


def _known(quantiles: Floats32, outcome: Floats32) -> Booleans:
    known: Booleans = np.isfinite(outcome) & np.isfinite(quantiles).all(axis=-1)
    return known


def _followed(quantiles: Floats32, outcome: Floats32, spec: CalibrationSpec) -> Floats32:
    """Return the quantiles stretched by factors that follow how often the issued ones were missed.

    Quantile tracking, Angelopoulos, Candes and Tibshirani (2023), section 2, after Gibbs and Candes (2021), eq. 2, on
    log factors: a level that is missed more often than its tail says grows, else it shrinks. A log factor is the sum
    of a scale that all levels of a horizon share, which is quick, and a part of its own, which is slow. What is judged
    is what was issued.
    """
    issued = np.empty_like(quantiles)
    horizons = outcome.shape[2]
    scale, level = np.zeros((horizons, 1)), np.zeros((horizons, len(LEVELS)))
    ahead = np.arange(1, horizons + 1)
    for now in range(quantiles.shape[1]):
        ripe = ahead[ahead <= now]  # horizons with an outcome that becomes known at this session's close
        if len(ripe):
            excess = _excess(issued[:, now - ripe, ripe - 1], outcome[:, now - ripe, ripe - 1]) / ripe[:, None]
            moved = scale[: len(ripe)] + spec.scale_rate * excess[:, OFF_MEDIAN].mean(axis=1, keepdims=True)
            scale[: len(ripe)] = np.clip(moved, -MOST_OF_SCALE, MOST_OF_SCALE)
            level[: len(ripe)] = np.clip(level[: len(ripe)] + spec.level_rate * excess, -MOST_OF_LEVEL, MOST_OF_LEVEL)
        issued[:, now] = stretched(quantiles[:, now], np.exp(scale + level))
    return issued


def _excess(issued: Floats32, outcome: Floats32) -> Floats:
    """Return by how much the share of tickers beyond each level exceeds its tail [horizon, level].

    That of the median says nothing. Weighted by n / (n + 10): the share of few tickers is noisy.
    """
    known = _known(issued, outcome)  # [ticker, horizon]
    beyond = (outcome[..., None] - issued) * SIDE > 0
    count = known.sum(axis=0)[:, None]
    misses = (beyond & known[..., None]).sum(axis=0)
    excess: Floats = (misses - count * TAIL) / (count + FEW_TICKERS)
    return excess
