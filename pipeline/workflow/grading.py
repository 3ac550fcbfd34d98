"""Grading: forecasts whose target session has a bar get their scores; what was restated since gets a revision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import pandas as pd

from pipeline.dataset.frames import Frames
from pipeline.market.sources import Source
from pipeline.market.store.restatement import Restatement, calls_for_whole_history
from pipeline.market.store.stored import StoredPrices
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import RESTATED_FROM, TARGET, Graded, append_grades, scored
from pipeline.operation.ledger.reading import rows_of_targets, ungraded
from pipeline.operation.ledger.record import last_graded, latest_outcomes

RECHECKED_SESSIONS = 20
"""Outcomes of forecasts from the last sessions are compared with the present bars at every grading, as a restatement is
usually made within days; those of a ticker that the source restated since its last grade from that session on."""


@dataclass(frozen=True)
class Grading:
    """An act of grading: what it added, and from which origin on; in what the source restated tickers since each had
    its last grade, and whose outcomes that changed.
    """

    graded: Graded
    restated: Mapping[str, tuple[Restatement, ...]] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    first_origin: date | None = None


def grade(
    ledger: Ledger, model: str, frames: Frames, source: Source, now: datetime, known_at: datetime | None
) -> Grading:
    """Grade every forecast whose outcome is known, and again those whose outcome was restated.

    `source` is that of the frames' bars. Raises LedgerError, and SourceError where its store cannot be read.
    """
    until = _day(frames.sessions[-1])
    first = scored(waiting := ungraded(ledger, model, until, frames.tickers), outcomes_of(waiting, frames))
    restated = restated_since_graded(ledger, model, frames, source)
    changed = _changed(ledger, model, frames, frames.tickers, _recent(frames))
    if concerned := {name: its for name, its in restated.items() if calls_for_whole_history(its)}:
        older = _changed(ledger, model, frames, list(concerned), _first_concerned(frames, concerned))
        changed = pd.concat([changed, older]).drop_duplicates(list(TARGET))
    again = scored(rows_of_targets(ledger, model, changed), changed) if len(changed) else first.iloc[:0]
    parts = [part for part in (first, again) if len(part)]
    scores = pd.concat(parts, ignore_index=True) if parts else first
    graded = append_grades(ledger, model, scores, now, known_at)
    origin = first["as_of"].min().date() if len(first) else None
    return Grading(graded, restated, frozenset(changed["ticker"]), origin)


def restated_since_graded(
    ledger: Ledger, model: str, frames: Frames, source: Source
) -> dict[str, tuple[Restatement, ...]]:
    """Return in what the source restated each ticker after its last grade, of tickers that have one.

    Whichever run's update found it: the versions of the store say when it was found, and the ledger as of when the
    prices of a grade were read. Nothing where the source is no store. Raises LedgerError and SourceError.
    """
    if not isinstance(source, StoredPrices):
        return {}
    last = last_graded(ledger, model, frames.tickers, _recent(frames))
    # Of the others all grades have to be read, which takes seconds where there are years of them.
    older = [ticker for ticker in frames.tickers if ticker not in last and source.restatements(ticker)]
    last |= last_graded(ledger, model, older, _day(frames.sessions[0]))
    restated = {ticker: source.restatements(ticker, at) for ticker, at in last.items()}
    return {ticker: its for ticker, its in restated.items() if its}


def _recent(frames: Frames) -> date:
    return _day(frames.sessions[max(len(frames.sessions) - RECHECKED_SESSIONS - frames.horizons, 0)])


def _first_concerned(frames: Frames, restated: Mapping[str, Sequence[Restatement]]) -> date:
    """Return the first session of which a forecast's outcome may be another one by restated bars."""
    first = min(it.first_session for its in restated.values() for it in its)
    at = int(frames.sessions.searchsorted(np.datetime64(first, "D")))
    return _day(frames.sessions[max(min(at, len(frames.sessions) - 1) - frames.horizons, 0)])


def outcomes_of(targets: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """Return the log total returns from as_of over `horizon` sessions: TARGET and `outcome`, NaN where it is unknown.

    `targets` has the columns ticker, as_of and horizon.
    """
    unique = targets[list(TARGET)].drop_duplicates(ignore_index=True)
    rows = {ticker: row for row, ticker in enumerate(frames.tickers)}
    ticker = unique["ticker"].map(rows).fillna(-1).to_numpy(np.int64)
    days = unique["as_of"].to_numpy("datetime64[D]")
    session = np.minimum(frames.sessions.searchsorted(days), len(frames.sessions) - 1)
    horizon = unique["horizon"].to_numpy(np.int64)
    there = (ticker >= 0) & (frames.sessions[session] == days) & (horizon <= frames.horizons)
    values = frames.future_return[ticker, session, np.minimum(horizon, frames.horizons) - 1].astype(np.float64)
    return unique.assign(outcome=np.where(there, values, np.nan))


def _changed(ledger: Ledger, model: str, frames: Frames, tickers: Sequence[str], since: date) -> pd.DataFrame:
    """Return the targets whose outcome is another one by the present bars than as last graded, with the new outcome."""
    graded = latest_outcomes(ledger, model, tickers, since)
    both = graded.merge(outcomes_of(graded, frames), on=list(TARGET), suffixes=("_graded", ""))
    differs = (both["outcome"] - both["outcome_graded"]).abs() > RESTATED_FROM  # False where it is unknown now
    return both.loc[differs, [*TARGET, "outcome"]]


def _day(session: np.datetime64) -> date:
    day: date = session.astype("datetime64[D]").item()
    return day
