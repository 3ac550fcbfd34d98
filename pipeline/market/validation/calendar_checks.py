"""Rows against the calendar of their exchange: unfinished sessions, days without trading, shifted days, gaps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Indices, Sessions
from pipeline.market.calendars import sessions_between
from pipeline.market.validation.rows import CheckedRows, Rows, finding_at, quarantine_rows
from pipeline.market.validation.rules import Finding

RARE = 0.02
"""A day of the week with a smaller share of all sessions is one without trading; its few sessions are special ones."""

SHIFTED_WITHIN_ROWS = 10
"""Two bars on days of the week without trading, within so many rows, are systematic: in a series dated a day off every
week has one."""


@dataclass(frozen=True, eq=False)
class CalendarDays:
    """A calendar's sessions for quick look-up: for each day since the first, the session's number, or -1."""

    calendar: str
    sessions: Sessions
    number: NDArray[np.int32]
    closed_weekday: Booleans
    last_completed: np.datetime64

    @property
    def first_day(self) -> int:
        """The first known session in days since 1970."""
        return int(self.sessions[0].astype(np.int64))


def calendar_days(calendar: str, last_completed: np.datetime64) -> CalendarDays:
    """Return the days of a calendar, as far as it is known."""
    sessions = sessions_between(calendar, np.datetime64("1800-01-01"), np.datetime64("2300-01-01"))
    days = sessions.astype(np.int64)
    number = np.full(days[-1] - days[0] + 1, -1, np.int32)
    number[days - days[0]] = np.arange(len(days), dtype=np.int32)
    closed = np.bincount(days % 7, minlength=7) < RARE * len(days)
    return CalendarDays(calendar, sessions, number, closed, last_completed)


def drop_unfinished(rows: Rows, days: CalendarDays) -> CheckedRows:
    """Return the rows of sessions whose trading has ended."""
    over = int(rows.session.searchsorted(days.last_completed, "right"))
    if over == len(rows):
        return rows, []
    return rows.before(over), [Finding("unfinished", rows.session[over:], "a session that is not over")]


def quarantine_non_sessions(rows: Rows, days: CalendarDays) -> CheckedRows:
    """Return the rows of sessions, up to the session at which the days prove to be shifted."""
    day = _days(rows)
    stray = _stray(day, days)
    if not stray.any():
        return rows, []
    shifted = _shifted(day, stray, days)
    kept, carried = quarantine_rows(rows.before(shifted), stray[:shifted])
    strays = finding_at(rows, "no_session", stray, lambda _: f"a day without trading on {days.calendar}")
    return kept, [*strays, *carried, *_shift(rows, shifted)]


def note_missing_sessions(seen: Sessions, days: CalendarDays) -> list[Finding]:
    """Return the note of the calendar's sessions between the first and the last of those seen that have no row."""
    since = seen.astype("datetime64[D]").astype(np.int64) - days.first_day
    number = days.number[since[since >= 0]]
    number = number[number >= 0]
    if not len(number) or number[-1] - number[0] + 1 == len(number):
        return []
    lacking = days.sessions[np.setdiff1d(np.arange(number[0], number[-1] + 1), number)]
    longest = int(np.diff(number).max()) - 1
    return [Finding("missing_sessions", lacking, f"{len(lacking)} sessions without a bar, at most {longest} in a row")]


def _days(rows: Rows) -> Indices:
    return rows.session.astype("datetime64[D]").astype(np.int64)


def _stray(day: Indices, days: CalendarDays) -> Booleans:
    """Return which days [row] are no sessions; those before the calendar's first are not judged."""
    since = day - days.first_day
    return (since >= 0) & (days.number[np.maximum(since, 0)] < 0)


def _shifted(day: Indices, stray: Booleans, days: CalendarDays) -> int:
    """Return the row at which the strays prove to be systematic; the number of rows where they do not."""
    at = np.flatnonzero(stray & days.closed_weekday[day % 7])
    close = np.flatnonzero(np.diff(at) < SHIFTED_WITHIN_ROWS)
    return int(at[close[0] + 1]) if len(close) else len(day)


def _shift(rows: Rows, shifted: int) -> list[Finding]:
    found = f"a second bar within {SHIFTED_WITHIN_ROWS} rows on a day of the week without trading"
    return [Finding("shifted_days", rows.session[shifted : shifted + 1], found)] if shifted < len(rows) else []
