"""Features of one ticker, each value computed from its own sessions up to that session.

Every feature is free of the price level: it is built from total returns, from ratios within one session, and from
money turnover relative to its own past (which a split does not change).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats
from pipeline.dataset.panel import Panel
from pipeline.dataset.targets import trailing_mean

RETURN_LIMIT = 0.3  # a larger return of one session carries no further information for the network
RANGE_FLOOR = 1e-4  # keeps the log range of a session without movement finite
MIN_MEAN_RETURN = 1e-4  # keeps the log of a mean absolute return finite


@dataclass(frozen=True)
class TickerSeries:
    """One ticker's own sessions, without gaps: 1-D float64 arrays of equal length."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    log_return: Floats
    volatility: Floats  # known at each session, daily


def ticker_series(panel: Panel, volatility: Floats, ticker: int) -> TickerSeries:
    """Return the own sessions of the ticker in a row, with the volatility [ticker, session] known at them."""
    present = panel.present[ticker]
    fields = (panel.open, panel.high, panel.low, panel.close, panel.volume, panel.log_return, volatility)
    return TickerSeries(*(field[ticker, present] for field in fields))


def clip_returns(log_return: Floats) -> Floats:
    """Return the log returns, clipped at +-RETURN_LIMIT."""
    return np.clip(log_return, -RETURN_LIMIT, RETURN_LIMIT)


def log_return(series: TickerSeries) -> Floats:
    """Return the session's total log return, clipped at +-RETURN_LIMIT."""
    return clip_returns(series.log_return)


def open_to_close(series: TickerSeries) -> Floats:
    """Return the log ratio of close to open, clipped."""
    return clip_returns(np.log(series.close / series.open))


def overnight_gap(series: TickerSeries) -> Floats:
    """Return the part of the total return earned before the open: total return less open-to-close, clipped."""
    return clip_returns(series.log_return - np.log(series.close / series.open))


def log_range(series: TickerSeries) -> Floats:
    """Return the log of the session's log range high / low, floored."""
    return np.log(np.maximum(np.log(series.high / series.low), RANGE_FLOOR))


def close_location(series: TickerSeries) -> Floats:
    """Return the position of the close between low (0) and high (1), 0.5 in a session without movement."""
    spread = np.log(series.high / series.low)
    location = np.log(series.close / series.low) / np.maximum(spread, RANGE_FLOOR)
    return np.where(spread > RANGE_FLOOR, location, 0.5)


def volume_surprise(series: TickerSeries) -> Floats:
    """Return log money turnover (close x volume, as traded) less its 60-session mean; a session without volume is 0."""
    traded = series.volume > 0
    turnover = np.log(np.where(traded, series.close * series.volume, 1.0))
    mean_of_all = trailing_mean(np.where(traded, turnover, 0.0), 60)
    share_traded = trailing_mean(traded.astype(np.float64), 60)
    mean = mean_of_all / np.maximum(share_traded, 1.0 / 60)
    return np.where(np.isnan(mean), np.nan, np.where(traded & (share_traded > 0), turnover - mean, 0.0))


def log_volatility(series: TickerSeries) -> Floats:
    """Return the log of the volatility known at the session."""
    return np.log(series.volatility)


def mean_absolute_return(window: int) -> Callable[[TickerSeries], Floats]:
    """Return the feature: log of the mean absolute return over the last `window` sessions."""

    def compute(series: TickerSeries) -> Floats:
        # The first session has no return: it counts as 0, and the warm-up covers it.
        absolute_return = np.abs(clip_returns(np.nan_to_num(series.log_return)))
        return np.log(trailing_mean(absolute_return, window) + MIN_MEAN_RETURN)

    return compute
