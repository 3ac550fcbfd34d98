"""What the report says of a backtest, section by section, as plain values for its template."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.comparisons import SIGNIFICANT, pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import Trials
from pipeline.reporting.calibration_rows import (
    calibration_by_horizon,
    corrected_or_not,
    coverage_by_regime,
    coverage_by_ticker,
    last_scored,
)
from pipeline.reporting.comparison_rows import comparison_tables
from pipeline.reporting.echo_rows import echo_sentences, echo_table
from pipeline.reporting.evidence_rows import (
    DIRECTION_COLUMNS,
    SCORE_COLUMNS,
    direction_rows,
    score_rows,
    skill_rows,
    ticker_skill_rows,
)
from pipeline.reporting.money_rows import (
    has_money,
    money_of_model,
    money_of_others,
    ranking_table_of,
    ratio_of,
    results_of,
    trials_sentence,
)
from pipeline.reporting.summary_table_rows import summary_tables
from pipeline.wording import count_of, day, model_in_words, p_value, percent, plus_minus, rule_in_words, signed_percent

Values = dict[str, object]


def evidence_values(evaluation: Evaluation) -> Values:
    """Return everything that the report's sections on the backtest read, but for the pictures."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    model = evaluation.verdict.model
    lags = pd.concat([pooled(evaluation.comparisons, model, h)["lags"] for h in horizons]).astype(int)
    ends = sorted({1, last_scored(evaluation.backtest)})
    return {
        "measured": measured(evaluation),
        "tiles": tiles(evaluation),
        "model": model_in_words(model),
        "horizons": horizons,
        "baselines": evaluation.backtest.opponents,
        "summary_tables": summary_tables(evaluation),
        "skill": skill_rows(evaluation),
        "comparisons": comparison_tables(evaluation, horizons),
        "significant": percent(SIGNIFICANT, 0),
        "lags": f"{lags.min()}" if lags.min() == lags.max() else f"{lags.min()} to {lags.max()}",
        "trials": trials_in_words(evaluation.trials),
        "score_columns": SCORE_COLUMNS,
        "scores": [(horizon, score_rows(evaluation.scores, horizon, model)) for horizon in horizons],
        "direction_columns": DIRECTION_COLUMNS,
        "direction": direction_rows(evaluation.direction),
        "by_ticker": [(h, ticker_skill_rows(evaluation, h)) for h in ends],
        "echo": {"sentences": echo_sentences(evaluation), "table": echo_table(evaluation)},
        "calibration": calibration(evaluation, ends),
        "money": money(evaluation) if has_money(evaluation) else None,
        "ranking": ranking_table_of(evaluation, ends),
    }


def calibration(evaluation: Evaluation, horizons: list[int]) -> Values:
    """Return the tables of calibration."""
    return {
        "by_horizon": calibration_by_horizon(evaluation),
        "by_regime": coverage_by_regime(evaluation, horizons),
        "by_ticker": coverage_by_ticker(evaluation, horizons),
        "corrected": len(corrected_or_not(evaluation.backtest)) > 1,
    }


def money(evaluation: Evaluation) -> Values:
    """Return the tables of money and the sentences that belong beside them."""
    spec, opened = evaluation.money.spec, evaluation.money.opened
    return {
        "described": f"{spec.describe()} From {day(opened[0])} to {day(opened[-1])}.",
        "caveats": evaluation.money.caveats,
        "trials": trials_sentence(evaluation),
        "model": money_of_model(evaluation),
        "others": money_of_others(evaluation),
    }


def trials_in_words(trials: Trials) -> str:
    """Return how many specifications were tried, and what was made of it."""
    if trials.total == 1:
        return "This is the first specification that was tested on these sessions: p stands as it is."
    raised = f"every p is raised {trials.factor:,}-fold" if trials.factor > 1 else "p stands as it is"
    return (
        f"{count_of(trials.tested, 'specification')} tested on these sessions so far, this one among them: {raised}. "
        f"{trials.total:,} were tried in all, those on validation alone included."
    )


def measured(evaluation: Evaluation) -> str:
    """Return on what the verdict stands: horizon, sessions, forecasts, tickers and refits."""
    backtest, horizon = evaluation.backtest, evaluation.verdict.horizon
    scores = _model_scores(evaluation)
    return (
        f"Measured {count_of(horizon, 'session')} ahead, from {day(backtest.sessions[0])} to "
        f"{day(backtest.sessions[-1])}: {count_of(int(scores['rows']), 'forecast')} for "
        f"{count_of(len(backtest.tickers), 'ticker')} by {count_of(len(backtest.fold_names), 'model')}, "
        f"none of which had seen anything of the days it was tested on."
    )


def _model_scores(evaluation: Evaluation) -> "pd.Series[float]":
    scores = evaluation.scores
    own = (scores["horizon"] == evaluation.verdict.horizon) & (scores["forecaster"] == evaluation.verdict.model)
    return scores[own & (scores["ticker"] == POOLED)].iloc[0]


@dataclass(frozen=True)
class Tile:
    """One number that is worth a glance."""

    label: str
    number: str
    note: str


def tiles(evaluation: Evaluation) -> list[Tile]:
    """Return the numbers to glance at: skill over the best baseline, coverage, direction, and money."""
    best = evaluation.verdict.best
    scores = _model_scores(evaluation)
    error = plus_minus(scores["coverage_80_error"], ".1f", 100)
    return [
        Tile(
            f"Skill over {best.baseline}, the best baseline",
            signed_percent(best.skill),
            f"{p_value(best.p)}: {best.conclusion}",
        ),
        Tile("Outcomes within the 80 % band", percent(scores["coverage_80"]), f"{error}, 80 % is right".lstrip(", ")),
        Tile("Right direction of the median", percent(scores["directional_accuracy"]), "50 % is a coin"),
        *money_tile(evaluation),
    ]


def money_tile(evaluation: Evaluation) -> list[Tile]:
    """Return the Sharpe ratio of the model's first rule beside buy and hold; nothing where it never traded."""
    own = results_of(evaluation.money, evaluation.verdict.model)
    held = next(one for one in own if one.rule == "buy_and_hold")
    if not math.isfinite(own[0].performance.sharpe):
        return []
    label = f"Sharpe ratio, {rule_in_words(own[0].rule)}, net of costs"
    return [Tile(label, ratio_of(own[0]), f"buy and hold {ratio_of(held)}")]
