"""The door: rows as found go in; checked bars, every problem, and the tickers left out come out.

The door is causal. A bad row ends its ticker's bars from that session on; the rows before it stay, as on those days
nobody could know. A row of a session that is not over yet, or of a day on which the exchange did not trade, is put
aside before anything is checked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import SourceError, TapecastError, UsageError
from pipeline.market.bars import COLUMNS, Admitted, Bars, LeftOut, Listing, Problem, ReturnsFrom
from pipeline.market.calendars import last_completed_session, listing_of, unknown_sessions
from pipeline.market.contract import REQUIRED, Finding, Numbers, column_fault, findings, numbers_of
from pipeline.market.session_dates import SessionDates, session_dates
from pipeline.market.source import Source
from pipeline.market.tickers import printable, refuse_bad_name

SHOWN_PER_RULE = 20
"""How many rows of one ticker that break one rule are listed one by one; the rest are counted."""

NO_PRICES = pd.DataFrame(
    {name: pd.Series(dtype="datetime64[s]" if name == "session" else "float64") for name in COLUMNS[1:]}
)


@dataclass(frozen=True, eq=False)
class _Verdict:
    """What the door says about one ticker."""

    listing: Listing
    bars: pd.DataFrame
    problems: tuple[Problem, ...] = ()
    reason: str = ""


def load(source: Source, tickers: Iterable[str], now: datetime, minimum_sessions: int) -> Admitted:
    """The source's bars of the tickers (none named: of all it holds), checked at the door."""
    wanted = tuple(tickers) or source.tickers()
    if not wanted:
        raise UsageError("found no tickers, and this source does not list its own; name the tickers to load")
    return admit({name: rows_or_error(source, name) for name in wanted}, source.returns_from, now, minimum_sessions)


def rows_or_error(source: Source, ticker: str) -> pd.DataFrame | SourceError:
    """The ticker's rows as found, or as a value the error that says why there are none."""
    try:
        refuse_bad_name(ticker)
        return source.rows(ticker)
    except SourceError as error:
        return error


def admit(
    rows: Mapping[str, pd.DataFrame | SourceError], returns_from: ReturnsFrom, now: datetime, minimum_sessions: int
) -> Admitted:
    """The rows of each ticker that meet the contract, as bars of one calendar; `now` is an aware instant."""
    verdicts = [_verdict(name, found, now, minimum_sessions) for name, found in rows.items()]
    judged = _of_one_calendar(verdicts)
    kept = sorted((verdict for verdict in judged if len(verdict.bars)), key=lambda verdict: verdict.listing.ticker)
    return Admitted(
        Bars(_stacked(kept), tuple(verdict.listing for verdict in kept), returns_from),
        tuple(problem for verdict in judged for problem in verdict.problems),
        tuple(LeftOut(verdict.listing.ticker, verdict.reason) for verdict in judged if verdict.reason),
    )


def _verdict(ticker: str, rows: pd.DataFrame | SourceError, now: datetime, minimum: int) -> _Verdict:
    listing = listing_of(printable(ticker))
    try:
        refuse_bad_name(ticker)
        last = last_completed_session(listing.calendar, now)
    except TapecastError as error:
        return _refused(listing, str(error))
    if isinstance(rows, SourceError):
        return _refused(listing, str(rows))
    if fault := column_fault(rows):
        problem = Problem(ticker, "all sessions", fault, f"each of the columns {', '.join(REQUIRED)} once")
        return _refused(listing, str(problem), problem)
    return _checked(listing, rows, last, minimum)


def _refused(listing: Listing, reason: str, *problems: Problem) -> _Verdict:
    return _Verdict(listing, NO_PRICES, problems, reason)


def _checked(listing: Listing, rows: pd.DataFrame, last: np.datetime64, minimum: int) -> _Verdict:
    """The verdict on rows that have all columns: what is over, up to the first row that breaks a rule."""
    ticker, dates = listing.ticker, session_dates(rows["session"])
    over = ~(dates.day > last)
    strays = np.isin(dates.day, unknown_sessions(listing.calendar, dates.day))
    taken = over & ~strays
    rows, over_dates = rows[taken], SessionDates(dates.day[taken], dates.offset[taken])
    numbers = numbers_of(rows)
    broken = findings(rows, over_dates, numbers)
    sound = ~np.logical_or.reduce([finding.broken for finding in broken])
    usable = len(sound) if sound.all() else int(sound.argmin())
    bars = _bars(numbers, over_dates.day, usable)
    faults = tuple(problem for finding in broken for problem in _listed(ticker, over_dates, finding))
    notes = (*_unfinished(ticker, dates.day[~over], last), *_strays(listing, dates.day[strays]))
    reason = _reason(_story(ticker, over_dates, broken, usable), usable, minimum)
    return _Verdict(listing, bars if usable >= minimum else NO_PRICES, (*faults, *notes), reason)


