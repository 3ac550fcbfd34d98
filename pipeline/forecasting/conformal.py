"""The conformal correction of bands: factors learned on a range, and the rule that follows them session by session."""

import math

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.forecasters.forecaster import LEVELS, MEDIAN

SIDE = np.sign(np.array(LEVELS) - LEVELS[MEDIAN])
"""-1 for levels below the median, +1 above it."""


OFF_MEDIAN = np.flatnonzero(SIDE)


TAIL = np.where(SIDE < 0, np.array(LEVELS), 1 - np.array(LEVELS))
"""The share of outcomes that ought to lie beyond each level, away from the median."""


FEW_TICKERS = 10.0
"""With n tickers a step is n / (n + 10) of what it is with very many: on five, and on one, quicker ones cost more of
the pinball loss than they gain in coverage (prices of before 2017)."""


MOST_OF_SCALE, MOST_OF_LEVEL = np.log(4.0), np.log(2.0)
"""Bounds of scale and level in a log factor: without them a price that stands still would close its band for good."""


def stretched(quantiles: Floats32, factors: Floats) -> Floats32:
    """Return quantiles [..., horizon, level] stretched about their median by factors of that shape, in order."""
    median = quantiles[..., MEDIAN : MEDIAN + 1].astype(np.float64)
    result: Floats32 = np.sort(median + factors * (quantiles - median), axis=-1).astype(np.float32)
    return result


def split_factors(quantiles: Floats32, outcome: Floats32) -> Floats:
    """Return the factors [horizon, level] that a calibration range requires; labels not known within it are excluded.

    Romano, Patterson and Candes (2019), theorem 2, one side and level at a time, with the score (outcome - median) /
    (quantile - median) and rows pooled over tickers: the ceil((n + 1)(1 - tail))-th smallest of n scores. Where rows
    are exchangeable, the share beyond a level is at most its tail. The factor is 1 where there are too few rows for
    this, and at most the product of the largest scale and level of the adaptive one.
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


def missed(issued: Floats32, outcome: Floats32) -> tuple[Floats, Booleans]:
    """Return by how much each outcome misses each level [ticker, horizon, level], and which are known.

    That is 1 - tail for an outcome beyond the level, away from the median, and -tail for any other: zero on average
    where the level is right. It is zero where the outcome or the forecast is unknown.
    """
    known = _known(issued, outcome)  # [ticker, horizon]
    beyond = (outcome[..., None] - issued) * SIDE > 0
    return np.where(known[..., None], beyond - TAIL, 0.0), known
