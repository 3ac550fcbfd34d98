"""Ridge regressions of the location and the log scale of the return."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, refuse_no_labels, scaled_target
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


class RidgeSpec(BaseModel, frozen=True, extra="forbid"):
    """Location and log scale of the return by ridge regression, with residual quantiles."""

    kind: Literal["ridge"] = "ridge"
    features: tuple[str, ...] = Field(DEFAULT_FEATURES, min_length=1, description="What the regressions read")
    penalties: tuple[float, ...] = Field(
        (1e-4, 1e-2, 1.0, 1e2), min_length=1, description="Penalties per training row that validation chooses from"
    )


MIN_ERROR = 1e-2  # in units of vol x sqrt(h): the log of a smaller one would weigh too much


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
        tried = [tuple(_every_pair(*rows, spec.penalties)) for rows in learn]  # by horizon, then by pair
        losses = [[_pinball(*rows, *part) for part in parts] for rows, parts in zip(judge, tried, strict=True)]
    best = int(np.mean(losses, axis=0).argmin())
    centre, spread, unit = (np.stack(arrays) for arrays in zip(*(parts[best] for parts in tried), strict=True))
    pairs = tuple(product(spec.penalties, repeat=2))
    learned = {"location": centre.T, "scale": spread.T, "unit": unit, "penalties": np.array(pairs[best])}
    arrays = {name: values.astype(np.float32) for name, values in learned.items()}
    return Parameters({**arrays, "scaler.mean": scaler.mean, "scaler.std": scaler.std})


def _rows_by_horizon(read: Floats32, target: Floats32, known: Booleans, part: Range) -> list[tuple[Floats, Floats]]:
    """Return features [row, feature] and scaled target [row] of each horizon."""
    horizons = range(target.shape[2])
    for h in horizons:
        refuse_no_labels(known[..., h], part, h + 1)
    return [(read[known[..., h]].astype(np.float64), target[known[..., h], h].astype(np.float64)) for h in horizons]


LocationScale = tuple[Floats, Floats, Floats]
"""Weights [feature + 1] of location and log scale at one horizon, and the unit quantiles [level]."""


def _every_pair(read: Floats, target: Floats, penalties: tuple[float, ...]) -> Iterator[LocationScale]:
    """Yield what is learned at one horizon with each pair of penalties: of the location, then of the scale."""
    rows = centred(read)
    for centre in ridge_weights(rows, target, penalties):
        error = target - _apply(read, centre)
        for spread in ridge_weights(rows, np.log(np.abs(error) + MIN_ERROR), penalties):
            yield centre, spread, np.quantile(error / np.exp(_apply(read, spread)), LEVELS)


@dataclass(frozen=True)
class CentredRows:
    """Features less their means, and what every ridge regression on them needs."""

    features: Floats  # [row, feature]
    means: Floats  # [feature]
    gram: Floats  # [feature, feature]


def centred(read: Floats) -> CentredRows:
    """Return features [row, feature] less their means."""
    means = read.mean(axis=0)
    features = read - means
    return CentredRows(features, means, features.T @ features)


def ridge_weights(rows: CentredRows, target: Floats, penalties: Sequence[float]) -> Floats:
    """Return the weights [penalty, feature + 1] of ridge regressions of a target [row] with these penalties per row.

    Hoerl and Kennard (1970), eq. 2.1, of least norm where a penalty of 0 leaves more than one solution. The constant,
    which is the last, is not penalised.
    """
    ridge = len(target) * np.array(penalties)[:, None, None] * np.eye(len(rows.means))  # [penalty, feature, feature]
    slopes = np.linalg.pinv(rows.gram + ridge, hermitian=True) @ (rows.features.T @ target)  # [penalty, feature]
    return np.column_stack((slopes, target.mean() - slopes @ rows.means))


def _apply(read: Floats, weights: Floats) -> Floats:
    result: Floats = read @ weights[:-1] + weights[-1]
    return result


def _pinball(read: Floats, target: Floats, centre: Floats, spread: Floats, unit: Floats) -> float:
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
