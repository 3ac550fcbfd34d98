"""Every test of the comparisons at one horizon, a row per baseline or benchmark."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.evaluation.comparisons import pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.tables import NOTHING, Cell, Column, Row, TableOf, table_of
from pipeline.wording import UNDEFINED, ahead, p_value, signed, signed_percent

COLUMNS = (
    Column("Skill", "smaller pinball loss"),
    Column("t", "Diebold-Mariano"),
    Column("p", "Diebold-Mariano"),
    Column("p, adjusted", "for what was tried"),
    Column("p, few lags", "h − 1, the textbook's"),
    Column("p, conditional", "Giacomini-White"),
    Column("p of the median", "Clark-West, squared error"),
    Column("p that none is better", "Hansen's SPA, of the opponent"),
)


def comparison_tables(evaluation: Evaluation, horizons: Sequence[int]) -> list[TableOf]:
    """Return a table per horizon with every pooled test of the model against each opponent."""
    return [_at_horizon(evaluation, horizon) for horizon in horizons]


def _at_horizon(evaluation: Evaluation, horizon: int) -> TableOf:
    tests = pooled(evaluation.comparisons, evaluation.verdict.model, horizon)
    candidates = evaluation.candidates
    spa = candidates[candidates["horizon"] == horizon].set_index("forecaster")["spa_p"]
    rows = [Row(str(name), _cells(row, float(spa[str(name)]))) for name, row in tests.iterrows()]
    label = f"Every test, {ahead(horizon)}"
    return table_of(label, "Against", COLUMNS, rows, f"{ahead(horizon)}, over {_sessions(tests)} sessions")


def _sessions(tests: pd.DataFrame) -> str:
    least, most = int(tests["sessions"].min()), int(tests["sessions"].max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _cells(row: "pd.Series[Any]", spa_p: float) -> tuple[Cell, ...]:
    tested = [_p(row[name]) for name in ("p", "p_adjusted", "p_short_lags", "gw_p", "cw_p")]
    return (Cell(signed_percent(row["skill"])), Cell(signed(row["t"])), *tested, _p(spa_p))


def _p(p: float) -> Cell:
    return NOTHING if pd.isna(p) else Cell(p_value(p).removeprefix("p ").removeprefix("= ") or UNDEFINED)
