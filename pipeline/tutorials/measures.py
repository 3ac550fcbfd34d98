"""How a tutorial is judged: from the same backtest and score table as every run."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Floats32, Indices
from pipeline.evaluation.scores import score_table
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.recurrent.reading import read_raw, reader_of
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, RecurrentSpec
from pipeline.forecasting.backtest import Backtest, test_slice
from pipeline.forecasting.forecasts import NETWORK
from pipeline.tutorials.frames import roots
from pipeline.tutorials.lesson import Lesson, MeasureName

LAST_CLOSE, CLIMATOLOGY = "last_close", "climatology"


@dataclass(frozen=True)
class Judgement:
    """What was found of one fitted network: the measure, and what a reader should see beside it, by name."""

    found: float
    beside: dict[str, float]
    scores: pd.DataFrame


def judge(measure: MeasureName, lesson: Lesson, backtest: Backtest, network: Fitted) -> Judgement:
    """Return the measure on what is judged, with the scores it comes from."""
    compared = with_last_close(backtest, lesson)
    scores = score_table(compared)
    if measure == "nll above floor":
        beside = direction_scores(lesson, network)
        return Judgement(beside["nll"] - beside["nll of who knows the process"], beside, scores)
    beside = {f"rmse of {name}": rmse(scores, lesson, name, lesson.judged) for name in compared.quantiles}
    others = tuple(ticker for ticker in _scored(scores) if ticker not in lesson.judged)
    beside |= {"rmse of network where not judged": rmse(scores, lesson, NETWORK, others)} if others else {}
    return Judgement(_of_errors(measure, beside), beside, scores)


def _of_errors(measure: MeasureName, errors: dict[str, float]) -> float:
    own = errors[f"rmse of {NETWORK}"]
    if measure == "rmse / last close":
        return own / errors[f"rmse of {LAST_CLOSE}"]
    return own**2 if measure == "mse" else own


def _scored(scores: pd.DataFrame) -> list[str]:
    return [name for name in scores["ticker"].unique() if " tickers" not in name]


def rmse(scores: pd.DataFrame, lesson: Lesson, forecaster: str, tickers: tuple[str, ...]) -> float:
    """Return the root mean squared error of the median in the series' own units, over tickers and horizons."""
    own = scores[(scores["forecaster"] == forecaster) & scores["ticker"].isin(tickers)]
    squared = own["rmse_return"] ** 2 / own["horizon"]  # values are stored times sqrt(h)
    return float(lesson.unit * np.sqrt(np.average(squared, weights=own["rows"])))


def with_last_close(backtest: Backtest, lesson: Lesson) -> Backtest:
    """Return the backtest with the last close as a forecaster of levels, where the lesson has one."""
    if lesson.last_close is None:
        return backtest
    level = lesson.last_close[:, test_slice(lesson.fold), None] * roots(backtest.horizons)  # [ticker, origin, horizon]
    point = np.repeat(level[..., None], len(LEVELS), axis=-1).astype(np.float32)
    return replace(backtest, quantiles={**backtest.quantiles, LAST_CLOSE: point})


# --- Direction ---


def class_probabilities(network: Fitted, lesson: Lesson, origins: slice) -> Floats:
    """Return the probabilities of down, flat and up at the first horizon [ticker, origin, class]."""
    reader = reader_of(network)
    raw = read_raw(reader, lesson.frames, origins)  # [ticker, origin, horizon, class]
    chances: Floats = raw[:, :, 0].softmax(dim=-1).double().numpy()
    return chances


def classes(values: Floats | Floats32, flat: float) -> Indices:
    """Return 0 (down), 1 (flat) or 2 (up) of values [...]."""
    result: Indices = 1 + (values > flat).astype(np.int64) - (values < -flat).astype(np.int64)
    return result


def direction_scores(lesson: Lesson, network: Fitted) -> dict[str, float]:
    """Return likelihood and accuracy of the network, of the training's frequencies, and of who knows the process."""
    test, train = test_slice(lesson.fold), slice(lesson.fold.train.start, lesson.fold.train.stop - 1)
    outcome, flat = lesson.frames.future_return[..., 0], flat_of(network)
    happened = np.isfinite(outcome[:, test])
    which = classes(outcome[:, test][happened], flat)
    usual = np.bincount(classes(outcome[:, train].ravel(), flat), minlength=3) / outcome[:, train].size
    ideal = np.full((*outcome.shape, 3), np.nan) if lesson.ideal is None else lesson.ideal
    own = class_probabilities(network, lesson, test)[happened]
    return {
        "nll": nll(own, which),
        f"nll of {CLIMATOLOGY}": nll(np.broadcast_to(usual, own.shape), which),
        "nll of who knows the process": nll(ideal[:, test][happened], which),
        "accuracy": accuracy(own, which),
        f"accuracy of {CLIMATOLOGY}": accuracy(np.broadcast_to(usual, own.shape), which),
        "accuracy of who knows the process": accuracy(ideal[:, test][happened], which),
    }


def flat_of(network: Fitted) -> float:
    """Return half the width of the class flat of a network's head; 0 where its head has no classes."""
    spec = network.forecaster
    direction = isinstance(spec, RecurrentSpec) and isinstance(spec.head, DirectionHeadSpec)
    return spec.head.flat if direction else 0.0  # type: ignore[union-attr]


def nll(chances: Floats, which: Indices) -> float:
    """Return the mean negative log-likelihood of classes [row] under probabilities [row, class], in nats."""
    return float(-np.log(np.take_along_axis(chances, which[:, None], axis=-1)).mean())


def accuracy(chances: Floats, which: Indices) -> float:
    """Return the share of rows whose most likely class came."""
    return float((chances.argmax(axis=-1) == which).mean())
