"""The Clark-West test: against loops and a reference implementation, its size and its power."""

import math

import numpy as np
import pytest

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.evaluation.significance.predictive_ability import clark_west, diebold_mariano
from tests.evaluation.significance.series import largest_size
from tests.evaluation.significance.test_mean_test import slow_variance


def nested(draws: np.random.Generator, sessions: int, slope: float, window: int = 60) -> tuple[Floats, Floats, Floats]:
    """Outcomes, zero, and a rolling regression on one predictor, which the outcomes follow with that slope."""
    x = draws.normal(size=sessions + window)
    y = slope * x + draws.normal(size=sessions + window)
    products, squares = np.cumsum(np.r_[0.0, x * y]), np.cumsum(np.r_[0.0, x * x])
    until = np.arange(window, sessions + window)
    found = (products[until] - products[until - window]) / (squares[until] - squares[until - window])
    return y[window:], np.zeros(sessions), found * x[window:]


def test_it_is_the_mean_of_the_adjusted_difference() -> None:
    y, small, large = nested(np.random.default_rng(0), 90, 0.2)
    adjusted = [(a - b) ** 2 - ((a - c) ** 2 - (b - c) ** 2) for a, b, c in zip(y, small, large, strict=True)]
    t = (sum(adjusted) / 90) / math.sqrt(slow_variance(adjusted, 4) / 90)
    found = clark_west(y, small, large, 1, 4)
    assert (found.t, found.gain) == pytest.approx((t, sum(adjusted) / 90), rel=1e-9)
    assert (found.lags, found.sessions) == (4, 90)


def test_its_error_is_that_of_a_reference_implementation() -> None:
    """statsmodels: Clark and West regress the adjusted difference on a constant, with HAC errors."""
    regression = pytest.importorskip("statsmodels.api")
    y, small, large = nested(np.random.default_rng(1), 250, 0.1)
    adjusted = 2 * (y - small) * (large - small)  # the same, multiplied out
    fitted = regression.OLS(adjusted, np.ones(250)).fit(cov_type="HAC", cov_kwds={"maxlags": 20})
    assert clark_west(y, small, large, 1, 20).t == pytest.approx(float(fitted.tvalues[0]), rel=1e-8)


def test_tickers_are_averaged_by_session_and_gaps_left_out() -> None:
    draws = np.random.default_rng(2)
    y, small, large = (np.stack(rows) for rows in zip(*(nested(draws, 80, 0.2) for _ in range(3)), strict=True))
    y[0, 5], large[1, 7], y[:, 9] = np.nan, np.nan, np.nan
    adjusted = 2 * (y - small) * (large - small)
    means = [
        float(np.mean(column[np.isfinite(column)])) for column in adjusted.T if np.isfinite(column).any()
    ]  # a session without any is no session
    found = clark_west(y, small, large, 1, 0)
    assert found.sessions == 79
    assert found.t == pytest.approx(np.mean(means) / math.sqrt(np.var(means) / 79), rel=1e-9)


def test_it_is_one_sided() -> None:
    y, small, large = nested(np.random.default_rng(3), 250, 0.5)
    assert clark_west(y, small, large, 1, 20).p < 0.01
    assert clark_west(y, small, -large, 1, 20).p > 0.99


@pytest.mark.parametrize("n", [250, 1000])
def test_its_size_and_power(n: int) -> None:
    draws = np.random.default_rng(n)
    size = np.mean([clark_west(*nested(draws, n, 0.0), 1, 20).p < 0.05 for _ in range(800)])
    assert 0.005 <= size <= largest_size(800), "Clark and West find it below nominal, too"
    trials = [nested(draws, n, 0.15) for _ in range(200)]
    power = np.mean([clark_west(*trial, 1, 20).p < 0.05 for trial in trials])
    unadjusted = [diebold_mariano((y - large) ** 2 - (y - small) ** 2, 1, 20) for y, small, large in trials]
    assert power > np.mean([test.t < 0 and test.p < 0.1 for test in unadjusted]) + 0.15
    assert power > (0.3 if n == 250 else 0.9)


def test_it_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="one shape"):
        clark_west(np.zeros(40), np.zeros(40), np.zeros(41), 1, 20)
    nothing = clark_west(np.zeros(0), np.zeros(0), np.zeros(0), 1, 20)
    assert math.isnan(nothing.p)
    assert math.isnan(clark_west(np.ones(40), np.zeros(40), np.zeros(40), 1, 20).p)
