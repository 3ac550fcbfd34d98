"""Tables that compare the forecasters: the summary, the model's skill, every test, and the skill by ticker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.evaluation.comparisons import Conclusion, conclusions_by_ticker, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.calibration_tables import last_scored
from pipeline.reporting.labels import COMPARISON_SYMBOLS, RULE_LABELS
from pipeline.reporting.tables import NOTHING, Cell, Column, ReportTable, Row, report_table
from pipeline.wording import (
    UNDEFINED,
    basis_points,
    p_number,
    p_value,
    percent,
    plus_minus,
    sessions_ahead,
    signed,
    skill,
)

SUMMARY_COLUMNS = (
    Column("Pinball loss", "× 10⁴"),
    Column("Skill", "over the best baseline"),
    Column("May be the best"),
    Column("80 % band", "coverage"),
    Column("Winkler score", "× 10⁴"),
    Column("Direction", "accuracy"),
    Column("Rank IC"),
)


def horizons_shown(evaluation: Evaluation) -> list[int]:
    """Return the horizons that have a summary table: the first, the last with outcomes, and the one traded on."""
    return sorted({1, last_scored(evaluation.backtest), evaluation.money.spec.horizon})


def summary_tables(evaluation: Evaluation) -> list[ReportTable]:
    """Return the table of each horizon shown; Sharpe ratios are in the table of the horizon traded on."""
    return [_summary_at_horizon(evaluation, horizon) for horizon in horizons_shown(evaluation)]


def _summary_at_horizon(evaluation: Evaluation, horizon: int) -> ReportTable:
    table, model = evaluation.summary_table, evaluation.verdict.model
    traded = horizon == evaluation.money.spec.horizon
    rules = evaluation.money.spec.rules if traded else ()
    shown = table[table["horizon"].isin((horizon, 0) if traded else (horizon,))]
    columns = (*SUMMARY_COLUMNS, *(Column(f"Sharpe, {RULE_LABELS[rule]}", "net of costs") for rule in rules))
    rows = [_summary_row(row, rules, model) for _, row in shown.iterrows()]
    ahead = sessions_ahead(horizon)
    caption = f"{ahead}, all tickers pooled; ± is one standard error"
    return report_table(f"Summary, {ahead}", "Forecaster", columns, rows, caption)


def _summary_row(row: "pd.Series[Any]", rules: Sequence[str], model: str) -> Row:
    if row["horizon"] == 0:  # a passive portfolio
        empty = (NOTHING,) * len(SUMMARY_COLUMNS)
        sharpes = [_sharpe(row, "long_only"), *[NOTHING] * (len(rules) - 1)]
        return Row(RULE_LABELS[row["forecaster"]], (*empty, *sharpes), "no forecast")
    sharpes = [_sharpe(row, rule) for rule in rules]
    marked = row["forecaster"] == model
    return Row(str(row["forecaster"]), (*_statistics(row), *sharpes), "the model" if marked else "", marked)


def _statistics(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(basis_points(row["pinball"]), (plus_minus(row["pinball_error"], ".2f", 1e4),)),
        _skill_cell(row),
        Cell(UNDEFINED)
        if pd.isna(row["mcs_p"])
        else Cell("yes" if row["may_be_best"] else "no", (p_value(row["mcs_p"]),)),
        Cell(percent(row["coverage_80"]), (plus_minus(row["coverage_80_error"], ".1f", 100),)),
        Cell(basis_points(row["winkler_80"]), (plus_minus(row["winkler_80_error"], ".1f", 1e4),)),
        Cell(percent(row["directional_accuracy"]), _direction_notes(row)),
        Cell(signed(row["rank_ic"], 3), (plus_minus(row["rank_ic_error"], ".3f"),)),
    )


def _skill_cell(row: "pd.Series[Any]") -> Cell:
    if pd.isna(row["conclusion"]):
        return NOTHING
    notes = (
        f"{COMPARISON_SYMBOLS[row['conclusion']]} {row['conclusion']}",
        f"over {row['best_baseline']}, {p_value(row['p'])}",
    )
    return Cell(skill(row["skill"]), notes, str(row["conclusion"]).replace(" ", "-"))


def _direction_notes(row: "pd.Series[Any]") -> tuple[str, ...]:
    error = plus_minus(row["directional_accuracy_error"], ".1f", 100)
    return (error, "" if pd.isna(row["direction_p"]) else p_value(row["direction_p"]))


def _sharpe(row: "pd.Series[Any]", rule: str) -> Cell:
    """Return the ratio with its error: an empty cell for a rule not simulated, a dash for one that never traded."""
    value = row.get(f"{rule}_sharpe")
    if value is None:
        return NOTHING
    if pd.isna(value):
        return Cell(UNDEFINED, ("never traded",))
    error = plus_minus(row[f"{rule}_sharpe_error"], ".2f")
    if row["horizon"] == 0:  # no selection, so nothing to deflate
        return Cell(signed(value), (error,))
    return Cell(signed(value), (error, f"deflated {percent(row[f'{rule}_deflated_sharpe'], 0)}"))


@dataclass(frozen=True)
class SkillCell:
    """The model against one baseline at one horizon."""

    skill: str
    conclusion: str
    symbol: str
    p: str


@dataclass(frozen=True)
class SkillRow:
    """The model against one baseline, by horizon."""

    baseline: str
    cells: tuple[SkillCell, ...]


def skill_rows(evaluation: Evaluation) -> list[SkillRow]:
    """Return a row per baseline with the model's skill over it, pooled over tickers."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    by_horizon = [pooled(evaluation.comparisons, evaluation.verdict.model, horizon) for horizon in horizons]
    return [
        SkillRow(name, tuple(_pooled_skill(rows.loc[[name]].iloc[0]) for rows in by_horizon))
        for name in evaluation.backtest.opponents
    ]


