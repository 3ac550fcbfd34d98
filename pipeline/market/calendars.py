"""Exchange calendars: sessions, the instants at which they close, and which of them are completed."""

import functools
import threading
import warnings
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Sessions
from pipeline.errors import TapecastError
from pipeline.market.listings import calendar_of, listing_of
from pipeline.market.special_sessions import amended, special_sessions

__all__ = [
    "age_sessions",
    "calendar_of",
    "closed_at",
    "closing_instants",
    "foreseen_sessions",
    "half_days",
    "last_completed_session",
    "listing_of",
    "next_sessions",
    "opened_at",
    "sessions_between",
    "unforeseen_closings",
    "unknown_sessions",
]

Session = date | np.datetime64
UNLISTED_HOURS = timedelta(hours=7)
_BUILD_LOCK = threading.Lock()

FIRST_DAY = "1990-01-01"
EARLIEST = {
    "XBOM": "1997-01-01",
    "XKRX": "1998-12-07",
    "XSAU": "2021-01-01",
    "XSHG": "1991-01-01",
    "XTAE": "2026-01-05",
    "XTKS": "1997-01-01",
}
"""Where a calendar begins later than FIRST_DAY: its holidays are not recorded further back, or (XKRX, XTAE) the
exchange had another working week before, which exchange_calendars loses under pandas 3."""

CLOSED_UNFORESEEN = ("CMES", "XNYS", "XTSE")
"""Calendars whose holidays outside any rule were unforeseen closings: attacks, storms, days of mourning. Elsewhere such
holidays were mostly announced long before (jubilees, and all holidays of XBOM and XSHG)."""


def sessions_between(calendar: str, first: Session, last: Session) -> Sessions:
    """Return the sessions from first to last, both included, as datetime64[D]."""
    sessions = _sessions(calendar)
    begin, end = sessions.searchsorted(_day(first), "left"), sessions.searchsorted(_day(last), "right")
    return sessions[begin:end]


def next_sessions(calendar: str, after: Session, count: int) -> Sessions:
    """Return the first `count` sessions later than `after`, as datetime64[D]."""
    sessions = _sessions(calendar)
    begin = sessions.searchsorted(_day(after), "right")
    if begin + count > len(sessions):
        raise TapecastError(
            f"{calendar} is known to {sessions[-1]}, expected {count} sessions after {after} too; "
            "update exchange_calendars"
        )
    return sessions[begin : begin + count]


def last_completed_session(calendar: str, now: datetime) -> np.datetime64:
    """Return the last session whose trading has ended by `now` (an aware datetime), half days included."""
    sessions = _sessions(calendar)
    ended = int(_closes(calendar).searchsorted(_instant(now), "right"))
    if not 0 < ended < len(sessions):
        raise TapecastError(
            f"{calendar} is known from {sessions[0]} to {sessions[-1]}, expected a time in between, found {now}; "
            "for a later time update exchange_calendars"
        )
    last: np.datetime64 = sessions[ended - 1]
    return last


def closed_at(calendar: str, session: Session) -> datetime:
    """Return the UTC instant at which the session's trading ends, earlier on half days."""
    sessions, day = _sessions(calendar), _day(session)
    at = int(sessions.searchsorted(day))
    if at == len(sessions) or sessions[at] != day:
        raise TapecastError(f"{day} is no session of {calendar}; take one from sessions_between")
    return datetime.fromtimestamp(int(_closes(calendar)[at].astype(np.int64)), tz=UTC)


def opened_at(calendar: str, session: Session) -> datetime:
    """Return the UTC instant at which the session's trading begins.

    That of a special session is not listed: it is taken to be seven hours before the close, so that nothing counts as
    known before it.
    """
    sessions, day = _sessions(calendar), _day(session)
    close = closed_at(calendar, session)
    opens = _known(calendar).opens[int(sessions.searchsorted(day))]
    return close - UNLISTED_HOURS if np.isnat(opens) else datetime.fromtimestamp(int(opens.astype(np.int64)), tz=UTC)


def closing_instants(calendar: str, sessions: Sessions) -> Sessions:
    """Return the UTC instants [session, datetime64 s] at which the sessions end, NaT for days that are no sessions."""
    known, days = _sessions(calendar), sessions.astype("datetime64[D]")
    at = np.minimum(known.searchsorted(days), len(known) - 1)
    return np.where(known[at] == days, _closes(calendar)[at], np.datetime64("NaT", "s"))


