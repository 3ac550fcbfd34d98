"""What a backtest showed, as rows for tables: skill and scores."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.backtest import NETWORK
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.verdict import judge
from pipeline.operation.outcome import Evaluation
from pipeline.reporting.wording import basis_points, decimal, p_value, percent, signed_percent

SYMBOLS = {"better": "▲", "no evidence": "○", "worse": "▼"}


@dataclass(frozen=True)
class Against:
    """The network against one baseline at one horizon."""

    skill: str
    word: str
    symbol: str
    p: str
    p_short_lags: str


@dataclass(frozen=True)
class SkillRow:
    """The network against one baseline, by horizon."""

    baseline: str
    cells: tuple[Against, ...]


def skill_rows(evaluation: Evaluation) -> list[SkillRow]:
    """Return a row per baseline, pooled over tickers."""
    return [SkillRow(baseline, _by_horizon(evaluation, baseline)) for baseline in evaluation.backtest.baselines]


def _by_horizon(evaluation: Evaluation, baseline: str) -> tuple[Against, ...]:
    skills = evaluation.skill.xs(POOLED, level="ticker")[baseline].sort_index()
    tests = evaluation.significance[evaluation.significance["baseline"] == baseline].sort_values("horizon")
    return tuple(_against(float(skill), test) for skill, (_, test) in zip(skills, tests.iterrows(), strict=True))


def _against(skill: float, test: "pd.Series[float]") -> Against:
    word = judge(float(test["dm_t"]), float(test["dm_p"]))
    p, short = p_value(test["dm_p"]), p_value(test["dm_p_short_lags"])
    return Against(signed_percent(skill), word, SYMBOLS[word], p, short)


@dataclass(frozen=True)
class ScoreRow:
    """One forecaster's scores at one horizon, pooled over tickers; `best` marks the smallest pinball loss."""

    forecaster: str
    best: bool
    values: tuple[str, ...]


SCORE_COLUMNS = (
    "pinball × 10⁴",
    "CRPS × 10⁴",
    "coverage 50 %",
    "coverage 80 %",
    "coverage 90 %",
    "width 80 %",
    "RMSE",
    "MAE",
    "direction",
)


def score_rows(scores: pd.DataFrame, horizon: int) -> list[ScoreRow]:
    """Return the pooled scores of every forecaster at one horizon, the network first."""
    own = scores[(scores["horizon"] == horizon) & (scores["ticker"] == POOLED)]
    smallest = own["pinball"].min()
    return [ScoreRow(row["forecaster"], row["pinball"] == smallest, _score_values(row)) for _, row in own.iterrows()]


def _score_values(row: "pd.Series[float]") -> tuple[str, ...]:
    return (
        basis_points(row["pinball"]),
        basis_points(row["crps"]),
        *(percent(row[f"coverage_{band}"]) for band in (50, 80, 90)),
        percent(row["width_80"], 2),
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
    """One ticker's skill against every baseline at one horizon, and on how many forecasts it stands."""

    ticker: str
    forecasts: int
    skills: tuple[str, ...]


def ticker_skill_rows(evaluation: Evaluation, horizon: int) -> list[TickerSkillRow]:
    """Return a row per ticker that was scored at this horizon."""
    scores = evaluation.scores
    own = scores[(scores["horizon"] == horizon) & (scores["forecaster"] == NETWORK) & (scores["ticker"] != POOLED)]
    skill = evaluation.skill.xs(horizon, level="horizon")[list(evaluation.backtest.baselines)]
    return [
        TickerSkillRow(ticker, int(count), tuple(signed_percent(value) for value in skill.loc[ticker]))
        for ticker, count in zip(own["ticker"], own["rows"], strict=True)
    ]
