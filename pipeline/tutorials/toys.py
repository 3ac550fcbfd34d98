"""The lessons of the toy series: what is learned, what is then asked, and the least error to be expected."""

import numpy as np

from pipeline.arrays import Floats
from pipeline.tutorials.frames import Values, fold_at, value_frames
from pipeline.tutorials.lesson import Lesson
from pipeline.tutorials.series import (
    LEVEL_NOISE,
    NOISE_VARIANCE,
    Drawn,
    chances_of_who_knows,
    hidden_trends,
    leaky_levels,
    noisy_sine,
    sine,
)

LEVEL_WINDOW = 10
SINE_WINDOW = 3
FLAT = 0.25


def levels(seed: int) -> Lesson:
    """Return the lesson of a level that ten inflows make and that leaks away."""
    names = tuple(f"inflow_{number}" for number in range(1, 11))
    return _split(leaky_levels(seed), 400, LEVEL_NOISE**2, names, LEVEL_WINDOW - 1)


def sine_in_noise(seed: int) -> Lesson:
    """Return the lesson of 1,000 steps of a sine in uniform noise, forecast from step 800 on."""
    return _split(noisy_sine(seed), 800, NOISE_VARIANCE, ("value",), SINE_WINDOW - 1)


def pure_sine(_seed: int) -> Lesson:
    """Return the lesson of sin(t), t from 0 to 30 by 0.1, forecast from t = 20 on."""
    return _split(sine(0.0, 0.1, 300), 200, 0.0, ("value",))


def directions(seed: int) -> Lesson:
    """Return the lesson of moves around hidden trends: who filters them knows more than the last move tells."""
    drawn = hidden_trends(seed)
    ideal = chances_of_who_knows(drawn.inputs[..., 0], FLAT)
    return _split(drawn, 1000, 0.0, ("move",), ideal=ideal)


def _split(
    drawn: Drawn,
    start: int,
    floor: float,
    input_names: tuple[str, ...],
    before: int = 0,
    ideal: Floats | None = None,
) -> Lesson:
    """Return the lesson of drawn series, forecast from step `start` on; an origin has `before` steps before it."""
    usable = np.ones(drawn.inputs.shape[:2], dtype=bool)
    usable[:, :before] = False
    names = tuple(f"series {number}" for number in range(1, len(usable) + 1))
    frames = value_frames(Values(drawn.inputs, drawn.values, usable, input_names, names))
    return Lesson(frames, fold_at(frames.sessions, start), names, names, floor, ideal=ideal)


# --- Learned once, then read again: these tutorials hold a network against what it has learned. ---

POINTS = 21
ELMAN_STEP = 0.4
READ_AGAIN, NEVER_SHOWN = "the same, read again", "the next points, never shown"


def elman_sine(_seed: int) -> Lesson:
    """Return the lesson of 21 points of sin over [2, 10], read again afterwards, and beside them the next 21 points."""
    first, beyond = sine(2.0, ELMAN_STEP, POINTS), sine(2.0 + POINTS * ELMAN_STEP, ELMAN_STEP, POINTS)
    rows = ((first, 0), (first, POINTS), (beyond, POINTS))
    inputs, values = np.full((3, 2 * POINTS, 1), np.nan), np.full((3, 2 * POINTS, 1), np.nan)
    for row, (drawn, at) in enumerate(rows):
        inputs[row, at : at + POINTS], values[row, at : at + POINTS] = drawn.inputs[0], drawn.values[0]
    names = ("sin over [2, 10]", READ_AGAIN, NEVER_SHOWN)
    frames = value_frames(Values(inputs, values, np.isfinite(inputs[..., 0]), ("value",), names))
    return Lesson(frames, fold_at(frames.sessions, POINTS), names[:1], (READ_AGAIN,), 0.0)


LENGTH = 5
LEARNED, UNSEEN = (1, 6), (2, 3, 4, 5)
CENTRE, UNIT = 10.5, 4.5  # of 6 to 15, so that what is answered lies between -1 and 1


def numbers(_seed: int) -> Lesson:
    """Return the lesson 1..5 to 6..10 and 6..10 to 11..15, read again afterwards, and beside them what lies between."""
    begins = (*LEARNED, *UNSEEN)
    shape = (len(begins), 4 * LENGTH)
    inputs, values = np.full((*shape, 1), np.nan), np.full((*shape, LENGTH), np.nan)
    for row, begin in enumerate(begins):
        for at in (0, 2 * LENGTH) if begin in LEARNED else (2 * LENGTH,):
            inputs[row, at : at + LENGTH, 0] = numbers_from(begin)
            values[row, at + LENGTH - 1] = (numbers_from(begin + LENGTH) - CENTRE) / UNIT
    names = tuple(f"{begin}..{begin + LENGTH - 1}" for begin in begins)
    frames = value_frames(Values(inputs, values, np.isfinite(values[..., 0]), ("number",), names))
    learned = names[: len(LEARNED)]
    return Lesson(frames, fold_at(frames.sessions, 2 * LENGTH), learned, learned, 0.0, CENTRE, UNIT)


def numbers_from(begin: int) -> Floats:
    """Return five numbers in a row."""
    return np.arange(begin, begin + LENGTH, dtype=np.float64)


def out_of_reach() -> str:
    """Return what a tanh unit alone can make of the tutorial's numbers, in words."""
    answers = np.concatenate([numbers_from(begin + LENGTH) for begin in LEARNED])
    return (
        f"A tanh unit answers between -1 and 1, and the tutorial asks it for {answers.min():.0f} to "
        f"{answers.max():.0f}: unscaled, its mean squared error stays at {least_loss_unscaled(answers):.1f} or more, "
        "whatever it learns. Here the numbers are scaled to -1 to 1 and back."
    )


def least_loss_unscaled(answers: Floats) -> float:
    """Return the least mean squared error of any forecasts between -1 and 1."""
    return float(np.mean((answers - np.clip(answers, -1.0, 1.0)) ** 2))
