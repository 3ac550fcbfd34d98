"""Special sessions: days on which an exchange traded, closed or ended otherwise than in exchange_calendars.

They are listed in data/special_sessions.csv: calendar, session, closes_at_utc (empty: no trading on that day), why,
source. A row may be added there; a row for a day that the library has already replaces its closing instant.

The sources of its rows:

- press: the date and the closing time were found in a newspaper's report of the exchanges' circular (2011 on).
- circular: found in a copy of the circular itself.
- list: the closing time as in the calendar of NSE that is kept in the public repository
  rsheftel/pandas_market_calendars (pull requests 479 and 481), gathered there from circulars, the press and observed
  trades. Its weekdays agree with this library's from 2006 on, but for Diwali and for 2013-11-14 and 15. Before 2006
  the hours are mostly observed ones; nothing before 2000 is included.
- circular, hour not found: the day is certain; the closing time is the latest usual one, so that no bar counts as
  complete too early.

Why they are needed: the library's XBOM counts Diwali as a holiday from 2013 on, though an hour is traded then
(Muhurat), lets the earlier ones end at 15:30, and its own rows of special Saturdays are lost under pandas 3.
"""

import csv
import functools
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from pipeline.arrays import Sessions
from pipeline.errors import UsageError

LISTED = Path(__file__).parent / "data" / "special_sessions.csv"
SPECIAL_SESSION_COLUMNS = ("calendar", "session", "closes_at_utc", "why", "source")


@dataclass(frozen=True)
class SpecialSession:
    """One day of one calendar: the UTC instant (naive) at which its trading ended, None where there was none."""

    calendar: str
    session: date
    closes_at_utc: datetime | None
    why: str
    source: str


@functools.cache
def special_sessions(path: Path = LISTED) -> tuple[SpecialSession, ...]:
    """Return the listed sessions in the file's order; raises UsageError, naming the line, where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the special sessions in {path}: {error}; restore the file") from error
    rows = list(enumerate(csv.reader(lines), 1))
    if not rows or tuple(rows[0][1]) != SPECIAL_SESSION_COLUMNS:
        raise UsageError(
            f"found no header {','.join(SPECIAL_SESSION_COLUMNS)} in {path}, expected it on line 1; restore the file"
        )
    return tuple(_special(path, number, row) for number, row in rows[1:] if row)


def amended(sessions: Sessions, closes: Sessions, special: tuple[SpecialSession, ...]) -> tuple[Sessions, Sessions]:
    """Return the sessions [datetime64 D] and closing instants [datetime64 s, UTC] amended by the special ones.

    Special sessions before the first or after the last of the given ones are ignored: the days around them are unknown.
    """
    ends = dict(zip(sessions.tolist(), closes, strict=True))
    for row in special:
        if sessions[0] <= np.datetime64(row.session, "D") <= sessions[-1]:
            ends[row.session] = np.datetime64("NaT" if row.closes_at_utc is None else row.closes_at_utc, "s")
    days = sorted(day for day, end in ends.items() if not np.isnat(end))
    return np.array(days, "datetime64[D]"), np.array([ends[day] for day in days], "datetime64[s]")


def _special(path: Path, number: int, row: list[str]) -> SpecialSession:
    try:
        calendar, session, closes_at, why, source = row
        end = datetime.fromisoformat(closes_at) if closes_at else None
        if end and end.tzinfo:
            raise ValueError("closes_at_utc must be without a time zone: it is UTC")
        return SpecialSession(calendar, date.fromisoformat(session), end, why, source)
    except ValueError as error:
        raise UsageError(
            f"line {number} of {path}: found {','.join(row)!r} ({error}), expected "
            f"{','.join(SPECIAL_SESSION_COLUMNS)} such as XBOM,2024-11-01,2024-11-01T13:30,Muhurat,press"
        ) from error
