"""The outputs of each stage, limited to what was known at an origin: if later bars change them, there is a leak."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats32, Sessions
from pipeline.audit.steps import PipelineRun
from pipeline.audit.tampering import Cut, days_of
from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED
from pipeline.market.bars import COLUMNS
from pipeline.training.jobs import FitResult


@dataclass(frozen=True, eq=False)
class StageOutput:
    """Values that a stage outputs for one ticker, or for all; the first axis are sessions where `sessions` is given.

    An `optional` output is compared only where both runs have it: whether it exists is not known at the origin.
    """

    what: str
    ticker: str
    array: NDArray[np.generic]
    sessions: Sessions | None = None
    optional: bool = False


OutputFunction = Callable[[PipelineRun, Cut], Iterator[StageOutput]]


def load_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the loaded rows, column by column."""
    for ticker, rows in run.rows.items():
        if isinstance(rows, pd.DataFrame):
            days = days_of(rows)
            kept = days <= cut.last_kept(ticker)
            for name in rows.columns:
                yield StageOutput(str(name), ticker, _cells(rows[name])[kept], days[kept])


def _cells(column: "pd.Series[float]") -> NDArray[np.generic]:
    """Return a column's cells as numbers, or as text where they are no numbers."""
    return column.to_numpy(np.float64) if column.dtype.kind in "iuf" else column.astype(str).to_numpy(np.str_)


def validation_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the validated bars of tickers that had the minimum number of them by the origin."""
    frame = run.validated.bars.frame
    day = frame["session"].to_numpy().astype("datetime64[D]")
    for ticker in run.validated.bars.tickers:
        rows = (frame["ticker"] == ticker).to_numpy() & (day <= cut.last_kept(ticker))
        if rows.sum() >= run.inputs.experiment.minimum_sessions:
            for name in COLUMNS[2:]:
                yield StageOutput(name, ticker, frame[name].to_numpy()[rows], day[rows])


def adjust_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the panel: bars as arrays, and each session's total return."""
    panel = run.panel
    arrays = {name: getattr(panel, name) for name in ("open", "high", "low", "close", "volume", "log_return")}
    enough = _long_enough(panel.present, panel.sessions, run, cut)
    yield from _ticker_outputs(arrays, panel.tickers, panel.sessions, enough, cut)


def feature_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield features, volatilities and usable origins."""
    frames = run.built_frames
    arrays = {f"feature {name}": frames.features[..., k] for k, name in enumerate(frames.feature_names)}
    names = ("volatility", "volatility_20", "relative_volatility", "log_return", "reference_close")
    arrays |= {name: getattr(frames, name) for name in names}
    enough = _frames_long_enough(frames, run, cut)
    yield from _ticker_outputs({**arrays, "usable": frames.usable}, frames.tickers, frames.sessions, enough, cut)
    early = frames.sessions <= cut.origin
    for k, name in enumerate(frames.known_future_names):
        yield StageOutput(f"known-future {name}", "", frames.known_future[early][..., k], frames.sessions[early])


def label_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the labels known at the origin, and the usable origins."""
    frames = run.frames
    known = _known_labels(frames.future_return, frames.sessions, cut)
    enough = _frames_long_enough(frames, run, cut)
    yield from _ticker_outputs({"usable": frames.usable, "label": known}, frames.tickers, frames.sessions, enough, cut)


def fold_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the borders of the folds that train before the origin, and the labels that each range may use.

    The labels of a range that has ended by the origin must not depend on later bars: this checks the purge.
    """
    for fold in run.folds:
        if _has_ended(fold.train, run, cut):
            optional = bool(fold.test.first > cut.origin)
            for name, part in zip(("train", "validation", "calibration", "test"), fold.ranges, strict=True):
                yield from _range_outputs(f"{name} of fold {fold.name}", part, (run, cut), optional)


def _range_outputs(what: str, part: Range, at: tuple[PipelineRun, Cut], optional: bool) -> Iterator[StageOutput]:
    run, cut = at
    frames, until = run.frames, run.frames.sessions <= cut.origin
    begins = [str(part.first), str(part.start)] if part.start < until.sum() else [str(part.first)]
    ended = _has_ended(part, run, cut)
    borders = [*begins, str(part.until), str(part.stop)] if ended else begins
    yield StageOutput(f"borders of {what}", "", np.array(borders, dtype=np.str_), optional=optional)
    supervised = np.where(label_mask(frames, part), frames.future_return, np.float32(np.nan))
    labels = supervised if ended else _known_labels(supervised, frames.sessions, cut)
    inside = slice(part.start, min(part.stop, int(until.sum())))
    for row, ticker in enumerate(frames.tickers):
        if np.isfinite(labels[row, inside]).any():
            yield StageOutput(f"labels of {what}", ticker, labels[row, inside], frames.sessions[inside], optional)


def scale_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the scalers of the fits whose validation range has ended."""
    yield from _array_outputs(run, cut, lambda name: name.startswith("scaler."))


def early_stop_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the losses at each validation check of these fits, and the chosen step."""
    for what, result, coming in _named_fits(run, cut):
        if result.fitted and result.fitted.checks:
            losses = [(check.step, check.train_loss, check.valid_loss) for check in result.fitted.checks]
            yield StageOutput(f"losses of {what}", "", np.array(losses), optional=coming)
            yield StageOutput(f"chosen step of {what}", "", np.array([result.fitted.best_step]), optional=coming)


def fit_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield all other fitted values of these fits: weights, spreads, means."""
    yield from _array_outputs(run, cut, lambda name: not name.startswith("scaler."))


