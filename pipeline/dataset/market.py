"""The market of a panel: which tickers count as its members, session by session, and their mean."""

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.dataset.panel import Panel

RETURN_LIMIT = 0.3  # one session's return beyond this tells the network nothing more


def clipped(log_return: Floats) -> Floats:
    """Return the log returns, clipped at +-RETURN_LIMIT."""
    return np.clip(log_return, -RETURN_LIMIT, RETURN_LIMIT)


def members_of(panel: Panel, market: tuple[str, ...], minimum_sessions: int, belongs: Booleans | None) -> Booleans:
    """Return where a ticker counts as a member of the market [ticker, session].

    That is a ticker named in `market`, once it has `minimum_sessions` own sessions (one that the door would still
    refuse at an origin must not speak there), while it belongs to the universe (None: always).
    """
    enough: Booleans = np.cumsum(panel.present, axis=1) >= minimum_sessions
    named: Booleans = np.isin(panel.tickers, market)[:, None] & enough
    return named if belongs is None else named & belongs


def session_mean(values: Floats, members: Booleans) -> Floats:
    """Return the mean over the members that have a value, NaN where none has [session]."""
    known = np.isfinite(values) & members
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def market_mean(values: Floats, members: Booleans) -> Floats:
    """Return the session's mean over the members at every ticker that has a value itself [ticker, session]."""
    return np.where(np.isfinite(values), session_mean(values, members), np.nan)
