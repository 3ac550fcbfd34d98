"""Measures recursive horizons: seconds of 100 tickers x 1,000 origins x 64 paths x 5 sessions on one core.

    python -m tests.benchmarks.paths [PATHS]

The prices are random and the network is barely trained: neither changes the time.
"""

import sys
import time

import numpy as np

from pipeline.dataset.folds import FoldSpec
from pipeline.experiment import Experiment, folds_of, jobs_of
from pipeline.market.specification import SyntheticSource
from pipeline.models.specification import RecurrentSpec
from pipeline.training.devices import one_thread
from pipeline.training.fits import fit, quantiles
from pipeline.training.specification import TrainingSpec
from tests.panels import synthetic_frames

TICKERS, ORIGINS, BOUND_SECONDS = 100, 100, 60.0


def experiment_of(paths: int) -> Experiment:
    return Experiment(
        source=SyntheticSource(process="random_walk", tickers=TICKERS, sessions=1800),
        features=("log_return", "log_volatility", "volatility_5", "volatility_20", "volatility_60"),
        network=RecurrentSpec(ahead="recursive", paths=paths),
        training=TrainingSpec(fewest_steps=2, most_steps=2),
        folds=FoldSpec(refit_months=240),
        seeds=1,
        device="cpu",
    )


def main(paths: int) -> int:
    """Print the seconds beside the bound; return 1 where it is missed."""
    experiment = experiment_of(paths)
    frames = synthetic_frames(experiment.source, experiment)
    with one_thread():
        job = next(jobs_of(frames, folds_of(frames, experiment)[:1], experiment, "cpu"))
        fitted, last = fit(job, frames), len(frames.sessions)
        origins = slice(last - ORIGINS, last)
        began = time.perf_counter()
        forecast = quantiles(fitted, frames, origins)
        seconds = time.perf_counter() - began
    count = int(np.isfinite(forecast).all(axis=(2, 3)).sum())
    print(f"{count} origins x {paths} paths x {experiment.horizons} sessions: {seconds:.1f} s, at most {BOUND_SECONDS:g}")
    return int(seconds > BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RecurrentSpec().paths))
