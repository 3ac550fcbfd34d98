"""Grading: each forecast is graded once; a restated outcome is a revision next to the grade before."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from sqlalchemy import Connection, and_, delete, exists, select

from pipeline.arrays import Booleans
from pipeline.errors import LedgerError
from pipeline.evaluation.scores import BANDS, crps_of, pinball_of, within
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.operation.ledger.chain import microseconds
from pipeline.operation.ledger.coding import at_keys, coded_keys, insert_rows, name_id, name_ids
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.issues import KEY, described, in_utc, log_quantiles
from pipeline.operation.ledger.schema import KEY_IDS, forecasts, grades, gradings, waiting

TARGET = ("ticker", "as_of", "horizon")
"""What names an outcome: it is the same for every forecaster."""
SCORES = ("outcome", "pinball", "crps", "error", *(f"inside_{band}" for band in BANDS))
GRADE_COLUMNS = (*KEY, *SCORES)
RESTATED_FROM = 1e-6
"""An outcome is restated where it differs by more than this log return (0.01 basis points): less is rounding, as a
return may be computed from a longer series; one cent at a price of 1,000 is ten times that."""


@dataclass(frozen=True)
class Graded:
    """What grades came to: first ones added, revisions added, and those that say what the last one says."""

    added: int
    restated: int
    existing: int


def scored(rows: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the grades of rows of the ledger: GRADE_COLUMNS.

    `outcomes` has TARGET and `outcome`, the log total return from as_of to the target session: a split or dividend in
    between is in it, so that it compares with the quantiles, which are log returns too. Rows without an outcome, or
    with NaN, are left out. `error` is outcome - median; pinball and CRPS are those of the evaluation.
    """
    known = outcomes[np.isfinite(outcomes["outcome"].astype(np.float64))]
    joined = rows.merge(known[[*TARGET, "outcome"]], on=list(TARGET), validate="many_to_one")
    quantiles, outcome = log_quantiles(joined), joined["outcome"].to_numpy(np.float64)
    values = {
        "outcome": outcome + 0.0,
        "pinball": pinball_of(quantiles, outcome),
        "crps": crps_of(quantiles, outcome),
        "error": outcome - quantiles[:, MEDIAN],
        **{f"inside_{band}": within(band)(quantiles, outcome).astype(bool) for band in BANDS},
    }
    return joined[list(KEY)].assign(**values)


def append_grades(
    ledger: Ledger, model: str, scores: pd.DataFrame, graded_at: datetime, known_at: datetime | None
) -> Graded:
    """Write grades (GRADE_COLUMNS): the first as revision 0, one whose outcome was restated as the next revision.

    A grade whose outcome is that of the last revision, but for RESTATED_FROM, adds nothing. `known_at` is the instant
    as of which the prices were read. All are written in one transaction. Raises LedgerError where a forecast was never
    issued, or an outcome is not finite.
    """
    if not len(scores):
        return Graded(0, 0, 0)
    _refuse_not_finite(scores)
    with ledger.writing(model) as connection:
        model_id, wanted = _coded(connection, model, scores)
        latest = _latest(connection, model_id, wanted[list(KEY_IDS)])
        joined = wanted.merge(latest, on=list(KEY_IDS), how="left", suffixes=("", "_before"), indicator="issued")
        _refuse_never_issued(model, scores, (joined["issued"] != "both").to_numpy())
        graded = joined["revision"].notna()
        same = graded & ((joined["outcome"] - joined["outcome_before"].astype(np.float64)).abs() <= RESTATED_FROM)
        if not same.all():
            revisions = joined["revision"].astype(np.float64).fillna(-1) + 1
            new = wanted.assign(model_id=model_id, revision=revisions.astype(np.int64))[~same]
            _add(connection, new, graded_at, known_at)
    return Graded(int((~graded).sum()), int((graded & ~same).sum()), int(same.sum()))


def _refuse_not_finite(scores: pd.DataFrame) -> None:
    bad = ~np.isfinite(scores[["outcome", "pinball", "crps", "error"]].to_numpy(np.float64)).all(axis=1)
    if bad.any():
        raise LedgerError(f"cannot grade {described(scores[bad].iloc[0])}: found no finite score, expected an outcome")


def _coded(connection: Connection, model: str, scores: pd.DataFrame) -> tuple[int, pd.DataFrame]:
    """Return the number of a model name, and grades with the table's key; raises LedgerError for unknown names."""
    model_id = name_id(connection, model)
    ids = name_ids(connection, [*scores["ticker"].unique(), *scores["forecaster"].unique()])
    unknown = ~(scores["ticker"].isin(ids) & scores["forecaster"].isin(ids)).to_numpy()
    _refuse_never_issued(model, scores, unknown | (model_id is None))
    return model_id or 0, coded_keys(scores, ids).join(scores[list(SCORES)]).reset_index(drop=True)


def _refuse_never_issued(model: str, scores: pd.DataFrame, where: Booleans) -> None:
    if where.any():
        first = described(scores[where].iloc[0])
        raise LedgerError(f"cannot grade {first}: it was never issued under {model}, expected a row of the ledger")


def _latest(connection: Connection, model_id: int, keys: pd.DataFrame) -> pd.DataFrame:
    """Return the forecasts at keys, each with its grade's last revision and outcome; missing where it has no grade."""
    same = and_(*(grades.c[name] == forecasts.c[name] for name in ("model_id", *KEY_IDS)))
    columns = [*(forecasts.c[name] for name in KEY_IDS), grades.c.revision, grades.c.outcome]
    found = at_keys(connection, model_id, keys, select(*columns).select_from(forecasts.outerjoin(grades, same)))
    return found.sort_values("revision").drop_duplicates(list(KEY_IDS), keep="last")


def _add(connection: Connection, table: pd.DataFrame, graded_at: datetime, known_at: datetime | None) -> None:
    """Add grades as one act of grading, and take them from what waits for its outcome."""
    model_id = int(table["model_id"].iloc[0])
    values = {
        "model_id": model_id,
        "graded_at": microseconds(in_utc(graded_at, "graded_at")),
        "known_at": None if known_at is None else microseconds(in_utc(known_at, "known_at")),
    }
    (grading_id,) = connection.execute(gradings.insert(), values).inserted_primary_key or (None,)
    insert_rows(connection, grades, table.sort_values(list(KEY_IDS)).assign(grading_id=grading_id))
    same = and_(*(grades.c[name] == waiting.c[name] for name in ("model_id", *KEY_IDS)))
    days = waiting.c.as_of.between(int(table["as_of"].min()), int(table["as_of"].max()))
    connection.execute(delete(waiting).where(waiting.c.model_id == model_id, days, exists().where(same)))
