"""Bars as traded, with their listings: what every source hands over and what passes the door."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

ReturnsFrom = Literal["actions", "adj_close", "close"]

PRICES = ("open", "high", "low", "close")
COLUMNS = ("ticker", "session", *PRICES, "volume", "adj_close", "dividend", "split")
"""Columns of a bars frame: `session` is a tz-naive date, prices are in the listing currency as traded, `volume` in
shares as traded, `dividend` in currency per share (0 where none), `split` the factor new per old (1 where none)."""


@dataclass(frozen=True)
class Listing:
    """A ticker with the calendar of its exchange (an exchange_calendars code) and its currency."""

    ticker: str
    calendar: str
    currency: str


@dataclass(frozen=True)
class Problem:
    """One finding of the door: where, what was found, what was expected; a fatal one ends the ticker's bars there."""

    ticker: str
    session: str
    found: str
    expected: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.session}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class LeftOut:
    """A ticker that is not forecast, and why."""

    ticker: str
    reason: str


@dataclass(frozen=True)
class Bars:
    """Checked bars of many tickers, sorted by ticker and session, columns COLUMNS."""

    frame: pd.DataFrame
    listings: tuple[Listing, ...]
    returns_from: ReturnsFrom

    @property
    def tickers(self) -> tuple[str, ...]:
        """The tickers in the frame's order."""
        return tuple(listing.ticker for listing in self.listings)


@dataclass(frozen=True)
class Admitted:
    """What came through the door: bars, every problem found, and the tickers that are not forecast."""

    bars: Bars
    problems: tuple[Problem, ...]
    left_out: tuple[LeftOut, ...]
