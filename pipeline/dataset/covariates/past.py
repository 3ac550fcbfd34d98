"""Past-only covariates: series whose values are known some time after their dates, joined by closing instant."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Sessions
from pipeline.dataset.panel import Panel
from pipeline.errors import UsageError
from pipeline.market.calendars import closing_instants

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class PastCovariate:
    """Values with the UTC instants from which they may be used; nothing of them is known before."""

    name: str
    known_from: Sessions  # [value] datetime64[s], ascending
    values: Floats  # [value], finite
    changes: bool  # whether what is read is the change since the panel's former session, or the level
    most_age_days: float  # how long a value is held
    told_by: str  # where it comes from, for messages


def past_values(covariate: PastCovariate, panel: Panel) -> Floats:
    """Return what a series says at the close of each session of the panel [session].

    That is the last value that could be used by then (at the very second counts), or its change since the former
    session's close. NaN before the first one and at days the panel's calendar does not have. Raises UsageError at the
    first session where the last value is older than it may be.
    """
    closes = closing_instants(panel.calendar, panel.sessions)
    dated = ~np.isnat(closes)
    values = _last_known(covariate, closes[dated])
    result = np.full(len(closes), np.nan)
    result[dated] = np.diff(values, prepend=np.nan) if covariate.changes else values
    return result


def _last_known(covariate: PastCovariate, closes: Sessions) -> Floats:
    place = np.searchsorted(covariate.known_from, closes, side="right") - 1
    known = place >= 0
    age_seconds = (closes[known] - covariate.known_from[place[known]]).astype(np.int64)
    too_old = age_seconds > covariate.most_age_days * DAY_SECONDS
    if too_old.any():
        first = int(np.argmax(too_old))
        raise UsageError(_too_old(covariate, closes[known][first], int(place[known][first])))
    values = np.full(len(closes), np.nan)
    values[known] = covariate.values[place[known]]
    return values


def _too_old(covariate: PastCovariate, close: np.datetime64, place: int) -> str:
    last = place == len(covariate.values) - 1
    remedy = "bring it up to date" if last else "fill the gap"
    return (
        f"{covariate.name} from {covariate.told_by}: at the close of {close} UTC its last value was known since "
        f"{covariate.known_from[place]}, expected at most {covariate.most_age_days:g} days; {remedy}, or let values be "
        "held for longer (most_age_days)"
    )
