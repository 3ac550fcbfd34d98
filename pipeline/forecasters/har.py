"""HAR: log volatility ahead, regressed on its daily, weekly and monthly means."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, refuse_no_labels
from pipeline.dataset.targets import trailing_mean
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters, own_features
from pipeline.forecasters.per_ticker import per_ticker_or_pooled, ticker_rows


class HarSpec(BaseModel, frozen=True, extra="forbid"):
    """Log volatility ahead, regressed on its daily, weekly and monthly means, with residual quantiles."""

    kind: Literal["har"] = "har"
    features: tuple[str] = Field(("log_range",), description="The log of the session's volatility: one feature")


HAR_WINDOWS = (1, 5, 22)  # a day, a week, a month
ENOUGH_RESIDUALS = 100  # below this a ticker takes the pooled quantiles


def fit(_spec: HarSpec, data: FitData) -> Parameters:
    """Return the weights [1 + window, horizon] pooled over tickers, and unit quantiles [ticker + 1, horizon, level].

    Corsi (2009), eq. 9, in logs and direct: the mean log volatility over t+1..t+h on its means over the last day, week
    and month, by least squares. The quantiles are those of y_h / (forecast volatility x sqrt(h)) in training.
    Raises FitError when the range has no row of a horizon.
    """
    frames, train = data.frames, data.fold.train
    regressors, proxy = har_regressors(frames), frames.features[..., 0].astype(np.float64)
    known = label_mask(frames, train)
    weights, units = [], []
    for h in range(1, frames.horizons + 1):
        target = _mean_ahead(proxy, h)
        rows = known[..., h - 1] & np.isfinite(target) & np.isfinite(regressors).all(axis=2)
        refuse_no_labels(rows, train, h)
        coefficients = np.linalg.lstsq(regressors[rows], target[rows], rcond=None)[0].astype(np.float64)
        weights.append(coefficients)
        units.append(
            _residual_quantiles(frames.future_return[..., h - 1] / _har_scale(regressors, coefficients, h), rows)
        )
    return Parameters(
        {
            "weights": np.stack(weights, axis=1).astype(np.float32),
            "unit": np.stack(units, axis=1).astype(np.float32),
        }
    )


def quantiles(_spec: HarSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    arrays = fitted.arrays
    regressors = har_regressors(frames)[:, origins]
    unit = arrays["unit"][ticker_rows(fitted, frames)][:, None]  # [ticker, 1, horizon, level]
    weights = arrays["weights"].astype(np.float64).T
    scale = np.stack(
        [_har_scale(regressors, coefficients, h) for h, coefficients in enumerate(weights, start=1)], axis=-1
    )
    return (scale[..., None] * unit).astype(np.float32)


def har_regressors(frames: Frames) -> Floats:
    """Return one and the means of the log volatility over each window [ticker, session, 1 + window], NaN before."""
    proxy = frames.features[..., 0].astype(np.float64)
    result = np.full((*proxy.shape, 1 + len(HAR_WINDOWS)), np.nan)
    for ticker, ticker_proxy in enumerate(proxy):
        where = np.isfinite(ticker_proxy)
        means = [trailing_mean(ticker_proxy[where], window) for window in HAR_WINDOWS]
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
    by_ticker = [scaled[ticker][rows[ticker]] for ticker in range(len(scaled))]
    each = [*by_ticker, np.concatenate(by_ticker)]
    quantiles = [np.quantile(residuals, LEVELS) if len(residuals) else np.zeros(len(LEVELS)) for residuals in each]
    enough = np.array([len(residuals) >= ENOUGH_RESIDUALS for residuals in each])
    return per_ticker_or_pooled(np.array(quantiles, dtype=np.float32), enough)


FORECASTER = Forecaster(HarSpec, fit, quantiles, "benchmark", features=own_features)
