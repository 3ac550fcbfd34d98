"""The Diebold-Mariano test: by hand, against an independent implementation, and its size."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as fisher
from scipy.stats import t as student

from pipeline.evaluation.significance.mean_test import bartlett_variance, long_lags, mean_test
from pipeline.evaluation.significance.predictive_ability import diebold_mariano, diebold_mariano_each, giacomini_white
from tests.evaluation.significance.series import PROCESSES, autoregressive, clustered, independent, largest_size
from tests.evaluation.significance.test_mean_test import slow_autocovariance, slow_p, slow_variance


def slow_test(d: list[float], h: int, lags: int) -> tuple[float, float]:
    """t, and p of a t with the variance whose weights are one up to lag h + 2, where that is larger."""
    n, variance = len(d), slow_variance(d, lags)
    raw = (sum(d) / n) / math.sqrt(variance / n)
    corrected = raw * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    flat = variance + sum(2 * k / (lags + 1) * slow_autocovariance(d, k) for k in range(1, min(h + 2, lags) + 1))
    cautious = corrected * math.sqrt(min(variance / flat, 1)) if flat > 0 else corrected
    return corrected, slow_p(abs(cautious) * math.sqrt(n / (n - 1)), n, lags)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(30, 120), st.integers(1, 10), st.integers(0, 25), st.integers(0, 10_000))
def test_it_is_what_an_independent_implementation_says(n: int, horizon: int, lags: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    d = np.convolve(draws.normal(draws.normal(0, 0.3), 1, n + 4), np.ones(5), "valid")
    t, p = slow_test(d.tolist(), horizon, lags)
    found = diebold_mariano(d, horizon, lags)
    assert (found.t, found.p) == (pytest.approx(t, rel=1e-9), pytest.approx(p, rel=1e-3, abs=1e-4))
    assert found.p_student == pytest.approx(2 * (1 - float(student.cdf(abs(t), n - 1))), rel=1e-6, abs=1e-12)
    assert (found.lags, found.sessions) == (lags, n)


@pytest.mark.parametrize(("n", "lags"), [(250, 20), (1000, 40), (60, 3)])
def test_its_error_is_that_of_a_reference_implementation(n: int, lags: int) -> None:
    """statsmodels: the mean as a regression on a constant, with HAC errors."""
    regression = pytest.importorskip("statsmodels.api")
    d = np.convolve(np.random.default_rng(n).normal(0.1, 1, n + 4), np.ones(5), "valid")
    fitted = regression.OLS(d, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    factor = math.sqrt((n + 1 - 10 + 20 / n) / n)
    assert diebold_mariano(d, 5, lags).t == pytest.approx(float(fitted.tvalues[0]) * factor, rel=1e-8)


def test_a_case_by_hand() -> None:
    """36 sessions, +1 and +3 by turns: mean 2, gamma_0 = 1, gamma_1 = -35/36.

    One lag: variance 1 - 35/36 = 1/36, so t = 2 / sqrt(1/36/36) = 72, times sqrt(35/36) at horizon 1.
    """
    d = np.tile([1.0, 3.0], 18)
    assert bartlett_variance(d, 0) == pytest.approx(1.0)
    assert bartlett_variance(d, 1) == pytest.approx(1 / 36)
    assert diebold_mariano(d, 1, 1).t == pytest.approx(72 * math.sqrt(35 / 36))
    assert diebold_mariano(d, 1, 0).t == pytest.approx(12 * math.sqrt(35 / 36))
    assert diebold_mariano(d, 5, 0).t == pytest.approx(12 * math.sqrt((37 - 10 + 20 / 36) / 36))
    assert diebold_mariano(-d, 1, 0).t == pytest.approx(-12 * math.sqrt(35 / 36))
    assert diebold_mariano(-d, 1, 0).p == diebold_mariano(d, 1, 0).p


def test_it_is_undefined_where_there_is_nothing_to_test() -> None:
    assert math.isnan(diebold_mariano(np.random.default_rng(0).normal(size=29), 1, 20).p)
    assert math.isfinite(diebold_mariano(np.random.default_rng(0).normal(size=30), 1, 20).p)
    assert math.isnan(diebold_mariano(np.zeros(100), 1, 20).t)
    assert math.isnan(diebold_mariano(np.zeros(0), 1, 20).t)


def test_equal_losses_but_for_rounding_cannot_be_tested() -> None:
    assert math.isnan(diebold_mariano(np.full(100, 0.1), 1, 20).p)
    assert np.isnan(diebold_mariano_each(np.full((1, 100), 0.1), 1, 20).p).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(20, 120), st.integers(1, 10), st.integers(0, 45), st.floats(0, 0.9), st.integers(0, 10_000))
def test_many_at_once_are_one_by_one(n: int, horizon: int, lags: int, missing: float, seed: int) -> None:
    draws = np.random.default_rng(seed)
    many = draws.normal(0.2, 1, (7, n)).cumsum(axis=1) * 1e-3
    many[draws.uniform(size=many.shape) < missing] = np.nan
    many[0], many[1] = 0.0, np.nan
    found = diebold_mariano_each(many, horizon, lags)
    for k, row in enumerate(many):
        single = diebold_mariano(row[np.isfinite(row)], horizon, lags)
        assert found.t[k] == pytest.approx(single.t, rel=1e-8, nan_ok=True)
        assert found.p[k] == pytest.approx(single.p, rel=1e-7, abs=1e-15, nan_ok=True)
        assert found.sessions[k] == single.sessions


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("n", [250, 1000])
def test_its_size(n: int, process: str) -> None:
    values = PROCESSES[process](np.random.default_rng(n), 2500, n)
    found = diebold_mariano_each(values, 1, long_lags(1))
    assert 0.03 <= np.mean(found.p < 0.05) <= largest_size(2500)
    if n == 250 and process == "independent":
        assert np.mean(2 * student.sf(np.abs(found.t), n - 1) < 0.05) > 0.065, "what the t distribution would say"


def test_its_power() -> None:
    values = np.random.default_rng(0).normal(-0.15, 1, (1000, 1000))
    found = diebold_mariano_each(values, 1, long_lags(1))
    assert np.mean((found.p < 0.05) & (found.t < 0)) > 0.98
    assert 0.5 < np.mean(diebold_mariano_each(values[:, :250], 1, long_lags(1)).p < 0.05) < 0.7


def slow_wald(d: list[float], h: int, lags: int) -> float:
    z = [np.array([d[t], d[t] * d[t - h]]) for t in range(h, len(d))]
    n, mean = len(z), sum(z) / len(z)
    omega = np.zeros((2, 2))
    for k in range(-lags, lags + 1):
        for t in range(abs(k), n):
            pair = np.outer(z[t] - mean, z[t - abs(k)] - mean)
            omega += (1 - abs(k) / (lags + 1)) * (pair if k >= 0 else pair.T) / n
    return float(n * mean @ np.linalg.inv(omega) @ mean)


@pytest.mark.parametrize(("h", "lags"), [(1, 0), (5, 20), (12, 24)])
def test_it_is_the_wald_of_the_moments(h: int, lags: int) -> None:
    d = np.random.default_rng(h).normal(0.1, 1, 90)
    found = giacomini_white(d, h)
    assert found.wald == pytest.approx(slow_wald(d.tolist(), h, lags), rel=1e-8)
    assert (found.restrictions, found.lags, found.sessions) == (2, lags, 90 - h)


def test_at_horizon_one_it_is_the_regression_of_the_paper() -> None:
    """n R^2 of a constant regressed on the moments is the paper's uncentred statistic: U = W / (1 + W / n)."""
    d = np.random.default_rng(4).normal(0.1, 1, 251)
    moments = np.stack([d[1:], d[1:] * d[:-1]], axis=1)
    _, residual, *_ = np.linalg.lstsq(moments, np.ones(250), rcond=None)
    found = giacomini_white(d, 1)
    assert found.wald / (1 + found.wald / 250) == pytest.approx(250 - float(residual[0]), rel=1e-8)
    assert found.p == pytest.approx(fisher.sf(found.wald * 248 / 250 / 2, 2, 248), rel=1e-8)


