"""Money as tables and sentences: what the rules would have earned after costs, beside doing nothing clever."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.money.simulation import Money, MoneyResult
from pipeline.reporting.tables import NOTHING, Cell, Column, Row, TableOf, table_of
from pipeline.wording import UNDEFINED, ahead, day, percent, plus_minus, rule_in_words, signed, signed_percent

COLUMNS = (
    Column("Return", "a year"),
    Column("Volatility", "a year"),
    Column("Sharpe", "a year"),
    Column("Deflated Sharpe", "chance"),
    Column("Sortino", "a year"),
    Column("Deepest loss"),
    Column("Sessions with a gain"),
    Column("Invested", "mean"),
    Column("Traded", "× a year"),
    Column("Costs", "a year"),
)
RANKING_COLUMNS = (
    Column("IC", "correlation across tickers"),
    Column("Rank IC", "of their order"),
    Column("ICIR", "IC / its spread"),
    Column("Best less worst group", "basis points"),
    Column("Sessions", "with an order"),
)


def has_money(evaluation: Evaluation) -> bool:
    """Return whether a session was simulated."""
    return len(evaluation.money.opened) > 1


def results_of(money: Money, model: str) -> list[MoneyResult]:
    """Return the results of the model's rules, then those of the benchmarks."""
    return [one for name in (model, PASSIVE) for one in money.results if one.forecaster == name]


def money_of_model(evaluation: Evaluation) -> TableOf:
    """Return a row per rule of the model, then one per benchmark."""
    model, table = evaluation.verdict.model, evaluation.money_table
    own = pd.concat([table[table["forecaster"] == name] for name in (model, PASSIVE)])
    rows = [_row(row, rule_in_words(row["rule"]), row["forecaster"] == model) for _, row in own.iterrows()]
    return table_of(
        "Money",
        "Rule",
        COLUMNS,
        rows,
        f"Rules on the forecasts of {model}, then buying without a forecast; net of costs but for the gross return",
    )


def money_of_others(evaluation: Evaluation) -> TableOf:
    """Return a row per rule of every other forecaster."""
    table = evaluation.money_table
    own = table[~table["forecaster"].isin((evaluation.verdict.model, PASSIVE))]
    rows = [_row(row, f"{row['forecaster']}, {rule_in_words(row['rule'])}", False) for _, row in own.iterrows()]
    return table_of("Money of the other forecasters", "Forecaster and rule", COLUMNS, rows)


def _row(row: "pd.Series[Any]", name: str, marked: bool) -> Row:
    if not row["invested"] > 0:
        cells = (Cell(UNDEFINED, ("never traded",)), *(Cell(UNDEFINED) for _ in COLUMNS[1:]))
        return Row(name, cells, _whose(row), marked)
    return Row(name, _cells(row), _whose(row), marked)


def _whose(row: "pd.Series[Any]") -> str:
    return "no forecast" if row["forecaster"] == PASSIVE else ""


def _cells(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(signed_percent(row["yearly_return"], 1), (f"gross {signed_percent(row['yearly_gross_return'], 1)}",)),
        Cell(percent(row["yearly_volatility"])),
        Cell(signed(row["sharpe"]), (plus_minus(row["sharpe_error"], ".2f"),)),
        NOTHING if row["forecaster"] == PASSIVE else Cell(percent(row["deflated_sharpe"], 0)),
        Cell(signed(row["sortino"])),
        Cell(signed_percent(row["max_drawdown"], 1), (_since(row),)),
        Cell(percent(row["hit_rate"])),
        Cell(percent(row["gross_exposure"], 0), (f"{percent(row['invested'], 0)} of sessions",)),
        Cell(f"{row['turnover_per_year']:.1f}"),
        Cell(percent(row["costs_per_year"], 2)),
    )


def _since(row: "pd.Series[Any]") -> str:
    if pd.isna(row["drawdown_since"]):
        return ""
    since, until = (day(pd.Timestamp(row[f"drawdown_{end}"]).date())[:7] for end in ("since", "until"))
    return f"{since} – {until}"


def money_in_short(evaluation: Evaluation) -> str:
    """Return the Sharpe ratio of the model's first rule beside buy and hold, for one line; empty if it never traded."""
    own = results_of(evaluation.money, evaluation.verdict.model)
    held = next(one for one in own if one.rule == "buy_and_hold")
    if not math.isfinite(own[0].performance.sharpe):
        return ""
    return f"Sharpe, {rule_in_words(own[0].rule)}, net of costs {ratio_of(own[0])}; buy and hold {ratio_of(held)}"


def ratio_of(result: MoneyResult) -> str:
    """Return the Sharpe ratio of one result with its standard error."""
    figures = result.performance
    return f"{signed(figures.sharpe)} {plus_minus(figures.sharpe_error, '.2f')}".strip()


def trials_sentence(evaluation: Evaluation) -> str:
    """Return how many tries the deflated ratio of the model's rules accounts for."""
    counts = [one.performance.trials for one in results_of(evaluation.money, evaluation.verdict.model)]
    return (
        f"The deflated Sharpe ratio is the chance that the true ratio is above that of the luckiest of {counts[0]:,} "
        "tries without skill: each specification that was tried, with each of its rules."
    )


def ranking_table_of(evaluation: Evaluation, horizons: Sequence[int]) -> TableOf:
    """Return how well each forecaster's medians order the tickers; without rows where none orders any."""
    ranking = evaluation.ranking
    shown = ranking[ranking["horizon"].isin(horizons) & (ranking["sessions"] > 0)]
    rows = [
        Row(
            str(row["forecaster"]),
            _order(row),
            ahead(int(row["horizon"])),
            row["forecaster"] == evaluation.verdict.model,
        )
        for _, row in shown.iterrows()
    ]
    return table_of("Order of the tickers", "Forecaster", RANKING_COLUMNS, rows)


def _order(row: "pd.Series[Any]") -> tuple[Cell, ...]:
    return (
        Cell(signed(row["ic"], 3), (plus_minus(row["ic_error"], ".3f"),)),
        Cell(signed(row["rank_ic"], 3), (plus_minus(row["rank_ic_error"], ".3f"),)),
        Cell(signed(row["icir"])),
        Cell(signed(1e4 * row["spread"], 1), (plus_minus(row["spread_error"], ".1f", 1e4),)),
        Cell(f"{int(row['sessions']):,}"),
    )
