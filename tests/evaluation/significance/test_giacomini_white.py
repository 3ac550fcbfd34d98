"""The Giacomini-White test: against the paper's regression and loops, its size and its power."""

import math

import numpy as np
import pytest
from scipy.stats import f as fisher

from pipeline.evaluation.significance.diebold_mariano import diebold_mariano, diebold_mariano_each, mean_test
from pipeline.evaluation.significance.giacomini_white import giacomini_white
from tests.evaluation.significance.series import autoregressive, clustered, independent, largest_size


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
def test_its_size(n: int, process: object) -> None:
    values = (independent if process is independent else clustered)(np.random.default_rng(n), 2000, n)
    assert 0.03 <= np.mean([giacomini_white(row, 1).p < 0.05 for row in values]) <= largest_size(2000)


def test_it_finds_what_the_mean_does_not_show() -> None:
    """Whoever was better yesterday is so today, and neither is on average."""
    values = autoregressive(np.random.default_rng(7), 300, 250, rho=0.3)
    assert np.mean([giacomini_white(row, 1).p < 0.05 for row in values]) > 0.9
    assert np.mean(diebold_mariano_each(values, 1, 20).p < 0.05) < 0.12


def test_it_is_undefined_where_there_is_nothing_to_test() -> None:
    for conditional in (True, False):
        assert math.isnan(giacomini_white(np.zeros(100), 1, conditional).p)
        assert math.isnan(giacomini_white(np.arange(29.0), 1, conditional).p)
        assert math.isnan(giacomini_white(np.zeros(0), 1, conditional).p)
        assert math.isnan(giacomini_white(np.full(100, 0.1), 5, conditional).p)
    assert math.isfinite(giacomini_white(np.random.default_rng(0).normal(size=31), 1).p)
