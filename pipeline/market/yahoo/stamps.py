"""Session dates of Yahoo's daily bars: days on the wall of the exchange, and never of another clock."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from pipeline.errors import SourceUnavailableError

LATEST_START = pd.Timedelta(hours=1)
"""A bar is stamped with the midnight that begins its day, an hour later where the clocks skip that midnight."""

FEWEST_JUDGED = 10
"""Sessions below which the days of the week say nothing."""

WEEK_BEGINS_ON_SUNDAY = ("Africa/Cairo", "Asia/")
"""Zones with exchanges that trade from Sunday to Thursday. A day too early looks the same anywhere else."""

MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6


def wall_dates(index: pd.Index, metadata: Mapping[str, Any], at: datetime) -> pd.DatetimeIndex:
    """The session date per row, tz-naive: what a wall calendar at the exchange showed.

    Raises SourceUnavailableError where the answer contradicts itself about the zone: bars in another zone than the
    exchange's, an offset to UTC that this zone never has, bars off midnight, or a week that is shifted by a day.
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise _shifted(f"rows by {index.dtype}", "rows by day")
    zone = str(metadata.get("exchangeTimezoneName"))
    if index.tz is not None and str(index.tz) != zone:
        raise _shifted(f"bars in the zone {index.tz}", f"the exchange's zone {zone}")
    _refuse_wrong_offset(metadata.get("gmtoffset"), zone, at)
    wall = index.tz_localize(None)
    days = wall.normalize()
    if (wall - days > LATEST_START).any():
        raise _shifted(f"a bar stamped {wall[wall - days > LATEST_START][0]}", "bars stamped with their day's midnight")
    _refuse_shifted_week(days, zone)
    return days


def _refuse_wrong_offset(told_seconds: Any, zone: str, at: datetime) -> None:
    if told_seconds is None:
        return
    known = _offsets_seconds(zone, at)
    if told_seconds not in known:
        offsets = " or ".join(f"{seconds / 3600:+g} h" for seconds in sorted(known))
        raise _shifted(f"a clock {told_seconds / 3600:+g} h from UTC", f"{offsets} as in {zone}")


def _offsets_seconds(zone: str, at: datetime) -> set[float]:
    """The zone's offsets to UTC in the months of that year; summer time is among them."""
    try:
        clock = ZoneInfo(zone)
    except (LookupError, ValueError) as error:
        raise _shifted(f"the zone {zone}", "the name of a time zone") from error
    days = [at, *(at.replace(month=month, day=1) for month in range(1, 13))]
    return {offset.total_seconds() for day in days if (offset := day.astimezone(clock).utcoffset()) is not None}


def _refuse_shifted_week(days: pd.DatetimeIndex, zone: str) -> None:
    traded = set(days.day_of_week)
    early = SUNDAY in traded and FRIDAY not in traded and not zone.startswith(WEEK_BEGINS_ON_SUNDAY)
    late = SATURDAY in traded and MONDAY not in traded
    if len(days) >= FEWEST_JUDGED and (early or late):
        found = "Sundays and no Friday" if early else "Saturdays and no Monday"
        raise _shifted(f"bars on {found} in {zone}", "days on which people trade there")


def _shifted(found: str, expected: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"Yahoo's days cannot be trusted: found {found}, expected {expected}; try again later, or update yfinance"
    )
