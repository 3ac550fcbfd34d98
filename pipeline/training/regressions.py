"""The rivals that are regressions: HAR on log volatility, and ridge on the location and log scale of the return."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.dataset.volatility import trailing_mean
from pipeline.errors import FitError
from pipeline.models.baselines import per_ticker_or_pooled
from pipeline.models.rivals import RidgeSpec
from pipeline.models.specification import LEVELS
from pipeline.training.jobs import FitJob
from pipeline.training.labels import label_mask, origin_scale, scaled_target

HAR_WINDOWS = (1, 5, 22)  # a day, a week, a month
ENOUGH_RESIDUALS = 100  # below this a ticker takes the pooled quantiles
SMALLEST_ERROR = 1e-2  # in units of vol x sqrt(h): the log of a smaller one would weigh too much


def fit_har(frames: Frames, train: Range) -> Mapping[str, Floats32]:
    """Return the weights [1 + window, horizon] pooled over tickers, and unit quantiles [ticker + 1, horizon, level].

    Corsi (2009), eq. 9, in logs and direct: the mean log volatility over t+1..t+h on its means over the last day, week
    and month, by least squares. The quantiles are those of y_h / (forecast volatility x sqrt(h)) in training.
    Raises FitError when the range has no row of a horizon.
    """
    regressors, proxy = har_regressors(frames), frames.features[..., 0].astype(np.float64)
    known = label_mask(frames, train)
    weights, units = [], []
    for h in range(1, frames.horizons + 1):
        target = _mean_ahead(proxy, h)
        rows = known[..., h - 1] & np.isfinite(target) & np.isfinite(regressors).all(axis=2)
        _refuse_nothing(rows, train, h)
        own = np.linalg.lstsq(regressors[rows], target[rows], rcond=None)[0].astype(np.float64)
        weights.append(own)
        units.append(_residual_quantiles(frames.future_return[..., h - 1] / _har_scale(regressors, own, h), rows))
    return {
        "weights": np.stack(weights, axis=1).astype(np.float32),
        "unit": np.stack(units, axis=1).astype(np.float32),
    }


def har_quantiles(arrays: Mapping[str, Floats32], frames: Frames, origins: slice, rows: Sequence[int]) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]; `rows` are the tickers' unit quantiles."""
    regressors = har_regressors(frames)[:, origins]
    unit = arrays["unit"][list(rows)][:, None]  # [ticker, 1, horizon, level]
    weights = arrays["weights"].astype(np.float64).T
    scale = np.stack([_har_scale(regressors, own, h) for h, own in enumerate(weights, start=1)], axis=-1)
    return (scale[..., None] * unit).astype(np.float32)


def har_regressors(frames: Frames) -> Floats:
    """Return one and the means of the log volatility over each window [ticker, session, 1 + window], NaN before."""
    proxy = frames.features[..., 0].astype(np.float64)
    result = np.full((*proxy.shape, 1 + len(HAR_WINDOWS)), np.nan)
    for ticker, own in enumerate(proxy):
        where = np.isfinite(own)
        means = [trailing_mean(own[where], window) for window in HAR_WINDOWS]
        result[ticker, where] = np.stack([np.ones(where.sum()), *means], axis=1)
    return result


def _har_scale(regressors: Floats, weights: Floats, h: int) -> Floats:
    # Term by term: a matrix product may add in another order for another number of rows.
    log_volatility = sum(regressors[..., k] * weight for k, weight in enumerate(weights))
    scale: Floats = np.exp(log_volatility) * np.sqrt(h)
    return scale


def _mean_ahead(values: Floats, h: int) -> Floats:
    """Return the mean over t+1..t+h [ticker, session], NaN where one of them is absent."""
    result = np.full(values.shape, np.nan)
    if values.shape[1] > h:
        result[:, :-h] = np.lib.stride_tricks.sliding_window_view(values[:, 1:], h, axis=1).mean(axis=-1)
    return result


def _residual_quantiles(scaled: Floats, rows: Booleans) -> Floats32:
    own = [scaled[ticker][rows[ticker]] for ticker in range(len(scaled))]
    each = [*own, np.concatenate(own)]
    quantiles = [np.quantile(one, LEVELS) if len(one) else np.zeros(len(LEVELS)) for one in each]
    enough = np.array([len(one) >= ENOUGH_RESIDUALS for one in each])
    return per_ticker_or_pooled(np.array(quantiles, dtype=np.float32), enough)


