"""The measures of a tutorial, from the same backtest and score table as in every run."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.arrays import Floats, Floats32, Indices
from pipeline.evaluation.direction import flat_of
from pipeline.evaluation.scores import score_table
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.recurrent.reading import read_raw, reader_of
from pipeline.forecasting.backtest import Backtest, test_slice
from pipeline.forecasting.forecasts import NETWORK
from pipeline.tutorials.data import MeasureName, TutorialData, root_horizons

LAST_CLOSE, CLIMATOLOGY, OPTIMAL = "last_close", "climatology", "the optimal forecast"


@dataclass(frozen=True)
class TutorialScore:
    """The measure of one fitted network, other measures to show with it by name, and the score table."""

    found: float
    other_measures: dict[str, float]
    scores: pd.DataFrame


def score_network(measure: MeasureName, data: TutorialData, backtest: Backtest, network: Fitted) -> TutorialScore:
    """Return the measure on the scored tickers, with the score table it is computed from."""
    compared = with_last_close(backtest, data)
    scores = score_table(compared)
    if measure == "excess nll":
        measures = direction_scores(data, network)
        return TutorialScore(measures["nll"] - measures[f"nll of {OPTIMAL}"], measures, scores)
    measures = {f"rmse of {name}": rmse(scores, data, name, data.scored_tickers) for name in compared.quantiles}
    others = tuple(ticker for ticker in _tickers_of(scores) if ticker not in data.scored_tickers)
    measures |= {f"rmse of {NETWORK} on other tickers": rmse(scores, data, NETWORK, others)} if others else {}
    return TutorialScore(_of_errors(measure, measures), measures, scores)


def _of_errors(measure: MeasureName, errors: dict[str, float]) -> float:
    network = errors[f"rmse of {NETWORK}"]
    if measure == "relative rmse":
        return network / errors[f"rmse of {LAST_CLOSE}"]
    return network**2 if measure == "mse" else network


def _tickers_of(scores: pd.DataFrame) -> list[str]:
    return [name for name in scores["ticker"].unique() if " tickers" not in name]


def rmse(scores: pd.DataFrame, data: TutorialData, forecaster: str, tickers: tuple[str, ...]) -> float:
    """Return the root mean squared error of the median in original units, over tickers and horizons."""
    rows = scores[(scores["forecaster"] == forecaster) & scores["ticker"].isin(tickers)]
    squared = rows["rmse_return"] ** 2 / rows["horizon"]  # values are stored times sqrt(h)
    return float(data.unit * np.sqrt(np.average(squared, weights=rows["rows"])))


def with_last_close(backtest: Backtest, data: TutorialData) -> Backtest:
    """Return the backtest with the last close as a forecaster of levels, where the data has one."""
    if data.last_close is None:
        return backtest
    level = data.last_close[:, test_slice(data.fold), None] * root_horizons(
        backtest.horizons
    )  # [ticker, origin, horizon]
    point = np.repeat(level[..., None], len(LEVELS), axis=-1).astype(np.float32)
    return replace(backtest, quantiles={**backtest.quantiles, LAST_CLOSE: point})


# --- Direction ---


def direction_probabilities(network: Fitted, data: TutorialData, origins: slice) -> Floats:
    """Return the probabilities of down, flat and up at the first horizon [ticker, origin, class]."""
    reader = reader_of(network)
    raw = read_raw(reader, data.frames, origins)  # [ticker, origin, horizon, class]
    probabilities: Floats = raw[:, :, 0].softmax(dim=-1).double().numpy()
    return probabilities


def direction_classes(values: Floats | Floats32, flat: float) -> Indices:
    """Return 0 (down), 1 (flat) or 2 (up) of values [...]."""
    result: Indices = 1 + (values > flat).astype(np.int64) - (values < -flat).astype(np.int64)
    return result


def direction_scores(data: TutorialData, network: Fitted) -> dict[str, float]:
    """Return likelihood and accuracy of the network, of the training frequencies, and of the optimal forecast."""
    test, train = test_slice(data.fold), slice(data.fold.train.start, data.fold.train.stop - 1)
    outcome, flat = data.frames.future_return[..., 0], flat_threshold(network)
    known = np.isfinite(outcome[:, test])
    realised = direction_classes(outcome[:, test][known], flat)
    counts = np.bincount(direction_classes(outcome[:, train].ravel(), flat), minlength=3)
    optimal = np.full((*outcome.shape, 3), np.nan) if data.optimal is None else data.optimal
    probabilities = direction_probabilities(network, data, test)[known]
    climatology = np.broadcast_to(counts / outcome[:, train].size, probabilities.shape)
    return {
        "nll": nll(probabilities, realised),
        f"nll of {CLIMATOLOGY}": nll(climatology, realised),
        f"nll of {OPTIMAL}": nll(optimal[:, test][known], realised),
        "accuracy": accuracy(probabilities, realised),
        f"accuracy of {CLIMATOLOGY}": accuracy(climatology, realised),
        f"accuracy of {OPTIMAL}": accuracy(optimal[:, test][known], realised),
    }


def flat_threshold(network: Fitted) -> float:
    """Return half the width of the class flat of a network's head; 0 where its head has no classes."""
    return flat_of(network) or 0.0


def nll(probabilities: Floats, realised: Indices) -> float:
    """Return the mean negative log-likelihood of classes [row] under probabilities [row, class], in nats."""
    return float(-np.log(np.take_along_axis(probabilities, realised[:, None], axis=-1)).mean())


def accuracy(probabilities: Floats, realised: Indices) -> float:
    """Return the share of rows whose most likely class was realised."""
    return float((probabilities.argmax(axis=-1) == realised).mean())
