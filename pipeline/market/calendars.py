"""Exchange sessions: which days a ticker trades, when each day's trading ends, and which days are over."""

import functools
import threading
import warnings
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import TapecastError
from pipeline.market.listings import calendar_of, listing_of
from pipeline.market.special_sessions import amended, special_sessions

__all__ = [
    "age_sessions",
    "calendar_of",
    "closed_at",
    "closing_instants",
    "last_completed_session",
    "listing_of",
    "next_sessions",
    "sessions_between",
    "unknown_sessions",
]

Session = date | np.datetime64
Sessions = NDArray[np.datetime64]

_ONE_BUILDS = threading.Lock()

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


def sessions_between(calendar: str, first: Session, last: Session) -> Sessions:
    """The sessions from first to last, both included, as datetime64[D]."""
    sessions = _sessions(calendar)
    begin, end = sessions.searchsorted(_day(first), "left"), sessions.searchsorted(_day(last), "right")
    return sessions[begin:end]


def next_sessions(calendar: str, after: Session, count: int) -> Sessions:
    """The first `count` sessions later than `after`, as datetime64[D]."""
    sessions = _sessions(calendar)
    begin = sessions.searchsorted(_day(after), "right")
    if begin + count > len(sessions):
        raise TapecastError(
            f"{calendar} is known to {sessions[-1]}, expected {count} sessions after {after} too; "
            "update exchange_calendars"
        )
    return sessions[begin : begin + count]


def last_completed_session(calendar: str, now: datetime) -> np.datetime64:
    """The last session whose trading has ended by `now` (an aware datetime), half days included."""
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
    """The UTC instant at which the session's trading ends, earlier on half days."""
    sessions, day = _sessions(calendar), _day(session)
    at = int(sessions.searchsorted(day))
    if at == len(sessions) or sessions[at] != day:
        raise TapecastError(f"{day} is no session of {calendar}; take one from sessions_between")
    return datetime.fromtimestamp(int(_closes(calendar)[at].astype(np.int64)), tz=UTC)


def closing_instants(calendar: str, sessions: Sessions) -> Sessions:
    """The UTC instants [session, datetime64 s] at which the sessions end, NaT for days the calendar does not have."""
    known, days = _sessions(calendar), sessions.astype("datetime64[D]")
    at = np.minimum(known.searchsorted(days), len(known) - 1)
    return np.where(known[at] == days, _closes(calendar)[at], np.datetime64("NaT", "s"))


def age_sessions(calendar: str, as_of: Session, now: datetime) -> int:
    """How many sessions after `as_of` are completed by `now`: 0 for up-to-date bars."""
    ended = _closes(calendar).searchsorted(_instant(now), "right")
    return max(0, int(ended - _sessions(calendar).searchsorted(_day(as_of), "right")))


def unknown_sessions(calendar: str, sessions: Sessions) -> Sessions:
    """Those of the sessions that the calendar does not have; days outside the calendar's years are not judged."""
    known = _sessions(calendar)
    judged = sessions[(sessions >= known[0]) & (sessions <= known[-1])]
    unknown: Sessions = judged[~np.isin(judged, known)]
    return unknown


def _day(session: Session) -> np.datetime64:
    day: np.datetime64 = np.array([session], "datetime64[D]")[0]
    return day


def _instant(now: datetime) -> np.datetime64:
    # floored to the second: a close at the full second has passed once that second has begun
    return np.datetime64(int(now.astimezone(UTC).timestamp()), "s")


def _sessions(calendar: str) -> Sessions:
    return _known(calendar)[0]


def _closes(calendar: str) -> Sessions:
    return _known(calendar)[1]


def _known(calendar: str) -> tuple[Sessions, Sessions]:
    # One thread at a time: tickers are fetched side by side, and a warning is silenced for the whole process.
    with _ONE_BUILDS:
        return _calendar(calendar)


@functools.cache
def _calendar(code: str) -> tuple[Sessions, Sessions]:
    """Sessions and closing instants (UTC) of a calendar; kept, as building one takes 40 to 80 ms."""
    import exchange_calendars  # noqa: PLC0415  only where it is used: the import takes 60 ms

    try:
        with warnings.catch_warnings():
            # its own business with pandas 4, which pandas reports as if it came from pandas itself
            warnings.simplefilter("ignore", pd.errors.Pandas4Warning)
            calendar = exchange_calendars.get_calendar(code, start=EARLIEST.get(code, FIRST_DAY))
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise TapecastError(f"no calendar is called {code!r}; expected an exchange_calendars code") from error
    sessions = calendar.sessions.to_numpy("datetime64[D]")
    closes = calendar.closes.dt.tz_convert(None).to_numpy("datetime64[s]")
    own = tuple(one for one in special_sessions() if one.calendar == code)
    return amended(sessions, closes, own) if own else (sessions, closes)
