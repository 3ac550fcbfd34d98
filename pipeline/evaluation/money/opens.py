"""Opens: where orders are filled, and what a holding gains from one session's open to the next."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Indices, Sessions
from pipeline.dataset.panel import Panel

GONE_SESSIONS = 20
"""Sessions in a row without a bar after which a ticker counts as delisted: known then, and not before."""


@dataclass(frozen=True)
class Opens:
    """The opens of a panel: arrays [ticker, session]."""

    tickers: tuple[str, ...]
    sessions: Sessions  # [session]
    tradable: Booleans  # whether there is an open to trade at
    gone: Booleans  # whether it is GONE_SESSIONS or more since the last bar
    growth: Floats  # worth at the next session's open over worth at this one's, NaN at the last session


def opens_of(panel: Panel) -> Opens:
    """Return the opens of a panel."""
    tradable = panel.present & np.isfinite(panel.open)
    return Opens(panel.tickers, panel.sessions, tradable, _gone(tradable), opening_returns(panel) + 1.0)


def opening_returns(panel: Panel) -> Floats:
    """Return the total return from this session's open to the next one's [ticker, session], NaN at the last session.

    A simple return: the session's open to close, times the overnight return that makes the next session's total
    return whole (total return over its own open to close). Splits cancel. A dividend goes to who held overnight into
    its session and is reinvested at that open. Without a bar a holding is worth what it was at its last close, and
    the next open's return spans the gap.
    """
    tradable = panel.present & np.isfinite(panel.open)
    during = np.where(tradable, np.log(np.where(tradable, panel.close / panel.open, 1.0)), 0.0)
    overnight = np.where(tradable, np.nan_to_num(panel.log_return) - during, 0.0)
    result = np.full(during.shape, np.nan)
    result[:, :-1] = np.expm1(during[:, :-1] + overnight[:, 1:])
    return result


def last_seen(tradable: Booleans) -> Indices:
    """Return the index of the latest session up to each one with a bar [..., session], -1 before the first."""
    own = np.where(tradable, np.arange(tradable.shape[-1]), -1)
    latest: Indices = np.maximum.accumulate(own, axis=-1)
    return latest


def _gone(tradable: Booleans) -> Booleans:
    seen = last_seen(tradable)
    gone: Booleans = (seen >= 0) & (np.arange(tradable.shape[-1]) - seen >= GONE_SESSIONS)
    return gone
