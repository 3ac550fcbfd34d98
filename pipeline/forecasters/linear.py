"""Linear quantile regression: a weight vector per horizon and level."""

from typing import Literal

import numpy as np
from pydantic import BaseModel

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, refuse_no_labels, scaled_target
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters, own_features
from pipeline.forecasters.quantile_regression import quantile_regression
from pipeline.forecasters.unit_quantiles import rearranged


class LinearSpec(BaseModel, frozen=True, extra="forbid"):
    """Linear quantile regression on the HAR-like features, one weight vector per horizon and level."""

    kind: Literal["linear"] = "linear"
    features: tuple[str, ...] = (
        "log_volatility",
        "log_range",
        "volatility_5",
        "volatility_20",
        "volatility_60",
        "market_log_range",
        "log_return",
        "volume_surprise",
    )


def fit(_spec: LinearSpec, data: FitData) -> Parameters:
    """Return the weights [feature + 1, horizon x level] of a linear quantile regression, and its scaler.

    Koenker and Bassett (1978), eq. 2.2, smoothed, of y_h / (vol sqrt(h)). Raises FitError where the training range has
    no label of a horizon.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    frames, train = data.frames, data.fold.train
    scaler = fit_scaler(frames, train)
    part = slice(train.start, train.stop)
    read, target = scaler.apply(frames.features[:, part]), scaled_target(frames)[:, part]
    known = label_mask(frames, train)[:, part]  # [ticker, session, horizon]
    weights = []
    with threadpool_limits(1):  # sums then have one order, whatever else runs
        for h in range(frames.horizons):
            rows = known[..., h]
            refuse_no_labels(rows, train, h + 1)
            weights.append(quantile_regression(read[rows], target[rows, h], LEVELS))  # [feature + 1, level]
    learned = np.concatenate(weights, axis=1).astype(np.float32)
    return Parameters({"weights": learned, "scaler.mean": scaler.mean, "scaler.std": scaler.std})


def quantiles(_spec: LinearSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], sorted over the levels."""
    scaler = Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])
    features = scaler.apply(frames.features[:, origins])  # [ticker, origin, feature]
    weights = fitted.arrays["weights"]  # [feature + 1, horizon x level]
    scaled = (features @ weights[:-1] + weights[-1]).reshape(*features.shape[:2], fitted.horizons, len(LEVELS))
    return rearranged(scaled) * origin_scale(frames.volatility[:, origins], fitted.horizons)[..., None]


FORECASTER = Forecaster(LinearSpec, fit, quantiles, "baseline", features=own_features)
