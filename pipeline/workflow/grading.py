"""Grading: forecasts whose target session has a bar get their scores; what was restated since gets a revision."""

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd

from pipeline.dataset.frames import Frames
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import RESTATED_FROM, TARGET, Graded, append_grades, scored
from pipeline.operation.ledger.reading import rows_of_targets, ungraded
from pipeline.operation.ledger.record import latest_outcomes

RECHECKED_SESSIONS = 20
"""Outcomes of forecasts from the last sessions are compared with the present bars at every grading, as a restatement is
usually made within days; those of a ticker that this update restated are compared from the first one on."""


def grade(
    ledger: Ledger, model: str, frames: Frames, restated: Sequence[str], now: datetime, known_at: datetime | None
) -> Graded:
    """Grade every forecast whose outcome is known, and return how many grades and revisions were added.

    `restated` are the tickers that the source restated in this update. Raises LedgerError.
    """
    until = _day(frames.sessions[-1])
    first = scored(waiting := ungraded(ledger, model, until, frames.tickers), outcomes_of(waiting, frames))
    recent = _day(frames.sessions[max(len(frames.sessions) - RECHECKED_SESSIONS - frames.horizons, 0)])
    changed = pd.concat(
        [
            _changed(ledger, model, frames, frames.tickers, recent),
            _changed(ledger, model, frames, restated, _day(frames.sessions[0])),
        ]
    ).drop_duplicates(list(TARGET))
    again = scored(rows_of_targets(ledger, model, changed), changed) if len(changed) else first.iloc[:0]
    parts = [part for part in (first, again) if len(part)]
    return append_grades(ledger, model, pd.concat(parts, ignore_index=True) if parts else first, now, known_at)


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
