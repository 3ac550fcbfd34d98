"""A correction over origins without folds or states, for tests of the rule itself."""

import numpy as np

from pipeline.arrays import Floats32
from pipeline.forecasting.calibration_state import followed, new_calibration
from pipeline.forecasting.conformal import split_factors, stretched
from pipeline.forecasting.span import Origins, outcomes_known_at
from pipeline.forecasting.specification import CalibrationSpec


def origins_of(outcome: Floats32, relative: Floats32 | None = None, volatility: Floats32 | None = None) -> Origins:
    """Return what is known of origins with these outcomes [ticker, origin, horizon]; the volatility is one by default.

    So is the relative one: its logarithm is zero.
    """
    shape, days = outcome.shape[:2], np.datetime64("2024-01-01") + np.arange(outcome.shape[1])
    return Origins(
        sessions=days,
        outcome=outcomes_known_at(outcome, slice(0, outcome.shape[1])),
        volatility=np.ones(shape, np.float32) if volatility is None else volatility,
        relative_volatility=np.zeros(shape, np.float32) if relative is None else relative,
        learned_from=np.ones(shape[0], dtype=bool),
    )


def calibrated(
    quantiles: Floats32, outcome: Floats32, spec: CalibrationSpec, warm: int = 0, origins: Origins | None = None
) -> Floats32:
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
            state = new_calibration([str(row) for row in range(len(quantiles))], quantiles.shape[2])
            return followed(state, spec, origins or origins_of(outcome), quantiles)[0]
