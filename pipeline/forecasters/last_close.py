"""The last close, with a normal distribution of the last 20 sessions' volatility around it."""

from typing import Literal

from pydantic import BaseModel

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles, spread_over_horizons


class LastCloseSpec(BaseModel, frozen=True, extra="forbid"):
    """The last close with the last 20 sessions' volatility, normal."""

    kind: Literal["last_close"] = "last_close"


def fit(_spec: LastCloseSpec, _data: FitData) -> Parameters:
    """Return no parameters: there is nothing to learn."""
    return Parameters({})


def quantiles(_spec: LastCloseSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    return spread_over_horizons(normal_unit_quantiles(), frames.volatility_20[:, origins], fitted.horizons)


# Not combined: on validation ranges the combination is better without it.
FORECASTER = Forecaster(LastCloseSpec, fit, quantiles, "baseline", combined=False)
