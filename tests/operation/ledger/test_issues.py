"""An issue is checked when it is made: only what can be kept, and graded, is issued."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import LedgerError
from pipeline.operation.ledger.issues import COLUMNS, KEY, Issue

from .issued import DAY, forecast_rows, issue, provenance

NOW = datetime(2024, 1, 2, 21, 30, tzinfo=UTC)


def test_rows_are_put_in_the_order_of_their_key_with_fixed_types() -> None:
    shuffled = forecast_rows().sample(frac=1, random_state=1)
    rows = Issue(provenance(), NOW, shuffled).rows
    assert tuple(rows.columns) == COLUMNS
    assert rows.equals(issue(at=NOW).rows)
    keys = [tuple(row) for row in rows[list(KEY)].itertuples(index=False)]
    assert keys == sorted(keys)
    assert rows["q05"].dtype == np.float64
    assert (rows["q05"].astype(np.float32) == rows["q05"]).all()


def changed(**columns: Any) -> pd.DataFrame:
    """Rows whose first has other values."""
    rows = forecast_rows()
    for name, value in columns.items():
        rows[name] = rows[name].astype(object) if isinstance(value, str) else rows[name]
        rows.loc[0, name] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (changed(q05=np.nan), "finite quantiles"),
        (changed(q95=np.inf), "finite quantiles"),
        (changed(q05=1.0), "quantiles that do not cross"),
        (changed(reference_close=0.0), "a reference close above zero"),
        (changed(reference_close=np.nan), "a reference close above zero"),
        (changed(horizon=0), "a horizon of 1 or more"),
        (changed(status="early"), "one of the states on time, late, stale"),
        (changed(ticker=""), "a ticker and a forecaster"),
        (changed(target_session=pd.Timestamp(DAY)), "a target session after as_of"),
        (pd.concat([forecast_rows(), forecast_rows().tail(1)]), "each row once"),
        (forecast_rows().assign(published=True), "one published forecaster"),
        (forecast_rows().head(0), "one or more"),
        (forecast_rows().drop(columns="q50"), "without the column q50"),
        (changed(ticker=None), "ticker has a missing value"),
        (changed(as_of=pd.NaT), "as_of has a missing value"),
    ],
)
def test_rows_that_cannot_be_issued_are_refused(rows: pd.DataFrame, expected: str) -> None:
    with pytest.raises(LedgerError, match=expected):
        Issue(provenance(), NOW, rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model": "no name"}, "model name"),
        ({"model": "../daily"}, "model name"),
        ({"model": ""}, "model name"),
        ({"version": 0}, "version 0"),
        ({"run_id": ""}, "empty run_id"),
        ({"known_at": datetime(2024, 1, 2)}, "without a time zone"),
    ],
)
def test_a_provenance_that_says_nothing_is_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(LedgerError, match=expected):
        provenance(**values)


def test_instants_are_in_utc() -> None:
    eastern = datetime(2024, 1, 2, 16, 30, tzinfo=timezone(timedelta(hours=-5)))
    found = Issue(provenance(known_at=eastern), eastern, forecast_rows())
    assert (found.issued_at, found.provenance.known_at) == (NOW, NOW)
    with pytest.raises(LedgerError, match="issued_at"):
        Issue(provenance(), eastern.replace(tzinfo=None), forecast_rows())


def test_minus_zero_becomes_zero() -> None:
    """SQLite stores it as zero: a digest over its sign could not be computed again."""
    rows = forecast_rows().assign(q05=-1, q10=-1, q25=-1, q50=-0.0, q75=0, q90=1, q95=1)
    assert not np.signbit(Issue(provenance(), NOW, rows).rows["q50"]).any()
