"""Bars as traded, with their listings: what every source hands over and what passes the door."""

from dataclasses import dataclass
from enum import StrEnum
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


class Severity(StrEnum):
    """What a finding does: nothing, a recorded repair, rows put aside, or the end of its ticker's bars there."""

    NOTE = "noted"
    REPAIRED = "repaired"
    ROWS = "rows put aside"
    TICKER = "bars end there"


@dataclass(frozen=True)
class Problem:
    """One finding about a ticker: since which session, by which rule, what was found and expected, in how many rows."""

    ticker: str
    session: str
    rule: str
    severity: Severity
    found: str
    expected: str
    rows: int = 1

    @property
    def fatal(self) -> bool:
        """Whether it ends the ticker's bars at that session."""
        return self.severity is Severity.TICKER

    def __str__(self) -> str:
        return f"{self.session}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class LeftOut:
    """A ticker that is not forecast, and why."""

    ticker: str
    reason: str


@dataclass(frozen=True)
class Stale:
    """A ticker that is forecast though its last bar is not its latest: how old that bar is, and why."""

    ticker: str
    last_session: str
    age_sessions: int
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

    @property
    def calendars(self) -> tuple[str, ...]:
        """The calendars of the listings, each once, sorted."""
        return tuple(sorted({listing.calendar for listing in self.listings}))

    def of_calendar(self, calendar: str) -> "Bars":
        """The bars of the tickers that trade on one calendar."""
        listings = tuple(listing for listing in self.listings if listing.calendar == calendar)
        own = self.frame["ticker"].isin([listing.ticker for listing in listings])
        return Bars(self.frame[own].reset_index(drop=True), listings, self.returns_from)


@dataclass(frozen=True)
class Admitted:
    """What came through the door: bars, every problem, the tickers not forecast, and those without their last rows."""

    bars: Bars
    problems: tuple[Problem, ...]
    left_out: tuple[LeftOut, ...]
    stale: tuple[Stale, ...] = ()
