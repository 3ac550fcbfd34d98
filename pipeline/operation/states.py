"""States of post-processing as files: of a model version, and of every session of a model's daily forecasts.

A state of a session is named by the session and its digest, which the ledger has too, and is never rewritten.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.arrays import Array
from pipeline.errors import FitError
from pipeline.files import write_whole
from pipeline.forecasting.postprocessing_state import (
    PostprocessingState,
    state_as_arrays,
    state_digest,
    state_from_arrays,
)

STATES = "states"
"""The folder of daily states within that of a model."""
EARLIER_ARRAYS = {"tickers", "scale", "level", "pending", "session"}
"""Names in the states of versions of before December 2026."""


def state_bytes(state: PostprocessingState) -> bytes:
    """Return the state as the content of a safetensors file."""
    content: bytes = save({name: np.ascontiguousarray(array) for name, array in state_as_arrays(state).items()})
    return content


def read_state(path: Path) -> PostprocessingState:
    """Return the state of a safetensors file; raises FitError where it is missing or something else."""
    arrays = _arrays_of(path)
    try:
        return state_from_arrays(arrays)
    except FitError as error:
        raise FitError(f"cannot use the state of post-processing {path}: {error}") from error


def _arrays_of(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file; raises FitError where there are none."""
    try:
        arrays: dict[str, Array] = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise FitError(
            f"cannot read the state of post-processing {path}: {error}; expected one that was stored"
        ) from error
    return arrays


def put_state(model_folder: Path, calendar: str, state: PostprocessingState) -> str:
    """Return the digest of a state after storing it among those of a model, unless it is there already.

    Raises UsageError where the folder cannot be written.
    """
    digest = state_digest(state)
    path = _folder(model_folder, calendar) / f"{state.session}-{digest[:12]}.safetensors"
    if not path.is_file():
        write_whole(path, state_bytes(state))
    return digest


def get_state(model_folder: Path, calendar: str, digest: str) -> PostprocessingState | None:
    """Return the stored state with a digest; raises FitError where it is missing or was changed.

    None where a version of before December 2026 stored it: that was of a calibration alone, and nothing can go on from.
    """
    folder = _folder(model_folder, calendar)
    path = next(folder.glob(f"*-{digest[:12]}.safetensors"), folder / f"*-{digest[:12]}.safetensors")
    if {*_arrays_of(path)} >= EARLIER_ARRAYS:
        return None
    state = read_state(path)
    if state_digest(state) != digest:
        raise FitError(
            f"found another state of post-processing in {path} than was stored, expected the digest {digest[:12]}; "
            "restore the file from a backup"
        )
    return state


def _folder(model_folder: Path, calendar: str) -> Path:
    return model_folder / STATES / calendar.replace("/", "-")
