"""Measures whether random configurations on noise produce an edge: forecasts, money and really trained networks.

    python -m tests.benchmarks.multiple_testing [forecasts|money|networks ...]

A world is a random walk whose volatility clusters, so nothing tells the next session's direction. A configuration is
the long-run climatology with a scale and a median that wander by themselves; none can be better in expectation, and
most move so little that their cost cannot be seen: the hardest noise to tell from skill. The k-th configuration of a
world is judged as the k-th that was tested, as they would be in a search that stops at the first success.
Prints a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from pipeline.dataset.folds import FoldSpec
from pipeline.evaluation.comparisons import SIGNIFICANT, compare_with_baselines, comparison_table, pooled
from pipeline.evaluation.money.sharpe import deflated_sharpe
from pipeline.evaluation.significance.mean_test import long_lags
from pipeline.evaluation.significance.predictive_ability import diebold_mariano_each
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.forecasts import CORE_FORECASTERS, NETWORK
from pipeline.market.specification import SyntheticSource
from tests.benchmarks.main_job import Measured, at_most, within
from tests.panels import changed, fit_jobs, jobs_for, synthetic_frames

WORLDS, TICKERS, SESSIONS, CONFIGURATIONS = 40, 20, 750, 500
NETWORKS = 12
SMALLEST, LARGEST = 1e-4, 2e-2
"""How far a configuration wanders: in the logarithm of the scale, and of the median in units of volatility."""
DAILY_VOLATILITY = 0.01
CLUSTERING, PERSISTENCE = 0.35, 0.97
MEMORY = 0.9
"""The autocorrelation of those configurations that have one."""
SETTLED = 200


@dataclass(frozen=True)
class World:
    """Returns and the volatility that is known before them [ticker, session], every ticker of the same law."""

    returns: np.ndarray
    volatility: np.ndarray


def wandering(draws: np.random.Generator, shape: tuple[int, ...], memory: float) -> np.ndarray:
    """Return standard normal series with this autocorrelation along the last axis."""
    shocks = draws.standard_normal((*shape[:-1], shape[-1] + SETTLED))
    return lfilter([np.sqrt(1 - memory**2)], [1, -memory], shocks)[..., SETTLED:]


def noise(seed: int, tickers: int = TICKERS, sessions: int = SESSIONS) -> World:
    """Return a random walk: half of the variance is common to all tickers, of returns and of log volatility."""
    draws = np.random.default_rng((seed, 0))
    wander = [wandering(draws, (rows, sessions), PERSISTENCE) for rows in (1, tickers)]
    volatility = DAILY_VOLATILITY * np.exp(CLUSTERING * (wander[0] + wander[1]))
    shocks = draws.standard_normal((1, sessions)) + draws.standard_normal((tickers, sessions))
    return World(volatility * shocks / np.sqrt(2), volatility)


@cache
def climatology() -> np.ndarray:
    """Return the quantiles [level] of the law itself, from a history far longer than any test."""
    found = np.quantile(noise(10**6, 4, 100_000).returns, LEVELS)
    return (found - found[::-1]) / 2


def configuration(draws: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Return quantiles [ticker, session, level] that know nothing of what comes."""
    scale, median = np.exp(draws.uniform(np.log(SMALLEST), np.log(LARGEST), 2))
    rows = 1 if draws.uniform() < 0.5 else shape[0]
    wander = wandering(draws, (2, rows, shape[1]), draws.choice([0.0, MEMORY]))
    around = np.exp(scale * wander[0])[..., None] * climatology() + median * DAILY_VOLATILITY * wander[1][..., None]
    return np.broadcast_to(around, (*shape, len(LEVELS)))


