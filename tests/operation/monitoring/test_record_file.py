"""The record of what was issued: from the ledger, day by day or at once, and its file."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.frames import Frames
from pipeline.evaluation.session_record import PUBLISHED, RECORD_COLUMNS, RECORD_KEY
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.grades import append_grades, scored
from pipeline.operation.ledger.issues import LATE, log_quantiles
from pipeline.operation.ledger.reading import first_graded, rows_of_origin, ungraded
from pipeline.operation.ledger.writing import append
from pipeline.operation.monitoring.record_file import (
    AT_ONCE,
    brought_up_to_date,
    known_forecasts_of,
    new_record,
    read_record,
    write_record,
)
from pipeline.sqlite import sqlite_uri
from tests.operation.ledger.issued import days, issue
from tests.panels import TINY, changed, frames_from, random_rows

DAYS = days(6, date(2023, 9, 5))
LATEST = np.datetime64("2023-12-29")
TICKERS = ("AAPL", "BRK-B", "MSFT")
CUTS = np.array([-0.3, -0.1, 0.1, 0.3])


@pytest.fixture(scope="module")
def frames() -> Frames:
    rows = {ticker: random_rows(400, seed, LATEST) for seed, ticker in enumerate(TICKERS)}
    return frames_from(rows, changed(TINY, horizons=2))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return open_ledger(sqlite_uri(tmp_path / "ledger.db"))


def grade(ledger: Ledger, until: date, tickers: Sequence[str] = TICKERS) -> None:
    """Grade what has matured by a day, by outcomes that depend on ticker, day and horizon alone."""
    rows = ungraded(ledger, "daily", until, tickers)
    targets = rows[["ticker", "as_of", "horizon"]].drop_duplicates()
    places = [(TICKERS.index(row.ticker), row.as_of.toordinal(), row.horizon) for row in targets.itertuples()]
    outcomes = targets.assign(outcome=[0.02 * np.random.default_rng(place).normal() for place in places])
    append_grades(ledger, "daily", scored(rows, outcomes), issue().issued_at, None)


def test_rows_are_put_at_their_places(ledger: Ledger, frames: Frames) -> None:
    for day in DAYS[:3]:
        append(ledger, issue(as_of=day))
    grade(ledger, DAYS[-1])
    rows = first_graded(ledger, "daily").sample(frac=1, random_state=0)
    found = known_forecasts_of(rows, frames)
    assert found.sessions.tolist() == DAYS[:3]
    for row, values in zip(rows.to_dict("records"), log_quantiles(rows), strict=True):
        k, t, h = TICKERS.index(row["ticker"]), DAYS.index(row["as_of"].date()), row["horizon"] - 1
        np.testing.assert_array_equal(found.quantiles[row["forecaster"]][k, t, h], values.astype(np.float32))
        assert found.outcome[k, t, h] == np.float32(row["outcome"])
        if row["published"]:
            np.testing.assert_array_equal(found.published[k, t, h], values.astype(np.float32))
    at = frames.sessions.searchsorted(found.sessions)
    np.testing.assert_array_equal(found.relative_volatility, frames.relative_volatility[:, at])
    assert np.isfinite(found.relative_volatility).all()
    assert set(found.quantiles) == {"network", "ewma"}


def test_the_record_of_day_by_day_is_that_of_all_at_once(ledger: Ledger, frames: Frames) -> None:
    record = new_record()
    for today, day in enumerate(DAYS):
        late = ("BRK-B",) if today in (2, 3) else ()  # its outcomes of two days come a day later
        grade(ledger, day, [ticker for ticker in TICKERS if ticker not in late])
        since = DAYS[max(today - 4, 0)]
        record = brought_up_to_date(record, ledger, "daily", frames, CUTS, since)
        append(ledger, issue(as_of=day))
    whole = brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, None)
    pd.testing.assert_frame_equal(record, whole, check_exact=True)
    assert tuple(whole.columns) == RECORD_COLUMNS
    assert not whole.duplicated(list(RECORD_KEY)).any()
    assert set(whole["forecaster"]) == {"network", "ewma", PUBLISHED}
    assert set(whole["rows"]) == {3}


def test_years_are_read_in_parts(ledger: Ledger, frames: Frames) -> None:
    later = DAYS[0] + AT_ONCE + timedelta(days=2)
    for day in (DAYS[0], *days(2, later)):
        append(ledger, issue(as_of=day))
    grade(ledger, date(2023, 12, 29))
    record = brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, None)
    assert sorted({day.date() for day in record["as_of"]}) == [DAYS[0], *days(2, later)]


def test_what_was_issued_late_or_for_other_tickers_is_no_part_of_it(ledger: Ledger, frames: Frames) -> None:
    append(ledger, issue(as_of=DAYS[0]))
    append(ledger, issue(as_of=DAYS[1], status=LATE))
    append(ledger, issue(as_of=DAYS[2], tickers=("ELSE", "AAPL")))
    grade(ledger, DAYS[-1])
    record = brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, None)
    assert {day.date() for day in record["as_of"]} == {DAYS[0], DAYS[2]}
    assert set(record.loc[record["as_of"] == np.datetime64(DAYS[2]), "rows"]) == {1}
    assert len(rows_of_origin(ledger, "daily", DAYS[1], "XNYS"))


def test_nothing_issued_is_no_record(ledger: Ledger, frames: Frames) -> None:
    assert brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, None).empty
    append(ledger, issue(as_of=DAYS[0]))
    assert brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, DAYS[0]).empty


def test_a_record_that_is_missing_or_damaged_is_made_again(ledger: Ledger, frames: Frames, tmp_path: Path) -> None:
    assert read_record(tmp_path, "XNYS") is None
    append(ledger, issue(as_of=DAYS[0]))
    grade(ledger, DAYS[-1])
    record = brought_up_to_date(new_record(), ledger, "daily", frames, CUTS, None)
    write_record(tmp_path, "24/7", record)
    found = read_record(tmp_path, "24/7")
    assert found is not None
    pd.testing.assert_frame_equal(found, record, check_exact=True)
    (path,) = (tmp_path / "record").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert read_record(tmp_path, "24/7") is None
    record.drop(columns="rows").to_parquet(path)
    assert read_record(tmp_path, "24/7") is None
