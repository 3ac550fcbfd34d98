"""The forecast of a run as rows for a table: prices, dates and ages, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.operation.publication import published_rows
from pipeline.wording import day, price, signed_percent


@dataclass(frozen=True)
class Cell:
    """One ticker's forecast for one session; `instead` names the baseline that stands in the model's place."""

    target_session: str
    low: str  # of the 80 % band
    high: str
    low_change: str
    high_change: str
    median: str
    instead: str


@dataclass(frozen=True)
class ForecastRow:
    """One ticker's forecasts; `seen` is False where the model was not trained on it."""

    ticker: str
    currency: str
    as_of: str
    age_sessions: int
    reference_close: str
    seen: bool
    cells: tuple[Cell, ...]  # by horizon


@dataclass(frozen=True)
class Spoken:
    """The 80 % band of one ticker's next session by every forecaster."""

    ticker: str
    bands: tuple[str, ...]


def forecast_rows(
    forecasts: pd.DataFrame, unseen: Sequence[str], currencies: Mapping[str, str], model: str
) -> list[ForecastRow]:
    """Return a row per ticker of the published forecasts, in the table's order; those not of the model say so."""
    tickers = published_rows(forecasts).groupby("ticker", sort=False)
    return [
        _row(rows.sort_values("horizon"), str(ticker) not in unseen, currencies[str(ticker)], model)
        for ticker, rows in tickers
    ]


def _row(rows: pd.DataFrame, seen: bool, currency: str, model: str) -> ForecastRow:
    first = rows.iloc[0]
    return ForecastRow(
        ticker=str(first["ticker"]),
        currency=currency,
        as_of=day(first["as_of"]),
        age_sessions=int(first["age_sessions"]),
        reference_close=price(first["reference_close"]),
        seen=seen,
        cells=tuple(_cell(row, model) for _, row in rows.iterrows()),
    )


def _cell(row: "pd.Series[Any]", model: str) -> Cell:
    close = row["reference_close"]
    return Cell(
        target_session=day(row["target_session"]),
        low=price(row["q10"]),
        high=price(row["q90"]),
        low_change=signed_percent(row["q10"] / close - 1, 1),
        high_change=signed_percent(row["q90"] / close - 1, 1),
        median=price(row["q50"]),
        instead="" if row["forecaster"] == model else str(row["forecaster"]),
    )


def common_sessions(rows: Sequence[ForecastRow]) -> tuple[str, ...] | None:
    """Return the target sessions by horizon where they are the same for every ticker, else None."""
    sessions = {tuple(cell.target_session for cell in row.cells) for row in rows}
    return sessions.pop() if len(sessions) == 1 else None


def next_session_bands(forecasts: pd.DataFrame) -> tuple[tuple[str, ...], list[Spoken]]:
    """Return the forecasters and, per ticker, the 80 % band that each of them gives for the next session."""
    following = forecasts[forecasts["horizon"] == 1]
    forecasters = tuple(map(str, following["forecaster"].unique()))
    by_ticker = following.groupby("ticker", sort=False)
    return forecasters, [Spoken(str(ticker), _bands(rows, forecasters)) for ticker, rows in by_ticker]


def _bands(rows: pd.DataFrame, forecasters: Sequence[str]) -> tuple[str, ...]:
    low, high = (rows.set_index("forecaster")[level].reindex(list(forecasters)) for level in ("q10", "q90"))
    return tuple(f"{price(a)} – {price(b)}" for a, b in zip(low, high, strict=True))
