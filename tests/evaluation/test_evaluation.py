"""The whole evaluation: its parts agree with each other, and the summary table repeats them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.comparisons import BASELINE_KINDS, candidate_table, compare_with_baselines
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann_pooled
from pipeline.evaluation.significance.superior_ability import confidence_set, superior_ability
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.forecasts import CORE_FORECASTERS
from tests.evaluation.backtests import flat_opens, loss_per_session, random_backtest


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    made = random_backtest(origins=90, tickers=6, seed=4)
    return evaluate(made, EvaluationInputs(flat_opens(made), MoneySpec(), Trials(tested=3, tuned=2)))


def test_every_table_has_every_horizon_and_forecaster(evaluation: Evaluation) -> None:
    wanted = {(h, name) for h in (1, 2) for name in CORE_FORECASTERS}
    for name in ("scores", "candidates", "signs", "ranking", "deciles", "pit", "coverage"):
        table: pd.DataFrame = getattr(evaluation, name)
        assert set(zip(table["horizon"], table["forecaster"], strict=True)) == wanted, name
    assert set(evaluation.comparisons["forecaster"]) == set(evaluation.coverage_tests["forecaster"]) == {"network"}
    assert set(evaluation.echoes) == set(CORE_FORECASTERS)


def test_the_summary_table_equals_its_parts(evaluation: Evaluation) -> None:
    table = evaluation.summary_table.set_index(["horizon", "forecaster"])
    scores = evaluation.scores[evaluation.scores["ticker"] == POOLED].set_index(["horizon", "forecaster"])
    money = evaluation.money_table.set_index(["forecaster", "rule"])
    for key in [(1, "network"), (2, "linear"), (1, "ewma")]:
        row = table.loc[key]
        assert row["pinball"] == scores.loc[key, "pinball"]
        assert row["coverage_80_error"] == scores.loc[key, "coverage_80_error"]
        assert row["long_short_sharpe"] == pytest.approx(money.loc[(key[1], "long_short"), "sharpe"], nan_ok=True)
    result = compare_with_baselines(evaluation.comparisons, "network", 2)
    row = table.loc[(2, "network")]
    assert (row["conclusion"], row["best_baseline"], row["skill"], row["p"]) == (
        result.conclusion,
        result.best_baseline,
        result.skill,
        result.p,
    )
    assert pd.isna(table.loc[(1, "ewma"), "conclusion"])
    assert {"buy_and_hold", "equal_weight"} <= set(table.loc[0].index)
    assert table.loc[(0, "buy_and_hold"), "long_only_sharpe"] == pytest.approx(
        money.loc[("passive", "buy_and_hold"), "sharpe"], nan_ok=True
    )


def test_sharpe_ratios_are_deflated_by_all_trials(evaluation: Evaluation) -> None:
    network_rows = evaluation.money_table[evaluation.money_table["forecaster"] == "network"]
    assert set(network_rows["trials"]) == {(3 + 2 - 1) * 3}  # specifications times rules


def test_candidates_are_the_tests_over_all(evaluation: Evaluation) -> None:
    backtest = evaluation.backtest
    losses = {name: loss_per_session(backtest, name, 2) for name in CORE_FORECASTERS}
    found = candidate_table(backtest).set_index(["horizon", "forecaster"])
    best = confidence_set(losses, 2)
    for name in CORE_FORECASTERS:
        assert found.loc[(2, name), "mcs_p"] == best.p[name]
        assert found.loc[(2, name), "may_be_best"] == (name in best.members)
        hardest = min(BASELINE_KINDS, key=lambda name: losses[name].mean())
        expected = superior_ability(losses, name, 2).p if name == hardest else np.nan
        assert found.loc[(2, name), "spa_p"] == pytest.approx(expected, nan_ok=True)


def test_signs_are_those_of_the_medians_on_scored_rows(evaluation: Evaluation) -> None:
    backtest = evaluation.backtest
    where = backtest.scored[..., 0]
    median = np.where(where, backtest.quantiles["drift"][..., 0, MEDIAN], np.nan).astype(float)
    outcome = np.where(where, backtest.realised[..., 0], np.nan).astype(float)
    test = pesaran_timmermann_pooled(median, outcome, 1, 20)
    row = evaluation.signs.set_index(["horizon", "forecaster"]).loc[(1, "drift")]
    assert (row["p"], row["hit_rate"]) == (test.p, test.hit_rate)


def test_coverage_tests_are_made_on_the_hits_of_each_ticker(evaluation: Evaluation) -> None:
    tests = evaluation.coverage_tests.set_index(["horizon", "band", "ticker"])
    scores = evaluation.scores.set_index(["horizon", "forecaster", "ticker"])
    for ticker in evaluation.backtest.tickers:
        row = tests.loc[(1, 80, ticker)]
        assert row["coverage"] == pytest.approx(scores.loc[(1, "network", ticker), "coverage_80"])
        assert row["sessions"] == scores.loc[(1, "network", ticker), "rows"]
        assert 0 < row["kupiec_p"] <= 1


def test_a_price_that_stands_still_and_a_horizon_without_outcomes_stop_nothing() -> None:
    made = random_backtest(origins=60, tickers=2, seed=4)
    still = replace(made, realised=np.zeros_like(made.realised))
    assert evaluate(still, EvaluationInputs(flat_opens(still), MoneySpec(), Trials())).verdict.sentence
    later = made.realised.copy()
    later[..., 1] = np.nan
    young = replace(made, realised=later)
    found = evaluate(young, EvaluationInputs(flat_opens(young), MoneySpec(), Trials()))
    assert found.summary_table.loc[found.summary_table["horizon"] == 2, "pinball"].isna().all()
    assert found.summary_table.loc[found.summary_table["horizon"] == 1, "pinball"].notna().all()


def test_one_ticker_is_evaluated_alone() -> None:
    made = random_backtest(origins=60, tickers=1, horizons=1)
    found = evaluate(made, EvaluationInputs(flat_opens(made), MoneySpec(), Trials()))
    assert found.verdict.tickers == {"T0": found.verdict.tickers["T0"]}
    assert "Ticker by ticker" not in found.verdict.sentence
