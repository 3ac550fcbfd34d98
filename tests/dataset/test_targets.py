"""Targets and volatilities against plain loops, with gaps, young tickers and more horizons than sessions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.targets import (
    MIN_VOLATILITY,
    RELATIVE_SESSIONS,
    ROLLING_SESSIONS,
    ewma_volatility,
    future_returns,
    origin_volatility,
    relative_volatility,
    rolling_volatility,
    trailing_mean,
    trailing_std,
)
from tests.panels import panel_of, random_market, random_rows

LATEST = 30


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 8),
    st.lists(st.sets(st.integers(0, LATEST - 1), max_size=6), min_size=1, max_size=3),
    st.integers(0, 20),
)
def test_a_target_is_the_sum_of_the_next_total_returns(horizons: int, gaps: list[set[int]], late: int) -> None:
    rows = {f"T{k}": random_rows(LATEST, k).drop(index=sorted(gap)) for k, gap in enumerate(gaps)}
    rows = {**rows, "YOUNG": random_rows(LATEST, 99).iloc[late:]}
    panel = panel_of(rows)
    found = future_returns(panel, horizons)
    assert found.shape == (len(panel.tickers), len(panel.sessions), horizons)
    for i, row in enumerate(panel.log_return.tolist()):
        for t in range(len(row)):
            for h in range(1, horizons + 1):
                there = t + h < len(row) and panel.present[i, t] and panel.present[i, t + h]
                expected = sum(r for r in row[t + 1 : t + h + 1] if not math.isnan(r)) if there else math.nan
                assert found[i, t, h - 1] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_sum_is_the_ratio_of_total_return_prices() -> None:
    """Independent of the log returns: adj_close tells the same total return, over the gap too."""
    rows = random_rows(60, 4).drop(index=[20, 21, 22]).reset_index(drop=True)
    panel = panel_of({"A": rows, "B": random_rows(60, 5)})
    target = future_returns(panel, 5)[0]
    adjusted = np.full(len(panel.sessions), np.nan)
    adjusted[panel.present[0]] = rows["adj_close"]
    for t in range(len(adjusted) - 5):
        expected = math.log(adjusted[t + 5] / adjusted[t]) if np.isfinite(adjusted[[t, t + 5]]).all() else math.nan
        assert target[t, 4] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def slow_std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def slow_ewma(returns: list[float], decay: float) -> float:
    """The root of sum of decay^age r^2 over sum of decay^age, over the known returns."""
    known = [(age, r) for age, r in enumerate(reversed(returns)) if not math.isnan(r)]
    if not known:
        return math.nan
    weight = sum(decay**age for age, _ in known)
    return max(math.sqrt(sum(decay**age * r * r for age, r in known) / weight), MIN_VOLATILITY)


VALUES = st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(VALUES, st.integers(2, 25))
def test_trailing_mean_and_std(values: list[float], window: int) -> None:
    means, stds = trailing_mean(np.array(values), window), trailing_std(np.array(values), window)
    for at in range(len(values)):
        if at + 1 < window:
            assert math.isnan(means[at])
            assert math.isnan(stds[at])
        else:
            own = values[at + 1 - window : at + 1]
            assert means[at] == pytest.approx(sum(own) / window, abs=1e-12)
            assert stds[at] == pytest.approx(slow_std(own), abs=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.floats(-0.3, 0.3), st.just(math.nan)), min_size=1, max_size=40), st.floats(0.5, 0.99))
def test_ewma(returns: list[float], decay: float) -> None:
    found = ewma_volatility(np.array([returns]), decay)[0]
    expected = [slow_ewma(returns[: at + 1], decay) for at in range(len(returns))]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_volatility_of_an_origin_counts_own_sessions_only() -> None:
    panel = panel_of(random_market(80, 4))
    rolling, whole = rolling_volatility(panel), origin_volatility(panel)
    for i in range(len(panel.tickers)):
        own = [j for j in range(len(panel.sessions)) if panel.present[i, j]]
        for k, j in enumerate(own):
            returns = [float(panel.log_return[i, m]) for m in own[max(k - ROLLING_SESSIONS + 1, 0) : k + 1]]
            if k < ROLLING_SESSIONS:  # the first session has no return
                assert np.isnan(rolling[i, j])
                assert np.isnan(whole[i, j])
                continue
            assert rolling[i, j] == pytest.approx(max(slow_std(returns), MIN_VOLATILITY), rel=1e-12)
            ewma = slow_ewma([float(r) for r in panel.log_return[i, : j + 1]], 0.94)
            assert whole[i, j] == pytest.approx(math.sqrt((rolling[i, j] ** 2 + ewma**2) / 2), rel=1e-12)
        absent = ~panel.present[i]
        assert np.isnan(rolling[i, absent]).all()
        assert np.isnan(whole[i, absent]).all()


def slow_relative(volatility: np.ndarray) -> list[float]:
    """The log of each volatility over the median of the last 250 that are known, of one ticker."""
    found, own = [], list[float]()
    for value in volatility:
        if math.isnan(value):
            found.append(math.nan)
            continue
        own.append(float(value))
        last = sorted(own[-250:])
        middle = len(last) // 2
        median = last[middle] if len(last) % 2 else (last[middle - 1] + last[middle]) / 2
        found.append(math.log(value / median))
    return found


def test_the_relative_volatility_is_what_a_plain_loop_says() -> None:
    draws = np.random.default_rng(3)
    volatility = np.exp(draws.normal(size=(4, 600)).cumsum(axis=1) / 10).astype(np.float32)
    volatility[0, draws.random(600) < 0.3] = np.nan  # gaps
    volatility[1, :500] = np.nan  # a young ticker
    volatility[2] = 0.02
    found = relative_volatility(volatility)
    for ticker in range(4):
        np.testing.assert_allclose(found[ticker], slow_relative(volatility[ticker]), atol=1e-6)
    assert (found[2] == 0).all()
    assert RELATIVE_SESSIONS == 250
    assert np.isfinite(found[1, 500:]).all()
    assert np.ptp(found[3]) > 0.5


def test_a_constant_price_has_the_minimum_volatility() -> None:
    still = random_rows(40, 1).assign(open=5.0, high=5.0, low=5.0, close=5.0, dividend=0.0, split=1.0)
    panel = panel_of({"A": still})
    np.testing.assert_allclose(origin_volatility(panel)[0, ROLLING_SESSIONS:], MIN_VOLATILITY, rtol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 120), st.integers(2, 60), st.integers(0, 10_000))
def test_no_bit_of_a_value_depends_on_what_comes_later(known: int, window: int, seed: int) -> None:
    """In float64, before any rounding could hide a running sum that begins at the end."""
    draws = np.random.default_rng(seed)
    values = draws.normal(size=150)
    absent = draws.uniform(size=150) < 0.2
    for estimate in (
        lambda x: trailing_mean(x, window),
        lambda x: trailing_std(x, window),
        lambda x: ewma_volatility(x[None], 0.94)[0],
        lambda x: ewma_volatility(np.where(absent[: len(x)], np.nan, x)[None], 0.94)[0],
    ):
        assert estimate(values)[:known].tobytes() == estimate(values[:known]).tobytes()
