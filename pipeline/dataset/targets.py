"""Targets: the log return over the next 1..H sessions."""

import numpy as np

from pipeline.arrays import Floats
from pipeline.dataset.panel import Panel


def future_returns(panel: Panel, horizons: int) -> Floats:
    """Return y_h = sum of log returns over t+1..t+h [ticker, session, horizon], NaN where t or t+h is absent.

    A session without a bar adds nothing: the next bar's return spans it.
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
