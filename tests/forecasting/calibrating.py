"""A correction over origins without folds or states, for tests of the rule itself."""

import numpy as np

from pipeline.arrays import Floats32
from pipeline.forecasting.calibration_state import followed, new_calibration, outcomes_known_at
from pipeline.forecasting.combination_state import NEVER
from pipeline.forecasting.conformal import split_factors, stretched
from pipeline.forecasting.specification import CalibrationSpec


def calibrated(quantiles: Floats32, outcome: Floats32, spec: CalibrationSpec, warm: int = 0) -> Floats32:
    """Return corrected quantiles [ticker, origin, horizon, level] of log returns; NaN stays NaN, none cross.

    Origins are sessions in time's order without a gap; `outcome` [ticker, origin, horizon] is NaN where it is unknown
    or not to be used, and that of origin s and horizon h is known at s + h. The first `warm` origins are the fold's
    calibration range: the split correction is learned on them, the adaptive one runs through them first. A corrected
    quantile of origin t depends on no outcome that becomes known after t (split: after the calibration range).
    """
    match spec.method:
        case "none":
            return quantiles
        case "split":
            return stretched(quantiles, split_factors(quantiles[:, :warm], outcome[:, :warm]))
        case "adaptive":
            tickers, origins = quantiles.shape[:2]
            state = new_calibration([str(row) for row in range(tickers)], quantiles.shape[2])
            known = outcomes_known_at(outcome, slice(0, origins))
            return followed(state, spec, np.full(origins, NEVER), quantiles, known)[0]
