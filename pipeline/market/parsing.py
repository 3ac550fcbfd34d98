"""Parsing of what vendors write: column names, session dates and numbers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Sessions

SPELLINGS = {
    "symbol": "ticker",
    "date": "session",
    "datetime": "session",
    "adjclose": "adj_close",
    "adjusted_close": "adj_close",
    "dividends": "dividend",
    "splits": "split",
    "stock_split": "split",
    "stock_splits": "split",
}
"""Columns of a bars frame by the names that vendors give them."""

REQUIRED_COLUMNS = ("session", "open", "high", "low", "close", "volume")


def bars_column(name: object) -> str:
    """Return the bars frame's name of a column as a vendor spells it; an unknown one in lower case."""
    plain = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    return SPELLINGS.get(plain, plain)


def with_bars_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame under the bars frame's column names."""
    return frame.rename(columns=bars_column)


def missing_columns(names: Iterable[object], required: Iterable[str]) -> list[str]:
    """Return the required columns that none of the names, in any spelling, stands for."""
    present = {bars_column(name) for name in names}
    return [name for name in required if name not in present]


def ambiguous_columns(names: Iterable[object]) -> list[str]:
    """Return the columns that more than one of the names stands for."""
    return [name for name, count in Counter(bars_column(name) for name in names).items() if count > 1]


_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_ZONE = r"(?:(?P<utc>Z|UTC)|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))"
_WRITTEN = rf"^\s*(?P<day>{_DAY})(?:{_CLOCK}\s*{_ZONE}?)?\s*$"


@dataclass(frozen=True, eq=False)
class SessionDates:
    """Per row the local date (NaT where it cannot be read) and the offset to UTC in minutes (NaN where none)."""

    day: Sessions
    offset: Floats


def session_dates(column: pd.Series) -> SessionDates:
    """Return the rows' dates, from timestamps or from ISO text such as 2024-01-02 or 2024-01-02T00:00:00-05:00."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return _aware(column)
    if column.dtype.kind == "M":
        return _naive(column)
    text = column.fillna("") if column.dtype == "str" else column.astype(object).where(column.notna(), "").astype("str")
    # both ways read each row alike and by itself; the first one is faster
    return _naive(_parsed(text)) if text.str.fullmatch(_DAY).all() else _written(text)


def _naive(stamps: pd.Series) -> SessionDates:
    return SessionDates(_days(stamps), np.full(len(stamps), np.nan))


def _aware(stamps: pd.Series) -> SessionDates:
    wall = stamps.dt.tz_localize(None)
    offset = wall - stamps.dt.tz_convert("UTC").dt.tz_localize(None)
    return SessionDates(_days(wall), np.asarray(offset / pd.Timedelta(minutes=1), np.float64))


def _written(text: pd.Series) -> SessionDates:
    parts = text.str.extract(_WRITTEN)
    sign = np.where(parts["sign"] == "-", -1.0, 1.0)
    minutes = sign * (60.0 * parts["hours"].astype(np.float64) + parts["minutes"].astype(np.float64))
    offset = np.where(parts["utc"].notna(), 0.0, minutes)
    return SessionDates(_days(_parsed(parts["day"])), offset)


def _parsed(text: pd.Series) -> pd.Series:
    return pd.to_datetime(text, format="%Y-%m-%d", errors="coerce")


def _days(stamps: pd.Series) -> Sessions:
    return stamps.to_numpy().astype("datetime64[D]")


def parsed_numbers(column: pd.Series) -> Floats:
    """Return the column as numbers [row], NaN for a cell that holds none; each cell is read by itself."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.array([_number(cell) for cell in column.astype(object)], np.float64)


def _number(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, str | Real | Decimal) or "_" in str(cell):
        return np.nan
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return np.nan


def cell_text(cell: object) -> str:
    """Return a cell as ASCII text, cut to 40 characters."""
    shown = ascii(cell) if isinstance(cell, str) else ascii(str(cell))[1:-1]
    return shown if len(shown) <= 40 else shown[:40] + "..."
