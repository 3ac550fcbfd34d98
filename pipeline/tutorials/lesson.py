"""What a tutorial is: a named network, how it is trained, what it learns from, and the mark it must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.arrays import Floats
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.recurrent.specification import RecurrentSpec, TrainingSpec

MeasureName = Literal["mse", "rmse", "nll above floor", "rmse / last close"]

MEASURES: Mapping[MeasureName, str] = {
    "mse": "mean squared error of the median",
    "rmse": "root mean squared error of the median",
    "nll above floor": "negative log-likelihood of the direction, in nats, above that of who knows the process",
    "rmse / last close": "root mean squared error of the median, over that of the last close",
}


@dataclass(frozen=True)
class Lesson:
    """What a tutorial learns from and is tested on.

    A value in its own units is centre + unit x (what the network is given); `ideal` are the probabilities of down, flat
    and up [ticker, session, class] of who knows the process, `last_close` is [ticker, session], scaled as the targets.
    """

    frames: Frames
    fold: Fold
    learned: tuple[str, ...]  # tickers that are trained on
    judged: tuple[str, ...]  # tickers that are held against the mark
    floor: float  # of the measure: no forecast is expected below it; NaN where nobody knows it
    centre: float = 0.0
    unit: float = 1.0
    ideal: Floats | None = None
    last_close: Floats | None = None


@dataclass(frozen=True)
class Tutorial:
    """A preset: found is the median of the measure over its seeds, and passes where it is not above the mark.

    Of `starts` networks that begin at different weights, the one with the least loss on the validation range is kept.
    """

    name: str
    teaches: str
    network: RecurrentSpec
    training: TrainingSpec
    lesson: Callable[[int], Lesson] = field(repr=False)  # of a seed
    measure: MeasureName
    mark: float
    seeds: int = 1
    starts: int = 1
    shown_steps: int = 1000  # of a figure, before and after the forecast start
    remark: str = ""
