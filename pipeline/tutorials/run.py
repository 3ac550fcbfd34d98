"""Runs a tutorial: its networks are fitted and forecast by the code of every run, then compared with the mark."""

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
from pipeline.tutorials.data import Tutorial, TutorialData, root_horizons
from pipeline.tutorials.measures import TutorialScore, score_network


@dataclass(frozen=True)
class TutorialFit:
    """One seed of a tutorial: its data, the fit that was chosen, and its score."""

    seed: int
    data: TutorialData
    job: FitJob
    network: Fitted
    backtest: Backtest
    score: TutorialScore


@dataclass(frozen=True)
class TutorialResult:
    """A tutorial compared with its mark; `seconds` are CPU seconds of one core."""

    tutorial: Tutorial
    fits: tuple[TutorialFit, ...]
    seconds: float

    @property
    def found(self) -> float:
        """The median of the measure over the seeds."""
        return float(np.median([fit.score.found for fit in self.fits]))

    @property
    def passed(self) -> bool:
        """Whether `found` is not above the mark; NaN does not pass."""
        return self.found <= self.tutorial.mark

    @property
    def median_fit(self) -> TutorialFit:
        """The fit with the median result."""
        return sorted(self.fits, key=lambda fit: fit.score.found)[(len(self.fits) - 1) // 2]


def run_tutorial(tutorial: Tutorial, seed: int) -> TutorialResult:
    """Return the result of a tutorial; `seed` is its first one, the others count up from it. Raises FitError."""
    began = time.thread_time()
    seeds = range(seed, seed + tutorial.seeds)
    fits = tuple(fit_tutorial(tutorial, tutorial.data(number), number) for number in seeds)
    return TutorialResult(tutorial, fits, round(time.thread_time() - began, 3))


def fit_tutorial(tutorial: Tutorial, data: TutorialData, seed: int) -> TutorialFit:
    """Return the fit of one seed on the tutorial's data."""
    starts = range(seed * tutorial.starts, (seed + 1) * tutorial.starts)
    results = [fit_result(tutorial_job(tutorial, data, tutorial.network, start), data) for start in starts]
    return evaluate_fit(tutorial, data, min(results, key=min_validation_loss), seed)


def evaluate_fit(tutorial: Tutorial, data: TutorialData, result: FitResult, seed: int) -> TutorialFit:
    """Return a fitted network with its backtest and score; climatology is fitted on the same rows."""
    climatology = fit_result(tutorial_job(tutorial, data, ClimatologySpec(), seed), data)
    backtest = build_backtest([result, climatology], [data.fold], data.frames)
    if result.fitted is None:
        raise FitError(f"{tutorial.name}: found no fitted network, expected one; {result.error}")
    score = score_network(tutorial.measure, data, backtest, result.fitted)
    return TutorialFit(seed, data, result.job, result.fitted, backtest, score)


def tutorial_job(tutorial: Tutorial, data: TutorialData, forecaster: ForecasterSpec, seed: int) -> FitJob:
    """Return the fit job of a forecaster on the tutorial's data."""
    rows = data.frames.until(data.fold.validation.stop).of(data.trained_tickers)
    return FitJob(
        forecaster=forecaster,
        training=tutorial.training,
        features=data.frames.feature_names,
        tickers=data.trained_tickers,
        fold=data.fold,
        seed=seed,
        data_digest=digest_of_rows(rows),
    )


def fit_result(job: FitJob, data: TutorialData) -> FitResult:
    """Return the result of a job on the tutorial's data; raises FitError."""
    return FitResult(job, fit(job, data.frames))


def min_validation_loss(result: FitResult) -> float:
    """Return the smallest loss of a fit on its validation range."""
    checks = result.fitted.checks if result.fitted else ()
    return min((check.valid_loss for check in checks), default=np.inf)


# --- Tables ---


def tutorial_table(results: tuple[TutorialResult, ...]) -> pd.DataFrame:
    """Return a row per tutorial: tutorial, measure, found, mark, floor, seconds, passed."""
    rows = [
        {
            "tutorial": result.tutorial.name,
            "measure": result.tutorial.measure,
            "found": rounded(result.found),
            "mark": result.tutorial.mark,
            "floor": rounded(result.median_fit.data.floor),
            "seconds": round(result.seconds, 1),
            "passed": result.passed,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def rounded(value: float) -> float | None:
    """Return a number rounded to four digits, None for NaN."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def refuse_missed_marks(results: tuple[TutorialResult, ...]) -> None:
    """Raise SanityError naming every tutorial that missed its mark."""
    missed = [result for result in results if not result.passed]
    if missed:
        details = "; ".join(
            f"{result.tutorial.name}: {result.tutorial.measure} found {result.found:.4g}, "
            f"the mark is {result.tutorial.mark:g}"
            for result in missed
        )
        raise SanityError(
            f"{len(missed)} of {len(results)} tutorials missed their mark ({details}): do not trust this "
            "installation's forecasts"
        )


def unscaled(fit: TutorialFit, values: Floats) -> Floats:
    """Return values [ticker, session, horizon] in original units."""
    result: Floats = fit.data.centre + fit.data.unit * values / root_horizons(values.shape[2])
    return result


def medians(fit: TutorialFit) -> Floats:
    """Return the network's medians at every origin [ticker, session, horizon], in original units."""
    forecasts = quantiles(fit.network, fit.data.frames, slice(0, len(fit.data.frames.sessions)))
    return unscaled(fit, forecasts[..., MEDIAN].astype(np.float64))


def outcomes(fit: TutorialFit) -> Floats:
    """Return the realised values [ticker, session, horizon], in original units."""
    frames = fit.data.frames
    known = np.where(frames.usable[..., None], frames.future_return, np.nan)
    return unscaled(fit, known.astype(np.float64))


def tutorial_forecasts(fit: TutorialFit) -> pd.DataFrame:
    """Return the network's medians of the test range: series, session, step, horizon, forecast, actual."""
    forecast, actual, frames = medians(fit), outcomes(fit), fit.data.frames
    known = np.isfinite(forecast) & np.isfinite(actual)
    known[:, : fit.data.fold.test.start] = False
    ticker, step, horizon = np.nonzero(known)
    return pd.DataFrame(
        {
            "series": np.array(frames.tickers, dtype=object)[ticker],
            "session": np.datetime_as_string(frames.sessions[step]),
            "step": step,
            "horizon": horizon + 1,
            "forecast": forecast[known],
            "actual": actual[known],
        }
    )
