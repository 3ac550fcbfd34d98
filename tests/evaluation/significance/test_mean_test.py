"""The law of a mean over its Bartlett error: against its definition, published values and simulation."""

import numpy as np
import pytest
from scipy.stats import t as student

from pipeline.evaluation.significance.mean_test import (
    bandwidth_law,
    bartlett_variance,
    bartlett_variances,
    long_lags,
    two_sided_p,
)


def slow_p(t: float, n: int, lags: int) -> float:
    """P(Z^2 > t^2 Q) from all n eigenvalues, and a fine grid of angles."""
    weights = np.array([[max(0.0, 1 - abs(r - s) / (lags + 1)) for s in range(n)] for r in range(n)])
    centring = np.eye(n) - np.full((n, n), 1 / n)
    eigenvalues = np.clip(np.linalg.eigvalsh(centring @ weights @ centring / n), 0, None)
    angles = (np.arange(1000) + 0.5) * np.pi / 2000
    logs = np.log1p(t**2 * eigenvalues[:, None] / np.sin(angles) ** 2).sum(axis=0)
    return float(np.exp(-logs / 2).mean())


@pytest.mark.parametrize(("n", "lags"), [(30, 20), (30, 29), (60, 20), (128, 4), (250, 20), (250, 40), (400, 20)])
def test_it_is_the_exact_law(n: int, lags: int) -> None:
    t = np.array([-4.0, 0.5, 1.0, 1.96, 2.5, 3.0])
    exact = [slow_p(abs(value), n, lags) for value in t]
    assert two_sided_p(t, n, lags).tolist() == pytest.approx(exact, rel=5e-3 if n > 128 else 1e-6, abs=1e-5)
    near = two_sided_p(np.array([1.96, 2.5]), n, lags).tolist()
    assert near == pytest.approx([exact[3], exact[4]], rel=3e-4)


@pytest.mark.parametrize(("n", "lags"), [(40, 0), (40, 7), (40, 39), (300, 20)])
def test_its_moments_are_traces(n: int, lags: int) -> None:
    weights = np.clip(1 - np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / (lags + 1), 0, None)
    centring = np.eye(n) - 1 / n
    a = centring @ weights @ centring / n
    law = bandwidth_law(n, lags)
    assert law.expectation == pytest.approx(np.trace(a), rel=1e-10)
    assert law.freedom == pytest.approx(np.trace(a) ** 2 / np.trace(a @ a), rel=1e-10)


@pytest.mark.parametrize("n", [30, 250, 1000])
def test_without_lags_it_is_a_t_distribution(n: int) -> None:
    t = np.array([0.7, 2.0, 3.5])
    assert two_sided_p(t * np.sqrt(n / (n - 1)), n, 0) == pytest.approx(2 * student.sf(t, n - 1), rel=1e-5)


def test_published_critical_values() -> None:
    """Kiefer and Vogelsang (2002), table 1: 4.771 where every lag is used; (2005), table 1: the cubic of others."""
    assert float(two_sided_p(np.array([4.771]), 1000, 999)[0]) == pytest.approx(0.05, abs=1e-4)
    for b in (0.02, 0.1, 0.2, 0.5):
        critical = 1.96 + 2.9694 * b + 0.416 * b**2 - 0.5324 * b**3
        assert float(two_sided_p(np.array([critical]), 1000, round(b * 1000) - 1)[0]) == pytest.approx(0.05, abs=3e-3)


def test_it_is_uniform_in_simulation() -> None:
    values = np.random.default_rng(3).normal(size=(10_000, 40))
    t = values.mean(axis=1) / np.sqrt(bartlett_variances(values, 20) / 40)
    p = two_sided_p(t, 40, 20)
    for level in (0.01, 0.05, 0.1, 0.5):
        assert np.mean(p < level) == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / len(p)))
    assert np.mean(2 * student.sf(np.abs(t), 39) < 0.05) > 0.15, "what the t distribution would say"


def test_its_ends() -> None:
    p = two_sided_p(np.array([0.0, 1e-3, 1e9, np.inf, np.nan]), 250, 20)
    assert p[0] == 1
    assert p[1] == pytest.approx(1, abs=0.01)
    assert p[2:4].tolist() == [0, 0]
    assert np.isnan(p[4])


def test_it_falls_with_t() -> None:
    p = two_sided_p(np.linspace(0, 12, 400), 250, 20)
    assert (np.diff(p[20:]) < 0).all()


def slow_autocovariance(d: list[float], k: int) -> float:
    n, mean = len(d), sum(d) / len(d)
    return sum((d[t] - mean) * (d[t - abs(k)] - mean) for t in range(abs(k), n)) / n


def slow_variance(d: list[float], lags: int) -> float:
    """Gamma_0 + 2 sum (1 - k / (L + 1)) gamma_k, autocovariances over n."""
    return sum((1 - abs(k) / (lags + 1)) * slow_autocovariance(d, k) for k in range(-lags, lags + 1))


def test_the_lags_are_twice_the_horizon_and_at_least_twenty() -> None:
    assert [long_lags(h) for h in (1, 5, 10, 11, 20)] == [20, 20, 20, 22, 40]


def test_the_sums_over_windows_are_the_weighted_autocovariances() -> None:
    values = np.random.default_rng(5).normal(size=(4, 90)).cumsum(axis=1)
    for lags in (0, 1, 20, 89):
        slow = [slow_variance(row.tolist(), lags) for row in values]
        assert bartlett_variances(values, lags).tolist() == pytest.approx(slow, rel=1e-9)
        assert [bartlett_variance(row, lags) for row in values] == pytest.approx(slow, rel=1e-9)
