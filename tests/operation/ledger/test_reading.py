"""What was issued is read as it was issued, on both databases."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import append_grades, scored
from pipeline.operation.ledger.issues import COLUMNS, LATE, Issue
from pipeline.operation.ledger.reading import (
    READ_COLUMNS,
    entry_at,
    exported,
    first_graded,
    last_entry,
    listed,
    model_names,
    rows_of_entry,
    rows_of_origin,
    rows_of_targets,
    ungraded,
)
from pipeline.operation.ledger.writing import append

from .issued import DAY, days, forecast_rows, issue, provenance

DAYS = days(4)


@pytest.fixture
def issued(ledger: Ledger) -> list[Issue]:
    """Four days under the name daily, and one under another."""
    issues = [issue(as_of=day) for day in DAYS]
    for it in [*issues, issue("sample", seed=9)]:
        append(ledger, it)
    return issues


def last_day(ledger: Ledger, model: str, calendar: str) -> date | None:
    entry = last_entry(ledger, model, calendar)
    return entry and entry.last_origin


def test_the_rows_of_an_origin_are_those_that_were_issued_bit_for_bit(ledger: Ledger, issued: list[Issue]) -> None:
    rows = rows_of_origin(ledger, "daily", DAYS[1], "XNYS")
    assert tuple(rows.columns) == READ_COLUMNS
    pd.testing.assert_frame_equal(rows[list(COLUMNS)], issued[1].rows, check_exact=True)
    assert set(rows["sequence"]) == {2}
    assert set(rows["issued_at"]) == {issued[1].issued_at}
    assert (rows["q05"].astype(np.float32) == rows["q05"]).all()


def test_an_issue_that_is_read_can_be_issued_again(ledger: Ledger, issued: list[Issue]) -> None:
    rows = rows_of_origin(ledger, "daily", DAYS[1], "XNYS")
    assert append(ledger, Issue(provenance(), issued[1].issued_at, rows)).added == 0


def test_nothing_is_read_where_nothing_was_issued(ledger: Ledger, issued: list[Issue]) -> None:
    for rows in (
        rows_of_origin(ledger, "daily", date(2020, 1, 2), "XNYS"),
        rows_of_origin(ledger, "daily", DAYS[1], "XLON"),
        rows_of_origin(ledger, "nobody", DAYS[1], "XNYS"),
        rows_of_entry(ledger, "daily", 99),
        ungraded(ledger, "nobody", date(2030, 1, 1)),
        exported(ledger, "nobody").drop(columns="actual"),
        rows_of_targets(ledger, "daily", forecast_rows(tickers=("NEW",))),
    ):
        assert rows.empty
        assert tuple(rows.columns) == READ_COLUMNS
    assert last_entry(ledger, "nobody", "XNYS") is None
    assert last_entry(ledger, "daily", "XLON") is None
    assert listed(ledger, "nobody", 5) == []
    assert entry_at(ledger, "daily", 99) is None


def test_the_last_entry_is_the_newest_of_the_calendar(ledger: Ledger, issued: list[Issue]) -> None:
    assert last_day(ledger, "daily", "XNYS") == DAYS[-1]
    late = Issue(provenance(), issued[-1].issued_at, forecast_rows(days(1, date(2023, 12, 1))[0], status=LATE))
    sequence = append(ledger, late).sequence
    assert last_day(ledger, "daily", "XNYS") == date(2023, 12, 1)
    before = last_entry(ledger, "daily", "XNYS", before=sequence)
    assert before is not None
    assert (before.sequence, before.last_origin) == (sequence - 1, DAYS[-1])
    assert last_day(ledger, "sample", "XNYS") == DAY


def test_entries_are_listed_newest_first(ledger: Ledger, issued: list[Issue]) -> None:
    assert model_names(ledger) == ["daily", "sample"]
    first, second = listed(ledger, "daily", 2)
    assert (first.sequence, second.sequence) == (4, 3)
    assert first.provenance == issued[-1].provenance
    assert (first.issued_at, first.row_count, first.last_origin) == (issued[-1].issued_at, 12, DAYS[-1])
    assert entry_at(ledger, "daily", 3) == second


def test_a_provenance_without_what_may_be_absent_comes_back(ledger: Ledger) -> None:
    given = provenance(calibration_digest=None, known_at=None, backtest=None)
    append(ledger, Issue(given, issue().issued_at, forecast_rows()))
    (entry,) = listed(ledger, "daily", 9)
    assert entry.provenance == given


def test_what_waits_for_its_outcome(ledger: Ledger, issued: list[Issue]) -> None:
    assert ungraded(ledger, "daily", DAYS[0]).empty
    rows = ungraded(ledger, "daily", DAYS[2])
    due = {(DAYS[0], 1), (DAYS[0], 2), (DAYS[1], 1)}
    assert set(zip(rows["as_of"].dt.date, rows["horizon"], strict=True)) == due
    assert (len(rows), set(rows["version"])) == (18, {1})
    assert set(ungraded(ledger, "daily", DAYS[2], ["MSFT", "NEW"])["ticker"]) == {"MSFT"}
    assert ungraded(ledger, "daily", DAYS[2], []).empty


def test_the_rows_of_some_targets(ledger: Ledger, issued: list[Issue]) -> None:
    targets = issued[2].rows.query("ticker == 'MSFT' and horizon == 2")[["ticker", "as_of", "horizon"]]
    rows = rows_of_targets(ledger, "daily", targets)
    assert list(rows["forecaster"]) == ["ewma", "network"]
    assert set(rows["as_of"].dt.date) == {DAYS[2]}


def test_an_export_is_in_prices(ledger: Ledger, issued: list[Issue]) -> None:
    rows = exported(ledger, "daily", DAYS[1], DAYS[2])
    assert set(rows["as_of"].dt.date) == set(DAYS[1:3])
    given = pd.concat([issued[1].rows, issued[2].rows]).sort_values(["ticker", "as_of", "horizon", "forecaster"])
    for name in QUANTILE_COLUMNS:
        expected = given["reference_close"] * np.exp(given[name])
        np.testing.assert_allclose(rows[name], expected, rtol=1e-15)
    assert rows["actual"].isna().all()


def test_an_export_has_the_price_that_came(ledger: Ledger, issued: list[Issue]) -> None:
    rows = ungraded(ledger, "daily", DAYS[1])
    outcomes = rows[["ticker", "as_of", "horizon"]].drop_duplicates().assign(outcome=0.01)
    append_grades(ledger, "daily", scored(rows, outcomes), issued[1].issued_at, None)
    graded = exported(ledger, "daily").dropna(subset="actual")
    assert len(graded) == len(rows) == 6
    np.testing.assert_allclose(graded["actual"], graded["reference_close"] * np.exp(0.01), rtol=1e-15)


def test_graded_rows_have_the_outcome_of_their_first_grade(ledger: Ledger, issued: list[Issue]) -> None:
    assert first_graded(ledger, "daily").empty
    rows = ungraded(ledger, "daily", DAYS[2])
    for outcome in (0.01, 0.05):  # the second is restated
        outcomes = rows[["ticker", "as_of", "horizon"]].drop_duplicates().assign(outcome=outcome)
        append_grades(ledger, "daily", scored(rows, outcomes), issued[1].issued_at, None)
    found = first_graded(ledger, "daily")
    assert tuple(found.columns) == (*READ_COLUMNS, "outcome")
    pd.testing.assert_frame_equal(found.drop(columns="outcome"), rows, check_exact=True)
    assert (found["outcome"] == 0.01).all()
    of_day = first_graded(ledger, "daily", DAYS[1], DAYS[1])
    assert set(of_day["as_of"].dt.date) == {DAYS[1]}
    assert len(of_day) == (rows["as_of"].dt.date == DAYS[1]).sum() > 0
