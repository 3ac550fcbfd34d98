"""What a backtest showed, as rows for tables: skill and scores."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.comparisons import Conclusion, conclusions_by_ticker, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.wording import basis_points, decimal, p_value, percent, signed_percent

SYMBOLS: Mapping[Conclusion, str] = {"better": "▲", "no evidence": "○", "worse": "▼"}


@dataclass(frozen=True)
class Against:
    """The model against one opponent at one horizon."""

    skill: str
    word: str
    symbol: str
    p: str


@dataclass(frozen=True)
class SkillRow:
    """The model against one opponent, by horizon."""

    baseline: str
    cells: tuple[Against, ...]


def skill_rows(evaluation: Evaluation) -> list[SkillRow]:
    """Return a row per opponent of the model, pooled over tickers."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    by_horizon = [pooled(evaluation.comparisons, evaluation.verdict.model, horizon) for horizon in horizons]
    return [
        SkillRow(name, tuple(_against(rows.loc[[name]].iloc[0]) for rows in by_horizon))
        for name in evaluation.backtest.opponents
    ]


def _against(test: "pd.Series[Any]") -> Against:
    word: Conclusion = test["conclusion"]
    return Against(signed_percent(test["skill"]), word, SYMBOLS[word], p_value(test["p_adjusted"]))


@dataclass(frozen=True)
class ScoreRow:
    """One forecaster's scores at one horizon, pooled over tickers; `best` marks the smallest pinball loss."""

    forecaster: str
    best: bool
    marked: bool
    values: tuple[str, ...]


SCORE_COLUMNS = (
    "pinball × 10⁴",
    "CRPS × 10⁴",
    "coverage 50 %",
    "coverage 80 %",
    "coverage 90 %",
    "width 80 %",
    "Winkler 80 % × 10⁴",
    "RMSE",
    "MAE",
    "direction",
)


def score_rows(scores: pd.DataFrame, horizon: int, model: str) -> list[ScoreRow]:
    """Return the pooled scores of every forecaster at one horizon, the network first and the model marked."""
    own = scores[(scores["horizon"] == horizon) & (scores["ticker"] == POOLED)]
    smallest = own["pinball"].min()
    return [
        ScoreRow(row["forecaster"], row["pinball"] == smallest, row["forecaster"] == model, _score_values(row))
        for _, row in own.iterrows()
    ]


def _score_values(row: "pd.Series[float]") -> tuple[str, ...]:
    return (
        basis_points(row["pinball"]),
        basis_points(row["crps"]),
        *(percent(row[f"coverage_{band}"]) for band in (50, 80, 90)),
        percent(row["width_80"], 2),
        basis_points(row["winkler_80"]),
        percent(row["rmse_return"], 2),
        percent(row["mae_return"], 2),
        percent(row["directional_accuracy"]),
    )


@dataclass(frozen=True)
class DirectionRow:
    """Learned class probabilities at one horizon, beside the classes' frequencies."""

    horizon: int
    forecasts: int
    values: tuple[str, ...]


DIRECTION_COLUMNS = ("log loss", "of frequencies", "Brier score", "of frequencies", "log loss differs")


def direction_rows(direction: pd.DataFrame | None) -> list[DirectionRow]:
    """Return a row per horizon; none where no class probabilities were learned."""
    rows = [] if direction is None else direction.to_dict("records")
    return [DirectionRow(int(row["horizon"]), int(row["rows"]), _direction_values(row)) for row in rows]


def _direction_values(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    names = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies")
    return (*(decimal(row[name]) for name in names), p_value(row["dm_p"]))


@dataclass(frozen=True)
class TickerSkillRow:
    """One ticker's skill against every opponent at one horizon, the verdict, and on how many forecasts they stand."""

    ticker: str
    forecasts: int
    word: Conclusion
    symbol: str
    skills: tuple[str, ...]


def ticker_skill_rows(evaluation: Evaluation, horizon: int) -> list[TickerSkillRow]:
    """Return a row per ticker that was scored at this horizon, with the conclusion on the model."""
    model = evaluation.verdict.model
    own = evaluation.comparisons[
        (evaluation.comparisons["horizon"] == horizon) & (evaluation.comparisons["forecaster"] == model)
    ]
    words = conclusions_by_ticker(evaluation.comparisons, model, horizon)
    by_ticker = {str(ticker): rows for ticker, rows in own.groupby("ticker", sort=False)}
    return [_ticker_row(ticker, by_ticker[ticker], word) for ticker, word in words.items()]


def _ticker_row(ticker: str, rows: pd.DataFrame, word: Conclusion) -> TickerSkillRow:
    skills = tuple(signed_percent(value) for value in rows["skill"])
    return TickerSkillRow(ticker, int(rows["sessions"].iloc[0]), word, SYMBOLS[word], skills)
