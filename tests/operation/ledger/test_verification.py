"""Whatever is changed in a ledger by hand is found, on both databases, and the first faulty entry is named."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.operation.ledger.chain import FIRST, digest_of
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.schema import METADATA, entries, forecasts, waiting
from pipeline.operation.ledger.verification import verify
from pipeline.operation.ledger.writing import append

from .issued import days, issue

ENTRIES = 5


@pytest.fixture
def heads(ledger: Ledger) -> dict[int, str]:
    """The digests of five issues in the ledger, each of another day."""
    appended = [append(ledger, issue(as_of=day)) for day in days(ENTRIES)]
    return {entry.sequence: entry.digest for entry in appended}


def tamper(ledger: Ledger, *statements: sa.Executable) -> None:
    """Execute statements as someone would who may do anything with the database."""
    with ledger.engine.connect() as connection:
        for table in METADATA.tables:
            if ledger.engine.dialect.name == "postgresql":
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
            else:
                for change in ("update", "delete"):
                    connection.execute(sa.text(f"DROP TRIGGER IF EXISTS {table}_no_{change}"))
        connection.commit()
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def fault(ledger: Ledger, heads: Mapping[int, str]) -> tuple[int, str]:
    found = verify(ledger, "daily", heads).fault
    assert found is not None
    return found.sequence, found.sentence


THIRD = forecasts.c.sequence == 3
FIRST_TICKER = sa.select(sa.func.min(forecasts.c.ticker_id)).scalar_subquery()
TWO_ROWS = THIRD & (forecasts.c.horizon == 1) & (forecasts.c.ticker_id == FIRST_TICKER)


def test_an_untouched_ledger_is_as_it_was_written(ledger: Ledger, heads: dict[int, str]) -> None:
    found = verify(ledger, "daily", heads)
    assert (found.entries, found.rows, found.head, found.fault) == (ENTRIES, 12 * ENTRIES, heads[ENTRIES], None)


def test_an_empty_ledger_is_whole(ledger: Ledger) -> None:
    found = verify(ledger, "daily", {})
    assert (found.entries, found.head, found.fault) == (0, "", None)


@pytest.mark.parametrize(
    "values",
    [
        {"q50": 0.0},
        {"reference_close": 1.0},
        {"published": False},
        {"status": 1},
        {"status": 99},
        {"target_session": 20_000},
        {"q05": -0.02},
    ],
)
def test_an_altered_row_is_found(ledger: Ledger, heads: dict[int, str], values: dict[str, object]) -> None:
    tamper(ledger, sa.update(forecasts).where(THIRD).values(values))
    sequence, sentence = fault(ledger, {})
    assert sequence == 3
    assert "altered" in sentence


def test_an_altered_key_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    tamper(ledger, sa.update(forecasts).where(THIRD).values(horizon=forecasts.c.horizon + 5))
    assert fault(ledger, {})[0] == 3


@pytest.mark.parametrize(
    "values",
    [
        {"version": 2},
        {"issued_at": entries.c.issued_at - 1},
        {"known_at": None},
        {"backtest_verdict": "better"},
        {"backtest_date": None},
        {"code_version": ""},
        {"digest": b"\0" * 32},
        {"first_origin": 0},
        {"last_origin": 40_000},
    ],
)
def test_an_altered_entry_is_found(ledger: Ledger, heads: dict[int, str], values: dict[str, object]) -> None:
    tamper(ledger, sa.update(entries).where(entries.c.sequence == 3).values(values))
    assert fault(ledger, {})[0] == 3


def test_a_renamed_ticker_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    tamper(ledger, sa.update(METADATA.tables["ledger_names"]).values(name="X").where(sa.text("name = 'AAPL'")))
    assert fault(ledger, {})[0] == 1


def test_a_deleted_row_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    tamper(ledger, sa.delete(forecasts).where(TWO_ROWS))
    assert fault(ledger, {}) == (3, "found 10 rows in entry 3, expected 12: rows were deleted")


def test_a_deleted_row_is_found_though_it_is_not_counted(ledger: Ledger, heads: dict[int, str]) -> None:
    fewer = sa.update(entries).where(entries.c.sequence == 3).values(row_count=entries.c.row_count - 2)
    tamper(ledger, sa.delete(forecasts).where(TWO_ROWS), fewer)
    assert fault(ledger, {})[0] == 3


@pytest.mark.parametrize(
    ("column", "by", "into", "words"),
    [
        ("horizon", 5, 3, "24 rows in entry 3, expected 12: rows were inserted"),
        ("as_of", 1000, 3, "12 rows that no entry has, the first of entry 3: rows were inserted"),
        ("as_of", 1000, 9, "12 rows that no entry has, the first of entry 9: rows were inserted"),
        ("horizon", 5, 9, "12 rows that no entry has, the first of entry 9: rows were inserted"),
    ],
)
def test_an_inserted_row_is_found(
    ledger: Ledger, heads: dict[int, str], column: str, by: int, into: int, words: str
) -> None:
    columns = [it.name for it in forecasts.columns]
    changed = {column: forecasts.c[column] + by, "sequence": sa.literal(into)}
    copied = sa.select(*(changed.get(name, forecasts.c[name]) for name in columns)).where(THIRD)
    tamper(ledger, sa.insert(forecasts).from_select(columns, copied))
    sequence, sentence = fault(ledger, {})
    assert sequence == into
    assert words in sentence


def test_a_row_moved_to_another_entry_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    """Both entries have the number of rows that they had."""
    swapped = sa.case((THIRD, 4), else_=3)
    where = (forecasts.c.horizon == 1) & forecasts.c.sequence.in_([3, 4])
    tamper(ledger, sa.update(forecasts).where(where).values(sequence=swapped))
    assert fault(ledger, {})[0] == 3


def test_reordered_entries_are_found(ledger: Ledger, heads: dict[int, str]) -> None:
    statements = [
        sa.update(table).where(table.c.sequence == found).values(sequence=wanted)
        for found, wanted in ((3, 99), (4, 3), (99, 4))
        for table in (entries, forecasts)
    ]
    tamper(ledger, *statements)
    assert fault(ledger, {})[0] == 3


def test_an_entry_taken_out_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    tamper(ledger, sa.delete(forecasts).where(THIRD), sa.delete(entries).where(entries.c.sequence == 3))
    assert fault(ledger, {}) == (3, "found entry 4 after entry 2, expected 3: entries are gone")


def cut_tail(ledger: Ledger, after: int) -> None:
    tamper(
        ledger,
        sa.delete(forecasts).where(forecasts.c.sequence > after),
        sa.delete(entries).where(entries.c.sequence > after),
        sa.delete(waiting),
    )


def test_a_cut_tail_is_found_by_the_digests_noted_elsewhere(ledger: Ledger, heads: dict[int, str]) -> None:
    cut_tail(ledger, 3)
    assert verify(ledger, "daily", {}).fault is None  # nothing within the ledger says that there was more
    sequence, sentence = fault(ledger, {4: heads[4]})
    assert sequence == 4
    assert sentence.startswith("found a chain that ends at entry 3, expected entry 4,")
    assert "the tail was cut off" in sentence


def test_an_emptied_ledger_is_found(ledger: Ledger, heads: dict[int, str]) -> None:
    cut_tail(ledger, 0)
    assert fault(ledger, heads)[0] == 1


def test_a_chain_written_anew_is_found_by_the_digests_noted_elsewhere(ledger: Ledger, heads: dict[int, str]) -> None:
    """Someone issues other rows from the third entry on, with digests that fit."""
    cut_tail(ledger, 2)
    for day in days(ENTRIES)[2:]:
        append(ledger, issue(as_of=day, seed=1))
    assert verify(ledger, "daily", {2: heads[2]}).fault is None
    sequence, sentence = fault(ledger, heads)
    assert (sequence, "was written anew" in sentence) == (3, True)
    assert fault(ledger, {5: heads[5]})[0] == 5


def test_an_altered_row_with_a_digest_that_fits_breaks_the_next_entry(
    ledger: Ledger, heads: dict[int, str], tmp_path: Path
) -> None:
    first, second, third = (issue(as_of=day) for day in days(3))
    forged = replace(third, rows=third.rows.assign(reference_close=50.0))
    elsewhere = open_ledger(f"sqlite:///{tmp_path}/forged.db")
    digest = [append(elsewhere, it).digest for it in (first, second, forged)][-1]
    tamper(
        ledger,
        sa.update(forecasts).where(THIRD).values(reference_close=50.0),
        sa.update(entries).where(entries.c.sequence == 3).values(digest=bytes.fromhex(digest)),
    )
    assert fault(ledger, {})[0] == 4
    assert fault(ledger, heads)[0] == 3


def test_the_first_digest_follows_from_the_issue_alone(ledger: Ledger, heads: dict[int, str]) -> None:
    first = issue()
    assert heads[1] == digest_of(FIRST, 1, first.provenance, first.issued_at, first.rows).hex()
