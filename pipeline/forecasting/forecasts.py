"""From fits to quantiles: the mean over seeds, and the calibrated network next to the network itself."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.registry import BASELINES, FORECASTERS, forecaster_of
from pipeline.forecasting.calibration import CalibrationSpec, Correction, calibrated
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult

NETWORK = "network"
CALIBRATED = "calibrated"
"""The network with a conformal correction of its bands: present where the experiment requests one."""
CORE_FORECASTERS = (NETWORK, *(spec.kind for spec in BASELINES))
"""The forecasters of every run."""
FORECASTER_ORDER = tuple(
    name
    for forecaster in FORECASTERS
    for name in ((NETWORK, CALIBRATED) if forecaster.role == "network" else (forecaster.kind,))
)
"""The order of forecasters in every table: the network, itself calibrated, the baselines, the benchmarks."""
UNCALIBRATED = CalibrationSpec(method="none")
QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in LEVELS)

Forecast = Callable[[Fitted, Frames, slice], Floats32]
"""What a fitted forecaster gives over origins [ticker, origin, horizon, ...]: quantiles, or class probabilities."""


def forecasts_by_forecaster(fits: Sequence[Fitted], frames: Frames, origins: slice) -> dict[str, Floats32]:
    """Return quantiles [ticker, origin, horizon, level] by forecaster; fits of one kind are a mean over seeds."""
    by_kind: dict[str, list[Fitted]] = {}
    for fitted in fits:
        by_kind.setdefault(fitted.forecaster.kind, []).append(fitted)
    return {kind: mean_over_fits(of_kind, frames, origins, quantiles) for kind, of_kind in by_kind.items()}


def mean_over_fits(fits: Sequence[Fitted], frames: Frames, origins: slice, forecast: Forecast) -> Floats32:
    """Return the mean of what fits of one kind forecast [ticker, origin, horizon, ...].

    Where each ticker has a network of its own, a ticker is forecast by those trained on it, and a ticker that none was
    trained on by all of them.
    """
    if not forecaster_of(fits[0].forecaster).per_ticker(fits[0].forecaster):
        mean: Floats32 = np.mean([forecast(fitted, frames, origins) for fitted in fits], axis=0, dtype=np.float32)
        return mean
    rows = []
    for row, ticker in enumerate(frames.tickers):
        trained_on_it = [fitted for fitted in fits if ticker in fitted.tickers] or fits
        ticker_frames = frames.at(np.array([row]))
        rows.append(np.mean([forecast(fitted, ticker_frames, origins) for fitted in trained_on_it], axis=0)[0])
    return np.stack(rows).astype(np.float32)


def with_calibrated(
    forecasts: Mapping[str, Floats32], fits: Sequence[Fitted], frames: Frames, start: int, correction: Correction
) -> dict[str, Floats32]:
    """Return forecasts from session index `start` on, with the calibrated network after the network itself.

    Without a calibration they are returned as they are. Origins before the correction begins are not corrected.
    """
    if correction.spec.method == "none" or NETWORK not in forecasts:
        return dict(forecasts)
    network = forecasts[NETWORK]
    stop = start + network.shape[1]
    first, _ = correction.starts(frames.sessions[:stop])
    if first < stop:
        corrected = calibrated_network(fits, frames, stop, correction)[:, max(start - first, 0) :]
        network = np.concatenate([network[:, : max(first - start, 0)], corrected], axis=1)
    return {NETWORK: forecasts[NETWORK], CALIBRATED: network, **forecasts}


def calibrated_network(fits: Sequence[Fitted], frames: Frames, stop: int, correction: Correction) -> Floats32:
    """Return the network's corrected quantiles [ticker, origin, horizon, level], from the correction's first origin on.

    The correction starts anew with every fold, at its calibration range or, where it has none, at its test. Backtest
    and live forecasts both call this, so that an origin is corrected alike in both. It learns from outcomes of the
    tickers that the network was trained on, so that a ticker added later changes nothing for the others; where there is
    none, from those of all.
    """
    network = [fitted for fitted in fits if fitted.forecaster.kind == NETWORK]
    trained_on = np.isin(frames.tickers, [ticker for fitted in network for ticker in fitted.tickers])
    first, tested = correction.starts(frames.sessions[:stop])
    ranges = [slice(a, b) for a, b in ((first, tested), (tested, stop)) if a < b]
    parts = [forecasts_by_forecaster(network, frames, part)[NETWORK] for part in ranges]
    learned_from = (trained_on if trained_on.any() else ~trained_on)[:, None, None]
    outcome = np.where(learned_from, frames.future_return[:, first:stop], np.float32(np.nan))
    return calibrated(np.concatenate(parts, axis=1), outcome, correction.spec, tested - first)


def fits_of(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    """Return the fitted forecasters of one fold: the network's seeds, the baselines, the benchmarks, in this order."""
    return [result.fitted for result in results_of(results, fold) if result.fitted is not None]


def results_of(results: Sequence[FitResult], fold: Fold) -> list[FitResult]:
    """Return the results of one fold in the order of forecasters, then of seeds and tickers."""
    of_fold = [result for result in results if result.job.fold.name == fold.name]
    return sorted(of_fold, key=_place)


def _place(result: FitResult) -> tuple[int, int, tuple[str, ...]]:
    return FORECASTER_ORDER.index(result.job.forecaster.kind), result.job.seed, result.job.tickers


def price_quantiles(reference_close: Floats | float, log_quantiles: Floats32) -> Floats:
    """Return price quantiles reference_close exp(q) [...], for a reference that broadcasts to the quantiles."""
    price: Floats = reference_close * np.exp(log_quantiles.astype(np.float64))
    return price
