"""IC, rank IC, ICIR and returns by decile: by hand and against slow twins."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr, spearmanr

from pipeline.evaluation.point_forecasts import (
    decile_table,
    group_count,
    group_returns,
    information_coefficient,
    information_ratio,
    mean_over_sessions,
    median_table,
    rank_information_coefficient,
    ranking_table,
)
from pipeline.evaluation.significance.mean_test import bartlett_variance
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.backtest import Backtest
from tests.evaluation.backtests import random_backtest

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_ic_by_hand() -> None:
    # forecasts 1..5, deviations -2 -1 0 1 2 (squares 10); outcomes 1 3 2 5 4, deviations -2 0 -1 2 1 (squares 10)
    # products 4 + 0 + 0 + 2 + 2 = 8: 0.8; they are ranks themselves
    forecast, outcome = column(1, 2, 3, 4, 5), column(1, 3, 2, 5, 4)
    assert information_coefficient(forecast, outcome) == pytest.approx([0.8])
    assert rank_information_coefficient(forecast, outcome) == pytest.approx([0.8])
    # any growing function of the forecast leaves the ranks, and not the correlation
    assert rank_information_coefficient(np.exp(forecast), outcome) == pytest.approx([0.8])
    assert information_coefficient(np.exp(forecast), outcome)[0] < 0.7


def test_fewer_than_five_tickers_have_no_ic() -> None:
    forecast, outcome = column(1, 2, 3, 4, NAN), column(1, 3, 2, 5, 4)
    assert np.isnan(information_coefficient(forecast, outcome)).all()
    assert np.isnan(rank_information_coefficient(outcome, forecast)).all()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3])
def test_a_forecast_that_is_the_same_for_all_has_none(constant: float) -> None:
    outcome = column(*np.random.default_rng(0).normal(size=7))
    same = np.full((7, 1), constant)
    assert np.isnan(information_coefficient(same, outcome)).all()
    assert np.isnan(rank_information_coefficient(same, outcome)).all()
    assert np.isnan(information_coefficient(outcome, same)).all()


VALUES = st.sampled_from([NAN, -0.03, -0.01, 0.0, 0.0, 0.01, 0.02, 0.05])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(arrays(np.float64, (8, 4), elements=VALUES), arrays(np.float64, (8, 4), elements=VALUES))
def test_coefficients_equal_scipy_session_by_session(forecast: np.ndarray, outcome: np.ndarray) -> None:
    pearson, spearman = information_coefficient(forecast, outcome), rank_information_coefficient(forecast, outcome)
    for t in range(4):
        both = np.isfinite(forecast[:, t]) & np.isfinite(outcome[:, t])
        x, y = forecast[both, t], outcome[both, t]
        if len(x) < 5 or len(set(x)) < 2 or len(set(y)) < 2:
            assert np.isnan(pearson[t])
            assert np.isnan(spearman[t])
        else:
            assert pearson[t] == pytest.approx(pearsonr(x, y).statistic, abs=1e-9)
            assert spearman[t] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)


def test_icir_by_hand() -> None:
    # mean 0.2, deviations -0.1 0 0.1: 0.02 / 2 = 0.01, deviation 0.1
    assert information_ratio(np.array([0.1, NAN, 0.2, 0.3])) == pytest.approx(2.0)
    assert np.isnan(information_ratio(np.array([0.1, NAN])))
    assert np.isnan(information_ratio(np.array([0.5, 0.5])))


def test_the_error_of_a_mean_counts_overlap() -> None:
    values = np.convolve(np.random.default_rng(0).normal(size=300), np.ones(15), mode="valid")
    values[7] = NAN
    known = values[np.isfinite(values)]
    mean = mean_over_sessions(values, 15)
    assert mean.value == pytest.approx(known.mean())
    assert mean.error == pytest.approx(np.sqrt(bartlett_variance(known, 30) / len(known)))  # two horizons of lags
    assert mean.error > 2 * known.std() / np.sqrt(len(known))
    assert mean.t == pytest.approx(mean.value / mean.error)
    assert mean.sessions == len(known)


def test_few_sessions_have_a_mean_without_an_error() -> None:
    mean = mean_over_sessions(np.array([0.1, 0.3]), 1)
    assert mean.value == pytest.approx(0.2)
    assert np.isnan(mean.error)
    assert np.isnan(mean.t)
    assert np.isnan(mean_over_sessions(np.array([NAN]), 1).value)


@pytest.mark.parametrize(("tickers", "groups"), [(4, 0), (5, 5), (9, 5), (10, 10), (500, 10)])
def test_how_many_groups(tickers: int, groups: int) -> None:
    assert group_count(tickers) == groups


def test_group_returns_by_hand() -> None:
    # ten tickers in five groups of two by forecast, lowest first
    forecast = column(3, 1, 2, 4, 5, 6, 8, 7, 10, 9)
    outcome = column(30, 10, 20, 40, 50, 60, 80, 70, 100, 90)
    assert group_returns(forecast, outcome, 5)[:, 0] == pytest.approx([15, 35, 55, 75, 95])


def test_equal_forecasts_are_in_one_group() -> None:
    # ranks 1, 3 3 3, 5: the three in the middle are one group, two groups are empty
    returns = group_returns(column(1, 2, 2, 2, 3), column(1, 2, 3, 4, 9), 5)[:, 0]
    assert returns == pytest.approx([1, NAN, 3, NAN, 9], nan_ok=True)
    same = group_returns(column(2, 2, 2, 2, 2), column(1, 2, 3, 4, 5), 5)[:, 0]
    assert same == pytest.approx([NAN, NAN, 3, NAN, NAN], nan_ok=True)


def test_equal_forecasts_on_a_border_go_towards_the_middle() -> None:
    # the two lowest of five share the rank 1.5 and stand between the first and the second group
    returns = group_returns(column(1, 1, 2, 3, 3), column(1, 2, 3, 4, 9), 5)[:, 0]
    assert returns == pytest.approx([NAN, 1.5, 3, 6.5, NAN], nan_ok=True)


def test_a_session_with_fewer_tickers_than_groups_has_none() -> None:
    assert np.isnan(group_returns(column(1, 2, 3, 4, NAN), column(1, 2, 3, 4, 5), 5)).all()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(5, 23), st.integers(0, 1000))
def test_groups_hold_each_ticker_once_and_are_even(tickers: int, seed: int) -> None:
    forecast = np.random.default_rng(seed).normal(size=(tickers, 1))
    each = [group_returns(forecast, (np.arange(tickers) == k).astype(float)[:, None], 5)[:, 0] for k in range(tickers)]
    sizes = 1 / np.max(each, axis=0)  # a group of n has the mean 1 / n of one ticker's mark
    assert (np.count_nonzero(np.array(each), axis=1) == 1).all()
    assert sizes.max() - sizes.min() < 1 + 1e-9
    assert sizes.sum() == pytest.approx(tickers)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(arrays(np.float64, (9, 3), elements=VALUES), arrays(np.float64, (9, 3), elements=st.floats(-1, 1)))
def test_highest_and_lowest_are_treated_alike(forecast: np.ndarray, outcome: np.ndarray) -> None:
    returns = group_returns(forecast, outcome, 5)
    assert group_returns(-forecast, outcome, 5)[::-1] == pytest.approx(returns, nan_ok=True, abs=1e-12)


def planted(tickers: int, signal: float, seed: int = 0) -> Backtest:
    """Return a backtest whose network's medians are the outcome to the share `signal`, else random."""
    backtest = random_backtest(origins=120, tickers=tickers, seed=seed)
    network = backtest.quantiles["network"].copy()
    outcome = np.nan_to_num(backtest.realised)
    network[..., MEDIAN] = signal * outcome + (1 - signal) * network[..., MEDIAN]
    return replace(backtest, quantiles={**backtest.quantiles, "network": network})


