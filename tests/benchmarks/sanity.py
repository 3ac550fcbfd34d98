"""Measures false positives over 200 seeds, and the share of the optimum that is reached. Run as a module.

On random walks and on shuffled real returns a small network is fitted per seed. The rate of those that are called
better than climatology, and of those whose median informs, must be at most the stated level plus two standard errors;
the exit status is the number of rates that are not, and of shares out of their range. Beside them stands how often the
same small network finds a planted return: a test that never speaks is never wrong either.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.audit.steps import Steps
from pipeline.market.specification import Process
from pipeline.sanity.cases import NOISE_EXPERIMENT, SanityCase, random_walk_case, shuffled_case, signal_case
from pipeline.sanity.checks import FALSE_POSITIVE_RATE, SHARE_RANGE, SINE_RATIO_RANGE, has_skill, median_informs
from pipeline.sanity.suite import last_fold_backtest, signal_result

SEEDS = 200
POWER_SEEDS = 20
SHARE_SEEDS = 30
STEPS = Steps()


def flags(prices: Callable[[int], SanityCase], seeds: int) -> np.ndarray:
    """Return [seed, test]: better than climatology, and the median informs."""
    backtests = (last_fold_backtest(prices(seed), STEPS) for seed in range(seeds))
    return np.array([(has_skill(backtest), median_informs(backtest)) for backtest in backtests])


def most(seeds: int) -> float:
    return FALSE_POSITIVE_RATE + 2 * float(np.sqrt(FALSE_POSITIVE_RATE * (1 - FALSE_POSITIVE_RATE) / seeds))


def rates_met(name: str, prices: Callable[[int], SanityCase], seeds: int) -> list[bool]:
    began = time.perf_counter()
    rates = flags(prices, seeds).mean(axis=0)
    met = [float(rate) <= most(seeds) for rate in rates]
    print(f"{name}: {seeds} seeds in {time.perf_counter() - began:.0f} s")
    for test, rate, good in zip(("better than climatology", "median informs"), rates, met, strict=True):
        word = "met" if good else "MISSED"
        print(
            f"  {test:<24} {rate:6.1%}, level {FALSE_POSITIVE_RATE:.1%} + 2 standard errors = {most(seeds):.1%}: {word}"
        )
    sys.stdout.flush()
    return met


def planted_for_the_small(seed: int) -> SanityCase:
    return replace(signal_case("planted", seed, 0.4), experiment=NOISE_EXPERIMENT.model_copy(update={"seed": seed}))


def in_range(process: Process, strength: float | None, bounds: tuple[float, float], seeds: int) -> bool:
    results = [signal_result(signal_case(process, seed, strength), STEPS)[1] for seed in range(seeds)]
    values = np.array([result.rmse_ratio if process == "sine" else result.share for result in results])
    optimum = np.mean([result.optimum for result in results])
    met = bool(bounds[0] <= values.min() and values.max() <= bounds[1])
    measure = "RMSE over the best" if process == "sine" else "share of the optimum"
    print(
        f"{process}: {measure} {values.min():.3f} to {values.max():.3f}, median {np.median(values):.3f}, over {seeds} "
        f"seeds; range {bounds[0]} to {bounds[1]}: {'met' if met else 'MISSED'}; the optimum is {optimum:.2%} skill"
    )
    sys.stdout.flush()
    return met


def main(names: list[str]) -> int:
    """Measure with as many seeds as the first argument says, or SEEDS, and return the number of misses."""
    seeds = int(names[0]) if names else SEEDS
    met = [*rates_met("random walk", random_walk_case, seeds), *rates_met("shuffled returns", shuffled_case, seeds)]
    power = flags(planted_for_the_small, min(POWER_SEEDS, seeds)).mean(axis=0)
    print(f"planted return, the same small network: better in {power[0]:.0%}, median informs in {power[1]:.0%}")
    several = min(SHARE_SEEDS, seeds)
    met.append(in_range("sine", None, SINE_RATIO_RANGE, several))
    met.append(in_range("planted", 0.4, SHARE_RANGE, several))
    met.append(in_range("planted_garch", None, SHARE_RANGE, several))
    return met.count(False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
