"""Past covariates: series whose values are known some time after their dates, joined by closing instant."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Sessions
from pipeline.errors import UsageError
from pipeline.market.calendars import closing_instants

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class PastCovariate:
    """Values with the UTC instants from which they may be used; none is known earlier."""

    name: str
    known_from: Sessions  # [value] datetime64[s], ascending
    values: Floats  # [value], finite
    changes: bool  # whether it is read as the change since the calendar's previous session, or as the level
    max_age_days: float  # how long a value may be used
    source_name: str  # where the series comes from, for messages


def past_values(covariate: PastCovariate, calendar: str, sessions: Sessions) -> Floats:
    """Return the value of a series at the close of each session of a calendar [session].

    That is the last value that could be used by then (one from that very second counts), or its change since the
    previous session's close. NaN before the first one and at days that the calendar does not have. Raises UsageError at
    the first session where the last value is older than `max_age_days`.
    """
    closes = closing_instants(calendar, sessions)
    dated = ~np.isnat(closes)
    values = _last_known(covariate, closes[dated])
    result = np.full(len(closes), np.nan)
    result[dated] = np.diff(values, prepend=np.nan) if covariate.changes else values
    return result


def _last_known(covariate: PastCovariate, closes: Sessions) -> Floats:
    place = np.searchsorted(covariate.known_from, closes, side="right") - 1
    known = place >= 0
    age_seconds = (closes[known] - covariate.known_from[place[known]]).astype(np.int64)
    too_old = age_seconds > covariate.max_age_days * DAY_SECONDS
    if too_old.any():
        first = int(np.argmax(too_old))
        raise UsageError(_too_old(covariate, closes[known][first], int(place[known][first])))
    values = np.full(len(closes), np.nan)
    values[known] = covariate.values[place[known]]
    return values


def _too_old(covariate: PastCovariate, close: np.datetime64, place: int) -> str:
    is_last = place == len(covariate.values) - 1
    remedy = "bring it up to date" if is_last else "fill the gap"
    return (
        f"{covariate.name} from {covariate.source_name}: at the close of {close} UTC its last value was known since "
        f"{covariate.known_from[place]}, expected at most {covariate.max_age_days:g} days; {remedy}, or allow older "
        "values (max_age_days)"
    )
