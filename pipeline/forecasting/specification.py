"""The specification of post-processing: what is published, and how its bands are calibrated."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from pipeline.dataset.folds import FoldSpec
from pipeline.errors import UsageError


class CalibrationSpec(BaseModel, frozen=True, extra="forbid"):
    """A conformal correction of quantiles: none, learned once per fold, or followed session by session.

    The rates are steps in the logarithm of a band's width; tests/benchmarks/calibration.py chooses them on the
    validation parts of the panel suite alone.
    """

    method: Literal["none", "split", "adaptive"] = Field(
        "adaptive",
        description="Correction of the published bands: none, learned once on each fold's calibration range, or "
        "followed session by session from outcomes known by then",
    )
    scale_rate: float = Field(
        2.0,
        ge=0.0,
        le=4.0,
        description="Adaptive: largest step of the width that the levels of a horizon share, while misses persist",
    )
    level_rate: float = Field(0.02, ge=0.0, le=4.0, description="Adaptive: further step of each level by itself")
    slope_rate: float = Field(
        3.0, ge=0.0, le=8.0, description="Adaptive: step of how the width depends on the volatility against its past"
    )
    shrink_median: bool = Field(
        True, description="Adaptive: shrink the median towards zero as far as the outcomes so far say"
    )


NO_CALIBRATION = CalibrationSpec(method="none")

Published = Literal["combined", "network"]
"""What is calibrated and published: the combination of the forecasters, or the network alone."""


@dataclass(frozen=True)
class PostprocessingSpec:
    """What is published, and how its bands and its median are corrected."""

    publish: Published = "combined"
    calibration: CalibrationSpec = NO_CALIBRATION


def refuse_missing_calibration(calibration: CalibrationSpec, folds: FoldSpec) -> None:
    """Raise UsageError where the split correction has no calibration range to learn from."""
    if calibration.method != "split":
        return
    if folds.train_end:
        raise UsageError(
            'found calibration.method = "split" with a fixed split (folds.train_end), which has no calibration range; '
            'expected folds by refit_months with calibration_months of at least 3, or method = "adaptive"'
        )
    if not folds.calibration_months:
        raise UsageError(
            'found calibration.method = "split" with folds.calibration_months = 0: there is nothing to learn it from; '
            'set calibration_months to at least 3, or method = "adaptive"'
        )
