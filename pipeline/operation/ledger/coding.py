"""Rows as the tables have them, in numbers, and back: names by id, days since 1970, states by their place."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import ARRAY, ColumnElement, Connection, Row, Select, Table, Text, cast, func, insert, literal, select
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
        insert_new = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert_new(names).on_conflict_do_nothing(), [{"name": name} for name in missing])
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


def rows_of(connection: Connection, model_id: int, entry: Row[Any]) -> pd.DataFrame:
    """Return the rows of a row of the table of entries, as the table of forecasts has them."""
    spanned = forecasts.c.as_of.between(entry.first_origin, entry.last_origin)
    return rows_where(connection, forecasts.c.model_id == model_id, spanned, forecasts.c.sequence == entry.sequence)


def at_keys(connection: Connection, model_id: int, keys: pd.DataFrame, query: Select[Any]) -> pd.DataFrame:
    """Return the rows of a query over forecasts (KEY_IDS first) under a model at keys (some or all of KEY_IDS).

    One question per day of the keys, as each day's rows lie in one piece.
    """
    columns = [column.name for column in query.selected_columns]
    found: list[Sequence[Any]] = []
    for _, of_day in keys.groupby("as_of"):
        within = [forecasts.c[name].in_(of_day[name].unique().tolist()) for name in ("ticker_id", "horizon")]
        day = forecasts.c.as_of == int(of_day["as_of"].iloc[0])
        found += connection.execute(query.where(forecasts.c.model_id == model_id, day, *within)).all()
    return frame_of(found, columns).merge(keys.drop_duplicates(), on=list(keys.columns))


def frame_of(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows of a query as a frame."""
    if not rows:
        empty = pd.DataFrame(columns=list(columns))
        return empty.astype(dict.fromkeys({*KEY_IDS, "sequence"} & set(columns), np.int64))
    return pd.DataFrame(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))


def insert_rows(connection: Connection, table: Table, rows: pd.DataFrame) -> None:
    """Insert rows with the columns of a table, as many as a day has: by one statement, with a list per column or row.

    A third of the time that SQLAlchemy's own insert of many rows takes on SQLite, and a tenth on PostgreSQL.
    """
    columns = list(table.columns)
    values = {column.name: rows[column.name].tolist() for column in columns}
    if connection.dialect.name == "postgresql":
        lists = [cast(_array_text(values[column.name]), ARRAY(column.type)) for column in columns]
        unnested = func.unnest(*lists).table_valued(*values).render_derived()
        connection.execute(insert(table).from_select(list(values), select(*unnested.columns)))
    else:
        statement = str(insert(table).compile(dialect=connection.dialect))
        connection.exec_driver_sql(statement, list(zip(*values.values(), strict=True)))


def _array_text(values: Sequence[float]) -> ColumnElement[str]:
    """Return an array as PostgreSQL reads it from text: as a list of SQL expressions it takes five times as long."""
    return literal(f"{{{','.join(map(str, values))}}}", Text)
