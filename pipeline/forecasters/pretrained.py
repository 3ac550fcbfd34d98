"""A pretrained Chronos model in the protocol: nothing is fitted, and it forecasts only after its training cut-off."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Array, Booleans, Floats32, Indices
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError, UsageError
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.unit_quantiles import rearranged


class PretrainedSpec(BaseModel, frozen=True, extra="forbid"):
    """A pretrained Chronos model, used as it is; it forecasts only after the last day of its training data."""

    kind: Literal["pretrained"] = "pretrained"
    weights: Path = Field(description="Folder with config.json and model.safetensors")
    trained_until: date = Field(description="Last day its training data may hold; scored after it alone")
    context_sessions: int = Field(512, ge=16, le=8192, description="Sessions that it reads")


FILES = ("config.json", "model.safetensors")  # no other format of weights is read: those may execute code
ORIGINS_AT_ONCE = 256


class QuantilePipeline(Protocol):
    """What is used of a Chronos pipeline, of any of its generations."""

    def predict_quantiles(self, inputs: Any, prediction_length: int, quantile_levels: list[float]) -> tuple[Any, Any]:
        """Return quantiles [series, session ahead, level] (a tensor or a list of tensors), and means."""


def why_not_scored(spec: PretrainedSpec, frames: Frames, folds: Sequence[Fold]) -> str:
    """Return why the model cannot be scored on these folds; empty where it can at every horizon that has an outcome.

    It has no forecasts up to its training cut-off, and only origins at which every forecaster has one are scored.
    """
    rows, known, later = _test_origins(spec, frames, folds)
    lacking = np.flatnonzero(known.any(axis=0) & ~known[later].any(axis=0))
    if not len(lacking):
        return ""
    last = frames.sessions[rows[known[:, lacking[0]]]].max()
    return (
        f"The benchmark {spec.kind} could not be scored: its training data may reach to {spec.trained_until}, and the "
        f"last test origin with a known outcome {lacking[0] + 1} sessions ahead is {last}; expected test origins after "
        "the cut-off. Bring newer bars, name weights with an earlier trained_until, or leave the benchmark out."
    )


def _test_origins(spec: PretrainedSpec, frames: Frames, folds: Sequence[Fold]) -> tuple[Indices, Booleans, Booleans]:
    """Return all test origins [origin], which have an outcome [origin, horizon], and which lie after the cut-off."""
    rows = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    outcome = frames.usable[:, rows, None] & np.isfinite(frames.future_return[:, rows])
    later = frames.sessions[rows] > np.datetime64(spec.trained_until, "D")
    return rows, np.any(outcome, axis=0), later


def fit(spec: PretrainedSpec, _data: FitData) -> Parameters:
    """Return the digest of the weights [32]: there is nothing to fit, and later forecasts must come from the same.

    Raises UsageError where the package or the weights are missing.
    """
    _import_chronos()
    return Parameters({"weights_sha256": weights_digest(spec.weights)})


def weights_digest(folder: Path) -> Floats32:
    """Return the SHA-256 of the files of a folder of weights, one number per byte [32]; raises UsageError."""
    digest = hashlib.sha256()
    for name in FILES:
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise UsageError(
                f"cannot read {folder / name}: {error.strerror or error}; expected a folder of pretrained weights with "
                f"{' and '.join(FILES)}"
            ) from error
    return np.frombuffer(digest.digest(), dtype=np.uint8).astype(np.float32)


def open_pipeline(spec: PretrainedSpec, arrays: Mapping[str, Array]) -> QuantilePipeline:
    """Return the pipeline of the weights that were fitted; raises FitError where others lie there now."""
    if not np.array_equal(weights_digest(spec.weights), arrays["weights_sha256"]):
        raise FitError(f"the weights in {spec.weights} are not those of the fit; put those back or name another folder")
    pipeline = _import_chronos().BaseChronosPipeline
    try:
        opened: QuantilePipeline = pipeline.from_pretrained(str(spec.weights), local_files_only=True, device_map="cpu")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FitError(
            f"cannot open the pretrained weights in {spec.weights}: {error}; expected a Chronos model as its authors "
            "publish it; download it again or name another folder"
        ) from error
    return opened


def _import_chronos() -> Any:
    try:
        return import_module("chronos")  # an extra that may not be installed
    except ImportError as error:
        raise UsageError(
            "the benchmark pretrained needs the package chronos-forecasting, which is not installed; "
            'install it with pip install "tapecast[pretrained]" or leave the benchmark out'
        ) from error


def pretrained_quantiles(spec: PretrainedSpec, frames: Frames, origins: slice, pipeline: QuantilePipeline) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], NaN up to the training cut-off.

    The pipeline reads the sum of log returns, session by session: its quantiles h sessions ahead, less the last value
    read, are those of y_h.
    """
    result = np.full((*frames.usable[:, origins].shape, frames.horizons, len(LEVELS)), np.nan, dtype=np.float32)
    later = frames.sessions[origins] > np.datetime64(spec.trained_until, "D")
    places = np.argwhere(frames.usable[:, origins] & later)  # [row, (ticker, origin)]
    for part in _in_parts(places):
        paths = [_path(frames, ticker, origins.start + origin, spec.context_sessions) for ticker, origin in part]
        ahead = _predicted(pipeline, paths, frames.horizons)
        result[part[:, 0], part[:, 1]] = ahead - np.array([path[-1] for path in paths])[:, None, None]
    return rearranged(result)


def _in_parts(places: Indices) -> Iterator[Indices]:
    for start in range(0, len(places), ORIGINS_AT_ONCE):
        yield places[start : start + ORIGINS_AT_ONCE]


def _path(frames: Frames, ticker: int, origin: int, sessions: int) -> Floats32:
    """Return the sums of a ticker's own last log returns up to an origin, from zero."""
    log_return = frames.log_return[ticker, : origin + 1].astype(np.float64)
    recent = log_return[np.isfinite(log_return)][-(sessions - 1) :]
    return np.concatenate([[0.0], np.cumsum(recent)]).astype(np.float32)


def _predicted(pipeline: QuantilePipeline, paths: Sequence[Floats32], horizons: int) -> Floats32:
    """Return the pipeline's quantiles [series, horizon, level]; it gives them as one tensor or one per series."""
    import torch  # noqa: PLC0415

    inputs = [torch.from_numpy(path) for path in paths]
    with torch.no_grad():
        quantiles, _ = pipeline.predict_quantiles(inputs, horizons, list(LEVELS))
    shape = (horizons, len(LEVELS))
    return np.stack([np.asarray(prediction, dtype=np.float32).reshape(shape) for prediction in quantiles])


def quantiles(spec: PretrainedSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], NaN up to the training cut-off.

    Raises FitError where the weights are not those of the fit, or cannot be opened.
    """
    return pretrained_quantiles(spec, frames, origins, open_pipeline(spec, fitted.arrays))


def _files_digest(spec: PretrainedSpec) -> str:
    return weights_digest(spec.weights).tobytes().hex()


FORECASTER = Forecaster(
    PretrainedSpec,
    fit,
    quantiles,
    "benchmark",
    files_digest=_files_digest,
    why_not_scored=why_not_scored,
)
