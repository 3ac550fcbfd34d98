"""Leaks that people build in, each as one stage of the pipeline that replaces the correct one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.audit.steps import RowsByTicker, RunInputs, Steps, default_frames, load_rows
from pipeline.dataset.features import Feature, build_features
from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import build_panel
from pipeline.dataset.ticker_features import TickerSeries
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.forecasting.conformal import split_factors, stretched
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED
from pipeline.forecasting.specification import PostprocessingSpec
from pipeline.market.adjustment import adjusted
from pipeline.market.bars import Bars, ValidatedBars
from pipeline.market.calendars import sessions_between
from pipeline.market.sources import Source
from pipeline.market.validation.validate import ValidationTerms, validate
from pipeline.stages import folds_of
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob, FitResult


def with_feature(feature: Feature) -> Steps:
    """Return the steps with one feature added to those of the experiment, in the frames that are compared."""
    base = Steps()

    def features(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
        frames = base.features(bars, other_bars, inputs)
        values = build_features(build_panel(bars), (feature,), bars.tickers, inputs.experiment.minimum_sessions)
        return replace(
            frames,
            feature_names=(*frames.feature_names, feature.name),
            features=np.concatenate((frames.features, values), axis=2),
            usable=frames.usable & np.isfinite(values[..., 0]),
        )

    return replace(base, features=features)


# --- Load ---


def filled_before_validation(source: Source, tickers: Iterable[str]) -> RowsByTicker:
    """Every session of the calendar without a row gets the values of the next row."""
    loaded = load_rows(source, tickers)
    return {ticker: back_filled(rows) if isinstance(rows, pd.DataFrame) else rows for ticker, rows in loaded.items()}


def back_filled(rows: pd.DataFrame) -> pd.DataFrame:
    days = rows["session"].to_numpy().astype("datetime64[D]")
    every = sessions_between("XNYS", days[0], days[-1]).astype("datetime64[s]")
    return rows.set_index("session").reindex(every).bfill().rename_axis("session").reset_index()


# --- Validation ---


def without_troubled_tickers(rows: RowsByTicker, terms: ValidationTerms) -> ValidatedBars:
    """A ticker with a problem anywhere in its history is excluded."""
    validated = validate(rows, terms)
    bad = {problem.ticker for problem in validated.problems if problem.rule != "missing_sessions"}
    return only(validated, [listing.ticker for listing in validated.bars.listings if listing.ticker not in bad])


def only(validated: ValidatedBars, tickers: Sequence[str]) -> ValidatedBars:
    bars = validated.bars
    frame = bars.frame[bars.frame["ticker"].isin(tickers)].reset_index(drop=True)
    listings = tuple(listing for listing in bars.listings if listing.ticker in tickers)
    return replace(validated, bars=Bars(frame, listings, bars.returns_from))


def without_outliers(rows: RowsByTicker, terms: ValidationTerms) -> ValidatedBars:
    """Rows beyond the whole history's quantiles of the close are dropped."""
    validated = validate(rows, terms)
    frame = validated.bars.frame
    low, high = (frame.groupby("ticker")["close"].transform(lambda x, q=q: x.quantile(q)) for q in (0.02, 0.98))
    kept = frame[(frame["close"] >= low) & (frame["close"] <= high)].reset_index(drop=True)
    return replace(validated, bars=Bars(kept, validated.bars.listings, validated.bars.returns_from))


# --- Adjust ---


def dividends_from_the_future(bars: Bars) -> Bars:
    """Prices scaled down by every later dividend, as most charts show them."""
    return Bars(adjusted(bars.frame, "total_return"), bars.listings, bars.returns_from)


def filled_backwards(bars: Bars) -> Bars:
    """A bar for every session from the first bar on, missing ones from the next."""
    parts = [back_filled(rows).assign(ticker=ticker) for ticker, rows in bars.frame.groupby("ticker")]
    return Bars(pd.concat(parts, ignore_index=True)[bars.frame.columns], bars.listings, bars.returns_from)


# --- Features ---


def centred_mean(series: TickerSeries) -> np.ndarray:
    """The mean of the last, this and the next return."""
    return np.convolve(np.nan_to_num(series.log_return), np.ones(3) / 3, "same")


def filled_with_the_next(series: TickerSeries) -> np.ndarray:
    """The volume; where nothing was traded, the next one that was."""
    traded = pd.Series(series.volume).replace(0.0, np.nan)
    return traded.bfill().fillna(1.0).to_numpy()


