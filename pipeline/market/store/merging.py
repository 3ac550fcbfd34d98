"""A fetch laid upon a history: what it tells otherwise supersedes what was told before, and nothing is overwritten."""

from datetime import UTC, date, datetime, timedelta

import numpy as np

from pipeline.errors import SourceUnavailableError
from pipeline.market.fetched import Fetched
from pipeline.market.store.columns import INSTANT, KNOWN, Columns, fields_of, is_current, taken, told_columns
from pipeline.market.store.history import History, Version, in_utc, instants
from pipeline.market.store.restatement import Alignment, Restatement, aligned, differing, restatements

CLOCK_STEP = timedelta(microseconds=1)

FEW_SESSIONS = 5
FEW_OF_ASKED = 0.02
"""A fetch may lose fewer sessions than the one, or a smaller part of those asked for than the other."""


def merged(history: History | None, fetched: Fetched, keep_adj_close: bool) -> History:
    """The history with one version more; raises SourceUnavailableError for an answer that cannot be used.

    From the day asked for on the answer is the truth: what it does not tell is gone. A number within the tolerance
    of the stored one leaves that as it is, to the bit. The version's time is that of the fetch, or a moment after
    the last version's where the clock has stepped back.
    """
    told = told_columns(fetched.rows, fields_of(keep_adj_close))
    stored = history.columns if history else _no_rows(told)
    at = known_at(history, fetched.fetched_at)
    current = np.flatnonzero(is_current(stored))
    head = taken(stored, current)
    rows = aligned(head, told, _day(fetched.since))
    fresh, changed = _fresh(head, told, rows)
    ended = stored["known_until"].copy()
    ended[current[rows.lost]] = ended[current[changed]] = np.datetime64(in_utc(at), "us")
    known = {"known_from": instants(at, len(fresh["session"])), "known_until": _never(len(fresh["session"]))}
    columns = _joined({**stored, "known_until": ended}, {**fresh, **known})
    version = Version(
        known_at=at,
        currency=fetched.currency,
        since=fetched.since,
        asked_from=_asked_from(history, fetched.since),
        **_counts(columns, rows, len(changed)),
        restatements=_restated(history, head, told, fetched),
        problems=fetched.problems,
    )
    return History(columns, (*(history.versions if history else ()), version))


def known_at(history: History | None, fetched_at: datetime) -> datetime:
    """The time of a new version: that of its fetch, but always later than the version before."""
    at = in_utc(fetched_at).replace(tzinfo=UTC)
    return max(at, history.head.known_at + CLOCK_STEP) if history else at


def refuse_loss(before: History, after: History) -> None:
    """Nothing where a fetch lost few sessions; a SourceUnavailableError where so many that it must be a fault."""
    lost, since = after.head.removed, _day(after.head.since)
    stored = before.columns["session"][is_current(before.columns)]
    asked = len(stored) if since is None else int((stored >= since).sum())
    if lost >= FEW_SESSIONS and lost > FEW_OF_ASKED * asked:
        raise SourceUnavailableError(
            f"the answer lacks {lost} of {asked} stored sessions, which looks like a fault of the source; the stored "
            "ones stay. Try again later; to accept the answer, delete the ticker's file in the store by hand"
        )


def _fresh(head: Columns, told: Columns, rows: Alignment) -> tuple[Columns, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """The rows to be stored, new and restated ones, and which of the head's rows the restated ones supersede."""
    before, now = taken(head, rows.same_stored), taken(told, rows.same_told)
    differs = differing(before, now)
    restated = np.logical_or.reduce(list(differs.values()))
    kept = {name: np.where(mask, now[name], before[name])[restated] for name, mask in differs.items()}
    new = taken(told, rows.new)
    changed = {"session": now["session"][restated], **kept}
    return {name: np.concatenate([values, changed[name]]) for name, values in new.items()}, rows.same_stored[restated]


def _joined(stored: Columns, fresh: Columns) -> Columns:
    """All rows, sorted by session and then by the time they were told."""
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


def _restated(history: History | None, head: Columns, told: Columns, fetched: Fetched) -> tuple[Restatement, ...]:
    if history is None:
        return ()
    found = restatements(head, told, _day(fetched.since), _day(history.head.asked_from))
    if history.head.currency == fetched.currency:
        return found
    first = told["session"][0].astype(object)
    change = {"found": fetched.currency, "stored": history.head.currency}
    return (*found, Restatement(kind="currency", first_session=first, rows=len(told["session"]), **change))


def _asked_from(history: History | None, since: date | None) -> date | None:
    if history is None:
        return since
    former = history.head.asked_from
    return None if since is None or former is None else min(since, former)


def _day(day: date | None) -> np.datetime64 | None:
    return None if day is None else np.datetime64(day, "D")


def _never(count: int) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.full(count, np.datetime64("NaT"), dtype=INSTANT)


def _no_rows(told: Columns) -> Columns:
    return {**taken(told, np.zeros(0, dtype=np.intp)), **dict.fromkeys(KNOWN, _never(0))}
