"""Exchange sessions: which days a ticker trades, when each day's trading ends, and which days are over."""

import functools
import threading
import warnings
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

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
    "foreseen_sessions",
    "half_days",
    "last_completed_session",
    "listing_of",
    "next_sessions",
    "sessions_between",
    "unforeseen_closings",
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

CLOSED_UNFORESEEN = ("CMES", "XNYS", "XTSE")
"""Calendars whose holidays outside of any rule were closings that nobody could plan with: attacks, storms, days of
mourning. Elsewhere such holidays were mostly announced long before (jubilees, and all holidays of XBOM and XSHG)."""


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


def unforeseen_closings(calendar: str) -> Sessions:
    """The days, datetime64[D], on which the exchange was closed though nobody had expected it, such as 2001-09-11."""
    return _known(calendar).closings


def foreseen_sessions(calendar: str) -> Sessions:
    """Every session of the calendar as it was foreseen, datetime64[D]: with the days of unforeseen closings."""
    return np.union1d(_sessions(calendar), unforeseen_closings(calendar))


def half_days(calendar: str, sessions: Sessions) -> NDArray[np.bool_]:
    """Whether trading ends early by plan on each of the sessions [session]."""
    return np.isin(sessions.astype("datetime64[D]"), _known(calendar).half_days)


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
    return _known(calendar).sessions


def _closes(calendar: str) -> Sessions:
    return _known(calendar).closes


class _Known(NamedTuple):
    """What is known of a calendar: its days as datetime64[D], closing instants (UTC) as datetime64[s]."""

    sessions: Sessions
    closes: Sessions  # [session]
    half_days: Sessions
    closings: Sessions  # nobody had expected them


def _known(calendar: str) -> _Known:
    # One thread at a time: tickers are fetched side by side, and a warning is silenced for the whole process.
    with _ONE_BUILDS:
        return _calendar(calendar)


@functools.cache
def _calendar(code: str) -> _Known:
    """What is known of a calendar; kept, as building one takes 40 to 80 ms."""
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
    early = calendar.early_closes.to_numpy("datetime64[D]")
    outside_rules = calendar.adhoc_holidays if code in CLOSED_UNFORESEEN else ()
    own = tuple(one for one in special_sessions() if one.calendar == code)
    if own:
        sessions, closes = amended(sessions, closes, own)
    return _Known(sessions, closes, early, _closings(outside_rules, sessions))


def _closings(days: Iterable[Session], sessions: Sessions) -> Sessions:
    """Those of the days that lie within the calendar's years and are no sessions, ascending."""
    plain = np.array(sorted(pd.Timestamp(day).tz_localize(None) for day in days), "datetime64[D]")
    inside = plain[(plain > sessions[0]) & (plain < sessions[-1])]
    return np.setdiff1d(inside, sessions)
