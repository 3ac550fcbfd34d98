"""The record by session of what was issued: made from the ledger, and kept as a file that can be made again."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.dataset.frames import Frames
from pipeline.evaluation.session_record import (
    RECORD_COLUMNS,
    KnownForecasts,
    record_bytes,
    record_from_bytes,
    session_record,
)
from pipeline.files import write_whole
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.issues import ON_TIME, log_quantiles
from pipeline.operation.ledger.reading import entry_at, first_graded

RECORD = "record"
"""The folder of records within that of a model."""
AT_ONCE = timedelta(days=60)
"""How many days of the ledger are read at once."""


def brought_up_to_date(
    table: pd.DataFrame, ledger: Ledger, model: str, frames: Frames, cuts: Floats, since: date | None
) -> pd.DataFrame:
    """Return a record with its origins from a day on (None: all) made anew from what was issued on time and graded.

    Of the tickers of the frames, which are of one calendar; `cuts` are the bounds of the fifths of relative volatility.
    A session of which another ticker was graded since is another mean: it is made anew whole. Raises LedgerError.
    """
    begin = since or _first_origin(ledger, model)
    if begin is None:
        return table
    parts = [table[table["as_of"] < np.datetime64(begin)]]
    while begin <= frames.sessions[-1].astype("datetime64[D]").item():
        end = begin + AT_ONCE
        rows = first_graded(ledger, model, begin, end - timedelta(days=1))
        rows = rows[(rows["status"] == ON_TIME) & rows["ticker"].isin(frames.tickers)]
        parts += [session_record(known_forecasts_of(rows, frames), cuts)] if len(rows) else []
        begin = end
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else table.iloc[:0]


def _first_origin(ledger: Ledger, model: str) -> date | None:
    first = entry_at(ledger, model, 1)
    return None if first is None else first.first_origin


def known_forecasts_of(rows: pd.DataFrame, frames: Frames) -> KnownForecasts:
    """Return graded rows of the ledger (READ_COLUMNS and `outcome`) as arrays over their origins and tickers."""
    sessions, at = np.unique(rows["as_of"].to_numpy("datetime64[D]"), return_inverse=True)
    row_of = {ticker: row for row, ticker in enumerate(frames.tickers)}
    ticker, h = (np.asarray(it, dtype=np.int64) for it in (rows["ticker"].map(row_of), rows["horizon"] - 1))
    place = (ticker, at.astype(np.int64), h)
    shape = (len(frames.tickers), len(sessions), frames.horizons)
    outcome = np.full(shape, np.nan, dtype=np.float32)
    outcome[place] = rows["outcome"]
    values, forecaster = log_quantiles(rows), rows["forecaster"].to_numpy()
    quantiles = {name: _spread(values, place, forecaster == name, shape) for name in dict.fromkeys(forecaster)}
    published = _spread(values, place, rows["published"].to_numpy(), shape)
    return KnownForecasts(sessions, quantiles, published, outcome, _relative_at(frames, sessions))


def _spread(values: Floats, place: tuple[Indices, ...], where: Booleans, shape: tuple[int, ...]) -> Floats32:
    """Return values [row, level] of some rows at their places [ticker, origin, horizon, level], NaN elsewhere."""
    result = np.full((*shape, values.shape[1]), np.nan, dtype=np.float32)
    result[tuple(index[where] for index in place)] = values[where]
    return result


def _relative_at(frames: Frames, sessions: Sessions) -> Floats32:
    """Return the relative volatility [ticker, origin] at sessions of the frames, NaN at others."""
    at = np.minimum(frames.sessions.searchsorted(sessions), len(frames.sessions) - 1)
    there = frames.sessions[at] == sessions
    return np.where(there, frames.relative_volatility[:, at], np.float32(np.nan))


# --- The file ---


def read_record(model_folder: Path, calendar: str) -> pd.DataFrame | None:
    """Return the stored record of a calendar, None where there is none or it cannot be read: it is made again then."""
    try:
        return record_from_bytes(_path(model_folder, calendar).read_bytes())
    except (OSError, ValueError):
        return None


def write_record(model_folder: Path, calendar: str, table: pd.DataFrame) -> None:
    """Write the record of a calendar; raises UsageError where the folder cannot be written."""
    write_whole(_path(model_folder, calendar), record_bytes(table))


def new_record() -> pd.DataFrame:
    """Return a record without a session."""
    return pd.DataFrame(columns=list(RECORD_COLUMNS)).astype({"as_of": "datetime64[s]"})


def _path(model_folder: Path, calendar: str) -> Path:
    return model_folder / RECORD / f"{calendar.replace('/', '-')}.parquet"
