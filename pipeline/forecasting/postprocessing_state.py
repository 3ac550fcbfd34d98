"""The state of post-processing, of combination and calibration: as arrays, with a digest, from backtest to live."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Array
from pipeline.errors import FitError
from pipeline.forecasting.calibration_state import CalibrationState, calibration_as_arrays, calibration_from_arrays
from pipeline.forecasting.combination_state import (
    CombinationState,
    combination_as_arrays,
    combination_from_arrays,
    names_as_array,
    names_from_array,
)

COMBINATION, CALIBRATION = "combination/", "calibration/"


@dataclass(frozen=True, eq=False)
class PostprocessingState:
    """The states after the same session; `calibration` is None where no adaptive one follows.

    `calibrated` names the forecaster whose bands it corrects, an empty text without one.
    """

    combination: CombinationState
    calibration: CalibrationState | None = None
    calibrated: str = ""

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return self.combination.horizons

    @property
    def session(self) -> np.datetime64:
        """The last session of the state."""
        return self.combination.session


def state_as_arrays(state: PostprocessingState) -> dict[str, Array]:
    """Return the state as named arrays."""
    arrays = {f"{COMBINATION}{name}": array for name, array in combination_as_arrays(state.combination).items()}
    if state.calibration is not None:
        of_calibration = {"of": names_as_array([state.calibrated]), **calibration_as_arrays(state.calibration)}
        arrays |= {f"{CALIBRATION}{name}": array for name, array in of_calibration.items()}
    return arrays


def state_from_arrays(arrays: Mapping[str, Array]) -> PostprocessingState:
    """Return the state of named arrays; raises FitError where they are not those of one."""
    combination, calibration = (
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        for prefix in (COMBINATION, CALIBRATION)
    )
    of_combination = combination_from_arrays(combination)
    if not calibration:
        return PostprocessingState(of_combination)
    of_calibration = calibration_from_arrays(calibration)
    sessions = of_combination.session, of_calibration.session
    if sessions[0] != sessions[1] and not np.isnat(sessions[1]):
        raise FitError(
            f"found a combination of {sessions[0]} with a calibration of {sessions[1]}, expected those of one session; "
            "publish the model again"
        )
    if "of" not in calibration:
        raise FitError("found a calibration of no forecaster, expected its name; publish the model again")
    return PostprocessingState(of_combination, of_calibration, "".join(names_from_array(calibration["of"])))


def state_digest(state: PostprocessingState) -> str:
    """Return the SHA-256 of the state's arrays, their names, types and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(state_as_arrays(state).items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
