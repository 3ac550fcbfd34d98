"""Compares networks with each other and the chosen one with every benchmark, on the large panel.

    python -m tests.benchmarks.family [search|chosen|horizons|warm|scope ...] [whole]

The protocol is that of the main job's benchmark: train to 2014, validate on 2015 and 2016, test after it; no return is
clipped. `search` prints the validation of every specification tried, and of no one anything else. `chosen` and
`horizons` print the test of the chosen one and of its benchmarks, each with its Diebold-Mariano p-value; the last 250
sessions stay sealed unless `whole` is named. `warm` prints what a warm start costs and saves over yearly folds, `scope`
one network per ticker compared with one for all.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames, save_frames
from pipeline.dataset.labels import label_mask
from pipeline.evaluation.scores import mean_pinball
from pipeline.experiment import Experiment
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.forecaster import DEFAULT_FEATURES
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.recurrent.specification import MixtureHeadSpec, PointHeadSpec, RecurrentSpec, StudentHeadSpec
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult
from pipeline.training.schedule import fit_all, raise_failures
from tests.benchmarks.benchmark_forecasters import SEALED_SESSIONS, p_values, pinball_in_test, shown, validation_pinball
from tests.benchmarks.defaults_search import OLD_NETWORK, OLD_TRAINING
from tests.benchmarks.main_job import LARGE, PANEL, at_most, large_bars

BENCHMARKS = (GarchSpec(), HarSpec(), RidgeSpec(), BoostingSpec())
TEN = tuple(name for name in DEFAULT_FEATURES if name not in ("volatility_60", "log_volatility"))
TWELVE = DEFAULT_FEATURES
BOUND = 41.25


def like(spec: RecurrentSpec, **changes: object) -> RecurrentSpec:
    return RecurrentSpec.model_validate(spec.model_dump() | changes)


LSTM = RecurrentSpec.model_validate(OLD_NETWORK)
GRU = like(LSTM, cell="gru")
STUDENT = like(GRU, head=StudentHeadSpec().model_dump())
MIXTURE = like(GRU, head=MixtureHeadSpec(components=4).model_dump())
TRAINING = TrainingSpec.model_validate(OLD_TRAINING)
"""The training that was the default when these were compared."""
TRIED: Mapping[str, Experiment] = {
    name: LARGE.model_copy(update={"horizons": 1, "network": network, "features": features, "training": TRAINING})
    for name, network, features in (
        ("lstm, quantiles, ten features", LSTM, TEN),
        ("gru, quantiles, ten features", GRU, TEN),
        ("rnn, quantiles, ten features", like(GRU, cell="rnn"), TEN),
        ("lstm, quantiles, twelve", LSTM, TWELVE),
        ("gru, quantiles, twelve", GRU, TWELVE),
        ("lstm, student t, twelve", like(STUDENT, cell="lstm"), TWELVE),
        ("gru, student t, twelve", STUDENT, TWELVE),
        ("gru, student t, 2 layers", like(STUDENT, num_layers=2, dropout=0.2), TWELVE),
        ("gru, student t, 2 layers, normed", like(STUDENT, num_layers=2, layer_norm=True, residual=True), TWELVE),
        ("gru, student t, embedding of 4", like(STUDENT, embedding_size=4), TWELVE),
        ("gru, mixture of 2", like(MIXTURE, head={"kind": "mixture", "components": 2}), TWELVE),
        ("gru, mixture of 4", MIXTURE, TWELVE),
        ("gru, mixture of 4, dropout 0.2", like(MIXTURE, dropout=0.2), TWELVE),
        ("gru, mixture of 4, 2 layers", like(MIXTURE, num_layers=2, dropout=0.2), TWELVE),
        ("gru, mixture of 4, 2 layers of 32", like(MIXTURE, num_layers=2, dropout=0.2, hidden_size=32), TWELVE),
        ("gru, mixture of 8", like(MIXTURE, head={"kind": "mixture", "components": 8}), TWELVE),
        ("gru, point, squared error", like(GRU, head=PointHeadSpec().model_dump()), TWELVE),
    )
}  # fmt: skip
CHOSEN = "gru, mixture of 4, 2 layers of 32"


def fitted(frames: Frames, experiment: Experiment, folds: Sequence[Fold], kinds: Sequence[str] = ()) -> list[FitResult]:
    """Return the experiment's fits on these folds, of some kinds of forecasters (default: all)."""
    jobs = list(jobs_of(frames, tuple(folds), experiment, "cpu", kinds or None))
    with tempfile.TemporaryDirectory() as name:
        save_frames(frames, Path(name) / "frames")
        results = list(fit_all(jobs, Path(name) / "frames", FitCache(Path(name) / "fits"), experiment.worker_count))
    raise_failures(results)
    return results


def sealed(backtest: Backtest, whole: bool) -> Backtest:
    """Return the backtest without its last sessions, unless the whole is to be seen."""
    if whole:
        return backtest
    seen = slice(0, len(backtest.sessions) - SEALED_SESSIONS)
    return replace(
        backtest,
        sessions=backtest.sessions[seen],
        fold_of_origin=backtest.fold_of_origin[seen],
        quantiles={name: values[:, seen] for name, values in backtest.quantiles.items()},
        realised=backtest.realised[:, seen],
        reference_close=backtest.reference_close[:, seen],
        target_sessions=backtest.target_sessions[seen],
    )


def validation_of_mean(results: Sequence[FitResult], frames: Frames, fold: Fold) -> list[float]:
    """Return the validation pinball x 1e4 by horizon of the mean of some fits."""
    part = slice(fold.validation.start, fold.validation.stop)
    mean = np.mean([quantiles(result.fitted, frames, part) for result in results if result.fitted], axis=0)
    known = label_mask(frames, fold.validation)[:, part]
    found, outcome = mean.astype(np.float64), frames.future_return[:, part].astype(np.float64)
    return [1e4 * mean_pinball(found[known[..., h], h], outcome[known[..., h], h]) for h in range(frames.horizons)]


