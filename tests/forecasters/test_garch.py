"""GJR-GARCH's recursions against arch's own numbers and a plain loop."""

import numpy as np
import pytest
from arch.univariate import GARCH, StudentsT, ZeroMean
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.garch import Gjr, next_variances, summed_variances, unit_quantiles


def gjr_of(*tickers: tuple[float, ...]) -> Gjr:
    return Gjr(*np.array(tickers).T)


def garch_returns(seed: int, count: int = 900) -> np.ndarray:
    """Returns in per cent that move and calm down again, falls more than rises."""
    draws, returns, variance = np.random.default_rng(seed), np.empty(count), 1.0
    for t in range(count):
        returns[t] = np.sqrt(variance) * draws.standard_t(6) * np.sqrt(4 / 6)
        variance = 0.05 + (0.04 + 0.1 * (returns[t] < 0)) * returns[t] ** 2 + 0.87 * variance
    return returns


@pytest.mark.parametrize("seed", range(3))
def test_variances_are_those_of_arch(seed: int) -> None:
    """With arch's own parameters and its variance of the first session."""
    returns = garch_returns(seed)
    model = ZeroMean(returns, volatility=GARCH(p=1, o=1, q=1), distribution=StudentsT(), rescale=False)
    result = model.fit(disp="off")
    theirs = np.asarray(result.conditional_volatility) ** 2
    gjr = gjr_of((*result.params, theirs[0]))
    ours = next_variances(returns[None], gjr)
    np.testing.assert_allclose(ours[0, :-1], theirs[1:], rtol=1e-9)
    forecast = result.forecast(horizon=7, start=500, reindex=False).variance.to_numpy()  # [session, step]
    summed = summed_variances(ours[:, 500:], gjr, 7)
    np.testing.assert_allclose(summed[0], np.cumsum(forecast, axis=1), rtol=1e-9)
    assert 0.5 < gjr.persistence[0] < 1  # the case is not a trivial one
    assert result.params["gamma[1]"] > 0.02


def slow_variance(returns: list[float], omega: float, alpha: float, gamma: float, beta: float, start: float) -> float:
    variance = start
    for value in returns:
        if not np.isnan(value):
            variance = omega + alpha * value * value + (gamma * value * value if value < 0 else 0.0) + beta * variance
    return variance


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    returns=st.lists(st.one_of(st.floats(-40, 40), st.just(float("nan"))), min_size=1, max_size=40),
    alpha=st.floats(0, 0.3),
    gamma=st.floats(-0.1, 0.3),
    beta=st.floats(0, 0.99),
    h=st.integers(1, 9),
)
def test_variances_are_those_of_a_plain_loop_and_absent_sessions_change_none(
    returns: list[float], alpha: float, gamma: float, beta: float, h: int
) -> None:
    gjr = gjr_of((0.1, alpha, gamma, beta, 5.0, 2.0), (0.2, 0.05, 0.1, 0.8, 9.0, 1.0))
    found = next_variances(np.array([returns, returns[::-1]]), gjr)
    assert found[0, -1] == pytest.approx(slow_variance(returns, 0.1, alpha, gamma, beta, 2.0), rel=1e-9)
    assert found[1, 0] == pytest.approx(slow_variance(returns[-1:], 0.2, 0.05, 0.1, 0.8, 1.0), rel=1e-9)
    step, total = found[0, -1], 0.0
    for _ in range(h):
        total, step = total + step, 0.1 + (alpha + gamma / 2 + beta) * step
    assert summed_variances(found, gjr, h)[0, -1, -1] == pytest.approx(total, rel=1e-9)


def test_unit_quantiles_have_unit_variance() -> None:
    gjr = gjr_of((0.1, 0.1, 0.0, 0.8, 5.0, 1.0), (0.1, 0.1, 0.0, 0.8, 1e6, 1.0))
    expected = [student.ppf(level, 5) * np.sqrt(3 / 5) for level in LEVELS]
    np.testing.assert_allclose(unit_quantiles(gjr)[0], expected, rtol=1e-12)
    assert unit_quantiles(gjr)[1, -1] == pytest.approx(1.6449, abs=1e-3)  # close to a normal


@pytest.mark.parametrize("wrong", [{0: np.nan}, {4: 2.0}, {5: 0.0}, {3: np.inf}])
def test_parameters_without_a_variance_are_refused(wrong: dict[int, float]) -> None:
    values = np.array([0.1, 0.1, 0.0, 0.8, 5.0, 1.0])
    gjr_of(tuple(values))
    values[list(wrong)] = list(wrong.values())
    with pytest.raises(FitError, match="GARCH parameters"):
        gjr_of(tuple(values))
