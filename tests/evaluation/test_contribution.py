"""What the network adds: the test against the combination without it, the weights as tables, and the sentence."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.comparisons import comparison_table, pooled
from pipeline.evaluation.contribution import Contribution, contributions, share_table, weight_table
from pipeline.evaluation.trials import Trials
from pipeline.evaluation.verdict import network_sentence
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED
from pipeline.forecasting.weights import Weights, joined

from .backtests import random_backtest

MEMBERS = ("network", "ewma", "linear")


def combined_backtest(better: float = 0.0) -> Backtest:
    """A backtest whose combination is nearer to the outcome than without the network by a share."""
    base = random_backtest(origins=90, missing=0.02)
    draws = np.random.default_rng(3)
    mixed = (base.quantiles["ewma"] + base.quantiles["linear"]) / 2
    outcome = np.nan_to_num(base.realised)[..., None]
    values = draws.uniform(0.5, 1.5, (90, 2, 7, 3)).astype(np.float32)
    answered = np.ones((90, 2, 3), np.float32)
    answered[:9, 0, 2] = 0.25
    weights = Weights(MEMBERS, base.sessions, values / values.sum(axis=-1, keepdims=True), answered)
    nearer = np.sort(mixed + better * (outcome - mixed), axis=-1).astype(np.float32)
    # What is published is worse than either: it is not what the network adds to.
    quantiles = {**base.quantiles, COMBINED: nearer, CALIBRATED: 3 * nearer}
    return replace(base, quantiles=quantiles, weights=weights, without_network=mixed)


def test_it_is_the_comparison_with_the_combination_without_the_network() -> None:
    backtest = combined_backtest(0.2)
    trials = Trials(tested=2)
    stand_in = replace(backtest, quantiles={**backtest.quantiles, "drift": backtest.without_network})
    for found in contributions(backtest, trials):
        expected = pooled(comparison_table(stand_in, trials), COMBINED, found.horizon).loc["drift"]
        assert found.skill == pytest.approx(expected["skill"], rel=0.02)  # rows that drift alone lacks are scored here
        assert found.conclusion == expected["conclusion"] == "better"
        assert found.p == pytest.approx(2 * raw_p(stand_in, found.horizon), rel=0.1)  # the second on these sessions
        assert found.skill_error > 0
        assert sum(found.shares.values()) == pytest.approx(1, abs=1e-6)
        assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)


def raw_p(backtest: Backtest, horizon: int) -> float:
    return float(pooled(comparison_table(backtest, Trials()), COMBINED, horizon).loc["drift"]["p"])


def test_the_same_combination_adds_nothing() -> None:
    backtest = combined_backtest(0.0)
    same = replace(backtest, quantiles={**backtest.quantiles, COMBINED: backtest.without_network})
    for found in contributions(same, Trials()):
        assert found.skill == 0
        assert found.conclusion == "no evidence"


def test_without_a_combination_there_is_nothing_to_say() -> None:
    base = random_backtest()
    assert contributions(base, Trials()) == ()
    assert share_table(base).empty
    assert weight_table(base).empty
    assert network_sentence(()) == ""


def test_the_weights_are_a_row_per_origin_horizon_and_member() -> None:
    backtest = combined_backtest()
    assert backtest.weights is not None
    table = weight_table(backtest)
    assert len(table) == 90 * 2 * 3
    assert list(table.columns) == ["as_of", "horizon", "forecaster", "w05", "w10", "w25", "w50", "w75", "w90", "w95"]
    row = table[
        (table["as_of"] == pd.Timestamp(backtest.sessions[17]))
        & (table["horizon"] == 2)
        & (table["forecaster"] == "linear")
    ]
    np.testing.assert_array_equal(row.iloc[0, 3:].to_numpy(np.float32), backtest.weights.by_session[17, 1, :, 2])


def test_a_share_is_the_mean_weight_off_the_median_and_silence_is_counted() -> None:
    backtest = combined_backtest()
    assert backtest.weights is not None
    table = share_table(backtest).set_index(["horizon", "forecaster"])
    off_median = [0, 1, 2, 4, 5, 6]
    for k, member in enumerate(MEMBERS):
        for horizon in (1, 2):
            values = backtest.weights.by_session[:, horizon - 1, :, k][:, off_median].mean(axis=1)
            row = table.loc[horizon, member]
            assert row["share"] == pytest.approx(values.mean(), rel=1e-5)
            assert row["last"] == pytest.approx(values[-horizon:].mean(), rel=1e-5)
            assert row["first"] == pytest.approx(values[0], rel=1e-5)
    assert table.loc[1, "linear"]["silent"] == pytest.approx(0.75 * 9 / 90)
    assert table.loc[2, "linear"]["silent"] == 0
    assert table.loc[1, "ewma"]["silent"] == 0


def test_shares_of_copies_that_take_turns_are_averaged() -> None:
    values = np.zeros((7, 3, 7, 2), np.float32)
    values[..., 0] = np.arange(7)[:, None, None] % 3
    weights = Weights(("a", "b"), np.arange(7).astype("datetime64[D]"), values, np.ones((7, 3, 2), np.float32))
    np.testing.assert_allclose(weights.smoothed(3)[:, 0], [0, 0.5, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(weights.smoothed(1)[:, 0], [0, 1, 2, 0, 1, 2, 0])


def test_weights_of_folds_are_joined_with_zero_for_a_member_that_one_lacks() -> None:
    days, answers = np.arange(4).astype("datetime64[D]"), np.ones((2, 1, 2), np.float32)
    one = Weights(("a", "b"), days[:2], np.full((2, 1, 7, 2), 0.5, np.float32), answers)
    two = Weights(("b", "c"), days[2:], np.full((2, 1, 7, 2), 0.5, np.float32), answers)
    both = joined([one, two])
    assert both.members == ("a", "b", "c")
    np.testing.assert_array_equal(both.sessions, days)
    np.testing.assert_array_equal(
        both.by_session[:, 0, 0], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]
    )
    np.testing.assert_array_equal(both.answered[:, 0], [[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1]])
    assert both.last.sessions.tolist() == [days[-1].item()]


def added(horizon: int, skill: float, conclusion: str, p: float) -> Contribution:
    return Contribution(horizon, skill, 0.001, p, conclusion, {"network": 0.4})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "last", "start"),
    [
        (("better", 0.004, 0.001), ("better", 0.002, 0.01), "The network adds to the combination: without it the loss"),
        (
            ("better", 0.004, 0.001),
            ("no evidence", 0.002, 0.3),
            "The network adds to the combination at one of these horizons",
        ),
        (
            ("no evidence", 0.0004, 0.3),
            ("no evidence", 0.0, 0.9),
            "It is not shown that the network adds anything to the combination",
        ),
        (("worse", -0.004, 0.001), ("worse", -0.002, 0.01), "The network harms the combination"),
        (("worse", -0.004, 0.001), ("better", 0.002, 0.01), "The network may harm the combination"),
    ],
)
def test_the_sentence_follows_the_tests(
    first: tuple[str, float, float], last: tuple[str, float, float], start: str
) -> None:
    (one, skill, p), (two, later, p_later) = first, last
    found = network_sentence([added(1, skill, one, p), added(3, 9.9, "worse", 0.0), added(5, later, two, p_later)])
    assert found.startswith(start)
    assert "9.9" not in found


def test_the_sentence_has_the_sizes_and_p_values() -> None:
    found = network_sentence([added(1, 0.00312, "better", 0.002), added(5, -0.001, "no evidence", 0.41)])
    assert found.endswith(
        "without it the loss would be 0.31 % larger 1 session ahead (p = 0.002) and 0.10 % smaller "
        "5 sessions ahead (p = 0.410)."
    )
    alone = network_sentence([added(1, 0.00312, "better", 0.002), added(5, float("nan"), "no evidence", float("nan"))])
    assert alone.endswith("would be 0.31 % larger 1 session ahead (p = 0.002).")
