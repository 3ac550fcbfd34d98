"""Frames whose targets are values instead of returns, so that a toy series is learned by the code of every run.

The unit of a target is volatility x sqrt(h): here the volatility is one, and a value is stored times sqrt(h).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Sessions
from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames

FIRST_DAY = np.datetime64("2000-01-01", "D")


@dataclass(frozen=True)
class Values:
    """Series to learn: what is read [series, step, input], and what is to be forecast then [series, step, horizon].

    What stands at [.., t, h] becomes known at step t + h. `usable` [series, step] marks the origins.
    """

    inputs: Floats
    values: Floats
    usable: Booleans
    input_names: tuple[str, ...]
    names: tuple[str, ...]


def days(count: int) -> Sessions:
    """Return days that stand for the steps of a series without dates of its own."""
    result: Sessions = FIRST_DAY + np.arange(count)
    return result


def value_frames(series: Values, sessions: Sessions | None = None) -> Frames:
    """Return the frames of series, with days for steps where no sessions are given."""
    steps, horizons = series.values.shape[1:]
    ones = np.ones(series.inputs.shape[:2], dtype=np.float32)
    return Frames(
        tickers=series.names,
        feature_names=series.input_names,
        sessions=days(steps) if sessions is None else sessions,
        features=series.inputs.astype(np.float32),
        volatility=ones,
        volatility_20=ones,
        log_return=_became_known(series.values[..., 0]),
        future_return=(series.values * roots(horizons)).astype(np.float32),
        usable=series.usable,
        reference_close=ones.astype(np.float64),
    )


def roots(horizons: int) -> Floats:
    """Return sqrt(h) [horizon], by which values are stored."""
    result: Floats = np.sqrt(np.arange(1, horizons + 1))
    return result


def _became_known(values: Floats) -> Floats32:
    """Return what became known at each step [series, step]: climatology learns from it what a value usually is."""
    nothing = np.full_like(values[:, :1], np.nan)
    return np.concatenate((nothing, values[:, :-1]), axis=1).astype(np.float32)


def fold_at(sessions: Sessions, start: int) -> Fold:
    """Return the fold of a tutorial: all before the forecast start is trained on, all from it on is the test.

    As in the tutorials nothing is set aside for validation: the weights kept are those with the least loss over the
    training range, which stands for the validation range as well.
    """
    train, empty = _range(sessions, 0, start), _range(sessions, start, start)
    test = _range(sessions, start, len(sessions))
    return Fold(f"{test.first}", train, train, empty, test)


def _range(sessions: Sessions, start: int, stop: int) -> Range:
    edges = np.append(sessions, sessions[-1] + np.timedelta64(1, "D"))
    return Range(edges[start], edges[stop], start, stop)
