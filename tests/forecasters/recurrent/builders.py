"""Small jobs, their frames and what they are supervised with, for the tests of training."""

import numpy as np
import torch

from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import fit_scaler
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import FitData, Fitted
from pipeline.forecasters.recurrent.network import RecurrentNetwork, new_network
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.recurrent.supervision import Supervision, supervision
from pipeline.training.jobs import FitJob
from tests.panels import TINY, changed, frames_from, jobs_for, random_rows


def first_job(frames: Frames, experiment: Experiment = TINY) -> FitJob:
    return jobs_for(frames, experiment)[0][0]


def seen_by(job: FitJob, frames: Frames) -> Frames:
    return frames.until(job.fold.validation.stop).of(job.tickers).with_features(job.features)


def data_of(job: FitJob, frames: Frames) -> FitData:
    """What the fit of a job may read."""
    return FitData(seen_by(job, frames), job.fold, job.seed, job.training, job.device)


def supervised(job: FitJob, frames: Frames, volatility_power: float = 0.0) -> Supervision:
    """What a job's network is supervised with."""
    seen = seen_by(job, frames)
    return supervision(seen, fit_scaler(seen, job.fold.train), job.fold.train, volatility_power, "cpu")


def network_for(job: FitJob, frames: Frames, seed: int = 1) -> RecurrentNetwork:
    assert isinstance(job.forecaster, RecurrentSpec)
    generator = torch.Generator().manual_seed(seed)
    return new_network(job.forecaster, len(job.features), frames.horizons, generator, len(job.tickers))


def same_arrays(a: Fitted, b: Fitted) -> bool:
    return a.arrays.keys() == b.arrays.keys() and all(a.arrays[k].tobytes() == b.arrays[k].tobytes() for k in a.arrays)


def young_and_gone(**network: object) -> tuple[FitJob, Frames]:
    """Three long tickers, one that ends early, and one listed 80 sessions before the training ends."""
    rows = {f"T{k}": random_rows(500, k) for k in range(3)}
    frames = frames_from({**rows, "GONE": random_rows(500, 8).iloc[:160], "YOUNG": random_rows(330, 9)})
    spec = RecurrentSpec.model_validate(TINY.network.model_dump() | {"dropout": 0.0, **network})
    job = first_job(frames, changed(TINY, network=spec))
    assert job.fold.train.stop == 250
    return job, frames


def largest_gap(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, where both are known."""
    assert np.array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(np.abs(a - b)))
