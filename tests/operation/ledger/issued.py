"""Issues made for tests: seeded forecasts of a few tickers."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.market.calendars import closed_at, next_sessions
from pipeline.operation.ledger.issues import ON_TIME, Issue, Provenance
from pipeline.operation.model import BacktestReference

DAY = date(2024, 1, 2)
FORECASTERS = ("network", "ewma")


def provenance(model: str = "daily", **values: Any) -> Provenance:
    usual = {
        "model": model,
        "version": 1,
        "calendar": "XNYS",
        "experiment_digest": "e" * 64,
        "calibration_digest": "c" * 64,
        "code_version": "0.1.0+abc",
        "lock_digest": "1" * 64,
        "cpu_capability": "AVX2",
        "known_at": datetime(2024, 1, 2, 21, 30, tzinfo=UTC),
        "price_basis": "as_traded",
        "backtest": BacktestReference(date(2023, 12, 1), "The network is better – p < 0.001.", "mlflow-1"),
        "run_id": "run-1",
    }
    return Provenance(**{**usual, **values})


def forecast_rows(
    as_of: date = DAY,
    tickers: Sequence[str] = ("AAPL", "MSFT", "BRK-B"),
    horizons: int = 2,
    forecasters: Sequence[str] = FORECASTERS,
    seed: int = 0,
    status: str = ON_TIME,
) -> pd.DataFrame:
    """Rows in no particular order, quantiles as float32 have them."""
    keys = [(ticker, h, name) for name in forecasters for h in range(1, horizons + 1) for ticker in tickers]
    rows = pd.DataFrame(keys, columns=["ticker", "horizon", "forecaster"])
    rng = np.random.default_rng([seed, as_of.toordinal()])
    targets = next_sessions("XNYS", as_of, horizons)
    quantiles = np.sort(rng.normal(size=(len(rows), len(QUANTILE_COLUMNS))) * 0.02, axis=1).astype(np.float32)
    return rows.assign(
        as_of=np.datetime64(as_of, "s"),
        target_session=targets[rows["horizon"] - 1].astype("datetime64[s]"),
        reference_close=100 * np.exp(rng.normal(size=len(rows))),
        published=rows["forecaster"] == forecasters[0],
        status=status,
        **dict(zip(QUANTILE_COLUMNS, quantiles.T, strict=True)),
    )


def issue(model: str = "daily", as_of: date = DAY, *, at: datetime | None = None, **options: Any) -> Issue:
    """An issue made when the session of `as_of` had closed."""
    return Issue(provenance(model), at or closed_at("XNYS", as_of), forecast_rows(as_of, **options))


def days(count: int, first: date = DAY) -> list[date]:
    """The first so many sessions from a day on, the day included."""
    return [first, *next_sessions("XNYS", first, count - 1).tolist()][:count]
