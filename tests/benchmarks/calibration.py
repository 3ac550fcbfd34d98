"""Measures how the correction was chosen: its rates and the prior of the median, on validation parts alone.

    python -m tests.benchmarks.calibration [rates|median ...]

Every panel of the suite (panels.py) is fitted as defaults_search.py fits it: the networks of the default stop on the
first 125 sessions of the validation part, on which the combination and the correction begin, and the others are judged.
No test part is read. `rates` takes, of the rates that cost at most COST of the combination's pinball loss at horizon 1
and at horizon 5, those that bring the 80 % band of the fifths of relative volatility closest to 80 %, and checks that
they are the default. `median` prints what priors of the median's shrinkage gain and cost. Real panels count alike, made
ones are printed. The exit status is the number of misses.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.calibration_state import PRIOR_WEIGHT, followed, new_calibration
from pipeline.forecasting.conformal import FEW_TICKERS
from pipeline.forecasting.forecasts import NETWORK
from pipeline.forecasting.span import Origins
from pipeline.forecasting.specification import CalibrationSpec
from pipeline.stages import jobs_of
from pipeline.training.fits import fit_each, quantiles
from tests.benchmarks.combination_choice import HORIZONS, Issued, as_it_is
from tests.benchmarks.defaults_search import prepared, with_network
from tests.benchmarks.main_job import PANEL, Measured, within
from tests.benchmarks.panels import PANELS

COST = 0.0005
DEFAULT = CalibrationSpec()
SCALE_RATES, SLOPE_RATES, LEVEL_RATES = (0.0, 1.0, 2.0, 4.0), (0.0, 0.75, 1.5, 3.0), (0.0, 0.02, 0.05)
PRIORS = ((1.0, 0.2), (1.0, 1.0), (0.75, 0.2), (0.75, 1.0), (0.75, 5.0), (0.5, 1.0), (0.0, 0.2), (0.0, 1.0))
"""What the median's shrinkage begins with, and the weight of that."""
REAL = tuple(panel.name for panel in PANELS if not panel.made)


@dataclass(frozen=True)
class Combination:
    """What the combination says of a panel's validation part, and what it is corrected by."""

    issued: Issued
    quantiles: np.ndarray  # [ticker, session, horizon, level]
    origins: Origins

    def loss(self, values: np.ndarray, horizon: int) -> float:
        return self.issued.loss(values[:, :, horizon - 1], horizon)

    def corrected(self, spec: CalibrationSpec) -> np.ndarray:
        state = new_calibration([str(row) for row in range(len(self.quantiles))], self.quantiles.shape[2])
        return followed(state, spec, self.origins, self.quantiles)[0]

    def held(self, values: np.ndarray, horizon: int) -> np.ndarray:
        """Return the share of outcomes within the 80 % band by fifth of relative volatility, of what is judged."""
        after = slice(self.issued.evaluated, None)
        outcome, band = self.issued.outcome[:, after, horizon - 1], values[:, after, horizon - 1]
        known = np.isfinite(outcome) & np.isfinite(band).all(axis=-1)
        inside = ((band[..., 1] <= outcome) & (outcome <= band[..., 5]))[known]
        state = self.origins.relative_volatility[:, after][known]
        fifth = np.searchsorted(np.quantile(state, (0.2, 0.4, 0.6, 0.8)), state)
        return np.array([inside[fifth == k].mean() for k in range(5)])


@cache
def combinations() -> Mapping[str, Combination]:
    return {panel.name: combination_of(panel.name) for panel in PANELS}


def combination_of(panel: str) -> Combination:
    at, experiment = prepared(panel), Experiment(device="cpu")
    rows = slice(at.fold.validation.start, at.fold.test.stop)
    fits = fit_each(jobs_of(at.frames, (at.fold,), experiment, "cpu", (NETWORK,)), at.frames)
    networks = [quantiles(result.fitted, at.frames, rows) for result in fits if result.fitted]
    issued = with_network(at.issued, np.mean(networks, axis=0))
    relative, everyone = at.frames.relative_volatility[:, rows], np.ones(len(issued.volatility), dtype=bool)
    origins = Origins(issued.sessions, issued.known, issued.volatility, relative, everyone)
    print(f"  {panel}", flush=True)
    return Combination(issued, as_it_is(issued, issued.members), origins)


@dataclass(frozen=True)
class Judged:
    """A correction over the panels, by horizon: cost in pinball loss, and the coverage of the fifths."""

    cost: np.ndarray  # [horizon], of the real panels
    made: np.ndarray  # [horizon], of the made ones
    held: np.ndarray  # [horizon, fifth], of the real panels

    @property
    def off(self) -> float:
        """How far the fifths are from 80 %, root mean square."""
        return float(np.sqrt(np.mean((self.held - 0.8) ** 2)))

    @property
    def cheap(self) -> bool:
        return bool((self.cost <= COST).all())

    def __str__(self) -> str:
        parts = [
            f"h{horizon}: {cost:+.3%}, made {made:+.3%}, fifths {' '.join(f'{100 * share:.1f}' for share in held)}"
            for horizon, cost, made, held in zip(HORIZONS, self.cost, self.made, self.held, strict=True)
        ]
        return f"{'   '.join(parts)}   off {100 * self.off:.2f}"