def predict_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the quantiles of every forecaster at the test origins up to this one."""
    for fold in _tested_folds(run, cut):
        yield from _quantile_outputs(run.backtest(fold).quantiles, run.backtest(fold), cut)


def combine_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the weights of the combination and its quantiles at these origins."""
    for fold in _tested_folds(run, cut):
        backtest = run.postprocessed(fold)
        if backtest.weights is not None:
            early = backtest.weights.sessions <= cut.origin
            for k, member in enumerate(backtest.weights.members):
                weights = backtest.weights.by_session[early][..., k]
                yield StageOutput(f"weight of {member}", "", weights, backtest.weights.sessions[early])
        yield from _quantile_outputs(_named(backtest, COMBINED), backtest, cut)


def calibrate_outputs(run: PipelineRun, cut: Cut) -> Iterator[StageOutput]:
    """Yield the calibrated quantiles at these origins."""
    for fold in _tested_folds(run, cut):
        backtest = run.postprocessed(fold)
        yield from _quantile_outputs(_named(backtest, CALIBRATED), backtest, cut)


def _named(backtest: Backtest, name: str) -> dict[str, Floats32]:
    return {name: backtest.quantiles[name]} if name in backtest.quantiles else {}


STAGES: Mapping[str, OutputFunction] = {
    "load": load_outputs,
    "validation": validation_outputs,
    "adjust": adjust_outputs,
    "features": feature_outputs,
    "labels": label_outputs,
    "fold": fold_outputs,
    "scale": scale_outputs,
    "early stop": early_stop_outputs,
    "fit": fit_outputs,
    "predict": predict_outputs,
    "combine": combine_outputs,
    "calibrate": calibrate_outputs,
}
"""The output function of every stage, in the order of the data."""


# --- The part of an output that may be compared ---


def _ticker_outputs(
    arrays: Mapping[str, NDArray[np.generic]], tickers: tuple[str, ...], sessions: Sessions, chosen: Booleans, cut: Cut
) -> Iterator[StageOutput]:
    """Yield arrays [ticker, session, ...] of the chosen tickers, up to the origin."""
    early = sessions <= cut.origin
    for row in np.flatnonzero(chosen):
        for name, values in arrays.items():
            yield StageOutput(name, tickers[row], values[row][early], sessions[early])


def _long_enough(present: Booleans, sessions: Sessions, run: PipelineRun, cut: Cut) -> Booleans:
    """Return whether each ticker has its minimum of sessions by the origin [ticker]; with fewer it may be excluded."""
    enough: Booleans = present[:, sessions <= cut.origin].sum(axis=1) >= run.inputs.experiment.minimum_sessions
    return enough


def _frames_long_enough(frames: Frames, run: PipelineRun, cut: Cut) -> Booleans:
    return _long_enough(np.isfinite(frames.reference_close), frames.sessions, run, cut)


def _known_labels(labels: Floats32, sessions: Sessions, cut: Cut) -> Floats32:
    """Return labels [ticker, session, horizon], NaN where they were not known at the origin."""
    last = int(np.searchsorted(sessions, cut.origin, side="right")) - 1
    horizons = np.arange(1, labels.shape[2] + 1)
    known = np.arange(len(sessions))[:, None] + horizons <= last  # [session, horizon]
    return np.where(known[None], labels, np.float32(np.nan))


def _has_ended(part: Range, run: PipelineRun, cut: Cut) -> bool:
    """Return whether the last session of a range is not later than the origin."""
    return part.stop > 0 and bool(run.frames.sessions[part.stop - 1] <= cut.origin)


def _folds_at_origin(run: PipelineRun, cut: Cut) -> Iterator[Fold]:
    """Yield the fold that forecasts at the origin, and the next one once its validation range has ended."""
    begun = [fold for fold in run.folds if fold.test.first <= cut.origin]
    coming = [fold for fold in run.folds if fold.test.first > cut.origin and _has_ended(fold.validation, run, cut)]
    yield from begun[-1:]
    yield from coming[:1]


def _named_fits(run: PipelineRun, cut: Cut) -> Iterator[tuple[str, FitResult, bool]]:
    """Yield (name, fit, coming) of these folds' fits; `coming` where the fold's test has not begun by the origin."""
    for fold in _folds_at_origin(run, cut):
        coming = bool(fold.test.first > cut.origin)
        for result in run.fits(fold):
            job = result.job
            alone = f" of {job.tickers[0]}" if len(job.tickers) == 1 else ""
            yield f"{job.forecaster.kind}{alone}, fold {fold.name}, seed {job.seed}", result, coming


def _array_outputs(run: PipelineRun, cut: Cut, chosen: Callable[[str], bool]) -> Iterator[StageOutput]:
    for what, result, coming in _named_fits(run, cut):
        for name, values in (result.fitted.arrays if result.fitted else {}).items():
            if chosen(name):
                yield StageOutput(f"{name} of {what}", "", np.asarray(values), optional=coming)


def _tested_folds(run: PipelineRun, cut: Cut) -> Iterator[Fold]:
    yield from (fold for fold in _folds_at_origin(run, cut) if fold.test.first <= cut.origin)


def _quantile_outputs(quantiles: Mapping[str, Floats32], backtest: Backtest, cut: Cut) -> Iterator[StageOutput]:
    chosen = np.ones(len(backtest.tickers), bool)
    arrays = {f"quantiles of {name}": values for name, values in quantiles.items()}
    for output in _ticker_outputs(arrays, backtest.tickers, backtest.sessions, chosen, cut):
        if np.isfinite(output.array.astype(np.float32)).any():
            yield output
