"""How far the forecasts of a refitted forecaster move where all prices are multiplied by a constant: python -m ...

Prices times 7.3, rounded to the eight decimals of a file, give features that differ in their last digits, and a fit
may magnify this. The bundled sample, its first fold, every forecaster at its defaults with one seed; the sizes are of
quantiles of log returns over the test range, in basis points. Returns 1 where one exceeds what the README says.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pipeline.experiment import Experiment
from pipeline.forecasters.registry import BENCHMARK_KINDS, FORECASTERS, forecaster_from_json
from pipeline.market.bars import Bars
from pipeline.market.sources import open_source
from pipeline.market.validation.validate import load_bars
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.fits import fit_each, quantiles
from tests.panels import NOW

FACTOR, DECIMALS = 7.3, 8
PRICES = ["open", "high", "low", "close", "adj_close", "dividend"]
MAX_NETWORK_BPS = 0.01
MAX_BOOSTING_BPS = 150.0
MAX_OTHER_BPS = 0.1
"""Above the README's figures by about a half; for what is convex, and garch, 1e-5 of a log return."""


@dataclass(frozen=True)
class Difference:
    """By how much the quantiles of a refitted forecaster differ, in basis points of log return."""

    kind: str
    median_bps: float
    largest_bps: float


def experiment() -> Experiment:
    """The default experiment on the sample with every benchmark that needs no files, and one seed."""
    kinds = [kind for kind in BENCHMARK_KINDS if kind != "pretrained"]
    return Experiment(seeds=1, benchmarks=tuple(forecaster_from_json({"kind": kind}) for kind in kinds), device="cpu")


def sample_bars(factor: float) -> Bars:
    """The bundled bars with every price times the factor."""
    source = experiment().source
    bars = load_bars(open_source(source), (), NOW, experiment().minimum_sessions).bars
    return replace(bars, frame=bars.frame.assign(**(factor * bars.frame[PRICES]).round(DECIMALS)))


def forecasts(factor: float) -> dict[str, np.ndarray]:
    """Quantiles [ticker, session, horizon, level] of the first fold's test by kind, fitted on rescaled prices."""
    frames = frames_of(sample_bars(factor), experiment())
    fold = folds_of(frames, experiment())[0]
    results = fit_each(jobs_of(frames, (fold,), experiment(), "cpu"), frames)
    tested = slice(fold.test.start, fold.test.stop)
    return {result.job.forecaster.kind: quantiles(result.fitted, frames, tested) for result in results}


def differences() -> Iterator[Difference]:
    """Yield how far each forecaster's quantiles move, in the registry's order."""
    before, after = forecasts(1.0), forecasts(FACTOR)
    for kind in (forecaster.kind for forecaster in FORECASTERS if forecaster.kind in before):
        moved = 10_000 * np.abs(after[kind] - before[kind])
        yield Difference(kind, float(np.nanmedian(moved)), float(np.nanmax(moved)))


def bound_bps(kind: str) -> float:
    """The largest difference that the README grants a forecaster."""
    return {"network": MAX_NETWORK_BPS, "boosting": MAX_BOOSTING_BPS}.get(kind, MAX_OTHER_BPS)


def main() -> int:
    missed = []
    print("prices times 7.3, refitted: quantiles of log returns move by (bps)   median   largest")
    for difference in differences():
        print(f"{difference.kind:64s} {difference.median_bps:10.5f} {difference.largest_bps:9.4f}")
        if difference.largest_bps > bound_bps(difference.kind):
            missed.append(difference.kind)
    print(f"beyond the README's figures: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
