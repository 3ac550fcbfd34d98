"""Copying: all that a ledger has, row for row, into an empty one on either database."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select, text

from pipeline.errors import LedgerError
from pipeline.operation.ledger.coding import frame_of, insert_rows
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.schema import entries, forecasts, grades, gradings, names, waiting

TABLES = (names, entries, forecasts, waiting, gradings, grades)
"""In an order in which each finds what its foreign keys name."""
OF_NUMBERS = (forecasts, waiting, grades)
"""The large tables, which have numbers only and are written by lists of them."""
BATCH_ROWS = 50_000


def copy_ledger(source: Ledger, target: Ledger) -> Mapping[str, int]:
    """Return table -> rows after writing all that a ledger has into an empty one: in one transaction, whole or not.

    Every row is read back and compared before it is committed, so that the copy's chains are those of the source.
    Raises LedgerError where the target has anything, or has other rows than the source afterwards.
    """
    with source.reading() as read, target.writing("a copy of a ledger") as write:
        _keep_writers_out(write)
        _refuse_not_empty(write, target.address)
        counts = {table.name: sum(_write(write, table, rows) for rows in _batches(read, table)) for table in TABLES}
        for table in TABLES:
            _compare(read, write, table)
        _continue_numbers(write)
    return counts


def _keep_writers_out(connection: Connection) -> None:
    """Let no other transaction add a name, and so an issue, until this one ends; SQLite's has locked all already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {names.name} IN SHARE ROW EXCLUSIVE MODE"))


def _refuse_not_empty(connection: Connection, address: str) -> None:
    filled = [table.name for table in TABLES if connection.execute(select(table).limit(1)).first() is not None]
    if filled:
        raise LedgerError(
            f"found rows in {filled[0]} of the ledger {address}, expected an empty ledger to copy into; nothing was "
            "copied: `tapecast ledger list` and `tapecast ledger verify` say what it has"
        )


def _batches(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows of a table in the order of its primary key, so many at a time."""
    query = select(table).order_by(*table.primary_key.columns)
    yield from connection.execute(query, execution_options={"yield_per": BATCH_ROWS}).partitions()


def _write(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> int:
    if table in OF_NUMBERS:
        insert_rows(connection, table, frame_of(rows, [column.name for column in table.columns]))
    else:
        connection.execute(table.insert(), [row._asdict() for row in rows])
    return len(rows)


def _compare(read: Connection, write: Connection, table: Table) -> None:
    """Raise LedgerError where the rows of a table are not those of the source."""
    for expected, found in zip_longest(_batches(read, table), _batches(write, table), fillvalue=()):
        if list(map(tuple, expected)) != list(map(tuple, found)):
            raise LedgerError(
                f"found other rows of {table.name} in the copy than in the ledger that was copied, expected the same; "
                "nothing was copied"
            )


def _continue_numbers(connection: Connection) -> None:
    """Let PostgreSQL number what is added next after what was copied; SQLite counts from the greatest by itself."""
    if connection.dialect.name == "postgresql":
        for table in (names, gradings):
            counter = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(select(func.setval(counter, select(func.max(table.c.id)).scalar_subquery())))
