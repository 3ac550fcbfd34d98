"""The Sharpe ratio: published examples, and derivations of our own by another way."""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.evaluation.money.sharpe import (
    autocorrelation_adjusted,
    deflated_sharpe,
    expected_best_sharpe,
    probabilistic_sharpe,
    robust_standard_error,
    sharpe_ratio,
    standard_error,
    tapered_autocorrelations,
    time_scale,
)


def test_by_hand() -> None:
    # mean 0.02; deviations -0.01 and 0.01: variance 0.0002 / 1, ratio sqrt(2); error sqrt((1 + 2 / 2) / 2)
    returns = np.array([0.01, 0.03])
    assert sharpe_ratio(returns) == pytest.approx(np.sqrt(2))
    assert standard_error(sharpe_ratio(returns), 2) == pytest.approx(1.0)


@pytest.mark.parametrize("returns", [[], [0.01], [0.0] * 40, [0.003] * 40, [0.1] * 37])
def test_returns_that_do_not_vary_have_no_ratio(returns: list[float]) -> None:
    values = np.array(returns)
    assert np.isnan(sharpe_ratio(values))
    assert np.isnan(robust_standard_error(values))
    assert np.isnan(autocorrelation_adjusted(values, 252))
    assert np.isnan(deflated_sharpe(values, 10))


@pytest.mark.parametrize(
    ("sharpe", "sessions", "published"),
    [(0.5, 12, 0.306), (0.5, 24, 0.217), (0.5, 60, 0.137), (3.0, 12, 0.677)],
)
def test_standard_errors_of_lo_table_1(sharpe: float, sessions: int, published: float) -> None:
    assert standard_error(sharpe, sessions) == pytest.approx(published, abs=5e-4)


def autocorrelated(paths: int, sessions: int, rho: float, seed: int = 0) -> np.ndarray:
    """Returns [path, session] of a first-order autoregression with mean 0.1 and deviation one."""
    draws = np.random.default_rng(seed).normal(size=(paths, sessions)) * np.sqrt(1 - rho**2)
    values = np.empty((paths, sessions))
    values[:, 0] = draws[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, sessions):
        values[:, t] = rho * values[:, t - 1] + draws[:, t]
    return values + 0.1


def test_the_robust_error_equals_the_delta_method_with_a_covariance_matrix() -> None:
    """D S D' / n with S the Newey-West matrix of (r - mean, (r - mean)^2 - variance), by loops."""
    returns = autocorrelated(1, 300, 0.4)[0] ** 3
    n, lags, mean = len(returns), 20, returns.mean()
    variance = ((returns - mean) ** 2).mean()
    moments = np.stack([returns - mean, (returns - mean) ** 2 - variance])
    covariance = moments @ moments.T / n
    for k in range(1, lags + 1):
        lagged = moments[:, k:] @ moments[:, :-k].T / n
        covariance += (1 - k / (lags + 1)) * (lagged + lagged.T)
    slope = np.array([1 / np.sqrt(variance), -(mean) / (2 * variance**1.5)])
    expected = np.sqrt(slope @ covariance @ slope / n)
    # ours has the ratio with n - 1 inside: a relative difference of order 1 / n
    assert robust_standard_error(returns) == pytest.approx(expected, rel=2 / n)


def test_the_robust_error_is_that_of_correlated_returns_where_the_simple_one_is_too_small() -> None:
    paths = autocorrelated(300, 1000, 0.4)
    spread = np.std([sharpe_ratio(path) for path in paths])
    robust = np.mean([robust_standard_error(path) for path in paths])
    simple = np.mean([standard_error(sharpe_ratio(path), len(path)) for path in paths])
    assert robust == pytest.approx(spread, rel=0.12)
    assert simple < 0.75 * spread


