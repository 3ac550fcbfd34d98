"""The Diebold-Mariano test: by hand, against an independent implementation, and its size."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from pipeline.evaluation.significance.diebold_mariano import (
    bartlett_variance,
    bartlett_variances,
    diebold_mariano,
    diebold_mariano_each,
    long_lags,
)
from pipeline.evaluation.significance.losses import loss_by_ticker, loss_per_session
from pipeline.forecasters.forecaster import LEVELS
from tests.evaluation.made import made_backtest
from tests.evaluation.significance.series import PROCESSES, largest_size
from tests.evaluation.significance.test_fixed_bandwidth import slow_p


def slow_autocovariance(d: list[float], k: int) -> float:
    n, mean = len(d), sum(d) / len(d)
    return sum((d[t] - mean) * (d[t - abs(k)] - mean) for t in range(abs(k), n)) / n


def slow_variance(d: list[float], lags: int) -> float:
    """Gamma_0 + 2 sum (1 - k / (L + 1)) gamma_k, autocovariances over n."""
    return sum((1 - abs(k) / (lags + 1)) * slow_autocovariance(d, k) for k in range(-lags, lags + 1))


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


def test_the_lags_are_twice_the_horizon_and_at_least_twenty() -> None:
    assert [long_lags(h) for h in (1, 5, 10, 11, 20)] == [20, 20, 20, 22, 40]


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


def test_the_sums_over_windows_are_the_weighted_autocovariances() -> None:
    values = np.random.default_rng(5).normal(size=(4, 90)).cumsum(axis=1)
    for lags in (0, 1, 20, 89):
        slow = [slow_variance(row.tolist(), lags) for row in values]
        assert bartlett_variances(values, lags).tolist() == pytest.approx(slow, rel=1e-9)
        assert [bartlett_variance(row, lags) for row in values] == pytest.approx(slow, rel=1e-9)


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


def test_the_loss_of_a_ticker_is_missing_where_it_is_not_scored() -> None:
    backtest = made_backtest()
    losses = loss_by_ticker(backtest, "ewma", 2)
    assert (np.isfinite(losses) == backtest.scored[..., 1]).all()
    i, t = (int(k[0]) for k in np.nonzero(backtest.scored[..., 1]))
    y, q = float(backtest.realised[i, t, 1]), backtest.quantiles["ewma"][i, t, 1].tolist()
    slow = sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in zip(q, LEVELS, strict=True)) / 7
    assert losses[i, t] == pytest.approx(slow, rel=1e-9)


def test_the_loss_of_a_session_is_the_mean_over_its_scored_tickers() -> None:
    backtest = made_backtest()
    for horizon in (1, 2):
        for name in ("network", "ewma"):
            expected = []
            for t in range(60):
                losses = []
                for i in range(3):
                    if backtest.scored[i, t, horizon - 1]:
                        y = float(backtest.realised[i, t, horizon - 1])
                        q = [float(v) for v in backtest.quantiles[name][i, t, horizon - 1]]
                        losses.append(
                            sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in zip(q, LEVELS, strict=True)) / 7
                        )
                if losses:
                    expected.append(sum(losses) / len(losses))
            assert len(expected) < 60
            assert loss_per_session(backtest, name, horizon).tolist() == pytest.approx(expected, rel=1e-9)
