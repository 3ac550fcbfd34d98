"""The series are what they claim to be."""

import numpy as np
import pytest

from pipeline.tutorials import toys
from pipeline.tutorials.series import (
    MEMORY,
    NOISE_VARIANCE,
    PERSISTENCE,
    chances_of_who_knows,
    hidden_trends,
    leaky_levels,
    noisy_sine,
    sine,
)


def test_a_seed_is_a_series() -> None:
    for draw in (noisy_sine, leaky_levels, hidden_trends):
        assert np.array_equal(draw(3).inputs, draw(3).inputs)
        assert not np.array_equal(draw(3).inputs, draw(4).inputs)


def test_the_noisy_sine_is_a_sine_and_uniform_noise_of_the_stated_variance() -> None:
    drawn = noisy_sine(0, 200_000)
    noise = drawn.inputs[0, :, 0] - np.sin(0.02 * np.arange(200_000))
    assert 0 <= noise.min() < 0.001
    assert 1.999 < noise.max() <= 2
    assert noise.var() == pytest.approx(NOISE_VARIANCE, rel=0.01)
    assert pytest.approx(1 / 3) == NOISE_VARIANCE


def test_the_value_to_forecast_is_the_next_one() -> None:
    drawn = sine(2.0, 0.4, 21)
    assert np.array_equal(drawn.values[0, :-1, 0], drawn.inputs[0, 1:, 0])
    assert np.isnan(drawn.values[0, -1, 0])
    assert drawn.inputs[0, -1, 0] == pytest.approx(np.sin(10.0))


def test_a_level_is_what_flowed_in_and_leaked_away() -> None:
    drawn = leaky_levels(1, series=1, steps=50)
    signs = np.array([1.0, -1.0] * 5) / np.sqrt(10) * np.sqrt(1 - MEMORY**2)
    level, slow = 0.0, []
    for step in range(50):
        level = MEMORY * level + float(drawn.inputs[0, step] @ signs)
        slow.append(level)
    error = drawn.values[0, :, 0] - np.array(slow)
    assert 0.05 < error.std() < 0.15  # the measurement's own noise, and nothing else
    many = leaky_levels(2, series=20, steps=5000)
    assert many.values.var() == pytest.approx(1 + 0.01, rel=0.03)


def test_who_knows_the_process_knows_what_all_moves_together_tell() -> None:
    """Kalman's filter against the conditional normal of the next move given all moves before, from their covariance."""
    drawn, flat, steps = hidden_trends(5, series=2, steps=30), 0.25, 30
    lag = np.abs(np.subtract.outer(np.arange(steps + 1), np.arange(steps + 1)))
    covariance = PERSISTENCE**lag + np.eye(steps + 1)
    weights = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
    mean = drawn.inputs[..., 0] @ weights
    variance = covariance[-1, -1] - covariance[:-1, -1] @ weights
    draws = np.random.default_rng(0).normal(size=(400_000, 1)) * np.sqrt(variance) + mean
    share = np.stack([(draws < -flat).mean(axis=0), (np.abs(draws) <= flat).mean(axis=0), (draws > flat).mean(axis=0)])
    assert np.allclose(chances_of_who_knows(drawn.inputs[..., 0], flat)[:, -1], share.T, atol=0.004)


def test_no_forecast_between_minus_one_and_one_comes_near_the_unscaled_numbers() -> None:
    answers = np.arange(6.0, 16.0)
    least = toys.least_loss_unscaled(answers)
    grid = np.linspace(-1, 1, 2001)
    slow = np.mean([((grid - answer) ** 2).min() for answer in answers])
    assert least == pytest.approx(slow)
    assert f"{least:.1f}" in toys.out_of_reach()
