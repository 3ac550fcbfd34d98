"""The columns of a history as arrays, and the conversion of a source's rows to such columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import PRICES

Columns = Mapping[str, NDArray[Any]]
"""Arrays of one length: session (datetime64[D]), the fields (float64) and, for stored rows, KNOWN (datetime64[us], UTC;
known_until is NaT in a row that is current). They are never changed in place."""

KNOWN = ("known_from", "known_until")
INSTANT = "datetime64[us]"


def fields_of(keep_adj_close: bool) -> tuple[str, ...]:
    """Return the number columns of a collection, in their order in the file."""
    return (*PRICES, "volume", *(("adj_close",) if keep_adj_close else ()), "dividend", "split")


def reported_columns(rows: pd.DataFrame, fields: tuple[str, ...]) -> Columns:
    """Return a source's rows as columns; raises SourceUnavailableError where they are empty or of another shape."""
    lacking = [name for name in ("session", *fields) if name not in rows]
    if lacking or rows.empty:
        found = f"rows without {', '.join(lacking)}" if lacking else "an answer without rows"
        raise SourceUnavailableError(f"found {found}, expected daily rows with {', '.join(fields)}; try again later")
    return {"session": _sessions(rows["session"]), **{name: _numbers(rows[name]) for name in fields}}


def taken(columns: Columns, rows: Booleans | NDArray[np.intp]) -> Columns:
    """Return the columns of some rows."""
    return {name: values[rows] for name, values in columns.items()}


def is_current(columns: Columns) -> Booleans:
    """Return which stored rows [row] are not superseded."""
    return np.isnat(columns["known_until"])


def bar_rows(columns: Columns) -> pd.DataFrame:
    """Return the rows as a frame with the columns of bars: session as tz-naive datetime64[s], all else float64."""
    numbers = {name: values for name, values in columns.items() if name not in ("session", *KNOWN)}
    return pd.DataFrame({"session": columns["session"].astype("datetime64[s]"), **numbers})


def _sessions(column: pd.Series) -> Sessions:
    if column.dtype.kind != "M" or isinstance(column.dtype, pd.DatetimeTZDtype):
        raise SourceUnavailableError(f"found sessions of type {column.dtype}, expected dates without a time zone")
    values = column.to_numpy()
    sessions = values.astype("datetime64[D]")
    if not ((sessions == values).all() and (np.diff(sessions).astype(np.int64) > 0).all()):
        raise SourceUnavailableError("found sessions out of order, repeated or with a time of day, expected each once")
    return sessions


def _numbers(column: pd.Series) -> Floats:
    if column.dtype.kind not in "fiu":
        raise SourceUnavailableError(f"found {column.name} of type {column.dtype}, expected numbers")
    return column.to_numpy(np.float64, na_value=np.nan)