def _reason(story: str, usable: int, minimum: int) -> str:
    """Why the ticker is not forecast: too few sessions, or bars that end before its last; nothing where all is well."""
    if usable >= minimum:
        return f"bars end early: {story}" if story else ""
    few = f"{usable} usable sessions, at least {minimum} are needed"
    return f"{few}: {story}" if story else f"{few}; ask for a longer history"


def _story(ticker: str, dates: SessionDates, broken: list[Finding], usable: int) -> str:
    """The first problem and the number of problems in words; nothing where there is none."""
    count = sum(int(finding.broken.sum()) for finding in broken)
    first = [
        _problem(ticker, dates, finding, usable) for finding in broken if finding.broken[usable : usable + 1].any()
    ]
    more = f" ({count} problems in all)" if count > 1 else ""
    return f"{first[0]}{more}" if first else ""


def _listed(ticker: str, dates: SessionDates, finding: Finding) -> list[Problem]:
    at = np.flatnonzero(finding.broken)
    shown = [_problem(ticker, dates, finding, int(row)) for row in at[:SHOWN_PER_RULE]]
    rest = at[SHOWN_PER_RULE:]
    more = [
        Problem(ticker, _session(dates, int(row)), f"{len(rest)} more such rows", finding.expected) for row in rest[:1]
    ]
    return shown + more


def _problem(ticker: str, dates: SessionDates, finding: Finding, row: int) -> Problem:
    return Problem(ticker, _session(dates, row), finding.found(row), finding.expected)


def _session(dates: SessionDates, row: int) -> str:
    day = dates.day[row]
    return f"row {row + 1}" if np.isnat(day) else str(day)


def _unfinished(ticker: str, days: NDArray[np.datetime64], last: np.datetime64) -> list[Problem]:
    found = f"{len(days)} rows of sessions that are not over, put aside"
    return [Problem(ticker, str(day), found, f"sessions to {last}", fatal=False) for day in np.sort(days)[:1]]


def _strays(listing: Listing, days: NDArray[np.datetime64]) -> list[Problem]:
    # Kept, one ticker's stray day would be a session of the whole panel, and move every other ticker's horizons.
    found = f"{len(days)} rows of days without trading on {listing.calendar}, put aside"
    expected = "sessions of the exchange only"
    return [Problem(listing.ticker, str(day), found, expected, fatal=False) for day in np.sort(days)[:1]]


def _bars(numbers: Numbers, days: NDArray[np.datetime64], usable: int) -> pd.DataFrame:
    """The usable rows in the columns of a bars frame, without the ticker; what was not delivered is filled in."""
    filled = {"adj_close": numbers["close"], "dividend": np.zeros(len(days)), "split": np.ones(len(days)), **numbers}
    columns = {"session": days.astype("datetime64[s]"), **{name: filled[name] for name in COLUMNS[2:]}}
    return pd.DataFrame({name: values[:usable] for name, values in columns.items()})


def _of_one_calendar(verdicts: list[_Verdict]) -> list[_Verdict]:
    """The verdicts with the tickers of all calendars but the most frequent one left out: a panel has one calendar."""
    counts = Counter(verdict.listing.calendar for verdict in verdicts if len(verdict.bars))
    if len(counts) < 2:
        return verdicts
    (main, most), total = counts.most_common(1)[0], counts.total()
    return [_kept_on(verdict, main, f"{most} of {total} tickers") for verdict in verdicts]


def _kept_on(verdict: _Verdict, calendar: str, share: str) -> _Verdict:
    own = verdict.listing.calendar
    if own == calendar or not len(verdict.bars):
        return verdict
    reason = f"it trades on calendar {own}, this run on {calendar} with {share}; run the tickers of {own} by themselves"
    return replace(verdict, bars=NO_PRICES, reason=reason)


def _stacked(verdicts: list[_Verdict]) -> pd.DataFrame:
    frames = [verdict.bars.assign(ticker=verdict.listing.ticker) for verdict in verdicts]
    whole = pd.concat(frames, ignore_index=True) if frames else NO_PRICES.assign(ticker=pd.Series(dtype="str"))
    return whole[list(COLUMNS)].astype({"ticker": "str"})
