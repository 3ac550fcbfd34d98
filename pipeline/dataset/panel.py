"""The panel: one calendar's bars as arrays [ticker, session], with a mask of what is present."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.errors import NothingUsableError
from pipeline.market.bars import PRICES, Bars, ReturnsFrom
from pipeline.market.calendars import sessions_between


@dataclass(frozen=True)
class Panel:
    """Bars as traded, float64 [ticker, session], NaN where absent; `log_return` is the total return of a session.

    Prices stay float64, so that every ratio is taken before it is rounded: rescaling all prices by a constant then
    changes no feature. Features, which take most of the memory, are float32.
    """

    calendar: str
    tickers: tuple[str, ...]
    sessions: Sessions  # [session] datetime64[D]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    log_return: Floats

    @property
    def present(self) -> Booleans:
        """True where a ticker has a bar [ticker, session]."""
        return np.isfinite(self.close)


def build_panel(bars: Bars) -> Panel:
    """Return the panel of validated bars, over every session of their calendar between the first and the last bar.

    Raises NothingUsableError when there is no bar, or more than one calendar.
    """
    calendars = {listing.calendar for listing in bars.listings}
    if len(calendars) != 1:
        found = ", ".join(sorted(calendars)) or "no bars at all"
        raise NothingUsableError(f"a panel needs bars of exactly one calendar, found {found}")
    calendar = calendars.pop()
    observed = bars.frame["session"].to_numpy().astype("datetime64[D]")
    sessions = _sessions_of(calendar, observed)
    positions = _Positions(bars, sessions, observed)
    fields = {name: positions.array_of(bars.frame[name]) for name in (*PRICES, "volume")}
    log_return = positions.array_of(log_total_returns(bars.frame, bars.returns_from))
    return Panel(calendar=calendar, tickers=bars.tickers, sessions=sessions, log_return=log_return, **fields)


def log_total_returns(frame: pd.DataFrame, returns_from: ReturnsFrom) -> "pd.Series[float]":
    """Return the log total return of each bar over the ticker's previous bar, NaN at its first."""
    by_ticker = frame.groupby("ticker", sort=False)
    if returns_from == "actions":
        return _log((frame["close"] * frame["split"] + frame["dividend"]) / by_ticker["close"].shift())
    return _log(frame[returns_from] / by_ticker[returns_from].shift())


def _sessions_of(calendar: str, observed: Sessions) -> Sessions:
    """Return every session of the calendar between the first and the last observed day, and every observed day."""
    first = observed.min()
    days = np.flatnonzero(np.bincount((observed - first).astype(np.int64))) + first  # without sorting every row
    return np.union1d(sessions_between(calendar, first, days[-1]), days)


def _log(ratio: "pd.Series[float]") -> "pd.Series[float]":
    return pd.Series(np.log(ratio.to_numpy(dtype=np.float64)), index=ratio.index)


class _Positions:
    """The position of each row of a long frame in an array [ticker, session]."""

    def __init__(self, bars: Bars, sessions: Sessions, observed: Sessions) -> None:
        self._shape = (len(bars.tickers), len(sessions))
        code, names = pd.factorize(bars.frame["ticker"])
        self._ticker = pd.Index(bars.tickers).get_indexer(pd.Index(names))[code]
        self._session = np.searchsorted(sessions, observed)

    def array_of(self, values: "pd.Series[float]") -> Floats:
        array = np.full(self._shape, np.nan)
        array[self._ticker, self._session] = values.to_numpy(dtype=np.float64)
        return array
