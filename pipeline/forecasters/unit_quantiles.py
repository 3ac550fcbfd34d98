"""From unit quantiles and a scale to quantiles of the log return over the horizons."""

import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.forecasters.forecaster import LEVELS


def normal_unit_quantiles() -> Floats:
    """Return the standard normal quantiles [level]."""
    from scipy.stats import norm  # noqa: PLC0415  slow to import

    return np.asarray(norm.ppf(LEVELS), dtype=np.float64)


def spread_over_horizons(unit: Floats, scale: Floats | Floats32, horizons: int) -> Floats32:
    """Return quantiles [ticker, origin, horizon, level] = scale sqrt(h) unit, for a scale [ticker, origin]."""
    root = np.sqrt(np.arange(1, horizons + 1, dtype=np.float64))  # [horizon]
    return (scale[..., None, None] * root[:, None] * unit).astype(np.float32)


def rearranged(quantiles: Floats32) -> Floats32:
    """Return quantiles [..., level] sorted over the levels (Chernozhukov, Fernandez-Val and Galichon 2010)."""
    return np.sort(quantiles, axis=-1)
