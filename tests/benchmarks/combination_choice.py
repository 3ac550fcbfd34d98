"""Measures how the rule of the combination was chosen: it and its variants, on years that are not tested.

    python -m tests.benchmarks.combination_choice [rule|variants ...] [--fits FOLDER]

The panels are eight cuts of the large one (20 and 50 tickers, 600 sessions to train, 125 to validate, 250 to evaluate,
the eras ending 2004, 2007, 2010 and 2013) and the whole of it trained to 2012, validated on 2013 and 2014, and
evaluated on 2015 and 2016, which are validation in the main job. No session is evaluated that combination.py next to
this tests on the large panel or a cut of it: 2005, 2008, 2011, 2014 and 2017 to 2021. It also tests the bundled sample,
three of whose tickers (AAPL, IBM, MSFT) are in some cuts here, in the same years. Every number is a ratio of pinball
losses: to that of the single forecaster that is the best of the evaluated sessions in hindsight.

Chosen, for the mean over panels and horizons: rate 0.5 (0.25 and 1 differ by 0.00012 and less), the start on the
validation range (which gains 0.0007), all forecasters but last close and drift (which cost 0.0008; climatology, where
the others are silent, is neutral), and h interleaved copies rather than one delayed learner (0.0006 better at horizon
5, for which their bound holds). Fixed share gains nothing; forgetting and smoothing over levels lose, the more the
quicker or wider they are (0.0001 to 0.0005). The plain mean is 0.004 worse than the rule, whose worst panel is 1.0040.

`rule` checks that the compact form below is the rule of pipeline/forecasting/combination.py, `variants` compares them.
Prints a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination import IMPLAUSIBLE, combined
from pipeline.forecasting.combination_state import SMALLEST, new_combination
from pipeline.forecasting.forecasts import fits_of, forecasts_by_forecaster
from pipeline.forecasting.learners import RATE, TINY, TOO_LARGE
from pipeline.forecasting.postprocessing import members_of
from pipeline.forecasting.span import Origins, outcomes_known_at
from tests.benchmarks.cuts import Fits, Job, cuts, earlier_large, fitted
from tests.benchmarks.main_job import PANEL, Measured, at_most, large_bars

ERAS, SEED = (2004, 2007, 2010, 2013), 7
HORIZONS = (1, 5)
CLOSE = 1.0
"""A variant that is better by less than this, x 1e4, is no better: about a fortieth of what the plain mean loses."""
TAUS = np.array(LEVELS)
STEEPEST = np.maximum(TAUS, 1 - TAUS)


@dataclass(frozen=True)
class Issued:
    """What every forecaster says of the validation range and the sessions after it, and what came."""

    name: str
    quantiles: Mapping[str, np.ndarray]  # forecaster -> [ticker, session, horizon, level]
    outcome: np.ndarray  # [ticker, session, horizon] by origin
    known: np.ndarray  # the same by the session at which it is known
    volatility: np.ndarray  # [ticker, session]
    sessions: np.ndarray
    evaluated: int  # the first session after validation

    @property
    def members(self) -> tuple[str, ...]:
        return members_of(tuple(self.quantiles))

    def since(self, first: int) -> "Issued":
        """Return the same from a session on; nothing of before is known."""
        known = np.array(self.known[:, first:])
        for h in range(known.shape[2]):
            known[:, : h + 1, h] = np.nan
        return Issued(
            self.name,
            {name: values[:, first:] for name, values in self.quantiles.items()},
            self.outcome[:, first:],
            known,
            self.volatility[:, first:],
            self.sessions[first:],
            self.evaluated - first,
        )

    def losses(self, horizon: int) -> dict[str, float]:
        return {name: self.loss(values[:, :, horizon - 1], horizon) for name, values in self.quantiles.items()}

    def loss(self, quantiles: np.ndarray, horizon: int) -> float:
        """Return the mean pinball loss of quantiles [ticker, session, level] of the evaluated sessions."""
        after = slice(self.evaluated, None)
        scored = np.isfinite(self.outcome[:, after, horizon - 1])
        for values in self.quantiles.values():
            scored &= np.isfinite(values[:, after, horizon - 1]).all(axis=-1)
        error = self.outcome[:, after, horizon - 1][scored][:, None].astype(np.float64) - quantiles[:, after][scored]
        return float(np.maximum(TAUS * error, (TAUS - 1) * error).mean())


def issued_of(job: Job, fits: Fits) -> Issued:
    (fold,), frames = fits.folds, fits.frames
    rows = slice(fold.validation.start, fold.test.stop)
    return Issued(
        job.name,
        forecasts_by_forecaster(fits_of(fits.results, fold), frames, rows),
        np.where(frames.usable[:, rows, None], frames.future_return[:, rows], np.float32(np.nan)),
        outcomes_known_at(frames.future_return, rows),
        frames.volatility[:, rows],
        frames.sessions[rows],
        fold.test.start - rows.start,
    )


# --- The rule once more, in its plainest form, with options that it does not have ---


@dataclass(frozen=True)
class Options:
    """What is tried: without any it is the rule."""

    rate: float = RATE
    interleaved: bool = True  # else one learner learns of each outcome when it is known, and issues every session
    forgotten: float = 0.0  # share of what was learned that is forgotten each round
    shared: float = 0.0  # share of every weight that is spread over all forecasters (fixed share)
    smooth: float = 0.0  # width of a Gaussian kernel over the levels' weights, in levels


@dataclass(frozen=True)
class Given:
    """The forecasts of one horizon, zero where silent, and the unit 1 / (n s) of the regret."""

    quantiles: np.ndarray  # [forecaster, ticker, session, level]
    awake: np.ndarray  # [forecaster, ticker, session]
    unit: np.ndarray  # [ticker, session]


class Learner:
    """R, V and E [level, forecaster] of combination.py."""

    def __init__(self, options: Options, count: int) -> None:
        self._options = options
        self._regret, self._variance = np.zeros((2, len(LEVELS), count))
        self._largest = np.full((len(LEVELS), count), SMALLEST)

    def learn(self, regret: np.ndarray) -> None:
        kept = 1 - self._options.forgotten
        self._regret = kept * self._regret + regret - self._rates() * regret**2
        self._variance = kept * self._variance + regret**2

    def issue(self, quantiles: np.ndarray, awake: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Return combined quantiles [ticker, level] of [forecaster, ticker, level], not sorted."""
        while True:
            weights, rates = self._weights(), self._rates()
            total = np.einsum("lk,ki->il", weights, awake.astype(float))
            found = np.einsum("lk,kil->il", weights, quantiles) / np.where(total > 0, total, np.nan)
            distance = np.nansum(np.abs(found - quantiles) * (awake * unit)[..., None], axis=1).T
            bound = distance * STEEPEST[:, None]
            too_large = rates * bound > TOO_LARGE
            if not too_large.any():
                return found
            self._largest = np.where(too_large, bound, self._largest)

    def _rates(self) -> np.ndarray:
        count = self._variance.shape[1]
        by_variance = self._options.rate * np.sqrt(np.log(count) / np.maximum(self._variance, TINY))
        return np.minimum(0.5 / self._largest, by_variance)

    def _weights(self) -> np.ndarray:
        rates, options = self._rates(), self._options
        exponent = rates * self._regret + np.log(rates)
        weights = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return smoother(options.smooth) @ ((1 - options.shared) * weights + options.shared / weights.shape[1])


