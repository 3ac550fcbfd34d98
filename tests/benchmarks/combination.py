"""Measures the combination of forecasters: accuracy against the best of them, honesty where it cannot win, and speed.

    python -m tests.benchmarks.combination [large|panels|truth|seconds ...] [--earlier] [--tried N] [--fits FOLDER]

`large` reports the main job's large panel, tested on 2017 to 2021: nothing is held against it, as nothing is changed
because of it. `panels` holds the combination against every forecaster on the bundled sample, the short panel with the
crash of 2020 and eight cuts of the large panel: 20 and 50 tickers drawn with seed 14, 600 sessions to train, 125 to
validate, 250 to test, the eras ending 2005, 2008, 2011 and 2014. combination_choice.py chose the rule on the years
before these. `truth` counts how often the combination is called better than the true quantiles, which stand among the
forecasters of 200 made panels (known_truth.py: exact at every horizon). `seconds` takes the time of the combination
alone. With `--earlier`, which is for trying this script, `large` is tested on 2015 and 2016, `panels` has cuts of the
eras one year before and nothing else, and no price after 2016 is used.

Prints a line per number with its bound and whether it was met; the exit status is the number of misses.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.evaluation.comparisons import (
    BASELINE_KINDS,
    SIGNIFICANT,
    comparison_table,
    pooled,
    pooled_tests,
)
from pipeline.evaluation.contribution import contributions
from pipeline.evaluation.scores import loss_by_ticker
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles, spread_over_horizons
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.combination import combined
from pipeline.forecasting.combination_state import new_combination
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK
from pipeline.forecasting.span import Origins, outcomes_known_at
from pipeline.stages import backtest_of
from tests.benchmarks import combination_choice
from tests.benchmarks.cuts import Job, cuts, earlier_large, fitted, sample_bars
from tests.benchmarks.known_truth import known_panel
from tests.benchmarks.main_job import LARGE, PANEL, SHORT, Measured, at_most, large_bars, short_bars

SPECIFICATIONS_TRIED = 27
"""Specifications whose test on 2017 to 2021 of the large panel was ever read, as far as the project's history tells.

