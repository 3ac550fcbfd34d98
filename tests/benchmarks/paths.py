"""Measures recursive horizons: seconds of 100 tickers x 1,000 origins x 64 paths x 5 sessions on one core, and memory.

    python -m tests.benchmarks.paths [PATHS]

The prices are random and the network is barely trained: neither changes the time. The bound is on the seconds that a
processor was busy with it, which other work on the machine does not change.
"""

import resource
import sys
import time

import numpy as np

from pipeline.dataset.folds import FoldSpec
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.market.specification import SyntheticSource
from pipeline.stages import folds_of, jobs_of
from pipeline.training.devices import one_thread
from pipeline.training.fits import fit, quantiles
from tests.panels import synthetic_frames

TICKERS, ORIGINS, BOUND_SECONDS = 100, 1000, 60.0


def experiment_of(paths: int) -> Experiment:
    return Experiment(
        source=SyntheticSource(process="random_walk", tickers=TICKERS, sessions=1800),
        features=("log_return", "log_volatility", "volatility_5", "volatility_20", "volatility_60"),
        network=RecurrentSpec(horizon_mode="recursive", sampled_paths=paths),
        training=TrainingSpec(min_steps=2, max_steps=2),
        folds=FoldSpec(refit_months=240),
        seeds=1,
        device="cpu",
    )


def main(paths: int) -> int:
    """Print the seconds and the bound; return 1 where it is missed."""
    experiment = experiment_of(paths)
    frames = synthetic_frames(experiment.source, experiment)
    with one_thread():
        job = next(jobs_of(frames, folds_of(frames, experiment)[:1], experiment, "cpu"))
        fitted, last = fit(job, frames), len(frames.sessions)
        origins = slice(last - ORIGINS, last)
        began = time.perf_counter(), time.process_time()
        forecast = quantiles(fitted, frames, origins)
        seconds, busy = time.perf_counter() - began[0], time.process_time() - began[1]
    count = int(np.isfinite(forecast).all(axis=(2, 3)).sum())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    what = f"{count} origins x {paths} paths x {experiment.horizons} sessions"
    print(f"{what}: {busy:.1f} s of a processor, at most {BOUND_SECONDS:g} ({seconds:.1f} s by the clock)")
    print(f"peak memory of the process {memory:.2f} GB")
    return int(busy > BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 64))
