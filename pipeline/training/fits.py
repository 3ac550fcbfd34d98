"""One fit and one forecast, whatever the forecaster: the only place that knows which is which."""

from collections.abc import Iterable

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import Scaler
from pipeline.dataset.volatility import ewma_volatility
from pipeline.errors import FitError
from pipeline.models.baselines import (
    drift_over_horizons,
    normal_unit_quantiles,
    rearranged,
    spread_over_horizons,
    student_unit_quantiles,
)
from pipeline.models.rivals import RivalSpec
from pipeline.models.specification import (
    LEVELS,
    ClimatologySpec,
    DriftSpec,
    EwmaSpec,
    LastCloseSpec,
    LinearSpec,
    RecurrentSpec,
)
from pipeline.training.devices import one_thread
from pipeline.training.jobs import FitJob, FitResult, Fitted
from pipeline.training.labels import origin_scale


def fit(job: FitJob, frames: Frames, former: Fitted | None = None) -> Fitted:
    """Return the fitted forecaster of a job, trained on nothing after its validation range; raises FitError.

    One thread makes it, whoever calls: two inside one fit are slower than one as soon as anything else runs.
    `former` is the fit that a job with `begins_from` begins from.
    """
    from pipeline.training.baselines import fit_baseline  # noqa: PLC0415  torch is imported where it is used
    from pipeline.training.network import fit_network  # noqa: PLC0415
    from pipeline.training.rivals import fit_rival  # noqa: PLC0415

    seen = frames.until(job.fold.validation.stop).of(job.tickers).with_features(job.features).with_ahead(job.ahead)
    with one_thread():
        if isinstance(job.forecaster, RecurrentSpec):
            return fit_network(job, seen, former)
        return (fit_rival if isinstance(job.forecaster, RivalSpec) else fit_baseline)(job, seen)


def fit_each(jobs: Iterable[FitJob], frames: Frames) -> list[FitResult]:
    """Return the result of every job, fitted one after the other in this process; nothing is kept on disk.

    A job that begins from another's fit comes after it. Raises FitError at the first that fails, or that does not.
    """
    done: dict[str, Fitted] = {}
    results = []
    for job in jobs:
        if job.begins_from and job.begins_from not in done:
            raise FitError(f"found no fit before that of fold {job.fold.name}, which begins from one; give it first")
        done[job.key] = fit(job, frames, done.get(job.begins_from or ""))
        results.append(FitResult(job, done[job.key]))
    return results


def quantiles(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], NaN where the origin is not usable.

    `origins` are session indices start..stop; a ticker the forecaster was not trained on is forecast as well.
    """
    known = frames.until(origins.stop).with_features(fitted.features).with_ahead(fitted.ahead)
    with one_thread():
        result = _forecast(fitted, known, origins)
    return np.where(known.usable[:, origins, None, None], result, np.float32(np.nan))


def class_probabilities(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return probabilities of down, flat and up [ticker, origin, horizon, class], NaN where the origin is not usable.

    The horizons are those that the network answers at once: of a recursive one the first alone. Raises FitError where
    the forecaster learned no classes.
    """
    from pipeline.training.reading import read_probabilities  # noqa: PLC0415  brings torch

    known = frames.until(origins.stop).with_features(fitted.features).with_ahead(fitted.ahead)
    with one_thread():
        result = read_probabilities(fitted, known, origins)
    return np.where(known.usable[:, origins, None, None], result, np.float32(np.nan))


def _forecast(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:  # noqa: PLR0911  one per forecaster
    horizons = fitted.horizons
    match fitted.forecaster:
        case RecurrentSpec():
            return _network(fitted, frames, origins)
        case LinearSpec():
            return _linear(fitted, frames, origins)
        case ClimatologySpec():
            own = fitted.arrays["quantiles"][_row_of_ticker(fitted, frames)]  # [ticker, level]
            ones = np.ones((len(frames.tickers), origins.stop - origins.start), dtype=np.float32)
            return spread_over_horizons(np.float64(1) * own[:, None, None, :], ones, horizons)
        case LastCloseSpec():
            return spread_over_horizons(normal_unit_quantiles(), frames.volatility_20[:, origins], horizons)
        case DriftSpec():
            mean = fitted.arrays["mean"][_row_of_ticker(fitted, frames)]  # [ticker]
            around = spread_over_horizons(normal_unit_quantiles(), frames.volatility_20[:, origins], horizons)
            return around + drift_over_horizons(mean, horizons)
        case EwmaSpec(decay=decay, degrees_of_freedom=degrees):
            volatility = ewma_volatility(frames.log_return.astype(np.float64), decay)[:, origins]
            return spread_over_horizons(student_unit_quantiles(degrees), volatility, horizons)
        case _:
            return _rival(fitted, frames, origins)


def _rival(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    from pipeline.training.rivals import rival_quantiles  # noqa: PLC0415  brings what no other forecaster needs

    return rival_quantiles(fitted, frames, origins, _row_of_ticker(fitted, frames))


def _row_of_ticker(fitted: Fitted, frames: Frames) -> list[int]:
    """Return each ticker's row of a per-ticker array; a ticker never seen has the pooled one, the last."""
    return [fitted.tickers.index(t) if t in fitted.tickers else len(fitted.tickers) for t in frames.tickers]


def _scaler(fitted: Fitted) -> Scaler:
    return Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])


def _linear(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    features = _scaler(fitted).apply(frames.features[:, origins])  # [ticker, origin, feature]
    weights = fitted.arrays["weights"]  # [feature + 1, horizon x level]
    scaled = (features @ weights[:-1] + weights[-1]).reshape(*features.shape[:2], fitted.horizons, len(LEVELS))
    return rearranged(scaled) * origin_scale(frames.volatility[:, origins], fitted.horizons)[..., None]


def _network(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    from pipeline.training.paths import sampled_quantiles  # noqa: PLC0415  brings torch
    from pipeline.training.reading import read_quantiles  # noqa: PLC0415

    recursive = isinstance(fitted.forecaster, RecurrentSpec) and fitted.forecaster.ahead == "recursive"
    scaled = (sampled_quantiles if recursive else read_quantiles)(fitted, frames, origins)
    return scaled * origin_scale(frames.volatility[:, origins], fitted.horizons)[..., None]