def test_a_planted_order_is_found_and_chance_is_not() -> None:
    table = ranking_table(planted(12, 0.5)).set_index(["horizon", "forecaster"])
    network, drift = table.loc[(1, "network")], table.loc[(1, "drift")]
    assert network["ic"] > 0.5
    assert network["rank_ic"] > 0.5
    assert min(network["ic_t"], network["rank_ic_t"], network["spread_t"]) > 5
    assert abs(drift["ic_t"]) < 3
    assert network["groups"] == 10
    assert set(table.index) == {(h, name) for h in (1, 2) for name in planted(5, 0).quantiles}


def test_the_table_is_the_mean_over_scored_sessions() -> None:
    backtest = planted(11, 0.3)
    row = ranking_table(backtest).set_index(["horizon", "forecaster"]).loc[(2, "ewma")]
    scored, medians = backtest.scored[..., 1], backtest.quantiles["ewma"][:, :, 1, MEDIAN]
    each = [
        pearsonr(medians[is_scored, t].astype(float), backtest.realised[is_scored, t, 1].astype(float)).statistic
        for t, is_scored in enumerate(scored.T)
        if is_scored.sum() >= 5
    ]
    assert row["ic"] == pytest.approx(np.mean(each))
    assert row["icir"] == pytest.approx(np.mean(each) / np.std(each, ddof=1))
    assert row["sessions"] == len(each)
    assert row["ic_error"] == pytest.approx(np.sqrt(bartlett_variance(np.array(each), 20) / len(each)))


