"""Tables and sentences on money: returns of the trading rules after costs, next to passive portfolios."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.money.simulation import Money, MoneyResult
from pipeline.reporting.labels import RULE_LABELS
from pipeline.reporting.tables import NOTHING, Cell, Column, ReportTable, Row, report_table
from pipeline.wording import UNDEFINED, day, percent, plus_minus, sessions_ahead, signed, signed_percent

MONEY_HEADINGS = (
    Column("Return", "a year"),
    Column("Volatility", "a year"),
    Column("Sharpe", "a year"),
    Column("Deflated Sharpe", "probability"),
    Column("Sortino", "a year"),
    Column("Maximum drawdown"),
    Column("Sessions with a gain"),
    Column("Invested", "mean"),
    Column("Turnover", "× a year"),
    Column("Costs", "a year"),
)
RANKING_COLUMNS = (
    Column("IC", "correlation across tickers"),
    Column("Rank IC", "rank correlation"),
    Column("ICIR", "IC / its deviation"),
    Column("Best less worst group", "basis points"),
    Column("Sessions", "ranked"),
)


def has_money(evaluation: Evaluation) -> bool:
    """Return whether a session was simulated."""
    return len(evaluation.money.opened) > 1


def model_and_passive_results(money: Money, model: str) -> list[MoneyResult]:
    """Return the results of the model's rules, then those of the passive portfolios."""
    return [result for name in (model, PASSIVE) for result in money.results if result.forecaster == name]


def money_of_model(evaluation: Evaluation) -> ReportTable:
    """Return a row per rule of the model, then one per passive portfolio."""
    model, table = evaluation.verdict.model, evaluation.money_table
    shown = pd.concat([table[table["forecaster"] == name] for name in (model, PASSIVE)])
    rows = [_money_row(row, RULE_LABELS[row["rule"]], row["forecaster"] == model) for _, row in shown.iterrows()]
    caption = f"Rules on the forecasts of {model}, then the passive portfolios; net of costs but for the gross return"
    return report_table("Money", "Rule", MONEY_HEADINGS, rows, caption)


def money_of_others(evaluation: Evaluation) -> ReportTable:
    """Return a row per rule of every other forecaster."""
    table = evaluation.money_table
    others = table[~table["forecaster"].isin((evaluation.verdict.model, PASSIVE))]
    rows = [_money_row(row, f"{row['forecaster']}, {RULE_LABELS[row['rule']]}", False) for _, row in others.iterrows()]
    return report_table("Money of the other forecasters", "Forecaster and rule", MONEY_HEADINGS, rows)


def _money_row(row: "pd.Series[Any]", name: str, marked: bool) -> Row:
    note = "no forecast" if row["forecaster"] == PASSIVE else ""
    if not row["invested"] > 0:
        cells = (Cell(UNDEFINED, ("never traded",)), *(Cell(UNDEFINED) for _ in MONEY_HEADINGS[1:]))
        return Row(name, cells, note, marked)
    return Row(name, _money_cells(row), note, marked)


def _money_cells(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(signed_percent(row["yearly_return"], 1), (f"gross {signed_percent(row['yearly_gross_return'], 1)}",)),
        Cell(percent(row["yearly_volatility"])),
        Cell(signed(row["sharpe"]), (plus_minus(row["sharpe_error"], ".2f"),)),
        NOTHING if row["forecaster"] == PASSIVE else Cell(percent(row["deflated_sharpe"], 0)),
        Cell(signed(row["sortino"])),
        Cell(signed_percent(row["max_drawdown"], 1), (_drawdown_months(row),)),
        Cell(percent(row["hit_rate"])),
        Cell(percent(row["gross_exposure"], 0), (f"{percent(row['invested'], 0)} of sessions",)),
        Cell(f"{row['turnover_per_year']:.1f}"),
        Cell(percent(row["costs_per_year"], 2)),
    )


def _drawdown_months(row: "pd.Series[Any]") -> str:
    if pd.isna(row["drawdown_since"]):
        return ""
    since, until = (day(pd.Timestamp(row[f"drawdown_{end}"]).date())[:7] for end in ("since", "until"))
    return f"{since} – {until}"


def money_in_short(evaluation: Evaluation) -> str:
    """Return the Sharpe ratios of the model's first rule and of buy and hold in one line.

    Where the rule never traded, that no median was large enough; empty where no session was simulated.
    """
    if not has_money(evaluation):
        return ""
    if not (results := headline_results(evaluation)):
        rule, threshold = RULE_LABELS[evaluation.money.spec.rules[0]], evaluation.money.spec.entry_threshold_bps
        return f"{rule} never traded: no median that it trades exceeds {threshold:g} bps"
    first, passive = map(sharpe_with_error, results)
    return f"Sharpe, {RULE_LABELS[results[0].rule]}, net of costs {first}; buy and hold {passive}"


def headline_results(evaluation: Evaluation) -> tuple[MoneyResult, MoneyResult] | None:
    """Return the results of the model's first rule and of buy and hold; None where the rule never traded."""
    results = model_and_passive_results(evaluation.money, evaluation.verdict.model)
    if not math.isfinite(results[0].performance.sharpe):
        return None
    return results[0], next(result for result in results if result.rule == "buy_and_hold")


def sharpe_with_error(result: MoneyResult) -> str:
    """Return the Sharpe ratio of one result with its standard error."""
    figures = result.performance
    return f"{signed(figures.sharpe)} {plus_minus(figures.sharpe_error, '.2f')}".strip()


def trials_sentence(evaluation: Evaluation) -> str:
    """Return the number of trials that the deflated Sharpe ratio of the model's rules accounts for."""
    first = model_and_passive_results(evaluation.money, evaluation.verdict.model)[0]
    return (
        "The deflated Sharpe ratio is the probability that the true ratio exceeds the expected maximum of "
        f"{first.performance.trials:,} trials without skill: each specification tested, with each of its rules."
    )


def ranking_report_table(evaluation: Evaluation, horizons: Sequence[int]) -> ReportTable:
    """Return how well each forecaster's medians rank the tickers; without rows where none ranks any."""
    ranking = evaluation.ranking
    shown = ranking[ranking["horizon"].isin(horizons) & (ranking["sessions"] > 0)]
    rows = [
        Row(
            str(row["forecaster"]),
            _ranking_cells(row),
            sessions_ahead(int(row["horizon"])),
            row["forecaster"] == evaluation.verdict.model,
        )
        for _, row in shown.iterrows()
    ]
    return report_table("Ranking of the tickers", "Forecaster", RANKING_COLUMNS, rows)


def _ranking_cells(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(signed(row["ic"], 3), (plus_minus(row["ic_error"], ".3f"),)),
        Cell(signed(row["rank_ic"], 3), (plus_minus(row["rank_ic_error"], ".3f"),)),
        Cell(signed(row["icir"])),
        Cell(signed(1e4 * row["spread"], 1), (plus_minus(row["spread_error"], ".1f", 1e4),)),
        Cell(f"{int(row['sessions']):,}"),
    )
