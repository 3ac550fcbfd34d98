"""Tables of the scores of every forecaster, of learned class probabilities, and of the echo check."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.echo import RELATED, Echo, relation_of
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.reporting.calibration_tables import horizons_listed, with_and_without_correction
from pipeline.reporting.labels import ECHO_COLOURS, ECHO_LABELS, SHIFT_LABELS
from pipeline.reporting.tables import Cell, Column, ReportTable, Row, report_table
from pipeline.wording import (
    UNDEFINED,
    basis_points,
    decimal,
    p_value,
    percent,
    plus_minus,
    sessions_ahead,
    signed_percent,
)


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
    """Return the pooled scores of every forecaster at one horizon, the model marked."""
    pooled = scores[(scores["horizon"] == horizon) & (scores["ticker"] == POOLED)]
    smallest = pooled["pinball"].min()
    return [
        ScoreRow(row["forecaster"], row["pinball"] == smallest, row["forecaster"] == model, _score_values(row))
        for _, row in pooled.iterrows()
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
    """Scores of learned class probabilities at one horizon, and those of the classes' frequencies."""

    horizon: int
    forecasts: int
    values: tuple[str, ...]


DIRECTION_COLUMNS = ("log loss", "of frequencies", "Brier score", "of frequencies", "p of the log losses")


def direction_rows(direction: pd.DataFrame | None) -> list[DirectionRow]:
    """Return a row per horizon; none where no class probabilities were learned."""
    rows = [] if direction is None else direction.to_dict("records")
    return [DirectionRow(int(row["horizon"]), int(row["rows"]), _direction_values(row)) for row in rows]


def _direction_values(row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    names = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies")
    return (*(decimal(row[name]) for name in names), p_value(row["dm_p"]))


ECHO_COLUMNS = (
    Column("Its median"),
    Column("Variance of its changes", "share of that of returns"),
    Column("Explains", "share of the variance of returns"),
    Column("Covariance with returns", "p, one-sided"),
    Column("p, adjusted", f"for specifications tested; significant up to {RELATED:g}"),
    Column("Closest to the price"),
)


def echo_sentences(evaluation: Evaluation) -> list[str]:
    """Return the result for the model's median, and for the one without correction where its result differs."""
    echoes = {name: evaluation.echoes[name] for name in with_and_without_correction(evaluation.backtest)}
    model = echoes.pop(evaluation.verdict.model)
    return [model.sentence, *(echo.sentence for echo in echoes.values() if echo.name != model.name)]


def echo_table(evaluation: Evaluation) -> ReportTable:
    """Return a row per forecaster: what its median is one session ahead, and the numbers that determine it."""
    model = evaluation.verdict.model
    rows = [Row(name, _echo_cells(echo), marked=name == model) for name, echo in evaluation.echoes.items()]
    return report_table("Echo", "Forecaster", ECHO_COLUMNS, rows, "The median one session ahead, all tickers pooled")


def median_against_no_change(evaluation: Evaluation) -> ReportTable:
    """Return the out-of-sample R2 of the published median, before and after it is shrunk, by horizon."""
    gains = {(row["horizon"], row["forecaster"]): row for row in evaluation.medians.to_dict("records")}
    names = with_and_without_correction(evaluation.backtest)
    rows = [
        Row(sessions_ahead(horizon), tuple(_gain(gains[horizon, name]) for name in names))
        for horizon in horizons_listed(evaluation.backtest.horizons)
    ]
    columns = tuple(Column(name, "R² out of sample") for name in names)
    caption = (
        "Squared error of the median against that of no change; below zero it costs; ± is one standard error. The "
        "sentence above compares it with a constant change where that errs less."
    )
    return report_table("The median against no change", "Horizon", columns, rows, caption)


def _gain(row: Mapping[Hashable, Any]) -> Cell:
    return Cell(signed_percent(row["r2"], 2), (plus_minus(row["r2_error"], ".2f", 100),))


def _echo_cells(echo: Echo) -> tuple[Cell, ...]:
    moves = echo.name != "persistence"
    error = plus_minus(echo.explained_error, ".2f", 100)
    return (
        Cell(ECHO_LABELS[echo.name], colour=ECHO_COLOURS[echo.name]),
        Cell(percent(echo.moved_share)),
        Cell(signed_percent(echo.explained_share), (error,)) if moves else Cell(UNDEFINED),
        *(Cell(p_value(p) if moves else UNDEFINED) for p in (echo.relation_p, echo.relation_p_adjusted)),
        Cell(SHIFT_LABELS[echo.best_shift]),
    )


def echo_in_short(echo: Echo) -> str:
    """Return what the median is in one line."""
    if echo.name in ("informs", "too bold"):
        return f"{echo.name}: {relation_of(echo)}"
    return f"{echo.name}: the variance of the median's changes is {percent(echo.moved_share)} of that of returns"