def test_deciles_rise_with_a_planted_order_and_end_in_the_spread() -> None:
    backtest = planted(12, 0.5)
    deciles = decile_table(backtest)
    rows = deciles[(deciles["horizon"] == 1) & (deciles["forecaster"] == "network")]
    assert rows["group"].tolist() == list(range(1, 11))
    assert rows["mean_return"].is_monotonic_increasing
    spread = ranking_table(backtest).set_index(["horizon", "forecaster"]).loc[(1, "network"), "spread"]
    assert spread == pytest.approx(rows["mean_return"].iloc[-1] - rows["mean_return"].iloc[0], abs=2e-3)
    assert (rows["mean_return_error"] > 0).all()


def test_few_tickers_have_quintiles_or_nothing() -> None:
    assert decile_table(planted(7, 0.5))["groups"].unique().tolist() == [5]
    assert decile_table(planted(4, 0.5)).empty
    few = ranking_table(planted(4, 0.5))
    assert few[["ic", "rank_ic", "icir", "spread", "spread_error"]].isna().all(axis=None)
    assert (few["groups"] == 0).all()


def test_persistence_orders_nothing() -> None:
    backtest = planted(12, 0.5)
    last = backtest.quantiles["last_close"].copy()
    last[..., MEDIAN] = 0.0
    table = ranking_table(replace(backtest, quantiles={**backtest.quantiles, "last_close": last}))
    figures = table[table["forecaster"] == "last_close"]
    assert figures[["ic", "ic_t", "rank_ic", "rank_icir", "spread", "spread_t"]].isna().all(axis=None)
    assert (figures["sessions"] == 0).all()


def test_later_sessions_do_not_change_earlier_coefficients() -> None:
    draws = np.random.default_rng(3)
    forecast, outcome = draws.normal(size=(9, 20)), draws.normal(size=(9, 20))
    for figure in (information_coefficient, rank_information_coefficient):
        whole = figure(forecast, outcome)
        assert np.array_equal(figure(forecast[:, :12], outcome[:, :12]), whole[:12])


def test_the_gain_of_a_median_is_what_a_plain_loop_says() -> None:
    backtest = random_backtest(missing=0.2)
    table = median_table(backtest).set_index(["horizon", "forecaster"])
    assert len(table) == backtest.horizons * len(backtest.quantiles)
    for (horizon, name), row in table.iterrows():
        errors, squares = [], []
        for t in range(len(backtest.sessions)):
            scored = [k for k in range(len(backtest.tickers)) if backtest.scored[k, t, horizon - 1]]
            if not scored:
                continue
            outcome = [float(backtest.realised[k, t, horizon - 1]) for k in scored]
            median = [float(backtest.quantiles[name][k, t, horizon - 1, MEDIAN]) for k in scored]
            errors.append(sum((y - m) ** 2 for y, m in zip(outcome, median, strict=True)))
            squares.append(sum(y**2 for y in outcome))
        assert row["r2"] == pytest.approx(1 - sum(errors) / sum(squares), rel=1e-9)
        assert row["sessions"] == len(errors)


def test_the_error_of_a_gain_is_its_spread_over_worlds() -> None:
    found = []
    for seed in range(200):
        draws = np.random.default_rng(seed)
        made = random_backtest(120, 4, 1, missing=0.0)
        signal = draws.normal(size=made.realised.shape)
        outcome = (0.2 * signal + draws.normal(size=signal.shape)).astype(np.float32)
        quantiles = (0.2 * signal[..., None] + np.linspace(-2, 2, 7)).astype(np.float32)
        backtest = replace(made, realised=outcome, quantiles={"network": quantiles})
        found.append(median_table(backtest).loc[0, ["r2", "r2_error"]].astype(float).to_numpy())
    gains, errors = np.array(found).T
    assert gains.mean() == pytest.approx(0.04 / 1.04, abs=0.005)
    assert errors.mean() == pytest.approx(gains.std(), rel=0.2)


def test_one_session_has_no_gain() -> None:
    made = random_backtest(9, 3, 1, missing=0.0)
    realised = np.full_like(made.realised, NAN)
    realised[:, 3] = made.realised[:, 3]
    table = median_table(replace(made, realised=realised))
    assert (table["sessions"] == 1).all()
    assert table["r2"].isna().all()
    assert table["r2_error"].isna().all()
