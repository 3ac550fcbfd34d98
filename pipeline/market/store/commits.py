"""Fetches that become versions: read, merged and written by one writer per ticker."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import SourceError, UsageError
from pipeline.market.fetched import Fetched
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
    fetched: Fetched,
    now: datetime | None = None,
    wait_seconds: float = LOCK_WAIT_SECONDS,
) -> Version:
    """The ticker's last version after the fetch is stored; nothing is written where a later fetch already is.

    Raises SourceUnavailableError for an answer that cannot be used, and where another process keeps the ticker's
    lock; UsageError where the folder cannot be written; DamagedFileError for a part of a history whose stored rest
    is damaged (a fetch of the whole history takes its place, and the damaged file is set aside).
    """
    path = path_of(collection, ticker)
    with one_writer(path, wait_seconds):
        stored = _stored(collection, ticker, fetched)
        if stored and _overtaken(stored, fetched, now or datetime.now(UTC)):
            return stored.head
        history = merged(stored, fetched, collection.keeps_adj_close)
        if stored:
            refuse_loss(stored, history)
        write_atomically(path, encoded(ticker, history))
        return history.head


def commit_all(
    collection: Collection, fetched: Iterable[tuple[str, Fetched | SourceError]]
) -> Iterator[tuple[str, Version | SourceError]]:
    """Each ticker with its last version, or the reason why there is none, in the order given; as commit.

    A ticker that comes with an error goes with it. Several are written at a time, and few are held in memory. A
    UsageError ends it: no other could be written either.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[tuple[str, Future[Version | SourceError]]] = deque()
        for ticker, answer in fetched:
            waiting.append((ticker, pool.submit(_committed, collection, ticker, answer)))
            while waiting and (waiting[0][1].done() or len(waiting) > WRITERS * WAITING_PER_WRITER):
                yield _result(waiting)
        while waiting:
            yield _result(waiting)


def set_aside(collection: Collection, ticker: str) -> Path | None:
    """The new place of the ticker's file if it is damaged, else None; nothing is deleted."""
    with one_writer(path_of(collection, ticker)):
        try:
            find_history(collection, ticker)
        except DamagedFileError:
            return _set_aside(path_of(collection, ticker))
    return None


def _committed(collection: Collection, ticker: str, fetched: Fetched | SourceError) -> Version | SourceError:
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


def _stored(collection: Collection, ticker: str, fetched: Fetched) -> History | None:
    try:
        return find_history(collection, ticker)
    except DamagedFileError:
        if fetched.since is not None:
            raise
        _set_aside(path_of(collection, ticker))
        return None


def _overtaken(stored: History, fetched: Fetched, now: datetime) -> bool:
    """Whether a later fetch is stored. A version from the future is none: the clock has been set back since."""
    return fetched.fetched_at < stored.head.known_at <= now


def _set_aside(path: Path) -> Path:
    """Rename the file so that nothing takes it for a ticker's any more, *.parquet patterns of other tools included."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        path.replace(aside)
        sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"cannot move the damaged {path} aside: {error}; move it away by hand") from error
    return aside
