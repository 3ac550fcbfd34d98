"""Session dates as sources write them: the local day of each row, and how its clock stands to UTC."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_ZONE = r"(?:(?P<utc>Z|UTC)|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))"
_WRITTEN = rf"^\s*(?P<day>{_DAY})(?:{_CLOCK}\s*{_ZONE}?)?\s*$"


@dataclass(frozen=True, eq=False)
class SessionDates:
    """Per row the local wall date (NaT where none can be read) and the offset to UTC in minutes (NaN where none)."""

    day: NDArray[np.datetime64]
    offset: NDArray[np.float64]


def session_dates(column: pd.Series) -> SessionDates:
    """The rows' dates, from real timestamps or from ISO text such as 2024-01-02 or 2024-01-02T00:00:00-05:00."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _aware(column)
    if column.dtype.kind == "M":
        return _naive(column)
    text = column.fillna("") if column.dtype == "str" else column.astype(object).where(column.notna(), "").astype("str")
    # the quick way reads the same of each row as the slow one: no row has a say in how another is read
    return _naive(_parsed(text)) if text.str.fullmatch(_DAY).all() else _written(text)


def _naive(stamps: pd.Series) -> SessionDates:
    return SessionDates(_days(stamps), np.full(len(stamps), np.nan))


def _aware(stamps: pd.Series) -> SessionDates:
    wall = stamps.dt.tz_localize(None)
    ahead = wall - stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    return SessionDates(_days(wall), np.asarray(ahead / pd.Timedelta(minutes=1), np.float64))


def _written(text: pd.Series) -> SessionDates:
    parts = text.str.extract(_WRITTEN)
    sign = np.where(parts["sign"] == "-", -1.0, 1.0)
    ahead = sign * (60.0 * parts["hours"].astype(np.float64) + parts["minutes"].astype(np.float64))
    offset = np.where(parts["utc"].notna(), 0.0, ahead)
    return SessionDates(_days(_parsed(parts["day"])), offset)


def _parsed(text: pd.Series) -> pd.Series:
    return pd.to_datetime(text, format="%Y-%m-%d", errors="coerce")


def _days(stamps: pd.Series) -> NDArray[np.datetime64]:
    return stamps.to_numpy().astype("datetime64[D]")
