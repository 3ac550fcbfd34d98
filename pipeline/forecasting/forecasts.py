"""From fits to quantiles: the mean over seeds, the names of forecasters, and prices."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.registry import BASELINES, DEFAULT_BENCHMARKS, FORECASTERS, forecaster_of
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult

NETWORK = "network"
COMBINED = "combined"
"""The combination of the forecasters, by weights learned online."""
CALIBRATED = "calibrated"
"""What is published with a conformal correction of its bands: present where the experiment requests one."""
CORE_FORECASTERS = (NETWORK, *(spec.kind for spec in BASELINES))
"""The forecasters of every run."""
DEFAULT_FORECASTERS = (*CORE_FORECASTERS, *(spec.kind for spec in DEFAULT_BENCHMARKS))
"""The forecasters of a run whose experiment names none."""
FORECASTER_ORDER = tuple(
    name
    for forecaster in FORECASTERS
    for name in ((NETWORK, COMBINED, CALIBRATED) if forecaster.role == "network" else (forecaster.kind,))
)
"""The order of forecasters in every table: the network, the combination, what is published of them, the baselines, the
benchmarks."""
QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in LEVELS)

Forecast = Callable[[Fitted, Frames, slice], Floats32]
"""What a fitted forecaster gives over origins [ticker, origin, horizon, ...]: quantiles, or class probabilities."""


def in_order(forecasts: Mapping[str, Floats32]) -> dict[str, Floats32]:
    """Return forecasts by forecaster in the order of all tables."""
    return {name: forecasts[name] for name in FORECASTER_ORDER if name in forecasts}


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
