"""The last close moved by the ticker's mean training return per session."""

from typing import Literal

import numpy as np
from pydantic import BaseModel

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.per_ticker import has_enough, per_ticker_or_pooled, ticker_rows, training_returns
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles, spread_over_horizons


class DriftSpec(BaseModel, frozen=True, extra="forbid"):
    """As the last close, moved by the ticker's mean training return per session."""

    kind: Literal["drift"] = "drift"


def fit(_spec: DriftSpec, data: FitData) -> Parameters:
    """Return the mean training returns; raises FitError where the training range has no return."""
    return Parameters({"mean": training_means(data.frames, data.fold.train)})


def training_means(frames: Frames, train: Range) -> Floats32:
    """Return the mean return per session [ticker + 1]; the last one is over all tickers."""
    returns = training_returns(frames, train)
    means = np.array([row.mean() if len(row) else 0.0 for row in returns], dtype=np.float32)
    return per_ticker_or_pooled(means, has_enough(returns))


def quantiles(_spec: DriftSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    mean = fitted.arrays["mean"][ticker_rows(fitted, frames)]  # [ticker]
    spread = spread_over_horizons(normal_unit_quantiles(), frames.volatility_20[:, origins], fitted.horizons)
    return spread + drift_over_horizons(mean, fitted.horizons)


def drift_over_horizons(mean: Floats32, horizons: int) -> Floats32:
    """Return the mean return h x mean [ticker, 1, horizon, 1] for a mean per session [ticker]."""
    sessions = np.arange(1, horizons + 1, dtype=np.float32)  # [horizon]
    return mean[:, None, None, None] * sessions[:, None]


# Not combined: on validation ranges the combination is better without it.
FORECASTER = Forecaster(DriftSpec, fit, quantiles, "baseline", combined=False)
