"""Grades: scores by hand, each forecast once, restatements next to what they restate."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from pipeline.errors import LedgerError
from pipeline.evaluation.scores import METRICS
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import GRADE_COLUMNS, Graded, append_grades, scored
from pipeline.operation.ledger.issues import LATE
from pipeline.operation.ledger.reading import rows_of_origin, ungraded
from pipeline.operation.ledger.record import first_outcomes, last_graded, latest_outcomes, record_of
from pipeline.operation.ledger.schema import grades, gradings
from pipeline.operation.ledger.verification import verify
from pipeline.operation.ledger.writing import append

from .issued import DAY, days, issue

DAYS = days(4)
TICKERS = ("AAPL", "MSFT", "BRK-B")
AT = issue(as_of=DAYS[-1]).issued_at


def outcomes_of(rows: pd.DataFrame, shift: float = 0.0) -> pd.DataFrame:
    """Seeded outcomes of all targets of rows."""
    targets = rows[["ticker", "as_of", "horizon"]].drop_duplicates(ignore_index=True)
    return targets.assign(outcome=np.random.default_rng(5).normal(size=len(targets)) * 0.02 + shift)


@pytest.fixture
def rows(ledger: Ledger) -> pd.DataFrame:
    """The rows of a day in the ledger, all of whose targets have closed by AT."""
    append(ledger, issue())
    return rows_of_origin(ledger, "daily", DAY, "XNYS")


def test_scores_by_hand() -> None:
    row = issue(tickers=("AAPL",), horizons=1, forecasters=("network",)).rows
    row = row.assign(**dict(zip(QUANTILE_COLUMNS, [-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03], strict=True)))
    (grade,) = scored(row, row[["ticker", "as_of", "horizon"]].assign(outcome=0.015)).to_dict("records")
    losses = [
        level * (0.015 - q) if q <= 0.015 else (1 - level) * (q - 0.015)
        for level, q in zip(LEVELS, row[list(QUANTILE_COLUMNS)].iloc[0], strict=True)
    ]
    areas = [(b - a) * (x + y) for a, b, x, y in zip(LEVELS, LEVELS[1:], losses, losses[1:], strict=False)]
    assert grade["pinball"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert grade["crps"] == pytest.approx(sum(areas), rel=1e-12)
    assert grade["error"] == 0.015
    assert [grade[f"inside_{band}"] for band in (50, 80, 90)] == [False, True, True]


def test_scores_are_those_of_the_evaluation() -> None:
    rows = issue().rows
    found = scored(rows, outcomes_of(rows)).merge(outcomes_of(rows), on=["ticker", "as_of", "horizon", "outcome"])
    quantiles, outcome = rows[list(QUANTILE_COLUMNS)].to_numpy(), found["outcome"].to_numpy()
    assert tuple(found.columns) == GRADE_COLUMNS
    for name, metric in (("pinball", "pinball"), ("crps", "crps"), ("inside_80", "coverage_80")):
        np.testing.assert_array_equal(found[name].astype(float), METRICS[metric](quantiles, outcome))
    np.testing.assert_array_equal(found["error"].abs(), METRICS["mae_return"](quantiles, outcome))


def test_a_row_without_an_outcome_is_not_scored() -> None:
    rows = issue().rows
    outcomes = outcomes_of(rows)
    outcomes.loc[outcomes["ticker"] == "MSFT", "outcome"] = np.nan
    assert set(scored(rows, outcomes[outcomes["ticker"] != "AAPL"])["ticker"]) == {"BRK-B"}


def test_a_forecast_is_graded_once(ledger: Ledger, rows: pd.DataFrame) -> None:
    scores = scored(rows, outcomes_of(rows))
    assert append_grades(ledger, "daily", scores, AT, AT) == Graded(12, 0, 0)
    assert ungraded(ledger, "daily", DAYS[-1]).empty
    assert append_grades(ledger, "daily", scores, AT, AT) == Graded(0, 0, 12)
    assert append_grades(ledger, "daily", scores.head(0), AT, AT) == Graded(0, 0, 0)
    with ledger.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(grades)).scalar_one() == 12
        assert connection.execute(sa.select(sa.func.count()).select_from(gradings)).scalar_one() == 1
    assert verify(ledger, "daily", {}).fault is None


def test_some_rows_wait_on_while_others_are_graded(ledger: Ledger, rows: pd.DataFrame) -> None:
    append(ledger, issue("sample"))
    due = rows[rows["horizon"] == 1]
    assert append_grades(ledger, "daily", scored(due, outcomes_of(due)), AT, None).added == 6
    assert set(ungraded(ledger, "daily", DAYS[-1])["horizon"]) == {2}
    assert len(ungraded(ledger, "sample", DAYS[-1])) == 12


def test_a_restated_outcome_is_the_next_revision(ledger: Ledger, rows: pd.DataFrame) -> None:
    first, second = outcomes_of(rows), outcomes_of(rows, 0.01)
    append_grades(ledger, "daily", scored(rows, first), AT, AT)
    restated = second.where(second["ticker"] == "MSFT", first)
    later = AT + timedelta(days=3)
    assert append_grades(ledger, "daily", scored(rows, restated), later, later) == Graded(0, 4, 8)
    assert append_grades(ledger, "daily", scored(rows, restated), later, later) == Graded(0, 0, 12)
    assert append_grades(ledger, "daily", scored(rows, first), later, later) == Graded(0, 4, 8)
    found, latest = (reads(ledger, "daily", TICKERS, DAY) for reads in (first_outcomes, latest_outcomes))
    assert set(found["revision"]) == {0}
    assert dict(zip(latest["ticker"], latest["revision"], strict=True)) == {"AAPL": 0, "BRK-B": 0, "MSFT": 2}
    key = ["ticker", "as_of", "horizon"]
    expected = first.sort_values(key, ignore_index=True)
    np.testing.assert_array_equal(found["outcome"], expected["outcome"])
    np.testing.assert_array_equal(latest["outcome"], expected["outcome"])


def test_the_latest_outcome_is_the_restated_one(ledger: Ledger, rows: pd.DataFrame) -> None:
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows)), AT, AT)
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows, 0.01)), AT, AT)
    found, latest = (reads(ledger, "daily", ["MSFT"], DAY) for reads in (first_outcomes, latest_outcomes))
    np.testing.assert_allclose(latest["outcome"] - found["outcome"], 0.01, rtol=1e-9)
    assert list(latest["target_session"].dt.date) == DAYS[1:3]
    assert first_outcomes(ledger, "daily", ["MSFT"], DAYS[1]).empty


def test_of_each_ticker_the_instant_of_its_last_grading_is_read(ledger: Ledger, rows: pd.DataFrame) -> None:
    append(ledger, issue("sample"))
    later = AT + timedelta(days=3)
    scores = scored(rows, outcomes_of(rows))
    append_grades(ledger, "daily", scores[scores["ticker"] != "BRK-B"], AT, AT)
    append_grades(ledger, "daily", scored(rows[rows["ticker"] == "MSFT"], outcomes_of(rows, 0.01)), later, later)
    assert last_graded(ledger, "daily", TICKERS, DAY) == {"AAPL": AT, "MSFT": later}
    assert last_graded(ledger, "daily", ["AAPL"], DAY) == {"AAPL": AT}
    assert last_graded(ledger, "daily", TICKERS, DAYS[1]) == last_graded(ledger, "sample", TICKERS, DAY) == {}
    assert last_graded(ledger, "daily", ["NEW"], DAY) == last_graded(ledger, "daily", [], DAY) == {}
    append_grades(ledger, "daily", scores[scores["ticker"] == "BRK-B"], AT, None)  # prices of no store
    assert set(last_graded(ledger, "daily", TICKERS, DAY)) == {"AAPL", "MSFT"}


def test_rounding_is_no_restatement(ledger: Ledger, rows: pd.DataFrame) -> None:
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows)), AT, AT)
    assert append_grades(ledger, "daily", scored(rows, outcomes_of(rows, 9e-7)), AT, AT) == Graded(0, 0, 12)
    assert append_grades(ledger, "daily", scored(rows, outcomes_of(rows, 1.1e-6)), AT, AT) == Graded(0, 12, 0)


def test_what_was_never_issued_is_not_graded(ledger: Ledger, rows: pd.DataFrame) -> None:
    scores = scored(rows, outcomes_of(rows))
    for model, changed in (
        ("sample", scores),
        ("daily", scores.assign(ticker="NEW")),
        ("daily", scores.assign(horizon=9)),
    ):
        with pytest.raises(LedgerError, match=f"was never issued under {model}"):
            append_grades(ledger, model, changed, AT, AT)
    with pytest.raises(LedgerError, match="no finite score"):
        append_grades(ledger, "daily", scores.assign(pinball=np.nan), AT, AT)
    with pytest.raises(LedgerError, match="without a time zone"):
        append_grades(ledger, "daily", scores, AT.replace(tzinfo=None), AT)


def test_the_record_by_horizon_and_forecaster(ledger: Ledger, rows: pd.DataFrame) -> None:
    scores = scored(rows, outcomes_of(rows))
    append_grades(ledger, "daily", scores, AT, AT)
    record = record_of(ledger, "daily")
    expected = scores.groupby(["horizon", "forecaster"], as_index=False).agg(
        rows=("pinball", "size"), pinball=("pinball", "mean"), crps=("crps", "mean"), coverage_80=("inside_80", "mean")
    )
    pd.testing.assert_frame_equal(record[list(expected.columns)], expected, check_dtype=False, rtol=1e-12)
    assert set(record["status"]) == {"on time"}


def test_late_rows_are_not_counted_with_those_on_time(ledger: Ledger, rows: pd.DataFrame) -> None:
    append(ledger, issue(as_of=DAYS[1], status=LATE, at=AT))
    late = rows_of_origin(ledger, "daily", DAYS[1], "XNYS")
    both = pd.concat([rows, late])
    scores = scored(both, outcomes_of(both))
    append_grades(ledger, "daily", scores, AT, AT)
    on_time = scores[scores["as_of"].dt.date == DAY].groupby(["horizon", "forecaster"])["pinball"].mean()
    record = record_of(ledger, "daily")
    assert list(record["status"].unique()) == ["on time", "late"]
    np.testing.assert_allclose(record.loc[record["status"] == "on time", "pinball"], on_time.to_numpy(), rtol=1e-12)
    assert list(record_of(ledger, "daily", by=())["rows"]) == [12, 12]
    assert list(record_of(ledger, "daily", since=DAYS[1])["status"].unique()) == ["late"]


def test_the_record_keeps_to_the_first_grade(ledger: Ledger, rows: pd.DataFrame) -> None:
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows)), AT, AT)
    before = record_of(ledger, "daily")
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows, 0.5)), AT, AT)
    pd.testing.assert_frame_equal(record_of(ledger, "daily"), before)


def test_the_record_by_other_groups(ledger: Ledger, rows: pd.DataFrame) -> None:
    append_grades(ledger, "daily", scored(rows, outcomes_of(rows)), AT, AT)
    record = record_of(ledger, "daily", by=("calendar", "version", "ticker"))
    assert list(record["ticker"]) == ["AAPL", "BRK-B", "MSFT"]
    assert set(record["calendar"]) == {"XNYS"}
    assert record_of(ledger, "nobody").empty
    with pytest.raises(LedgerError, match="found the group 'colour', expected some of ticker"):
        record_of(ledger, "daily", by=("colour",))