def judged(correct: Callable[[Combination], np.ndarray]) -> Judged:
    values = {name: correct(said) for name, said in combinations().items()}
    cost = {
        name: [said.loss(values[name], h) / said.loss(said.quantiles, h) - 1 for h in HORIZONS]
        for name, said in combinations().items()
    }
    held = [[combinations()[name].held(values[name], h) for h in HORIZONS] for name in REAL]
    real, made = ([cost[name] for name in cost if (name in REAL) is of_real] for of_real in (True, False))
    return Judged(np.mean(real, axis=0), np.mean(made, axis=0), np.mean(held, axis=0))


def rates() -> Iterator[Measured]:
    """Try the rates, and check that the best of the cheap ones are the default."""
    bands = DEFAULT.model_copy(update={"shrink_median": False})
    print("\nthe combination itself", judged(lambda said: said.quantiles), sep="\n  ")
    print("cost in pinball loss by scale and slope rate, coverage of the 80 % band by fifth of relative volatility")
    found: dict[tuple[float, float], Judged] = {}
    for scale in SCALE_RATES:
        for slope in SLOPE_RATES:
            spec = bands.model_copy(update={"scale_rate": scale, "slope_rate": slope})
            found[scale, slope] = judged(partial(Combination.corrected, spec=spec))
            print(f"  {scale:4g} {slope:4g}  {found[scale, slope]}", flush=True)
    print("by level rate")
    for level in LEVEL_RATES:
        spec = bands.model_copy(update={"level_rate": level})
        print(f"  {level:4g}       {judged(partial(Combination.corrected, spec=spec))}", flush=True)
    scale, slope = min((it for it in found if found[it].cheap), key=lambda it: found[it].off)
    yield within("scale_rate chosen on validation parts is the default", DEFAULT.scale_rate, scale, scale)
    yield within("slope_rate chosen on validation parts is the default", DEFAULT.slope_rate, slope, slope)


def median() -> Iterator[Measured]:
    """Print what priors of the shrinkage make of the median."""
    print("\nthe median: R2 against no change, mean of the real panels; loss of the median's level over that without")
    print(f"  as it is                   {gains(lambda said: said.quantiles[..., MEDIAN])}")
    for prior, weight in PRIORS:
        print(
            f"  from {prior:4g} with weight {weight:4g}   {gains(lambda said, p=prior, w=weight: shrunk(said, p, w))}"
        )
    apart = 0.0
    for said in combinations().values():
        plain = said.corrected(MEDIAN_ALONE)[..., MEDIAN]
        apart = max(apart, float(np.nanmax(np.abs(shrunk(said, 1.0, PRIOR_WEIGHT) - plain))))
    yield within("the compact form less the correction itself, largest of all medians x 1e6", 1e6 * apart, 0.0, 1.0)


MEDIAN_ALONE = CalibrationSpec(scale_rate=0.0, level_rate=0.0, slope_rate=0.0)


def shrunk(said: Combination, prior: float, weight: float) -> np.ndarray:
    """Return the medians [ticker, session, horizon] shrunk by what is known at each session, within the quartiles."""
    medians = said.quantiles[..., MEDIAN].astype(np.float64)
    result = np.array(medians)
    for h in range(medians.shape[2]):
        outcome = said.issued.outcome[:, :, h].astype(np.float64)
        unit = said.issued.volatility * np.sqrt(h + 1)
        known = np.isfinite(outcome) & np.isfinite(medians[:, :, h])
        tickers = known.sum(axis=0) + FEW_TICKERS
        m, y = (np.where(known, values / unit, 0.0) for values in (medians[:, :, h], outcome))
        sums = [np.cumsum((m * values).sum(axis=0) / tickers) for values in (y, m)]
        agreement, size = (np.concatenate([np.zeros(h + 1), sums_[: -h - 1]]) for sums_ in sums)
        factor = np.clip((agreement + prior * weight) / (size + weight), 0, 1)
        low, high = (said.quantiles[:, :, h, level] for level in (MEDIAN - 1, MEDIAN + 1))
        result[:, :, h] = np.clip(medians[:, :, h] * factor, low, high)
    return result


def gains(medians_of: Callable[[Combination], np.ndarray]) -> str:
    parts = []
    for horizon in HORIZONS:
        pairs = [errors(combinations()[name], medians_of(combinations()[name]), horizon) for name in REAL]
        plain = [errors(said, said.quantiles[..., MEDIAN], horizon) for said in (combinations()[n] for n in REAL)]
        cost = np.mean([pair[1] / other[1] - 1 for pair, other in zip(pairs, plain, strict=True)])
        parts.append(f"h{horizon}: R2 {np.mean([pair[0] for pair in pairs]):+.3%}, loss {cost:+.3%}")
    return "   ".join(parts)


def errors(said: Combination, medians: np.ndarray, horizon: int) -> tuple[float, float]:
    """Return the R2 of medians against zero, and their mean absolute error, of what is judged."""
    after = slice(said.issued.evaluated, None)
    outcome, median = said.issued.outcome[:, after, horizon - 1], medians[:, after, horizon - 1]
    known = np.isfinite(outcome) & np.isfinite(median)
    error = outcome[known] - median[known]
    return float(1 - (error**2).sum() / (outcome[known] ** 2).sum()), float(np.abs(error).mean())


PARTS: Mapping[str, Callable[[], Iterator[Measured]]] = {"rates": rates, "median": median}


def main(names: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the correction cannot be measured here")
        return 1
    measured = [measurement for name in names or PARTS for measurement in PARTS[name]()]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
