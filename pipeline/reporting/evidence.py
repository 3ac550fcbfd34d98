"""The report's sections on a backtest, as plain values for its template."""

from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.comparisons import SIGNIFICANT, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import Trials
from pipeline.reporting.calibration_tables import (
    calibration_by_horizon,
    coverage_by_regime,
    coverage_by_ticker,
    last_scored,
)
from pipeline.reporting.combination_section import combination_values
from pipeline.reporting.comparison_tables import comparison_tables, skill_rows, summary_tables, ticker_skill_rows
from pipeline.reporting.labels import RULE_LABELS
from pipeline.reporting.money_tables import (
    has_money,
    headline_results,
    money_of_model,
    money_of_others,
    ranking_report_table,
    sharpe_with_error,
    trials_sentence,
)
from pipeline.reporting.score_tables import (
    DIRECTION_COLUMNS,
    SCORE_COLUMNS,
    direction_rows,
    echo_sentences,
    echo_table,
    median_against_no_change,
    score_rows,
)
from pipeline.wording import count_of, day, model_in_words, p_value, percent, plus_minus, skill

TemplateValues = dict[str, object]


def evidence_values(evaluation: Evaluation) -> TemplateValues:
    """Return everything that the report's sections on the backtest read, except the figures."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    model = evaluation.verdict.model
    lags = pd.concat([pooled(evaluation.comparisons, model, h)["lags"] for h in horizons]).astype(int)
    ends = sorted({1, last_scored(evaluation.backtest)})
    return {
        "basis": basis_sentence(evaluation),
        "tiles": tiles(evaluation),
        "model": model_in_words(model),
        "horizons": horizons,
        "baselines": evaluation.backtest.opponents,
        "summary": summary_tables(evaluation),
        "skill": skill_rows(evaluation),
        "tests": comparison_tables(evaluation, horizons),
        "significant": percent(SIGNIFICANT, 0),
        "lags": f"{lags.min()}" if lags.min() == lags.max() else f"{lags.min()} to {lags.max()}",
        "trials": trials_in_words(evaluation.trials),
        "score_columns": SCORE_COLUMNS,
        "scores": [(horizon, score_rows(evaluation.scores, horizon, model)) for horizon in horizons],
        "direction_columns": DIRECTION_COLUMNS,
        "direction": direction_rows(evaluation.direction),
        "by_ticker": [(h, ticker_skill_rows(evaluation, h)) for h in ends],
        "combination": combination_values(evaluation),
        "echo": {"sentences": echo_sentences(evaluation), "table": echo_table(evaluation)},
        "median": median_against_no_change(evaluation),
        "calibration": _calibration(evaluation, ends),
        "money": _money(evaluation) if has_money(evaluation) else None,
        "ranking": ranking_report_table(evaluation, ends),
    }


def _calibration(evaluation: Evaluation, horizons: list[int]) -> TemplateValues:
    """Return the tables of calibration by horizon, regime and ticker."""
    return {
        "by_horizon": calibration_by_horizon(evaluation),
        "by_regime": coverage_by_regime(evaluation, horizons),
        "by_ticker": coverage_by_ticker(evaluation, horizons),
    }


def _money(evaluation: Evaluation) -> TemplateValues:
    """Return the tables of money and the sentences around them."""
    spec, opened = evaluation.money.spec, evaluation.money.opened
    return {
        "rules": f"{spec.describe()} From {day(opened[0])} to {day(opened[-1])}.",
        "caveats": evaluation.money.caveats,
        "trials": trials_sentence(evaluation),
        "model": money_of_model(evaluation),
        "others": money_of_others(evaluation),
    }


def trials_in_words(trials: Trials) -> str:
    """Return the number of specifications tested, and how p-values are adjusted for it."""
    if not trials.known:
        return (
            "The number of specifications tested on these sessions before is unknown, since their records could not be "
            "read: p-values are not adjusted for them."
        )
    if trials.total == 1:
        return "This is the first specification tested on these sessions: p-values are not adjusted."
    adjusted = f"every p is multiplied by {trials.factor:,}" if trials.factor > 1 else "p-values are not adjusted"
    return (
        f"{count_of(trials.tested, 'specification')} tested on these sessions so far, including this one: {adjusted}. "
        f"{trials.total:,} were tried in total, including those judged on validation ranges alone."
    )


def basis_sentence(evaluation: Evaluation) -> str:
    """Return the data behind the verdict: horizon, sessions, forecasts, tickers and refits."""
    backtest, horizon = evaluation.backtest, evaluation.verdict.horizon
    scores = _model_scores(evaluation)
    return (
        f"Measured {count_of(horizon, 'session')} ahead, from {day(backtest.sessions[0])} to "
        f"{day(backtest.sessions[-1])}: {count_of(int(scores['rows']), 'forecast')} for "
        f"{count_of(len(backtest.tickers), 'ticker')} by {count_of(len(backtest.fold_names), 'model')}, "
        f"none of which was fitted to data of the days it was tested on."
    )


def _model_scores(evaluation: Evaluation) -> "pd.Series[float]":
    scores = evaluation.scores
    of_model = (scores["horizon"] == evaluation.verdict.horizon) & (scores["forecaster"] == evaluation.verdict.model)
    return scores[of_model & (scores["ticker"] == POOLED)].iloc[0]


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    number: str
    note: str


def tiles(evaluation: Evaluation) -> list[Tile]:
    """Return the headline numbers: skill over the best baseline, coverage, direction and Sharpe ratio."""
    best = evaluation.verdict.best
    scores = _model_scores(evaluation)
    error = plus_minus(scores["coverage_80_error"], ".1f", 100)
    return [
        Tile(
            f"Skill over {best.baseline}, the best baseline",
            skill(best.skill),
            f"{p_value(best.p)}: {best.conclusion}",
        ),
        Tile("Outcomes within the 80 % band", percent(scores["coverage_80"]), f"{error}, nominal 80 %".lstrip(", ")),
        Tile("Directional accuracy of the median", percent(scores["directional_accuracy"]), "chance: 50 %"),
        *_money_tiles(evaluation),
    ]


def _money_tiles(evaluation: Evaluation) -> list[Tile]:
    """Return the tile of the model's first rule; none where it never traded."""
    if not (results := headline_results(evaluation)):
        return []
    first, passive = map(sharpe_with_error, results)
    return [Tile(f"Sharpe ratio, {RULE_LABELS[results[0].rule]}, net of costs", first, f"buy and hold {passive}")]