def _refuse_nothing(rows: Booleans, part: Range, h: int) -> None:
    if not rows.any():
        raise FitError(f"no label of horizon {h} between {part.first} and {part.until}; give a longer range")


def fit_ridge(spec: RidgeSpec, job: FitJob, frames: Frames) -> Mapping[str, Floats32]:
    """Return weights [feature + 1, horizon] of the location and of the log scale, unit quantiles and the penalties.

    Location: ridge regression of y_h / (vol sqrt(h)). Log scale: ridge regression of the log of its absolute error.
    Unit quantiles [horizon, level]: those of error / scale in training. Of all pairs of penalties the one with the
    smallest pinball loss on the validation range is taken; nothing else is learned there. Raises FitError when a
    range has no row of a horizon.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    scaler = fit_scaler(frames, job.fold.train)
    read, target = scaler.apply(frames.features), scaled_target(frames)
    learn = _rows_by_horizon(read, target, label_mask(frames, job.fold.train), job.fold.train)
    judge = _rows_by_horizon(read, target, label_mask(frames, job.fold.validation), job.fold.validation)
    with threadpool_limits(1):  # sums then have one order, whatever else runs
        tried = [_try_penalties(learn, judge, *pair) for pair in product(spec.penalties, repeat=2)]
    _, chosen = min(tried, key=lambda one: one[0])
    return {**chosen, "scaler.mean": scaler.mean, "scaler.std": scaler.std}


Rows = list[tuple[Floats32, Floats32]]
"""Features [row, feature] and scaled target [row] of each horizon."""


def _rows_by_horizon(read: Floats32, target: Floats32, known: Booleans, part: Range) -> Rows:
    horizons = range(target.shape[2])
    for h in horizons:
        _refuse_nothing(known[..., h], part, h + 1)
    return [(read[known[..., h]], target[known[..., h], h]) for h in horizons]


def _try_penalties(learn: Rows, judge: Rows, location: float, scale: float) -> tuple[float, dict[str, Floats32]]:
    """Return the mean pinball loss on the rows to judge by, and the arrays learned with two penalties."""
    parts = [_location_scale(*rows, location, scale) for rows in learn]
    loss = np.mean([_pinball(*rows, *part) for rows, part in zip(judge, parts, strict=True)])
    centre, spread, unit = (np.stack(own).astype(np.float32) for own in zip(*parts, strict=True))
    penalties = np.array([location, scale], dtype=np.float32)
    return float(loss), {"location": centre.T, "scale": spread.T, "unit": unit, "penalties": penalties}


def _location_scale(read: Floats32, target: Floats32, location: float, scale: float) -> tuple[Floats, Floats, Floats]:
    """Return the weights [feature + 1] of location and log scale at one horizon, and the unit quantiles [level]."""
    centre = _ridge(read, target, location)
    error = target - _apply(read, centre)
    spread = _ridge(read, np.log(np.abs(error) + SMALLEST_ERROR), scale)
    return centre, spread, np.quantile(error / np.exp(_apply(read, spread)), LEVELS)


def _ridge(read: Floats32, target: Floats | Floats32, penalty: float) -> Floats:
    from sklearn.linear_model import Ridge  # noqa: PLC0415  heavy, and forecasts do without it

    model = Ridge(alpha=penalty * len(read), solver="cholesky").fit(read, target)
    return np.append(model.coef_, model.intercept_).astype(np.float64)


def _apply(read: Floats32, weights: Floats) -> Floats:
    result: Floats = read @ weights[:-1] + weights[-1]
    return result


def _pinball(read: Floats32, target: Floats32, centre: Floats, spread: Floats, unit: Floats) -> float:
    quantiles = _apply(read, centre)[:, None] + np.exp(_apply(read, spread))[:, None] * unit
    error, levels = target[:, None] - quantiles, np.array(LEVELS)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def ridge_quantiles(arrays: Mapping[str, Floats32], frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    read = Scaler(arrays["scaler.mean"], arrays["scaler.std"]).apply(frames.features[:, origins])
    centre, spread = (read @ arrays[name][:-1] + arrays[name][-1] for name in ("location", "scale"))
    scaled = centre[..., None] + np.exp(spread)[..., None] * arrays["unit"]  # [ticker, origin, horizon, level]
    quantiles: Floats32 = scaled * origin_scale(frames.volatility[:, origins], len(arrays["unit"]))[..., None]
    return quantiles
