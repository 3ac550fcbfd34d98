"""The toy series of the tutorials, drawn from a seed, their data to train and test on, and their smallest error."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from pipeline.arrays import Floats
from pipeline.tutorials.data import LabelledSeries, TutorialData, fold_at, value_frames

MEMORY = 0.7
LEVEL_NOISE = 0.1
LEVEL_WINDOW = 10
SINE_WINDOW = 3
PERSISTENCE = 0.97
FLAT = 0.25
NOISE_VARIANCE = 4.0 / 12.0
"""Variance of 2 U(0,1): no forecast of the noisy sine has a smaller expected mean squared error."""


@dataclass(frozen=True)
class SimulatedSeries:
    """Inputs [series, step, input], and the value of the next step [series, step, 1]."""

    inputs: Floats
    values: Floats


def next_values(series: Floats) -> SimulatedSeries:
    """Return series [series, step] as inputs, with the next step's value to forecast, NaN at the last."""
    following = np.concatenate((series[:, 1:], np.full_like(series[:, :1], np.nan)), axis=1)
    return SimulatedSeries(series[..., None], following[..., None])


def noisy_sine_series(seed: int, steps: int = 1000) -> SimulatedSeries:
    """Return x_t = sin(0.02 t) + 2 U(0,1)."""
    noise = 2 * np.random.default_rng(seed).uniform(size=steps)
    return next_values((np.sin(0.02 * np.arange(steps)) + noise)[None])


def sine_series(start: float, step: float, steps: int) -> SimulatedSeries:
    """Return sin(t) at t = start, start + step, and so on."""
    return next_values(np.sin(start + step * np.arange(steps))[None])


def leaky_level_series(seed: int, series: int = 8, steps: int = 600, inputs: int = 10) -> SimulatedSeries:
    """Return ten inflows and the level that they determine: l_t = 0.7 l_(t-1) + inflow_t, measured one step later.

    The inflow is a sum of the ten with alternating signs, the level has unit variance, the measurement has noise. The
    inputs are white noise: the inflow before the last step can only be remembered.
    """
    draws = np.random.default_rng(seed)
    inflows = draws.normal(size=(series, steps, inputs))
    inflow = inflows @ np.where(np.arange(inputs) % 2, -1.0, 1.0) / np.sqrt(inputs)  # [series, step], unit variance
    level = _autoregression(inflow, MEMORY, np.zeros(series))
    return SimulatedSeries(inflows, (level + LEVEL_NOISE * draws.normal(size=level.shape))[..., None])


def hidden_trend_series(seed: int, series: int = 8, steps: int = 1500) -> SimulatedSeries:
    """Return moves x_t = s_t + noise around a hidden trend s_t = 0.97 s_(t-1) + shock, both of unit variance."""
    draws = np.random.default_rng(seed)
    trend = _autoregression(draws.normal(size=(series, steps)), PERSISTENCE, draws.normal(size=series))
    return next_values(trend + draws.normal(size=trend.shape))


def _autoregression(shocks: Floats, memory: float, initial: Floats) -> Floats:
    """Return y_t = memory y_(t-1) + sqrt(1 - memory^2) shock_t [series, step], of unit variance."""
    result, before = np.zeros_like(shocks), initial
    for step in range(shocks.shape[1]):
        before = memory * before + np.sqrt(1 - memory**2) * shocks[:, step]
        result[:, step] = before
    return result


