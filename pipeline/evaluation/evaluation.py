"""The evaluation of a backtest: scores with error bars, tests, calibration, echoes, money, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.calibration.measures import coverage_table, coverage_test_table, pit_table
from pipeline.evaluation.comparisons import PUBLISHABLE, candidate_table, comparison_table
from pipeline.evaluation.contribution import Contribution, contributions
from pipeline.evaluation.echo import Echo, echoes
from pipeline.evaluation.money.account import Opens
from pipeline.evaluation.money.simulation import Money, money_table, simulate
from pipeline.evaluation.point_forecasts import decile_table, median_table, ranking_table, sign_table
from pipeline.evaluation.scores import score_table, with_error_bars
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.summary_table import summary_table
from pipeline.evaluation.trials import Trials
from pipeline.evaluation.verdict import Verdict, verdict
from pipeline.forecasting.backtest import Backtest


@dataclass(frozen=True)
class EvaluationInputs:
    """The inputs of an evaluation in addition to the backtest.

    `opens` is where trades are filled; `claims_direction` is whether the network claims level or direction, and so
    what is made of it.
    """

    opens: Opens
    money: MoneySpec
    trials: Trials
    claims_direction: bool = False


@dataclass(frozen=True)
class Evaluation:
    """A backtest and its results; tables have a row per horizon and forecaster, and more where noted."""

    backtest: Backtest
    trials: Trials
    scores: pd.DataFrame  # of each ticker and pooled, with error bars
    comparisons: pd.DataFrame  # of each model, baseline or benchmark, and ticker, and pooled
    candidates: pd.DataFrame
    medians: pd.DataFrame  # out-of-sample R2 against no change
    signs: pd.DataFrame
    ranking: pd.DataFrame
    deciles: pd.DataFrame
    pit: pd.DataFrame
    coverage: pd.DataFrame
    coverage_tests: pd.DataFrame
    echoes: Mapping[str, Echo]
    money: Money
    money_table: pd.DataFrame
    summary_table: pd.DataFrame  # statistics and money
    direction: pd.DataFrame | None  # learned class probabilities against frequencies, a row per horizon
    contributions: tuple[Contribution, ...]  # what the network adds to the combination, by horizon
    verdict: Verdict


def evaluate(backtest: Backtest, inputs: EvaluationInputs, direction: pd.DataFrame | None = None) -> Evaluation:
    """Return the evaluation of a backtest; `direction` are the scores of learned class probabilities."""
    model = backtest.published
    models = tuple(name for name in PUBLISHABLE if name in backtest.quantiles)
    network_adds = contributions(backtest, inputs.trials)
    scores = with_error_bars(score_table(backtest), backtest)
    comparisons = comparison_table(backtest, inputs.trials)
    candidates, signs, ranking = candidate_table(backtest), sign_table(backtest), ranking_table(backtest)
    medians = median_table(backtest)
    echo = echoes(backtest, dict.fromkeys(models, inputs.claims_direction), inputs.trials)
    money = simulate(backtest, inputs.opens, inputs.money, inputs.trials.total)
    return Evaluation(
        backtest=backtest,
        trials=inputs.trials,
        scores=scores,
        comparisons=comparisons,
        candidates=candidates,
        medians=medians,
        signs=signs,
        ranking=ranking,
        deciles=decile_table(backtest),
        pit=pit_table(backtest),
        coverage=coverage_table(backtest),
        coverage_tests=coverage_test_table(backtest, models),
        echoes=echo,
        money=money,
        money_table=money_table(money),
        summary_table=summary_table(scores, comparisons, candidates, signs, ranking, money_table(money)),
        direction=direction,
        contributions=network_adds,
        verdict=verdict(comparisons, model, echo[model], inputs.trials, network_adds),
    )
