"""A backtest: what every forecaster said at every origin of the test ranges, beside what then happened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.evaluation.calibration.conformal import calibrated
from pipeline.evaluation.calibration.correction import Correction, correction_of
from pipeline.evaluation.calibration.specification import CalibrationSpec
from pipeline.models.rivals import RIVAL_KINDS
from pipeline.models.specification import BASELINES, LEVELS, RecurrentSpec
from pipeline.training.fits import quantiles
from pipeline.training.jobs import FitResult, Fitted

NETWORK = "network"
CALIBRATED = "calibrated"
"""The network with a conformal correction of its bands: present where the experiment asks for one."""
FORECASTERS = (NETWORK, *(spec.kind for spec in BASELINES))
"""The forecasters of every run."""
IN_ORDER = (NETWORK, CALIBRATED, *FORECASTERS[1:], *RIVAL_KINDS)
UNCALIBRATED = CalibrationSpec(method="none")
QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in LEVELS)


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

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return int(self.realised.shape[2])

    @property
    def baselines(self) -> tuple[str, ...]:
        """The forecasters that the network is compared with."""
        return tuple(name for name in self.quantiles if name not in (NETWORK, CALIBRATED))

    @cached_property
    def scored(self) -> Booleans:
        """Return True [ticker, origin, horizon] where every forecaster spoke and the outcome is known."""
        mask: Booleans = np.isfinite(self.realised)
        for values in self.quantiles.values():
            mask = mask & np.isfinite(values).all(axis=-1)
        return mask


def forecasts_by_forecaster(fits: Sequence[Fitted], frames: Frames, origins: slice) -> dict[str, Floats32]:
    """Return quantiles [ticker, origin, horizon, level] by forecaster; fits of one kind are a mean over seeds.

    A network per ticker speaks of its own ticker; of one that none was trained on, all speak.
    """
    by_kind: dict[str, list[Fitted]] = {}
    for fitted in fits:
        by_kind.setdefault(fitted.forecaster.kind, []).append(fitted)
    return {kind: _mean_of(own, frames, origins) for kind, own in by_kind.items()}


def _mean_of(fits: Sequence[Fitted], frames: Frames, origins: slice) -> Floats32:
    if not (isinstance(fits[0].forecaster, RecurrentSpec) and fits[0].forecaster.scope == "ticker"):
        mean: Floats32 = np.mean([quantiles(fitted, frames, origins) for fitted in fits], axis=0, dtype=np.float32)
        return mean
    rows = []
    for row, ticker in enumerate(frames.tickers):
        own = [fitted for fitted in fits if ticker in fitted.tickers] or fits
        rows.append(np.mean([quantiles(fitted, frames.at(np.array([row])), origins) for fitted in own], axis=0)[0])
    return np.stack(rows).astype(np.float32)


def build_backtest(
    results: Sequence[FitResult],
    folds: Sequence[Fold],
    frames: Frames,
    calibration: CalibrationSpec = UNCALIBRATED,
) -> Backtest:
    """Return the backtest of finished fits: each fold's test range forecast by that fold's fits.

    With a calibration the network stands there twice, as it speaks and corrected.
    """
    parts = [_test_forecasts(fits_of(results, fold), frames, fold, calibration) for fold in folds]
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
    )


def _test_forecasts(
    fits: Sequence[Fitted], frames: Frames, fold: Fold, calibration: CalibrationSpec
) -> dict[str, Floats32]:
    found = forecasts_by_forecaster(fits, frames, test_slice(fold))
    return with_calibrated(found, fits, frames, fold.test.start, correction_of(fold, calibration))


def with_calibrated(
    forecasts: Mapping[str, Floats32], fits: Sequence[Fitted], frames: Frames, start: int, correction: Correction
) -> dict[str, Floats32]:
    """Return forecasts from session index `start` on with the corrected network, if one is asked for, after itself.

    Origins before the correction begins are not corrected.
    """
    if correction.spec.method == "none" or NETWORK not in forecasts:
        return dict(forecasts)
    own = forecasts[NETWORK]
    stop = start + own.shape[1]
    first, _ = correction.starts(frames.sessions[:stop])
    if first < stop:
        corrected = calibrated_network(fits, frames, stop, correction)[:, max(start - first, 0) :]
        own = np.concatenate([own[:, : max(first - start, 0)], corrected], axis=1)
    return {NETWORK: forecasts[NETWORK], CALIBRATED: own, **forecasts}


def calibrated_network(fits: Sequence[Fitted], frames: Frames, stop: int, correction: Correction) -> Floats32:
    """Return the network's corrected quantiles [ticker, origin, horizon, level], from the correction's first origin on.

    The correction begins anew with every fold, at its calibration range or, where it has none, at its test: backtest
    and live forecasts both come here, so an origin is corrected alike in both. Outcomes of the tickers that the network
    was trained on teach it, so that one added later changes nothing for the others; where there is none, all teach it.
    """
    network = [fitted for fitted in fits if fitted.forecaster.kind == NETWORK]
    trained_on = np.isin(frames.tickers, [ticker for fitted in network for ticker in fitted.tickers])
    first, tested = correction.starts(frames.sessions[:stop])
    ranges = [slice(a, b) for a, b in ((first, tested), (tested, stop)) if a < b]
    parts = [forecasts_by_forecaster(network, frames, part)[NETWORK] for part in ranges]
    teaching = (trained_on if trained_on.any() else ~trained_on)[:, None, None]
    outcome = np.where(teaching, frames.future_return[:, first:stop], np.float32(np.nan))
    return calibrated(np.concatenate(parts, axis=1), outcome, correction.spec, tested - first)


def _sessions_ahead(frames: Frames, rows: Indices) -> Sessions:
    padded = np.concatenate([frames.sessions, np.full(frames.horizons, np.datetime64("NaT"))])
    ahead: Sessions = padded[rows[:, None] + np.arange(1, frames.horizons + 1)]
    return ahead


def fits_of(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    """Return the fitted forecasters of one fold: the network's seeds, the baselines, the rivals, in this order."""
    own = [result for result in results if result.job.fold.name == fold.name]
    order = sorted(own, key=lambda one: (IN_ORDER.index(one.job.forecaster.kind), one.job.seed, one.job.tickers))
    return [result.fitted for result in order if result.fitted is not None]


def test_slice(fold: Fold) -> slice:
    """Return the test range as a slice of session indices."""
    return slice(fold.test.start, fold.test.stop)


def prices(reference_close: Floats, log_quantiles: Floats32) -> Floats:
    """Return price quantiles reference_close exp(q) [..., horizon, level]."""
    price: Floats = reference_close[..., None, None] * np.exp(log_quantiles.astype(np.float64))
    return price


def forecast_frames(backtest: Backtest) -> Iterator[pd.DataFrame]:
    """Yield one long frame of forecasts per forecaster, in prices, with what was `actual`.

    Actual is reference_close exp(y_h), so that a split or a dividend does not break a grade.
    """
    where = backtest.scored
    ticker, origin, horizon = np.nonzero(where)
    reference = backtest.reference_close[ticker, origin]
    for name, values in backtest.quantiles.items():
        price = reference[:, None] * np.exp(values[where].astype(np.float64))  # [row, level]
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
