"""Measures the defaults on the test parts of the panel suite, which neither they nor the correction were chosen on.

    python -m tests.benchmarks.defaults [panels|long|crash|seconds ...] [--validation] [--fits FOLDER]

`panels` fits every panel of panels.py on its training part, stops on its whole validation part, on which combination
and correction begin, and reads its test part: the published forecast against the simple baselines and against every
forecaster in hindsight, its coverage by fifth of relative volatility, its median against no change, and the noise of
the network's seeds; next to the network that was the default before, and on made panels next to the truth. `long` holds
the coverage on made panels of many sessions, `crash` that of the first quarter of 2020 on the short panel, `seconds`
takes the CPU time of whole fits of both networks in turn. With `--validation`, which is for trying this script,
`panels` reads what the search reads, and no test part. The exit status is the number of misses.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.dataset.folds import FoldSpec
from pipeline.evaluation.calibration.measures import REGIMES, regime_of_origin
from pipeline.evaluation.comparisons import BASELINE_KINDS, pooled_tests
from pipeline.evaluation.point_forecasts import median_table
from pipeline.evaluation.scores import loss_by_ticker
from pipeline.evaluation.significance.resampling import block_length, resampled_counts, skill_error_bar
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK
from pipeline.market.bars import Bars
from pipeline.stages import backtest_of, folds_of, frames_of, jobs_of
from pipeline.training.fits import fit
from tests.benchmarks.combination import TWO_SIDED, backtest_on, best_of, losses_of
from tests.benchmarks.cuts import Fits, Job, fitted
from tests.benchmarks.defaults_search import FORMER, QUICK, experiment_of
from tests.benchmarks.made_panels import AROUND_THE_CLOCK, JUMPS, made_market
from tests.benchmarks.main_job import PANEL, SHORT, Measured, at_most, large_bars, short_bars, within
from tests.benchmarks.panels import PANELS, Panel, job_of, truth_of

HORIZONS = (1, 5)
SEEDS = 5
NEW = Experiment(device="cpu", seeds=SEEDS)
OLD = experiment_of(FORMER).model_copy(update={"seeds": SEEDS})
SMALL = QUICK
MEAN_TO_SIMPLE, WORST_TO_SIMPLE = 0.992, 1.002
LEAST_R2 = {1: -0.002, 5: -0.005}
FIFTHS = {1: (0.77, 0.83), 5: (0.75, 0.85)}
NOISE = 1 / 3
SECONDS = 1.5


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    choosing: bool
    fits: Path | None


# --- The suite ---


@dataclass(frozen=True)
class Tested:
    """A panel's test part: with the default, and with the network that was the default before."""

    panel: Panel
    backtest: Backtest
    former: Backtest
    noise: Mapping[str, np.ndarray]  # "new" and "old": losses [seed, horizon]
    truth: np.ndarray | None  # [ticker, origin, horizon, level]
    trained: int  # sessions

    def losses(self, horizon: int) -> dict[str, float]:
        return losses_of(self.backtest, horizon)

    def ratio(self, horizon: int, among: Sequence[str] | None = None) -> float:
        """Return the published loss over that of the best single forecaster in hindsight."""
        losses = self.losses(horizon)
        return losses[CALIBRATED] / losses[best_of(losses, among)]

    def against_simple(self, horizon: int) -> Mapping[str, float]:
        best = best_of(self.losses(horizon), BASELINE_KINDS)
        against = {best: loss_by_ticker(self.backtest, best, horizon)}
        return dict(pooled_tests(loss_by_ticker(self.backtest, CALIBRATED, horizon), against, horizon, Trials())[best])


