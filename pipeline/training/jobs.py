"""Fit jobs: what is to be fitted, as a small picklable value with a key, and what comes back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import TypeAdapter

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.models.specification import ForecasterSpec
from pipeline.training.specification import TrainingSpec

FORMAT_VERSION = 2  # raise it when the same job would give other numbers or another layout

_FORECASTER: TypeAdapter[ForecasterSpec] = TypeAdapter(ForecasterSpec)


@dataclass(frozen=True)
class FitJob:
    """One fit: the forecaster, how and on what it is trained, and its seed."""

    forecaster: ForecasterSpec
    training: TrainingSpec
    features: tuple[str, ...]
    tickers: tuple[str, ...]
    fold: Fold
    seed: int
    data_digest: str
    device: str = "cpu"
    ahead: tuple[str, ...] = ()  # what is known in advance of the target sessions
    begins_from: str | None = None  # the key of the former fold's fit, whose weights training begins with

    @property
    def key(self) -> str:
        """The digest of everything that changes the result; costs, reports and later bars do not."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()[:32]

    def description(self) -> dict[str, object]:
        """Return the job as plain JSON values."""
        ranges = (self.fold.train, self.fold.validation)
        return {
            "format": FORMAT_VERSION,
            "forecaster": forecaster_as_json(self.forecaster),
            "training": self._training() if self.forecaster.kind in TRAINED_BY_STEPS else None,
            "features": self.features,
            "tickers": self.tickers,
            "ranges": [[str(part.first), str(part.until)] for part in ranges],
            "seed": self.seed,
            "data": self.data_digest,
            "device": self.device,
            "ahead": self.ahead,
            "begins_from": self.begins_from,
        }

    def _training(self) -> dict[str, object]:
        """Return the training as plain values, its settings that play no part in this fit as they are by default.

        A CPU computes the same bits whatever was asked for, and only a fit that begins from a former one is warm.
        """
        idle = (*(("deterministic",) if self.device == "cpu" else ()), *(() if self.begins_from else WARM_SETTINGS))
        defaults = TrainingSpec()
        return self.training.model_copy(update={name: getattr(defaults, name) for name in idle}).model_dump()


WARM_SETTINGS = ("warm_start", "warm_share")
TRAINED_BY_STEPS = ("network",)


@dataclass(frozen=True)
class Check:
    """One look during training: the head's mean loss on training chunks and on validation."""

    step: int
    train_loss: float
    valid_loss: float


@dataclass(frozen=True)
class Fitted:
    """A fitted forecaster: named arrays and the facts needed to forecast with them; it cannot be trained."""

    forecaster: ForecasterSpec
    features: tuple[str, ...]
    tickers: tuple[str, ...]  # those it was trained on
    horizons: int
    lookback_sessions: int
    arrays: Mapping[str, Floats32]
    checks: tuple[Check, ...] = ()
    best_step: int = 0
    seconds: float = 0.0
    ahead: tuple[str, ...] = ()


def fitted_by(job: FitJob, horizons: int, arrays: Mapping[str, Floats32], seconds: float) -> Fitted:
    """Return the fitted forecaster of a job that was not trained by steps."""
    lookback = job.training.lookback_sessions
    return Fitted(job.forecaster, job.features, job.tickers, horizons, lookback, arrays, seconds=seconds)


@dataclass(frozen=True)
class FitResult:
    """A job with its fitted forecaster, or with the reason why there is none."""

    job: FitJob
    fitted: Fitted | None
    error: str | None = None
    kept: bool = field(default=False, compare=False)  # read from the store, not trained now


def forecaster_as_json(forecaster: ForecasterSpec) -> dict[str, object]:
    """Return the specification as plain JSON values."""
    return _FORECASTER.dump_python(forecaster, mode="json")  # type: ignore[no-any-return]


def forecaster_from_json(values: object) -> ForecasterSpec:
    """Return the specification described by plain JSON values; raises pydantic.ValidationError on unknown ones."""
    return _FORECASTER.validate_python(values)


def digest_of_rows(frames: Frames) -> str:
    """Return the digest of every row of the frames; give it frames cut at a fold's validation end."""
    names = [frames.tickers, frames.feature_names, frames.ahead_names, frames.horizons]
    digest = hashlib.sha256(json.dumps(names).encode())
    for array in (frames.sessions, frames.features, frames.volatility, frames.log_return, frames.usable, frames.ahead):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