def smoother(width: float) -> np.ndarray:
    """Return what takes weights [level, forecaster] to means over neighbouring levels."""
    if width == 0:
        return np.eye(len(LEVELS))
    apart = np.subtract.outer(np.arange(len(LEVELS)), np.arange(len(LEVELS)))
    kernel = np.exp(-0.5 * (apart / width) ** 2)
    return kernel / kernel.sum(axis=1, keepdims=True)


def given_of(issued: Issued, horizon: int) -> Given:
    quantiles = np.stack([issued.quantiles[name][:, :, horizon - 1] for name in issued.members]).astype(np.float64)
    scale = issued.volatility * np.sqrt(horizon)
    awake = (np.abs(quantiles) <= IMPLAUSIBLE * np.where(scale > 0, scale, 1.0)[..., None]).all(axis=-1)
    learned = awake.any(axis=0) & (scale > 0)
    unit = np.where(learned, 1 / (np.where(learned, scale, 1) * np.maximum(learned.sum(axis=0), 1)), 0)
    return Given(np.where(awake[..., None], quantiles, 0), awake, unit)


def aggregated(issued: Issued, horizon: int, options: Options) -> np.ndarray:
    """Return combined quantiles [ticker, session, level]."""
    given = given_of(issued, horizon)
    learners = [Learner(options, len(given.quantiles)) for _ in range(horizon if options.interleaved else 1)]
    found = np.empty(given.quantiles.shape[1:])
    for t in range(found.shape[1]):
        learner, then = learners[t % len(learners)], t - horizon
        if then >= 0:
            outcome = issued.known[:, t, horizon - 1, None]
            slope = np.where(np.isfinite(outcome), (outcome < found[:, then]) - TAUS, 0) * given.unit[:, then, None]
            away = np.where(given.awake[:, :, then, None], found[:, then] - given.quantiles[:, :, then], 0)
            learner.learn(np.einsum("il,kil->lk", slope, away))
        found[:, t] = learner.issue(given.quantiles[:, :, t], given.awake[:, :, t], given.unit[:, t])
    return np.sort(found, axis=-1)


# --- What is compared ---


def as_it_is(issued: Issued, members: Sequence[str]) -> np.ndarray:
    """Return what combination.py makes of some members [ticker, session, horizon, level]."""
    tickers = tuple(str(row) for row in range(len(issued.volatility)))
    every = np.ones(len(tickers), dtype=bool)
    origins = Origins(issued.sessions, issued.known, issued.volatility, np.zeros_like(issued.volatility), every)
    state = new_combination(members, tickers, issued.known.shape[2])
    return combined(state, origins, issued.quantiles).quantiles


