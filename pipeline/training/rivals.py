"""Fitting the rivals and forecasting with them, each by its kind, through the same job as a network."""

import time
from collections.abc import Mapping, Sequence

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.models.rivals import BoostingSpec, GarchSpec, HarSpec, PretrainedSpec, RidgeSpec
from pipeline.training.jobs import FitJob, Fitted, fitted_by


def fit_rival(job: FitJob, frames: Frames) -> Fitted:
    """Return the fitted rival of a job; `frames` hold the job's tickers and end with its validation range.

    Raises FitError when it has nothing to learn from, UsageError when what it needs is not installed.
    """
    began = time.perf_counter()
    arrays = _learn(job, frames)
    return fitted_by(job, frames.horizons, arrays, time.perf_counter() - began)


def _learn(job: FitJob, frames: Frames) -> Mapping[str, Floats32]:
    from pipeline.training.boosting import fit_boosting  # noqa: PLC0415  each brings what the others do not need
    from pipeline.training.garch import fit_garch  # noqa: PLC0415
    from pipeline.training.pretrained import fit_pretrained  # noqa: PLC0415
    from pipeline.training.regressions import fit_har, fit_ridge  # noqa: PLC0415

    match job.forecaster:
        case GarchSpec():
            return fit_garch(frames, job.fold.train)
        case HarSpec():
            return fit_har(frames, job.fold.train)
        case RidgeSpec() as spec:
            return fit_ridge(spec, job, frames)
        case BoostingSpec() as spec:
            return fit_boosting(spec, job, frames)
        case PretrainedSpec() as spec:
            return fit_pretrained(spec)
    raise FitError(f"found a {job.forecaster.kind} forecaster where a rival was expected")


def rival_quantiles(fitted: Fitted, frames: Frames, origins: slice, rows: Sequence[int]) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level].

    `rows` say where each ticker stands in an array by ticker; one never seen has the pooled row, the last.
    """
    from pipeline.training.boosting import boosting_quantiles  # noqa: PLC0415
    from pipeline.training.garch import garch_quantiles  # noqa: PLC0415
    from pipeline.training.pretrained import open_pipeline, pretrained_quantiles  # noqa: PLC0415
    from pipeline.training.regressions import har_quantiles, ridge_quantiles  # noqa: PLC0415

    match fitted.forecaster:
        case GarchSpec():
            return garch_quantiles(fitted.arrays, frames, origins, rows, fitted.horizons)
        case HarSpec():
            return har_quantiles(fitted.arrays, frames, origins, rows)
        case RidgeSpec():
            return ridge_quantiles(fitted.arrays, frames, origins)
        case BoostingSpec():
            return boosting_quantiles(fitted.arrays, frames, origins, fitted.horizons)
        case PretrainedSpec() as spec:
            return pretrained_quantiles(spec, frames, origins, open_pipeline(spec, fitted.arrays))
    raise FitError(f"found a {fitted.forecaster.kind} forecaster where a rival was expected")
