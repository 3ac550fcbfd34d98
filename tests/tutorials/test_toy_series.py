"""The toy series follow their formulas."""

import numpy as np
import pytest

from pipeline.tutorials import toy_series
from pipeline.tutorials.toy_series import (
    MEMORY,
    NOISE_VARIANCE,
    PERSISTENCE,
    hidden_trend_series,
    leaky_level_series,
    noisy_sine_series,
    optimal_probabilities,
    sine_series,
)


def test_a_seed_determines_a_series() -> None:
    for simulate in (noisy_sine_series, leaky_level_series, hidden_trend_series):
        assert np.array_equal(simulate(3).inputs, simulate(3).inputs)
        assert not np.array_equal(simulate(3).inputs, simulate(4).inputs)


def test_the_noisy_sine_is_a_sine_and_uniform_noise_of_the_stated_variance() -> None:
    simulated = noisy_sine_series(0, 200_000)
    noise = simulated.inputs[0, :, 0] - np.sin(0.02 * np.arange(200_000))
    assert 0 <= noise.min() < 0.001
    assert 1.999 < noise.max() <= 2
    assert noise.var() == pytest.approx(NOISE_VARIANCE, rel=0.01)


def test_the_value_to_forecast_is_the_next_one() -> None:
    simulated = sine_series(2.0, 0.4, 21)
    assert np.array_equal(simulated.values[0, :-1, 0], simulated.inputs[0, 1:, 0])
    assert np.isnan(simulated.values[0, -1, 0])
    assert simulated.inputs[0, -1, 0] == pytest.approx(np.sin(10.0))


def test_a_level_is_inflow_less_leakage() -> None:
    simulated = leaky_level_series(1, series=1, steps=50)
    signs = np.array([1.0, -1.0] * 5) / np.sqrt(10) * np.sqrt(1 - MEMORY**2)
    level, slow = 0.0, []
    for step in range(50):
        level = MEMORY * level + float(simulated.inputs[0, step] @ signs)
        slow.append(level)
    error = simulated.values[0, :, 0] - np.array(slow)
    assert 0.05 < error.std() < 0.15  # the measurement noise only
    many = leaky_level_series(2, series=20, steps=5000)
    assert many.values.var() == pytest.approx(1 + 0.01, rel=0.03)


def test_the_optimal_probabilities_are_those_given_all_moves_before() -> None:
    """The Kalman filter against the conditional normal of the next move given all earlier ones, by their covariance."""
    simulated, flat, steps = hidden_trend_series(5, series=2, steps=30), 0.25, 30
    lag = np.abs(np.subtract.outer(np.arange(steps + 1), np.arange(steps + 1)))
    covariance = PERSISTENCE**lag + np.eye(steps + 1)
    weights = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
    mean = simulated.inputs[..., 0] @ weights
    variance = covariance[-1, -1] - covariance[:-1, -1] @ weights
    draws = np.random.default_rng(0).normal(size=(400_000, 1)) * np.sqrt(variance) + mean
    share = np.stack([(draws < -flat).mean(axis=0), (np.abs(draws) <= flat).mean(axis=0), (draws > flat).mean(axis=0)])
    assert np.allclose(optimal_probabilities(simulated.inputs[..., 0], flat)[:, -1], share.T, atol=0.004)


def test_no_forecast_between_minus_one_and_one_is_near_the_unscaled_numbers() -> None:
    targets = np.arange(6.0, 16.0)
    smallest = toy_series.min_unscaled_loss(targets)
    grid = np.linspace(-1, 1, 2001)
    slow = np.mean([((grid - target) ** 2).min() for target in targets])
    assert smallest == pytest.approx(slow)
    assert f"{smallest:.1f}" in toy_series.tanh_range_remark()