def optimal_probabilities(moves: Floats, flat: float) -> Floats:
    """Return the optimal probabilities of down, flat and up [series, step, class] of the next move of a hidden trend.

    The Kalman filter (1960) gives mean and variance of the trend of `hidden_trend_series`; the next move is normal
    around it.
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


def level_data(seed: int) -> TutorialData:
    """Return the data of a level that ten inflows determine and that leaks away."""
    names = tuple(f"inflow_{number}" for number in range(1, 11))
    return _split(leaky_level_series(seed), 400, LEVEL_NOISE**2, names, LEVEL_WINDOW - 1)


def noisy_sine_data(seed: int) -> TutorialData:
    """Return the data of 1,000 steps of a sine in uniform noise, forecast from step 800 on."""
    return _split(noisy_sine_series(seed), 800, NOISE_VARIANCE, ("value",), SINE_WINDOW - 1)


def pure_sine_data(_seed: int) -> TutorialData:
    """Return the data of sin(t), t from 0 to 30 by 0.1, forecast from t = 20 on."""
    return _split(sine_series(0.0, 0.1, 300), 200, 0.0, ("value",))


def direction_data(seed: int) -> TutorialData:
    """Return the data of moves around hidden trends: filtering them is more informative than the last move."""
    series = hidden_trend_series(seed)
    optimal = optimal_probabilities(series.inputs[..., 0], FLAT)
    return _split(series, 1000, 0.0, ("move",), optimal=optimal)


def _split(
    series: SimulatedSeries,
    start: int,
    floor: float,
    input_names: tuple[str, ...],
    before: int = 0,
    optimal: Floats | None = None,
) -> TutorialData:
    """Return the data of simulated series, forecast from step `start` on; an origin has `before` steps before it."""
    usable = np.ones(series.inputs.shape[:2], dtype=bool)
    usable[:, :before] = False
    names = tuple(f"series {number}" for number in range(1, len(usable) + 1))
    frames = value_frames(LabelledSeries(series.inputs, series.values, usable, input_names, names))
    return TutorialData(frames, fold_at(frames.sessions, start), names, names, floor, optimal=optimal)


# --- Tutorials that test a network on the series it was trained on, read again ---

POINTS = 21
ELMAN_STEP = 0.4
READ_AGAIN, NEVER_SHOWN = "the same, read again", "the next points, never shown"


def elman_data(_seed: int) -> TutorialData:
    """Return the data of 21 points of sin over [2, 10], read again afterwards, and of the next 21 points."""
    first, beyond = sine_series(2.0, ELMAN_STEP, POINTS), sine_series(2.0 + POINTS * ELMAN_STEP, ELMAN_STEP, POINTS)
    rows = ((first, 0), (first, POINTS), (beyond, POINTS))
    inputs, values = np.full((3, 2 * POINTS, 1), np.nan), np.full((3, 2 * POINTS, 1), np.nan)
    for row, (series, at) in enumerate(rows):
        inputs[row, at : at + POINTS], values[row, at : at + POINTS] = series.inputs[0], series.values[0]
    names = ("sin over [2, 10]", READ_AGAIN, NEVER_SHOWN)
    frames = value_frames(LabelledSeries(inputs, values, np.isfinite(inputs[..., 0]), ("value",), names))
    return TutorialData(frames, fold_at(frames.sessions, POINTS), names[:1], (READ_AGAIN,), 0.0)


LENGTH = 5
TRAINED_STARTS, UNSEEN_STARTS = (1, 6), (2, 3, 4, 5)
CENTRE, UNIT = 10.5, 4.5  # of 6 to 15, so that the values to forecast lie between -1 and 1


def number_data(_seed: int) -> TutorialData:
    """Return the data 1..5 to 6..10 and 6..10 to 11..15, read again afterwards, and of the sequences in between."""
    begins = (*TRAINED_STARTS, *UNSEEN_STARTS)
    shape = (len(begins), 4 * LENGTH)
    inputs, values = np.full((*shape, 1), np.nan), np.full((*shape, LENGTH), np.nan)
    for row, begin in enumerate(begins):
        for at in (0, 2 * LENGTH) if begin in TRAINED_STARTS else (2 * LENGTH,):
            inputs[row, at : at + LENGTH, 0] = consecutive_numbers(begin)
            values[row, at + LENGTH - 1] = (consecutive_numbers(begin + LENGTH) - CENTRE) / UNIT
    names = tuple(f"{begin}..{begin + LENGTH - 1}" for begin in begins)
    frames = value_frames(LabelledSeries(inputs, values, np.isfinite(values[..., 0]), ("number",), names))
    trained = names[: len(TRAINED_STARTS)]
    return TutorialData(frames, fold_at(frames.sessions, 2 * LENGTH), trained, trained, 0.0, CENTRE, UNIT)


def consecutive_numbers(begin: int) -> Floats:
    """Return five consecutive numbers."""
    return np.arange(begin, begin + LENGTH, dtype=np.float64)


def tanh_range_remark() -> str:
    """Return a remark on why a tanh unit cannot output the tutorial's numbers unscaled."""
    targets = np.concatenate([consecutive_numbers(begin + LENGTH) for begin in TRAINED_STARTS])
    return (
        f"The output of a tanh unit lies between -1 and 1, and the tutorial's targets are {targets.min():.0f} to "
        f"{targets.max():.0f}: unscaled, its mean squared error is {min_unscaled_loss(targets):.1f} or more. Here the "
        "numbers are scaled to -1 to 1 and back."
    )


def min_unscaled_loss(targets: Floats) -> float:
    """Return the smallest mean squared error of any forecasts between -1 and 1."""
    return float(np.mean((targets - np.clip(targets, -1.0, 1.0)) ** 2))
