"""Pruning: old versions and superseded rows are deleted, and their space is freed."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pipeline.errors import SourceError
from pipeline.market.store.collection import Collection, find_history, path_of, tickers
from pipeline.market.store.columns import taken
from pipeline.market.store.history import History, in_utc
from pipeline.market.store.layout import encoded
from pipeline.market.store.writing import one_writer, write_atomically


@dataclass(frozen=True)
class PruneResult:
    """What was deleted: bytes, versions and superseded rows; and the tickers that could not be pruned, with reasons."""

    freed_bytes: int = 0
    versions: int = 0
    rows: int = 0
    refused: tuple[tuple[str, str], ...] = ()


def prune(collection: Collection, before: datetime) -> PruneResult:
    """Delete everything that is not needed for prices as known at `before` (aware) or later; return what was deleted.

    The version that was current at `before` stays, and so does always the present one.
    """
    in_utc(before)
    results = [_pruned_file(collection, ticker, before) for ticker in tickers(collection)]
    return PruneResult(
        sum(result.freed_bytes for result in results),
        sum(result.versions for result in results),
        sum(result.rows for result in results),
        tuple(refused for result in results for refused in result.refused),
    )


def pruned(history: History, before: datetime) -> History:
    """Return the history from the version on that was current at `before`; the same where nothing can be deleted."""
    in_utc(before)
    kept = tuple(version for version in history.versions if version.known_at > before)
    older = history.versions[: len(history.versions) - len(kept)]
    versions = (*older[-1:], *kept)
    from_ = np.datetime64(in_utc(versions[0].known_at), "us")
    forgotten = history.columns["known_until"] <= from_
    if len(versions) == len(history.versions) and not forgotten.any():
        return history
    return History(taken(history.columns, ~forgotten), versions)


def _pruned_file(collection: Collection, ticker: str, before: datetime) -> PruneResult:
    path = path_of(collection, ticker)
    try:
        with one_writer(path):
            history = find_history(collection, ticker)
            if history is None or (left := pruned(history, before)) is history:
                return PruneResult()
            size_bytes = path.stat().st_size
            write_atomically(path, encoded(ticker, left))
            return PruneResult(
                size_bytes - path.stat().st_size,
                len(history.versions) - len(left.versions),
                len(history.columns["session"]) - len(left.columns["session"]),
            )
    except SourceError as error:
        return PruneResult(refused=((ticker, str(error)),))
