"""Validation of bars: rows as delivered become validated bars, problems, and the tickers excluded from forecasts.

Validation is causal by session. A bad row is quarantined or repaired, and that is recorded. Where a ticker's rows are
unreliable from some session on, its bars end there and it is not forecast. The rows before stay, as on those days the
fault was not visible.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Sessions
from pipeline.errors import SourceError, TapecastError, UsageError
from pipeline.market.bars import (
    FIELDS,
    Bars,
    CalendarMismatch,
    Exclusion,
    Listing,
    Problem,
    ReturnsFrom,
    Severity,
    Stale,
    ValidatedBars,
)
from pipeline.market.calendars import age_sessions, last_completed_session, listing_of
from pipeline.market.listings import printable, refuse_bad_name
from pipeline.market.sources import Source
from pipeline.market.validation.calendar_checks import CalendarDays, calendar_days
from pipeline.market.validation.calendar_mismatch import calendar_mismatch
from pipeline.market.validation.checks import SourceTraits, check_rows
from pipeline.market.validation.normalisation import normalise
from pipeline.market.validation.rows import Rows, rows_of
from pipeline.market.validation.rules import RULES, Finding, problem_of, problems_of


@dataclass(frozen=True)
class ValidationTerms:
    """What validation needs to know: the source's traits, the time, and how many and how recent rows must be.

    `now` is an aware instant. `max_age_sessions`: a ticker whose last bar is older is not forecast; None where the
    source does not claim to be up to date. `listings` are those that the source names; others follow from the name.
    """

    returns_from: ReturnsFrom
    has_actions: bool
    now: datetime
    minimum_sessions: int
    max_age_sessions: int | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)


NEVER_A_BAR = ("unfinished", "no_session")
QUARANTINING = {rule.name for rule in RULES.values() if rule.severity is Severity.ROWS and rule.name not in NEVER_A_BAR}
"""Rules that quarantine rows which would have been bars."""


def _no_days() -> Sessions:
    return np.empty(0, "datetime64[D]")


@dataclass(frozen=True, eq=False)
class _TickerResult:
    """The result for one ticker; no rows where it has no bars at all.

    `days` are those with prices as delivered, before anything is quarantined.
    """

    ticker: str
    listing: Listing | None = None
    rows: Rows | None = None
    days: Sessions = field(default_factory=_no_days)
    problems: tuple[Problem, ...] = ()
    reason: str = ""
    stale: Stale | None = None


def load_bars(
    source: Source,
    tickers: Iterable[str],
    now: datetime,
    minimum_sessions: int,
    max_age_sessions: int | None = None,
) -> ValidatedBars:
    """Return the validated bars of a source's tickers; without tickers, of all that it has."""
    wanted = tuple(tickers) or source.tickers()
    if not wanted:
        raise UsageError("found no tickers, and this source does not list its own; name the tickers to load")
    terms = terms_for(source, wanted, now, minimum_sessions, max_age_sessions)
    return validate({name: rows_or_error(source, name) for name in wanted}, terms)


def terms_for(
    source: Source, tickers: Iterable[str], now: datetime, minimum_sessions: int, max_age_sessions: int | None = None
) -> ValidationTerms:
    """Return the terms on which a source's rows of the tickers are validated."""
    return ValidationTerms(
        source.returns_from, source.has_actions, now, minimum_sessions, max_age_sessions, source.listings(tickers)
    )


def rows_or_error(source: Source, ticker: str) -> pd.DataFrame | SourceError:
    """Return the ticker's rows as delivered, or as a value the error that says why there are none."""
    try:
        refuse_bad_name(ticker)
        return source.rows(ticker)
    except SourceError as error:
        return error


def validate(delivered: Mapping[str, pd.DataFrame | SourceError], terms: ValidationTerms) -> ValidatedBars:
    """Return the validated bars, of one or several calendars, of the rows delivered per ticker."""
    known: dict[str, CalendarDays] = {}
    results = [_result(name, rows, terms, known) for name, rows in delivered.items()]
    accepted = [(it.listing, it.rows) for it in results if it.listing is not None and it.rows is not None]
    accepted.sort(key=lambda listing_and_rows: listing_and_rows[0].ticker)
    return ValidatedBars(
        Bars(_stacked(accepted), tuple(listing for listing, _ in accepted), terms.returns_from),
        tuple(problem for result in results for problem in result.problems),
        tuple(Exclusion(result.ticker, result.reason) for result in results if result.reason),
        tuple(result.stale for result in results if result.stale and not result.reason),
        tuple(_mismatches(results, known)),
    )


def _mismatches(results: Iterable[_TickerResult], known: Mapping[str, CalendarDays]) -> Iterator[CalendarMismatch]:
    """Yield how the bars of each calendar contradict it, where they do."""
    by_calendar: dict[str, dict[str, Sessions]] = {}
    for result in results:
        if result.listing is not None:
            by_calendar.setdefault(result.listing.calendar, {})[result.ticker] = result.days
    for calendar, days in by_calendar.items():
        found = calendar_mismatch(calendar, days, known[calendar].last_completed)
        if found is not None:
            yield found


