"""The popular "accuracy" of a forecast price line, and its value for lines without any information on the future.

Many notebooks measure a forecast of 30 prices by 100 (1 - root mean squared relative error) and call the result
accuracy. Prices move little in 30 sessions, so that every line near the last price scores above 90, even the constant
last price.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Sessions
from pipeline.errors import UsageError

FITTED_SESSIONS = 252
"""Sessions of the fit: one year."""
FORECAST_SESSIONS = 30


@dataclass(frozen=True)
class PriceLine:
    """One forecast of every session [session], all made at the last close of the fit, and its popular accuracy."""

    name: str
    prices: Floats
    accuracy: float


@dataclass(frozen=True)
class PopularAccuracy:
    """The last sessions of a ticker, the year before them, and the forecast of each line."""

    ticker: str
    fitted_closes: Floats  # [fitted session]
    sessions: Sessions  # [session]
    closes: Floats  # [session]
    lines: tuple[PriceLine, ...]


def popular_accuracy(forecast: Floats, closes: Floats) -> float:
    """Return 100 (1 - root mean squared relative error), in per cent, of forecast prices [session] and closes.

    No measure of skill: see the module's first lines.
    """
    return float(100 * (1 - np.sqrt(np.mean((forecast / closes - 1) ** 2))))


def popular_accuracies(ticker: str, sessions: Sessions, closes: Floats, network: Floats | None) -> PopularAccuracy:
    """Return the last 30 sessions of closes [session], and three forecasts of them from the 252 sessions before.

    The constant last value, the straight line through the first and the last close of those 252, and `network`, its
    medians [30] from the last of them (None omits it). Raises UsageError where there are fewer closes, where
    one is not positive, or where the network's line has another length.
    """
    _refuse_unfit(sessions, closes, network)
    fitted, last = closes[-FORECAST_SESSIONS - FITTED_SESSIONS : -FORECAST_SESSIONS], closes[-FORECAST_SESSIONS:]
    lines = {"last value": last_value(fitted), "straight drift line": straight_drift(fitted)}
    if network is not None:
        lines["network"] = network.astype(np.float64)
    return PopularAccuracy(
        ticker=ticker,
        fitted_closes=fitted,
        sessions=sessions[-FORECAST_SESSIONS:],
        closes=last,
        lines=tuple(PriceLine(name, prices, popular_accuracy(prices, last)) for name, prices in lines.items()),
    )


def last_value(fitted: Floats) -> Floats:
    """Return the last fitted close, constant for 30 sessions."""
    return np.full(FORECAST_SESSIONS, fitted[-1], dtype=np.float64)


def straight_drift(fitted: Floats) -> Floats:
    """Return the straight line through the first and the last fitted close, continued for 30 sessions."""
    step = (fitted[-1] - fitted[0]) / (len(fitted) - 1)
    line: Floats = fitted[-1] + step * np.arange(1, FORECAST_SESSIONS + 1)
    return line


def _refuse_unfit(sessions: Sessions, closes: Floats, network: Floats | None) -> None:
    needed = FITTED_SESSIONS + FORECAST_SESSIONS
    if len(closes) < needed or len(sessions) != len(closes):
        raise UsageError(
            f"found {len(closes)} closes of {len(sessions)} sessions, expected at least {needed}, one per session: "
            f"{FITTED_SESSIONS} to fit and {FORECAST_SESSIONS} to forecast; give a longer history"
        )
    if not (closes[-needed:] > 0).all():
        raise UsageError("found a close that is missing or not positive, expected prices; leave its session out")
    if network is not None and network.shape != (FORECAST_SESSIONS,):
        raise UsageError(
            f"found a network's line of shape {network.shape}, expected one price for each of the "
            f"{FORECAST_SESSIONS} sessions; give the medians of {FORECAST_SESSIONS} horizons from one origin"
        )