Six simple baselines (linear by two optimisers), eight benchmarks (garch, har, ridge and boosting, the last two in
several forms), three prototypes of a network, three forms of the default one, that of family.py, two corrections of its
bands, a prototype of a combination, this combination with and without correction, and the default of defaults.py,
chosen on the panel suite.
"""
EXPECTED = {1: 41.34, 5: 94.35}
"""Pinball x 1e4 on the large panel that was expected of what the defaults publish."""
ERAS, SEED = (2005, 2008, 2011, 2014), 14
HORIZONS = (1, 5)
WORST = 1.004
TWO_SIDED = 1.96


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    earlier: bool
    tried: int | None
    fits: Path | None


def backtest_on(job: Job, folder: Path | None) -> Backtest:
    fits = fitted(job, folder)
    return backtest_of(fits.results, fits.folds, fits.frames, job.experiment)


def losses_of(backtest: Backtest, horizon: int) -> dict[str, float]:
    """Return the mean pinball x 1e4 of every forecaster."""
    return {name: 1e4 * float(np.nanmean(loss_by_ticker(backtest, name, horizon))) for name in backtest.quantiles}


def best_of(losses: Mapping[str, float], among: Sequence[str] | None = None) -> str:
    """Return the single forecaster with the smallest loss."""
    single = [name for name in losses if name not in (COMBINED, CALIBRATED) and (among is None or name in among)]
    return min(single, key=lambda name: losses[name])


# --- The large panel ---


def large(request: Request) -> Iterator[Measured]:
    """Report the large panel; there is no bound."""
    bars = large_bars()
    job = earlier_large(bars) if request.earlier else Job("100 tickers, 2017 to 2021", bars, LARGE)
    trials = Trials(tested=1 if request.earlier else request.tried or 1)
    backtest = backtest_on(job, request.fits)
    table, adds = comparison_table(backtest, trials), contributions(backtest, trials)
    print(f"\n{job.name}: {len(backtest.sessions)} sessions, {trials.tested} specifications tried on them")
    for horizon in range(1, backtest.horizons + 1):
        losses = losses_of(backtest, horizon)
        expected = "" if request.earlier or horizon not in EXPECTED else f" (expected {EXPECTED[horizon]:.2f})"
        print(f"  horizon {horizon}: combined {losses[COMBINED]:.3f}, calibrated {losses[CALIBRATED]:.3f}{expected}")
        tests = {name: pooled(table, name, horizon) for name in (COMBINED, CALIBRATED)}
        for name in losses:
            print_large_row(name, losses, tests)
        add = adds[horizon - 1]
        shares = ", ".join(f"{name} {share:.0%}" for name, share in add.shares.items())
        print(f"    the network adds {add.skill:+.3%} +- {add.skill_error:.3%}, p {add.p:.2g}; of the band {shares}")
    yield from ()


def print_large_row(name: str, losses: Mapping[str, float], tests: Mapping[str, pd.DataFrame]) -> None:
    parts = [f"    {name:<12} {losses[name]:9.3f}"]
    for made, rows in tests.items():
        parts.append(f"{made} / it {losses[made] / losses[name]:.5f}")
        if name in rows.index:
            row = rows.loc[name]
            parts.append(f"t {row['t']:+.2f} p {row['p']:.2g}, adjusted {row['p_adjusted']:.2g}")
    print("   ".join(parts))


# --- Many panels ---


def jobs_on(request: Request) -> Iterator[Job]:
    bars = large_bars()
    if request.earlier:
        yield from cuts(earlier_large(bars).bars, combination_choice.ERAS, SEED)
        return
    sample = Experiment(device="cpu")
    yield Job("sample", sample_bars(), sample)
    yield Job("short, crash of 2020", short_bars(bars), SHORT)
    yield from cuts(bars, ERAS, SEED)


@dataclass(frozen=True)
class Row:
    """The losses of one panel at one horizon, and the combination against the best simple baseline."""

    panel: str
    horizon: int
    losses: Mapping[str, float]
    skill: float
    skill_error: float
    contribution: str

    def ratio(self, name: str, among: Sequence[str] | None = None) -> float:
        """Return a loss over that of the best single forecaster in hindsight."""
        return self.losses[name] / self.losses[best_of(self.losses, among)]

    @property
    def no_worse_than_simple(self) -> bool:
        return self.ratio(COMBINED, BASELINE_KINDS) <= 1 or self.skill + TWO_SIDED * self.skill_error >= 0

    def __str__(self) -> str:
        values = [f"{self.losses[name]:11.3f}" for name in self.losses]
        ratios = [self.ratio(name) for name in (COMBINED, CALIBRATED)]
        interval = f"{self.skill:+.3%} +- {TWO_SIDED * self.skill_error:.3%}"
        return (
            f"  {self.panel:<20} {' '.join(values)}  {best_of(self.losses):<11} {ratios[0]:.5f} {ratios[1]:.5f}  "
            f"{best_of(self.losses, BASELINE_KINDS):<11} {interval:<20} {self.contribution}"
        )


def rows_of(name: str, backtest: Backtest) -> Iterator[Row]:
    adds = contributions(backtest, Trials())
    for horizon in HORIZONS:
        losses, add = losses_of(backtest, horizon), adds[horizon - 1]
        best = best_of(losses, BASELINE_KINDS)
        against = {best: loss_by_ticker(backtest, best, horizon)}
        test = pooled_tests(loss_by_ticker(backtest, COMBINED, horizon), against, horizon, Trials())[best]
        adds_in_words = f"{add.skill:+.3%} p {add.p:.2g}, {add.shares[NETWORK]:.0%} of the band"
        yield Row(name, horizon, losses, test["skill"], test["skill_error"], adds_in_words)


def panels(request: Request) -> Iterator[Measured]:
    """Hold the combination against every forecaster of every panel."""
    rows = []
    for job in jobs_on(request):
        began = time.perf_counter()
        rows += rows_of(job.name, backtest_on(job, request.fits))
        print(f"{job.name}: {time.perf_counter() - began:.0f} s", flush=True)
    for horizon in HORIZONS:
        at_horizon = [row for row in rows if row.horizon == horizon]
        print(f"\nhorizon {horizon}: pinball x 1e4; combined and calibrated to the best forecaster in hindsight;")
        print("skill of combined over the best simple baseline; what the network adds")
        print(f"  {'':<20}", " ".join(f"{name:>11}" for name in at_horizon[0].losses))
        print(*at_horizon, sep="\n")
        yield from bounds(horizon, at_horizon)


def bounds(horizon: int, rows: Sequence[Row]) -> Iterator[Measured]:
    for name in (COMBINED, CALIBRATED):
        ratios = np.array([row.ratio(name) for row in rows])
        print(f"  {name} to the best in hindsight: mean {ratios.mean():.5f}, worst {ratios.max():.5f}")
    ratios = np.array([row.ratio(COMBINED) for row in rows])
    simple = [row.ratio(COMBINED, BASELINE_KINDS) for row in rows]
    yield at_most(f"combined to the best in hindsight, mean of panels, horizon {horizon}", ratios.mean(), 1.0)
    yield at_most(f"combined to the best in hindsight, worst, horizon {horizon}", ratios.max(), WORST)
    yield Measured(
        f"combined to the best simple baseline, worst, horizon {horizon}",
        max(simple),
        "at most 1, or its interval contains it",
        all(row.no_worse_than_simple for row in rows),
    )


# --- The truth among the forecasters ---

PANELS, TICKERS, WARM, TESTED = 200, 10, 125, 500
TRUTH = "ewma"
"""The name under which the true quantiles stand among the forecasters."""
CHANCE = SIGNIFICANT / 2 + 2 * np.sqrt(SIGNIFICANT / 2 * (1 - SIGNIFICANT / 2) / PANELS)
CHECKED = 2


def truth(_request: Request) -> Iterator[Measured]:
    """Count the panels at which the combination is called better than the true quantiles."""
    words: dict[int, list[str]] = {horizon: [] for horizon in HORIZONS}
    ratios: dict[int, list[float]] = {horizon: [] for horizon in HORIZONS}
    others: dict[str, list[float]] = {}
    apart = 0.0
    for seed in range(PANELS):
        backtest = with_truth(seed)
        for horizon in HORIZONS:
            losses = {name: loss_by_ticker(backtest, name, horizon) for name in backtest.quantiles}
            test = pooled_tests(losses[COMBINED], {TRUTH: losses[TRUTH]}, horizon, Trials())[TRUTH]
            words[horizon].append(test["conclusion"])
            ratios[horizon].append(1 - test["skill"])
            for name, values in losses.items():
                others.setdefault(f"{name}, horizon {horizon}", []).append(values.mean() / losses[TRUTH].mean())
            if seed < CHECKED:
                row = pooled(comparison_table(backtest, Trials()), COMBINED, horizon).loc[TRUTH]
                apart = max(apart, abs(row["p"] - test["p"]))
    print(f"\n{PANELS} made panels with the true quantiles among five forecasters; mean loss over theirs:")
    print("  " + "; ".join(f"{name} {np.mean(values):.4f}" for name, values in others.items()))
    yield at_most("p of the table of comparisons less that of the test alone", apart, 1e-9)
    for horizon, called in words.items():
        print(f"  horizon {horizon}:", ", ".join(f"{called.count(word)} {word}" for word in sorted(set(called))))
        share = called.count("better") / PANELS
        yield at_most(f"combined better than the truth, share of panels, horizon {horizon}", share, CHANCE)


def with_truth(seed: int) -> Backtest:
    """Return a made panel with the true quantiles, four worse forecasters and their combination."""
    origins, horizons = WARM + TESTED, max(HORIZONS)
    known, draws = known_panel(seed, TICKERS, origins, horizons), np.random.default_rng((seed, 15))
    shape = known.quantiles.shape
    noise = np.exp(0.1 * draws.standard_normal((*shape[:2], 1, 1)))
    usual = np.median(known.volatility) * np.sqrt(np.arange(1, horizons + 1))[:, None] * normal_unit_quantiles()
    garbage = np.sort(draws.standard_normal(shape), axis=-1) * 3 * known.volatility[..., None, None]
    said = {
        TRUTH: known.quantiles,
        "climatology": np.broadcast_to(usual, shape),
        "linear": 1.05 * known.quantiles,
        "ridge": noise * known.quantiles,
        "garch": garbage,
    }
    quantiles = {name: values.astype(np.float32) for name, values in said.items()}
    days = np.datetime64("2020-01-01") + np.arange(origins + horizons)
    tickers = tuple(f"T{k}" for k in range(TICKERS))
    outcome = outcomes_known_at(known.future_return.astype(np.float32), slice(0, origins))
    volatility, everyone = known.volatility.astype(np.float32), np.ones(TICKERS, dtype=bool)
    learned = Origins(days[:origins], outcome, volatility, np.zeros_like(volatility), everyone)
    quantiles[COMBINED] = combined(new_combination(tuple(said), tickers, horizons), learned, quantiles).quantiles
    return Backtest(
        tickers=tickers,
        sessions=days[WARM:origins],
        fold_names=("only",),
        fold_of_origin=np.zeros(TESTED, dtype=np.int64),
        quantiles={name: values[:, WARM:] for name, values in quantiles.items()},
        realised=known.future_return[:, WARM:].astype(np.float32),
        reference_close=np.full((TICKERS, TESTED), 100.0),
        target_sessions=np.stack([days[WARM + h : origins + h] for h in range(1, horizons + 1)], axis=1),
    )


# --- Seconds ---

SHAPE = (100, 504 + 1258)
"""Tickers, and sessions of validation and test of the large panel."""
MEMBERS = 7


def seconds(_request: Request) -> Iterator[Measured]:
    """Take the CPU time of the combination alone, of all threads together."""
    draws, horizons = np.random.default_rng(0), max(HORIZONS)
    volatility = (0.01 * np.exp(0.3 * draws.standard_normal(SHAPE))).astype(np.float32)
    future_return = (volatility[..., None] * draws.standard_normal((*SHAPE, horizons))).astype(np.float32)
    unit, names = normal_unit_quantiles(), [f"F{k}" for k in range(MEMBERS)]
    scales = {name: volatility * np.exp(0.1 * draws.standard_normal(SHAPE)) for name in names}
    quantiles = {name: spread_over_horizons(unit, scale, horizons) for name, scale in scales.items()}
    days = np.datetime64("2015-01-01") + np.arange(SHAPE[1])
    outcome = outcomes_known_at(future_return, slice(0, SHAPE[1]))
    origins = Origins(days, outcome, volatility, np.zeros_like(volatility), np.ones(SHAPE[0], dtype=bool))
    state = new_combination(names, [f"T{k}" for k in range(SHAPE[0])], horizons)
    found = []
    for _ in range(5):
        began = time.process_time()
        combined(state, origins, quantiles)
        found.append(time.process_time() - began)
    print("\nCPU seconds of the combination on the large panel's shape:", " ".join(f"{value:.2f}" for value in found))
    yield at_most("CPU seconds of the combination alone, median of 5", float(np.median(found)), 0.5)


PARTS: Mapping[str, Callable[[Request], Iterator[Measured]]] = {
    "large": large,
    "panels": panels,
    "truth": truth,
    "seconds": seconds,
}
OF_PRICES = {"large", "panels"}


def main(arguments: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    parser = argparse.ArgumentParser(prog="combination")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--earlier", action="store_true", help="large and panels on the years before")
    parser.add_argument("--tried", type=int, default=SPECIFICATIONS_TRIED, help="specifications tested on 2017 to 2021")
    parser.add_argument("--fits", type=Path, help="folder with finished fits, which are not repeated")
    given = parser.parse_args(arguments)
    if unknown := {*given.parts} - {*PARTS}:
        parser.error(f"found no part {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    parts = given.parts or list(PARTS)
    if not PANEL.exists() and OF_PRICES & {*parts}:
        print(f"no panel at {PANEL}: {' and '.join(sorted(OF_PRICES))} cannot be measured here")
        return 1
    if "large" in parts and not given.earlier and given.tried is None:
        parser.error("large: say by --tried how many specifications were tested on 2017 to 2021, this one included")
    request = Request(given.earlier, given.tried, given.fits)
    measured = [measurement for name in parts for measurement in PARTS[name](request)]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
