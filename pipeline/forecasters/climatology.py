"""Climatology: the ticker's own training quantiles of the one-session return, scaled by sqrt(h)."""

from typing import Literal

import numpy as np
from pydantic import BaseModel

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.per_ticker import has_enough, per_ticker_or_pooled, ticker_rows, training_returns
from pipeline.forecasters.unit_quantiles import spread_over_horizons


class ClimatologySpec(BaseModel, frozen=True, extra="forbid"):
    """The ticker's training quantiles of the one-session return, scaled by sqrt(h)."""

    kind: Literal["climatology"] = "climatology"


def fit(_spec: ClimatologySpec, data: FitData) -> Parameters:
    """Return the training quantiles; raises FitError where the training range has no return."""
    return Parameters({"quantiles": training_quantiles(data.frames, data.fold.train)})


def training_quantiles(frames: Frames, train: Range) -> Floats32:
    """Return the quantiles of the one-session return [ticker + 1, level]; the last row is over all tickers."""
    returns = training_returns(frames, train)
    rows = [np.quantile(row, LEVELS) if len(row) else np.zeros(len(LEVELS)) for row in returns]
    return per_ticker_or_pooled(np.array(rows, dtype=np.float32), has_enough(returns))


def quantiles(_spec: ClimatologySpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], the same at every origin."""
    unit = fitted.arrays["quantiles"][ticker_rows(fitted, frames)]  # [ticker, level]
    ones = np.ones((len(frames.tickers), origins.stop - origins.start), dtype=np.float32)
    return spread_over_horizons(np.float64(1) * unit[:, None, None, :], ones, fitted.horizons)


FORECASTER = Forecaster(ClimatologySpec, fit, quantiles, "baseline")
