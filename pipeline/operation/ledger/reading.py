"""Reading: rows of an origin, of an entry, those that wait for their outcome; entries; an export in prices."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
from sqlalchemy import Connection, and_, select

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS, price_quantiles
from pipeline.operation.ledger.chain import day_number
from pipeline.operation.ledger.coding import (
    ROW_COLUMNS,
    at_keys,
    coded_keys,
    decoded,
    frame_of,
    name_id,
    name_ids,
    rows_of,
    rows_where,
)
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.entries import Entry, entry_of
from pipeline.operation.ledger.issues import COLUMNS, KEY, log_quantiles
from pipeline.operation.ledger.schema import KEY_IDS, entries, forecasts, grades, names, waiting

ENTRY_COLUMNS = ("sequence", "issued_at", "calendar", "version")
"""Of the entry that a row belongs to: its place in the chain, when it was issued, and from which model version."""
READ_COLUMNS = (*COLUMNS, *ENTRY_COLUMNS)


def model_names(ledger: Ledger) -> list[str]:
    """Return the model names that forecasts were issued under, in alphabetical order."""
    with ledger.reading() as connection:
        query = select(names.c.name).where(names.c.id.in_(select(entries.c.model_id)))
        return sorted(connection.execute(query).scalars())


def rows_of_origin(ledger: Ledger, model: str, as_of: date, calendar: str) -> pd.DataFrame:
    """Return the rows that were issued for an origin of a calendar: READ_COLUMNS, in the order of KEY."""
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        table = rows_where(connection, forecasts.c.model_id == model_id, forecasts.c.as_of == day_number(as_of))
        rows = _read(connection, model_id, table)
    return rows[rows["calendar"] == calendar].reset_index(drop=True)


def rows_of_entry(ledger: Ledger, model: str, sequence: int) -> pd.DataFrame:
    """Return the rows of an entry: READ_COLUMNS, in the order of KEY."""
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        here = (entries.c.model_id == model_id) & (entries.c.sequence == sequence)
        entry = connection.execute(select(entries).where(here)).one_or_none()
        table = frame_of([], ROW_COLUMNS) if entry is None else rows_of(connection, model_id, entry)
        return _read(connection, model_id, table)


def rows_of_targets(ledger: Ledger, model: str, targets: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of every forecaster for targets (columns ticker, as_of, horizon): READ_COLUMNS."""
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        known = name_ids(connection, targets["ticker"])
        keys = coded_keys(targets[targets["ticker"].isin(known)][list(KEY[:3])], known)
        table = at_keys(connection, model_id, keys, select(*(forecasts.c[name] for name in ROW_COLUMNS)))
        return _read(connection, model_id, table)


