"""Everything that a backtest shows: scores with error bars, tests, calibration, echoes, money, and the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.calibration.measures import coverage_table, pit_table
from pipeline.evaluation.calibration.tested import coverage_test_table
from pipeline.evaluation.candidates import candidate_table
from pipeline.evaluation.echo import Echo, echoes
from pipeline.evaluation.error_bars import with_error_bars
from pipeline.evaluation.gate import gate_table
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.money.opens import Opens
from pipeline.evaluation.money.simulation import Money, money_table, simulate
from pipeline.evaluation.money.specification import MoneySpec
from pipeline.evaluation.one_table import one_table
from pipeline.evaluation.ranking import decile_table, ranking_table
from pipeline.evaluation.scores import score_table
from pipeline.evaluation.signs import sign_table
from pipeline.evaluation.verdict import Verdict, verdict
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK


@dataclass(frozen=True)
class Asked:
    """What an evaluation is to know beside the backtest.

    `opens` is where trades are filled; `sold_as_point` says that the network is one of level or direction.
    """

    opens: Opens
    money: MoneySpec
    luck: Luck
    sold_as_point: bool = False


@dataclass(frozen=True)
class Evaluation:
    """A backtest and what it shows; tables have a row per horizon and forecaster, and more where they say so."""

    backtest: Backtest
    luck: Luck
    scores: pd.DataFrame  # of each ticker and pooled, with error bars
    gate: pd.DataFrame  # of each model, opponent and ticker, and pooled
    candidates: pd.DataFrame
    signs: pd.DataFrame
    ranking: pd.DataFrame
    deciles: pd.DataFrame
    pit: pd.DataFrame
    coverage: pd.DataFrame
    coverage_tests: pd.DataFrame
    echoes: Mapping[str, Echo]
    money: Money
    money_table: pd.DataFrame
    one_table: pd.DataFrame  # statistics and money side by side
    direction: pd.DataFrame | None  # learned class probabilities against frequencies, a row per horizon
    verdict: Verdict


def evaluate(backtest: Backtest, asked: Asked, direction: pd.DataFrame | None = None) -> Evaluation:
    """Return everything that the backtest shows; `direction` are the scores of learned class probabilities."""
    model = published_model(backtest)
    models = tuple(name for name in (NETWORK, CALIBRATED) if name in backtest.quantiles)
    scores = with_error_bars(score_table(backtest), backtest)
    gate, candidates, signs = gate_table(backtest, asked.luck), candidate_table(backtest), sign_table(backtest)
    ranking = ranking_table(backtest)
    echo = echoes(backtest, dict.fromkeys(models, asked.sold_as_point))
    money = simulate(backtest, asked.opens, asked.money, asked.luck.trials)
    return Evaluation(
        backtest=backtest,
        luck=asked.luck,
        scores=scores,
        gate=gate,
        candidates=candidates,
        signs=signs,
        ranking=ranking,
        deciles=decile_table(backtest),
        pit=pit_table(backtest),
        coverage=coverage_table(backtest),
        coverage_tests=coverage_test_table(backtest, models),
        echoes=echo,
        money=money,
        money_table=money_table(money),
        one_table=one_table(scores, gate, candidates, signs, ranking, money_table(money)),
        direction=direction,
        verdict=verdict(gate, model, echo[model], asked.luck),
    )


def published_model(backtest: Backtest) -> str:
    """Return the forecaster that stands for the network: the corrected one where there is one."""
    return CALIBRATED if CALIBRATED in backtest.quantiles else NETWORK
