"""The Pesaran-Timmermann test: against its formula, Fisher's exact test and loops; its size and its power."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact, norm

from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann, pesaran_timmermann_pooled
from tests.evaluation.significance.series import directions, largest_size
from tests.evaluation.significance.test_mean_test import slow_variance


def slow_statistic(up: list[bool], rose: list[bool]) -> float:
    n = len(up)
    hits = sum(a == b for a, b in zip(up, rose, strict=True)) / n
    x, y = sum(up) / n, sum(rose) / n
    expected = y * x + (1 - y) * (1 - x)
    v_hits = expected * (1 - expected) / n
    v_expected = (2 * y - 1) ** 2 * x * (1 - x) / n + (2 * x - 1) ** 2 * y * (1 - y) / n
    v_expected += 4 * y * x * (1 - y) * (1 - x) / n**2
    return (hits - expected) / math.sqrt(v_hits - v_expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(30, 150), st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.integers(0, 10_000))
def test_it_is_the_formula_and_the_exact_test(n: int, share: float, rising: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    forecast, outcome = draws.uniform(size=n) - 1 + share, draws.uniform(size=n) - 1 + rising
    up, rose = forecast > 0, outcome > 0
    if up.all() or rose.all() or not up.any() or not rose.any():
        return
    found = pesaran_timmermann(forecast, outcome)
    assert found.statistic == pytest.approx(slow_statistic(up.tolist(), rose.tolist()), rel=1e-8, abs=1e-9)
    table = [[(up & rose).sum(), (up & ~rose).sum()], [(~up & rose).sum(), (~up & ~rose).sum()]]
    assert found.p == pytest.approx(fisher_exact(table, alternative="greater")[1], rel=1e-8)
    assert (found.hit_rate, found.sessions) == (pytest.approx(np.mean(up == rose)), n)


def test_the_statistic_is_the_correlation_of_the_signs() -> None:
    """Granger and Pesaran (2000): the test is that of a 2 x 2 table; here S = r n / sqrt(n - 1)."""
    draws = np.random.default_rng(1)
    forecast, outcome = draws.normal(0.2, 1, 200), draws.normal(0.1, 1, 200)
    r = np.corrcoef(forecast > 0, outcome > 0)[0, 1]
    assert pesaran_timmermann(forecast, outcome).statistic == pytest.approx(r * 200 / math.sqrt(199), rel=1e-8)


def test_missing_sessions_are_left_out_and_zero_is_not_up() -> None:
    draws = np.random.default_rng(2)
    forecast, outcome = draws.normal(size=100), draws.normal(size=100)
    gaps = np.concatenate([forecast, [np.nan, 1.0]]), np.concatenate([outcome, [1.0, np.nan]])
    assert pesaran_timmermann(*gaps) == pesaran_timmermann(forecast, outcome)
    still = np.where(np.arange(100) % 3 == 0, 0.0, forecast)
    assert pesaran_timmermann(still, outcome) == pesaran_timmermann(np.where(still == 0, -1, still), outcome)


def test_a_forecast_that_never_changes_its_sign_says_nothing() -> None:
    outcome = np.random.default_rng(3).normal(size=(2, 100))
    for forecast in (np.zeros((2, 100)), np.ones((2, 100)), np.array([[1.0], [-1.0]]) * np.ones((2, 100))):
        assert math.isnan(pesaran_timmermann(forecast[0], outcome[0]).p)
        assert math.isnan(pesaran_timmermann_pooled(forecast, outcome, 1, 20).p)
    assert math.isnan(pesaran_timmermann(np.zeros(0), np.zeros(0)).p)
    assert math.isnan(pesaran_timmermann_pooled(np.full((2, 40), np.nan), outcome[:, :40], 1, 20).p)
    assert math.isnan(pesaran_timmermann(outcome[0, :29], outcome[1, :29]).p)


@pytest.mark.parametrize("n", [250, 1000])
def test_its_size_and_power(n: int) -> None:
    draws = np.random.default_rng(n)
    forecasts, outcomes = directions(draws, 3000, n, common=0.0)
    found = [pesaran_timmermann(f, y) for f, y in zip(forecasts, outcomes, strict=True)]
    assert 0.025 <= np.mean([test.p < 0.05 for test in found]) <= largest_size(3000)
    known = directions(draws, 300, n, common=0.0, skill=0.3)
    power = np.mean([pesaran_timmermann(f, y).p < 0.05 for f, y in zip(*known, strict=True)])
    assert power > (0.75 if n == 250 else 0.99)


def test_pooled_it_is_the_mean_product_of_signs_by_session() -> None:
    draws = np.random.default_rng(4)
    forecast, outcome = directions(draws, 3, 80, common=0.4)
    forecast[0, 3], outcome[1, 5], forecast[:, 9] = np.nan, np.nan, np.nan
    known = np.isfinite(forecast) & np.isfinite(outcome)
    x = [np.mean(f[k] > 0) for f, k in zip(forecast, known, strict=True)]
    y = [np.mean(o[k] > 0) for o, k in zip(outcome, known, strict=True)]
    sessions = []
    for t in range(80):
        products = [
            (float(forecast[i, t] > 0) - x[i]) * (float(outcome[i, t] > 0) - y[i]) for i in range(3) if known[i, t]
        ]
        if products:
            sessions.append(sum(products) / len(products))
    found = pesaran_timmermann_pooled(forecast, outcome, 1, 7)
    assert found.sessions == len(sessions) == 79
    assert found.statistic == pytest.approx(np.mean(sessions) / math.sqrt(slow_variance(sessions, 7) / 79), rel=1e-8)
    assert found.hit_rate == pytest.approx(np.mean((forecast > 0)[known] == (outcome > 0)[known]))
    expected = sum(k.sum() * (a * b + (1 - a) * (1 - b)) for k, a, b in zip(known, x, y, strict=True)) / known.sum()
    assert found.expected_hit_rate == pytest.approx(expected)


@pytest.mark.parametrize(("n", "trials"), [(250, 1000), (1000, 500)])
def test_tickers_that_move_together_do_not_inflate_its_size(n: int, trials: int) -> None:
    draws = np.random.default_rng(n)
    panels = [directions(draws, 20, n, common=0.5) for _ in range(trials)]
    size = np.mean([pesaran_timmermann_pooled(*panel, 1, 20).p < 0.05 for panel in panels])
    assert 0.02 <= size <= largest_size(trials)
    naive = [slow_statistic((f.ravel() > 0).tolist(), (y.ravel() > 0).tolist()) for f, y in panels[:40]]
    assert np.mean(norm.sf(naive) < 0.05) > 0.15, "as if tickers were independent"


def test_pooled_it_finds_a_small_skill() -> None:
    draws = np.random.default_rng(6)
    found = [pesaran_timmermann_pooled(*directions(draws, 20, 250, 0.5, skill=0.2), 1, 20).p for _ in range(100)]
    assert np.mean(np.array(found) < 0.05) > 0.8