def target_as_feature(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
    """The return of the next session replaces a feature."""
    frames = default_frames(bars, other_bars, inputs)
    features = np.array(frames.features)
    features[..., 0] = np.where(frames.usable, np.nan_to_num(frames.future_return[..., 0]), features[..., 0])
    return replace(frames, features=features)


def mean_of_the_next_session(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
    """The mean over all tickers of the session after, from an index that is off by one."""
    frames = default_frames(bars, other_bars, inputs)
    features = np.array(frames.features)
    there = np.isfinite(frames.features[:, 1:, 0])
    features[:, :-1, 0] = np.nan_to_num(frames.features[:, 1:, 0]).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return replace(frames, features=np.where(np.isfinite(frames.features), features, np.nan).astype(np.float32))


# --- Labels ---


def without_extreme_outcomes(frames: Frames) -> Frames:
    """Origins whose outcome is extreme are dropped as if they had been bad data."""
    extreme = np.abs(np.nan_to_num(frames.future_return)).max(axis=2) > 2.5 * np.nan_to_num(frames.volatility)
    return replace(frames, usable=frames.usable & ~extreme)


def without_rare_labels(frames: Frames) -> Frames:
    """Labels beyond quantiles of the whole history are made unknown."""
    low, high = np.nanquantile(frames.future_return, (0.05, 0.95))
    inside = (frames.future_return >= low) & (frames.future_return <= high)
    return replace(frames, future_return=np.where(inside, frames.future_return, np.nan).astype(np.float32))


# --- Fold ---


@dataclass(frozen=True)
class Unpurged(Range):
    """A range that uses every label of its rows, those included that are known only after it."""

    def label_known(self, horizons: int) -> np.ndarray:
        return np.ones((len(self), horizons), dtype=bool)


def unpurged(frames: Frames, experiment: Experiment) -> tuple[Fold, ...]:
    def open_ended(part: Range) -> Range:
        return Unpurged(part.first, part.until, part.start, part.stop)

    return tuple(Fold(fold.name, *map(open_ended, fold.ranges)) for fold in folds_of(frames, experiment))


# --- Fit ---


def scaled_on_everything(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """Features standardised over the whole history before anything is split."""
    rows = frames.features[frames.usable]
    features = (frames.features - rows.mean(axis=0)) / rows.std(axis=0)
    return fit(job, replace(frames, features=features.astype(np.float32)), former)


def stopped_on_test(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """The test range chooses the step."""
    fold = replace(job.fold, validation=job.fold.test)
    return fit(replace(job, fold=fold), frames, former)


def refitted_with_the_test(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """A baseline's mean taken over everything."""
    fitted = fit(job, frames, former)
    if job.forecaster.kind != "drift":
        return fitted
    mean = np.nanmean(np.where(frames.usable, frames.log_return, np.nan)).astype(np.float32)
    return replace(fitted, arrays={name: np.full_like(values, mean) for name, values in fitted.arrays.items()})


# --- Predict and calibrate ---


def shifted_forecasts(results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames) -> Backtest:
    """Every forecast is that of the session after."""
    backtest = build_backtest(results, folds, frames)
    shifted = {name: np.roll(values, -1, axis=1) for name, values in backtest.quantiles.items()}
    return replace(backtest, quantiles=shifted)


def calibrated_on_test(
    results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames, spec: PostprocessingSpec
) -> Backtest:
    """The bands are stretched by factors from the test's own outcomes."""
    backtest = build_backtest(results, folds, frames, spec)
    uncalibrated = backtest.quantiles[COMBINED]
    calibrated = stretched(uncalibrated, split_factors(uncalibrated, backtest.realised))
    return replace(backtest, quantiles={**backtest.quantiles, CALIBRATED: calibrated})


def combined_in_hindsight(
    results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames, spec: PostprocessingSpec
) -> Backtest:
    """All sessions are combined by the weights of the last one."""
    backtest = build_backtest(results, folds, frames, spec)
    if backtest.weights is None:
        return backtest
    weights = backtest.weights
    last = np.broadcast_to(weights.by_session[-1:], weights.by_session.shape)
    parts = [last[..., k] * backtest.quantiles[name] for k, name in enumerate(weights.members)]
    combined = np.sort(np.sum(parts, axis=0), axis=-1).astype(np.float32)
    return replace(
        backtest,
        weights=replace(weights, by_session=last),
        quantiles={**backtest.quantiles, COMBINED: combined},
    )


@dataclass(frozen=True)
class Planted:
    """A leak, its stage, and the output that must be named as the first to change."""

    steps: Steps
    stage: str
    what: str


PLANTED: Mapping[str, Planted] = {
    "scaler fitted on everything": Planted(Steps(fit=scaled_on_everything), "scale", "scaler.mean of network"),
    "validation that excludes for later rows": Planted(Steps(validate=without_troubled_tickers), "validation", "open"),
    "validation that drops by later rows": Planted(Steps(validate=without_outliers), "validation", "open"),
    "centred rolling mean": Planted(with_feature(Feature("centred", 1, centred_mean)), "features", "feature centred"),
    "back-fill of bars": Planted(Steps(adjust=filled_backwards), "adjust", "open"),
    "back-fill of rows": Planted(Steps(load=filled_before_validation), "load", "open"),
    "target in the features": Planted(Steps(features=target_as_feature), "features", "feature log_return"),
    "early stopping on test": Planted(Steps(fit=stopped_on_test), "early stop", "losses of network"),
    "calibration on test": Planted(Steps(postprocess=calibrated_on_test), "calibrate", "quantiles of calibrated"),
    "weights in hindsight": Planted(Steps(postprocess=combined_in_hindsight), "combine", "weight of network"),
    "mean of the next session": Planted(Steps(features=mean_of_the_next_session), "features", "feature log_return"),
    "dropped extreme labels": Planted(Steps(labels=without_extreme_outcomes), "labels", "usable"),
    "labels dropped by quantile": Planted(Steps(labels=without_rare_labels), "labels", "label"),
    "dividends from the future": Planted(Steps(adjust=dividends_from_the_future), "adjust", "open"),
    "unpurged overlap": Planted(Steps(fold=unpurged), "fold", "labels of "),
    "a mean of everything": Planted(Steps(fit=refitted_with_the_test), "fit", "mean of drift"),
    "forecasts off by one": Planted(Steps(predict=shifted_forecasts), "predict", "quantiles of "),
}


def series_known_too_early(bars: Bars, other_bars: Sequence[Bars], inputs: RunInputs) -> Frames:
    """A past covariate from a file, used three days before it was published."""
    covariates = inputs.file_covariates
    early = [replace(series, known_from=series.known_from - np.timedelta64(3, "D")) for series in covariates.past]
    return default_frames(bars, other_bars, replace(inputs, file_covariates=replace(covariates, past=tuple(early))))
