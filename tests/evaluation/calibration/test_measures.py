"""PIT, reliability, coverage and its tests: against plain loops, and on forecasts that are right."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.evaluation.calibration.measures import (
    REGIMES,
    coverage_table,
    coverage_test_table,
    pit_bins,
    pit_table,
    regime_of_origin,
    reliability,
)
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance.coverage_tests import coverage_tests_overlapping
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from tests.evaluation.backtests import NOISE, around, backtest_with, random_backtest

VALUE = st.sampled_from([-0.5, -0.1, 0.0, 0.1, 0.25, 0.5])
ROW = st.tuples(st.lists(VALUE, min_size=7, max_size=7).map(sorted), st.one_of(VALUE, st.floats(-1, 1)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(ROW, min_size=1, max_size=8))
def test_a_pit_bin_is_what_a_plain_loop_says(rows: list[tuple[list[float], float]]) -> None:
    found = pit_bins(np.array([q for q, _ in rows]), np.array([y for _, y in rows]))
    assert found.tolist() == [sum(q < y for q in quantiles) for quantiles, y in rows]


def test_a_pit_bin_of_known_rows() -> None:
    quantiles = np.tile([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0], (6, 1))
    assert pit_bins(quantiles, np.array([-9.0, -4.0, -3.0, 0.0, 0.5, 9.0])).tolist() == [0, 0, 1, 3, 4, 7]


def normal_backtest(tickers: int = 20, origins: int = 1500) -> Backtest:
    """A backtest whose network knows the distribution, and whose ewma is half as wide."""
    made = random_backtest(origins, tickers, 1, missing=0.0)
    draws = np.random.default_rng(7)
    spread = np.exp(draws.normal(0, 0.5, (tickers, origins, 1)))
    right = (spread[..., None] * norm.ppf(LEVELS)).astype(np.float32)
    outcome = (spread * draws.normal(size=spread.shape)).astype(np.float32)
    return replace(made, quantiles={**made.quantiles, "network": right, "ewma": right / 2}, realised=outcome)


def test_the_pit_of_the_right_distribution_is_uniform_and_of_a_narrow_one_is_not() -> None:
    backtest = normal_backtest()
    table = pit_table(backtest).set_index("forecaster")
    right, narrow = table.loc["network"], table.loc["ewma"]
    error = np.sqrt(right["expected"] * (1 - right["expected"]) / right["rows"])
    assert (np.abs(right["observed"] - right["expected"]) < 3 * error).all()
    assert narrow["observed"].iloc[0] == pytest.approx(norm.cdf(norm.ppf(0.05) / 2), abs=0.01)
    assert narrow["observed"].iloc[-1] == pytest.approx(norm.cdf(norm.ppf(0.05) / 2), abs=0.01)


def test_the_pit_table_counts_what_a_plain_loop_counts() -> None:
    backtest = random_backtest()
    table, scored = pit_table(backtest), backtest.scored
    assert len(table) == 8 * len(backtest.quantiles) * 2
    assert table["expected"].iloc[:8].tolist() == pytest.approx([0.05, 0.05, 0.15, 0.25, 0.25, 0.15, 0.05, 0.05])
    for (horizon, name), pit_rows in table.groupby(["horizon", "forecaster"]):
        counts = [0] * 8
        for k, t in np.argwhere(scored[..., horizon - 1]):
            y = backtest.realised[k, t, horizon - 1]
            counts[sum(bool(y > q) for q in backtest.quantiles[name][k, t, horizon - 1])] += 1
        assert (pit_rows["observed"] * pit_rows["rows"]).tolist() == pytest.approx(counts)
        assert pit_rows["rows"].tolist() == [scored[..., horizon - 1].sum()] * 8


def test_the_coverage_table_counts_what_a_plain_loop_counts() -> None:
    backtest = random_backtest(missing=0.2)
    draws = np.random.default_rng(4)
    relative = draws.normal(size=backtest.realised.shape[:2]).astype(np.float32)
    relative[0, :5] = np.nan
    backtest = replace(backtest, relative_volatility=relative)
    table, scored, regimes = coverage_table(backtest), backtest.scored, regime_of_origin(relative)
    assert set(table["by"]) == {"all", "regime", "ticker"}
    for row in table.to_dict("records"):
        h, held, rows = row["horizon"] - 1, {50: 0, 80: 0, 90: 0}, 0
        for k, t in np.argwhere(scored[..., h]):
            regime = REGIMES[regimes[k, t]] if regimes[k, t] >= 0 else None
            mine = {POOLED, backtest.tickers[k], regime}
            if row["group"] not in mine:
                continue
            rows += 1
            for band, low, high in ((50, 2, 4), (80, 1, 5), (90, 0, 6)):
                q, y = backtest.quantiles[row["forecaster"]][k, t, h], backtest.realised[k, t, h]
                held[band] += bool(q[low] <= y <= q[high])
        assert row["rows"] == rows > 0
        assert [row[f"coverage_{band}"] for band in held] == pytest.approx([n / rows for n in held.values()])
    pooled, parts = (
        table[table["by"] == by].groupby(["horizon", "forecaster"])["rows"].sum() for by in ("all", "ticker")
    )
    assert parts.to_dict() == pooled.to_dict()


def test_an_outcome_on_the_edge_of_a_band_is_within() -> None:
    made = random_backtest(8, 1, 1, missing=0.0)
    quantiles = {"network": np.broadcast_to(np.float32([-4, -2, -1, 0, 1, 2, 4]), (1, 8, 1, 7))}
    edges = replace(made, quantiles=quantiles, realised=np.float32([-2, 2, 1, -4] * 2).reshape(1, 8, 1))
    (pooled,) = coverage_table(edges).query("by == 'all'").to_dict("records")
    assert (pooled["coverage_50"], pooled["coverage_80"], pooled["coverage_90"]) == (0.25, 0.75, 1.0)


def test_regimes_are_fifths_of_all_forecasts_by_relative_volatility() -> None:
    relative = np.stack([np.linspace(-1, 0, 50), np.linspace(1, 0.02, 50)]).astype(np.float32)
    regimes = regime_of_origin(relative)
    assert regimes[0].tolist() == [0] * 20 + [1] * 20 + [2] * 10
    assert regimes[1].tolist() == [4] * 20 + [3] * 20 + [2] * 10
    relative[1, 5] = np.nan
    assert regime_of_origin(relative)[1, 5] == -1
    for constant in (np.nan, 0.25):
        assert (regime_of_origin(np.full((2, 3), constant, np.float32)) == -1).all()


def test_without_the_measure_there_are_no_regimes_and_without_outcomes_no_rows() -> None:
    made = random_backtest()
    alone = replace(made, quantiles={"network": made.quantiles["network"]})
    assert set(coverage_table(alone)["by"]) == {"all", "ticker"}
    unknown = replace(made, realised=np.full_like(made.realised, math.nan))
    assert len(coverage_table(unknown)) == 0
    assert pit_table(unknown)["observed"].isna().all()


@pytest.fixture(scope="module")
def banded() -> Backtest:
    """Bands that are a little too wide, and outcomes whose misses are clustered."""
    draws = np.random.default_rng(11)
    scale = np.exp(np.cumsum(draws.normal(0, 0.05, (3, 240, 1)), axis=1))
    outcome = scale / scale.mean(axis=1, keepdims=True) * draws.normal(0, NOISE, (3, 240, 3))
    backtest = backtest_with(outcome)
    return replace(backtest, quantiles=backtest.quantiles | {NETWORK: around(np.zeros_like(outcome), 1.02)})


def slow_hits(backtest: Backtest, name: str, horizon: int, band: int) -> np.ndarray:
    """1 within the band, 0 outside, NaN where not scored [ticker, origin], by loops."""
    low, high = {50: (2, 4), 80: (1, 5), 90: (0, 6)}[band]
    hits = np.full(backtest.scored.shape[:2], np.nan)
    for row, origin in np.argwhere(backtest.scored[..., horizon - 1]):
        quantiles = backtest.quantiles[name][row, origin, horizon - 1]
        hits[row, origin] = float(quantiles[low] <= backtest.realised[row, origin, horizon - 1] <= quantiles[high])
    return hits


@pytest.mark.parametrize("horizon", [1, 2, 3])
@pytest.mark.parametrize("band", [50, 80, 90])
def test_bands_are_tested_at_their_share_and_horizon_each_p_under_its_name(
    banded: Backtest, horizon: int, band: int
) -> None:
    table = coverage_test_table(banded, (NETWORK,))
    rows = table[(table["horizon"] == horizon) & (table["band"] == band)].set_index("ticker")
    tests = coverage_tests_overlapping(slow_hits(banded, NETWORK, horizon, band), band / 100, horizon)
    assert list(rows.index) == list(banded.tickers)
    assert rows["coverage"].to_numpy() == pytest.approx(tests.coverage)
    expected = {
        "kupiec_p": tests.unconditional_p,
        "independence_p": tests.independence_p,
        "christoffersen_p": tests.conditional_p,
    }
    for name, values in expected.items():
        assert rows[name].to_numpy() == pytest.approx(values), name
    if horizon == 1:  # three different p-values, so that a swap would be seen
        assert all(len({*row}) == 3 for row in zip(*expected.values(), strict=True))


def test_reliability_counts_outcomes_at_or_below_each_level() -> None:
    backtest = random_backtest()
    found = reliability(backtest, 2)["network"]
    where = backtest.scored[..., 1]
    values, outcome = backtest.quantiles["network"][where, 1], backtest.realised[where, 1]
    for k in range(7):
        assert found[k] == pytest.approx(sum(y <= q[k] for q, y in zip(values, outcome, strict=True)) / len(outcome))
