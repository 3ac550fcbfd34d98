"""What a forecaster is: a specification, what a fit may read, what it gives, and the fitted forecaster."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.arrays import Array, Floats32
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.training_specification import TrainingSpec

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""The quantile levels of every forecast."""
MEDIAN = LEVELS.index(0.50)

DEFAULT_FEATURES = (
    "log_return",
    "overnight_gap",
    "open_to_close",
    "market_return",
    "log_range",
    "market_log_range",
    "close_location",
    "volume_surprise",
    "volatility_5",
    "volatility_20",
    "volatility_60",
    "log_volatility",
)
"""What ridge regression and boosted trees read by default: the features of the default network."""

Role = Literal["network", "baseline", "benchmark"]


class Specification(Protocol):
    """A small frozen value that names a kind of forecaster and holds its settings; light to import."""

    @property
    def kind(self) -> str:
        """The name of the kind."""


@dataclass(frozen=True)
class FitData:
    """What one fit may read: frames of its tickers and features that end with the fold's validation range.

    `training`, `device` and `former` (the fit that training begins from) concern networks alone.
    """

    frames: Frames
    fold: Fold
    seed: int
    training: TrainingSpec
    device: str = "cpu"
    former: "Fitted | None" = None


@dataclass(frozen=True)
class ValidationCheck:
    """The head's mean loss on training chunks and on the validation range after some gradient steps."""

    step: int
    train_loss: float
    valid_loss: float


@dataclass(frozen=True)
class Parameters:
    """What a fit has learned: named arrays and, where it was trained by gradient steps, its validation checks."""

    arrays: Mapping[str, Array]
    checks: tuple[ValidationCheck, ...] = ()
    best_step: int = 0


@dataclass(frozen=True)
class Fitted:
    """A fitted forecaster: named arrays and the facts needed to forecast with them; it cannot be trained."""

    forecaster: Specification
    features: tuple[str, ...]
    tickers: tuple[str, ...]  # those it was trained on
    horizons: int
    lookback_sessions: int
    arrays: Mapping[str, Array]
    checks: tuple[ValidationCheck, ...] = ()
    best_step: int = 0
    seconds: float = 0.0
    known_future: tuple[str, ...] = ()


def all_together(_spec: Any, _training: TrainingSpec, frames: Frames, fold: Fold) -> Iterator[Frames]:
    """Yield the frames of the one fit of a fold: every ticker with a usable origin in training or validation."""
    yield frames.at(np.flatnonzero(has_origins(frames, fold)))


def has_origins(frames: Frames, fold: Fold) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return whether each ticker has a usable origin in the training or validation range [ticker]."""
    usable: np.ndarray[tuple[int], np.dtype[np.bool_]] = np.any(
        frames.usable[:, fold.train.start : fold.validation.stop], axis=1
    )
    return usable


def no_text(*_: Any) -> str:
    """Return an empty text."""
    return ""


@dataclass(frozen=True)
class Forecaster:
    """A kind of forecaster: how it is specified, fitted, and evaluated at origins.

    `fit(spec, data)` returns the parameters; raises FitError where there is nothing to learn from.
    `quantiles(spec, fitted, frames, origins)` returns quantiles of the log return [ticker, origin, horizon, level].
    `features(spec)` are those it reads, None: the experiment's. `split(spec, training, frames, fold)` yields the frames
    of each fit of a fold, `per_ticker(spec)` whether that is a fit per ticker. `lookback_sessions(spec, training)` are
    read before an origin. `files_digest(spec)` is the digest of files outside the specification that a fit depends on.
    `combined` is whether it is a member of the combination.
    `why_not_scored(spec, frames, folds)` is the reason why it cannot be scored on these folds, mostly empty.
    """

    specification: type[Any]
    fit: Callable[[Any, FitData], Parameters]
    quantiles: Callable[[Any, Fitted, Frames, slice], Floats32]
    role: Role
    features: Callable[[Any], tuple[str, ...] | None] = lambda _: ()
    split: Callable[[Any, TrainingSpec, Frames, Fold], Iterator[Frames]] = all_together
    per_ticker: Callable[[Any], bool] = lambda _: False
    lookback_sessions: Callable[[Any, TrainingSpec], int] = lambda _, training: training.lookback_sessions
    files_digest: Callable[[Any], str] = no_text
    combined: bool = True
    why_not_scored: Callable[[Any, Frames, Sequence[Fold]], str] = no_text

    @property
    def kind(self) -> str:
        """The name of the kind, as its specification has it."""
        return str(self.specification.model_fields["kind"].default)


def own_features(spec: Any) -> tuple[str, ...]:
    """Return the features that a specification names itself."""
    features: tuple[str, ...] = spec.features
    return features
