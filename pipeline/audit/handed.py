"""What each stage hands on, cut to what an origin may know: the same whatever comes later, or there is a leak."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats32, Sessions
from pipeline.audit.run import Run
from pipeline.audit.tampering import Cut, days_of
from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.forecasting.backtest import Backtest
from pipeline.market.bars import COLUMNS
from pipeline.training.jobs import FitResult


@dataclass(frozen=True, eq=False)
class Item:
    """Values of one ticker, or of all, handed on by a stage; the first axis are sessions where these are told.

    `optional`: it is compared only where both runs have it, as what is not known at the origin decides that.
    """

    what: str
    ticker: str
    array: NDArray[np.generic]
    sessions: Sessions | None = None
    optional: bool = False


Stage = Callable[[Run, Cut], Iterator[Item]]


def loaded(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the rows found, column by column."""
    for ticker, rows in run.found.items():
        if isinstance(rows, pd.DataFrame):
            days = days_of(rows)
            kept = days <= cut.last_kept(ticker)
            for name in rows.columns:
                yield Item(str(name), ticker, _cells(rows[name])[kept], days[kept])


def _cells(column: "pd.Series[float]") -> NDArray[np.generic]:
    """Return a column's cells as numbers, or as text where they are none."""
    return column.to_numpy(np.float64) if column.dtype.kind in "iuf" else column.astype(str).to_numpy(np.str_)


