"""Covariates known in advance: values of a day that are known long before it, read at the target sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Sessions
from pipeline.errors import TapecastError, UsageError
from pipeline.market.calendars import foreseen_sessions, unforeseen_closings


@dataclass(frozen=True)
class KnownCovariate:
    """A value per day, known at every earlier instant."""

    name: str
    days: Sessions  # [value] datetime64[D], ascending
    values: Floats  # [value], finite
    told_by: str  # where it comes from, for messages


def ahead_values(known: Sequence[KnownCovariate], calendar: str, sessions: Sessions, horizons: int) -> Floats32:
    """Return the values at the target sessions [session, horizon, known], float32.

    They are the same for every ticker. A session before the calendar's years has none: NaN. Raises UsageError where a
    series has no value for a target session, and TapecastError where the calendar does not reach the last one.
    """
    result = np.full((len(sessions), horizons, len(known)), np.nan, dtype=np.float32)
    if known:
        targets = target_sessions(calendar, sessions, horizons)
        for column, covariate in enumerate(known):
            result[..., column] = _values_at(covariate, calendar, targets)
    return result


def target_sessions(calendar: str, sessions: Sessions, horizons: int) -> Sessions:
    """Return the next sessions after each session [session, horizon] as they were foreseen at it, datetime64[D].

    On 2001-09-10 the next session was to be the 11th: that it came on the 17th nobody knew, and no forecast may. They
    are taken from the exchange's calendar, never from the bars, so that a history that ends says the same as one that
    goes on. NaT where a session lies before the calendar's years.
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


def _values_at(covariate: KnownCovariate, calendar: str, targets: Sessions) -> Floats:
    place = np.searchsorted(covariate.days, targets, side="right") - 1
    asked, begun = ~np.isnat(targets), place >= 0
    # Nobody writes down the day of an unforeseen closing, which was to be a session: the former value stands for it.
    closed = np.isin(targets, unforeseen_closings(calendar))
    there: Booleans = begun & ((covariate.days[place] == targets) | closed)
    if (asked & ~there).any():
        raise UsageError(_missing(covariate, calendar, targets[asked & ~there].min()))
    return np.where(asked, covariate.values[place], np.nan)


def _missing(covariate: KnownCovariate, calendar: str, day: np.datetime64) -> str:
    return (
        f"{covariate.name} from {covariate.told_by}: found no value for {day} (it has {covariate.days[0]} to "
        f"{covariate.days[-1]}), expected one for every session of {calendar} from the bars' second to the last one "
        "forecast; add the missing days, or let the bars begin later"
    )
