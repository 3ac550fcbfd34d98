"""What grades say: outcomes as first graded and as last restated, and the record by horizon and forecaster."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd
from sqlalchemy import Column, Double, Integer, Label, Select, and_, cast, func, select

from pipeline.errors import LedgerError
from pipeline.evaluation.scores import BANDS
from pipeline.operation.ledger.chain import day_number, instant_of
from pipeline.operation.ledger.coding import days_of, frame_of, name_id, name_ids
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import TARGET
from pipeline.operation.ledger.issues import STATUSES
from pipeline.operation.ledger.schema import KEY_IDS, entries, forecasts, grades, gradings, names

GROUPS: Mapping[str, Column[str] | Column[int]] = {
    "ticker": grades.c.ticker_id,
    "horizon": grades.c.horizon,
    "forecaster": grades.c.forecaster_id,
    "version": entries.c.version,
    "calendar": entries.c.calendar,
}
"""What a record may be grouped by."""


def first_outcomes(ledger: Ledger, model: str, tickers: Sequence[str], since: date) -> pd.DataFrame:
    """Return the outcomes of origins from a day on as first graded: TARGET, target_session, outcome, revision."""
    return _outcomes(ledger, model, tickers, since).drop_duplicates(list(TARGET), keep="first", ignore_index=True)


def latest_outcomes(ledger: Ledger, model: str, tickers: Sequence[str], since: date) -> pd.DataFrame:
    """Return the outcomes of origins from a day on as last restated: TARGET, target_session, outcome, revision."""
    return _outcomes(ledger, model, tickers, since).drop_duplicates(list(TARGET), keep="last", ignore_index=True)


def last_graded(ledger: Ledger, model: str, tickers: Sequence[str], since: date) -> dict[str, datetime]:
    """Return ticker -> the instant as of which the prices of its last grading were read, by origins from a day on."""
    with ledger.reading() as connection:
        ids = name_ids(connection, tickers)
        if not ids:  # a ticker that was never forecast costs no look at all grades
            return {}
        query = (
            select(grades.c.ticker_id, func.max(gradings.c.known_at))
            .select_from(grades.join(gradings, gradings.c.id == grades.c.grading_id))
            .where(
                grades.c.model_id == (name_id(connection, model) or -1),
                grades.c.as_of >= day_number(since),
                grades.c.ticker_id.in_(list(ids.values())),
                gradings.c.known_at.is_not(None),
            )
            .group_by(grades.c.ticker_id)
        )
        last = dict(connection.execute(query).all())
    return {name: instant_of(last[number]) for name, number in ids.items() if number in last}


def _outcomes(ledger: Ledger, model: str, tickers: Sequence[str], since: date) -> pd.DataFrame:
    """Return the outcomes in the order of TARGET, then in that in which they were graded."""
    keys = (grades.c.as_of, grades.c.ticker_id, grades.c.horizon)
    columns = [*keys, forecasts.c.target_session, grades.c.outcome, grades.c.revision, grades.c.grading_id]
    with ledger.reading() as connection:
        ids = name_ids(connection, tickers)
        query = _graded_forecasts(select(*columns).distinct()).where(
            grades.c.model_id == (name_id(connection, model) or -1),
            grades.c.as_of >= day_number(since),
            grades.c.ticker_id.in_(list(ids.values())),
        )
        table = frame_of(connection.execute(query).all(), [column.name for column in columns])
    found = {
        "ticker": table["ticker_id"].map({number: name for name, number in ids.items()}).astype("str"),
        "as_of": days_of(table["as_of"]),
        "horizon": table["horizon"].astype(np.int64),
        "target_session": days_of(table["target_session"]),
        "outcome": table["outcome"].astype(np.float64),
        "revision": table["revision"].astype(np.int64),
        "grading_id": table["grading_id"],
    }
    in_order = pd.DataFrame(found).sort_values([*TARGET, "grading_id"], ignore_index=True)
    return in_order.drop(columns="grading_id")


def _graded_forecasts(query: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]:
    """Return a query over grades joined with their forecasts."""
    same = and_(*(grades.c[name] == forecasts.c[name] for name in ("model_id", *KEY_IDS)))
    return query.select_from(grades.join(forecasts, same))


def record_of(
    ledger: Ledger, model: str, by: Sequence[str] = ("horizon", "forecaster"), since: date | None = None
) -> pd.DataFrame:
    """Return the record of a model name: a row per status and group, with means over the first grades.

    Columns: status, those of `by` (some of GROUPS), rows, pinball, crps, mae_return, mean_error, coverage_50,
    coverage_80, coverage_90; losses are log returns. Rows issued late are never counted with those issued on time.
    `since` is the first origin counted. Raises LedgerError for an unknown group.
    """
    if unknown := [name for name in by if name not in GROUPS]:
        raise LedgerError(f"found the group {unknown[0]!r}, expected some of {', '.join(GROUPS)}")
    groups = [forecasts.c.status, *(GROUPS[name] for name in by)]
    entry = and_(*(entries.c[name] == forecasts.c[name] for name in ("model_id", "sequence")))
    with ledger.reading() as connection:
        joined = _graded_forecasts(select(*groups, *_means()))
        query = joined.join(entries, entry) if {"version", "calendar"} & set(by) else joined
        counted = query.where(grades.c.model_id == (name_id(connection, model) or -1), grades.c.revision == 0)
        counted = counted if since is None else counted.where(grades.c.as_of >= day_number(since))
        found = connection.execute(counted.group_by(*groups)).all()
        by_id = dict(connection.execute(select(names.c.id, names.c.name)).all())
    table = frame_of(found, ["status", *by, *(mean.name for mean in _means())])
    words = {name: table[name].map(by_id) for name in ("ticker", "forecaster") if name in by}
    return (
        table.assign(**words)
        .sort_values(["status", *by], ignore_index=True)
        .assign(status=lambda it: it["status"].map(dict(enumerate(STATUSES))))
    )


def _means() -> list[Label[float] | Label[int]]:
    inside = {f"coverage_{band}": func.avg(cast(cast(grades.c[f"inside_{band}"], Integer), Double)) for band in BANDS}
    means = {
        "pinball": func.avg(grades.c.pinball),
        "crps": func.avg(grades.c.crps),
        "mae_return": func.avg(func.abs(grades.c.error)),
        "mean_error": func.avg(grades.c.error),
        **inside,
    }
    return [func.count().label("rows"), *(mean.label(name) for name, mean in means.items())]