def test_not_conditional_it_is_the_diebold_mariano_test() -> None:
    for h in (1, 5):
        d = np.random.default_rng(h).normal(0.1, 1, 300)
        found, test = giacomini_white(d, h, conditional=False), diebold_mariano(d, h, 20)
        assert (found.p, found.restrictions) == (test.p, 1)
        assert found.wald == pytest.approx(mean_test(d, h, 20).t ** 2)


def test_neither_scale_nor_sign_matters() -> None:
    d = np.random.default_rng(6).normal(0.1, 1, 200)
    assert giacomini_white(1e-6 * d, 1).p == pytest.approx(giacomini_white(d, 1).p, rel=1e-9)
    assert giacomini_white(-d, 5).p == pytest.approx(giacomini_white(d, 5).p, rel=1e-9)


@pytest.mark.parametrize("n", [250, 1000])
@pytest.mark.parametrize("process", [independent, clustered])
def test_the_size_of_giacomini_white(n: int, process: object) -> None:
    values = (independent if process is independent else clustered)(np.random.default_rng(n), 2000, n)
    assert 0.03 <= np.mean([giacomini_white(row, 1).p < 0.05 for row in values]) <= largest_size(2000)


def test_it_finds_what_the_mean_does_not_show() -> None:
    """Whoever was better yesterday is so today, and neither is on average."""
    values = autoregressive(np.random.default_rng(7), 300, 250, rho=0.3)
    assert np.mean([giacomini_white(row, 1).p < 0.05 for row in values]) > 0.9
    assert np.mean(diebold_mariano_each(values, 1, 20).p < 0.05) < 0.12


def test_giacomini_white_is_undefined_where_there_is_nothing_to_test() -> None:
    for conditional in (True, False):
        assert math.isnan(giacomini_white(np.zeros(100), 1, conditional).p)
        assert math.isnan(giacomini_white(np.arange(29.0), 1, conditional).p)
        assert math.isnan(giacomini_white(np.zeros(0), 1, conditional).p)
        assert math.isnan(giacomini_white(np.full(100, 0.1), 5, conditional).p)
    assert math.isfinite(giacomini_white(np.random.default_rng(0).normal(size=31), 1).p)