def let_in(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the bars kept by the door, of tickers that had as many as they need."""
    frame = run.admitted.bars.frame
    day = frame["session"].to_numpy().astype("datetime64[D]")
    for ticker in run.admitted.bars.tickers:
        rows = (frame["ticker"] == ticker).to_numpy() & (day <= cut.last_kept(ticker))
        if rows.sum() >= run.setting.experiment.minimum_sessions:
            for name in COLUMNS[2:]:
                yield Item(name, ticker, frame[name].to_numpy()[rows], day[rows])


def adjusted(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the panel: bars as arrays, and each session's total return."""
    panel = run.panel
    arrays = {name: getattr(panel, name) for name in ("open", "high", "low", "close", "volume", "log_return")}
    enough = _old_enough(panel.present, panel.sessions, run, cut)
    yield from _per_ticker(arrays, panel.tickers, panel.sessions, enough, cut)


def described(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield features, volatilities and the origins that may be used."""
    frames = run.built
    arrays = {f"feature {name}": frames.features[..., k] for k, name in enumerate(frames.feature_names)}
    arrays |= {name: getattr(frames, name) for name in ("volatility", "volatility_20", "log_return", "reference_close")}
    enough = _frames_old_enough(frames, run, cut)
    yield from _per_ticker({**arrays, "usable": frames.usable}, frames.tickers, frames.sessions, enough, cut)
    early = frames.sessions <= cut.origin
    for k, name in enumerate(frames.ahead_names):
        yield Item(f"known in advance {name}", "", frames.ahead[early][..., k], frames.sessions[early])


def labelled(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the labels known at the origin, and the origins that are left to use."""
    frames = run.frames
    known = _known_labels(frames.future_return, frames.sessions, cut)
    enough = _frames_old_enough(frames, run, cut)
    yield from _per_ticker({"usable": frames.usable, "label": known}, frames.tickers, frames.sessions, enough, cut)


def folded(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the ranges of the folds that train before the origin, and the labels that each range may use.

    Those of a range that is over by then may need nothing that comes later: that is the purge.
    """
    for fold in run.folds:
        if _over(fold.train, run, cut):
            optional = bool(fold.test.first > cut.origin)
            for name, part in zip(("train", "validation", "calibration", "test"), fold.ranges, strict=True):
                yield from _of_range(f"{name} of fold {fold.name}", part, (run, cut), optional)


def _of_range(what: str, part: Range, of: tuple[Run, Cut], optional: bool) -> Iterator[Item]:
    run, cut = of
    frames, until = run.frames, run.frames.sessions <= cut.origin
    begins = [str(part.first), str(part.start)] if part.start < until.sum() else [str(part.first)]
    over = _over(part, run, cut)
    told = [*begins, str(part.until), str(part.stop)] if over else begins
    yield Item(f"borders of {what}", "", np.array(told, dtype=np.str_), optional=optional)
    supervised = np.where(label_mask(frames, part), frames.future_return, np.float32(np.nan))
    labels = supervised if over else _known_labels(supervised, frames.sessions, cut)
    inside = slice(part.start, min(part.stop, int(until.sum())))
    for row, ticker in enumerate(frames.tickers):
        if np.isfinite(labels[row, inside]).any():
            yield Item(f"labels of {what}", ticker, labels[row, inside], frames.sessions[inside], optional)


def scaled(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the scalers of the fits whose validation is over."""
    yield from _of_fits(run, cut, lambda name: name.startswith("scaler."))


def stopped(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield each look at the validation of these fits, its losses, and the step that was chosen."""
    for what, result, coming in _results(run, cut):
        if result.fitted and result.fitted.checks:
            looks = [(check.step, check.train_loss, check.valid_loss) for check in result.fitted.checks]
            yield Item(f"losses of {what}", "", np.array(looks), optional=coming)
            yield Item(f"chosen step of {what}", "", np.array([result.fitted.best_step]), optional=coming)


def fitted(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield everything else that these fits learned: weights, spreads, means."""
    yield from _of_fits(run, cut, lambda name: not name.startswith("scaler."))


def predicted(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the quantiles of every forecaster at the test origins up to this one, before any correction."""
    for fold in _tested(run, cut):
        yield from _forecasts(run.backtest(fold).quantiles, run.backtest(fold), cut)


def calibrated(run: Run, cut: Cut) -> Iterator[Item]:
    """Yield the corrected quantiles of the network at these origins."""
    for fold in _tested(run, cut):
        yield from _forecasts(run.corrected(fold), run.backtest(fold), cut)


STAGES: Mapping[str, Stage] = {
    "load": loaded,
    "door": let_in,
    "adjust": adjusted,
    "features": described,
    "labels": labelled,
    "fold": folded,
    "scale": scaled,
    "early stop": stopped,
    "fit": fitted,
    "predict": predicted,
    "calibrate": calibrated,
}
"""Every stage in the order in which the data goes through: forecasts are corrected, so they come first."""


# --- What of it may be compared ---


def _per_ticker(
    arrays: Mapping[str, NDArray[np.generic]], tickers: tuple[str, ...], sessions: Sessions, chosen: Booleans, cut: Cut
) -> Iterator[Item]:
    """Yield arrays [ticker, session, ...] of the chosen tickers, up to the origin."""
    early = sessions <= cut.origin
    for row in np.flatnonzero(chosen):
        for name, values in arrays.items():
            yield Item(name, tickers[row], values[row][early], sessions[early])


def _old_enough(present: Booleans, sessions: Sessions, run: Run, cut: Cut) -> Booleans:
    """Return whether each ticker has the sessions it needs by the origin [ticker]; before, the door may refuse it."""
    enough: Booleans = present[:, sessions <= cut.origin].sum(axis=1) >= run.setting.experiment.minimum_sessions
    return enough


def _frames_old_enough(frames: Frames, run: Run, cut: Cut) -> Booleans:
    return _old_enough(np.isfinite(frames.reference_close), frames.sessions, run, cut)


def _known_labels(labels: Floats32, sessions: Sessions, cut: Cut) -> Floats32:
    """Return labels [ticker, session, horizon], NaN where they were not known at the origin."""
    last = int(np.searchsorted(sessions, cut.origin, side="right")) - 1
    ahead = np.arange(1, labels.shape[2] + 1)
    known = np.arange(len(sessions))[:, None] + ahead <= last  # [session, horizon]
    return np.where(known[None], labels, np.float32(np.nan))


def _over(part: Range, run: Run, cut: Cut) -> bool:
    """Return whether the last session of a range is not later than the origin."""
    return part.stop > 0 and bool(run.frames.sessions[part.stop - 1] <= cut.origin)


def _concerned(run: Run, cut: Cut) -> Iterator[Fold]:
    """Yield the fold that forecasts at the origin, and the next one once its validation is over."""
    begun = [fold for fold in run.folds if fold.test.first <= cut.origin]
    coming = [fold for fold in run.folds if fold.test.first > cut.origin and _over(fold.validation, run, cut)]
    yield from begun[-1:]
    yield from coming[:1]


def _results(run: Run, cut: Cut) -> Iterator[tuple[str, FitResult, bool]]:
    """Yield these folds' fits by name; True with those of a fold whose test, if there will be one, is still to come."""
    for fold in _concerned(run, cut):
        coming = bool(fold.test.first > cut.origin)
        for result in run.fits(fold):
            job = result.job
            alone = f" of {job.tickers[0]}" if len(job.tickers) == 1 else ""
            yield f"{job.forecaster.kind}{alone}, fold {fold.name}, seed {job.seed}", result, coming


def _of_fits(run: Run, cut: Cut, chosen: Callable[[str], bool]) -> Iterator[Item]:
    for what, result, coming in _results(run, cut):
        for name, values in (result.fitted.arrays if result.fitted else {}).items():
            if chosen(name):
                yield Item(f"{name} of {what}", "", np.asarray(values), optional=coming)


def _tested(run: Run, cut: Cut) -> Iterator[Fold]:
    yield from (fold for fold in _concerned(run, cut) if fold.test.first <= cut.origin)


def _forecasts(told: Mapping[str, Floats32], backtest: Backtest, cut: Cut) -> Iterator[Item]:
    chosen = np.ones(len(backtest.tickers), bool)
    arrays = {f"quantiles of {name}": values for name, values in told.items()}
    for item in _per_ticker(arrays, backtest.tickers, backtest.sessions, chosen, cut):
        if np.isfinite(item.array.astype(np.float32)).any():
            yield item