def search(_whole: bool) -> int:
    """Print the validation of every specification tried, three seeds each."""
    frames = frames_with(TWELVE, 1)
    fold = folds_of(frames, LARGE)[0]
    print("validation pinball x 1e4 at horizon 1: mean of 3 seeds, each alone, seconds per fit")
    found = {}
    for name, experiment in TRIED.items():
        results = fitted(frames, experiment, (fold,), (NETWORK,))
        alone = [validation_pinball(result.fitted, frames, fold)[0] for result in results if result.fitted]
        found[name] = validation_of_mean(results, frames, fold)[0]
        seconds = np.median([result.fitted.seconds for result in results if result.fitted])
        print(f"  {name:<44} {found[name]:.3f}   {shown(alone)}   {seconds:5.1f} s", flush=True)
    best = min(found, key=lambda name: found[name])
    print(f"best on validation: {best}; chosen: {CHOSEN}")
    return int(best != CHOSEN)


def against_benchmarks(horizons: int, whole: bool) -> list[float]:
    """Print the chosen specification (mean of 5 seeds) and every benchmark in test; return its pinball by horizon."""
    experiment = TRIED[CHOSEN].model_copy(update={"horizons": horizons, "seeds": 5, "benchmarks": BENCHMARKS})
    frames = frames_with(experiment.all_features, horizons)
    folds = folds_of(frames, experiment)
    results = fitted(frames, experiment, folds)
    backtest = sealed(build_backtest(results, folds, frames), whole)
    part = "whole test" if whole else f"test without its last {SEALED_SESSIONS} sessions"
    print(f"{CHOSEN}, H = {horizons}, {part}: {len(backtest.sessions)} sessions; pinball x 1e4 by horizon, then the")
    print("p-value of the Diebold-Mariano test by horizon (-: the network has the smaller loss)")
    for name in backtest.quantiles:
        p = [] if name == NETWORK else p_values(backtest, NETWORK, name)
        print(f"  {name:<12} {shown(pinball_in_test(backtest, name))}   {' '.join(p)}", flush=True)
    return pinball_in_test(backtest, NETWORK)


def chosen(whole: bool) -> int:
    """Hold the chosen specification against the bound at horizon 1."""
    value = against_benchmarks(1, whole)[0]
    if not whole:
        print(f"the bound of {BOUND} is that of the whole test: name `whole` to open the seal")
        return 0
    print(at_most("pinball x 1e4 at horizon 1, mean of 5 seeds", value, BOUND))
    return int(value > BOUND)


def horizons(whole: bool) -> int:
    """Print horizons 1 to 5 against every benchmark."""
    against_benchmarks(5, whole)
    return 0


def frames_with(features: Sequence[str], horizons: int) -> Frames:
    """Return the frames of the large panel with these features for the network and what every baseline reads."""
    experiment = LARGE.model_copy(update={"features": tuple(features), "horizons": horizons, "benchmarks": BENCHMARKS})
    return frames_of(large_bars(), experiment)


def compared(variants: Mapping[str, Experiment], years: tuple[str, str]) -> int:
    """Print the test pinball by horizon, gradient steps and seconds of each variant over the folds of some years."""
    first = next(iter(variants.values()))
    frames = frames_with(first.all_features, first.horizons)
    folds = tuple(fold for fold in folds_of(frames, first) if years[0] <= fold.name[:4] <= years[1])
    print(f"folds {', '.join(fold.name for fold in folds)}: test pinball x 1e4, gradient steps, seconds")
    for name, experiment in variants.items():
        began = time.perf_counter()
        results = fitted(frames, experiment, folds, (NETWORK,))
        seconds = time.perf_counter() - began
        steps = sum(result.fitted.checks[-1].step for result in results if result.fitted)
        losses = pinball_in_test(build_backtest(results, folds, frames), NETWORK)
        print(f"  {name:<24} {shown(losses)}   {steps:6d} steps   {seconds:6.1f} s", flush=True)
    return 0


def yearly() -> Experiment:
    """Return the chosen specification, one seed, over folds of a year each."""
    return TRIED[CHOSEN].model_copy(update={"seeds": 1, "folds": FoldSpec()})


def warm(_whole: bool) -> int:
    """Print what it costs and saves to begin each fold with the weights of the former one."""
    base = yearly()
    warmer = {"warm_start": True}
    variants = {
        "anew": base,
        "warm, half the steps": base.model_copy(update={"training": base.training.model_copy(update=warmer)}),
        "warm, a quarter": base.model_copy(
            update={"training": base.training.model_copy(update=warmer | {"warm_share": 0.25})}
        ),
    }
    return compared(variants, ("2011", "2016"))


def scope(_whole: bool) -> int:
    """Print one network for all tickers next to one with an embedding and one network per ticker."""
    base = yearly()
    variants = {
        "one for all": base,
        "with an embedding of 4": base.model_copy(update={"network": like(base.network, embedding_size=4)}),
        "one per ticker": base.model_copy(update={"network": like(base.network, scope="ticker")}),
    }
    return compared(variants, ("2015", "2015"))


PARTS: Mapping[str, Callable[[bool], int]] = {
    "search": search,
    "chosen": chosen,
    "horizons": horizons,
    "warm": warm,
    "scope": scope,
}


def main(names: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the family cannot be measured here")
        return 1
    parts = [name for name in names if name != "whole"] or list(PARTS)
    return sum(PARTS[name]("whole" in names) for name in parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