def tested(panel: Panel, large: Bars, request: Request) -> Tested:
    began = time.perf_counter()
    of = {name: job_of(panel, large, experiment, request.choosing) for name, experiment in (("new", NEW), ("old", OLD))}
    fits = {name: fitted(job, request.fits) for name, job in of.items()}
    backtests = {name: backtest_of(first_seeds(fits[name]), fits[name].folds, fits[name].frames, of[name].experiment)
                 for name in of}  # fmt: skip
    noise = {name: np.array([alone(fits[name], of[name], seed) for seed in range(SEEDS)]) for name in of}
    truth = None
    if panel.made:
        sessions, quantiles = truth_of(panel, NEW.horizons)
        truth = quantiles[:, np.isin(sessions, backtests["new"].sessions)]
    print(f"{panel.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return Tested(panel, backtests["new"], backtests["old"], noise, truth, len(fits["new"].folds[0].train))


def first_seeds(fits: Fits, count: int = Experiment().seeds) -> list:
    """Return the fits of a run with the default number of networks."""
    return [result for result in fits.results if result.job.seed < count]


def alone(fits: Fits, job: Job, seed: int) -> list[float]:
    """Return the losses by horizon of the network of one seed."""
    results = [r for r in fits.results if r.job.forecaster.kind == NETWORK and r.job.seed == seed]
    others = [r for r in fits.results if r.job.forecaster.kind in BASELINE_KINDS]
    plain = job.experiment.model_copy(update={"benchmarks": ()})
    backtest = backtest_of([*results, *others], fits.folds, fits.frames, plain)
    return [losses_of(backtest, horizon)[NETWORK] for horizon in HORIZONS]


def panels(request: Request) -> Iterator[Measured]:
    """Hold the published forecast against every forecaster of every panel."""
    large = large_bars()
    every = [tested(panel, large, request) for panel in PANELS]
    real = [it for it in every if not it.panel.made]
    for horizon in HORIZONS:
        print_losses(every, horizon)
        ratios, to_all = (np.array([it.ratio(horizon, among) for it in real]) for among in (BASELINE_KINDS, None))
        named = f"horizon {horizon}"
        print(f"  former network in its place: mean {np.mean([former_ratio(it, horizon) for it in real]):.5f}")
        yield at_most(f"published to the best simple baseline, mean, {named}", ratios.mean(), MEAN_TO_SIMPLE)
        yield Measured(
            f"published to the best simple baseline, worst, {named}",
            ratios.max(),
            f"at most {WORST_TO_SIMPLE}, or its interval contains 1",
            all(no_worse(it, horizon) for it in real),
        )
        yield at_most(f"published to the best of all in hindsight, mean, {named}", to_all.mean(), 1.0)
        gains = [r2_of(it.backtest, CALIBRATED, horizon) for it in real]
        print(f"  R2 of the median: {' '.join(f'{100 * gain:+.2f}' for gain in gains)} %")
        before = np.mean([r2_of(it.backtest, COMBINED, horizon) for it in real])
        print(f"  mean {100 * np.mean(gains):+.3f} %, not shrunk {100 * before:+.3f} %")
        yield at_least(
            f"R2 of the published median against no change, mean, {named}", np.mean(gains), LEAST_R2[horizon]
        )
        yield from fifths(real, horizon)
        yield from noise(every, horizon)


def at_least(what: str, value: float, bound: float) -> Measured:
    return Measured(what, value, f"at least {bound:g}", value >= bound)


def no_worse(it: Tested, horizon: int) -> bool:
    test = it.against_simple(horizon)
    return it.ratio(horizon, BASELINE_KINDS) <= WORST_TO_SIMPLE or (
        test["skill"] + TWO_SIDED * test["skill_error"] >= 0
    )


def former_ratio(it: Tested, horizon: int) -> float:
    losses = losses_of(it.former, horizon)
    return losses[CALIBRATED] / losses[best_of(losses, BASELINE_KINDS)]


def r2_of(backtest: Backtest, name: str, horizon: int) -> float:
    table = median_table(backtest).set_index(["horizon", "forecaster"])
    return float(table.loc[(horizon, name), "r2"])


def print_losses(every: Sequence[Tested], horizon: int) -> None:
    names = list(every[0].losses(horizon))
    print(f"\nhorizon {horizon}: pinball x 1e4; former network, and what is published with it; published over the best")
    print("simple baseline, its skill with 95 %, p; over the best of all; 80 % coverage combined and published")
    print(
        f"  {'':<20} {'tickers':>7} {'train':>5}",
        " ".join(f"{name[:9]:>9}" for name in (*names, "former", "published")),
    )
    for it in every:
        losses, former, test = it.losses(horizon), losses_of(it.former, horizon), it.against_simple(horizon)
        values = " ".join(f"{value:9.3f}" for value in (*losses.values(), former[NETWORK], former[CALIBRATED]))
        held = [coverage(it.backtest, name, horizon) for name in (COMBINED, CALIBRATED)]
        text = (
            f"  {it.panel.name:<20} {len(it.backtest.tickers):7} {it.trained:5} {values}  "
            f"{it.ratio(horizon, BASELINE_KINDS):.4f} ({best_of(losses, BASELINE_KINDS)}, {test['skill']:+.2%} +- "
            f"{TWO_SIDED * test['skill_error']:.2%}, p {test['p']:.2g})  {it.ratio(horizon):.4f} ({best_of(losses)})  "
            f"{held[0]:.3f} {held[1]:.3f}"
        )
        print(text + ("" if it.truth is None else f"  over the truth {to_truth(it, horizon):.4f}"))


def to_truth(it: Tested, horizon: int) -> float:
    """Return the published loss over that of the true quantiles, on the same rows."""
    if it.truth is None:
        raise ValueError(f"{it.panel.name} is not made")
    quantiles = {**it.backtest.quantiles, "truth": it.truth.astype(np.float32)}
    losses = losses_of(replace(it.backtest, quantiles=quantiles), horizon)
    return losses[CALIBRATED] / losses["truth"]


# --- Coverage by fifth ---


def inside_band(backtest: Backtest, name: str, horizon: int) -> np.ndarray:
    """Return whether outcomes lie within the 80 % band [ticker, origin], NaN where they are not scored."""
    band, outcome = backtest.quantiles[name][:, :, horizon - 1], backtest.realised[..., horizon - 1]
    inside = (band[..., 1] <= outcome) & (outcome <= band[..., 5])
    return np.where(backtest.scored[..., horizon - 1], inside, np.nan)


def coverage(backtest: Backtest, name: str, horizon: int) -> float:
    return float(np.nanmean(inside_band(backtest, name, horizon)))


def shares_of(backtests: Sequence[Backtest], name: str, horizon: int) -> Iterator[tuple[float, float, float]]:
    """Yield of every fifth the share within the band and its interval, by blocks of the sessions of all panels."""
    hits = [inside_band(it, name, horizon) for it in backtests]
    fifth = [regime_of_origin(it.relative_volatility) for it in backtests]
    for k in range(len(REGIMES)):
        of_fifth = [np.where(f == k, h, np.nan) for h, f in zip(hits, fifth, strict=True)]
        held = np.concatenate([np.nansum(h, axis=0) for h in of_fifth])
        count = np.concatenate([np.isfinite(h).sum(axis=0) for h in of_fifth]).astype(float)
        counts = resampled_counts(len(held), block_length(len(held), max(horizon, 10)), 0)
        bar = skill_error_bar(held, count, counts)  # one less the share
        share, error = 1 - float(bar.estimate), float(bar.standard_error)
        yield share, share - TWO_SIDED * error, share + TWO_SIDED * error


def fifths(real: Sequence[Tested], horizon: int) -> Iterator[Measured]:
    """Hold the coverage of every fifth, of all real panels together; each panel's own is printed."""
    low, high = FIFTHS[horizon]
    for name in ("linear", COMBINED, CALIBRATED):
        shares = list(shares_of([it.backtest for it in real], name, horizon))
        print(f"  {name:<11} by fifth: {' '.join(f'{share:.3f} ({a:.3f} to {b:.3f})' for share, a, b in shares)}")
    outside, count = 0, 0
    for it in real:
        own = list(shares_of([it.backtest], CALIBRATED, horizon))
        wrong = [not (low <= share <= high or a <= 0.8 <= b) for share, a, b in own]
        outside, count = outside + sum(wrong), count + len(own)
        print(f"    {it.panel.name:<20} {' '.join(f'{share:.3f}' for share, *_ in own)}  {sum(wrong)} off")
    print(f"  of {count} fifths of single panels {outside} are outside and their interval does not contain 80 %")
    for regime, (share, a, b) in zip(REGIMES, shares, strict=True):
        met = low <= share <= high or a <= 0.8 <= b
        yield Measured(f"80 % band, {regime}, horizon {horizon}", share, f"{low:g} to {high:g}, or 0.8 within", met)


def noise(every: Sequence[Tested], horizon: int) -> Iterator[Measured]:
    """Hold the spread of a network's loss over seeds against that of the former default, on small panels."""
    small = [it for it in every if it.panel.name in SMALL]
    at = HORIZONS.index(horizon)
    spread = {name: [np.std(it.noise[name][:, at], ddof=1) for it in small] for name in ("new", "old")}
    for it, new, old in zip(small, spread["new"], spread["old"], strict=True):
        print(f"    noise of {SEEDS} seeds, {it.panel.name:<20} {new:.3f}, former {old:.3f}")
    sizes = {name: np.sqrt(np.mean(np.square(values))) for name, values in spread.items()}
    print(f"  noise of seeds, root mean square: {sizes['new']:.4f}, former {sizes['old']:.4f}")
    yield at_most(
        f"noise of seeds over that of the former default, horizon {horizon}", sizes["new"] / sizes["old"], NOISE
    )


# --- Long made panels, the crash of 2020, seconds ---

LONG = (("jumps", JUMPS, 5), ("around the clock", AROUND_THE_CLOCK, 5))
LONG_SEEDS = (0, 1, 2, 3)
LONG_FOLDS = FoldSpec(train_end="1997-12-31", valid_end="1999-12-31")


def long(request: Request) -> Iterator[Measured]:
    """Hold the coverage by fifth on made panels, of all sessions from 2000 to 2026 of each."""
    for name, process, tickers in LONG:
        backtests = []
        for seed in LONG_SEEDS:
            market = made_market(process, 1000 + seed, tickers, "1990-01-01", "2026-06-30")
            job = Job(f"long, {name}", market.bars, NEW.model_copy(update={"folds": LONG_FOLDS, "seeds": 1}))
            backtests.append(backtest_on(job, request.fits))
        sessions = sum(len(it.sessions) for it in backtests)
        print(f"\n{name}: {tickers} tickers, {sessions} sessions, {sessions / 5:.0f} in a fifth")
        for horizon in HORIZONS:
            for which in (COMBINED, CALIBRATED):
                shares = [share for share, *_ in shares_of(backtests, which, horizon)]
                print(f"  horizon {horizon}, {which:<11} by fifth: {' '.join(f'{share:.4f}' for share in shares)}")
            worst = max(shares, key=lambda share: abs(share - 0.8))
            yield within(f"long {name}: 80 % band of the worst fifth, horizon {horizon}", worst, 0.78, 0.82)


def crash(request: Request) -> Iterator[Measured]:
    """Hold the band in the first quarter of 2020, on the short panel."""
    backtest = backtest_on(Job("short", short_bars(large_bars()), SHORT), request.fits)
    quarter = (backtest.sessions >= np.datetime64("2020-01-01")) & (backtest.sessions < np.datetime64("2020-04-01"))
    print("\nfirst quarter of 2020, 80 % band")
    for name in backtest.quantiles:
        shares = [np.nanmean(inside_band(backtest, name, horizon)[:, quarter]) for horizon in HORIZONS]
        print(f"  {name:<12} {shares[0]:.3f} {shares[1]:.3f}")
    found = float(np.nanmean(inside_band(backtest, CALIBRATED, 1)[:, quarter]))
    yield at_least("short panel, crash of 2020: 80 % coverage one session ahead", found, 0.75)


def seconds(_request: Request) -> Iterator[Measured]:
    """Take the CPU time of whole fits, the former default and the new in turn."""
    large, ratios = large_bars(), []
    for panel in PANELS:
        taken: dict[str, list[float]] = {"new": [], "old": []}
        for name, experiment in (("old", OLD), ("new", NEW)) * 2:
            job = job_of(panel, large, experiment.model_copy(update={"seeds": 2}), choosing=True)
            frames = frames_of(job.bars, job.experiment)
            for each in jobs_of(frames, folds_of(frames, job.experiment), job.experiment, "cpu", (NETWORK,)):
                began = time.process_time()
                fit(each, frames)
                taken[name].append(time.process_time() - began)
        new, old = (float(np.median(taken[name])) for name in ("new", "old"))
        ratios.append((new, old))
        print(f"  {panel.name:<20} {new:.2f} s, former {old:.2f} s", flush=True)
    totals = np.sum(ratios, axis=0)
    yield at_most("seconds of a whole fit over those of the former default, all panels", totals[0] / totals[1], SECONDS)


PARTS: Mapping[str, Callable[[Request], Iterator[Measured]]] = {
    "panels": panels,
    "long": long,
    "crash": crash,
    "seconds": seconds,
}


def main(arguments: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    parser = argparse.ArgumentParser(prog="defaults")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--fits", type=Path, help="folder with finished fits, which are not repeated")
    parser.add_argument("--validation", action="store_true", help="read validation parts in place of test parts")
    given = parser.parse_args(arguments)
    if unknown := {*given.parts} - {*PARTS}:
        parser.error(f"found no part {', '.join(sorted(unknown))}, expected some of {', '.join(PARTS)}")
    request = Request(given.validation, given.fits)
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the defaults cannot be measured here")
        return 1
    measured = [measurement for name in given.parts or PARTS for measurement in PARTS[name](request)]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
