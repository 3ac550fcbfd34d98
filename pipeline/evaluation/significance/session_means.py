"""A session is one observation: what its tickers have in common is no evidence twice."""

import numpy as np

from pipeline.arrays import Floats


def mean_per_session(values: Floats) -> Floats:
    """Return the mean over the tickers present [session with any], of values [ticker, session], NaN where missing."""
    present = np.isfinite(values)
    count = present.sum(axis=0)
    mean: Floats = np.where(present, values, 0.0).sum(axis=0)[count > 0] / count[count > 0]
    return mean
