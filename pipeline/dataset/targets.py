"""Targets: the log return over the next 1..H sessions, and the volatility known at the origin, which is its unit.

A network is trained on y_h / (volatility x sqrt(h)); the simplest baselines forecast from the volatility alone.
"""

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.panel import Panel

ROLLING_SESSIONS = 20
EWMA_DECAY = 0.94
MIN_VOLATILITY = 1e-3  # daily; keeps the target finite where a price does not move
RELATIVE_SESSIONS = 250


def future_returns(panel: Panel, horizons: int) -> Floats:
    """Return y_h = sum of log returns over t+1..t+h [ticker, session, horizon], NaN where t or t+h is absent.

    A session without a bar adds nothing: the next bar's return includes it.
    """
    returns = np.nan_to_num(panel.log_return)
    result = np.full((*returns.shape, horizons), np.nan)
    total = np.zeros_like(returns)
    last = returns.shape[1]
    for h in range(1, min(horizons, last - 1) + 1):
        total[:, : last - h] += returns[:, h:]
        both = panel.present[:, : last - h] & panel.present[:, h:]
        result[:, : last - h, h - 1] = np.where(both, total[:, : last - h], np.nan)
    return result


def trailing_mean(values: Floats, window: int) -> Floats:
    """Return the mean of the last `window` values at each place, NaN before there are that many.

    Each window is summed anew: a running sum would carry rounding from the far past into every later value.
    """
    result = np.full(values.shape, np.nan)
    if len(values) >= window:
        result[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=-1)
    return result


def trailing_std(values: Floats, window: int) -> Floats:
    """Return the sample standard deviation of the last `window` values at each place, NaN before."""
    result = np.full(values.shape, np.nan)
    if len(values) >= window:
        result[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).std(axis=-1, ddof=1)
    return result


def rolling_volatility(panel: Panel) -> Floats:
    """Return the standard deviation of the last 20 own returns [ticker, session], floored, NaN before there are 20."""
    volatility = np.full(panel.present.shape, np.nan)
    for ticker, present in enumerate(panel.present):
        volatility[ticker, present] = trailing_std(panel.log_return[ticker, present], ROLLING_SESSIONS)
    floored: Floats = np.maximum(volatility, MIN_VOLATILITY)
    return floored


def ewma_volatility(log_return: Floats, decay: float) -> Floats:
    """Return the root of the exponentially weighted mean of squared returns [ticker, session], floored.

    RiskMetrics Technical Document (1996), eq. 5.3, the weights normalised over the sessions so far. An absent
    session has weight 0; NaN before the first return.
    """
    squares = pd.DataFrame(log_return.T**2)  # [session, ticker]
    # An absent session makes the earlier ones older, as ignore_na=True would not.
    mean = squares.ewm(alpha=1 - decay, adjust=True, ignore_na=False).mean().to_numpy().T  # [ticker, session]
    volatility: Floats = np.maximum(np.sqrt(mean), MIN_VOLATILITY)
    return volatility


def origin_volatility(panel: Panel) -> Floats:
    """Return the daily volatility that scales targets [ticker, session]: the root mean square of both estimates.

    The rolling estimate alone lags a change of regime, the exponential one alone is noisy. As the network's unit, their
    mean had the smallest validation loss over all horizons.
    """
    rolling, ewma = rolling_volatility(panel), ewma_volatility(panel.log_return, EWMA_DECAY)
    return np.sqrt((rolling**2 + ewma**2) / 2)


def relative_volatility(volatility: Floats | Floats32) -> Floats:
    """Return the log of a volatility over its median of the ticker's last 250 own sessions [ticker, session].

    Of those there are where they are fewer; NaN where the volatility is.
    """
    result = np.full(volatility.shape, np.nan)
    for ticker, known in enumerate(np.isfinite(volatility)):
        own = pd.Series(volatility[ticker, known])
        usual = own.rolling(RELATIVE_SESSIONS, min_periods=1).median()
        result[ticker, known] = np.log(own / usual)
    return result
