"""Made days for the daily page: seeded forecasts of some tickers, what was said a session before, a live record."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.reporting.daily_page import CalendarDay, DailyPage, DataState, ModelState, NamedReason
from pipeline.reporting.daily_rows import TickerFacts, ticker_rows

ORIGIN, BEFORE = "2023-12-22", "2023-12-21"
TARGETS = ("2023-12-26", "2023-12-27", "2023-12-28", "2023-12-29", "2024-01-02")
Z = np.array([-1.645, -1.282, -0.674, 0.0, 0.674, 1.282, 1.645])
"""Quantiles of the normal at LEVELS."""
assert len(Z) == len(LEVELS)


def prices_of(close: float, daily: float, horizon: int, drift: float = 0.0) -> dict[str, float]:
    quantiles = close * np.exp(drift + Z * daily * np.sqrt(horizon))
    return dict(zip(QUANTILE_COLUMNS, map(float, quantiles), strict=True))


def forecast_json(ticker: str, close: float, daily: float = 0.01, drift: float = 0.0) -> list[dict[str, Any]]:
    """The published rows of a ticker as a day's JSON has them."""
    shared = {
        "ticker": ticker,
        "as_of": ORIGIN,
        "forecaster": "calibrated",
        "reference_close": close,
        "age_sessions": 0,
    }
    return [
        {**shared, "horizon": h, "target_session": target, **prices_of(close, daily, h, drift)}
        for h, target in enumerate(TARGETS, start=1)
    ]


def earlier_rows(ticker: str, close: float, actual: float, daily: float = 0.01) -> dict[str, Any]:
    """A row of the ledger for ORIGIN, issued a session before."""
    return {
        "ticker": ticker,
        "as_of": pd.Timestamp(BEFORE),
        "horizon": 1,
        "target_session": pd.Timestamp(ORIGIN),
        "published": True,
        "status": "on time",
        "reference_close": close,
        "actual": actual,
        **prices_of(close, daily, 1),
    }


def made_page(tickers: Sequence[str], seed: int = 0, **changes: Any) -> DailyPage:
    """A page of one calendar, with all that one may show."""
    draws = np.random.default_rng(seed)
    closes, daily = 10 ** draws.uniform(0.5, 3.5, len(tickers)), draws.uniform(0.006, 0.04, len(tickers))
    moves = draws.normal(0, daily)
    forecasts = [
        row
        for ticker, close, scale in zip(tickers, closes, daily, strict=True)
        for row in forecast_json(ticker, float(close), float(scale), float(draws.normal(0, 0.1) * scale))
    ]
    earlier = pd.DataFrame(
        [
            earlier_rows(ticker, close * np.exp(-move), close, scale * draws.uniform(0.9, 1.1))
            for ticker, close, move, scale in zip(tickers, closes, moves, daily, strict=True)
        ]
    )
    facts = TickerFacts("XNYS", ORIGIN, dict.fromkeys(tickers, "USD"), unseen=tuple(tickers[1:2]))
    values = {
        "model": "daily",
        "day": ORIGIN,
        "made_at": "2023-12-22 23:30",
        "status": "partial",
        "rows": ticker_rows(forecasts, earlier, facts),
        "calendars": (made_calendar(),),
        "refit": "No refit was due: the next one is in 2024-06 or later.",
    }
    return DailyPage(**{**values, **changes})


def made_calendar(calendar: str = "XNYS") -> CalendarDay:
    return CalendarDay(
        calendar=calendar,
        origin=ORIGIN,
        model=ModelState(3, ("Version 3 of model daily; its backtest of 2023-10-02: better than every baseline.",)),
        data=DataState(
            0,
            excluded=(NamedReason("GONE", "no bar of the last 5 sessions"),),
            stale=(NamedReason("SLOW", "the source refused: rate limit", "2023-12-21"),),
            quarantined=(NamedReason("ODD", "1 row: found a close of 0, expected a price", "2023-12-20"),),
            quarantined_count=1,
        ),
        live=made_record((12, 12)),
        promise=made_record((1204,)),
        done=("Issued 2023-12-22 (on time): 48 rows in entry 2 of the ledger, digest 0123456789ab.",),
        report="../../2023-12-22-daily-0123/report.html",
        mlflow_url="http://127.0.0.1:5000/#/experiments/1/runs/2",
    )


def made_record(sessions: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """A live record as JSON, its windows counting so many sessions at horizon 1."""
    windows = list(zip((60, 250), sessions, strict=False))
    baselines = ("climatology", "last_close", "drift", "ewma", "linear")
    at = [(window, h, count - h + 1) for window, count in windows for h in range(1, 6)]
    return {
        "skill": [
            {
                "window_sessions": w,
                "horizon": h,
                "baseline": name,
                "sessions": n,
                "skill": 0.01 * h,
                "skill_error": 0.004,
            }
            for w, h, n in at
            for name in baselines
        ],
        "coverage": [
            {
                "window_sessions": w,
                "horizon": h,
                "band": band,
                "sessions": n,
                "rows": 3 * n,
                "coverage": band / 100 - 0.013,
                "coverage_error": None if n < 2 else 0.021,
            }
            for w, h, n in at
            for band in (50, 80, 90)
        ],
        "regimes": [
            {"window_sessions": w, "horizon": h, "regime": "calmest", "sessions": n, "rows": n, "coverage_80": 0.82}
            for w, h, n in at
        ],
        "pit": [
            {
                "window_sessions": w,
                "horizon": h,
                "sessions": n,
                "low": low,
                "high": high,
                "expected": high - low,
                "observed": high - low,
            }
            for w, h, n in at
            for low, high in zip((0.0, *LEVELS), (*LEVELS, 1.0), strict=True)
        ],
        "evidence": [
            {
                "horizon": h,
                "baseline": name,
                "sessions": sessions[0],
                "worse": 0.8,
                "better": 41.0,
                "is_worse": False,
                "is_better": name == "climatology",
            }
            for h in range(1, 6)
            for name in baselines
        ],
    }
