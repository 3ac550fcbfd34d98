"""The cache of finished fits: safetensors and JSON, whole or absent, found again by the key of their job."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.arrays import Array
from pipeline.dataset.features import FEATURES
from pipeline.errors import FitError, UsageError
from pipeline.files import draft_folder, write_through
from pipeline.forecasters.forecaster import Fitted, ValidationCheck
from pipeline.forecasters.registry import forecaster_as_json, forecaster_from_json
from pipeline.training.jobs import FORMAT_VERSION, FitJob

WEIGHTS, DESCRIPTION = "weights.safetensors", "fit.json"
LARGEST_BYTES = {WEIGHTS: 256 * 2**20, DESCRIPTION: 8 * 2**20}
VERSIONS_OF = ("tapecast", "torch", "numpy", "lightgbm", "arch")

_CHECKS: TypeAdapter[tuple[ValidationCheck, ...]] = TypeAdapter(tuple[ValidationCheck, ...])


@dataclass(frozen=True)
class FitCache:
    """The folder of finished fits: one folder each, named by the key of its job, whose time is that of its last use."""

    folder: Path

    def get(self, job: FitJob) -> Fitted | None:
        """Return the cached fit of a job, or None where there is none or it is damaged."""
        folder = self.folder / job.key
        if not folder.is_dir():
            return None
        try:
            fitted, made_by = _read(folder)
            if made_by != _as_read(job.description()):
                raise FitError(f"{folder} holds the fit of another job")
            _note_use(folder)
            return fitted
        except FitError:  # a damaged fit is repeated, and the new one takes its place
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def put(self, job: FitJob, fitted: Fitted) -> None:
        """Write a finished fit with the description of its job."""
        write_fitted(self.folder / job.key, fitted, job)


def _note_use(folder: Path) -> None:
    """Give a folder the present time, since fits that were not used for long are pruned."""
    with suppress(OSError):  # a home that may only be read
        os.utime(folder)


def write_fitted(folder: Path, fitted: Fitted, job: FitJob) -> None:
    """Write a fitted forecaster into a folder that appears whole or not at all; raises UsageError if it cannot."""
    weights = save({name: array.copy() for name, array in fitted.arrays.items()})
    job_facts = {"job": job.description(), "made_with": made_with(job)}
    text = json.dumps(_sealed(_description(fitted, weights) | job_facts), indent=1)
    try:
        with draft_folder(folder.parent) as draft:
            write_through(draft / WEIGHTS, weights)
            write_through(draft / DESCRIPTION, text.encode())
            _move_into_place(draft, folder)
    except OSError as error:
        raise UsageError(f"cannot write the fit to {folder}: {error}; expected a writable folder") from error


def read_fitted(folder: Path) -> Fitted:
    """Return the fitted forecaster of a folder; raises FitError on anything missing, damaged or unknown."""
    return _read(folder)[0]


def _as_read(values: Mapping[str, object]) -> object:
    """Return values as they are after they were written as JSON and read."""
    return json.loads(json.dumps(values))


def _read(folder: Path) -> tuple[Fitted, object]:
    """Return the fitted forecaster of a folder and the description of the job that made it."""
    try:
        for name, most in LARGEST_BYTES.items():
            size = (folder / name).stat().st_size
            if size > most:
                raise FitError(f"{folder / name} has {size} bytes, expected at most {most}; delete it and run again")
        weights = (folder / WEIGHTS).read_bytes()
        return _fitted(json.loads((folder / DESCRIPTION).read_text()), weights)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise FitError(f"cannot read the fit in {folder}: {error}; delete that folder and run again") from error


def made_with(job: FitJob) -> dict[str, object]:
    """Return what a fit was made with in addition to its job, to be read: versions, and warm-up sessions."""
    warm_up = {feature.name: feature.warm_up for feature in FEATURES if feature.name in job.features}
    return {"versions": {name: version(name) for name in VERSIONS_OF}, "warm_up_sessions": warm_up}


def _description(fitted: Fitted, weights: bytes) -> dict[str, object]:
    return {
        "format": FORMAT_VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "forecaster": forecaster_as_json(fitted.forecaster),
        "features": fitted.features,
        "known_future": fitted.known_future,
        "tickers": fitted.tickers,
        "horizons": fitted.horizons,
        "lookback_sessions": fitted.lookback_sessions,
        "checks": [asdict(check) for check in fitted.checks],
        "best_step": fitted.best_step,
        "seconds": fitted.seconds,
    }


def _sealed(values: dict[str, object]) -> dict[str, object]:
    """Return the values with their own digest."""
    plain = json.loads(json.dumps(values))
    return {**plain, "description_sha256": _digest(plain)}


def _digest(values: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _fitted(values: dict[str, object], weights: bytes) -> tuple[Fitted, object]:
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}, expected a JSON object")
    if values.pop("description_sha256", None) != _digest(values):
        raise ValueError("the description is not the one that was written (truncated or changed)")
    job, _ = values.pop("job"), values.pop("made_with")
    if values.pop("format") != FORMAT_VERSION:
        raise ValueError(f"another format than {FORMAT_VERSION}")
    if values.pop("weights_sha256") != hashlib.sha256(weights).hexdigest():
        raise ValueError("the weights are not those that were described (truncated or changed)")
    arrays: dict[str, Array] = load(weights)
    forecaster = forecaster_from_json(values.pop("forecaster"))
    checks = _CHECKS.validate_python(values.pop("checks"))
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Fitted(forecaster=forecaster, arrays=arrays, checks=checks, **fields), job  # type: ignore[arg-type]


def _move_into_place(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # a like fit that another process finished first is as good
            raise
