"""Appending on both databases: what was issued stands, whole or not at all."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from pipeline.errors import LedgerConflictError, LedgerError
from pipeline.market.calendars import closed_at
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.issues import LATE, VALUES, Issue
from pipeline.operation.ledger.schema import METADATA, entries, forecasts
from pipeline.operation.ledger.verification import verify
from pipeline.operation.ledger.writing import append

from .issued import DAY, days, forecast_rows, issue, provenance


def counted(ledger: Ledger) -> dict[str, int]:
    with ledger.reading() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in METADATA.tables.items()
        }


def test_an_issue_is_one_entry(ledger: Ledger) -> None:
    first, second = (append(ledger, issue(as_of=day)) for day in days(2))
    assert (first.sequence, first.added, first.existing) == (1, 12, 0)
    assert (second.sequence, second.added, second.existing) == (2, 12, 0)
    assert first.digest != second.digest
    assert counted(ledger)["ledger_forecasts"] == 24
    assert verify(ledger, "daily", {1: first.digest, 2: second.digest}).fault is None


def test_the_same_issue_again_adds_nothing(ledger: Ledger) -> None:
    first = append(ledger, issue())
    append(ledger, issue(as_of=days(2)[1]))
    before = counted(ledger)
    again = append(ledger, issue(at=closed_at("XNYS", DAY) + timedelta(hours=2)))
    assert again == replace(first, added=0, existing=12)
    assert counted(ledger) == before


def test_rows_that_are_new_make_an_entry_of_their_own(ledger: Ledger) -> None:
    """After a crash between calendars, or with one more ticker: what exists stays, the rest is added."""
    whole = issue(tickers=("AAPL", "MSFT"))
    some = whole.rows["ticker"] == "MSFT"
    append(ledger, replace(whole, rows=whole.rows[some]))
    found = append(ledger, whole)
    assert (found.sequence, found.added, found.existing) == (2, 4, 4)
    assert verify(ledger, "daily", {}).rows == 8


def test_the_status_of_the_first_issue_stands(ledger: Ledger) -> None:
    append(ledger, issue())
    assert append(ledger, issue(status=LATE, at=datetime(2024, 3, 1, tzinfo=UTC))).added == 0


@pytest.mark.parametrize("column", VALUES)
def test_another_value_is_refused_and_nothing_is_written(ledger: Ledger, column: str) -> None:
    first = issue()
    append(ledger, first)
    before = counted(ledger)
    rows = pd.concat([first.rows, forecast_rows(tickers=("NEW",))])
    place = rows.index[(rows["ticker"] == "MSFT") & (rows["horizon"] == 2) & (rows["forecaster"] == "network")]
    if column == "published":
        rows.loc[rows["ticker"] == "MSFT", "published"] = False
    elif column == "target_session":
        rows.loc[place, column] += np.timedelta64(1, "D")
    elif column == "q95":
        rows.loc[place, column] = np.nextafter(rows.loc[place, column], 9)
    else:
        rows.loc[place, column] = np.nextafter(rows.loc[place, column], -9)
    with pytest.raises(LedgerConflictError, match=rf"{column} = .*daily: MSFT as of 2024-01-02, .*in entry 1"):
        append(ledger, Issue(first.provenance, first.issued_at, rows))
    assert counted(ledger) == before


def test_the_conflict_names_both_values(ledger: Ledger) -> None:
    rows = forecast_rows(tickers=("AAPL",), horizons=1, forecasters=("network",)).assign(reference_close=10.0)
    append(ledger, Issue(provenance(), closed_at("XNYS", DAY), rows))
    with pytest.raises(LedgerConflictError) as refused:
        append(ledger, Issue(provenance(), closed_at("XNYS", DAY), rows.assign(reference_close=11.0)))
    assert "found reference_close = 11.0 for daily: AAPL as of 2024-01-02, horizon 1, network" in str(refused.value)
    assert "expected 10.0 as issued in entry 1" in str(refused.value)


def test_two_model_names_have_a_chain_each(ledger: Ledger) -> None:
    append(ledger, issue())
    append(ledger, issue(as_of=days(2)[1]))
    other = append(ledger, issue("sample", seed=7))
    assert other.sequence == 1
    assert verify(ledger, "sample", {}).entries == 1
    assert verify(ledger, "daily", {}).entries == 2


def test_a_target_that_has_closed_is_refused_unless_late(ledger: Ledger) -> None:
    (_, next_day) = days(2)
    close = closed_at("XNYS", next_day)
    with pytest.raises(LedgerError, match=r"AAPL as of 2024-01-02, horizon 1, ewma: its target session had closed"):
        append(ledger, issue(at=close))
    assert counted(ledger)["ledger_entries"] == 0
    assert append(ledger, issue(at=close, status=LATE)).added == 12


def test_a_target_that_is_still_open_is_issued(ledger: Ledger) -> None:
    (_, next_day) = days(2)
    assert append(ledger, issue(at=closed_at("XNYS", next_day) - timedelta(microseconds=1))).added == 12


def test_half_days_close_early(ledger: Ledger) -> None:
    """2023-11-24 ended at 13:00 New York time, 18:00 UTC."""
    before = date(2023, 11, 22)
    with pytest.raises(LedgerError, match="had closed at 2023-11-24T18:00:00 UTC"):
        append(ledger, issue(as_of=before, at=datetime(2023, 11, 24, 18, tzinfo=UTC)))


def test_a_target_that_is_no_session_is_refused(ledger: Ledger) -> None:
    rows = forecast_rows().assign(target_session=np.datetime64("2024-01-06", "s"))
    with pytest.raises(LedgerError, match="target session 2024-01-06, expected a session of XNYS"):
        append(ledger, Issue(provenance(), closed_at("XNYS", DAY), rows))


def test_the_database_itself_refuses_changes(ledger: Ledger) -> None:
    append(ledger, issue())
    for statement in (sa.update(forecasts).values(q50=0.0), sa.delete(forecasts), sa.update(entries).values(version=2)):
        with pytest.raises(LedgerError, match="append-only"), ledger.writing("daily") as connection:
            connection.execute(statement)


def test_an_error_undoes_the_transaction(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.writing("daily") as connection:
            connection.execute(sa.text("INSERT INTO ledger_names (name) VALUES ('x')"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert counted(ledger)["ledger_names"] == 0


def test_a_reader_sees_one_state_while_another_writes(ledger: Ledger) -> None:
    """Else a verification would find rows of an issue made meanwhile, without their entry."""
    append(ledger, issue())
    count = sa.select(sa.func.count()).select_from(forecasts)
    with ledger.reading() as connection:
        before = connection.execute(count).scalar_one()
        append(ledger, issue(as_of=days(2)[1]))
        assert connection.execute(count).scalar_one() == before == 12
    assert counted(ledger)["ledger_forecasts"] == 24


def test_both_databases_have_the_same_digests(ledger: Ledger, tmp_path: Path) -> None:
    other = open_ledger(f"sqlite:///{tmp_path}/other.db")
    append(other, issue("sample"))  # numbers of names differ between the two
    for day in days(3):
        assert append(ledger, issue(as_of=day)) == append(other, issue(as_of=day))
