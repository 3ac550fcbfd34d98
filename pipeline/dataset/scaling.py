"""The scaler: mean and standard deviation of each feature over training rows only."""

from dataclasses import dataclass

import numpy as np

from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Floats32
from pipeline.errors import FitError

SCALED_LIMIT = 6.0  # standard deviations; a wilder value says no more than this
SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class Scaler:
    """Fitted mean and standard deviation [feature]."""

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
    mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return Scaler(mean.astype(np.float32), np.maximum(std, SMALLEST_STD).astype(np.float32))
