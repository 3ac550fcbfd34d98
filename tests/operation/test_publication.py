"""What is published: the model, or a baseline, labelled so, where the model is not better than all of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from pipeline.evaluation.comparisons import BASELINE_KINDS, compare_with_baselines, conclusions_by_ticker
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.operation.publication import Publication, marked, publication, published_rows
from tests.evaluation.backtests import flat_opens, random_backtest

ORIGINS, TICKERS = 260, 4


def backtest() -> Backtest:
    """At horizon 1 the network knows the scale of two tickers of four; at horizon 2 it knows nothing of any."""
    draws = np.random.default_rng(2)
    scale = np.exp(draws.normal(0, 0.7, (TICKERS, ORIGINS, 2)))
    outcome = scale * draws.normal(0, 0.01, scale.shape)
    knows = np.zeros((TICKERS, 1, 2), dtype=bool)
    knows[:2, :, 0] = True
    unit = 0.01 * norm.ppf(LEVELS)
    plain = {name: (1.05 + 0.05 * k) * np.ones_like(scale) for k, name in enumerate(BASELINE_KINDS)}
    spreads = {NETWORK: np.where(knows, scale, 1.04), **plain}
    made = random_backtest(origins=ORIGINS, tickers=TICKERS, horizons=2)
    return replace(
        made,
        quantiles={name: (spread[..., None] * unit).astype(np.float32) for name, spread in spreads.items()},
        realised=outcome.astype(np.float32),
    )


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    made = backtest()
    return evaluate(made, EvaluationInputs(flat_opens(made), MoneySpec(), Trials()))


def test_it_is_the_model_where_abstaining_is_off(evaluation: Evaluation) -> None:
    chosen = publication(evaluation, "never")
    assert {chosen.forecaster(ticker, h) for ticker in ("T0", "new") for h in (1, 2)} == {NETWORK}
    assert chosen.abstained == ()


def test_pooled_a_horizon_without_skill_has_the_best_baseline(evaluation: Evaluation) -> None:
    assert compare_with_baselines(evaluation.comparisons, NETWORK, 1).passed
    assert not compare_with_baselines(evaluation.comparisons, NETWORK, 2).passed
    chosen = publication(evaluation, "pooled")
    assert chosen.forecaster("T3", 1) == NETWORK
    assert (
        chosen.forecaster("T3", 2)
        == chosen.forecaster("new", 2)
        == compare_with_baselines(evaluation.comparisons, NETWORK, 2).best_baseline
    )
    assert chosen.abstained == (2,)


def test_by_ticker_each_has_what_it_has_shown(evaluation: Evaluation) -> None:
    chosen, words = publication(evaluation, "ticker"), conclusions_by_ticker(evaluation.comparisons, NETWORK, 1)
    assert {words["T0"], words["T1"]} == {"better"} != {words["T2"], words["T3"]}
    for ticker, word in words.items():
        assert (chosen.forecaster(ticker, 1) == NETWORK) == (word == "better")
        assert chosen.forecaster(ticker, 1) in (NETWORK, *BASELINE_KINDS)
    assert chosen.forecaster("new", 1) == NETWORK  # never scored: what holds for all together


def test_the_corrected_network_is_the_model_where_there_is_one() -> None:
    made = backtest()
    network_quantiles = made.quantiles[NETWORK]
    both = replace(made, quantiles={NETWORK: network_quantiles, CALIBRATED: network_quantiles, **made.quantiles})
    found = evaluate(both, EvaluationInputs(flat_opens(both), MoneySpec(), Trials()))
    assert found.verdict.model == CALIBRATED
    assert publication(found, "never").forecaster("T0", 1) == CALIBRATED


def test_one_row_per_ticker_and_horizon_is_published_and_labelled() -> None:
    keys = [(ticker, h, name) for ticker in ("A", "B") for h in (1, 2) for name in (NETWORK, "ewma", "drift")]
    forecasts = pd.DataFrame(keys, columns=["ticker", "horizon", "forecaster"])
    chosen = Publication(NETWORK, {1: NETWORK, 2: "ewma"}, {2: {"B": "drift"}})
    rows = published_rows(marked(forecasts, chosen))
    assert rows[["ticker", "horizon", "forecaster"]].to_numpy().tolist() == [
        ["A", 1, NETWORK],
        ["A", 2, "ewma"],
        ["B", 1, NETWORK],
        ["B", 2, "drift"],
    ]
