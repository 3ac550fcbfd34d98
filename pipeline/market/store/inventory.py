"""The contents of a collection, as tables."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.store.collection import Collection, facts, path_of, read_history, tickers
from pipeline.market.store.history import Version, as_known, current_rows_of, version_at

INVENTORY_COLUMNS = (
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
class StoredTicker:
    """One stored ticker: its file, the versions up to the requested time, and the rows as known then."""

    ticker: str
    path: Path
    versions: tuple[Version, ...]
    rows: pd.DataFrame


def inventory(collection: Collection) -> pd.DataFrame:
    """Return a row per stored ticker, columns INVENTORY_COLUMNS; `fault` says why a file is unreadable, else empty."""
    rows = [_inventory_row(collection, ticker) for ticker in tickers(collection)]
    return pd.DataFrame(rows, columns=list(INVENTORY_COLUMNS))


def stored_ticker(collection: Collection, ticker: str, at: datetime | None = None) -> StoredTicker:
    """Return the stored ticker, as known at an instant or now; raises SourceError where it is absent or damaged."""
    history = read_history(collection, ticker)
    if at is None:
        return StoredTicker(ticker, path_of(collection, ticker), history.versions, current_rows_of(history.columns))
    last = version_at(history, at)
    known = tuple(version for version in history.versions if version.known_at <= last.known_at)
    return StoredTicker(ticker, path_of(collection, ticker), known, as_known(history, at))


def _inventory_row(collection: Collection, ticker: str) -> tuple[object, ...]:
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
