"""The stages of the pipeline as steps of one run; each may be replaced by one of your own, to have it audited."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.dataset.covariates.exogenous import NOTHING, Given
from pipeline.dataset.features import Feature, build_features
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import build_panel
from pipeline.errors import SourceError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.market.bars import Admitted, Bars
from pipeline.market.door import Terms, admit, rows_or_error
from pipeline.market.source import Source
from pipeline.market.universe import Universe
from pipeline.stages import folds_of, frames_of
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob, FitResult

Found = Mapping[str, pd.DataFrame | SourceError]


@dataclass(frozen=True)
class Setting:
    """What a run is given beside its bars: none of it is tampered with but the series of files (`given`)."""

    experiment: Experiment
    tickers: tuple[str, ...]
    terms: Terms
    calendar: str
    universe: Universe | None = None
    given: Given = NOTHING


def rows_found(source: Source, tickers: Iterable[str]) -> Found:
    """Return each ticker's rows as its source tells them, or the reason why there are none."""
    return {ticker: rows_or_error(source, ticker) for ticker in tickers}


def as_traded(bars: Bars) -> Bars:
    """Return the bars as they are: the pipeline adjusts no price, it computes each session's total return."""
    return bars


def frames_from(bars: Bars, others: Sequence[Bars], setting: Setting) -> Frames:
    """Return the frames of one calendar's bars as every run builds them."""
    return frames_of(bars, setting.experiment, None, others, setting.universe, setting.given)


def as_built(frames: Frames) -> Frames:
    """Return the frames with the labels that they were built with."""
    return frames


@dataclass(frozen=True)
class Steps:
    """One function per stage, by default that of every run.

    Scaling and early stopping are part of the fit. What `predict` says is compared as it is, of what `calibrate` says
    the corrected network alone.
    """

    load: Callable[[Source, Iterable[str]], Found] = rows_found
    door: Callable[[Found, Terms], Admitted] = admit
    adjust: Callable[[Bars], Bars] = as_traded
    features: Callable[[Bars, Sequence[Bars], Setting], Frames] = frames_from
    labels: Callable[[Frames], Frames] = as_built
    fold: Callable[[Frames, Experiment], tuple[Fold, ...]] = folds_of
    fit: Callable[[FitJob, Frames, Fitted | None], Fitted] = fit
    predict: Callable[[Sequence[FitResult], Sequence[Fold], Frames], Backtest] = build_backtest
    calibrate: Callable[[Sequence[FitResult], Sequence[Fold], Frames, CalibrationSpec], Backtest] = build_backtest


def with_feature(feature: Feature, steps: Steps | None = None) -> Steps:
    """Return the steps with a feature of your own beside those of the experiment, in the frames that are compared."""
    before = steps or Steps()

    def features(bars: Bars, others: Sequence[Bars], setting: Setting) -> Frames:
        frames = before.features(bars, others, setting)
        values = build_features(build_panel(bars), (feature,), bars.tickers, setting.experiment.minimum_sessions)
        return replace(
            frames,
            feature_names=(*frames.feature_names, feature.name),
            features=np.concatenate((frames.features, values), axis=2),
            usable=frames.usable & np.isfinite(values[..., 0]),
        )

    return replace(before, features=features)
