"""One fit and one forecast, whatever the kind of forecaster."""

import time
from collections.abc import Iterable

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import FitData, Fitted
from pipeline.forecasters.registry import forecaster_of
from pipeline.training.devices import one_thread
from pipeline.training.jobs import FitJob, FitResult


def fit(job: FitJob, frames: Frames, former: Fitted | None = None) -> Fitted:
    """Return the fitted forecaster of a job, trained on nothing after its validation range; raises FitError.

    It always uses one thread: two inside one fit are slower than one as soon as anything else runs. `former` is
    the fit that a job with `starts_from` starts from.
    """
    visible = (
        frames.until(job.fold.validation.stop)
        .of(job.tickers)
        .with_features(job.features)
        .with_known_future(job.known_future)
    )
    forecaster = forecaster_of(job.forecaster)
    began = time.perf_counter()
    with one_thread():
        data = FitData(visible, job.fold, job.seed, job.training, job.device, former)
        parameters = forecaster.fit(job.forecaster, data)
    return Fitted(
        forecaster=job.forecaster,
        features=job.features,
        tickers=job.tickers,
        horizons=frames.horizons,
        lookback_sessions=forecaster.lookback_sessions(job.forecaster, job.training),
        arrays=parameters.arrays,
        checks=parameters.checks,
        best_step=parameters.best_step,
        seconds=time.perf_counter() - began,
        known_future=job.known_future,
    )


def fit_each(jobs: Iterable[FitJob], frames: Frames) -> list[FitResult]:
    """Return the result of every job, fitted one after the other in this process; nothing is cached on disk.

    A job that starts from another's fit comes after it. Raises FitError at the first that fails, or that does not.
    """
    done: dict[str, Fitted] = {}
    results = []
    for job in jobs:
        if job.starts_from and job.starts_from not in done:
            raise FitError(
                f"found no fit before that of fold {job.fold.name}, which starts from one; put the earlier job first"
            )
        done[job.key] = fit(job, frames, done.get(job.starts_from or ""))
        results.append(FitResult(job, done[job.key]))
    return results


def quantiles(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], NaN where the origin is not usable.

    `origins` are session indices start..stop; a ticker the forecaster was not trained on is forecast as well.
    """
    known = frames.until(origins.stop).with_features(fitted.features).with_known_future(fitted.known_future)
    with one_thread():
        result = forecaster_of(fitted.forecaster).quantiles(fitted.forecaster, fitted, known, origins)
    return np.where(known.usable[:, origins, None, None], result, np.float32(np.nan))


def class_probabilities(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return probabilities of down, flat and up [ticker, origin, horizon, class], NaN where the origin is not usable.

    The horizons are those that the network forecasts at once: of a recursive one the first alone. Raises FitError where
    the forecaster has no class probabilities.
    """
    from pipeline.forecasters.recurrent.reading import read_probabilities  # noqa: PLC0415  brings torch

    known = frames.until(origins.stop).with_features(fitted.features).with_known_future(fitted.known_future)
    with one_thread():
        result = read_probabilities(fitted, known, origins)
    return np.where(known.usable[:, origins, None, None], result, np.float32(np.nan))
