"""Commits: fetched rows are merged into a history and written as a new version, by one writer per ticker."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import FetchedRows
from pipeline.market.store.collection import Collection, find_history, path_of
from pipeline.market.store.history import History, Version
from pipeline.market.store.layout import DamagedFileError, encoded
from pipeline.market.store.merging import merged, refuse_loss
from pipeline.market.store.writing import LOCK_WAIT_SECONDS, one_writer, sync_folder, write_atomically

WRITERS = 4
WAITING_PER_WRITER = 2


def commit(
    collection: Collection,
    ticker: str,
    fetched: FetchedRows,
    now: datetime | None = None,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Version:
    """Store fetched rows and return the ticker's last version; nothing is written where a later fetch is stored.

    Raises SourceUnavailableError for an answer that cannot be used, and where another process keeps the ticker's
    lock; UsageError where the folder cannot be written; DamagedFileError for a part of a history whose stored file
    is damaged (a fetch of the whole history replaces it, and the damaged file is quarantined).
    """
    path = path_of(collection, ticker)
    with one_writer(path, wait_seconds):
        stored = _stored(collection, ticker, fetched)
        if stored and _overtaken(stored, fetched, now or datetime.now(UTC)):
            return stored.latest
        history = merged(stored, fetched, collection.keeps_adj_close)
        if stored:
            refuse_loss(stored, history)
        write_atomically(path, encoded(ticker, history))
        return history.latest


def commit_all(
    collection: Collection, fetched: Iterable[tuple[str, FetchedRows | SourceError]]
) -> Iterator[tuple[str, Version | SourceError]]:
    """Commit fetched rows and yield each ticker with its last version, or the error, in the order given.

    An error in place of rows is yielded unchanged. Several tickers are written at a time, and few are kept in memory.
    A UsageError ends the iteration: no other ticker could be written either.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[tuple[str, Future[Version | SourceError]]] = deque()
        for ticker, answer in fetched:
            waiting.append((ticker, pool.submit(_committed, collection, ticker, answer)))
            while waiting and (waiting[0][1].done() or len(waiting) > WRITERS * WAITING_PER_WRITER):
                yield _result(waiting)
        while waiting:
            yield _result(waiting)


def quarantine_file(collection: Collection, ticker: str) -> Path | None:
    """Rename the ticker's file if it is damaged and return its new path, else None; nothing is deleted."""
    with one_writer(path_of(collection, ticker)):
        try:
            find_history(collection, ticker)
        except DamagedFileError:
            return _quarantined(path_of(collection, ticker))
    return None


def _committed(collection: Collection, ticker: str, fetched: FetchedRows | SourceError) -> Version | SourceError:
    if isinstance(fetched, SourceError):
        return fetched
    try:
        return commit(collection, ticker, fetched)
    except SourceError as error:
        return error


def _result(
    waiting: deque[tuple[str, Future[Version | SourceError]]],
) -> tuple[str, Version | SourceError]:
    ticker, future = waiting.popleft()
    return ticker, future.result()


def _stored(collection: Collection, ticker: str, fetched: FetchedRows) -> History | None:
    try:
        return find_history(collection, ticker)
    except DamagedFileError:
        if fetched.since is not None:
            raise
        _quarantined(path_of(collection, ticker))
        return None


def _overtaken(stored: History, fetched: FetchedRows, now: datetime) -> bool:
    """Return whether a later fetch is stored; a version from the future does not count: the clock was set back."""
    return fetched.fetched_at < stored.latest.known_at <= now


def _quarantined(path: Path) -> Path:
    """Rename the file so that it no longer matches a ticker's file, nor *.parquet patterns of other tools."""
    quarantined = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        path.replace(quarantined)
        sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"cannot quarantine the damaged {path}: {error}; move it away by hand") from error
    return quarantined
