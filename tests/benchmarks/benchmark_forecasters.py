"""Measures the benchmarks on the large panel: validation and test pinball at every horizon, significance, seconds.

    python -m tests.benchmarks.benchmark_forecasters [whole]

The protocol is that of the main job's benchmark. Each is fitted and forecasts in this process, on one core. The last
sessions of the test stay sealed; with `whole` they are opened. The seconds of a linear fit have bounds, on this panel
and on the bundled sample; the exit status is the number of misses.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.evaluation.scores import mean_pinball
from pipeline.evaluation.significance.mean_test import long_lags
from pipeline.evaluation.significance.predictive_ability import diebold_mariano
from pipeline.experiment import Experiment
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.market.sources import open_source
from pipeline.market.validation.validate import load_bars
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.devices import one_thread
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob, FitResult
from tests.benchmarks.main_job import LARGE, PANEL, Measured, at_most, large_bars
from tests.evaluation.backtests import loss_per_session

EXPERIMENT = LARGE.model_copy(update={"benchmarks": (GarchSpec(), HarSpec(), RidgeSpec(), BoostingSpec())})
AGAINST = ("ewma", "linear")
SEALED_SESSIONS = 250


@dataclass(frozen=True)
class TimedBenchmark:
    """A fit, what it costs to forecast the test range, and its validation pinball x 1e4 by horizon."""

    result: FitResult
    forecast_seconds: float
    validation: list[float]


def timed_benchmarks(frames: Frames, fold: Fold) -> Iterator[TimedBenchmark]:
    """Yield each benchmark and what it is compared with, fitted and timed on one core."""
    kinds = (*AGAINST, *(benchmark.kind for benchmark in EXPERIMENT.benchmarks))
    for job in jobs_of(frames, (fold,), EXPERIMENT, "cpu", kinds):
        with one_thread():
            fitted = fit(job, frames)
            began = time.perf_counter()
            quantiles(fitted, frames, slice(fold.test.start, fold.test.stop))
            seconds = time.perf_counter() - began
            yield TimedBenchmark(FitResult(job, fitted), seconds, validation_pinball(fitted, frames, fold))


def validation_pinball(fitted: Fitted, frames: Frames, fold: Fold) -> list[float]:
    """Return the mean pinball x 1e4 over the labels known within the validation range, by horizon."""
    part = slice(fold.validation.start, fold.validation.stop)
    known = label_mask(frames, fold.validation)[:, part]
    found, outcome = quantiles(fitted, frames, part).astype(np.float64), frames.future_return[:, part].astype(float)
    return [1e4 * mean_pinball(found[known[..., h], h], outcome[known[..., h], h]) for h in range(frames.horizons)]


def seconds_of_linear(frames: Frames, folds: Sequence[Fold], experiment: Experiment) -> list[float]:
    """Return the seconds that a core was busy with the linear fit of each fold."""
    jobs = list(jobs_of(frames, folds, experiment, "cpu", ("linear",)))
    return [busy_seconds(job, frames) for job in [jobs[0], *jobs]][1:]  # the first one imports


def busy_seconds(job: FitJob, frames: Frames) -> float:
    began = time.process_time()
    fit(job, frames)
    return time.process_time() - began


def linear_bounds(frames: Frames, fold: Fold) -> Iterator[Measured]:
    """Yield the seconds of a linear fit on the large panel and on the sample, with their bounds."""
    (large,) = seconds_of_linear(frames, (fold,), EXPERIMENT)
    yield at_most("large panel: seconds of a linear fit, one core", large, 2.0)
    experiment = Experiment(device="cpu")
    bars = load_bars(open_source(experiment.source), (), datetime.now(UTC), experiment.minimum_sessions).bars
    sample = frames_of(bars, experiment)
    seconds = seconds_of_linear(sample, folds_of(sample, experiment), experiment)
    print("seconds of a linear fit on each fold of the sample:", " ".join(f"{value:.2f}" for value in seconds))
    yield at_most("sample: seconds of a linear fit, one core, the slowest fold", max(seconds), 0.3)


def pinball_in_test(backtest: Backtest, kind: str) -> list[float]:
    """Return the mean pinball x 1e4 over what every forecaster said of the test range, by horizon."""
    outcome, scored = backtest.realised.astype(float), backtest.scored
    forecasts = backtest.quantiles[kind].astype(float)
    return [
        1e4 * mean_pinball(forecasts[scored[..., h], h], outcome[scored[..., h], h]) for h in range(backtest.horizons)
    ]


def p_values(backtest: Backtest, kind: str, against: str) -> list[str]:
    """Return per horizon the Diebold-Mariano p-value, with a minus where the benchmark has the smaller loss."""
    found = []
    for h in range(1, backtest.horizons + 1):
        difference = loss_per_session(backtest, kind, h) - loss_per_session(backtest, against, h)
        test = diebold_mariano(difference, h, long_lags(h))
        found.append("." if kind == against else f"{'-' if test.t < 0 else '+'}{test.p:.2g}")
    return found


def shown(values: Sequence[float]) -> str:
    return " ".join(f"{value:7.3f}" for value in values)


def main(names: Sequence[str]) -> int:
    """Print the tables."""
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the benchmarks cannot be measured here")
        return 1
    frames = frames_of(large_bars(), EXPERIMENT)
    (fold,) = folds_of(frames, EXPERIMENT)
    print("validation pinball x 1e4 at horizons 1..5, seconds to fit and to forecast the test range")
    results = []
    for benchmark in timed_benchmarks(frames, fold):
        job, fitted = benchmark.result.job, benchmark.result.fitted
        print(
            f"  {job.forecaster.kind:<10} {shown(benchmark.validation)}  {fitted.seconds:6.1f} "
            f"{benchmark.forecast_seconds:6.1f}",
            flush=True,
        )
        results.append(benchmark.result)
    sealed = 0 if "whole" in names else SEALED_SESSIONS
    until = fold.test.stop - sealed
    opened = replace(fold, test=replace(fold.test, until=frames.sessions[until - 1] + 1, stop=until))
    backtest = build_backtest(results, (opened,), frames)
    print(f"test pinball x 1e4, {len(opened.test)} sessions, the last {sealed} sealed; DM p (minus: smaller loss)")
    for kind in backtest.quantiles:
        print(f"  {kind:<10} {shown(pinball_in_test(backtest, kind))}")
        for against in AGAINST:
            print(f"      against {against:<8} {' '.join(f'{p:>8}' for p in p_values(backtest, kind, against))}")
    measured = list(linear_bounds(frames, fold))
    print("", *measured, sep="\n")
    return sum(not one.met for one in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
