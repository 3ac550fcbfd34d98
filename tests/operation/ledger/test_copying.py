"""A copy of a ledger has every row of it, its chains verify, and it goes on as the ledger would have."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from pipeline.errors import LedgerError
from pipeline.operation.ledger import copying
from pipeline.operation.ledger.copying import TABLES, copy_ledger
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.grades import append_grades, scored
from pipeline.operation.ledger.reading import exported, listed, model_names, ungraded
from pipeline.operation.ledger.schema import METADATA, names
from pipeline.operation.ledger.verification import verify
from pipeline.operation.ledger.writing import Appended, append
from pipeline.sqlite import sqlite_uri

from .issued import days, issue, provenance

DAYS = days(4)


def graded(ledger: Ledger, model: str, outcome: float) -> None:
    rows = ungraded(ledger, model, DAYS[2])
    targets = rows[["ticker", "as_of", "horizon"]].drop_duplicates().assign(outcome=outcome)
    append_grades(ledger, model, scored(rows, targets), issue(as_of=DAYS[2]).issued_at, None)


def fill(ledger: Ledger) -> None:
    """Issue three days under two model names, one of them graded in part."""
    for day in DAYS[:3]:
        append(ledger, issue(as_of=day))
        append(ledger, issue("weekly", as_of=day, seed=1))
    graded(ledger, "daily", 0.01)


@pytest.fixture
def source(tmp_path: Path) -> Ledger:
    ledger = open_ledger(sqlite_uri(tmp_path / "source.db"))
    fill(ledger)
    return ledger


def rows_of(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    with ledger.reading() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in TABLES
        }


@pytest.fixture(params=[5, 50_000])
def batch_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BATCH_ROWS", request.param)


def test_every_table_is_copied() -> None:
    assert {table.name for table in TABLES} == set(METADATA.tables)


def test_all_rows_are_in_the_copy_and_its_chains_are_the_same(source: Ledger, ledger: Ledger, batch_rows: None) -> None:
    counts = copy_ledger(source, ledger)
    assert rows_of(ledger) == (expected := rows_of(source))
    assert counts == {name: len(rows) for name, rows in expected.items()}
    assert all(counts.values())
    for model in model_names(source):
        heads = {entry.sequence: entry.digest for entry in listed(source, model, 9)}
        found = verify(ledger, model, heads)
        assert (found.entries, found.fault) == (3, None)
        assert exported(ledger, model).equals(exported(source, model))


def test_the_copy_goes_on_as_the_ledger_would_have(source: Ledger, ledger: Ledger) -> None:
    copy_ledger(source, ledger)
    for it in (source, ledger):
        append(it, issue(as_of=DAYS[3], tickers=("AAPL", "NEW")))
        append(it, issue("third", as_of=DAYS[3]))
        graded(it, "weekly", 0.02)
    assert rows_of(ledger) == rows_of(source)
    assert verify(ledger, "daily", {4: listed(source, "daily", 1)[0].digest}).fault is None


def test_there_and_back_again_nothing_changes(source: Ledger, ledger: Ledger, tmp_path: Path) -> None:
    back = open_ledger(sqlite_uri(tmp_path / "back.db"))
    copy_ledger(source, ledger)
    copy_ledger(ledger, back)
    assert rows_of(back) == rows_of(source)


def test_absent_values_are_copied_as_absent(ledger: Ledger, tmp_path: Path) -> None:
    bare = open_ledger(sqlite_uri(tmp_path / "bare.db"))
    some = issue()
    without = provenance(calibration_digest=None, known_at=None, backtest=None)
    append(bare, type(some)(without, some.issued_at, some.rows))
    copy_ledger(bare, ledger)
    assert rows_of(ledger) == rows_of(bare)
    append(ledger, issue(as_of=DAYS[1]))  # numbers of acts of grading go on from none


def test_a_ledger_that_has_anything_is_left_as_it_is(source: Ledger, ledger: Ledger) -> None:
    append(ledger, issue("other"))
    before = rows_of(ledger)
    with pytest.raises(LedgerError, match=r"found rows in ledger_names .* nothing was copied"):
        copy_ledger(source, ledger)
    assert rows_of(ledger) == before


@pytest.fixture
def altered_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bit of a grade is lost."""
    insert = copying.insert_rows

    def rounded(connection: sa.Connection, table: sa.Table, rows: pd.DataFrame) -> None:
        insert(connection, table, rows.assign(crps=rows["crps"].round(12)) if "crps" in rows else rows)

    monkeypatch.setattr(copying, "insert_rows", rounded)


def test_a_row_that_is_another_one_in_the_copy_undoes_it(
    source: Ledger, ledger: Ledger, altered_on_the_way: None
) -> None:
    with pytest.raises(LedgerError, match="found other rows of ledger_grades in the copy"):
        copy_ledger(source, ledger)
    assert not any(rows_of(ledger).values())


def test_who_issues_meanwhile_waits_and_continues_the_copied_chain(
    source: Ledger, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = copying._write

    def issuing_meanwhile(connection: sa.Connection, table: sa.Table, rows: Sequence[sa.Row[Any]]) -> int:
        if table is names:
            waiting.append(pool.submit(append, ledger, issue(as_of=DAYS[3])))
            with pytest.raises(TimeoutError):
                waiting[0].result(1)
        return write(connection, table, rows)

    monkeypatch.setattr(copying, "_write", issuing_meanwhile)
    waiting: list[Future[Appended]] = []
    with ThreadPoolExecutor(1) as pool:
        copy_ledger(source, ledger)
        (appended,) = [it.result() for it in waiting]
    assert appended.sequence == 4
    assert verify(ledger, "daily", {4: appended.digest}).fault is None
