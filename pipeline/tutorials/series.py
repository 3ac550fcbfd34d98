"""The series of the tutorials, drawn from a seed."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from pipeline.arrays import Floats

NOISE_VARIANCE = 4.0 / 12.0
"""Of 2 U(0,1): no forecast of the noisy sine has a smaller mean squared error to be expected."""


@dataclass(frozen=True)
class Drawn:
    """What is read [series, step, input], and the value of the next step [series, step, 1]."""

    inputs: Floats
    values: Floats


def next_values(series: Floats) -> Drawn:
    """Return series [series, step] to be read, with the next step's value to forecast, NaN at the last."""
    ahead = np.concatenate((series[:, 1:], np.full_like(series[:, :1], np.nan)), axis=1)
    return Drawn(series[..., None], ahead[..., None])


def noisy_sine(seed: int, steps: int = 1000) -> Drawn:
    """Return x_t = sin(0.02 t) + 2 U(0,1)."""
    noise = 2 * np.random.default_rng(seed).uniform(size=steps)
    return next_values((np.sin(0.02 * np.arange(steps)) + noise)[None])


def sine(start: float, step: float, steps: int) -> Drawn:
    """Return sin(t) at t = start, start + step, and so on."""
    return next_values(np.sin(start + step * np.arange(steps))[None])


MEMORY = 0.7
LEVEL_NOISE = 0.1


def leaky_levels(seed: int, series: int = 8, steps: int = 600, inputs: int = 10) -> Drawn:
    """Return ten inflows, and the level that they make: l_t = 0.7 l_(t-1) + inflow_t, measured one step later.

    The inflow is a sum of the ten with changing signs, the level has unit variance, the measurement a noise. The inputs
    are white: what flowed in before the last step can only be remembered.
    """
    draws = np.random.default_rng(seed)
    read = draws.normal(size=(series, steps, inputs))
    inflow = read @ np.where(np.arange(inputs) % 2, -1.0, 1.0) / np.sqrt(inputs)  # [series, step], unit variance
    level = _autoregression(inflow, MEMORY, np.zeros(series))
    return Drawn(read, (level + LEVEL_NOISE * draws.normal(size=level.shape))[..., None])


PERSISTENCE = 0.97


def hidden_trends(seed: int, series: int = 8, steps: int = 1500) -> Drawn:
    """Return moves x_t = s_t + noise around a hidden trend s_t = 0.97 s_(t-1) + shock, both of unit variance."""
    draws = np.random.default_rng(seed)
    trend = _autoregression(draws.normal(size=(series, steps)), PERSISTENCE, draws.normal(size=series))
    return next_values(trend + draws.normal(size=trend.shape))


def _autoregression(shocks: Floats, memory: float, before: Floats) -> Floats:
    """Return y_t = memory y_(t-1) + sqrt(1 - memory^2) shock_t [series, step], of unit variance."""
    result = np.zeros_like(shocks)
    for step in range(shocks.shape[1]):
        before = memory * before + np.sqrt(1 - memory**2) * shocks[:, step]
        result[:, step] = before
    return result


def chances_of_who_knows(moves: Floats, flat: float) -> Floats:
    """Return the probabilities of down, flat and up [series, step, class] of the next move of `hidden_trends`.

    Kalman's filter (1960) gives mean and variance of the hidden trend; the next move is normal around it.
    """
    mean, variance = np.zeros(len(moves)), 1.0
    means, spreads = np.zeros_like(moves), np.zeros(moves.shape[1])
    for step in range(moves.shape[1]):
        gain = variance / (variance + 1.0)
        mean = PERSISTENCE * (mean + gain * (moves[:, step] - mean))
        variance = PERSISTENCE**2 * (1 - gain) * variance + 1 - PERSISTENCE**2
        means[:, step], spreads[step] = mean, np.sqrt(variance + 1.0)
    below = norm.cdf((np.array([-flat, flat]) - means[..., None]) / spreads[:, None])  # [series, step, edge]
    return np.stack((below[..., 0], below[..., 1] - below[..., 0], 1 - below[..., 1]), axis=-1)
