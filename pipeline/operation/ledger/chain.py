"""The canonical binary form of an issue, and the digest that chains it to the issue before."""

import hashlib
import itertools
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from pipeline.operation.ledger.issues import FLOATS, Provenance
from pipeline.operation.model import BacktestReference

FIRST = bytes(32)
"""The digest before the first issue of a model name."""
_FORMAT = b"tapecast ledger 1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = np.dtype([("target_session", ">i4"), ("floats", ">f8", len(FLOATS)), ("published", "u1")])


def digest_of(previous: bytes, sequence: int, provenance: Provenance, issued_at: datetime, rows: pd.DataFrame) -> bytes:
    """Return SHA-256 over the previous digest, an issue's place, where it comes from, and its rows.

    `rows` are in the order and types of `issues.ordered`. Numbers are big-endian: counts and days (since 1970-01-01) as
    int32, instants as int64 microseconds, floats as IEEE 754 doubles; text is UTF-8 after its length in bytes; what may
    be absent has a byte before it that says whether it is there. The form does not depend on the database.
    """
    head = [_FORMAT, previous, struct.pack(">i", sequence), _provenance(provenance), _instant(issued_at)]
    return hashlib.sha256(b"".join([*head, struct.pack(">i", len(rows)), _rows(rows)])).digest()


def microseconds(instant: datetime) -> int:
    """Return an instant as microseconds since 1970-01-01 UTC."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant_of(value: int) -> datetime:
    """Return the instant (UTC) of microseconds since 1970-01-01."""
    return _EPOCH + timedelta(microseconds=value)


def day_number(day: date) -> int:
    """Return a day as days since 1970-01-01."""
    return (day - _EPOCH.date()).days


def day_of(number: int) -> date:
    """Return the day that is so many days after 1970-01-01."""
    return _EPOCH.date() + timedelta(days=number)


def day_numbers(days: "pd.Series[pd.Timestamp]") -> "pd.Series[int]":
    """Return days [row] as days since 1970-01-01 [row, int64]."""
    numbers = days.to_numpy("datetime64[D]").astype(np.int64)
    return pd.Series(numbers, index=days.index)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">i", len(encoded)) + encoded


def _instant(value: datetime) -> bytes:
    return struct.pack(">q", microseconds(value))


def _optional(encoded: bytes | None) -> bytes:
    return b"\0" if encoded is None else b"\1" + encoded


def _backtest(it: BacktestReference) -> bytes:
    return struct.pack(">i", day_number(it.date)) + _text(it.verdict) + _text(it.mlflow_run_id)


def _provenance(it: Provenance) -> bytes:
    parts = [
        _text(it.model),
        struct.pack(">i", it.version),
        _text(it.calendar),
        _text(it.experiment_digest),
        _optional(None if it.calibration_digest is None else _text(it.calibration_digest)),
        _text(it.code_version),
        _text(it.lock_digest),
        _text(it.cpu_capability),
        _optional(None if it.known_at is None else _instant(it.known_at)),
        _text(it.price_basis),
        _optional(None if it.backtest is None else _backtest(it.backtest)),
        _text(it.run_id),
    ]
    return b"".join(parts)


def _rows(rows: pd.DataFrame) -> bytes:
    """Return each row as ticker, as_of, horizon, forecaster, target session, floats, published, status."""
    numbers = np.zeros(len(rows), _NUMBERS)
    numbers["target_session"] = day_numbers(rows["target_session"])
    numbers["floats"] = rows[list(FLOATS)].to_numpy(np.float64)  # [row, float]
    numbers["published"] = rows["published"]
    body, size = numbers.tobytes(), _NUMBERS.itemsize
    bodies = (body[start : start + size] for start in range(0, len(body), size))
    ticker, forecaster, status = (_texts(rows[name]) for name in ("ticker", "forecaster", "status"))
    keys = (struct.pack(">ii", *key) for key in zip(day_numbers(rows["as_of"]), rows["horizon"], strict=True))
    return b"".join(itertools.chain.from_iterable(zip(ticker, keys, forecaster, bodies, status, strict=True)))


def _texts(column: "pd.Series[str]") -> Iterator[bytes]:
    encoded = {value: _text(value) for value in column.unique()}
    return (encoded[value] for value in column)
