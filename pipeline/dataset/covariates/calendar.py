"""Calendar covariates: what the exchange's calendar tells of a session long before it."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.arrays import Floats, Sessions
from pipeline.dataset.covariates.known import KnownCovariate
from pipeline.dataset.covariates.specification import CalendarCovariate
from pipeline.market.calendars import foreseen_sessions, half_days

WEEK = 7
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday, where Monday is 0

COLUMNS: dict[CalendarCovariate, tuple[str, ...]] = {
    "day_of_week": ("weekday_sin_1", "weekday_cos_1", "weekday_sin_2", "weekday_cos_2"),
    "month_end": ("month_end",),
    "days_since_former": ("days_since_former",),
    "days_to_next": ("days_to_next",),
    "half_day": ("half_day",),
}
"""The columns of each. Two waves over the week tell any function of five weekdays, and a day that was never trained on
(a special session on a Saturday) still lies within the range of the others, which a column per weekday would not do."""


def calendar_columns(names: Sequence[CalendarCovariate]) -> tuple[str, ...]:
    """Return the names of the columns that calendar covariates stand for, in their order."""
    return tuple(column for name in names for column in COLUMNS[name])


def calendar_covariates(names: Sequence[CalendarCovariate], calendar: str) -> tuple[KnownCovariate, ...]:
    """Return the columns of the named covariates, over every session of the calendar that has one on either side.

    Weekdays as two waves of a week, month_end 1 at a month's last session, days_since_former and days_to_next the
    calendar days from the former session and to the next one, half_day 1 where trading ends early by plan. Sessions
    are those foreseen: the days of unforeseen closings are among them.
    """
    if not names:
        return ()
    days = foreseen_sessions(calendar)
    inner = slice(1, -1)  # the first session has no former one, the last no next one
    return tuple(
        KnownCovariate(column, days[inner], values[inner], f"the calendar {calendar}")
        for name in names
        for column, values in zip(COLUMNS[name], _values(name, calendar, days), strict=True)
    )


def _values(name: CalendarCovariate, calendar: str, days: Sessions) -> tuple[Floats, ...]:
    """Return the values of each column of a covariate [session], NaN at the outer sessions where they are not known."""
    match name:
        case "day_of_week":
            turn = 2 * math.pi * _weekdays(days) / WEEK
            return np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)
        case "month_end":
            months = days.astype("datetime64[M]")
            return (np.append(months[1:] != months[:-1], False).astype(np.float64),)
        case "days_since_former":
            return (np.insert(_gaps(days), 0, np.nan),)
        case "days_to_next":
            return (np.append(_gaps(days), np.nan),)
        case "half_day":
            return (half_days(calendar, days).astype(np.float64),)


def _weekdays(days: Sessions) -> Floats:
    return ((days.astype("datetime64[D]").astype(np.int64) + EPOCH_WEEKDAY) % WEEK).astype(np.float64)


def _gaps(days: Sessions) -> Floats:
    return np.diff(days).astype(np.int64).astype(np.float64)
