"""Measures the policy on made worlds: a small model, its backtest, then sessions that are decided on one by one.

    python -m tests.benchmarks.policy [quick]

A world has a backtest of a year by a model of 500 sessions, a refit, then 250 live sessions or more. After each the
policy decides on what is known then; a refit that it orders trains on all sessions so far and takes over. In worlds
that change, the live loss of the 120 sessions after it is compared with that of never refitting. The exit status is the
number of misses.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.session_record import PUBLISHED, backtest_record
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.operation.monitoring.policy import Decision, Observations, PolicySpec, decide
from pipeline.operation.monitoring.watch import Watch, coverage_sentence, loss_signal, watch_of
from pipeline.stages import backtest_of, frames_of, jobs_of
from pipeline.training.fits import fit_each
from pipeline.training.jobs import FitResult
from tests.benchmarks.main_job import at_most, within
from tests.benchmarks.worlds import World, more_volatile, steady, switched, world_bars

LEARNED, VALIDATED, TESTED = 500, 120, 250
BEGINS = LEARNED + VALIDATED + TESTED
STEADY_SESSIONS, CHANGES_AFTER, AFTER = 250, 60, 180
EXPERIMENT = Experiment(
    horizons=2, seeds=1, workers=1, device="cpu", benchmarks=(), network=RecurrentSpec(hidden_size=16)
)
SPEC = PolicySpec()


@dataclass(frozen=True)
class Life:
    """What became of a world: the decision after each live session, and the records with and without refits."""

    decisions: tuple[Decision, ...]
    refits: tuple[int, ...]  # live sessions after which one was ordered
    record: pd.DataFrame
    unrefitted: pd.DataFrame
    sessions: np.ndarray


def fold_until(frames: Frames, validated: int, tested: int) -> Fold:
    """Return the fold that is trained and validated on the sessions before `validated`, and tested until `tested`."""
    day = frames.sessions
    bounds = [0, validated - VALIDATED, validated, validated, tested]
    names = [day[min(at, len(day) - 1)] for at in bounds]
    ranges = [Range(names[k], names[k + 1], bounds[k], bounds[k + 1]) for k in range(4)]
    return Fold(str(names[2]), *ranges)


def fits_on(frames: Frames, fold: Fold) -> list[FitResult]:
    """Return the fits of a fold."""
    return list(fit_each(jobs_of(frames, (fold,), EXPERIMENT, "cpu"), frames))


def record_on(frames: Frames, folds: tuple[Fold, ...], results: list[FitResult]) -> pd.DataFrame:
    """Return the record by session of consecutive folds, combined and calibrated as one walk."""
    return backtest_record(backtest_of(results, folds, frames, EXPERIMENT)).table


def life_of(world: World, seed: int) -> Life:
    """Return what becomes of a model in a world."""
    frames = frames_of(world_bars(world, seed), EXPERIMENT)
    stop = len(frames.sessions)
    folds = (fold_until(frames, LEARNED + VALIDATED, BEGINS), fold_until(frames, BEGINS, stop))
    results = [result for fold in folds for result in fits_on(frames, fold)]
    unrefitted = record = record_on(frames, folds, results)
    promise = record[record["as_of"] < frames.sessions[BEGINS]]
    watch, took_over, decisions, refits = watch_of(promise, BASELINE_KINDS), BEGINS, list[Decision](), list[int]()
    for today in range(BEGINS, stop):
        known = known_at(record, frames, took_over, today)
        since = today - refits[-1] if refits else None
        decisions.append(decide(observed(watch, known, today - took_over, since), SPEC))
        if decisions[-1].action == "refit":
            refits.append(today)
            folds = (*folds[:-1], cut(frames, folds[-1], today), fold_until(frames, today + 1, stop))
            results = [*results, *fits_on(frames, folds[-1])]
            record, took_over = record_on(frames, folds, results), today + 1
    live = tuple(it - BEGINS for it in refits)
    return Life(tuple(decisions), live, record, unrefitted, frames.sessions)


def cut(frames: Frames, fold: Fold, today: int) -> Fold:
    """Return a fold that is tested until a session, it included."""
    until = frames.sessions[min(today + 1, len(frames.sessions) - 1)]
    return replace(fold, test=Range(fold.test.first, until, fold.test.start, today + 1))


def known_at(record: pd.DataFrame, frames: Frames, since: int, today: int) -> pd.DataFrame:
    """Return the rows of origins from `since` on whose outcome is known at the close of a session."""
    origin = np.searchsorted(frames.sessions, record["as_of"].to_numpy("datetime64[D]"))
    return record[(origin >= since) & (origin + record["horizon"].to_numpy() <= today)]


def observed(watch: Watch, record: pd.DataFrame, age_sessions: int, since_refit: int | None) -> Observations:
    """Return what the policy decides on: the record since the version took over."""
    return Observations(
        calendar_refit="",
        data_age_sessions=0,
        model_age_sessions=age_sessions,
        loss=loss_signal(watch, record, BASELINE_KINDS),
        coverage=coverage_sentence(watch, record),
        sessions_since_refit=since_refit,
    )


def loss_between(record: pd.DataFrame, sessions: np.ndarray, first: int, last: int) -> float:
    """Return the mean published loss one session ahead of origins between two sessions."""
    rows = record[(record["forecaster"] == PUBLISHED) & (record["horizon"] == 1)].set_index("as_of")
    return float(rows["pinball"].loc[sessions[first] : sessions[last - 1]].mean())


def coverage_between(record: pd.DataFrame, sessions: np.ndarray, first: int, last: int) -> float:
    """Return the share of outcomes within the 90 % band one session ahead of origins between two sessions."""
    rows = record[(record["forecaster"] == PUBLISHED) & (record["horizon"] == 1)].set_index("as_of")
    part = rows.loc[sessions[first] : sessions[last - 1]]
    return float(part["inside_90"].sum() / part["rows"].sum())


def main(names: list[str]) -> int:
    """Measure and return the number of misses; `quick` takes three worlds of each kind."""
    worlds = 3 if "quick" in names else 20
    lines = [line for measure in (of_steady, of_switch, of_volatility) for line in measure(worlds)]
    print("\n" + "\n".join(map(str, lines)))
    return sum(not line.met for line in lines)


def lives(name: str, world: World, worlds: int) -> Iterator[Life]:
    for seed in range(worlds):
        began = time.perf_counter()
        life = life_of(world, seed)
        rules = [(k - CHANGES_AFTER, it.rule) for k, it in enumerate(life.decisions) if it.rule != "steady"]
        took = time.perf_counter() - began
        print(f"{name} {seed}: refits {life.refits}, first of {len(rules)} decisions {rules[:1]} ({took:.0f} s)")
        sys.stdout.flush()
        yield life


def of_steady(worlds: int) -> Iterator[object]:
    kept = [not life.refits for life in lives("steady", steady(BEGINS + STEADY_SESSIONS), worlds)]
    yield within("steady: worlds without a refit in 250 sessions", float(np.mean(kept)), 0.95, 1.0)


def of_switch(worlds: int) -> Iterator[object]:
    changes_at, alarms, ratios, refitted = BEGINS + CHANGES_AFTER, [], [], []
    for life in lives("switch", switched(changes_at + AFTER, changes_at), worlds):
        after = life.decisions[CHANGES_AFTER + 1 : CHANGES_AFTER + 16]
        alarms.append(any("decayed" in it.alerts for it in after))
        first = (life.refits[0] + BEGINS + 1) if life.refits else changes_at
        losses = [
            loss_between(it, life.sessions, first, min(first + 120, len(life.sessions) - 2))
            for it in (life.record, life.unrefitted)
        ]
        ratios.append(losses[0] / losses[1])
        refitted.append(bool(life.refits))
    yield within("switch: worlds with an alarm within 15 sessions", float(np.mean(alarms)), 0.95, 1.0)
    print(
        f"  refitted in {np.mean(refitted):.0%}; loss to never refitting {np.mean(ratios):.4f}, {np.round(ratios, 4)}"
    )
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.nan
    yield at_most("switch: live loss to never refitting, mean less two errors", float(np.mean(ratios) - 2 * error), 1.0)


def of_volatility(worlds: int) -> Iterator[object]:
    changes_at, kept, coverages = BEGINS + CHANGES_AFTER, [], []
    for life in lives("volatility x 3", more_volatile(changes_at + AFTER, changes_at), worlds):
        kept.append(not life.refits)
        coverages.append(coverage_between(life.record, life.sessions, changes_at + 40, changes_at + 100))
    yield within("volatility x 3: worlds without a refit", float(np.mean(kept)), 0.95, 1.0)
    yield within("volatility x 3: 90 % band over sessions 41 to 100", float(np.mean(coverages)), 0.85, 0.95)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
