"""Scalers: mean and standard deviation of each feature, and of what is known in advance, over training rows only."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError

SCALED_LIMIT = 6.0  # standard deviations; a wilder value says no more than this
SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class Scaler:
    """Fitted mean and standard deviation [feature], or [known]."""

    mean: Floats32
    std: Floats32

    def apply(self, features: Floats32) -> Floats32:
        """Return the features in standard deviations, clipped, 0 where there is no value."""
        scaled = (features - self.mean) / self.std
        known: Floats32 = np.nan_to_num(np.clip(scaled, -SCALED_LIMIT, SCALED_LIMIT), nan=0.0)
        return known


def fit_scaler(frames: Frames, train: Range) -> Scaler:
    """Return the scaler of the usable rows of a training range."""
    rows = frames.features[:, train.start : train.stop][frames.usable[:, train.start : train.stop]]  # [row, feature]
    if not len(rows):
        raise FitError(
            f"no usable origin to scale by, found none between {train.first} and {train.until}; train on more"
        )
    return _scaler_of(rows)


def fit_ahead_scaler(frames: Frames, train: Range) -> Scaler:
    """Return the scaler [known] of what is known in advance: over all horizons of sessions with a usable origin.

    Sessions before the calendar's years, where nothing is known, do not count. Raises FitError where none is left.
    """
    if not frames.ahead_names:
        return Scaler(np.zeros(0, dtype=np.float32), np.ones(0, dtype=np.float32))
    part = slice(train.start, train.stop)
    ahead = frames.ahead[part][frames.usable[:, part].any(axis=0)]  # [session, horizon, known]
    rows = ahead.reshape(-1, len(frames.ahead_names))  # [row, known]
    known = rows[np.isfinite(rows).all(axis=1)]
    if not len(known):
        raise FitError(
            f"found no session with {', '.join(frames.ahead_names)} between {train.first} and {train.until}, expected "
            "some to scale by; train on more, or leave these covariates out"
        )
    return _scaler_of(known)


def _scaler_of(rows: Floats32) -> Scaler:
    """Return the scaler of rows [row, column]."""
    mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return Scaler(mean.astype(np.float32), np.maximum(std, SMALLEST_STD).astype(np.float32))
