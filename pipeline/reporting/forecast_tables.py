"""The forecast of a run as a table, and the baselines published in the model's place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.forecasting.weights import Weights
from pipeline.operation.publication import published_rows
from pipeline.wording import band_shares_sentence, day, horizons_in_words, model_in_words, names, price, signed_percent


@dataclass(frozen=True)
class ForecastCell:
    """One ticker's forecast for one session; `baseline` names the baseline published in the model's place."""

    target_session: str
    low: str  # of the 80 % band
    high: str
    low_change: str
    high_change: str
    median: str
    baseline: str  # empty where the model is published


@dataclass(frozen=True)
class ForecastRow:
    """One ticker's forecasts; `seen` is False where the model was not trained on it."""

    ticker: str
    currency: str
    as_of: str
    age_sessions: int
    reference_close: str
    seen: bool
    cells: tuple[ForecastCell, ...]  # by horizon


@dataclass(frozen=True)
class NextSessionBands:
    """The 80 % bands of one ticker's next session, one per forecaster."""

    ticker: str
    bands: tuple[str, ...]


def forecast_rows(
    forecasts: pd.DataFrame, unseen: Sequence[str], currencies: Mapping[str, str], model: str
) -> list[ForecastRow]:
    """Return a row per ticker of the published forecasts, in the table's order."""
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


def _cell(row: "pd.Series[Any]", model: str) -> ForecastCell:
    close = row["reference_close"]
    return ForecastCell(
        target_session=day(row["target_session"]),
        low=price(row["q10"]),
        high=price(row["q90"]),
        low_change=signed_percent(row["q10"] / close - 1, 1),
        high_change=signed_percent(row["q90"] / close - 1, 1),
        median=price(row["q50"]),
        baseline="" if row["forecaster"] == model else str(row["forecaster"]),
    )


def common_sessions(rows: Sequence[ForecastRow]) -> tuple[str, ...] | None:
    """Return the target sessions by horizon where they are the same for every ticker, else None."""
    sessions = {tuple(cell.target_session for cell in row.cells) for row in rows}
    return sessions.pop() if len(sessions) == 1 else None


def next_session_bands(forecasts: pd.DataFrame) -> tuple[tuple[str, ...], list[NextSessionBands]]:
    """Return the forecasters and, per ticker, the 80 % band that each of them gives for the next session."""
    following = forecasts[forecasts["horizon"] == 1]
    forecasters = tuple(map(str, following["forecaster"].unique()))
    by_ticker = following.groupby("ticker", sort=False)
    return forecasters, [NextSessionBands(str(ticker), _bands(rows, forecasters)) for ticker, rows in by_ticker]


def _bands(rows: pd.DataFrame, forecasters: Sequence[str]) -> tuple[str, ...]:
    low, high = (rows.set_index("forecaster")[level].reindex(list(forecasters)) for level in ("q10", "q90"))
    return tuple(f"{price(a)} – {price(b)}" for a, b in zip(low, high, strict=True))


PublishedForecaster = tuple[str, int, str]
"""Ticker, horizon and the forecaster whose forecast is published."""


def published_forecasters(forecasts: pd.DataFrame) -> list[PublishedForecaster]:
    """Return ticker, horizon and forecaster of every published row."""
    rows = published_rows(forecasts)
    return [(str(row["ticker"]), int(row["horizon"]), str(row["forecaster"])) for _, row in rows.iterrows()]


def baseline_substitutions(published: Iterable[PublishedForecaster], model: str) -> list[str]:
    """Return a sentence for each baseline that is published in the model's place, naming tickers and horizons."""
    rows = list(published)
    n_tickers = len({ticker for ticker, _, _ in rows})
    horizons: dict[tuple[str, tuple[str, ...]], list[int]] = {}  # by baseline and its tickers
    for horizon in sorted({horizon for _, horizon, _ in rows}):
        replaced = [(ticker, name) for ticker, row_horizon, name in rows if row_horizon == horizon and name != model]
        for baseline in sorted({name for _, name in replaced}):
            tickers = tuple(ticker for ticker, name in replaced if name == baseline)
            horizons.setdefault((baseline, tickers), []).append(horizon)
    return [
        _substitution(baseline, () if len(tickers) == n_tickers else tickers, of_baseline, model)
        for (baseline, tickers), of_baseline in horizons.items()
    ]


def _substitution(baseline: str, tickers: tuple[str, ...], horizons: list[int], model: str) -> str:
    """Return the sentence of one baseline; no tickers stand for all of them."""
    of_tickers = f" for {names(tickers)}" if tickers else ""
    at_horizons = "at this horizon" if len(horizons) == 1 else "at these horizons"
    return (
        f"Baseline {baseline} is shown{of_tickers} {horizons_in_words(horizons)}: {model_in_words(model)} has not "
        f"shown skill {at_horizons}."
    )


def live_shares(weights: Weights | None) -> list[str]:
    """Return what the first and the last band of a forecast are made of, in words; nothing without a combination."""
    if weights is None or len(weights.members) < 2:
        return []
    return [band_shares_sentence(weights.mean_share(h), h) for h in sorted({1, weights.horizons})]
