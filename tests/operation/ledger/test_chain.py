"""The canonical form: a digest over every value, the same wherever it is computed."""

import hashlib
import struct
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.ledger.chain import FIRST, day_number, day_of, digest_of, instant_of, microseconds
from pipeline.operation.ledger.issues import COLUMNS, Issue

from .issued import forecast_rows, issue, provenance

ISSUE = issue()


def digest(it: Issue = ISSUE, previous: bytes = FIRST, sequence: int = 1) -> str:
    return digest_of(previous, sequence, it.provenance, it.issued_at, it.rows).hex()


def test_the_form_by_hand() -> None:
    """Digests that were noted once are compared with for ever: another form needs another name at its start."""

    def text(value: str) -> bytes:
        return struct.pack(">i", len(value.encode())) + value.encode()

    one_row = forecast_rows(tickers=("Å",), horizons=1, forecasters=("network",))
    floats = [0.1, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03]  # the reference close, then the quantiles
    rows = one_row.assign(**dict(zip(("reference_close", *QUANTILE_COLUMNS), floats, strict=True)))
    it = Issue(provenance(calibration_digest=None), datetime(2024, 1, 2, 21, tzinfo=UTC), rows)
    known_at = struct.pack(">q", 1_704_231_000_000_000)
    backtest = struct.pack(">i", 19_692) + text("The network is better – p < 0.001.") + text("mlflow-1")
    head = text("daily") + struct.pack(">i", 1) + text("XNYS") + text("e" * 64) + b"\0"
    head += text("0.1.0+abc") + text("1" * 64) + text("AVX2") + b"\1" + known_at + text("as_traded")
    head += b"\1" + backtest + text("run-1")
    row = text("Å") + struct.pack(">ii", 19_724, 1) + text("network") + struct.pack(">i", 19_725)
    row += struct.pack(">8d", *floats) + b"\1" + text("on time")
    issued_at = struct.pack(">q", 1_704_229_200_000_000)
    whole = b"tapecast ledger 1" + FIRST + struct.pack(">i", 7) + head + issued_at + struct.pack(">i", 1) + row
    assert digest(it, sequence=7) == hashlib.sha256(whole).hexdigest()


OTHERS: dict[str, Any] = {
    "ticker": "AAPM",
    "as_of": np.datetime64("2024-01-01", "s"),
    "horizon": 3,
    "forecaster": "evma",
    "target_session": np.datetime64("2024-02-02", "s"),
    "published": True,
    "status": "stale",
}


@pytest.mark.parametrize("column", COLUMNS)
def test_every_value_of_a_row_is_in_it(column: str) -> None:
    rows = ISSUE.rows.copy()
    before = rows.loc[0, column]
    rows.loc[0, column] = OTHERS[column] if column in OTHERS else np.nextafter(float(before), 1e9)  # type: ignore[arg-type]
    assert rows.loc[0, column] != before
    changed = replace(ISSUE)
    object.__setattr__(changed, "rows", rows)
    assert digest(changed) != digest()


@pytest.mark.parametrize(
    "values",
    [
        {"model": "other"},
        {"version": 2},
        {"calendar": "XLON"},
        {"experiment_digest": "f"},
        {"calibration_digest": None},
        {"code_version": "0.2"},
        {"lock_digest": "2"},
        {"cpu_capability": "AVX512"},
        {"known_at": None},
        {"known_at": datetime(2024, 1, 2, 21, 30, 0, 1, tzinfo=UTC)},
        {"price_basis": "split_adjusted"},
        {"backtest": None},
        {"run_id": "run-2"},
    ],
)
def test_every_value_of_the_provenance_is_in_it(values: dict[str, Any]) -> None:
    assert digest(replace(ISSUE, provenance=provenance(**values))) != digest()


@pytest.mark.parametrize("values", [{"date": date(2023, 12, 2)}, {"verdict": "worse"}, {"mlflow_run_id": "other"}])
def test_every_value_of_the_backtest_is_in_it(values: dict[str, Any]) -> None:
    backtest = ISSUE.provenance.backtest
    assert backtest is not None
    assert digest(replace(ISSUE, provenance=provenance(backtest=replace(backtest, **values)))) != digest()


def test_the_place_and_the_instant_are_in_it() -> None:
    later = replace(ISSUE, issued_at=ISSUE.issued_at + timedelta(microseconds=1))
    assert len({digest(), digest(previous=b"\1" * 32), digest(sequence=2), digest(later)}) == 4


def test_text_cannot_move_from_one_field_to_the_next() -> None:
    first = replace(ISSUE, provenance=provenance(code_version="ab", lock_digest="c"))
    second = replace(ISSUE, provenance=provenance(code_version="a", lock_digest="bc"))
    assert digest(first) != digest(second)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_instants_and_days_come_back(instant: datetime) -> None:
    assert instant_of(microseconds(instant)) == instant
    assert day_of(day_number(instant.date())) == instant.date()
