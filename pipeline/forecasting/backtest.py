"""A backtest: the quantiles of every forecaster at every origin of the test ranges, with the outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.forecasts import (
    CALIBRATED,
    COMBINED,
    NETWORK,
    QUANTILE_COLUMNS,
    fits_of,
    forecasts_by_forecaster,
    price_quantiles,
)
from pipeline.forecasting.postprocessing import (
    Postprocessed,
    Postprocessing,
    members_of,
    over_folds,
    postprocessing_of,
)
from pipeline.forecasting.specification import PostprocessingSpec
from pipeline.forecasting.weights import Weights, joined
from pipeline.training.jobs import FitResult


@dataclass(frozen=True)
class Backtest:
    """Quantiles of log returns of each forecaster, and the realised ones, over all test origins.

    What was combined has the weights, and what the combination would have been without the network, where it is one of
    several members.
    """

    tickers: tuple[str, ...]
    sessions: Sessions  # [origin]
    fold_names: tuple[str, ...]
    fold_of_origin: Indices  # [origin]
    quantiles: Mapping[str, Floats32]  # forecaster -> [ticker, origin, horizon, level]
    realised: Floats32  # [ticker, origin, horizon], NaN where unknown
    reference_close: Floats  # [ticker, origin]
    target_sessions: Sessions  # [origin, horizon], NaT beyond the last session
    relative_volatility: Floats32 | None = None  # [ticker, origin], its log (dataset.targets)
    weights: Weights | None = None
    without_network: Floats32 | None = None  # [ticker, origin, horizon, level]
    postprocessing: Postprocessing | None = None  # what a live forecast after the last origin goes on with

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return int(self.realised.shape[2])

    @property
    def base(self) -> str:
        """What is published before its bands are corrected: the combination, or the network where it was requested."""
        requested = self.postprocessing.spec.publish if self.postprocessing else COMBINED
        return COMBINED if requested == COMBINED and COMBINED in self.quantiles else NETWORK

    @property
    def published(self) -> str:
        """The forecaster that is published."""
        return CALIBRATED if CALIBRATED in self.quantiles else self.base

    @property
    def opponents(self) -> tuple[str, ...]:
        """The forecasters that what is published is compared with."""
        return self.opponents_of(self.published)

    def opponents_of(self, model: str) -> tuple[str, ...]:
        """Return the other forecasters of the run; the network is one for the combination, and what is made of it."""
        own = (NETWORK,) if model == NETWORK or (model, self.base) == (CALIBRATED, NETWORK) else ()
        return tuple(name for name in self.quantiles if name not in (COMBINED, CALIBRATED, *own))

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
    spec: PostprocessingSpec | None = None,
) -> Backtest:
    """Return the backtest of finished fits: each fold's test range forecast by that fold's fits.

    With a post-processing it has what is combined and calibrated of them too. A forecaster that could not be fitted on
    some fold is combined on the others, and not compared.
    """
    fits = [fits_of(results, fold) for fold in folds]
    parts = [
        forecasts_by_forecaster(of_fold, frames, test_slice(fold)) for of_fold, fold in zip(fits, folds, strict=True)
    ]
    made: list[Postprocessed] = []
    without_network = None
    if spec is not None:
        without_network = _without_network(parts, fits, folds, frames)
        made = over_folds(parts, fits, folds, frames, spec)
        parts = [of_fold.quantiles for of_fold in made]
    rows = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    usable = frames.usable[:, rows, None]
    return Backtest(
        tickers=frames.tickers,
        sessions=frames.sessions[rows],
        fold_names=tuple(fold.name for fold in folds),
        fold_of_origin=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        quantiles={
            name: np.concatenate([part[name] for part in parts], axis=1)
            for name in parts[0]
            if all(name in part for part in parts)
        },
        realised=np.where(usable, frames.future_return[:, rows], np.float32(np.nan)),
        reference_close=frames.reference_close[:, rows],
        target_sessions=_sessions_ahead(frames, rows),
        relative_volatility=np.where(frames.usable[:, rows], frames.relative_volatility[:, rows], np.float32(np.nan)),
        weights=joined([of_fold.weights for of_fold in made]) if made else None,
        without_network=without_network,
        postprocessing=postprocessing_of(folds[-1], spec, made[-1].state) if spec else None,
    )


def _without_network(
    parts: Sequence[Mapping[str, Floats32]], fits: Sequence[Sequence[Fitted]], folds: Sequence[Fold], frames: Frames
) -> Floats32 | None:
    """Return the same combination of the other members [ticker, origin, horizon, level]; None where there is none."""
    others = [{name: values for name, values in part.items() if name != NETWORK} for part in parts]
    if NETWORK not in parts[0] or not members_of(tuple(others[0])):
        return None
    made = over_folds(others, fits, folds, frames, PostprocessingSpec())
    return np.concatenate([of_fold.quantiles[COMBINED] for of_fold in made], axis=1)


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
