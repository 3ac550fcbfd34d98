"""What is issued: forecasts with where they come from, checked and in one order; needs no database."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.errors import LedgerError
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.model import BacktestReference

ON_TIME, LATE, STALE = "on time", "late", "stale"
STATUSES = (ON_TIME, LATE, STALE)
"""How a row was issued; the database has the place in this tuple, so that new words may only be added at the end."""
KEY = ("ticker", "as_of", "horizon", "forecaster")
"""What names a row under one model name."""
FLOATS = ("reference_close", *QUANTILE_COLUMNS)
VALUES = ("target_session", *FLOATS, "published")
"""What a row says: it is never issued again with another value."""
COLUMNS = (*KEY, *VALUES, "status")

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Provenance:
    """Where the rows of an issue come from.

    `model` is the model's name and `version` its number; `calibration_digest` that of the state of combination
    and calibration, `known_at` None where the prices are not from the store, `backtest` None where no backtest was
    made. Raises LedgerError for values that cannot be issued.
    """

    model: str
    version: int
    calendar: str
    experiment_digest: str
    calibration_digest: str | None
    code_version: str
    lock_digest: str
    cpu_capability: str
    known_at: datetime | None
    price_basis: str
    backtest: BacktestReference | None
    run_id: str

    def __post_init__(self) -> None:
        if not _MODEL_NAME.fullmatch(self.model):
            raise LedgerError(
                f"found the model name {self.model!r}, expected at most 64 letters, digits, '_', '.' and '-'"
            )
        if self.version < 1:
            raise LedgerError(f"found version {self.version} of model {self.model}, expected 1 or more")
        empty = [field.name for field in fields(self) if getattr(self, field.name) == ""]
        if empty:
            raise LedgerError(f"found an empty {empty[0]} for model {self.model}, expected a value")
        if self.known_at is not None:
            object.__setattr__(self, "known_at", in_utc(self.known_at, "known_at"))


SAME_IN_THE_LEDGER = tuple(
    field.name for field in fields(Provenance) if field.name not in ("model", "known_at", "backtest")
)
"""The fields that an entry of the database has under the same name and as they are."""


@dataclass(frozen=True)
class Issue:
    """The rows that one run issues for one model name and calendar at one instant.

    `rows` has COLUMNS, with the quantiles q05 ... q95 as log returns from `reference_close` (so that the float32 that
    the forecaster gave is kept: a price quantile is reference_close exp(q)); they are put in the order of KEY. Raises
    LedgerError for rows that cannot be issued.
    """

    provenance: Provenance
    issued_at: datetime
    rows: pd.DataFrame

    def __post_init__(self) -> None:
        object.__setattr__(self, "issued_at", in_utc(self.issued_at, "issued_at"))
        rows = ordered(self.rows)
        _refuse_bad_rows(rows)
        object.__setattr__(self, "rows", rows)


def in_utc(instant: datetime, name: str) -> datetime:
    """Return an instant in UTC; raises LedgerError where it has no time zone."""
    if instant.tzinfo is None:
        raise LedgerError(f"found {name} {instant} without a time zone, expected an instant in UTC")
    return instant.astimezone(UTC)


def ordered(rows: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return the columns of a row with their types, and `more` as they are, in the order of KEY (text by code points).

    Raises LedgerError for a column that is missing or has another type.
    """
    rows = rows.reset_index(drop=True)
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise LedgerError(f"found forecasts without the column {missing[0]}, expected {', '.join(COLUMNS)}")
    try:
        typed = pd.DataFrame({name: _typed(name, rows[name]) for name in COLUMNS}).join(rows[list(more)])
    except (TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"found forecasts that cannot be issued: {error}") from error
    return typed.sort_values(list(KEY), kind="stable", ignore_index=True)


def _typed(name: str, column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column with its type; minus zero, which not every database keeps, becomes zero."""
    if column.isna().any() and name not in FLOATS:
        raise ValueError(f"{name} has a missing value")
    if name in ("as_of", "target_session"):
        return column.astype("datetime64[s]").dt.normalize()
    if name in FLOATS:
        return column.astype(np.float64) + 0.0
    types = {"horizon": np.int64, "published": np.bool_}
    return column.astype(types[name]) if name in types else column.astype("str")


def log_quantiles(rows: pd.DataFrame) -> Floats:
    """Return the quantiles [row, level] as log returns."""
    return rows[list(QUANTILE_COLUMNS)].to_numpy(np.float64)


def _refuse_bad_rows(rows: pd.DataFrame) -> None:
    """Raise LedgerError naming the first row that cannot be issued, and why."""
    if rows.empty:
        raise LedgerError("found an issue without a row, expected one or more")
    quantiles, close = log_quantiles(rows), rows["reference_close"].to_numpy()
    published = rows[rows["published"]]
    wrong = {
        "a reference close above zero": ~(np.isfinite(close) & (close > 0)),
        "finite quantiles": ~np.isfinite(quantiles).all(axis=1),
        "quantiles that do not cross": (np.diff(quantiles, axis=1) < 0).any(axis=1),
        "a horizon of 1 or more": rows["horizon"].to_numpy() < 1,
        "a target session after as_of": (rows["target_session"] <= rows["as_of"]).to_numpy(),
        f"one of the states {', '.join(STATUSES)}": ~rows["status"].isin(STATUSES).to_numpy(),
        "a ticker and a forecaster": ((rows["ticker"] == "") | (rows["forecaster"] == "")).to_numpy(),
        "each row once": rows.duplicated(list(KEY)).to_numpy(),
        "one published forecaster": rows.index.isin(published.index[published.duplicated(list(KEY[:3]))]),
    }
    for expected, where in wrong.items():
        if where.any():
            row = rows[where].iloc[0]
            found = ", ".join(f"{name} {row[name]}" for name in ("target_session", *FLOATS, "status"))
            raise LedgerError(f"cannot issue {described(row)}: found {found}, expected {expected}")


def described(row: "pd.Series[Any]") -> str:
    """Return the key of a row in words."""
    return f"{row['ticker']} as of {row['as_of']:%Y-%m-%d}, horizon {row['horizon']}, {row['forecaster']}"
