"""Fitting the baselines: what each learns from its training rows, through the same job as a network."""

import time
from collections.abc import Mapping

import numpy as np
import torch

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import fit_scaler
from pipeline.errors import FitError
from pipeline.models.baselines import per_ticker_or_pooled
from pipeline.models.losses import masked_mean, pinball
from pipeline.models.specification import LEVELS, ClimatologySpec, DriftSpec, LinearSpec
from pipeline.training.jobs import FitJob, Fitted, fitted_by
from pipeline.training.labels import label_mask, scaled_target

ENOUGH_SESSIONS = 100  # below this a ticker takes the pooled quantiles and mean

LINEAR_STEPS = 1000
LINEAR_BATCH_ROWS = 4096
LINEAR_LEARNING_RATE = 0.1


def fit_baseline(job: FitJob, frames: Frames) -> Fitted:
    """Return the fitted baseline of a job; `frames` hold the job's tickers and end with its validation range.

    Raises FitError when the training range has no row.
    """
    began = time.perf_counter()
    arrays = _learn(job, frames)
    return fitted_by(job, frames.horizons, arrays, time.perf_counter() - began)


def _learn(job: FitJob, frames: Frames) -> Mapping[str, Floats32]:
    match job.forecaster:
        case ClimatologySpec():
            return {"quantiles": training_quantiles(frames, job.fold.train)}
        case DriftSpec():
            return {"mean": training_means(frames, job.fold.train)}
        case LinearSpec():
            return fit_linear(job, frames)
        case _:
            return {}  # last_close and ewma have nothing to learn


def training_quantiles(frames: Frames, train: Range) -> Floats32:
    """Return the quantiles of the one-session return [ticker + 1, level]; the last row is over all tickers."""
    returns = _training_returns(frames, train)
    rows = [np.quantile(own, LEVELS) if len(own) else np.zeros(len(LEVELS)) for own in returns]
    return per_ticker_or_pooled(np.array(rows, dtype=np.float32), _enough(returns))


def training_means(frames: Frames, train: Range) -> Floats32:
    """Return the mean return per session [ticker + 1]; the last one is over all tickers."""
    returns = _training_returns(frames, train)
    means = np.array([own.mean() if len(own) else 0.0 for own in returns], dtype=np.float32)
    return per_ticker_or_pooled(means, _enough(returns))


def _training_returns(frames: Frames, train: Range) -> list[Floats32]:
    """Return the known returns of each ticker, then of all of them."""
    rows = frames.log_return[:, train.start + 1 : train.stop]
    own = [row[np.isfinite(row)] for row in rows]
    pooled = np.concatenate(own)
    if not len(pooled):
        raise FitError(f"no return to learn from between {train.first} and {train.until}")
    return [*own, pooled]


def _enough(returns: list[Floats32]) -> Booleans:
    return np.array([len(own) >= ENOUGH_SESSIONS for own in returns])


def fit_linear(job: FitJob, frames: Frames) -> Mapping[str, Floats32]:
    """Return the weights [feature + 1, horizon x level] of a linear quantile regression, and its scaler.

    Koenker and Bassett (1978), eq. 2.2, minimised by AdamW on drawn rows under a one-cycle learning rate.
    """
    scaler = fit_scaler(frames, job.fold.train)
    known = label_mask(frames, job.fold.train)  # [ticker, session, horizon]
    rows = known.any(axis=2)
    if not rows.any():
        raise FitError(f"no label to learn from between {job.fold.train.first} and {job.fold.train.until}")
    features = torch.from_numpy(with_constant(scaler.apply(frames.features[rows])))  # [row, feature + 1]
    target = torch.from_numpy(np.where(known[rows], scaled_target(frames)[rows], np.float32(0.0)))  # [row, horizon]
    weights = _descend(features, target, torch.from_numpy(known[rows]), job.seed)
    return {"weights": weights.numpy(), "scaler.mean": scaler.mean, "scaler.std": scaler.std}


def with_constant(features: Floats32) -> Floats32:
    """Return features [..., feature] with a last column of ones."""
    return np.concatenate((features, np.ones((*features.shape[:-1], 1), dtype=np.float32)), axis=-1)


def _descend(features: torch.Tensor, target: torch.Tensor, known: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    horizons = target.shape[1]
    weights = torch.zeros(features.shape[1], horizons * len(LEVELS), requires_grad=True)
    optimizer = torch.optim.AdamW([weights], lr=LINEAR_LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LINEAR_LEARNING_RATE, total_steps=LINEAR_STEPS)
    for _ in range(LINEAR_STEPS):
        row = torch.randint(len(features), (LINEAR_BATCH_ROWS,), generator=generator)  # [batch]
        quantiles = (features[row] @ weights).view(-1, horizons, len(LEVELS))  # [batch, horizon, level]
        loss = masked_mean(pinball(quantiles, target[row]).mean(dim=-1), known[row])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return weights.detach()
