"""Scores of quantile forecasts: metrics over rows, the table by horizon and ticker, and its error bars."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.evaluation.significance.mean_test import mean_per_session
from pipeline.evaluation.significance.resampling import block_length, error_bar, resampled_counts
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest

BANDS: Mapping[int, tuple[int, int]] = {50: (2, 4), 80: (1, 5), 90: (0, 6)}
"""Indices of the lower and upper level of each central band."""
POOLED = "all tickers"  # with a space: no ticker has this name
RMSE = "rmse_return"
PER_TICKER = ("pinball", "crps", "coverage_80")
"""Scores with an error bar for each ticker; the others have one pooled."""

Metric = Callable[[Floats, Floats], Floats]
"""From quantiles [row, level] and outcomes [row], a value per row; a score is its mean (rmse_return: its root)."""


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

    Gneiting and Raftery (2007), eq. 43: its width, and 2 / alpha times the distance of an outcome outside it.
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


def mean_pinball(quantiles: Floats, outcome: Floats) -> float:
    """Return the mean pinball loss over rows and levels."""
    return score("pinball", quantiles, outcome)


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


def _selections(backtest: Backtest, scored: Booleans) -> list[tuple[str, Booleans]]:
    """Return (name, mask) of the pool and of each ticker that has a scored row."""
    rows = np.arange(len(backtest.tickers))[:, None]
    each = [(ticker, scored & (rows == row)) for row, ticker in enumerate(backtest.tickers)]
    return [(POOLED, scored), *[(ticker, where) for ticker, where in each if where.any()]]


def _metrics(quantiles: Floats, outcome: Floats) -> dict[str, float]:
    if not len(outcome):
        return {"rows": 0, **dict.fromkeys(METRICS, float("nan"))}
    values, truth = quantiles.astype(np.float64), outcome.astype(np.float64)
    return {"rows": len(truth), **{name: score(name, values, truth) for name in METRICS}}


def values_by_ticker(backtest: Backtest, forecaster: str, horizon: int, metric: str) -> Floats:
    """Return the values of a metric [ticker, origin], NaN where not scored or undefined."""
    return values_of(backtest, backtest.quantiles[forecaster], horizon, metric)


def values_of(backtest: Backtest, quantiles: Floats32, horizon: int, metric: str) -> Floats:
    """Return the values of a metric of quantiles [ticker, origin, horizon, level], where the backtest is scored."""
    where = backtest.scored[..., horizon - 1]
    values = np.full(where.shape, np.nan)
    outcome = backtest.realised[where, horizon - 1].astype(np.float64)
    values[where] = METRICS[metric](quantiles[where, horizon - 1].astype(np.float64), outcome)
    return values


def loss_by_ticker(backtest: Backtest, forecaster: str, horizon: int) -> Floats:
    """Return the mean pinball loss over levels [ticker, origin], NaN where not scored."""
    return values_by_ticker(backtest, forecaster, horizon, "pinball")


def silence_sentences(backtest: Backtest) -> tuple[str, ...]:
    """Return how many forecasts are scored for no forecaster because one of them has none, a sentence for each."""
    answered = {name: np.isfinite(values).all(axis=-1) for name, values in backtest.quantiles.items()}
    known = np.isfinite(backtest.realised) & np.logical_or.reduce(list(answered.values()))
    silent = {name: int((known & ~rows).sum()) for name, rows in answered.items()}
    return tuple(
        f"{name} has no forecast at {count:,} of {known.sum():,} test origins and horizons with an outcome: they are "
        "scored for no forecaster. Leave it out to score them."
        for name, count in silent.items()
        if count
    )


def with_error_bars(scores: pd.DataFrame, backtest: Backtest, seed: int = 0) -> pd.DataFrame:
    """Return the table of scores with a standard error for each: `pinball_error` and so on, NaN where there is none.

    From the stationary bootstrap over sessions: a session's mean over its tickers is drawn as one value. The error of
    the root mean squared error is that of the mean square over twice the root (delta method).
    """
    parts = [
        _errors(backtest, horizon, name, seed)
        for horizon in range(1, backtest.horizons + 1)
        for name in backtest.quantiles
    ]
    errors = pd.DataFrame([row for rows in parts for row in rows])
    table = scores.merge(errors, on=["horizon", "forecaster", "ticker"], how="left", validate="one_to_one")
    table[f"{RMSE}_error"] /= 2 * table[RMSE].where(table[RMSE] > 0)
    return table


def _errors(backtest: Backtest, horizon: int, forecaster: str, seed: int) -> list[dict[str, object]]:
    where = backtest.scored[..., horizon - 1]  # [ticker, origin]
    keys = {"horizon": horizon, "forecaster": forecaster}
    sessions = where.any(axis=0)
    if not sessions.any():
        return [keys | {"ticker": POOLED} | {f"{name}_error": np.nan for name in METRICS}]
    each = {name: values_by_ticker(backtest, forecaster, horizon, name)[:, sessions] for name in METRICS}
    counts = resampled_counts(int(sessions.sum()), block_length(int(sessions.sum()), horizon), seed)
    means = np.stack([_per_session(values) for values in each.values()])  # [metric, session]
    # All at once, which is much quicker than one by one: [metric + metric x ticker, session].
    series = np.concatenate([means, *(each[name] for name in PER_TICKER)])
    errors, of_tickers = np.split(error_bar(series, counts).standard_error, [len(each)])
    pooled = {f"{name}_error": float(error) for name, error in zip(each, errors, strict=True)}
    by_ticker = of_tickers.reshape(len(PER_TICKER), -1).T  # [ticker, metric]
    names = [f"{name}_error" for name in PER_TICKER]
    ticker_rows = [
        keys | {"ticker": ticker} | dict(zip(names, row, strict=True))
        for ticker, row in zip(backtest.tickers, by_ticker, strict=True)
    ]
    return [keys | {"ticker": POOLED} | pooled, *ticker_rows]


def _per_session(values: Floats) -> Floats:
    """Return the mean over tickers of values [ticker, session], NaN at a session without any."""
    means = np.full(values.shape[1], np.nan)
    means[np.isfinite(values).any(axis=0)] = mean_per_session(values)
    return means