def cold(issued: Issued) -> np.ndarray:
    """Return the rule without the validation range, at which it says nothing."""
    found = as_it_is(issued.since(issued.evaluated), issued.members)
    nothing = np.full((len(found), issued.evaluated, *found.shape[2:]), np.nan, np.float32)
    return np.concatenate([nothing, found], axis=1)


def plain_mean(issued: Issued) -> np.ndarray:
    return np.sort(np.mean([issued.quantiles[name] for name in issued.members], axis=0), axis=-1)


Combine = Callable[[Issued, int], np.ndarray]
"""From what was issued and a horizon, combined quantiles [ticker, session, level]."""


def at(combine: Callable[[Issued], np.ndarray]) -> Combine:
    return lambda issued, horizon: combine(issued)[:, :, horizon - 1]


def by(**options: float | bool) -> Combine:
    return partial(aggregated, options=Options(**options))


RULE = "the rule"
VARIANTS: Mapping[str, Combine] = {
    RULE: at(lambda issued: as_it_is(issued, issued.members)),
    "last close and drift too": at(lambda issued: as_it_is(issued, tuple(issued.quantiles))),
    "without climatology": at(lambda issued: as_it_is(issued, [n for n in issued.members if n != "climatology"])),
    "no start on validation": at(cold),
    "plain mean": at(plain_mean),
    "one learner, delayed": by(interleaved=False),
    "forgets 0.2 % a round": by(forgotten=0.002),
    "forgets 1 % a round": by(forgotten=0.01),
    "fixed share 0.1 %": by(shared=0.001),
    "fixed share 1 %": by(shared=0.01),
    "smooth over 1 level": by(smooth=1.0),
    "smooth over 2 levels": by(smooth=2.0),
    "rate 0.25": by(rate=0.25),
    "rate 1": by(rate=1.0),
}


def panels(folder: Path | None) -> Iterator[Issued]:
    bars = large_bars()
    whole = earlier_large(bars)
    for job in (*cuts(whole.bars, ERAS, SEED), whole):
        yield issued_of(job, fitted(job, folder))


def rule(every: Sequence[Issued]) -> Iterator[Measured]:
    """Hold the compact form against combination.py, in log return."""
    apart = [
        np.abs(aggregated(issued, horizon, Options()) - VARIANTS[RULE](issued, horizon)).max()
        for issued in every
        for horizon in HORIZONS
    ]
    yield at_most("the compact form less combination.py, largest of all quantiles x 1e6", 1e6 * max(apart), 1.0)


def variants(every: Sequence[Issued]) -> Iterator[Measured]:
    """Print the ratio of every variant to the best forecaster in hindsight."""
    means = np.array([compare(every, horizon) for horizon in HORIZONS])  # [horizon, variant]
    chosen = list(VARIANTS).index(RULE)
    for horizon, of_variants in zip(HORIZONS, means, strict=True):
        yield at_most(f"the rule to the best in hindsight, mean, horizon {horizon}", of_variants[chosen], 1.0)
    lost = means.mean(axis=0)[chosen] - means.mean(axis=0).min()
    yield at_most("the rule less the best variant, mean over panels and horizons, x 1e4", 1e4 * lost, CLOSE)


def compare(every: Sequence[Issued], horizon: int) -> list[float]:
    """Print a line per variant and return the mean ratio of each."""
    best = [min(issued.losses(horizon).items(), key=lambda item: item[1]) for issued in every]
    print(f"\nhorizon {horizon}: pinball over that of the best forecaster in hindsight")
    print_row("", [issued.name for issued in every], ("mean", "worst"))
    print_row("the best", [name for name, _ in best])
    means = []
    for name, combine in VARIANTS.items():
        losses = [issued.loss(combine(issued, horizon), horizon) for issued in every]
        ratios = np.array(losses) / [loss for _, loss in best]
        means.append(ratios.mean())
        print_row(name, [f"{ratio:.5f}" for ratio in ratios], (f"{ratios.mean():.5f}", f"{ratios.max():.5f}"))
    return means


def print_row(name: str, values: Sequence[str], further: Sequence[str] = ()) -> None:
    print(f"  {name:<24}", *(f"{value:>17}" for value in values), *(f"{value:>8}" for value in further), flush=True)


PARTS: Mapping[str, Callable[[Sequence[Issued]], Iterator[Measured]]] = {"rule": rule, "variants": variants}


def main(arguments: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    parser = argparse.ArgumentParser(prog="combination_choice")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--fits", type=Path, help="folder with finished fits, which are not repeated")
    given = parser.parse_args(arguments)
    if unknown := {*given.parts} - {*PARTS}:
        parser.error(f"found no part {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the choice of the combination cannot be measured here")
        return 1
    every = list(panels(given.fits))
    measured = [measurement for name in given.parts or PARTS for measurement in PARTS[name](every)]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
