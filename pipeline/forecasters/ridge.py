"""Ridge regressions of the location and the log scale of the return."""

from itertools import product
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, scaled_target
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.forecasters.forecaster import (
    DEFAULT_FEATURES,
    LEVELS,
    FitData,
    Fitted,
    Forecaster,
    Parameters,
    own_features,
)
from pipeline.forecasters.har import refuse_no_rows


class RidgeSpec(BaseModel, frozen=True, extra="forbid"):
    """Location and log scale of the return by ridge regression, with residual quantiles."""

    kind: Literal["ridge"] = "ridge"
    features: tuple[str, ...] = Field(DEFAULT_FEATURES, min_length=1, description="What the regressions read")
    penalties: tuple[float, ...] = Field(
        (1e-4, 1e-2, 1.0, 1e2), min_length=1, description="Penalties per training row that validation chooses from"
    )


SMALLEST_ERROR = 1e-2  # in units of vol x sqrt(h): the log of a smaller one would weigh too much


def fit(spec: RidgeSpec, data: FitData) -> Parameters:
    """Return weights [feature + 1, horizon] of the location and of the log scale, unit quantiles and the penalties.

    Location: ridge regression of y_h / (vol sqrt(h)). Log scale: ridge regression of the log of its absolute error.
    Unit quantiles [horizon, level]: those of error / scale in training. Of all pairs of penalties the one with the
    smallest pinball loss on the validation range is taken; nothing else is learned there. Raises FitError when a
    range has no row of a horizon.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    frames, train, validation = data.frames, data.fold.train, data.fold.validation
    scaler = fit_scaler(frames, train)
    read, target = scaler.apply(frames.features), scaled_target(frames)
    learn = _rows_by_horizon(read, target, label_mask(frames, train), train)
    judge = _rows_by_horizon(read, target, label_mask(frames, validation), validation)
    with threadpool_limits(1):  # sums then have one order, whatever else runs
        tried = [_try_penalties(learn, judge, *pair) for pair in product(spec.penalties, repeat=2)]
    _, chosen = min(tried, key=lambda one: one[0])
    return Parameters({**chosen, "scaler.mean": scaler.mean, "scaler.std": scaler.std})


Rows = list[tuple[Floats32, Floats32]]
"""Features [row, feature] and scaled target [row] of each horizon."""


def _rows_by_horizon(read: Floats32, target: Floats32, known: Booleans, part: Range) -> Rows:
    horizons = range(target.shape[2])
    for h in horizons:
        refuse_no_rows(known[..., h], part, h + 1)
    return [(read[known[..., h]], target[known[..., h], h]) for h in horizons]


def _try_penalties(learn: Rows, judge: Rows, location: float, scale: float) -> tuple[float, dict[str, Floats32]]:
    """Return the mean pinball loss on the rows to judge by, and the arrays learned with two penalties."""
    parts = [_location_scale(*rows, location, scale) for rows in learn]
    loss = np.mean([_pinball(*rows, *part) for rows, part in zip(judge, parts, strict=True)])
    centre, spread, unit = (np.stack(own).astype(np.float32) for own in zip(*parts, strict=True))
    penalties = np.array([location, scale], dtype=np.float32)
    return float(loss), {"location": centre.T, "scale": spread.T, "unit": unit, "penalties": penalties}


def _location_scale(read: Floats32, target: Floats32, location: float, scale: float) -> tuple[Floats, Floats, Floats]:
    """Return the weights [feature + 1] of location and log scale at one horizon, and the unit quantiles [level]."""
    centre = _ridge(read, target, location)
    error = target - _apply(read, centre)
    spread = _ridge(read, np.log(np.abs(error) + SMALLEST_ERROR), scale)
    return centre, spread, np.quantile(error / np.exp(_apply(read, spread)), LEVELS)


def _ridge(read: Floats32, target: Floats | Floats32, penalty: float) -> Floats:
    from sklearn.linear_model import Ridge  # noqa: PLC0415  heavy, and forecasts do without it

    model = Ridge(alpha=penalty * len(read), solver="cholesky").fit(read, target)
    return np.append(model.coef_, model.intercept_).astype(np.float64)


def _apply(read: Floats32, weights: Floats) -> Floats:
    result: Floats = read @ weights[:-1] + weights[-1]
    return result


def _pinball(read: Floats32, target: Floats32, centre: Floats, spread: Floats, unit: Floats) -> float:
    quantiles = _apply(read, centre)[:, None] + np.exp(_apply(read, spread))[:, None] * unit
    error, levels = target[:, None] - quantiles, np.array(LEVELS)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def quantiles(_spec: RidgeSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    arrays = fitted.arrays
    read = Scaler(arrays["scaler.mean"], arrays["scaler.std"]).apply(frames.features[:, origins])
    centre, spread = (read @ arrays[name][:-1] + arrays[name][-1] for name in ("location", "scale"))
    scaled = centre[..., None] + np.exp(spread)[..., None] * arrays["unit"]  # [ticker, origin, horizon, level]
    returns: Floats32 = scaled * origin_scale(frames.volatility[:, origins], len(arrays["unit"]))[..., None]
    return returns


FORECASTER = Forecaster(RidgeSpec, fit, quantiles, "benchmark", features=own_features)
