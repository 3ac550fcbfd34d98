"""Measures the conformal correction: coverage and pinball with and without it, and how its rates were chosen.

    python -m tests.benchmarks.calibration [crash|large|choose ...] [whole]

`choose` reads prices of before 2017 alone, in the yearly folds of 2003 to 2016, one network each: of the rates tried it
takes the quickest common step that costs at most COST of pinball at horizons 1 and 5, and checks that it is the
default. `crash` and `large` print the test of the main job's two panels, quarter by quarter; of the large one the last
250 sessions stay sealed unless `whole` is named. The exit status is the number of misses.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.evaluation.scores import score
from pipeline.experiment import Experiment
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK, fits_of, forecasts_by_forecaster
from pipeline.forecasting.specification import CalibrationSpec, PostprocessingSpec
from pipeline.market.bars import Bars
from pipeline.stages import folds_of, frames_of
from tests.benchmarks.family import fitted, sealed
from tests.benchmarks.main_job import LARGE, PANEL, SHORT, Measured, at_most, large_bars, short_bars, within
from tests.forecasting.calibrating import calibrated

ADAPTIVE = CalibrationSpec(method="adaptive")
SPLIT = CalibrationSpec(method="split")
CHOSEN_BEFORE = "2017-01-01"
COST = 0.0015
SCALE_RATES, LEVEL_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (0.0, 0.02, 0.05)
HORIZONS = (1, 5)
MIN_SHARED_SESSIONS = 30
"""A quarter with fewer is printed, but no bound is held against it."""


@dataclass(frozen=True)
class Said:
    """The network's quantiles and outcomes of one stretch of sessions, the first `warm` for calibration alone."""

    quantiles: np.ndarray  # [ticker, origin, horizon, level]
    outcome: np.ndarray  # [ticker, origin, horizon]
    sessions: np.ndarray
    warm: int

    def tested(self, spec: CalibrationSpec) -> "Said":
        """Return the test as it is with a correction."""
        values = calibrated(self.quantiles, self.outcome, spec, self.warm)[:, self.warm :]
        return Said(values, self.outcome[:, self.warm :], self.sessions[self.warm :], 0)

    def during(self, sessions: np.ndarray) -> "Said":
        return Said(self.quantiles[:, sessions], self.outcome[:, sessions], self.sessions[sessions], 0)

    def of(self, tickers: slice) -> "Said":
        return Said(self.quantiles[tickers], self.outcome[tickers], self.sessions, self.warm)

    def score(self, metric: str, horizon: int) -> float:
        values, truth = self.quantiles[:, :, horizon - 1], self.outcome[..., horizon - 1]
        known = np.isfinite(truth) & np.isfinite(values).all(axis=-1)
        return score(metric, values[known].astype(np.float64), truth[known].astype(np.float64))


def said_in(backtest: Backtest, forecaster: str) -> Said:
    return Said(backtest.quantiles[forecaster], backtest.realised, backtest.sessions, 0)


