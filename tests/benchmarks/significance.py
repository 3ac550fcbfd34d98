"""Measures the size and the power of every test of significance at 250 and 1,000 sessions, and what a call costs.

    python -m tests.benchmarks.significance [quick]

Sizes are shares of rejections at 5 % where there is nothing to find, with the standard error of the simulation. Those
marked `must` are to be 5 % plus two standard errors at most; where one is more, the result is 1.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from pipeline.arrays import Booleans
from pipeline.evaluation.significance.coverage_tests import CoverageTests, coverage_tests, coverage_tests_overlapping
from pipeline.evaluation.significance.mean_test import long_lags
from pipeline.evaluation.significance.pesaran_timmermann import pesaran_timmermann, pesaran_timmermann_pooled
from pipeline.evaluation.significance.predictive_ability import (
    clark_west,
    diebold_mariano,
    diebold_mariano_each,
    giacomini_white,
)
from pipeline.evaluation.significance.resampling import (
    block_length,
    error_bar,
    resampled_counts,
    skill_error_bar,
)
from pipeline.evaluation.significance.superior_ability import confidence_set, superior_ability
from tests.evaluation.significance.series import PROCESSES, clustered, directions, independent, overlapping
from tests.evaluation.significance.test_clark_west import nested
from tests.evaluation.significance.test_superior_ability import made_losses

LEVEL = 0.05
LENGTHS = (250, 1000)


@dataclass(frozen=True)
class Rejected:
    """How often a test rejected in a setting."""

    test: str
    setting: str
    sessions: int
    rejections: Booleans
    must: bool = False
    simulations: int | None = None  # of a null that is simulated once, whose error adds to that of the size

    @property
    def share(self) -> float:
        """The share of rejections."""
        return float(np.mean(self.rejections))

    @property
    def nominal_error(self) -> float:
        """The standard error of the share where it is the nominal one."""
        return sqrt(LEVEL * (1 - LEVEL) * (1 / len(self.rejections) + 1 / (self.simulations or np.inf)))

    @property
    def too_many(self) -> bool:
        """Whether a size that must hold does not."""
        return self.must and self.share > LEVEL + 2 * self.nominal_error

    def __str__(self) -> str:
        mark = "TOO MANY" if self.too_many else "must" if self.must else ""
        error = sqrt(self.share * (1 - self.share) / len(self.rejections))
        return f"  {self.test:<38} {self.setting:<34} {self.sessions:>5} {self.share:7.2%} +- {error:.2%}  {mark}"


def of_losses(n: int, trials: int) -> Iterator[Rejected]:
    """Yield the tests of loss differences per session."""
    draws = np.random.default_rng(n)
    for name, process in PROCESSES.items():
        values = process(draws, trials, n)
        found = diebold_mariano_each(values, 1, long_lags(1))
        by_student = 2 * student.sf(np.abs(found.t), n - 1)
        yield Rejected("Diebold-Mariano", f"size, {name}", n, found.p < LEVEL, must=True)
        yield Rejected("  by the t distribution", f"size, {name}", n, by_student < LEVEL)
        if name != "autoregressive":  # there the last loss foretells the next, which is no null
            some = np.array([giacomini_white(row, 1).p for row in values])
            yield Rejected("Giacomini-White, conditional", f"size, {name}", n, some < LEVEL, must=True)
        some = np.array([giacomini_white(row, 1, conditional=False).p for row in values[: trials // 4]])
        yield Rejected("Giacomini-White, not conditional", f"size, {name}", n, some < LEVEL, must=True)
    values = overlapping(draws, trials, n)
    yield Rejected("Diebold-Mariano", "size, overlap of horizon 5", n, diebold_mariano_each(values, 5, 20).p < LEVEL)
    some = np.array([giacomini_white(row, 5).p for row in values[: trials // 4]])
    yield Rejected("Giacomini-White, conditional", "size, overlap of horizon 5", n, some < LEVEL)
    for name, process in (("independent", independent), ("clustered", clustered)):
        values = process(draws, trials // 4, n) + 0.15
        found = diebold_mariano_each(values, 1, long_lags(1))
        yield Rejected("Diebold-Mariano", f"power, {name}, mean 0.15 sd", n, found.p < LEVEL)
        some = np.array([giacomini_white(row, 1).p for row in values])
        yield Rejected("Giacomini-White, conditional", f"power, {name}, mean 0.15 sd", n, some < LEVEL)
    values = PROCESSES["autoregressive"](draws, trials // 4, n)
    some = np.array([giacomini_white(row, 1).p for row in values])
    yield Rejected("Giacomini-White, conditional", "power, AR(0.2) of mean zero", n, some < LEVEL)


def of_forecasts(n: int, trials: int) -> Iterator[Rejected]:
    """Yield the tests of the mean and of the direction."""
    draws = np.random.default_rng(n + 1)
    for slope, kind in ((0.0, "size, rolling regression"), (0.15, "power, R2 of 2 %")):
        p = np.array([clark_west(*nested(draws, n, slope), 1, 20).p for _ in range(trials // 4)])
        yield Rejected("Clark-West", kind, n, p < LEVEL)
    for skill, kind in ((0.0, "size"), (0.2, "power, skill 0.2")):
        forecasts, outcomes = directions(draws, trials, n, common=0.0, skill=skill)
        p = np.array([pesaran_timmermann(f, y).p for f, y in zip(forecasts, outcomes, strict=True)])
        yield Rejected("Pesaran-Timmermann", kind, n, p < LEVEL, must=skill == 0)
    for common in (0.0, 0.5, 0.9):
        for skill in (0.0, 0.1):
            panels = (directions(draws, 20, n, common, skill) for _ in range(trials // 4))
            p = np.array([pesaran_timmermann_pooled(*panel, 1, long_lags(1)).p for panel in panels])
            kind = f"{f'power, skill {skill}' if skill else 'size'}, 20 tickers, common {common}"
            yield Rejected("Pesaran-Timmermann, pooled", kind, n, p < LEVEL, must=skill == 0)


def of_bands(n: int, trials: int) -> Iterator[Rejected]:
    """Yield the tests of coverage, each tenth of the trials with a null of its own."""
    draws = np.random.default_rng(n + 2)
    for coverage in (0.5, 0.8, 0.9, 0.98):
        hits = (draws.uniform(size=(10, trials // 10, n)) < coverage).astype(np.float64)
        parts = [coverage_tests(part, coverage, seed) for seed, part in enumerate(hits)]
        yield from _of_bands(parts, f"size, {coverage:.0%} band", n, must=True)
        ratios = [np.concatenate([getattr(part, name) for part in parts]) for name in RATIOS]
        for name, ratio, freedom in zip(RATIOS, ratios, (1, 1, 2), strict=True):
            yield Rejected(f"  {name} by chi-square", f"size, {coverage:.0%} band", n, chi2.sf(ratio, freedom) < LEVEL)
    few = trials // 10
    narrow = coverage_tests((draws.uniform(size=(few, n)) < 0.75).astype(np.float64), 0.8)
    yield from _of_bands([narrow], "power, 75 % for 80 %", n)
    calm = np.repeat(draws.uniform(size=(few, n // 10)) < 0.5, 10, axis=1)
    wild = (draws.uniform(size=(few, n)) < np.where(calm, 0.95, 0.65)).astype(np.float64)
    yield from _of_bands([coverage_tests(wild, 0.8)], "power, 95 % and 65 % by ten", n)
    moves = overlapping(draws, few, n)
    inside = (np.abs(moves) < 1.2815515655).astype(np.float64)
    yield from _of_bands([coverage_tests_overlapping(inside, 0.8, 5)], "size, overlap of horizon 5", n)


RATIOS = ("unconditional", "independence", "conditional")


def _of_bands(parts: list[CoverageTests], setting: str, n: int, must: bool = False) -> Iterator[Rejected]:
    names = ("Kupiec", "Christoffersen, independence", "Christoffersen, conditional")
    for name, ratio in zip(names, RATIOS, strict=True):
        p = np.concatenate([getattr(part, f"{ratio}_p") for part in parts])
        yield Rejected(name, setting, n, p <= LEVEL, must, simulations=len(parts) * 4999)


def of_candidates(n: int, trials: int) -> Iterator[Rejected]:
    """Yield the tests of all candidates at once, and of the error bars."""
    for gain, kind in ((0.0, "size"), (0.2, "power, one better by 0.2 sd")):
        panels = [made_losses(k, n, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, gain)) for k in range(trials)]
        p = np.array([superior_ability(losses, "a", 1).p for losses in panels])
        yield Rejected("superior ability, 8 forecasters", kind, n, p < LEVEL)
        left = np.array(["a" not in confidence_set(losses, 1).members for losses in panels])
        yield Rejected("leaves the confidence set of 8", kind, n, left)
    draws = np.random.default_rng(n + 3)
    counts = resampled_counts(n, block_length(n, 1), 0)
    for name, process in PROCESSES.items():
        found = error_bar(process(draws, 2000, n), counts)
        yield Rejected("outside the 95 % error bar", f"mean loss, {name}", n, (found.low > 0) | (found.high < 0))


def costs() -> Iterator[tuple[str, float]]:
    """Yield what is done, and its seconds once warmed up."""
    draws = np.random.default_rng(0)
    losses, returns = draws.exponential(size=(100, 1080)), draws.normal(size=1080)
    many = draws.exponential(size=(8, 100, 1080))
    hits = (draws.uniform(size=(100, 1080)) < 0.8).astype(np.float64)
    by_name = made_losses(0, 1080, (0.0,) * 8)
    ragged = losses - 1
    for k in range(100):
        ragged[k, : 3 * k] = np.nan
    counts = resampled_counts(1080, 11, 0)
    yield "Diebold-Mariano, one", _seconds(lambda: diebold_mariano(returns, 1, 20), 200)
    yield "Diebold-Mariano, 100 tickers", _seconds(lambda: diebold_mariano_each(losses - 1, 1, 20), 10)
    yield "Diebold-Mariano, 100 tickers of 100 lengths", _seconds(lambda: diebold_mariano_each(ragged, 1, 20), 5)
    yield "Giacomini-White, conditional, one", _seconds(lambda: giacomini_white(returns, 1), 100)
    yield "Clark-West, 100 tickers", _seconds(lambda: clark_west(losses, losses * 0, losses * 0.1, 1, 20), 10)
    yield "Pesaran-Timmermann, one", _seconds(lambda: pesaran_timmermann(returns, returns[::-1]), 100)
    yield "Pesaran-Timmermann, 100 tickers", _seconds(lambda: pesaran_timmermann_pooled(ragged, ragged, 1, 20), 10)
    yield "superior ability, 8 forecasters", _seconds(lambda: superior_ability(by_name, "a", 1), 3)
    yield "confidence set, 8 forecasters", _seconds(lambda: confidence_set(by_name, 1), 3)
    yield "error bars, 8 forecasters x 100 tickers", _seconds(lambda: error_bar(many, counts), 3)
    yield "skill error bars, 100 tickers", _seconds(lambda: skill_error_bar(losses, many[0], counts), 3)
    yield "coverage, 100 tickers", _seconds(lambda: coverage_tests(hits, 0.8), 3)


def _seconds(call: Callable[[], object], times: int) -> float:
    call()
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def main(names: Sequence[str]) -> int:
    """Print the tables; return 1 where a size that must hold does not."""
    trials, panels = (2000, 20) if "quick" in names else (20_000, 200)
    failed = 0
    for n in LENGTHS:
        groups = (of_losses(n, trials), of_forecasts(n, trials), of_bands(n, trials), of_candidates(n, panels))
        for rejected in (one for group in groups for one in group):
            print(rejected, flush=True)
            failed += rejected.too_many
    for what, seconds in costs():
        print(f"  {what:<50} {1000 * seconds:9.2f} ms")
    print(f"{failed} sizes that must hold do not" if failed else "every size that must hold holds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