def configurations(seed: int, shape: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    draws = np.random.default_rng((seed, 1))
    return (configuration(draws, shape) for _ in range(count))


def loss(quantiles: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the mean pinball loss per session."""
    error = outcome[..., None] - quantiles
    return np.maximum(np.array(LEVELS) * error, (np.array(LEVELS) - 1) * error).mean(axis=(0, 2))


def against_climatology(world: World, said: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return t and p of each configuration against climatology, as in the pooled rows of the table of comparisons."""
    base = loss(climatology(), world.returns)
    test = diebold_mariano_each(
        np.stack([loss(quantiles, world.returns) - base for quantiles in said]), 1, long_lags(1)
    )
    return test.t, test.p


def better(t: np.ndarray, p: np.ndarray, counted: Callable[[int, float], float]) -> np.ndarray:
    """Return which configurations are called better, `counted` giving the p-value of the k-th."""
    adjusted = np.array([counted(k, value) for k, value in enumerate(p, start=1)])
    return (t < 0) & (adjusted <= SIGNIFICANT)


COUNTS: Mapping[str, Callable[[int, float], float]] = {
    "counted": lambda k, p: Trials(tested=k).adjusted(p),
    "not counted": lambda _k, p: p,
    "as the smallest of those until now (Sidak)": lambda k, p: 1 - (1 - p) ** k,
}


def forecasts() -> Iterator[Measured]:
    """Count the worlds in which any configuration was ever called better than climatology."""
    found = [
        against_climatology(world, configurations(seed, world.returns.shape, CONFIGURATIONS))
        for seed, world in worlds()
    ]
    called = {name: np.array([better(t, p, rule) for t, p in found]) for name, rule in COUNTS.items()}
    print(f"\n{WORLDS} worlds of noise, {CONFIGURATIONS} configurations each, called better than climatology:")
    for name, words in called.items():
        print(f"  {name}: {words.sum()} in all, {words.any(axis=1).sum()} worlds with any")
    chance = SIGNIFICANT + 2 * np.sqrt(SIGNIFICANT * (1 - SIGNIFICANT) / WORLDS)
    yield at_most("share of worlds with an edge, counted", called["counted"].any(axis=1).mean(), chance)
    yield within("share of worlds with an edge, not counted", called["not counted"].any(axis=1).mean(), 0.9, 1.0)
    yield at_most("p of the table of comparisons less that of the test alone, largest of 5", disagreement(), 1e-4)
    yield within("share of worlds where volatility itself is found as the 500th", found_after_all(), 0.95, 1.0)


def worlds() -> Iterator[tuple[int, World]]:
    return ((seed, noise(seed)) for seed in range(WORLDS))


def disagreement() -> float:
    """Return the largest difference between the p-value in the table and that of `against_climatology`."""
    world = noise(0)
    said = list(configurations(0, world.returns.shape, 5))
    tables = [pooled(comparison_table(backtest_of(world, quantiles), Trials()), NETWORK, 1) for quantiles in said]
    return max(
        abs(comparisons["p"]["climatology"] - p)
        for comparisons, p in zip(tables, against_climatology(world, iter(said))[1], strict=True)
    )


def found_after_all() -> float:
    """Return in how many worlds who knows the volatility is called better, though 499 others were tested before."""
    said = ((world, world.volatility[..., None] * normal_unit_quantiles()) for _, world in worlds())
    tests = [against_climatology(world, iter([quantiles])) for world, quantiles in said]
    return float(np.mean([t[0] < 0 and Trials(tested=CONFIGURATIONS).adjusted(p[0]) <= SIGNIFICANT for t, p in tests]))


def backtest_of(world: World, quantiles: np.ndarray) -> Backtest:
    """Return a configuration as the network of a backtest, at horizon 1, next to climatology."""
    shape = world.returns.shape
    days = np.datetime64("2020-01-01") + np.arange(shape[1] + 1)
    base = np.broadcast_to(climatology(), quantiles.shape)
    return Backtest(
        tickers=tuple(f"T{k}" for k in range(shape[0])),
        sessions=days[:-1],
        fold_names=("only",),
        fold_of_origin=np.zeros(shape[1], dtype=np.int64),
        quantiles={
            name: values[:, :, None].astype(np.float32)
            for name, values in ((NETWORK, quantiles), ("climatology", base))
        },
        realised=world.returns[..., None].astype(np.float32),
        reference_close=np.full(shape, 100.0),
        target_sessions=days[1:, None],
    )


def money() -> Iterator[Measured]:
    """Judge the best of the Sharpe ratios of going with each configuration's median, without costs."""
    counted, alone = np.array([best_probabilities(*world) for world in worlds()]).T
    print(f"\nprobability that the best of {CONFIGURATIONS} Sharpe ratios on noise is above what chance gives:")
    for name, values in (("counted", counted), ("not counted", alone)):
        print(f"  {name}: median of {WORLDS} worlds {np.median(values):.4f}, largest {values.max():.4f}")
    yield at_most("deflated Sharpe ratio of the best, largest of all worlds", counted.max(), 0.95)
    yield within("the same not deflated, smallest of all worlds", alone.min(), 0.95, 1.0)


def best_probabilities(seed: int, world: World) -> tuple[float, float]:
    """Return the largest deflated and the largest probabilistic Sharpe ratio of a world."""
    simple = np.expm1(world.returns)
    middle = LEVELS.index(0.5)
    said = configurations(seed, world.returns.shape, CONFIGURATIONS)
    earned = [(np.sign(item[..., middle]) * simple).mean(axis=0) for item in said]
    deflated, plain = ([deflated_sharpe(item, trials) for item in earned] for trials in (CONFIGURATIONS, 1))
    return max(deflated), max(plain)


def networks() -> Iterator[Measured]:
    """Train networks of random settings on a random walk, and compare each with every baseline."""
    source = SyntheticSource(process="random_walk", tickers=TICKERS, sessions=1250)
    split = FoldSpec(train_end="2021-09-30", valid_end="2021-12-31")  # leaves 750 sessions to test
    base = Experiment(source=source, horizons=1, folds=split, seeds=1, device="cpu", workers=1)
    frames = synthetic_frames(source, base)
    draws, words = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        jobs, folds = jobs_for(frames, base, CORE_FORECASTERS[1:])
        simple = fit_jobs(jobs, frames, Path(folder) / "baselines")
        for k in range(1, NETWORKS + 1):
            jobs, _ = jobs_for(frames, random_experiment(base, draws))
            fits = fit_jobs(jobs, frames, Path(folder) / str(k))
            backtest = build_backtest([*fits, *simple], folds, frames)
            words += [
                compare_with_baselines(comparison_table(backtest, Trials(tested=tries)), NETWORK, 1) for tries in (k, 1)
            ]
    print(
        f"\n{NETWORKS} trained networks on a random walk, {len(backtest.sessions)} sessions tested, against the best:"
    )
    print("  " + ", ".join(f"{word.best_baseline} {word.skill:+.3%} p {word.p:.2g}" for word in words[1::2]))
    yield at_most("trained networks better than every baseline, counted", sum(word.passed for word in words[::2]), 0)


def random_experiment(base: Experiment, draws: np.random.Generator) -> Experiment:
    network = RecurrentSpec(
        cell=str(draws.choice(["lstm", "gru", "rnn"])),
        hidden_size=int(draws.integers(4, 25)),
        dropout=float(draws.uniform(0, 0.3)),
    )
    steps = int(draws.integers(20, 61))
    training = TrainingSpec(
        min_steps=steps,
        max_steps=steps,
        validation_checks=4,
        batch_chunks=8,
        learning_rate=float(10 ** draws.uniform(-3, -1.5)),
    )
    return changed(base, network=network, training=training, seed=int(draws.integers(10_000)))


PARTS: Mapping[str, Callable[[], Iterator[Measured]]] = {"forecasts": forecasts, "money": money, "networks": networks}


def main(names: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    measured = [measurement for name in names or PARTS for measurement in PARTS[name]()]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
