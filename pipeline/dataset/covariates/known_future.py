"""Known-future covariates: values of a day that are known long before it, read at the target sessions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Sessions
from pipeline.dataset.covariates.specification import CalendarCovariate
from pipeline.errors import TapecastError, UsageError
from pipeline.market.calendars import foreseen_sessions, half_days, unforeseen_closings


@dataclass(frozen=True)
class KnownFutureCovariate:
    """A value per day, known long before that day."""

    name: str
    days: Sessions  # [value] datetime64[D], ascending
    values: Floats  # [value], finite
    source_name: str  # where the series comes from, for messages


def known_future_values(
    covariates: Sequence[KnownFutureCovariate], calendar: str, sessions: Sessions, horizons: int
) -> Floats32:
    """Return the values at the target sessions [session, horizon, covariate], float32.

    They are the same for every ticker. NaN where a session lies before the calendar's first year. Raises UsageError
    where a series has no value for a target session, and TapecastError where the calendar does not reach the last one.
    """
    result = np.full((len(sessions), horizons, len(covariates)), np.nan, dtype=np.float32)
    if covariates:
        targets = target_sessions(calendar, sessions, horizons)
        for column, covariate in enumerate(covariates):
            result[..., column] = _values_at(covariate, calendar, targets)
    return result


def target_sessions(calendar: str, sessions: Sessions, horizons: int) -> Sessions:
    """Return the next sessions after each session [session, horizon] as they were expected then, datetime64[D].

    On 2001-09-10 the next session was expected on the 11th. That it would take place on the 17th was unknown, so no
    forecast may use it. The sessions are taken from the exchange's calendar, never from the bars, so that they do not
    depend on where a history ends. NaT where a session lies before the calendar's first year.
    """
    foreseen = foreseen_sessions(calendar)
    first = np.searchsorted(foreseen, sessions, side="right")
    if first.max() + horizons >= len(foreseen):
        raise TapecastError(
            f"{calendar} is known to {foreseen[-1]}, expected {horizons} sessions and one more after {sessions[-1]}; "
            "update exchange_calendars"
        )
    targets: Sessions = foreseen[first[:, None] + np.arange(horizons)]
    targets[sessions < foreseen[0]] = np.datetime64("NaT")
    return targets


def _values_at(covariate: KnownFutureCovariate, calendar: str, targets: Sessions) -> Floats:
    place = np.searchsorted(covariate.days, targets, side="right") - 1
    dated = ~np.isnat(targets)
    # A file has no value for the day of an unforeseen closing, which was expected to be a session: the previous value
    # is used for it.
    closed = np.isin(targets, unforeseen_closings(calendar))
    known: Booleans = (place >= 0) & ((covariate.days[place] == targets) | closed)
    if (dated & ~known).any():
        raise UsageError(_missing(covariate, calendar, targets[dated & ~known].min()))
    return np.where(dated, covariate.values[place], np.nan)


def _missing(covariate: KnownFutureCovariate, calendar: str, day: np.datetime64) -> str:
    return (
        f"{covariate.name} from {covariate.source_name}: found no value for {day} (it has {covariate.days[0]} to "
        f"{covariate.days[-1]}), expected one for every session of {calendar} from the second one of the bars to the "
        "last one forecast; add the missing days, or start the bars later"
    )


# --- The exchange's calendar ---

WEEK_DAYS = 7
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday, where Monday is 0

CALENDAR_COLUMNS: dict[CalendarCovariate, tuple[str, ...]] = {
    "day_of_week": ("weekday_sin_1", "weekday_cos_1", "weekday_sin_2", "weekday_cos_2"),
    "month_end": ("month_end",),
    "days_since_previous": ("days_since_previous",),
    "days_to_next": ("days_to_next",),
    "half_day": ("half_day",),
}
"""The columns of each calendar covariate. Two waves over the week express any function of five weekdays, and keep a day
that was never trained on (a special session on a Saturday) within the range of the others, unlike a column per
weekday."""


def calendar_columns(names: Sequence[CalendarCovariate]) -> tuple[str, ...]:
    """Return the names of the columns of these calendar covariates, in their order."""
    return tuple(column for name in names for column in CALENDAR_COLUMNS[name])


def calendar_covariates(names: Sequence[CalendarCovariate], calendar: str) -> tuple[KnownFutureCovariate, ...]:
    """Return the columns of the named covariates, over every session of the calendar but the first and the last.

    Weekdays as two waves over the week; month_end 1 at a month's last session; days_since_previous and days_to_next the
    calendar days from the previous session and to the next one; half_day 1 where trading ends early as scheduled.
    Sessions are those foreseen, including the days of unforeseen closings.
    """
    if not names:
        return ()
    days = foreseen_sessions(calendar)
    inner = slice(1, -1)  # the first session has no previous one, the last no next one
    return tuple(
        KnownFutureCovariate(column, days[inner], values[inner], f"the calendar {calendar}")
        for name in names
        for column, values in zip(CALENDAR_COLUMNS[name], _values(name, calendar, days), strict=True)
    )


def _values(name: CalendarCovariate, calendar: str, days: Sessions) -> tuple[Floats, ...]:
    """Return the values of each column of a covariate [session], NaN at the first and last session where unknown."""
    match name:
        case "day_of_week":
            turn = 2 * math.pi * _weekdays(days) / WEEK_DAYS
            return np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)
        case "month_end":
            months = days.astype("datetime64[M]")
            return (np.append(months[1:] != months[:-1], False).astype(np.float64),)
        case "days_since_previous":
            return (np.insert(_gaps(days), 0, np.nan),)
        case "days_to_next":
            return (np.append(_gaps(days), np.nan),)
        case "half_day":
            return (half_days(calendar, days).astype(np.float64),)


def _weekdays(days: Sessions) -> Floats:
    return ((days.astype("datetime64[D]").astype(np.int64) + EPOCH_WEEKDAY) % WEEK_DAYS).astype(np.float64)


def _gaps(days: Sessions) -> Floats:
    return np.diff(days).astype(np.int64).astype(np.float64)
