"""Rows as the tables have them, in numbers, and back: names by id, days since 1970, states by their place."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Column, ColumnElement, Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.operation.ledger.chain import day_numbers
from pipeline.operation.ledger.issues import KEY, STATUSES, ordered
from pipeline.operation.ledger.schema import KEY_IDS, forecasts, names

ROW_COLUMNS = tuple(column.name for column in forecasts.columns if column.name != "model_id")


def name_id(connection: Connection, name: str) -> int | None:
    """Return the number of a name, None where the ledger has not met it."""
    return connection.execute(select(names.c.id).where(names.c.name == name)).scalar()


def name_ids(connection: Connection, wanted: Iterable[str]) -> dict[str, int]:
    """Return name -> number, of those that the ledger has met."""
    query = select(names.c.name, names.c.id).where(names.c.name.in_(sorted(set(wanted))))
    return dict(connection.execute(query).all())


def made_name_ids(connection: Connection, wanted: Iterable[str]) -> dict[str, int]:
    """Return name -> number, after giving numbers to those that have none.

    Sorted, so that two writers that bring the same new names wait for one another in one order.
    """
    found = name_ids(connection, wanted)
    if missing := sorted(set(wanted) - set(found)):
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert(names).on_conflict_do_nothing(), [{"name": name} for name in missing])
        found |= name_ids(connection, missing)
    return found


def coded(rows: pd.DataFrame, ids: dict[str, int]) -> pd.DataFrame:
    """Return rows of an issue with the table's columns, less model and sequence."""
    keys = coded_keys(rows, ids)
    states = rows["status"].map({status: number for number, status in enumerate(STATUSES)})
    values = rows.drop(columns=list(KEY))
    return keys.join(values.assign(target_session=day_numbers(rows["target_session"]), status=states))


def coded_keys(rows: pd.DataFrame, ids: dict[str, int]) -> pd.DataFrame:
    """Return the columns KEY_IDS of rows with the columns KEY, or with those but the forecaster."""
    columns = {"as_of": day_numbers(rows["as_of"]), "ticker_id": rows["ticker"].map(ids), "horizon": rows["horizon"]}
    forecaster = {"forecaster_id": rows["forecaster"].map(ids)} if "forecaster" in rows else {}
    return pd.DataFrame({**columns, **forecaster}, index=rows.index).astype(np.int64)


def decoded(connection: Connection, table: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows of the table as rows of an issue in their order, and `more` of the table's columns.

    Raises LedgerError or ValueError for values that no writer of ours has written.
    """
    named = with_names(connection, table)
    words = named.assign(
        target_session=days_of(named["target_session"]),
        status=named["status"].map(dict(enumerate(STATUSES))),
        published=named["published"].astype(bool),
    )
    return ordered(words, more)


def with_names(connection: Connection, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns KEY in place of KEY_IDS."""
    numbers = pd.unique(pd.concat([table["ticker_id"], table["forecaster_id"]])).tolist()
    query = select(names.c.id, names.c.name).where(names.c.id.in_(numbers))
    by_id = dict(connection.execute(query).all())
    keys = {
        "ticker": table["ticker_id"].map(by_id).astype("str"),
        "as_of": days_of(table["as_of"]),
        "horizon": table["horizon"].astype(np.int64),
        "forecaster": table["forecaster_id"].map(by_id).astype("str"),
    }
    return pd.DataFrame(keys).join(table.drop(columns=list(KEY_IDS)))


def days_of(numbers: "pd.Series[int]") -> "pd.Series[pd.Timestamp]":
    """Return days since 1970-01-01 [row] as days [row]."""
    days = numbers.to_numpy(np.int64).astype("datetime64[D]").astype("datetime64[s]")
    return pd.Series(days, index=numbers.index)


def rows_where(connection: Connection, *conditions: ColumnElement[bool]) -> pd.DataFrame:
    """Return the rows of the table of forecasts that meet conditions, as the table has them."""
    query = select(*(forecasts.c[name] for name in ROW_COLUMNS)).where(*conditions)
    return frame_of(connection.execute(query).all(), ROW_COLUMNS)


def at_keys(connection: Connection, model_id: int, keys: pd.DataFrame, columns: Sequence[Column[Any]]) -> pd.DataFrame:
    """Return columns (KEY_IDS first) of one table, of its rows under a model at keys (some or all of KEY_IDS, by day).

    One question per day of the keys, as each day's rows lie in one piece.
    """
    table, wanted = columns[0].table, [column.name for column in columns]
    found: list[Sequence[Any]] = []
    for _, of_day in keys.groupby("as_of"):
        day = table.c.as_of == int(of_day["as_of"].iloc[0])
        tickers = table.c.ticker_id.in_(of_day["ticker_id"].unique().tolist())
        query = select(*columns).where(table.c.model_id == model_id, day, tickers)
        found += connection.execute(query).all()
    return frame_of(found, wanted).merge(keys.drop_duplicates(), on=list(keys.columns))


def frame_of(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows of a query as a frame."""
    frame = pd.DataFrame([tuple(row) for row in rows], columns=list(columns))
    return frame if len(frame) else frame.astype(dict.fromkeys(set(columns) & {*KEY_IDS, "sequence"}, np.int64))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as what is inserted."""
    keys = [str(name) for name in table.columns]
    columns = [table[name].tolist() for name in keys]
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