def quarters(sessions: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the mask of each calendar quarter."""
    months = sessions.astype("datetime64[M]").astype(int)
    for quarter in np.unique(months // 3):
        yield f"{1970 + quarter // 4} Q{quarter % 4 + 1}", months // 3 == quarter


def said_before(bars: Bars, folds: FoldSpec) -> list[Said]:
    """Return what one network per yearly fold says of 2003 to 2016, nothing of later among the bars."""
    early = Bars(
        bars.frame[bars.frame["session"] < CHOSEN_BEFORE].reset_index(drop=True), bars.listings, bars.returns_from
    )
    experiment = LARGE.model_copy(update={"folds": folds, "seeds": 1})
    frames = frames_of(early, experiment)
    later = tuple(fold for fold in folds_of(frames, experiment) if fold.name >= "2003")
    results = fitted(frames, experiment, later, (NETWORK,))
    said = []
    for fold in later:
        rows = slice(fold.calibration.start, fold.test.stop)
        values = forecasts_by_forecaster(fits_of(results, fold), frames, rows)[NETWORK]
        outcome = np.where(frames.usable[:, rows, None], frames.future_return[:, rows], np.float32(np.nan))
        said.append(Said(values, outcome, frames.sessions[rows], len(fold.calibration)))
    return said


def judged(said: Sequence[Said], spec: CalibrationSpec) -> dict[int, tuple[float, float, float]]:
    """Return by horizon: relative change of pinball, and the quarters' mean squared (root) and worst coverage error."""
    plain, found = (
        [forecasts.tested(CalibrationSpec(method="none")) for forecasts in said],
        [forecasts.tested(spec) for forecasts in said],
    )
    result = {}
    for horizon in HORIZONS:
        losses = [np.mean([forecasts.score("pinball", horizon) for forecasts in some]) for some in (plain, found)]
        errors = [
            forecasts.during(sessions).score("coverage_80", horizon) - 0.8
            for forecasts in found
            for _, sessions in quarters(forecasts.sessions)
            if sessions.sum() >= MIN_SHARED_SESSIONS
        ]
        result[horizon] = (
            float(losses[1] / losses[0] - 1),
            float(np.sqrt(np.mean(np.square(errors)))),
            float(max(errors, key=abs)),
        )
    return result


def miss_correlation(said: Sequence[Said]) -> float:
    """Return the mean correlation, over pairs of tickers and the two 80 % levels, of lying beyond a level."""
    found = []
    for forecasts in said:
        values, outcome = forecasts.quantiles[:, :, 0], forecasts.outcome[..., 0]
        whole = np.isfinite(outcome).all(axis=0) & np.isfinite(values).all(axis=(0, 2))
        for misses in (outcome < values[..., 1], outcome > values[..., 5]):
            off = misses[:, whole] - 0.1  # [ticker, session]
            together = off.sum(axis=0) ** 2 - (off**2).sum(axis=0)
            found.append(together.mean() / (len(off) * (len(off) - 1)) / (off**2).mean())
    return float(np.mean(found))


def print_judged(name: str, found: Mapping[int, tuple[float, float, float]]) -> None:
    parts = [
        f"h{h}: pinball {change:+.3%}, coverage by quarter off by {error:.4f}, at worst {worst:+.3f}"
        for h, (change, error, worst) in found.items()
    ]
    print(f"  {name:<34} {'   '.join(parts)}", flush=True)


def choose() -> Iterator[Measured]:
    """Try the rates on what was known before 2017."""
    bars = large_bars()
    print("\nyearly folds of 2003 to 2016, 100 tickers, one network each; pinball against the network's own")
    said = said_before(bars, FoldSpec())
    print(f"  correlation of two tickers' misses in one session, horizon 1: {miss_correlation(said):.3f}")
    print_judged("none", judged(said, CalibrationSpec(method="none")))
    cheap = []
    for scale_rate, level_rate in product(SCALE_RATES, LEVEL_RATES):
        spec = CalibrationSpec(method="adaptive", scale_rate=scale_rate, level_rate=level_rate)
        found = judged(said, spec)
        print_judged(f"adaptive, {scale_rate:g} and {level_rate:g}", found)
        if all(change <= COST for change, _, _ in found.values()):
            cheap.append((scale_rate, -sum(change for change, _, _ in found.values()), level_rate))
    scale_rate, _, level_rate = max(cheap)
    print(f"  the quickest that costs at most {COST:.2%}: {scale_rate:g} and {level_rate:g}")
    print_few(said)
    yield within("scale_rate chosen before 2017 is the default", ADAPTIVE.scale_rate, scale_rate, scale_rate)
    yield within("level_rate chosen before 2017 is the default", ADAPTIVE.level_rate, level_rate, level_rate)
    said = said_before(bars, FoldSpec(calibration_months=6))
    print("\nthe same with a calibration range of 6 months before each test, from which both corrections begin")
    for spec in (CalibrationSpec(method="none"), SPLIT, ADAPTIVE):
        print_judged(spec.method, judged(said, spec))


def print_few(said: Sequence[Said]) -> None:
    """Print what the default costs where it has few tickers to learn from: every fifth ticker, alone and by fives."""
    for count in (1, 5, 20):
        groups = [
            Said(forecasts.quantiles[::5], forecasts.outcome[::5], forecasts.sessions, forecasts.warm).of(
                slice(k, k + count)
            )
            for forecasts in said
            for k in range(0, 20, count)
        ]
        print_few_changes(count, groups)


def print_few_changes(count: int, groups: Sequence[Said]) -> None:
    plain, found = ([group.tested(spec) for group in groups] for spec in (CalibrationSpec(method="none"), ADAPTIVE))
    for horizon in HORIZONS:
        loss = [np.mean([forecasts.score("pinball", horizon) for forecasts in some]) for some in (plain, found)]
        held = [[forecasts.score("coverage_80", horizon) for forecasts in some] for some in (plain, found)]
        off = [np.sqrt(np.mean(np.square(np.array(values) - 0.8))) for values in held]
        print(
            f"  {count} ticker{'s' * (count > 1)} at a time, h{horizon}: pinball {loss[1] / loss[0] - 1:+.3%}, "
            f"a year's coverage off by {off[0]:.4f} without and {off[1]:.4f} with",
            flush=True,
        )


def corrected(frames: Frames, experiment: Experiment) -> Backtest:
    """Return the backtest of the network alone, as it speaks and corrected."""
    folds = folds_of(frames, experiment)
    spec = PostprocessingSpec("network", ADAPTIVE)
    return build_backtest(fitted(frames, experiment, folds, (NETWORK,)), folds, frames, spec)


def print_quarters(name: str, backtest: Backtest) -> None:
    plain, found = said_in(backtest, NETWORK), said_in(backtest, CALIBRATED)
    print(
        f"\n{name}, {len(backtest.sessions)} sessions: 80 % coverage and pinball x 1e4, without -> with the correction"
    )
    periods = [("all", np.ones(len(backtest.sessions), dtype=bool)), *quarters(backtest.sessions)]
    for period, sessions in periods:
        parts = []
        for horizon in HORIZONS:
            held = [compared.during(sessions).score("coverage_80", horizon) for compared in (plain, found)]
            loss = [1e4 * compared.during(sessions).score("pinball", horizon) for compared in (plain, found)]
            parts.append(f"h{horizon}  {held[0]:.3f} -> {held[1]:.3f}  {loss[0]:7.2f} -> {loss[1]:7.2f}")
        print(f"  {period:<8} {sessions.sum():4d}   {'     '.join(parts)}")
    for metric, horizon in product(("crps", "winkler_80", "winkler_90"), HORIZONS):
        values = [1e4 * compared.score(metric, horizon) for compared in (plain, found)]
        print(f"  {metric} x 1e4, h{horizon}: {values[0]:.2f} -> {values[1]:.2f}")


def cost(name: str, backtest: Backtest, horizon: int, bound: float) -> Measured:
    losses = [said_in(backtest, forecaster).score("pinball", horizon) for forecaster in (NETWORK, CALIBRATED)]
    return at_most(
        f"{name}: pinball with the correction, % more, horizon {horizon}", 100 * (losses[1] / losses[0] - 1), bound
    )


def held_during(name: str, backtest: Backtest, first: str, until: str, horizon: int) -> Measured:
    in_range = (backtest.sessions >= np.datetime64(first)) & (backtest.sessions < np.datetime64(until))
    found = said_in(backtest, CALIBRATED).during(in_range).score("coverage_80", horizon)
    return within(f"{name}: 80 % coverage with the correction, horizon {horizon}", found, 0.75, 0.85)


def crash(_whole: bool) -> Iterator[Measured]:
    """Hold the correction against the crash of 2020 on the short panel."""
    backtest = corrected(frames_of(short_bars(large_bars()), SHORT), SHORT)
    print_quarters("50 tickers, crash of 2020", backtest)
    for horizon in HORIZONS:
        yield held_during("short panel, whole test", backtest, "2019-01-01", "2022-01-01", horizon)
        yield held_during("short panel, first half of 2020", backtest, "2020-01-01", "2020-07-01", horizon)
        yield cost("short panel", backtest, horizon, 1.0)
    yield held_during("short panel, first quarter of 2020", backtest, "2020-01-01", "2020-04-01", 1)


def large(whole: bool) -> Iterator[Measured]:
    """Hold the correction against every full quarter of the large panel, one session ahead."""
    backtest = sealed(corrected(frames_of(large_bars(), LARGE), LARGE), whole)
    print_quarters("100 tickers", backtest)
    found = said_in(backtest, CALIBRATED)
    full = [
        found.during(sessions).score("coverage_80", 1)
        for _, sessions in quarters(found.sessions)
        if sessions.sum() >= MIN_SHARED_SESSIONS
    ]
    yield within(
        "large panel: 80 % coverage of the worst quarter, horizon 1", max(full, key=lambda x: abs(x - 0.8)), 0.75, 0.85
    )
    for horizon in HORIZONS:
        yield cost("large panel", backtest, horizon, 0.3)


PARTS: Mapping[str, Callable[[bool], Iterator[Measured]]] = {
    "choose": lambda _whole: choose(),
    "crash": crash,
    "large": large,
}


def main(names: Sequence[str]) -> int:
    """Measure the named parts (default: all) and return the number of misses."""
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the correction cannot be measured here")
        return 1
    parts = [name for name in names if name != "whole"] or list(PARTS)
    measured = [measurement for name in parts for measurement in PARTS[name]("whole" in names)]
    print("", *measured, sep="\n")
    return sum(not measurement.met for measurement in measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
