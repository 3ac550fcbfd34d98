"""Scores of quantile forecasts: each metric one expression over rows, then tables by horizon and ticker."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest

BANDS: Mapping[int, tuple[int, int]] = {50: (2, 4), 80: (1, 5), 90: (0, 6)}
"""Indices of the lower and upper level of each central band."""

Metric = Callable[[Floats, Floats], Floats]
"""Of quantiles [row, level] and outcomes [row], a value per row; a score is its mean, of rmse_return the root of it."""


def pinball_by_level(quantiles: Floats, outcome: Floats) -> Floats:
    """Return the pinball loss [row, level] of quantiles [row, level] against outcomes [row].

    Koenker and Bassett (1978), eq. 2.1.
    """
    levels = np.array(LEVELS)
    error = outcome[:, None] - quantiles
    loss: Floats = np.maximum(levels * error, (levels - 1) * error)
    return loss


def pinball_of(quantiles: Floats, outcome: Floats) -> Floats:
    """Return the mean pinball loss over levels of each row."""
    loss: Floats = pinball_by_level(quantiles, outcome).mean(axis=1)
    return loss


def crps_of(quantiles: Floats, outcome: Floats) -> Floats:
    """Return twice the integral of the pinball loss over the levels, by trapezoids: a CRPS between 5 and 95 %.

    Gneiting and Ranjan (2011), eq. 13, with weight one on the levels forecast and none outside.
    """
    integral: Floats = 2 * np.trapezoid(pinball_by_level(quantiles, outcome), np.array(LEVELS), axis=1)
    return integral


def within(band: int) -> Metric:
    """Return the metric: one where the outcome lies within the central band, its edges included, else zero."""
    low, high = BANDS[band]
    return lambda quantiles, outcome: ((quantiles[:, low] <= outcome) & (outcome <= quantiles[:, high])).astype(float)


def width(band: int) -> Metric:
    """Return the metric: width of the central band, in log return."""
    low, high = BANDS[band]
    return lambda quantiles, _: quantiles[:, high] - quantiles[:, low]


def winkler(band: int) -> Metric:
    """Return the metric: interval score of the central band, in log return; lower is better.

    Gneiting and Raftery (2007), eq. 43: its width, and 2 / alpha times what an outcome lies outside it.
    """
    low, high = BANDS[band]
    alpha = 1 - band / 100

    def score(quantiles: Floats, outcome: Floats) -> Floats:
        below = np.maximum(quantiles[:, low] - outcome, 0)
        above = np.maximum(outcome - quantiles[:, high], 0)
        interval: Floats = quantiles[:, high] - quantiles[:, low] + 2 / alpha * (below + above)
        return interval

    return score


def squared_error(quantiles: Floats, outcome: Floats) -> Floats:
    """Return the squared error of the median, in log return."""
    return (outcome - quantiles[:, MEDIAN]) ** 2


def absolute_error(quantiles: Floats, outcome: Floats) -> Floats:
    """Return the absolute error of the median, in log return."""
    return np.abs(outcome - quantiles[:, MEDIAN])


def right_direction(quantiles: Floats, outcome: Floats) -> Floats:
    """Return one where the median has the outcome's sign, else zero; NaN where either has none."""
    signed = (quantiles[:, MEDIAN] != 0) & (outcome != 0)
    return np.where(signed, np.sign(quantiles[:, MEDIAN]) == np.sign(outcome), np.nan)


RMSE = "rmse_return"
METRICS: Mapping[str, Metric] = {
    "pinball": pinball_of,
    "crps": crps_of,
    **{f"coverage_{band}": within(band) for band in BANDS},
    **{f"width_{band}": width(band) for band in BANDS},
    **{f"winkler_{band}": winkler(band) for band in (80, 90)},
    RMSE: squared_error,
    "mae_return": absolute_error,
    "directional_accuracy": right_direction,
}


def score(metric: str, quantiles: Floats, outcome: Floats) -> float:
    """Return a score of quantiles [row, level] against outcomes [row]: the mean of its values, NaN without any."""
    values = METRICS[metric](quantiles, outcome)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    return float(np.sqrt(mean)) if metric == RMSE else mean


def pinball(quantiles: Floats, outcome: Floats) -> float:
    """Return the mean pinball loss over rows and levels."""
    return score("pinball", quantiles, outcome)


POOLED = "all tickers"  # with a space: no ticker has this name


def score_table(backtest: Backtest) -> pd.DataFrame:
    """Return one row per horizon, forecaster and ticker (or POOLED), with every metric and its row count."""
    scored = backtest.scored
    rows = [
        {
            "horizon": h + 1,
            "forecaster": name,
            "ticker": ticker,
            **_metrics(values[where, h], backtest.realised[where, h]),
        }
        for h in range(backtest.horizons)
        for ticker, where in _selections(backtest, scored[..., h])
        for name, values in backtest.quantiles.items()
    ]
    return pd.DataFrame(rows)


def skill_of(loss: float, baseline_loss: float) -> float:
    """Return skill = 1 - loss / baseline loss, NaN where the baseline is never wrong (a price that stands still)."""
    return 1 - loss / baseline_loss if baseline_loss > 0 else float("nan")


def reliability(backtest: Backtest, horizon: int) -> dict[str, Floats]:
    """Return the share of outcomes at or below each level's quantile [level], by forecaster, at one horizon."""
    where = backtest.scored[..., horizon - 1]
    outcome = backtest.realised[where, horizon - 1][:, None]
    rows = max(len(outcome), 1)  # without any outcome the shares are 0, and nothing is drawn from them
    return {
        name: (outcome <= values[where, horizon - 1]).sum(axis=0) / rows for name, values in backtest.quantiles.items()
    }


def _selections(backtest: Backtest, scored: Booleans) -> list[tuple[str, Booleans]]:
    """Return (name, mask) of the pool and of each ticker that has a scored row."""
    own = np.arange(len(backtest.tickers))[:, None]
    each = [(ticker, scored & (own == row)) for row, ticker in enumerate(backtest.tickers)]
    return [(POOLED, scored), *[(ticker, where) for ticker, where in each if where.any()]]


def _metrics(quantiles: Floats, outcome: Floats) -> dict[str, float]:
    if not len(outcome):
        return {"rows": 0, **dict.fromkeys(METRICS, float("nan"))}
    values, truth = quantiles.astype(np.float64), outcome.astype(np.float64)
    return {"rows": len(truth), **{name: score(name, values, truth) for name in METRICS}}
