"""What a tutorial is, and its data: series of values as frames with a fold, for the code of every run.

The unit of a target is volatility x sqrt(h): here the volatility is one, and a value is stored times sqrt(h).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Sessions
from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec

FIRST_STEP_DATE = np.datetime64("2000-01-01", "D")


@dataclass(frozen=True)
class LabelledSeries:
    """Series of inputs [series, step, input] and of the values to forecast [series, step, horizon].

    The value at [.., t, h] becomes known at step t + h. `usable` [series, step] marks the origins.
    """

    inputs: Floats
    values: Floats
    usable: Booleans
    input_names: tuple[str, ...]
    names: tuple[str, ...]


def step_dates(count: int) -> Sessions:
    """Return one date per step, for a series without dates."""
    result: Sessions = FIRST_STEP_DATE + np.arange(count)
    return result


def value_frames(series: LabelledSeries, sessions: Sessions | None = None) -> Frames:
    """Return the frames of series, with one date per step where no sessions are given."""
    steps, horizons = series.values.shape[1:]
    ones = np.ones(series.inputs.shape[:2], dtype=np.float32)
    return Frames(
        tickers=series.names,
        feature_names=series.input_names,
        sessions=step_dates(steps) if sessions is None else sessions,
        features=series.inputs.astype(np.float32),
        volatility=ones,
        volatility_20=ones,
        relative_volatility=np.zeros_like(ones),
        log_return=_became_known(series.values[..., 0]),
        future_return=(series.values * root_horizons(horizons)).astype(np.float32),
        usable=series.usable,
        reference_close=ones.astype(np.float64),
    )


def root_horizons(horizons: int) -> Floats:
    """Return sqrt(h) [horizon], the factor of stored values."""
    result: Floats = np.sqrt(np.arange(1, horizons + 1))
    return result


def _became_known(values: Floats) -> Floats32:
    """Return the value that became known at each step [series, step]: climatology is fitted on it."""
    unknown = np.full_like(values[:, :1], np.nan)
    return np.concatenate((unknown, values[:, :-1]), axis=1).astype(np.float32)


def fold_at(sessions: Sessions, start: int) -> Fold:
    """Return the fold of a tutorial: it trains on all steps before the forecast start, and tests on all from it on.

    As in the tutorials there are no separate validation rows: the weights kept are those with the smallest loss over
    the training range, which is the validation range as well.
    """
    train, empty = _range(sessions, 0, start), _range(sessions, start, start)
    test = _range(sessions, start, len(sessions))
    return Fold(f"{test.first}", train, train, empty, test)


def _range(sessions: Sessions, start: int, stop: int) -> Range:
    edges = np.append(sessions, sessions[-1] + np.timedelta64(1, "D"))
    return Range(edges[start], edges[stop], start, stop)


MeasureName = Literal["mse", "rmse", "excess nll", "relative rmse"]


MEASURES: Mapping[MeasureName, str] = {
    "mse": "mean squared error of the median",
    "rmse": "root mean squared error of the median",
    "excess nll": "negative log-likelihood of the direction, in nats, above that of the optimal forecast",
    "relative rmse": "root mean squared error of the median, divided by that of the last close",
}


@dataclass(frozen=True)
class TutorialData:
    """The data that a tutorial is trained and tested on.

    A value in original units is centre + unit x (the network's input); `optimal` are the probabilities of down, flat
    and up [ticker, session, class] of the optimal forecast, `last_close` is [ticker, session], scaled as the targets.
    """

    frames: Frames
    fold: Fold
    trained_tickers: tuple[str, ...]
    scored_tickers: tuple[str, ...]  # on which the measure is computed
    floor: float  # of the measure: no forecast is expected below it; NaN where it is unknown
    centre: float = 0.0
    unit: float = 1.0
    optimal: Floats | None = None
    last_close: Floats | None = None


@dataclass(frozen=True)
class Tutorial:
    """A preset: it passes where the median of the measure over its seeds is not above the mark.

    Of `starts` networks with different initial weights, the one with the smallest loss on the validation range is kept.
    """

    name: str
    description: str
    network: RecurrentSpec
    training: TrainingSpec
    data: Callable[[int], TutorialData] = field(repr=False)  # of a seed
    measure: MeasureName
    mark: float
    seeds: int = 1
    starts: int = 1
    figure_steps: int = 1000  # steps in a figure, before and after the forecast start
    remark: str = ""
