"""Measures false alarms and delays of the monitoring on GARCH-t worlds of dependent tickers.

    python -m tests.benchmarks.monitoring [quick]

A reference record of 2,000 sessions gives the thresholds; 250 steady looks follow, or a change. Features are those of
the default experiment, of bars made from the returns. Forecasts know the volatility but for errors that persist over
sessions. The margin of the thresholds was chosen on other seeds (1,000 and more) for losses and coverage, and on seeds
0 to 99 for features. The exit status is the number of misses.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from math import sqrt

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.dataset.features import select_features
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.panel import Panel
from pipeline.experiment import DEFAULT_FEATURES
from pipeline.forecasters.forecaster import LEVELS
from pipeline.operation.monitoring.coverage_drift import coverage_path, coverage_reference, session_coverage
from pipeline.operation.monitoring.feature_drift import drift_path, feature_drift, feature_reference
from pipeline.operation.monitoring.loss_drift import loss_drift, loss_reference
from tests.benchmarks.main_job import Measured, at_most
from tests.benchmarks.sequential import (
    SequentialWorld,
    garch,
    loss_differences,
    outcomes_of,
    quantiles_of,
    width_errors,
)

TICKERS, REFERENCE, LOOKS = 10, 2000, 250
WARM_UP = 100
"""Sessions before the reference: of features, and of a variance that begins at its mean."""
MEAN_VOLATILITY = 0.012
FALSE_ALARMS = 0.05
NEVER = 9999


# --- Worlds ---


def garch_frames(seed: int, tickers: int, sessions: int, change: int = NEVER, factor: float = 1.0) -> Frames:
    """Return frames of GARCH-t bars after the warm-up; from the session `change` on all returns are `factor` larger."""
    draws = np.random.default_rng((seed, 16))
    returns, volatility = garch(draws, tickers, WARM_UP + sessions)
    scale = MEAN_VOLATILITY * np.where(np.arange(WARM_UP + sessions) < WARM_UP + change, 1.0, factor)
    log_return, deviation = returns * scale, volatility * scale
    close = 100 * np.exp(log_return.cumsum(axis=1))
    open_ = close * np.exp(-0.7 * log_return)
    above, below = np.exp(0.4 * deviation * np.abs(draws.standard_normal((2, *close.shape))))
    volume = 1e6 * np.exp(0.3 * draws.standard_normal(close.shape))
    high, low = np.maximum(open_, close) * above, np.minimum(open_, close) / below
    names = tuple(f"MADE{k:03d}" for k in range(tickers))
    days = np.datetime64("2010-01-01") + np.arange(close.shape[1])
    panel = Panel("24/7", names, days, open_, high, low, close, volume, log_return)
    return build_frames(panel, select_features(DEFAULT_FEATURES), names, 1, WARM_UP + 1)


def loss_world(seed: int, horizon: int, sessions: int, width: float = 1.0) -> tuple[Floats, Floats]:
    """Return loss differences [session] and coverage [band, session]; `width` scales the published bands at the end.

    The end is what comes after the reference.
    """
    world = SequentialWorld(sessions=sessions, tickers=TICKERS)
    draws = np.random.default_rng(seed)
    returns, volatility = garch(draws, TICKERS, sessions + horizon)
    scale = volatility[:, :sessions]
    published = scale * np.exp(width_errors(draws, world, world.error))
    baseline = scale * np.exp(width_errors(draws, world, world.baseline_error))
    published[:, REFERENCE:] *= width
    outcome = outcomes_of(returns, sessions, horizon)
    own = quantiles_of(published, horizon)
    differences = loss_differences(own, quantiles_of(baseline, horizon), outcome)
    return differences, session_coverage(own.reshape(*outcome.shape, len(LEVELS)), outcome)


# --- The session of the first alarm, counted from one, after the change or within the steady looks ---


def first(alarms: Booleans) -> int:
    """Return how many sessions there are until the first alarm [session], itself included."""
    return int(alarms.argmax()) + 1 if alarms.any() else NEVER


def feature_alarms(seed: int, window_sessions: int) -> tuple[int, int]:
    """Return the first alarm of features in a steady world, and after volatility x 3."""
    steps = window_sessions - 1
    steady = garch_frames(seed, TICKERS, REFERENCE + steps + LOOKS)
    tripled = garch_frames(seed, TICKERS, REFERENCE + steps + LOOKS, REFERENCE + steps, 3.0)
    split = WARM_UP + REFERENCE
    reference = feature_reference(
        steady.feature_names, steady.features[:, WARM_UP:split], steady.usable[:, WARM_UP:split], window_sessions
    )
    found = []
    for frames in (steady, tripled):
        psi, ks = drift_path(reference, frames.features[:, split:], frames.usable[:, split:])
        found.append(first(((psi > reference.psi_threshold) | (ks > reference.ks_threshold)).any(axis=1)))
    return found[0], found[1]


def loss_alarms(seed: int, horizon: int) -> tuple[int, int]:
    """Return the first alarm of the loss in a steady world, and after a rise by half a standard deviation."""
    differences, _ = loss_world(seed, horizon, REFERENCE + LOOKS)
    reference = loss_reference(differences[:REFERENCE], horizon)
    rise = 0.5 * reference.standard_deviation
    later = differences[REFERENCE:]
    paths = [loss_drift(series, reference).path for series in (later, later + rise)]
    return first(paths[0] > reference.threshold), first(paths[1] > reference.threshold)


def coverage_alarms(seed: int, horizon: int) -> tuple[int, int]:
    """Return the first alarm of coverage in a steady world, and where bands are suddenly half as wide."""
    found = []
    for width in (1.0, 0.5):
        _, coverage = loss_world(seed, horizon, REFERENCE + LOOKS, width)
        reference = coverage_reference(coverage[:, :REFERENCE], horizon)
        path = coverage_path(coverage, reference)[:, -LOOKS:]
        found.append(first(((path < reference.low[:, None]) | (path > reference.high[:, None])).any(axis=0)))
    return found[0], found[1]


# --- Measuring ---


def measured(name: str, worlds: int, alarms: Callable[[int], tuple[int, int]], bound: int) -> list[Measured]:
    """Return the share of steady worlds with an alarm, and the median delay until a change is found."""
    began = time.perf_counter()
    steady, changed = np.array([alarms(seed) for seed in range(worlds)]).T
    share, found = float((steady <= LOOKS).mean()), float((changed <= LOOKS).mean())
    median, most = np.quantile(changed, (0.5, 0.9), method="higher")
    took = time.perf_counter() - began
    print(
        f"{name}: alarm in {share:.1%} of {worlds} steady worlds; change found in {found:.1%}, "
        f"after {median:.0f} sessions (median), {most:.0f} (90 %); {took:.0f} s"
    )
    sys.stdout.flush()
    error = sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / worlds)
    return [
        at_most(f"{name}: false alarms in 250 sessions", share, round(FALSE_ALARMS + 2 * error, 4)),
        at_most(f"{name}: sessions, median delay", float(median), bound),
    ]


def seconds() -> float:
    """Return the CPU seconds of references and a look, 100 tickers x 2,500 sessions x 12 features (best of 3)."""
    frames = garch_frames(0, 100, 2500)
    features, usable = frames.features[:, WARM_UP:], frames.usable[:, WARM_UP:]
    differences, coverage = loss_world(0, 1, 2500)
    best = np.inf
    for _ in range(3):
        began = time.process_time()
        feature_drift(feature_reference(frames.feature_names, features, usable), features, usable)
        loss_drift(differences, loss_reference(differences, 1))
        coverage_path(coverage, coverage_reference(coverage, 1))
        best = min(best, time.process_time() - began)
    return best


def main(names: list[str]) -> int:
    """Measure and return the number of misses; `quick` takes a tenth of the worlds."""
    worlds = 20 if "quick" in names else 200
    lines = [at_most("CPU seconds of all references and a look, 100 x 2,500 x 12", seconds(), 2.0)]
    for window, most in ((60, 50), (20, 20)):
        lines += measured(
            f"features over {window}, volatility x 3", worlds, partial(feature_alarms, window_sessions=window), most
        )
    for horizon, most in ((1, 110), (5, 190)):
        lines += measured(f"loss + 0.5 deviations, h = {horizon}", worlds, partial(loss_alarms, horizon=horizon), most)
    for horizon, most in ((1, 30), (5, 45)):
        lines += measured(f"bands x 0.5, h = {horizon}", worlds, partial(coverage_alarms, horizon=horizon), most)
    print("\n" + "\n".join(map(str, lines)))
    return sum(not line.met for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
