"""The baselines' formulas against plain loops and the standard library."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.integrate import quad

from pipeline.forecasters.drift import drift_over_horizons
from pipeline.forecasters.ewma import student_unit_quantiles
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasters.per_ticker import per_ticker_or_pooled
from pipeline.forecasters.registry import BASELINES
from pipeline.forecasters.unit_quantiles import (
    normal_unit_quantiles,
    rearranged,
    spread_over_horizons,
)


def test_the_levels_are_those_of_the_design() -> None:
    assert LEVELS == (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
    assert LEVELS[MEDIAN] == 0.5
    assert [spec.kind for spec in BASELINES] == ["climatology", "last_close", "drift", "ewma", "linear"]


def test_normal_quantiles() -> None:
    np.testing.assert_allclose(normal_unit_quantiles(), [NormalDist().inv_cdf(level) for level in LEVELS], atol=1e-9)


@pytest.mark.parametrize("degrees", [2.5, 5.0, 30.0])
def test_student_quantiles_have_unit_variance_and_the_right_mass(degrees: float) -> None:
    """The density is written out and integrated up to each quantile."""
    scale = math.sqrt((degrees - 2) / degrees)
    norm = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi) / scale

    def density(x: float) -> float:
        return norm * (1 + (x / scale) ** 2 / degrees) ** (-(degrees + 1) / 2)

    for level, quantile in zip(LEVELS, student_unit_quantiles(degrees), strict=True):
        assert 0.5 + quad(density, 0, quantile)[0] == pytest.approx(level, abs=1e-7)
    if degrees > 4:
        variance = quad(lambda x: x * x * density(x), -np.inf, np.inf)[0]
        assert variance == pytest.approx(1.0, abs=1e-6)


def test_quantiles_spread_with_the_root_of_the_horizon() -> None:
    unit, scale = np.array([-1.0, 0.0, 2.0]), np.array([[0.01, 0.02], [0.03, 0.04]])
    found = spread_over_horizons(unit, scale, 4)
    for i in range(2):
        for j in range(2):
            for h in range(1, 5):
                expected = [scale[i, j] * math.sqrt(h) * u for u in unit]
                assert found[i, j, h - 1].tolist() == pytest.approx(expected, rel=1e-6)


def test_the_drift_grows_with_the_horizon() -> None:
    found = drift_over_horizons(np.array([0.001, -0.002], dtype=np.float32), 3)
    assert found.shape == (2, 1, 3, 1)
    np.testing.assert_allclose(found[:, 0, :, 0], [[0.001, 0.002, 0.003], [-0.002, -0.004, -0.006]], rtol=1e-6)


def test_a_ticker_without_enough_rows_takes_the_pooled_values() -> None:
    values = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    enough = np.array([False, True, True])
    np.testing.assert_array_equal(per_ticker_or_pooled(values, enough), [[5, 6], [3, 4], [5, 6]])
    np.testing.assert_array_equal(per_ticker_or_pooled(values[:, 0], enough), [5, 3, 5])


def test_crossing_quantiles_are_sorted() -> None:
    np.testing.assert_array_equal(
        rearranged(np.array([[3, 1, 2], [1, 2, 3]], dtype=np.float32)), [[1, 2, 3], [1, 2, 3]]
    )
