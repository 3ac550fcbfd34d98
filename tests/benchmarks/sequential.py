"""Measures false alarms and power of the sequential test on dependent GARCH data.

    python -m tests.benchmarks.sequential [quick]

How often is there an alarm, and after how many sessions? A common shock of Student t moves all tickers, each with a
GARCH(1, 1) of its own. A published forecast and five baselines know the volatility but for errors that persist over
sessions: all of the same size where nothing is to be found, larger ones of the published forecast where it loses. An
alarm is a null hypothesis (one per baseline and horizon) that e-BH rejects at 5 % after any session. The exit status is
the number of misses.
"""

import sys
import time
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.signal import lfilter
from scipy.stats import t as student

from pipeline.arrays import Floats
from pipeline.evaluation.scores import pinball_of
from pipeline.evaluation.significance.sequential import e_rejected, interleaved_wealth, least_difference
from pipeline.forecasters.forecaster import LEVELS
from tests.benchmarks.main_job import at_most, within

LEVEL = 0.05
DEGREES, ALPHA, BETA, COMMON = 5.0, 0.08, 0.90, 0.36
PERSISTENCE = 0.97
HORIZONS, BASELINES = 5, 5
STANDARD = student.ppf(LEVELS, DEGREES) / sqrt(DEGREES / (DEGREES - 2))


@dataclass(frozen=True)
class SequentialWorld:
    """Forecasts of dependent tickers: the errors of log volatility of the published forecast and of each baseline."""

    error: float = 0.2
    baseline_error: float = 0.2
    sessions: int = 1000
    tickers: int = 10


def garch(draws: np.random.Generator, tickers: int, sessions: int) -> tuple[Floats, Floats]:
    """Return log returns and the volatility before each of them [ticker, session], of mean variance one."""
    shape = sqrt(DEGREES / (DEGREES - 2))
    common, own = draws.standard_t(DEGREES, sessions), draws.standard_t(DEGREES, (tickers, sessions))
    shocks = (sqrt(COMMON) * common + sqrt(1 - COMMON) * own) / shape
    returns, volatility, variance = np.empty_like(shocks), np.empty_like(shocks), np.ones(tickers)
    for t in range(sessions):
        volatility[:, t] = np.sqrt(variance)
        returns[:, t] = volatility[:, t] * shocks[:, t]
        variance = (1 - ALPHA - BETA) + ALPHA * returns[:, t] ** 2 + BETA * variance
    return returns, volatility


def width_errors(draws: np.random.Generator, world: SequentialWorld, size: float) -> Floats:
    """Return errors of the log volatility [ticker, session] of a standard deviation, which persist."""
    steps = draws.normal(size=(world.tickers, world.sessions)) * sqrt(1 - PERSISTENCE**2)
    steps[:, 0] /= sqrt(1 - PERSISTENCE**2)
    errors: Floats = size * lfilter([1.0], [1.0, -PERSISTENCE], steps, axis=1)
    return errors


def evidence_of(world: SequentialWorld, seed: int) -> Floats:
    """Return the e-processes that the published forecast is worse [baseline x horizon, session]."""
    draws = np.random.default_rng(seed)
    returns, volatility = garch(draws, world.tickers, world.sessions + HORIZONS)
    scale = volatility[:, : world.sessions]
    published = scale * np.exp(width_errors(draws, world, world.error))
    baselines = [scale * np.exp(width_errors(draws, world, world.baseline_error)) for _ in range(BASELINES)]
    return np.array(
        [
            _evidence(published, baseline, outcomes_of(returns, world.sessions, h), h)
            for baseline in baselines
            for h in range(1, HORIZONS + 1)
        ]
    )


def outcomes_of(returns: Floats, sessions: int, horizon: int) -> Floats:
    """Return the returns over the next `horizon` sessions [ticker, session]."""
    paths = np.pad(returns, ((0, 0), (1, 0))).cumsum(axis=1)
    return paths[:, horizon : sessions + horizon] - paths[:, :sessions]


def quantiles_of(scale: Floats, horizon: int) -> Floats:
    """Return the quantiles [ticker x session, level] of a forecast that knows a volatility [ticker, session]."""
    return (sqrt(horizon) * scale[..., None] * STANDARD).reshape(-1, len(LEVELS))


def loss_differences(own: Floats, others: Floats, outcome: Floats) -> Floats:
    """Return what a forecast loses more than another [session], the mean over tickers, of `quantiles_of` each."""
    differences = pinball_of(own, outcome.ravel()) - pinball_of(others, outcome.ravel())
    return differences.reshape(outcome.shape).mean(axis=0)


def _evidence(published: Floats, baseline: Floats, outcome: Floats, horizon: int) -> Floats:
    own, others = quantiles_of(published, horizon), quantiles_of(baseline, horizon)
    least = least_difference(own, others).reshape(outcome.shape).mean(axis=0)
    return interleaved_wealth(loss_differences(own, others, outcome), least, horizon)


def first_alarm(evidence: Floats) -> int:
    """Return the session after which e-BH rejects any hypothesis first, -1 where it never does."""
    possible = np.flatnonzero(evidence.max(axis=0) >= 1 / LEVEL)  # e-BH rejects nothing below
    return next((int(t) for t in possible if e_rejected(evidence[:, t], LEVEL).any()), -1)


def measured(name: str, world: SequentialWorld, seeds: int) -> tuple[float, float]:
    """Return the share of worlds with an alarm and the median session of the first, after printing both."""
    began = time.perf_counter()
    first = np.array([first_alarm(evidence_of(world, seed)) for seed in range(seeds)])
    share, median = float((first >= 0).mean()), float(np.median(first[first >= 0])) if (first >= 0).any() else np.nan
    took = time.perf_counter() - began
    print(f"{name}: alarms in {share:.1%} of {seeds} worlds, first after {median:.0f} sessions ({took:.0f} s)")
    sys.stdout.flush()
    return share, median


def main(names: list[str]) -> int:
    """Measure and return the number of misses; `quick` takes a tenth of the worlds."""
    seeds = 20 if "quick" in names else 200
    alike, _ = measured("errors alike (0.2)", SequentialWorld(), seeds)
    large, _ = measured("errors alike (0.4)", SequentialWorld(error=0.4, baseline_error=0.4), seeds)
    better, _ = measured("published better (0.1, baselines 0.2)", SequentialWorld(error=0.1), seeds)
    losing, after = measured("published worse by 2 % (0.29, baselines 0.1)", SequentialWorld(0.29, 0.1), seeds)
    lines = [
        at_most("false alarms in 1,000 sessions, errors alike (0.2)", alike, LEVEL),
        at_most("false alarms in 1,000 sessions, errors alike (0.4)", large, LEVEL),
        at_most("false alarms in 1,000 sessions, published better", better, LEVEL),
        within("alarms in 1,000 sessions, published worse by 2 %", losing, 0.95, 1.0),
        at_most("sessions until the median alarm, published worse by 2 %", after, 400),
    ]
    print("\n" + "\n".join(map(str, lines)))
    return sum(not line.met for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