def _pooled_skill(test: "pd.Series[Any]") -> SkillCell:
    conclusion: Conclusion = test["conclusion"]
    return SkillCell(skill(test["skill"]), conclusion, COMPARISON_SYMBOLS[conclusion], p_value(test["p_adjusted"]))


@dataclass(frozen=True)
class TickerSkillRow:
    """One ticker's skill against every baseline at one horizon, its conclusion and its number of forecasts."""

    ticker: str
    forecasts: int
    conclusion: Conclusion
    symbol: str
    skills: tuple[str, ...]


def ticker_skill_rows(evaluation: Evaluation, horizon: int) -> list[TickerSkillRow]:
    """Return a row per ticker that was scored at this horizon, with the conclusion of its comparison."""
    model = evaluation.verdict.model
    of_model = evaluation.comparisons[
        (evaluation.comparisons["horizon"] == horizon) & (evaluation.comparisons["forecaster"] == model)
    ]
    conclusions = conclusions_by_ticker(evaluation.comparisons, model, horizon)
    by_ticker = {str(ticker): rows for ticker, rows in of_model.groupby("ticker", sort=False)}
    return [_ticker_row(ticker, by_ticker[ticker], conclusion) for ticker, conclusion in conclusions.items()]


def _ticker_row(ticker: str, rows: pd.DataFrame, conclusion: Conclusion) -> TickerSkillRow:
    skills = tuple(skill(value) for value in rows["skill"])
    return TickerSkillRow(ticker, int(rows["sessions"].iloc[0]), conclusion, COMPARISON_SYMBOLS[conclusion], skills)


TEST_COLUMNS = (
    Column("Skill", "smaller pinball loss"),
    Column("t", "Diebold-Mariano"),
    Column("p", "Diebold-Mariano"),
    Column("p, adjusted", "for specifications tested"),
    Column("p, few lags", "h − 1, the textbook choice"),
    Column("p, conditional", "Giacomini-White"),
    Column("p of the median", "Clark-West, squared error"),
    Column("p that none is better", "Hansen's SPA, of the baseline"),
)


def comparison_tables(evaluation: Evaluation, horizons: Sequence[int]) -> list[ReportTable]:
    """Return a table per horizon with every pooled test of the model against each baseline."""
    return [_tests_at_horizon(evaluation, horizon) for horizon in horizons]


def _tests_at_horizon(evaluation: Evaluation, horizon: int) -> ReportTable:
    tests = pooled(evaluation.comparisons, evaluation.verdict.model, horizon)
    candidates = evaluation.candidates
    spa = candidates[candidates["horizon"] == horizon].set_index("forecaster")["spa_p"]
    rows = [Row(str(name), _test_cells(row, float(spa[str(name)]))) for name, row in tests.iterrows()]
    ahead = sessions_ahead(horizon)
    caption = f"{ahead}, over {_session_counts(tests)} sessions"
    return report_table(f"Every test, {ahead}", "Against", TEST_COLUMNS, rows, caption)


def _session_counts(tests: pd.DataFrame) -> str:
    lowest, highest = int(tests["sessions"].min()), int(tests["sessions"].max())
    return f"{lowest:,}" if lowest == highest else f"{lowest:,} to {highest:,}"


def _test_cells(row: "pd.Series[Any]", spa_p: float) -> tuple[Cell, ...]:
    p_cells = [_p_cell(row[name]) for name in ("p", "p_adjusted", "p_short_lags", "gw_p", "cw_p")]
    return (Cell(skill(row["skill"])), Cell(signed(row["t"])), *p_cells, _p_cell(spa_p))


def _p_cell(p: float) -> Cell:
    return NOTHING if pd.isna(p) else Cell(p_number(p))
