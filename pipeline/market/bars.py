"""Bars as traded with their listings, and what validation says about them: problems, exclusions, stale tickers."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Literal

import pandas as pd

ReturnsFrom = Literal["actions", "adj_close", "close"]

PRICES = ("open", "high", "low", "close")
COLUMNS = ("ticker", "session", *PRICES, "volume", "adj_close", "dividend", "split")
"""Columns of a bars frame: `session` is a tz-naive date, prices are in the listing currency as traded, `volume` in
shares as traded, `dividend` in currency per share (0 where none), `split` the factor new per old (1 where none)."""

FIELDS = COLUMNS[2:]
"""The number columns of a bars frame."""


@dataclass(frozen=True)
class Listing:
    """A ticker with the calendar of its exchange (an exchange_calendars code) and its currency."""

    ticker: str
    calendar: str
    currency: str


class Severity(StrEnum):
    """What a finding causes: a note, a recorded repair, quarantined rows, or the end of the ticker's bars there."""

    NOTE = "noted"
    REPAIRED = "repaired"
    ROWS = "rows quarantined"
    TICKER = "bars truncated"

    @classmethod
    def _missing_(cls, value: object) -> "Severity | None":
        """Return the severity that an earlier version of the price store spelled otherwise; None for any other text."""
        return {"rows put aside": cls.ROWS, "bars end there": cls.TICKER}.get(str(value))


@dataclass(frozen=True)
class Problem:
    """A finding about a ticker: its first session, the rule, what was found and expected, and in how many rows."""

    ticker: str
    session: str
    rule: str
    severity: Severity
    found: str
    expected: str
    rows: int = 1

    @property
    def fatal(self) -> bool:
        """Whether the ticker's bars end at that session."""
        return self.severity is Severity.TICKER

    def __str__(self) -> str:
        return f"{self.session}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class Exclusion:
    """A ticker that is not forecast, and the reason."""

    ticker: str
    reason: str

    def __str__(self) -> str:
        return f"{self.ticker}: {self.reason}"


@dataclass(frozen=True)
class Stale:
    """A ticker that is forecast although its last bar is not of the latest session: that bar's age, and the reason."""

    ticker: str
    last_session: str
    age_sessions: int
    reason: str


@dataclass(frozen=True)
class Bars:
    """Validated bars of many tickers, sorted by ticker and session, columns COLUMNS."""

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
        """Return the bars of the tickers that trade on one calendar."""
        listings = tuple(listing for listing in self.listings if listing.calendar == calendar)
        trades_there = self.frame["ticker"].isin([listing.ticker for listing in listings])
        return Bars(self.frame[trades_there].reset_index(drop=True), listings, self.returns_from)


@dataclass(frozen=True)
class ValidatedBars:
    """The result of validation: bars, every problem, the excluded tickers, and those without their last rows."""

    bars: Bars
    problems: tuple[Problem, ...]
    excluded: tuple[Exclusion, ...]
    stale: tuple[Stale, ...] = ()


@dataclass(frozen=True, eq=False)
class FetchedRows:
    """The answer for one ticker: a row per session as traded, from the requested day to the source's last session.

    Columns: session (tz-naive dates, ascending, each once), open, high, low, close, volume, dividend, split, and
    adj_close as the vendor reports it; all but session are float64, NaN where the vendor reports no number. `since`
    None: the whole history was requested. `problems` are the repairs made on the way.
    """

    rows: pd.DataFrame
    since: date | None
    currency: str
    fetched_at: datetime
    problems: tuple[Problem, ...] = ()
