"""Volatilities against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.volatility import (
    ROLLING_SESSIONS,
    SMALLEST_VOLATILITY,
    ewma_volatility,
    origin_volatility,
    rolling_volatility,
    trailing_mean,
    trailing_std,
)
from tests.panels import panel_of, random_market, random_rows


def slow_std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def slow_ewma(returns: list[float], decay: float) -> float:
    """The root of sum of decay^age r^2 over sum of decay^age, over the known returns."""
    known = [(age, r) for age, r in enumerate(reversed(returns)) if not math.isnan(r)]
    if not known:
        return math.nan
    weight = sum(decay**age for age, _ in known)
    return max(math.sqrt(sum(decay**age * r * r for age, r in known) / weight), SMALLEST_VOLATILITY)


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
            assert rolling[i, j] == pytest.approx(max(slow_std(returns), SMALLEST_VOLATILITY), rel=1e-12)
            ewma = slow_ewma([float(r) for r in panel.log_return[i, : j + 1]], 0.94)
            assert whole[i, j] == pytest.approx(math.sqrt((rolling[i, j] ** 2 + ewma**2) / 2), rel=1e-12)
        absent = ~panel.present[i]
        assert np.isnan(rolling[i, absent]).all()
        assert np.isnan(whole[i, absent]).all()


def test_a_price_that_stands_still_has_the_smallest_volatility() -> None:
    still = random_rows(40, 1).assign(open=5.0, high=5.0, low=5.0, close=5.0, dividend=0.0, split=1.0)
    panel = panel_of({"A": still})
    np.testing.assert_allclose(origin_volatility(panel)[0, ROLLING_SESSIONS:], SMALLEST_VOLATILITY, rtol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 120), st.integers(2, 60), st.integers(0, 10_000))
def test_no_bit_of_a_value_depends_on_what_comes_later(known: int, window: int, seed: int) -> None:
    """In float64, before any rounding could hide a running sum that begins at the end."""
    values = np.random.default_rng(seed).normal(size=150)
    for estimate in (
        lambda x: trailing_mean(x, window),
        lambda x: trailing_std(x, window),
        lambda x: ewma_volatility(x[None], 0.94)[0],
    ):
        assert estimate(values)[:known].tobytes() == estimate(values[:known]).tobytes()