def _result(
    ticker: str, delivered: pd.DataFrame | SourceError, terms: ValidationTerms, known: dict[str, CalendarDays]
) -> _TickerResult:
    if isinstance(delivered, SourceError):
        return _TickerResult(printable(ticker), reason=str(delivered))
    try:
        listing = _listing(ticker, terms)
        calendar = _days(listing.calendar, terms.now, known)
    except TapecastError as error:
        return _TickerResult(printable(ticker), reason=str(error))
    return _checked(listing, delivered, terms, calendar)


def _listing(ticker: str, terms: ValidationTerms) -> Listing:
    refuse_bad_name(ticker)
    return terms.listings.get(ticker) or listing_of(ticker)


def _days(calendar: str, now: datetime, known: dict[str, CalendarDays]) -> CalendarDays:
    """Return the calendar's days, looked up once for all its tickers."""
    if calendar not in known:
        known[calendar] = calendar_days(calendar, last_completed_session(calendar, now))
    return known[calendar]


def _checked(
    listing: Listing, delivered: pd.DataFrame, terms: ValidationTerms, calendar: CalendarDays
) -> _TickerResult:
    normalised = normalise(listing.ticker, delivered)
    traits = SourceTraits(terms.returns_from, terms.has_actions)
    rows, findings = check_rows(rows_of(normalised.frame), calendar, traits)
    problems = (*normalised.problems, *problems_of(listing.ticker, findings))
    if not any(problem.fatal for problem in problems):
        problems += _too_old(listing, rows, terms)
    usable = len(rows) >= terms.minimum_sessions
    reason = _reason(problems, len(rows), terms.minimum_sessions)
    stale = _without_its_last(listing, rows, [*findings, *_conflicting(normalised.problems)], terms.now)
    days = _days_with_prices(normalised.frame)
    return _TickerResult(listing.ticker, listing, rows if usable else None, days, problems, reason, stale)


def _days_with_prices(rows: pd.DataFrame) -> Sessions:
    days: Sessions = rows["session"].to_numpy()[~np.isnan(rows["close"].to_numpy())].astype("datetime64[D]")
    return days


def _conflicting(problems: tuple[Problem, ...]) -> list[Finding]:
    """Return as findings the sessions with several different rows, none of which passed normalisation."""
    conflicting = [problem for problem in problems if problem.rule == "conflicting"]
    return [Finding(it.rule, np.array([it.session], "datetime64[s]"), it.found) for it in conflicting]


def _without_its_last(listing: Listing, rows: Rows, findings: list[Finding], now: datetime) -> Stale | None:
    """Return the stale ticker whose last rows were quarantined; None where its last row is among the bars."""
    if not len(rows):
        return None
    last = rows.session[-1].astype("datetime64[D]")
    later = [it for it in findings if it.rule in QUARANTINING and it.sessions[-1].astype("datetime64[D]") > last]
    if not later:
        return None
    largest = max(later, key=lambda finding: len(finding.sessions))
    expected = RULES[largest.rule].expected
    reason = f"its rows after {last} were quarantined: found {largest.found}, expected {expected}"
    return Stale(listing.ticker, str(last), age_sessions(listing.calendar, last, now), reason)


def _too_old(listing: Listing, rows: Rows, terms: ValidationTerms) -> tuple[Problem, ...]:
    """Return the problem of a last bar older than the terms allow; none where they set no limit."""
    if terms.max_age_sessions is None or not len(rows):
        return ()
    last = rows.session[-1].astype("datetime64[D]")
    age = age_sessions(listing.calendar, last, terms.now)
    if age <= terms.max_age_sessions:
        return ()
    found = f"a last bar {age} sessions old, at most {terms.max_age_sessions} are allowed"
    return (problem_of(listing.ticker, "stale_tail", str(last), found),)


def _reason(problems: tuple[Problem, ...], usable: int, minimum: int) -> str:
    """Return why the ticker is not forecast: too few sessions, or bars that end early; an empty text where it is."""
    fatal = sorted((problem for problem in problems if problem.fatal), key=lambda problem: problem.session)
    if usable >= minimum:
        return f"bars end early: {_summary(fatal, problems)}" if fatal else ""
    few = f"{usable} usable sessions, at least {minimum} are needed"
    causes = fatal or [problem for problem in problems if problem.severity is Severity.ROWS]
    return f"{few}: {_summary(causes, problems)}" if causes else f"{few}; ask for a longer history"


def _summary(causes: list[Problem], problems: tuple[Problem, ...]) -> str:
    """Return the first cause, and the number of the other problems."""
    more = len(problems) - 1
    return f"{causes[0]} (and {more} more {'problem' if more == 1 else 'problems'})" if more else str(causes[0])


def _stacked(accepted: list[tuple[Listing, Rows]]) -> pd.DataFrame:
    """Return the rows of all tickers as one bars frame; columns that were not delivered are filled in."""
    tickers = pd.Series([listing.ticker for listing, _ in accepted], dtype="str")
    columns = {name: _joined([_filled(rows, name) for _, rows in accepted]) for name in FIELDS}
    return pd.DataFrame(
        {
            "ticker": tickers.repeat([len(rows) for _, rows in accepted]).array,
            "session": np.concatenate([np.empty(0, "datetime64[s]"), *(rows.session for _, rows in accepted)]),
            **columns,
        },
        copy=False,
    )


def _filled(rows: Rows, name: str) -> Floats:
    return rows["close" if name == "adj_close" and name not in rows.columns else name]


def _joined(arrays: list[Floats]) -> Floats:
    return np.concatenate([np.empty(0), *arrays])
