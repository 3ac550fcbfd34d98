"""Fit jobs: small picklable descriptions of a fit, their keys, and their results."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted, Specification
from pipeline.forecasters.registry import forecaster_as_json, forecaster_of
from pipeline.forecasters.training_specification import TrainingSpec

FORMAT_VERSION = 4  # raise it when the same job would give other numbers or another layout


@dataclass(frozen=True)
class FitJob:
    """One fit: the forecaster, how and on what it is trained, and its seed."""

    forecaster: Specification
    training: TrainingSpec
    features: tuple[str, ...]
    tickers: tuple[str, ...]
    fold: Fold
    seed: int
    data_digest: str
    device: str = "cpu"
    known_future: tuple[str, ...] = ()  # what is known in advance of the target sessions
    starts_from: str | None = None  # the key of the previous fold's fit, whose weights training starts with

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
            "training": self._training() if forecaster_of(self.forecaster).role == "network" else None,
            "features": self.features,
            "tickers": self.tickers,
            "ranges": [[str(part.first), str(part.until)] for part in ranges],
            "seed": self.seed,
            "data": self.data_digest,
            "device": self.device,
            "known_future": self.known_future,
            "starts_from": self.starts_from,
        }

    def _training(self) -> dict[str, object]:
        """Return the training as plain values, with settings that have no effect on this fit at their defaults.

        A CPU computes the same bits whether determinism is requested or not, and only a fit that starts from another
        one is warm.
        """
        idle = (*(("deterministic",) if self.device == "cpu" else ()), *(() if self.starts_from else WARM_SETTINGS))
        defaults = TrainingSpec()
        return self.training.model_copy(update={name: getattr(defaults, name) for name in idle}).model_dump()


WARM_SETTINGS = ("warm_start", "warm_share")
"""Settings of the training that matter only where a fit starts from the weights of another."""


@dataclass(frozen=True)
class FitResult:
    """A job with its fitted forecaster, or with the reason why there is none.

    `refused` is whether the forecaster itself found nothing to learn from, as a repetition would.
    """

    job: FitJob
    fitted: Fitted | None
    error: str | None = None
    refused: bool = False
    cached: bool = field(default=False, compare=False)  # read from the cache, not trained now


def digest_of_rows(frames: Frames) -> str:
    """Return the digest of every row of the frames; give it frames cut at a fold's validation end."""
    names = [frames.tickers, frames.feature_names, frames.known_future_names, frames.horizons]
    digest = hashlib.sha256(json.dumps(names).encode())
    for array in (
        frames.sessions,
        frames.features,
        frames.volatility,
        frames.log_return,
        frames.usable,
        frames.known_future,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
