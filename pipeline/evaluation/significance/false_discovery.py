"""Many tests at once: p-values adjusted for the share of false discoveries."""

import numpy as np

from pipeline.arrays import Floats


def benjamini_hochberg(p: Floats) -> Floats:
    """Return p adjusted over all tests [test]: below a level q, at most the share q of discoveries is false on average.

    Benjamini and Hochberg (1995), step-up: the smallest over larger ones of p m / rank, m the tests that have a p. It
    holds for independent and for positively dependent tests, as those of tickers are. NaN stays NaN and counts not.
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
