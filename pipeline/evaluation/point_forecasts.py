"""Medians as point forecasts: are they closer than no change, do they order the tickers, have they the right sign?

Rankings are taken across tickers within a session, on the rows that every forecaster is scored on. A forecaster with
equal medians for all tickers orders nothing: its figures are NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.arrays import Booleans, Floats, Indices
from pipeline.evaluation.significance.mean_test import bartlett_variance, long_lags
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann_pooled
from pipeline.evaluation.significance.resampling import block_length, resampled_counts, skill_error_bar
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.backtest import Backtest

MIN_TICKERS = 5
NAN = float("nan")


@dataclass(frozen=True)
class SessionMean:
    """A mean over sessions with its standard error, and how many sessions it is of."""

    value: float
    error: float
    sessions: int

    @property
    def t(self) -> float:
        """The mean over its standard error, NaN where that is unknown."""
        return self.value / self.error if self.error > 0 else NAN


def mean_over_sessions(values: Floats, horizon: int) -> SessionMean:
    """Return the mean of values [session], those that are NaN excluded.

    Its standard error is that of Newey and West (1987) with long_lags: outcomes of neighbouring sessions overlap for
    horizons above one. The error is NaN where there are not more sessions than lags.
    """
    known, lags = values[np.isfinite(values)], long_lags(horizon)
    if not len(known):
        return SessionMean(NAN, NAN, 0)
    variance = bartlett_variance(known, lags) if len(known) > lags else NAN
    return SessionMean(float(known.mean()), float(np.sqrt(variance / len(known))), len(known))


def information_coefficient(forecast: Floats, outcome: Floats) -> Floats:
    """Return the Pearson correlation across tickers [session] of forecasts and outcomes [ticker, session].

    Of the tickers where both are finite; NaN with fewer than five, or where either is the same for all.
    """
    both = np.isfinite(forecast) & np.isfinite(outcome)
    x, y = _centred(forecast, both), _centred(outcome, both)
    size = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    enough = (both.sum(axis=0) >= MIN_TICKERS) & (size > 0)
    correlation: Floats = np.divide((x * y).sum(axis=0), size, out=np.full(size.shape, NAN), where=enough)
    return correlation


def rank_information_coefficient(forecast: Floats, outcome: Floats) -> Floats:
    """Return Spearman's rank correlation across tickers [session]; ties have their mean rank. NaN as for Pearson's."""
    both = np.isfinite(forecast) & np.isfinite(outcome)
    return information_coefficient(_ranks(forecast, both), _ranks(outcome, both))


def information_ratio(coefficients: Floats) -> float:
    """Return ICIR, mean / standard deviation of the coefficients [session] that are known; NaN of fewer than two."""
    known = coefficients[np.isfinite(coefficients)]
    deviation = known.std(ddof=1) if len(known) > 1 else 0.0
    return float(known.mean() / deviation) if deviation > 0 else NAN


def group_count(tickers: int) -> int:
    """Return ten groups for at least ten tickers, five for at least five, none for fewer."""
    return 10 if tickers >= 10 else 5 if tickers >= MIN_TICKERS else 0


def group_returns(forecast: Floats, outcome: Floats, groups: int) -> Floats:
    """Return the mean outcome by group of the forecast [group, session], lowest first; inputs are [ticker, session].

    Equal forecasts are in one group, so that a group can be empty: it is NaN there, as is a session with fewer
    tickers than groups.
    """
    both = np.isfinite(forecast) & np.isfinite(outcome)
    count = both.sum(axis=0)
    place = (np.nan_to_num(_ranks(forecast, both)) - 0.5) * groups / np.maximum(count, 1)
    group = np.where(
        place > groups / 2, np.ceil(place) - 1, np.floor(place)
    )  # on a border: the group nearer the middle
    members = [both & (count >= groups) & (group == k) for k in range(groups)]
    return np.array([_mean_where(outcome, member) for member in members]).reshape(groups, forecast.shape[1])


def ranking_table(backtest: Backtest) -> pd.DataFrame:
    """Return one row per horizon and forecaster: IC and rank IC with error, t and ratio, and the groups' spread.

    `spread` is the mean realised log return of the highest group less that of the lowest, `groups` how many there
    are: ten, five with fewer than ten tickers, none with fewer than five.
    """
    return pd.DataFrame(
        [
            {"horizon": horizon, "forecaster": name, **_figures(median, outcome, horizon)}
            for horizon, name, median, outcome in _medians_and_outcomes(backtest)
        ]
    )


def decile_table(backtest: Backtest) -> pd.DataFrame:
    """Return one row per horizon, forecaster and group of the median: mean realised log return, its error, sessions.

    Empty with fewer than five tickers.
    """
    columns = ["horizon", "forecaster", "groups", "group", "mean_return", "mean_return_error", "sessions"]
    groups = group_count(len(backtest.tickers))
    rows = [
        (horizon, name, groups, k + 1, mean.value, mean.error, mean.sessions)
        for horizon, name, median, outcome in _medians_and_outcomes(backtest)
        for k, returns in enumerate(group_returns(median, outcome, groups))
        for mean in [mean_over_sessions(returns, horizon)]
    ]
    return pd.DataFrame(rows, columns=columns)


def _medians_and_outcomes(backtest: Backtest) -> Iterator[tuple[int, str, Floats, Floats]]:
    """Yield horizon, forecaster, medians and outcomes [ticker, session]; outcomes are NaN where not all are scored."""
    scored = backtest.scored
    for h in range(backtest.horizons):
        outcome = np.where(scored[..., h], backtest.realised[..., h].astype(np.float64), NAN)
        for name, quantiles in backtest.quantiles.items():
            yield h + 1, name, quantiles[:, :, h, MEDIAN].astype(np.float64), outcome


def _figures(median: Floats, outcome: Floats, horizon: int) -> dict[str, float]:
    pearson, spearman = information_coefficient(median, outcome), rank_information_coefficient(median, outcome)
    groups = group_count(len(median))
    returns = group_returns(median, outcome, groups)
    spread = mean_over_sessions(returns[-1] - returns[0] if groups else np.zeros(0), horizon)
    return {
        **_coefficient("ic", pearson, horizon),
        **_coefficient("rank_ic", spearman, horizon),
        "groups": groups,
        "spread": spread.value,
        "spread_error": spread.error,
        "spread_t": spread.t,
        "sessions": int(np.isfinite(pearson).sum()),
    }


def _coefficient(name: str, values: Floats, horizon: int) -> dict[str, float]:
    mean = mean_over_sessions(values, horizon)
    return {name: mean.value, f"{name}_error": mean.error, f"{name}_t": mean.t, f"{name}ir": information_ratio(values)}


def _centred(values: Floats, where: Booleans) -> Floats:
    """Return values less their mean over tickers, zero elsewhere and where all are equal."""
    count = np.maximum(where.sum(axis=0), 1)
    known = np.where(where, values, 0.0)
    same = np.where(where, values, -np.inf).max(axis=0) == np.where(where, values, np.inf).min(axis=0)
    return np.where(where & ~same, known - known.sum(axis=0) / count, 0.0)


def _ranks(values: Floats, where: Booleans) -> Floats:
    """Return ranks across tickers from one, ties at their mean, NaN elsewhere."""
    ranks = rankdata(np.where(where, values, np.inf), axis=0)  # excluded values come last and change no rank
    return np.where(where, ranks, NAN)


def _mean_where(values: Floats, where: Booleans) -> Floats:
    count: Indices = where.sum(axis=0)
    total = np.where(where, values, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(total.shape, NAN), where=count > 0)
    return mean


def sign_table(backtest: Backtest) -> pd.DataFrame:
    """Return the pooled Pesaran-Timmermann test of the medians' signs, a row per horizon and forecaster.

    Columns: horizon, forecaster, hit_rate, expected_hit_rate, t, p, sessions. A median that never changes its sign has
    no information on direction: its t and p are NaN.
    """
    return pd.DataFrame(
        [
            {"horizon": horizon, "forecaster": name} | _sign_test(backtest, name, horizon)
            for horizon in range(1, backtest.horizons + 1)
            for name in backtest.quantiles
        ]
    )


def _sign_test(backtest: Backtest, forecaster: str, horizon: int) -> dict[str, float]:
    where = backtest.scored[..., horizon - 1]
    median = np.where(where, backtest.quantiles[forecaster][..., horizon - 1, MEDIAN], np.nan).astype(np.float64)
    outcome = np.where(where, backtest.realised[..., horizon - 1], np.nan).astype(np.float64)
    test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
    return {
        "hit_rate": test.hit_rate,
        "expected_hit_rate": test.expected_hit_rate,
        "t": test.statistic,
        "p": test.p,
        "sessions": test.sessions,
    }


def median_table(backtest: Backtest) -> pd.DataFrame:
    """Return the out-of-sample R2 of every median against no change, with its error, a row per horizon and forecaster.

    Columns: horizon, forecaster, r2, r2_error, sessions. 1 - sum (y - m)^2 / sum y^2 (Campbell and Thompson 2008, eq.
    5, with zero in place of the mean) of log returns, over all tickers; the error by block bootstrap over sessions.
    Below zero a median errs more than the forecast that nothing changes. NaN with fewer than two sessions.
    """
    rows = []
    for h in range(backtest.horizons):
        sessions = backtest.scored[..., h].any(axis=0)
        where = backtest.scored[:, sessions, h]
        outcome = np.where(where, backtest.realised[:, sessions, h].astype(np.float64), 0.0)
        medians = [values[:, sessions, h, MEDIAN].astype(np.float64) for values in backtest.quantiles.values()]
        squares = (outcome**2).sum(axis=0)
        errors = np.stack([np.where(where, (outcome - median) ** 2, 0.0).sum(axis=0) for median in medians])
        found = np.full((2, len(medians)), NAN)
        if len(squares) > 1:
            counts = resampled_counts(len(squares), block_length(len(squares), h + 1), 0)
            bar = skill_error_bar(errors, np.broadcast_to(squares, errors.shape), counts)
            found = np.stack([bar.estimate, bar.standard_error])
        rows += [
            (h + 1, name, r2, error, len(squares)) for name, r2, error in zip(backtest.quantiles, *found, strict=True)
        ]
    return pd.DataFrame(rows, columns=["horizon", "forecaster", "r2", "r2_error", "sessions"])
