"""Measures the main job: accuracy on two panels of real prices, training speed, forecast speed, memory, wall time.

    python -m tests.benchmarks.main_job [accuracy|speed|wall ...]

The panel lies in ../shared/data and is not part of the project; adj_close is taken as delivered and no return is
clipped. Prints a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames, save_frames
from pipeline.dataset.labels import label_mask
from pipeline.evaluation.comparisons import comparison_table, pooled
from pipeline.evaluation.scores import POOLED, score_table
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import LEVELS, FitData
from pipeline.forecasters.recurrent.fitting import AVERAGING_START_STEPS, follow, validation_of
from pipeline.forecasters.recurrent.gradient_steps import steps, steps_for
from pipeline.forecasters.recurrent.reading import Reader, read_raw
from pipeline.forecasters.recurrent.specification import lookback_of
from pipeline.forecasters.recurrent.supervision import supervision
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.market.bars import Bars
from pipeline.market.sources import open_source
from pipeline.market.specification import FilesSource
from pipeline.market.validation.validate import load_bars
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.devices import one_thread
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitResult
from pipeline.training.schedule import fit_all, raise_failures

ROOT = Path(__file__).parents[2]
PANEL = ROOT.parent / "shared" / "data" / "us_core100_daily_1999_2021.parquet"

LARGE = Experiment(folds=FoldSpec(train_end="2014-12-31", valid_end="2016-12-31"), device="cpu")
SHORT = Experiment(folds=FoldSpec(train_end="2019-01-31", valid_end="2019-10-25"), device="cpu")
SHORT_TICKERS, SHORT_SESSIONS = 50, 1171


@dataclass(frozen=True)
class Measured:
    """One number and its bound."""

    what: str
    value: float
    bound: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.what:<72} {self.value:10.4f}   {self.bound}"


def at_most(what: str, value: float, bound: float) -> Measured:
    return Measured(what, value, f"at most {bound:g}", value <= bound)


def within(what: str, value: float, low: float, high: float) -> Measured:
    return Measured(what, value, f"{low:g} to {high:g}", low <= value <= high)


def large_bars() -> Bars:
    source = open_source(FilesSource(path=PANEL))
    return load_bars(source, (), datetime.now(UTC), LARGE.minimum_sessions).bars


def short_bars(bars: Bars) -> Bars:
    """Return the last sessions of the first tickers by alphabet."""
    tickers = bars.tickers[:SHORT_TICKERS]
    frame = bars.frame[bars.frame["ticker"].isin(tickers)].groupby("ticker").tail(SHORT_SESSIONS)
    return Bars(frame.reset_index(drop=True), bars.listings[:SHORT_TICKERS], bars.returns_from)


def fitted(frames: Frames, experiment: Experiment) -> tuple[list[FitResult], tuple[Fold, ...]]:
    """Return every fit of the experiment, as the main job makes them."""
    folds = folds_of(frames, experiment)
    jobs = list(jobs_of(frames, folds, experiment, "cpu"))
    with tempfile.TemporaryDirectory() as name:
        save_frames(frames, Path(name) / "frames")
        results = list(fit_all(jobs, Path(name) / "frames", FitCache(Path(name) / "fits"), experiment.worker_count))
    raise_failures(results)
    return results, folds


def print_scores(name: str, backtest: Backtest) -> None:
    scores = score_table(backtest)
    shown, comparisons = scores[scores["ticker"] == POOLED], comparison_table(backtest, Trials())
    for horizon in (1, backtest.horizons):
        print(
            f"\n{name}, horizon {horizon}: pinball x 1e4, 80 % coverage, the network's skill, DM t and p (short-lag p)"
        )
        tests = pooled(comparisons, "network", horizon)
        for row in shown[shown["horizon"] == horizon].itertuples():
            text = f"  {row.forecaster:<12} {1e4 * row.pinball:8.3f}  {row.coverage_80:.4f}"
            if row.forecaster in tests.index:
                test = tests.loc[row.forecaster]
                text += f"  {test['skill']:+.4%}  t {test['t']:+.2f}  p {test['p']:.2g} ({test['p_short_lags']:.2g})"
            print(text)


def pinball_at_1(backtest: Backtest) -> dict[str, float]:
    scores = score_table(backtest)
    pooled = scores[(scores["ticker"] == POOLED) & (scores["horizon"] == 1)].set_index("forecaster")
    return {str(name): 1e4 * float(value) for name, value in pooled["pinball"].items()}


def accuracy() -> Iterator[Measured]:
    bars = large_bars()
    frames = frames_of(bars, LARGE)
    results, folds = fitted(frames, LARGE)
    backtest = build_backtest(results, folds, frames)
    print_scores("100 tickers, 2017-2021", backtest)
    each = [build_backtest([result, *(r for r in results if r.job.forecaster.kind != "network")], folds, frames)
            for result in results if result.job.forecaster.kind == "network"]  # fmt: skip
    print("  each seed alone:", " ".join(f"{pinball_at_1(alone)['network']:.3f}" for alone in each))
    losses, scores = pinball_at_1(backtest), score_table(backtest)
    p = pooled(comparison_table(backtest, Trials()), "network", 1)["p"]
    network = scores[(scores["ticker"] == POOLED) & (scores["horizon"] == 1) & (scores["forecaster"] == "network")]
    yield at_most("large panel: network, mean of 3 seeds, pinball x 1e4", losses["network"], 41.40)
    yield at_most("large panel: linear, pinball x 1e4", losses["linear"], 41.78)
    yield within("large panel: last close, pinball x 1e4 (about 42.77)", losses["last_close"], 42.6, 42.9)
    yield within("large panel: EWMA-t, pinball x 1e4 (about 42.30)", losses["ewma"], 42.2, 42.4)
    yield within("large panel: 80 % coverage", float(network["coverage_80"].iloc[0]), 0.78, 0.82)
    yield at_most("large panel: DM p against last close", float(p["last_close"]), 0.01)
    yield at_most("large panel: DM p against EWMA-t", float(p["ewma"]), 0.05)
    short = frames_of(short_bars(bars), SHORT)
    results, folds = fitted(short, SHORT)
    backtest = build_backtest(results, folds, short)
    print_scores("50 tickers, crash of 2020", backtest)
    losses = pinball_at_1(backtest)
    best = min(loss for name, loss in losses.items() if name != "network")
    yield at_most("short panel: network, pinball x 1e4, against the best baseline", losses["network"], best)


def speed() -> Iterator[Measured]:
    with one_thread():
        frames = frames_of(large_bars(), LARGE)
        fold = folds_of(frames, LARGE)[0]
        job = next(jobs_of(frames, (fold,), LARGE, "cpu"))
        seconds = [seconds_to(35.75e-4, frames, fold, seed) for seed in range(3)]
        print("\nseconds to validation pinball 35.75 by seed:", " ".join(f"{value:.2f}" for value in seconds))
        yield at_most(
            "seconds of training to validation pinball 35.75, one core, median", float(np.median(seconds)), 4.0
        )
        network = fit(job, frames)
        print(f"a whole fit takes {network.seconds:.2f} s and keeps step {network.best_step}")
        every = [timed(lambda: quantiles(network, frames, slice(0, len(frames.sessions)))) for _ in range(3)]
        yield at_most("seconds for forecasts at all 540,200 origins, median of 3", float(np.median(every)), 1.5)
    yield at_most("peak memory of a process that loads, trains and forecasts, GB", peak_gigabytes(), 2.0)


def seconds_to(goal: float, frames: Frames, fold: Fold, seed: int) -> float:
    """Return the seconds until the averaged weights reach a validation pinball at horizon 1, in log return."""
    from pipeline.dataset.scaling import fit_scaler  # noqa: PLC0415
    from pipeline.forecasters.recurrent.network import new_network  # noqa: PLC0415

    job = next(jobs_of(frames, (fold,), LARGE.model_copy(update={"seed": seed}), "cpu"))
    seen = frames.until(fold.validation.stop).of(job.tickers).with_features(job.features)
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    scaler = fit_scaler(seen, fold.train)
    data = supervision(seen, scaler, fold.train, LARGE.training.volatility_power, "cpu")
    network = new_network(LARGE.network, len(job.features), seen.horizons, generator)
    average = new_network(LARGE.network, len(job.features), seen.horizons, torch.Generator().manual_seed(seed))
    reader = Reader(average, scaler, lookback_of(LARGE.network, LARGE.training), job.tickers)
    validation = validation_of(FitData(seen, fold, seed, LARGE.training))  # what every fit prepares counts as well
    levels = torch.tensor(LEVELS)
    budget = steps_for(data, LARGE.training)
    for step, _ in steps(network, data, LARGE.training, budget, generator):
        follow(average, network, min(LARGE.training.averaging, step / (step + AVERAGING_START_STEPS)))
        if step % (budget // LARGE.training.validation_checks) == 0:
            scaled = average.head.inverse(read_raw(reader, seen, validation.origins), levels, {}).numpy()
            if pinball_in_return(scaled, seen, fold) <= goal:
                return time.perf_counter() - began
    return float("inf")


def pinball_in_return(scaled: np.ndarray, frames: Frames, fold: Fold) -> float:
    """Return the mean pinball at horizon 1 over the validation range, in log return."""
    from pipeline.evaluation.scores import mean_pinball  # noqa: PLC0415

    part = slice(fold.validation.start, fold.validation.stop)
    known = label_mask(frames, fold.validation)[:, part, 0]
    quantile = scaled[:, :, 0] * frames.volatility[:, part, None]
    return mean_pinball(quantile[known].astype(np.float64), frames.future_return[:, part, 0][known].astype(np.float64))


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def wall() -> Iterator[Measured]:
    """Time `tapecast run` as `make forecast` calls it, with nothing kept: three times, the median."""
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "TAPECAST_HOME": home}
            command = [Path(sys.executable).with_name("tapecast"), "run", "--json"]
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            seconds.append(time.perf_counter() - began)
    print(
        "\nmake forecast after installation, each time from an empty home:",
        " ".join(f"{value:.1f}" for value in seconds),
    )
    yield at_most("seconds of `make forecast` after installation, median of 3", float(np.median(seconds)), 90)


PARTS = {"accuracy": accuracy, "speed": speed, "wall": wall}


def main(names: Sequence[str]) -> int:
    """Measure the named parts (default: all), each in a process of its own, and return the number of misses."""
    if not PANEL.exists() and set(names or PARTS) - {"wall"}:
        print(f"no panel at {PANEL}: accuracy and speed cannot be measured here")
        return 1
    if len(names) != 1:
        commands = [[sys.executable, "-m", "tests.benchmarks.main_job", name] for name in names or PARTS]
        return sum(subprocess.run(command, check=False).returncode for command in commands)
    measured = list(PARTS[names[0]]())
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
