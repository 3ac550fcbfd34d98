"""What a collection holds, as tables for people."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.store.collection import Collection, facts, path_of, read_history, tickers
from pipeline.market.store.history import Version, as_known, current_rows_of, version_at

HELD = (
    "ticker",
    "sessions",
    "first_session",
    "last_session",
    "currency",
    "versions",
    "fetched_at",
    "size_bytes",
    "fault",
)


@dataclass(frozen=True, eq=False)
class Shown:
    """One stored ticker: its file, the versions up to the time asked for, and the rows as known then."""

    ticker: str
    path: Path
    versions: tuple[Version, ...]
    rows: pd.DataFrame


def inventory(collection: Collection) -> pd.DataFrame:
    """A row per stored ticker, columns HELD; `fault` says why a file cannot be read, empty where it can."""
    rows = [_held(collection, ticker) for ticker in tickers(collection)]
    return pd.DataFrame(rows, columns=list(HELD))


def shown(collection: Collection, ticker: str, at: datetime | None = None) -> Shown:
    """The stored ticker, as known at an instant or now; raises SourceError where it cannot be had."""
    history = read_history(collection, ticker)
    if at is None:
        return Shown(ticker, path_of(collection, ticker), history.versions, current_rows_of(history.columns))
    last = version_at(history, at)
    known = tuple(version for version in history.versions if version.known_at <= last.known_at)
    return Shown(ticker, path_of(collection, ticker), known, as_known(history, at))


def _held(collection: Collection, ticker: str) -> tuple[object, ...]:
    size_bytes = path_of(collection, ticker).stat().st_size
    try:
        known = facts(collection, ticker)
    except SourceError as error:
        return (ticker, 0, None, None, "", 0, None, size_bytes, str(error))
    if known is None:
        return (ticker, 0, None, None, "", 0, None, size_bytes, "its file has just been removed")
    return (
        ticker,
        known.rows,
        known.first_session,
        known.last_session,
        known.currency,
        known.versions,
        known.known_at,
        size_bytes,
        "",
    )
