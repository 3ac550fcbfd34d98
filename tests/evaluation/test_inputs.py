"""Every part of the evaluation uses the right inputs: its horizon, its forecaster and the settings it was given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.comparisons import clark_west_p, comparison_table, pooled
from pipeline.evaluation.echo import echo_of, relation_p
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.money.account import Opens
from pipeline.evaluation.money.simulation import money_table, simulate
from pipeline.evaluation.point_forecasts import sign_table
from pipeline.evaluation.significance.mean_test import long_lags
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann_pooled
from pipeline.evaluation.significance.predictive_ability import clark_west
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from tests.evaluation.backtests import backtest_with, draws_of, flat_opens, scored_medians


@pytest.fixture(scope="module")
def second_only() -> Backtest:
    """The network has a little information on the outcome two sessions ahead, and none on the next session."""
    outcome = draws_of(300, 4, 2, seed=1)
    median = draws_of(300, 4, 2, seed=5) * (0.3, 0.1)
    median[..., 1] += 0.012 * outcome[..., 1]
    realised = outcome.copy()
    realised[:2, ::3, 0] = np.nan  # horizon 1 is scored at fewer rows
    return backtest_with(realised, network=median)


# Clark and West


def test_a_median_that_knows_something_beats_no_change_and_noise_does_not(second_only: Backtest) -> None:
    comparisons = comparison_table(second_only, Trials())
    of = {h: pooled(comparisons, NETWORK, h)["cw_p"] for h in (1, 2)}
    assert of[2]["last_close"] < 0.01
    assert of[1]["last_close"] > 0.1
    assert of[1].drop("last_close").isna().all()  # the last close alone is nested in the network


@pytest.mark.parametrize("horizon", [1, 2])
def test_the_model_is_the_larger_of_the_two_nested(second_only: Backtest, horizon: int) -> None:
    median, outcome = scored_medians(second_only, NETWORK, horizon)
    no_change = np.where(np.isfinite(median), 0.0, np.nan)
    expected = clark_west(outcome, no_change, median, horizon, long_lags(horizon)).p
    assert clark_west_p(second_only, NETWORK, horizon) == pytest.approx(expected)


# The echo


def test_the_echo_is_classified_at_the_requested_horizon(second_only: Backtest) -> None:
    for horizon, name in ((1, "echo"), (2, "informs")):
        found = echo_of(second_only, NETWORK, claims=True, trials=Trials(), horizon=horizon)
        median, outcome = scored_medians(second_only, NETWORK, horizon)
        where = np.isfinite(median)
        assert found.name == name
        assert found.moved_share == pytest.approx(np.var(median[where]) / np.var(outcome[where]))
        assert found.relation_p == pytest.approx(relation_p(median, outcome, where, horizon))


def without_relation(moved: float, seed: int = 5) -> Backtest:
    """A median whose changes have exactly this share of the outcomes' variance, and no relation to them."""
    outcome = draws_of(400, 3, 1, seed)
    change = draws_of(400, 3, 1, seed + 1)
    change -= change.mean()
    change -= outcome * (change * outcome).sum() / (outcome**2).sum()
    return backtest_with(outcome, network=change * np.sqrt(moved * np.var(outcome) / np.var(change)))


@pytest.mark.parametrize(
    ("moved", "claims", "name"),
    [
        (0.035, False, "no claim"),
        (0.048, False, "no claim"),
        (0.052, False, "echo"),
        (0.06, False, "echo"),
        (0.035, True, "echo"),
    ],
)
def test_a_median_with_more_than_a_twentieth_of_the_outcomes_variance_claims_direction(
    moved: float, claims: bool, name: str
) -> None:
    found = echo_of(without_relation(moved), NETWORK, claims=claims, trials=Trials())
    assert found.moved_share == pytest.approx(moved, rel=1e-3)
    assert found.relation_p > 0.1
    assert (found.name, found.claims) == (name, name == "echo")


# Inputs of the evaluation


@pytest.fixture(scope="module")
def both() -> Backtest:
    """A network without information on direction, and a calibrated one whose median has a sixth of the outcome."""
    outcome = draws_of(150, 4, 2, seed=7)
    return backtest_with(outcome, network=0.15 * draws_of(150, 4, 2, seed=8), calibrated=outcome / 6)


def moving_opens(backtest: Backtest) -> Opens:
    """Opens whose growth is the next session's outcome."""
    flat = flat_opens(backtest)
    growth = np.exp(np.roll(backtest.realised[..., 0].astype(np.float64), 1, axis=1))
    return replace(flat, growth=np.where(np.isfinite(growth), growth, 1.0))


EXPENSIVE = MoneySpec(commission_bps=70.0)


@pytest.fixture(scope="module")
def inputs(both: Backtest) -> EvaluationInputs:
    return EvaluationInputs(moving_opens(both), EXPENSIVE, Trials(tested=2, tuned=3), claims_direction=True)


