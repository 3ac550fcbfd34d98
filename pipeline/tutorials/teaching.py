"""Teaching: a tutorial's networks are fitted and forecast by the code of every run, then held against the mark."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.errors import FitError, SanityError
from pipeline.forecasters.climatology import ClimatologySpec
from pipeline.forecasters.forecaster import MEDIAN, Fitted
from pipeline.forecasters.registry import ForecasterSpec
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob, FitResult, digest_of_rows
from pipeline.tutorials.frames import roots
from pipeline.tutorials.lesson import Lesson, Tutorial
from pipeline.tutorials.measures import Judgement, judge


@dataclass(frozen=True)
class Taught:
    """One seed of a tutorial: its lesson, the fit that was kept, and what was found."""

    seed: int
    lesson: Lesson
    job: FitJob
    network: Fitted
    backtest: Backtest
    judgement: Judgement


@dataclass(frozen=True)
class Verdict:
    """A tutorial held against its mark; `seconds` are those of one core, however busy the machine was."""

    tutorial: Tutorial
    taught: tuple[Taught, ...]
    seconds: float

    @property
    def found(self) -> float:
        """The median of the measure over the seeds."""
        return float(np.median([one.judgement.found for one in self.taught]))

    @property
    def passed(self) -> bool:
        """Whether it is not above the mark; NaN is a miss as well."""
        return self.found <= self.tutorial.mark

    @property
    def median_taught(self) -> Taught:
        """The seed whose result lies in the middle."""
        return sorted(self.taught, key=lambda one: one.judgement.found)[(len(self.taught) - 1) // 2]


def teach(tutorial: Tutorial, seed: int) -> Verdict:
    """Return the verdict on a tutorial; `seed` is its first one, the others count on from it. Raises FitError."""
    began = time.thread_time()
    taught = tuple(teach_once(tutorial, tutorial.lesson(one), one) for one in range(seed, seed + tutorial.seeds))
    return Verdict(tutorial, taught, round(time.thread_time() - began, 3))


def teach_once(tutorial: Tutorial, lesson: Lesson, seed: int) -> Taught:
    """Return one seed's result on a lesson."""
    starts = range(seed * tutorial.starts, (seed + 1) * tutorial.starts)
    results = [fitted(job_of(tutorial, lesson, tutorial.network, start), lesson) for start in starts]
    return examine(tutorial, lesson, min(results, key=least_loss), seed)


def examine(tutorial: Tutorial, lesson: Lesson, result: FitResult, seed: int) -> Taught:
    """Return what a fitted network shows beside climatology, which is fitted on the same rows."""
    usual = fitted(job_of(tutorial, lesson, ClimatologySpec(), seed), lesson)
    backtest = build_backtest([result, usual], [lesson.fold], lesson.frames)
    if result.fitted is None:
        raise FitError(f"{tutorial.name}: found no fitted network, expected one; {result.error}")
    judgement = judge(tutorial.measure, lesson, backtest, result.fitted)
    return Taught(seed, lesson, result.job, result.fitted, backtest, judgement)


def job_of(tutorial: Tutorial, lesson: Lesson, forecaster: ForecasterSpec, seed: int) -> FitJob:
    """Return the fit of a forecaster on a lesson."""
    rows = lesson.frames.until(lesson.fold.validation.stop).of(lesson.learned)
    return FitJob(
        forecaster=forecaster,
        training=tutorial.training,
        features=lesson.frames.feature_names,
        tickers=lesson.learned,
        fold=lesson.fold,
        seed=seed,
        data_digest=digest_of_rows(rows),
    )


def fitted(job: FitJob, lesson: Lesson) -> FitResult:
    """Return the result of a job on a lesson; raises FitError."""
    return FitResult(job, fit(job, lesson.frames))


def least_loss(result: FitResult) -> float:
    """Return the least loss that a fit had on its validation range."""
    checks = result.fitted.checks if result.fitted else ()
    return min((check.valid_loss for check in checks), default=np.inf)


# --- What people see ---


def table(verdicts: tuple[Verdict, ...]) -> pd.DataFrame:
    """Return the verdict table: one row per tutorial."""
    rows = [
        {
            "tutorial": verdict.tutorial.name,
            "measure": verdict.tutorial.measure,
            "found": shown(verdict.found),
            "mark": verdict.tutorial.mark,
            "floor": shown(verdict.median_taught.lesson.floor),
            "seconds": round(verdict.seconds, 1),
            "passed": verdict.passed,
        }
        for verdict in verdicts
    ]
    return pd.DataFrame(rows)


def shown(value: float) -> float | None:
    """Return a number with as many digits as a table needs, None where there is none."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def refuse_missed_marks(verdicts: tuple[Verdict, ...]) -> None:
    """Raise SanityError naming every tutorial that missed its mark."""
    missed = [verdict for verdict in verdicts if not verdict.passed]
    if missed:
        told = "; ".join(
            f"{one.tutorial.name}: {one.tutorial.measure} found {one.found:.4g}, the mark is {one.tutorial.mark:g}"
            for one in missed
        )
        raise SanityError(
            f"{len(missed)} of {len(verdicts)} tutorials missed their mark ({told}): do not trust this "
            "installation's forecasts"
        )


def in_own_units(taught: Taught, values: Floats) -> Floats:
    """Return values [ticker, session, horizon] in the series' own units."""
    result: Floats = taught.lesson.centre + taught.lesson.unit * values / roots(values.shape[2])
    return result


def medians(taught: Taught) -> Floats:
    """Return the network's medians at every origin [ticker, session, horizon], in the series' own units."""
    told = quantiles(taught.network, taught.lesson.frames, slice(0, len(taught.lesson.frames.sessions)))
    return in_own_units(taught, told[..., MEDIAN].astype(np.float64))


def outcomes(taught: Taught) -> Floats:
    """Return what then came [ticker, session, horizon], in the series' own units."""
    frames = taught.lesson.frames
    known = np.where(frames.usable[..., None], frames.future_return, np.nan)
    return in_own_units(taught, known.astype(np.float64))


def forecast_rows(taught: Taught) -> pd.DataFrame:
    """Return the network's medians of the test range beside what came: series, step, horizon, forecast, actual."""
    said, came, frames = medians(taught), outcomes(taught), taught.lesson.frames
    shown = np.isfinite(said) & np.isfinite(came)
    shown[:, : taught.lesson.fold.test.start] = False
    ticker, step, horizon = np.nonzero(shown)
    return pd.DataFrame(
        {
            "series": np.array(frames.tickers, dtype=object)[ticker],
            "session": np.datetime_as_string(frames.sessions[step]),
            "step": step,
            "horizon": horizon + 1,
            "forecast": said[shown],
            "actual": came[shown],
        }
    )
