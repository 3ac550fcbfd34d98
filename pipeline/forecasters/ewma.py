"""The last close, with a Student t distribution of an exponentially weighted volatility around it."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.frames import Frames
from pipeline.dataset.targets import ewma_volatility
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.unit_quantiles import spread_over_horizons


class EwmaSpec(BaseModel, frozen=True, extra="forbid"):
    """The last close with an exponentially weighted volatility, Student t (RiskMetrics 1996, eq. 5.3)."""

    kind: Literal["ewma"] = "ewma"
    decay: float = Field(0.94, gt=0.0, lt=1.0)
    degrees_of_freedom: float = Field(5.0, gt=2.0)


def fit(_spec: EwmaSpec, _data: FitData) -> Parameters:
    """Return no parameters: there is nothing to learn."""
    return Parameters({})


def quantiles(spec: EwmaSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    volatility = ewma_volatility(frames.log_return.astype(np.float64), spec.decay)[:, origins]
    return spread_over_horizons(student_unit_quantiles(spec.degrees_of_freedom), volatility, fitted.horizons)


def student_unit_quantiles(degrees_of_freedom: float) -> Floats:
    """Return the quantiles [level] of a Student t scaled to unit variance."""
    from scipy.stats import t as student  # noqa: PLC0415  slow to import

    scale = np.sqrt(1 - 2 / degrees_of_freedom)
    return np.asarray(student.ppf(LEVELS, degrees_of_freedom) * scale, dtype=np.float64)


FORECASTER = Forecaster(EwmaSpec, fit, quantiles, "baseline")
