"""Which correction a fold's fits speak with: how it is made, and between which dates it may learn."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Sessions
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.evaluation.calibration.specification import CalibrationSpec


@dataclass(frozen=True)
class Correction:
    """A specification with the first day of a fold's calibration range and of its test; one day where it has none."""

    spec: CalibrationSpec
    first: np.datetime64
    tested: np.datetime64

    def starts(self, sessions: Sessions) -> tuple[int, int]:
        """Return the indices of the first session of the calibration range and of the test."""
        first, tested = np.searchsorted(sessions, np.array([self.first, self.tested]))
        return int(first), int(tested)


def correction_of(fold: Fold, spec: CalibrationSpec) -> Correction:
    """Return the correction of a fold's fits."""
    return Correction(spec, fold.calibration.first, fold.test.first)


def correction_after(trained_until: np.datetime64, folds: FoldSpec, spec: CalibrationSpec) -> Correction:
    """Return the correction of fits that saw nothing from `trained_until` on, the end of their fold's validation."""
    months = 0 if folds.train_end else folds.calibration_months  # a fixed split keeps no calibration range
    if not months:
        return Correction(spec, trained_until, trained_until)
    tested = (trained_until.astype("datetime64[M]") + np.timedelta64(months, "M")).astype("datetime64[D]")
    return Correction(spec, trained_until, tested)
