"""Scalers: mean and standard deviation of each feature and known-future covariate, over training rows only."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError

SCALED_LIMIT = 6.0  # standard deviations; larger values are clipped
MIN_STD = 1e-6


@dataclass(frozen=True)
class Scaler:
    """Fitted mean and standard deviation [feature], or [covariate]."""

    mean: Floats32
    std: Floats32

    def apply(self, features: Floats32) -> Floats32:
        """Return the features in standard deviations, clipped, 0 where there is no value."""
        scaled = (features - self.mean) / self.std
        clipped: Floats32 = np.nan_to_num(np.clip(scaled, -SCALED_LIMIT, SCALED_LIMIT), nan=0.0)
        return clipped


def fit_scaler(frames: Frames, train: Range) -> Scaler:
    """Return the scaler [feature] over the usable rows of a training range; raises FitError where there are none."""
    rows = frames.features[:, train.start : train.stop][frames.usable[:, train.start : train.stop]]  # [row, feature]
    if not len(rows):
        raise FitError(
            f"no usable origin to scale by, found none between {train.first} and {train.until}; train on more"
        )
    return _scaler_of(rows)


def fit_known_future_scaler(frames: Frames, train: Range) -> Scaler:
    """Return the scaler [covariate] of the known-future covariates, over all horizons of sessions with a usable origin.

    Sessions before the calendar's first year, where nothing is known, do not count. Raises FitError where none is left.
    """
    if not frames.known_future_names:
        return Scaler(np.zeros(0, dtype=np.float32), np.ones(0, dtype=np.float32))
    part = slice(train.start, train.stop)
    values = frames.known_future[part][frames.usable[:, part].any(axis=0)]  # [session, horizon, covariate]
    rows = values.reshape(-1, len(frames.known_future_names))  # [row, covariate]
    known = rows[np.isfinite(rows).all(axis=1)]
    if not len(known):
        raise FitError(
            f"found no session with {', '.join(frames.known_future_names)} between {train.first} and {train.until}, "
            "expected some to scale by; train on more, or leave these covariates out"
        )
    return _scaler_of(known)


def _scaler_of(rows: Floats32) -> Scaler:
    """Return the scaler of rows [row, column]."""
    mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return Scaler(mean.astype(np.float32), np.maximum(std, MIN_STD).astype(np.float32))