@pytest.mark.parametrize("rho", [0.9, 0.3, 0.0, -0.2])
@pytest.mark.parametrize("sessions", [1, 2, 12, 60])
def test_the_time_scale_is_the_variance_of_a_sum(rho: float, sessions: int) -> None:
    """The sum of q returns has mean q m and variance 1' R 1 with R the correlation matrix."""
    lag = np.abs(np.subtract.outer(np.arange(sessions), np.arange(sessions)))
    expected = sessions / np.sqrt((rho**lag).sum())
    assert time_scale(rho ** np.arange(1, 100), sessions) == pytest.approx(expected)


def test_uncorrelated_returns_scale_with_the_square_root() -> None:
    assert time_scale(np.zeros(20), 252) == pytest.approx(np.sqrt(252))
    assert np.isnan(time_scale(np.array([-0.9]), 252))  # no such series: its sums would have no variance


def test_positive_autocorrelation_lowers_the_yearly_ratio() -> None:
    returns = autocorrelated(1, 2000, 0.5, seed=3)[0]
    plain = np.sqrt(252) * sharpe_ratio(returns)
    # the true scale is sqrt(252 (1 - rho) / (1 + rho)), 0.577 of the plain one; the taper leaves a little of the rest
    assert autocorrelation_adjusted(returns, 252) / plain == pytest.approx(np.sqrt(0.5 / 1.5), abs=0.08)


def test_autocorrelations_by_hand() -> None:
    # deviations -1 0 1 of 1 2 3 and lag one: (-1 x 0 + 0 x 1) / 2 = 0; of 1 3 1 3: -3 / 4 x weight 1/2
    assert tapered_autocorrelations(np.array([1.0, 2.0, 3.0]), 1) == pytest.approx([0.0])
    assert tapered_autocorrelations(np.array([1.0, 3.0, 1.0, 3.0]), 1) == pytest.approx([-0.375])


@pytest.mark.parametrize(("trials", "best", "published"), [(100, 0.1132, 0.9004), (46, 0.1004, 0.9505)])
def test_the_example_of_bailey_and_lopez_de_prado(trials: int, best: float, published: float) -> None:
    """Their example: yearly ratio 2.5 over 1,250 days of 250 a year, variance of trials 1/2, skew -3, kurtosis 10."""
    expected = expected_best_sharpe(trials, 0.5 / 250)
    assert expected == pytest.approx(best, abs=5e-5)
    assert probabilistic_sharpe(2.5 / np.sqrt(250), expected, 1250, -3.0, 10.0) == pytest.approx(published, abs=5e-5)


def test_the_best_of_many_without_skill_is_what_simulation_says() -> None:
    draws = np.random.default_rng(1).normal(0, 0.3, (4000, 50)).max(axis=1)
    assert expected_best_sharpe(50, 0.09) == pytest.approx(draws.mean(), rel=0.02)
    assert expected_best_sharpe(1, 0.09) == 0.0


def test_deflation_by_hand_and_by_default() -> None:
    # +0.02 and -0.01 in turns, 50 each: no skew but for the mean, z = +1 or -1, kurtosis 1: the root is one
    returns = np.tile([0.02, -0.01], 50)
    sharpe = 0.005 / returns.std(ddof=1)
    assert deflated_sharpe(returns, 1) == pytest.approx(norm.cdf(sharpe * np.sqrt(99)))
    best = expected_best_sharpe(20, 1 / 99)  # ratios that differ by chance alone
    assert deflated_sharpe(returns, 20) == pytest.approx(norm.cdf((sharpe - best) * np.sqrt(99)))
    assert deflated_sharpe(returns, 20, 0.04) < deflated_sharpe(returns, 20, 0.01) < deflated_sharpe(returns, 1)


def test_the_best_of_many_random_strategies_is_not_called_an_edge() -> None:
    draws = np.random.default_rng(5).normal(0, 0.01, (60, 40, 500))  # [experiment, trial, session]
    best = [max(trials, key=sharpe_ratio) for trials in draws]
    deflated = np.mean([deflated_sharpe(returns, 40) > 0.95 for returns in best])
    undeflated = np.mean([deflated_sharpe(returns, 1) > 0.95 for returns in best])
    assert deflated <= 0.1
    assert undeflated > 0.8