def last_entry(ledger: Ledger, model: str, calendar: str, before: int | None = None) -> Entry | None:
    """Return the newest entry of a calendar (`before` a place in the chain), None where nothing was issued for it."""
    with ledger.reading() as connection:
        of_calendar = (entries.c.model_id == _id_of(connection, model)) & (entries.c.calendar == calendar)
        if before is not None:
            of_calendar &= entries.c.sequence < before
        query = select(entries).where(of_calendar).order_by(entries.c.sequence.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        return None if row is None else entry_of(model, row)


def ungraded(ledger: Ledger, model: str, until: date, tickers: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows whose target session is not after `until` and that have no grade: READ_COLUMNS."""
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        same = and_(*(waiting.c[name] == forecasts.c[name] for name in ("model_id", *KEY_IDS)))
        query = (
            select(*(forecasts.c[name] for name in ROW_COLUMNS))
            .select_from(waiting.join(forecasts, same))
            .where(waiting.c.model_id == model_id, waiting.c.target_session <= day_number(until))
        )
        if tickers is not None:
            query = query.where(waiting.c.ticker_id.in_(list(name_ids(connection, tickers).values())))
        return _read(connection, model_id, frame_of(connection.execute(query).all(), ROW_COLUMNS))


def tickers_waiting(ledger: Ledger, model: str, since: date) -> tuple[str, ...]:
    """Return the tickers with an ungraded forecast whose target session is not before a day, in alphabetical order."""
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        query = select(waiting.c.ticker_id).where(
            waiting.c.model_id == model_id, waiting.c.target_session >= day_number(since)
        )
        found = connection.execute(select(names.c.name).where(names.c.id.in_(query))).scalars()
        return tuple(sorted(found))


def listed(ledger: Ledger, model: str, limit: int) -> list[Entry]:
    """Return the newest so many entries of a model name, newest first."""
    with ledger.reading() as connection:
        of_model = entries.c.model_id == _id_of(connection, model)
        query = select(entries).where(of_model).order_by(entries.c.sequence.desc()).limit(limit)
        return [entry_of(model, row) for row in connection.execute(query)]


def entry_at(ledger: Ledger, model: str, sequence: int) -> Entry | None:
    """Return an entry, None where the chain has none at that place."""
    with ledger.reading() as connection:
        here = (entries.c.model_id == _id_of(connection, model)) & (entries.c.sequence == sequence)
        row = connection.execute(select(entries).where(here)).one_or_none()
        return None if row is None else entry_of(model, row)


def exported(ledger: Ledger, model: str, since: date | None = None, until: date | None = None) -> pd.DataFrame:
    """Return all rows whose origin lies between two days (both included), with prices in place of log returns.

    Columns READ_COLUMNS and `actual`: the price that came, on the scale of reference_close, as first graded; NaN where
    it is not graded.
    """
    rows = _with_outcomes(ledger, model, since, until, graded=False)
    actual = rows["reference_close"] * np.exp(rows["outcome"])
    return in_prices(rows).drop(columns="outcome").assign(actual=actual)


def first_graded(ledger: Ledger, model: str, since: date | None = None, until: date | None = None) -> pd.DataFrame:
    """Return the graded rows whose origin lies between two days (both included): READ_COLUMNS and `outcome`.

    The outcome is that of the first grade, which no restatement changes.
    """
    return _with_outcomes(ledger, model, since, until, graded=True)


def _with_outcomes(ledger: Ledger, model: str, since: date | None, until: date | None, graded: bool) -> pd.DataFrame:
    """Return rows between two days with their outcome as first graded: all of them, or those that are graded."""
    between = [
        *([] if since is None else [forecasts.c.as_of >= day_number(since)]),
        *([] if until is None else [forecasts.c.as_of <= day_number(until)]),
    ]
    same = and_(*(grades.c[name] == forecasts.c[name] for name in ("model_id", *KEY_IDS)), grades.c.revision == 0)
    with ledger.reading() as connection:
        model_id = _id_of(connection, model)
        query = (
            select(*(forecasts.c[name] for name in ROW_COLUMNS), grades.c.outcome)
            .select_from(forecasts.join(grades, same, isouter=not graded))
            .where(forecasts.c.model_id == model_id, *between)
        )
        table = frame_of(connection.execute(query).all(), (*ROW_COLUMNS, "outcome"))
        rows = _read(connection, model_id, table, ("outcome",))
    return rows.assign(outcome=rows["outcome"].astype(np.float64))


def in_prices(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the ledger with prices in place of log returns."""
    log_returns = log_quantiles(rows).astype(np.float32)  # [row, level], as the forecaster gave them
    prices = price_quantiles(rows[["reference_close"]].to_numpy(), log_returns)
    return rows.assign(**dict(zip(QUANTILE_COLUMNS, prices.T, strict=True)))


def _id_of(connection: Connection, model: str) -> int:
    """Return the number of a model name, one that no row has where nothing was issued under it."""
    found = name_id(connection, model)
    return -1 if found is None else found


def _read(connection: Connection, model_id: int, table: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows of the table as they were issued, with what their entries say."""
    rows = decoded(connection, table, ("sequence", *more))
    if rows.empty:
        return rows.assign(issued_at=pd.Series(dtype="datetime64[us, UTC]"), calendar="", version=0)[
            [*READ_COLUMNS, *more]
        ]
    sequence = rows["sequence"]
    columns = [entries.c[name] for name in ENTRY_COLUMNS]
    between = entries.c.sequence.between(int(sequence.min()), int(sequence.max()))
    found = connection.execute(select(*columns).where(entries.c.model_id == model_id, between)).all()
    of_entries = frame_of(found, ENTRY_COLUMNS).set_index("sequence").loc[sequence].reset_index(drop=True)
    issued_at = of_entries["issued_at"].to_numpy(np.int64).astype("datetime64[us]")
    said = of_entries.assign(issued_at=pd.Series(issued_at).dt.tz_localize("UTC"))
    return rows.join(said)[[*READ_COLUMNS, *more]]