@pytest.fixture(scope="module")
def evaluation(both: Backtest, inputs: EvaluationInputs) -> Evaluation:
    return evaluate(both, inputs)


def test_the_verdicts_echo_is_that_of_the_model(
    evaluation: Evaluation, both: Backtest, inputs: EvaluationInputs
) -> None:
    assert evaluation.verdict.model == CALIBRATED
    expected = echo_of(both, CALIBRATED, claims=True, trials=inputs.trials)
    assert evaluation.verdict.echo == evaluation.echoes[CALIBRATED] == expected
    assert expected.relation_p_adjusted == 2 * expected.relation_p, "the second specification tested"
    assert (evaluation.verdict.echo.name, evaluation.echoes[NETWORK].name) == ("informs", "echo")
    assert evaluation.verdict.echo.sentence in evaluation.verdict.sentence


def test_the_median_is_classified_by_what_the_network_claims(
    evaluation: Evaluation, both: Backtest, inputs: EvaluationInputs
) -> None:
    modest = evaluate(both, replace(inputs, claims_direction=False))
    assert {name: evaluation.echoes[name].claims for name in (NETWORK, CALIBRATED, "ewma")} == {
        NETWORK: True,
        CALIBRATED: True,
        "ewma": False,
    }
    assert not modest.echoes[NETWORK].claims
    assert (modest.echoes[NETWORK].name, evaluation.echoes[NETWORK].name) == ("no claim", "echo")


def test_trading_is_simulated_with_the_given_costs_trials_and_opens(
    evaluation: Evaluation, both: Backtest, inputs: EvaluationInputs
) -> None:
    assert evaluation.money.spec == EXPENSIVE
    expected = money_table(simulate(both, inputs.opens, EXPENSIVE, trials=4))
    pd.testing.assert_frame_equal(evaluation.money_table, expected)
    for other in (
        simulate(both, inputs.opens, MoneySpec(), trials=4),
        simulate(both, inputs.opens, EXPENSIVE, trials=1),
        simulate(both, flat_opens(both), EXPENSIVE, trials=4),
    ):
        assert not money_table(other).equals(expected)


# Direction


FAR = 12
"""A horizon with more lags than the minimum."""


@pytest.fixture(scope="module")
def far() -> Backtest:
    """Outcomes over up to twelve sessions that overlap, and medians that know a little of them."""
    steps = draws_of(220 + FAR, 3, 1, seed=13)[..., 0]
    ahead = np.stack([sum(steps[:, k : 220 + k] for k in range(h)) for h in range(1, FAR + 1)], axis=-1)
    drifting = np.cumsum(draws_of(220, 3, 1, seed=14), axis=1) / 10
    return backtest_with(np.asarray(ahead), network=0.05 * ahead + drifting + 0.002)


@pytest.fixture(scope="module")
def table(far: Backtest) -> pd.DataFrame:
    return evaluate(far, EvaluationInputs(flat_opens(far), MoneySpec(), Trials())).summary_table.set_index(
        ["horizon", "forecaster"]
    )


@pytest.mark.parametrize("horizon", [1, 2, FAR])
def test_direction_is_tested_at_its_horizon_and_its_p_is_in_the_summary_table(
    far: Backtest, table: pd.DataFrame, horizon: int
) -> None:
    median, outcome = scored_medians(far, NETWORK, horizon)
    test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
    near = pesaran_timmermann_pooled(median, outcome, 1, long_lags(1))
    assert table.loc[(horizon, NETWORK), "direction_p"] == pytest.approx(test.p)
    assert abs(test.p - test.statistic) > 0.01
    if horizon > 1:
        assert abs(test.p - near.p) > 1e-9


def test_hit_rates_come_with_their_expectation_by_chance(far: Backtest) -> None:
    signs = sign_table(far).set_index(["horizon", "forecaster"])
    for horizon in (1, 2, FAR):
        median, outcome = scored_medians(far, NETWORK, horizon)
        where = np.isfinite(median)
        chance = []
        for up, rose, scored in zip(median > 0, outcome > 0, where, strict=True):  # a ticker each, as long as it is
            x, y = up[scored].mean(), rose[scored].mean()
            chance += [x * y + (1 - x) * (1 - y)] * int(scored.sum())
        row = signs.loc[(horizon, NETWORK)]
        test = pesaran_timmermann_pooled(median, outcome, horizon, long_lags(horizon))
        assert row["hit_rate"] == pytest.approx(np.mean((median > 0)[where] == (outcome > 0)[where]))
        assert row["expected_hit_rate"] == pytest.approx(np.mean(chance))
        assert row["hit_rate"] - row["expected_hit_rate"] > 0.005
        assert (row["t"], row["p"]) == (pytest.approx(test.statistic), pytest.approx(test.p))
