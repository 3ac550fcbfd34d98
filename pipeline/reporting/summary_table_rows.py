"""The run in one table: statistics and money of every forecaster, side by side, with error bars."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.calibration_rows import last_scored
from pipeline.reporting.evidence_rows import SYMBOLS
from pipeline.reporting.tables import NOTHING, Cell, Column, Row, TableOf, table_of
from pipeline.wording import (
    UNDEFINED,
    ahead,
    basis_points,
    p_value,
    percent,
    plus_minus,
    rule_in_words,
    signed,
    signed_percent,
)

STATISTICS = (
    Column("Pinball loss", "× 10⁴"),
    Column("Skill", "over the best baseline"),
    Column("May be the best"),
    Column("80 % band holds"),
    Column("Winkler score", "× 10⁴"),
    Column("Right direction"),
    Column("Rank IC"),
)


def horizons_shown(evaluation: Evaluation) -> list[int]:
    """Return the horizons that have a table: the first, the last with outcomes, and that which money is made from."""
    return sorted({1, last_scored(evaluation.backtest), evaluation.money.spec.horizon})


def summary_tables(evaluation: Evaluation) -> list[TableOf]:
    """Return the table of each horizon shown; money stands in that of the horizon that decides the trades."""
    return [_at_horizon(evaluation, horizon) for horizon in horizons_shown(evaluation)]


def _at_horizon(evaluation: Evaluation, horizon: int) -> TableOf:
    table, model = evaluation.summary_table, evaluation.verdict.model
    traded = horizon == evaluation.money.spec.horizon
    rules = evaluation.money.spec.rules if traded else ()
    own = table[table["horizon"].isin((horizon, 0) if traded else (horizon,))]
    columns = (*STATISTICS, *(Column(f"Sharpe, {rule_in_words(rule)}", "net of costs") for rule in rules))
    rows = [_row(row, rules, model) for _, row in own.iterrows()]
    label = f"The run in one table, {ahead(horizon)}"
    caption = f"{ahead(horizon)[0].upper()}{ahead(horizon)[1:]}, all tickers together; ± is one standard error"
    return table_of(label, "Forecaster", columns, rows, caption)


def _row(row: "pd.Series[Any]", rules: Sequence[str], model: str) -> Row:
    if row["horizon"] == 0:  # bought without a forecast
        empty = (NOTHING,) * len(STATISTICS)
        sharpes = [_sharpe(row, "long_only"), *[NOTHING] * (len(rules) - 1)]
        return Row(rule_in_words(row["forecaster"]), (*empty, *sharpes), "no forecast")
    sharpes = [_sharpe(row, rule) for rule in rules]
    marked = row["forecaster"] == model
    return Row(str(row["forecaster"]), (*_statistics(row), *sharpes), "the model" if marked else "", marked)


def _statistics(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(basis_points(row["pinball"]), (plus_minus(row["pinball_error"], ".2f", 1e4),)),
        _skill(row),
        Cell(UNDEFINED)
        if pd.isna(row["mcs_p"])
        else Cell("yes" if row["may_be_best"] else "no", (p_value(row["mcs_p"]),)),
        Cell(percent(row["coverage_80"]), (plus_minus(row["coverage_80_error"], ".1f", 100),)),
        Cell(basis_points(row["winkler_80"]), (plus_minus(row["winkler_80_error"], ".1f", 1e4),)),
        Cell(percent(row["directional_accuracy"]), _direction_notes(row)),
        Cell(signed(row["rank_ic"], 3), (plus_minus(row["rank_ic_error"], ".3f"),)),
    )


def _skill(row: "pd.Series[Any]") -> Cell:
    if pd.isna(row["conclusion"]):
        return NOTHING
    notes = (f"{SYMBOLS[row['conclusion']]} {row['conclusion']}", f"over {row['best_baseline']}, {p_value(row['p'])}")
    return Cell(signed_percent(row["skill"]), notes, str(row["conclusion"]).replace(" ", "-"))


def _direction_notes(row: "pd.Series[Any]") -> tuple[str, ...]:
    error = plus_minus(row["directional_accuracy_error"], ".1f", 100)
    return (error, "" if pd.isna(row["direction_p"]) else p_value(row["direction_p"]))


def _sharpe(row: "pd.Series[Any]", rule: str) -> Cell:
    """Return the ratio with its error; a rule that was not simulated has no column, one that never traded a dash."""
    value = row.get(f"{rule}_sharpe")
    if value is None:
        return NOTHING
    if pd.isna(value):
        return Cell(UNDEFINED, ("never traded",))
    error = plus_minus(row[f"{rule}_sharpe_error"], ".2f")
    if row["horizon"] == 0:  # nothing was chosen among: there is nothing to deflate
        return Cell(signed(value), (error,))
    return Cell(signed(value), (error, f"deflated {percent(row[f'{rule}_deflated_sharpe'], 0)}"))
