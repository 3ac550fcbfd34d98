"""The door: rows as found go in; checked bars, every problem, and the tickers left out come out.

The door is causal by session. A row that cannot be right is put aside or repaired, and that is recorded; where a
ticker's rows cannot be trusted from some session on, its bars end there, and it is not forecast. The rows before stay,
as on those days nobody could know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pandas as pd

from pipeline.errors import SourceError, TapecastError, UsageError
from pipeline.market.bars import COLUMNS, Admitted, Bars, LeftOut, Listing, Problem, ReturnsFrom, Severity, Stale
from pipeline.market.calendars import age_sessions, last_completed_session, listing_of
from pipeline.market.canonical import canonical
from pipeline.market.contract.days import CalendarDays, calendar_days
from pipeline.market.contract.gate import Claims, judge
from pipeline.market.contract.rows import Rows, rows_of
from pipeline.market.contract.rules import RULES, Finding, problem_of, problems_of
from pipeline.market.source import Source
from pipeline.market.tickers import printable, refuse_bad_name


@dataclass(frozen=True)
class Terms:
    """On what terms rows are let in: what their source says of them, the time, and how many and how fresh they must be.

    `now` is an aware instant. `most_age_sessions`: a ticker whose last bar is older is not forecast; None where the
    source does not claim to be up to date. `currencies` are the quoted ones where they are known better than by name.
    """

    returns_from: ReturnsFrom
    has_actions: bool
    now: datetime
    minimum_sessions: int
    most_age_sessions: int | None = None
    currencies: Mapping[str, str] = field(default_factory=dict)


NEVER_A_BAR = ("unfinished", "no_session")
PUT_ASIDE = {rule.name for rule in RULES.values() if rule.severity is Severity.ROWS and rule.name not in NEVER_A_BAR}
"""Rules that put aside rows which would have been bars."""


@dataclass(frozen=True, eq=False)
class _Verdict:
    """What the door says about one ticker; no rows where it is not let in at all."""

    ticker: str
    listing: Listing | None = None
    rows: Rows | None = None
    problems: tuple[Problem, ...] = ()
    reason: str = ""
    stale: Stale | None = None


_Found = pd.DataFrame | SourceError


def load(
    source: Source,
    tickers: Iterable[str],
    now: datetime,
    minimum_sessions: int,
    most_age_sessions: int | None = None,
) -> Admitted:
    """The source's bars of the tickers (none named: of all it holds), checked at the door."""
    wanted = tuple(tickers) or source.tickers()
    if not wanted:
        raise UsageError("found no tickers, and this source does not list its own; name the tickers to load")
    terms = Terms(source.returns_from, source.has_actions, now, minimum_sessions, most_age_sessions)
    return admit({name: rows_or_error(source, name) for name in wanted}, terms)


def rows_or_error(source: Source, ticker: str) -> pd.DataFrame | SourceError:
    """The ticker's rows as found, or as a value the error that says why there are none."""
    try:
        refuse_bad_name(ticker)
        return source.rows(ticker)
    except SourceError as error:
        return error


def admit(found: Mapping[str, pd.DataFrame | SourceError], terms: Terms) -> Admitted:
    """The rows of each ticker that meet the contract, as bars of one or several calendars."""
    known: dict[str, CalendarDays] = {}
    verdicts = [_verdict(name, rows, terms, known) for name, rows in found.items()]
    kept = [(one.listing, one.rows) for one in verdicts if one.listing is not None and one.rows is not None]
    kept.sort(key=lambda one: one[0].ticker)
    return Admitted(
        Bars(_stacked(kept), tuple(listing for listing, _ in kept), terms.returns_from),
        tuple(problem for verdict in verdicts for problem in verdict.problems),
        tuple(LeftOut(verdict.ticker, verdict.reason) for verdict in verdicts if verdict.reason),
        tuple(verdict.stale for verdict in verdicts if verdict.stale and not verdict.reason),
    )


def _verdict(ticker: str, found: _Found, terms: Terms, known: dict[str, CalendarDays]) -> _Verdict:
    if isinstance(found, SourceError):
        return _Verdict(printable(ticker), reason=str(found))
    try:
        listing = _listing(ticker, terms)
        days = _days(listing.calendar, terms.now, known)
    except TapecastError as error:
        return _Verdict(printable(ticker), reason=str(error))
    return _checked(listing, found, terms, days)


def _listing(ticker: str, terms: Terms) -> Listing:
    refuse_bad_name(ticker)
    listing = listing_of(ticker)
    return replace(listing, currency=terms.currencies.get(ticker, listing.currency))