def unforeseen_closings(calendar: str) -> Sessions:
    """Return the days, datetime64[D], on which the exchange was unexpectedly closed, such as 2001-09-11."""
    return _known(calendar).closings


def foreseen_sessions(calendar: str) -> Sessions:
    """Return all sessions that were foreseen, datetime64[D]: the calendar's with the days of unforeseen closings."""
    return np.union1d(_sessions(calendar), unforeseen_closings(calendar))


def half_days(calendar: str, sessions: Sessions) -> Booleans:
    """Return whether trading ends early by plan on each of the sessions [session]."""
    return np.isin(sessions.astype("datetime64[D]"), _known(calendar).half_days)


def age_sessions(calendar: str, as_of: Session, now: datetime) -> int:
    """Return the number of sessions after `as_of` that are completed by `now`: 0 for up-to-date bars."""
    ended = _closes(calendar).searchsorted(_instant(now), "right")
    return max(0, int(ended - _sessions(calendar).searchsorted(_day(as_of), "right")))


def unknown_sessions(calendar: str, sessions: Sessions) -> Sessions:
    """Return the days that are no sessions of the calendar; days outside its years are not checked."""
    known = _sessions(calendar)
    checked = sessions[(sessions >= known[0]) & (sessions <= known[-1])]
    unknown: Sessions = checked[~np.isin(checked, known)]
    return unknown


def _day(session: Session) -> np.datetime64:
    day: np.datetime64 = np.array([session], "datetime64[D]")[0]
    return day


def _instant(now: datetime) -> np.datetime64:
    # floored to the second: a close at the full second has passed once that second has begun
    return np.datetime64(int(now.astimezone(UTC).timestamp()), "s")


def _sessions(calendar: str) -> Sessions:
    return _known(calendar).sessions


def _closes(calendar: str) -> Sessions:
    return _known(calendar).closes


class _Calendar(NamedTuple):
    """A calendar's days as datetime64[D], and its opening and closing instants (UTC) as datetime64[s]."""

    sessions: Sessions
    opens: Sessions  # [session], NaT where it is not listed
    closes: Sessions  # [session]
    half_days: Sessions
    closings: Sessions  # unforeseen


def _known(calendar: str) -> _Calendar:
    # One thread at a time: tickers are fetched concurrently, and a warning is silenced for the whole process.
    with _BUILD_LOCK:
        return _calendar(calendar)


@functools.cache
def _calendar(code: str) -> _Calendar:
    """Return the calendar; cached, as building one takes 40 to 80 ms."""
    import exchange_calendars  # noqa: PLC0415  the import takes 60 ms

    try:
        with warnings.catch_warnings():
            # raised by exchange_calendars, but attributed to pandas
            warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
            calendar = exchange_calendars.get_calendar(code, start=EARLIEST.get(code, FIRST_DAY))
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise TapecastError(f"no calendar is called {code!r}; expected an exchange_calendars code") from error
    sessions = calendar.sessions.to_numpy("datetime64[D]")
    opens = calendar.opens.dt.tz_convert(None).to_numpy("datetime64[s]")
    closes = calendar.closes.dt.tz_convert(None).to_numpy("datetime64[s]")
    early = calendar.early_closes.to_numpy("datetime64[D]")
    outside_rules = calendar.adhoc_holidays if code in CLOSED_UNFORESEEN else ()
    special = tuple(row for row in special_sessions() if row.calendar == code)
    if special:
        listed = sessions
        sessions, closes = amended(sessions, closes, special)
        opens = _opens_listed(listed, opens, sessions, [row.session for row in special])
    return _Calendar(sessions, opens, closes, early, _closings(outside_rules, sessions))


def _opens_listed(listed: Sessions, opens: Sessions, sessions: Sessions, special: Iterable[date]) -> Sessions:
    """Return the opening instants of sessions, NaT of special ones and of those that are not among the listed."""
    at = np.minimum(listed.searchsorted(sessions), len(listed) - 1)
    known = (listed[at] == sessions) & ~np.isin(sessions, np.array(list(special), "datetime64[D]"))
    return np.where(known, opens[at], np.datetime64("NaT", "s"))


def _closings(days: Iterable[Session], sessions: Sessions) -> Sessions:
    """Return the days that lie within the calendar's years and are no sessions, ascending."""
    plain = np.array(sorted(pd.Timestamp(day).tz_localize(None) for day in days), "datetime64[D]")
    inside = plain[(plain > sessions[0]) & (plain < sessions[-1])]
    return np.setdiff1d(inside, sessions)
