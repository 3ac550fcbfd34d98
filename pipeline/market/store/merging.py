"""Merging of fetched rows into a history: restated rows supersede earlier ones, and nothing is overwritten."""

from datetime import UTC, date, datetime, timedelta

import numpy as np

from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.store.columns import INSTANT, KNOWN, Columns, fields_of, is_current, reported_columns, taken
from pipeline.market.store.history import History, Version, in_utc, instants
from pipeline.market.store.restatement import Alignment, Restatement, aligned, differing, restatements

CLOCK_STEP = timedelta(microseconds=1)

FEW_SESSIONS = 5
FEW_OF_REQUESTED = 0.02
"""A fetch may lack fewer stored sessions than FEW_SESSIONS, or a smaller share of those requested than the other."""


def merged(history: History | None, fetched: FetchedRows, keep_adj_close: bool) -> History:
    """Return the history with one more version; raises SourceUnavailableError for an answer that cannot be used.

    From the requested day on the answer is authoritative: rows that it lacks are removed. A number within the tolerance
    of the stored one leaves that unchanged, to the bit. The version's time is that of the fetch, or a moment after
    the last version's where the clock has stepped back.
    """
    reported = reported_columns(fetched.rows, fields_of(keep_adj_close))
    stored = history.columns if history else _no_rows(reported)
    at = version_time(history, fetched.fetched_at)
    current = np.flatnonzero(is_current(stored))
    current_rows = taken(stored, current)
    rows = aligned(current_rows, reported, _day(fetched.since))
    fresh, changed = _rows_to_store(current_rows, reported, rows)
    ended = stored["known_until"].copy()
    ended[current[rows.lost]] = ended[current[changed]] = np.datetime64(in_utc(at), "us")
    known = {"known_from": instants(at, len(fresh["session"])), "known_until": _never(len(fresh["session"]))}
    columns = _joined({**stored, "known_until": ended}, {**fresh, **known})
    version = Version(
        known_at=at,
        currency=fetched.currency,
        since=fetched.since,
        requested_from=_requested_from(history, fetched.since),
        **_counts(columns, rows, len(changed)),
        restatements=_restatements(history, current_rows, reported, fetched),
        problems=fetched.problems,
        exchange=fetched.exchange,
    )
    return History(columns, (*(history.versions if history else ()), version))


def version_time(history: History | None, fetched_at: datetime) -> datetime:
    """Return the time of a new version: that of its fetch, but always later than the version before."""
    at = in_utc(fetched_at).replace(tzinfo=UTC)
    return max(at, history.latest.known_at + CLOCK_STEP) if history else at


def refuse_loss(before: History, after: History) -> None:
    """Raise SourceUnavailableError where a fetch lacks so many stored sessions that it must be a fault."""
    lacking, since = after.latest.removed, _day(after.latest.since)
    stored = before.columns["session"][is_current(before.columns)]
    requested = len(stored) if since is None else int((stored >= since).sum())
    if lacking >= FEW_SESSIONS and lacking > FEW_OF_REQUESTED * requested:
        raise SourceUnavailableError(
            f"the answer lacks {lacking} of {requested} stored sessions, which looks like a fault of the source; the "
            "stored ones stay. Try again later; to accept the answer, delete the ticker's file in the store by hand"
        )


def _rows_to_store(
    current_rows: Columns, reported: Columns, rows: Alignment
) -> tuple[Columns, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return the new and restated rows, and the indices of the current rows that the restated ones supersede."""
    before, now = taken(current_rows, rows.same_stored), taken(reported, rows.same_reported)
    differs = differing(before, now)
    restated = np.logical_or.reduce(list(differs.values()))
    changes = {name: np.where(mask, now[name], before[name])[restated] for name, mask in differs.items()}
    new = taken(reported, rows.new)
    changed = {"session": now["session"][restated], **changes}
    return {name: np.concatenate([values, changed[name]]) for name, values in new.items()}, rows.same_stored[restated]


def _joined(stored: Columns, fresh: Columns) -> Columns:
    """Return all rows, sorted by session and then by the time of their report."""
    whole = {name: np.concatenate([stored[name], fresh[name]]) for name in stored}
    return taken(whole, np.lexsort((whole["known_from"], whole["session"])))


def _counts(columns: Columns, rows: Alignment, restated: int) -> dict[str, int | date]:
    sessions = columns["session"][is_current(columns)]
    return {
        "first_session": sessions[0].astype(object),
        "last_session": sessions[-1].astype(object),
        "rows": len(sessions),
        "added": int(rows.new.sum()),
        "restated": restated,
        "removed": int(rows.lost.sum()),
    }


def _restatements(
    history: History | None, current_rows: Columns, reported: Columns, fetched: FetchedRows
) -> tuple[Restatement, ...]:
    if history is None:
        return ()
    changes = restatements(current_rows, reported, _day(fetched.since), _day(history.latest.requested_from))
    if history.latest.currency == fetched.currency:
        return changes
    first = reported["session"][0].astype(object)
    change = {"found": fetched.currency, "stored": history.latest.currency}
    return (*changes, Restatement(kind="currency", first_session=first, rows=len(reported["session"]), **change))


def _requested_from(history: History | None, since: date | None) -> date | None:
    if history is None:
        return since
    previous = history.latest.requested_from
    return None if since is None or previous is None else min(since, previous)


def _day(day: date | None) -> np.datetime64 | None:
    return None if day is None else np.datetime64(day, "D")


def _never(count: int) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.full(count, np.datetime64("NaT"), dtype=INSTANT)


def _no_rows(reported: Columns) -> Columns:
    return {**taken(reported, np.zeros(0, dtype=np.intp)), **dict.fromkeys(KNOWN, _never(0))}