def _days(calendar: str, now: datetime, known: dict[str, CalendarDays]) -> CalendarDays:
    """The calendar's days, looked up once for all its tickers."""
    if calendar not in known:
        known[calendar] = calendar_days(calendar, last_completed_session(calendar, now))
    return known[calendar]


def _checked(listing: Listing, found: pd.DataFrame, terms: Terms, days: CalendarDays) -> _Verdict:
    brought = canonical(listing.ticker, found)
    rows, findings = judge(rows_of(brought.frame), days, Claims(terms.returns_from, terms.has_actions))
    problems = (*brought.problems, *problems_of(listing.ticker, findings))
    if not any(problem.fatal for problem in problems):
        problems += _stale(listing, rows, terms)
    usable = len(rows) >= terms.minimum_sessions
    reason = _reason(problems, len(rows), terms.minimum_sessions)
    stale = _without_its_last(listing, rows, [*findings, *_conflicting(brought.problems)], terms.now)
    return _Verdict(listing.ticker, listing, rows if usable else None, problems, reason, stale)


def _conflicting(problems: tuple[Problem, ...]) -> list[Finding]:
    """The sessions of which the source told several rows, as a finding: none of these came as far as the gate."""
    told = [problem for problem in problems if problem.rule == "conflicting"]
    return [Finding(one.rule, np.array([one.session], "datetime64[s]"), one.found) for one in told]


def _without_its_last(listing: Listing, rows: Rows, findings: list[Finding], now: datetime) -> Stale | None:
    """What is to be said of a ticker whose last rows were put aside; None where its last row is among the bars."""
    if not len(rows):
        return None
    last = rows.session[-1].astype("datetime64[D]")
    after = [one for one in findings if one.rule in PUT_ASIDE and one.sessions[-1].astype("datetime64[D]") > last]
    if not after:
        return None
    worst = max(after, key=lambda one: len(one.sessions))
    reason = f"its rows after {last} were put aside: found {worst.found}, expected {RULES[worst.rule].expected}"
    return Stale(listing.ticker, str(last), age_sessions(listing.calendar, last, now), reason)


def _stale(listing: Listing, rows: Rows, terms: Terms) -> tuple[Problem, ...]:
    """The problem of a last bar that is older than the terms allow; none where they say nothing."""
    if terms.most_age_sessions is None or not len(rows):
        return ()
    last = rows.session[-1].astype("datetime64[D]")
    age = age_sessions(listing.calendar, last, terms.now)
    if age <= terms.most_age_sessions:
        return ()
    found = f"a last bar {age} sessions old, at most {terms.most_age_sessions} are allowed"
    return (problem_of(listing.ticker, "stale_tail", str(last), found),)


def _reason(problems: tuple[Problem, ...], usable: int, minimum: int) -> str:
    """Why the ticker is not forecast: too few sessions, or bars that end before its last; nothing where all is well."""
    fatal = sorted((problem for problem in problems if problem.fatal), key=lambda problem: problem.session)
    if usable >= minimum:
        return f"bars end early: {_story(fatal, problems)}" if fatal else ""
    few = f"{usable} usable sessions, at least {minimum} are needed"
    grave = fatal or [problem for problem in problems if problem.severity is Severity.ROWS]
    return f"{few}: {_story(grave, problems)}" if grave else f"{few}; ask for a longer history"


def _story(grave: list[Problem], problems: tuple[Problem, ...]) -> str:
    """The first grave problem, and how many problems there are beside it."""
    more = len(problems) - 1
    return f"{grave[0]} (and {more} more {'problem' if more == 1 else 'problems'})" if more else str(grave[0])


def _stacked(kept: list[tuple[Listing, Rows]]) -> pd.DataFrame:
    """The rows of all tickers as one bars frame; what was not delivered is filled in."""
    rows = [one for _, one in kept]
    names = pd.Series([listing.ticker for listing, _ in kept], dtype="str")
    columns = {name: _joined([_filled(one, name) for one in rows]) for name in COLUMNS[2:]}
    return pd.DataFrame(
        {
            "ticker": names.repeat([len(one) for one in rows]).array,
            "session": np.concatenate([np.empty(0, "datetime64[s]"), *(one.session for one in rows)]),
            **columns,
        },
        copy=False,
    )


def _filled(rows: Rows, name: str) -> np.ndarray:
    return rows["close" if name == "adj_close" and name not in rows.columns else name]


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *arrays])
