"""The Pesaran-Timmermann test of direction, of one ticker and pooled over tickers."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from pipeline.arrays import Floats
from pipeline.evaluation.significance.mean_test import MIN_SESSIONS, mean_per_session, mean_test


@dataclass(frozen=True)
class PesaranTimmermann:
    """A one-sided test; small p: the direction is right more often than by chance with the same shares of up."""

    hit_rate: float
    expected_hit_rate: float  # where forecast and outcome are independent
    statistic: float
    p: float
    sessions: int


def pesaran_timmermann(forecast: Floats, outcome: Floats) -> PesaranTimmermann:
    """Return the test of one ticker's forecasts and outcomes [session], NaN where missing; up is above zero.

    The statistic is that of Pesaran and Timmermann (1992), eq. 6. Its normal limit rejects too often with few
    sessions, so that p is the exact one given the shares of up (Fisher 1935, hypergeometric): P(as many hits or
    more). It holds for outcomes that are independent over sessions, which those of horizons above 1 are not: use
    `pesaran_timmermann_pooled` there. NaN with fewer than 30 sessions or where either never changes.
    """
    known = np.isfinite(forecast) & np.isfinite(outcome)
    up, rose = forecast[known] > 0, outcome[known] > 0
    n, forecast_up, outcome_up = len(up), int(up.sum()), int(rose.sum())
    hit_rate = float(np.mean(up == rose)) if n else float("nan")
    if n < MIN_SESSIONS or forecast_up in (0, n) or outcome_up in (0, n):
        return PesaranTimmermann(hit_rate, float("nan"), float("nan"), float("nan"), n)
    x, y = forecast_up / n, outcome_up / n
    expected = x * y + (1 - x) * (1 - y)
    p = hypergeom.sf(int((up & rose).sum()) - 1, n, forecast_up, outcome_up)
    statistic = (hit_rate - expected) / np.sqrt(_variance(x, y, n))
    return PesaranTimmermann(hit_rate, expected, float(statistic), float(p), n)


def _variance(x: float, y: float, n: int) -> float:
    """Return the variance of the hit rate less that of the expected one; Pesaran and Timmermann (1992), eq. 5."""
    expected = x * y + (1 - x) * (1 - y)
    of_expected = (2 * y - 1) ** 2 * x * (1 - x) + (2 * x - 1) ** 2 * y * (1 - y) + 4 * x * y * (1 - x) * (1 - y) / n
    return (expected * (1 - expected) - of_expected) / n


def pesaran_timmermann_pooled(forecast: Floats, outcome: Floats, horizon: int, lags: int) -> PesaranTimmermann:
    """Return the test over many tickers [ticker, session], NaN where missing; up is above zero.

    Tickers rise and fall together, so that a session is one observation: the mean over its tickers of
    (forecast up less its share) x (outcome up less its share), the shares per ticker, is tested against zero with a
    Bartlett variance over sessions. That is the slope of the outcome's sign on the forecast's, which Pesaran and
    Timmermann (2009), section 3, test under serial dependence, with a fixed effect per ticker and errors clustered by
    session. A forecast that never changes its sign for a ticker adds nothing there. `sessions` counts those with a
    ticker; NaN with fewer than 30 of them or where no sign ever changes.
    """
    known = np.isfinite(forecast) & np.isfinite(outcome)
    if not known.any():
        return PesaranTimmermann(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    up, rose = (forecast > 0) & known, (outcome > 0) & known
    count = known.sum(axis=1, keepdims=True)
    x, y = (direction.sum(axis=1, keepdims=True) / np.maximum(count, 1) for direction in (up, rose))
    values = mean_per_session(np.where(known, (up - x) * (rose - y), np.nan))
    test = mean_test(values, horizon, lags)
    hit_rate = float((known & (up == rose)).sum() / known.sum())
    expected = float((count * (x * y + (1 - x) * (1 - y))).sum() / known.sum())
    return PesaranTimmermann(hit_rate, expected, test.t, test.p_above, test.sessions)
