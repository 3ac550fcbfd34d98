"""Exchange sessions: which days a ticker trades, when each day's trading ends, and which days are over."""

import functools
import threading
import warnings
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import TapecastError
from pipeline.market.bars import Listing

Session = date | np.datetime64
Sessions = NDArray[np.datetime64]

EXCHANGES = {
    ".NS": ("XBOM", "INR"),
    ".BO": ("XBOM", "INR"),
    ".L": ("XLON", "GBp"),
    ".DE": ("XETR", "EUR"),
    ".PA": ("XPAR", "EUR"),
    ".TO": ("XTSE", "CAD"),
    ".HK": ("XHKG", "HKD"),
    ".T": ("XTKS", "JPY"),
    ".AX": ("XASX", "AUD"),
}
"""Calendar and quoted currency by a ticker's suffix. London quotes in pence (GBp)."""

DEFAULT_EXCHANGE = ("XNYS", "USD")
QUOTED_IN = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "INR", "KRW", "USDT", "USDC", "BTC", "ETH")
"""What a pair such as BTC-USD may be quoted in; such pairs trade around the clock."""

_ONE_BUILDS = threading.Lock()

EARLIEST = {"XBOM": "1997-01-01", "XTKS": "1997-01-01"}
"""These exchanges' holidays are not recorded further back."""


def listing_of(ticker: str) -> Listing:
    """The listing that the ticker's suffix stands for: calendar and currency of its exchange."""
    base, _, quoted = ticker.upper().rpartition("-")
    if base and quoted in QUOTED_IN:
        return Listing(ticker, "24/7", quoted)
    _, dot, suffix = ticker.upper().rpartition(".")
    return Listing(ticker, *EXCHANGES.get(dot + suffix, DEFAULT_EXCHANGE))


def calendar_of(ticker: str) -> str:
    """The calendar code of the ticker's exchange: XNYS unless the name says otherwise."""
    return listing_of(ticker).calendar


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
            calendar = exchange_calendars.get_calendar(code, start=EARLIEST.get(code, "1990-01-01"))
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise TapecastError(f"no calendar is called {code!r}; expected an exchange_calendars code") from error
    return calendar.sessions.to_numpy("datetime64[D]"), calendar.closes.dt.tz_convert(None).to_numpy("datetime64[s]")
