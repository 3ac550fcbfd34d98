"""Baselines' formulas: plain numpy from what is known at the origin to quantiles of the log return."""

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.models.specification import LEVELS


def normal_unit_quantiles() -> Floats:
    """Return the standard normal quantiles [level]."""
    return np.asarray(norm.ppf(LEVELS), dtype=np.float64)


def student_unit_quantiles(degrees_of_freedom: float) -> Floats:
    """Return the quantiles [level] of a Student t scaled to unit variance."""
    scale = np.sqrt(1 - 2 / degrees_of_freedom)
    return np.asarray(student.ppf(LEVELS, degrees_of_freedom) * scale, dtype=np.float64)


def spread_over_horizons(unit: Floats, scale: Floats | Floats32, horizons: int) -> Floats32:
    """Return quantiles [ticker, origin, horizon, level] = scale sqrt(h) unit, for a scale [ticker, origin]."""
    root = np.sqrt(np.arange(1, horizons + 1, dtype=np.float64))  # [horizon]
    return (scale[..., None, None] * root[:, None] * unit).astype(np.float32)


def drift_over_horizons(mean: Floats32, horizons: int) -> Floats32:
    """Return the mean return h x mean [ticker, 1, horizon, 1] for a mean per session [ticker]."""
    ahead = np.arange(1, horizons + 1, dtype=np.float32)  # [horizon]
    return mean[:, None, None, None] * ahead[:, None]


def per_ticker_or_pooled(values: Floats32, enough: Booleans) -> Floats32:
    """Return values [ticker + 1, ...] whose last row is the pooled one, with it in place of tickers lacking rows."""
    return np.where(enough.reshape(-1, *[1] * (values.ndim - 1)), values, values[-1:]).astype(np.float32)


def rearranged(quantiles: Floats32) -> Floats32:
    """Return quantiles [..., level] sorted over the levels (Chernozhukov, Fernandez-Val and Galichon 2010)."""
    return np.sort(quantiles, axis=-1)
