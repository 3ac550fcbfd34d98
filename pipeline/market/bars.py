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
class Restated:
    """A ticker whose source reported other values for bars that the store had, and which."""

    ticker: str
    what: str


@dataclass(frozen=True)
class CalendarMismatch:
    """Tickers whose bars do not fit the calendar that they are read on: most of them share days that it lacks.

    `days` are those days, `unused_sessions` the calendar's sessions on which hardly any of the tickers has a bar,
    both as ISO text. `looks_like` is the calendar that fits better, None where no known one does; `spellings` is how
    one of the tickers would be written there.
    """

    calendar: str
    tickers: int  # that have bars on such days
    of_tickers: int  # that are read on the calendar
    days: tuple[str, ...]
    unused_sessions: tuple[str, ...]
    looks_like: str | None
    spellings: tuple[str, ...] = ()
    renamed_only: bool = False  # the names say the wrong exchange, so that no other one can be named for them

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}"

    @property
    def found(self) -> str:
        """What was found, with examples."""
        share = f"{self.tickers} of {self.of_tickers} tickers read on {self.calendar}"
        days = f"{len(self.days)} days that {self.calendar} lacks{_examples(self.days)}"
        unused = f", and none or hardly any on {len(self.unused_sessions)} sessions that it has"
        unused += _examples(self.unused_sessions)
        return f"{share} have bars on {days}{unused if self.unused_sessions else ''}"

    @property
    def remedy(self) -> str:
        """What the bars look like, and what to do."""
        if self.looks_like is None:
            return (
                "No known calendar fits these days: check the dates (time zone, rows filled in on holidays), and leave "
                "out tickers of exchanges that are not known here; the bars on such days are not used."
            )
        named = (
            f", or name the exchange: a column `exchange` in the file, or `--exchange {self.looks_like}` with `--path` "
            "(prices of the store: import the file again)"
        )
        return (
            f"These look like {self.looks_like}: write {_either(self.spellings)}{'' if self.renamed_only else named}. "
            f"{AROUND_THE_CLOCK if self.looks_like.startswith('24/') else ''}"
            "Until then the bars on such days are not used, and forecasts are dated wrongly."
        )


AROUND_THE_CLOCK = "Of stocks, rows filled in on days without trading look like this too: remove them. "
MAX_EXAMPLES = 3


def _either(names: tuple[str, ...]) -> str:
    """Return the names as "A", "A or B", "A, B or C"."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _examples(days: tuple[str, ...]) -> str:
    return f" ({', '.join(days[:MAX_EXAMPLES])}{', …' if len(days) > MAX_EXAMPLES else ''})"


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
    """The result of validation: bars, every problem, the excluded tickers, and those without their last rows.

    `calendar_mismatches` has the calendars, at most once each, that most of their tickers do not seem to trade on.
    """

    bars: Bars
    problems: tuple[Problem, ...]
    excluded: tuple[Exclusion, ...]
    stale: tuple[Stale, ...] = ()
    calendar_mismatches: tuple[CalendarMismatch, ...] = ()


@dataclass(frozen=True, eq=False)
class FetchedRows:
    """The answer for one ticker: a row per session as traded, from the requested day to the source's last session.

    Columns: session (tz-naive dates, ascending, each once), open, high, low, close, volume, dividend, split, and
    adj_close as the vendor reports it; all but session are float64, NaN where the vendor reports no number. `since`
    None: the whole history was requested. `problems` are the repairs made on the way. `exchange` is the calendar of an
    exchange that was named, None where the ticker's name tells it.
    """

    rows: pd.DataFrame
    since: date | None
    currency: str
    fetched_at: datetime
    problems: tuple[Problem, ...] = ()
    exchange: str | None = None
