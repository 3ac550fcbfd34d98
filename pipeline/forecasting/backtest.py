"""A backtest: the quantiles of every forecaster at every origin of the test ranges, with the outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.forecasting.correction import Correction, correction_of, over_folds
from pipeline.forecasting.forecasts import (
    CALIBRATED,
    NETWORK,
    QUANTILE_COLUMNS,
    UNCALIBRATED,
    fits_of,
    forecasts_by_forecaster,
    price_quantiles,
)
from pipeline.training.jobs import FitResult


@dataclass(frozen=True)
class Backtest:
    """Quantiles of log returns of each forecaster, and the realised ones, over all test origins."""

    tickers: tuple[str, ...]
    sessions: Sessions  # [origin]
    fold_names: tuple[str, ...]
    fold_of_origin: Indices  # [origin]
    quantiles: Mapping[str, Floats32]  # forecaster -> [ticker, origin, horizon, level]
    realised: Floats32  # [ticker, origin, horizon], NaN where unknown
    reference_close: Floats  # [ticker, origin]
    target_sessions: Sessions  # [origin, horizon], NaT beyond the last session
    correction: Correction | None = None  # what a live forecast after the last origin goes on with

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return int(self.realised.shape[2])

    @property
    def opponents(self) -> tuple[str, ...]:
        """The forecasters that the network is compared with."""
        return tuple(name for name in self.quantiles if name not in (NETWORK, CALIBRATED))

    @cached_property
    def scored(self) -> Booleans:
        """Return True [ticker, origin, horizon] where every forecaster has quantiles and the outcome is known."""
        mask: Booleans = np.isfinite(self.realised)
        for values in self.quantiles.values():
            mask = mask & np.isfinite(values).all(axis=-1)
        return mask


def build_backtest(
    results: Sequence[FitResult],
    folds: Sequence[Fold],
    frames: Frames,
    calibration: CalibrationSpec = UNCALIBRATED,
) -> Backtest:
    """Return the backtest of finished fits: each fold's test range forecast by that fold's fits.

    With a calibration it holds the network twice, as it is and calibrated.
    """
    fits = [fits_of(results, fold) for fold in folds]
    uncorrected = [
        forecasts_by_forecaster(of_fold, frames, test_slice(fold)) for of_fold, fold in zip(fits, folds, strict=True)
    ]
    parts, state = over_folds(uncorrected, fits, folds, frames, calibration)
    rows = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    usable = frames.usable[:, rows, None]
    return Backtest(
        tickers=frames.tickers,
        sessions=frames.sessions[rows],
        fold_names=tuple(fold.name for fold in folds),
        fold_of_origin=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        quantiles={name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]},
        realised=np.where(usable, frames.future_return[:, rows], np.float32(np.nan)),
        reference_close=frames.reference_close[:, rows],
        target_sessions=_sessions_ahead(frames, rows),
        correction=correction_of(folds[-1], calibration, state),
    )


def _sessions_ahead(frames: Frames, rows: Indices) -> Sessions:
    padded = np.concatenate([frames.sessions, np.full(frames.horizons, np.datetime64("NaT"))])
    ahead: Sessions = padded[rows[:, None] + np.arange(1, frames.horizons + 1)]
    return ahead


def test_slice(fold: Fold) -> slice:
    """Return the test range as a slice of session indices."""
    return slice(fold.test.start, fold.test.stop)


def forecast_frames(backtest: Backtest) -> Iterator[pd.DataFrame]:
    """Yield one long frame of forecasts per forecaster, in prices, with what was `actual`.

    Actual is reference_close exp(y_h), so that a split or a dividend does not break a grade.
    """
    where = backtest.scored
    ticker, origin, horizon = np.nonzero(where)
    reference = backtest.reference_close[ticker, origin]
    for name, values in backtest.quantiles.items():
        price = price_quantiles(reference[:, None], values[where])  # [row, level]
        columns = {
            "ticker": np.array(backtest.tickers, dtype=object)[ticker],
            "as_of": backtest.sessions[origin].astype("datetime64[s]"),
            "horizon": horizon + 1,
            "target_session": backtest.target_sessions[origin, horizon].astype("datetime64[s]"),
            "forecaster": name,
            "reference_close": reference,
            "age_sessions": 0,
        }
        actual = reference * np.exp(backtest.realised[where].astype(np.float64))
        yield pd.DataFrame({**columns, **dict(zip(QUANTILE_COLUMNS, price.T, strict=True)), "actual": actual})
