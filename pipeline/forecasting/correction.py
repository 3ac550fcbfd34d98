"""The calibrated network next to the network itself: what it is corrected from, in a backtest and live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Floats32, Sessions
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.forecasting.calibration_state import (
    CalibrationState,
    calibrated,
    followed,
    new_state,
    outcomes_known_at,
)
from pipeline.forecasting.conformal import stretched
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK, forecasts_by_forecaster


@dataclass(frozen=True)
class Correction:
    """A specification with the first day of a fold's calibration range and of its test; one day where it has none.

    `state` is what an adaptive correction goes on from; without one it begins at `first`.
    """

    spec: CalibrationSpec
    first: np.datetime64
    tested: np.datetime64
    state: CalibrationState | None = None

    def starts(self, sessions: Sessions) -> tuple[int, int]:
        """Return the indices of the first session of the calibration range and of the test."""
        first, tested = np.searchsorted(sessions, np.array([self.first, self.tested]))
        return int(first), int(tested)


@dataclass(frozen=True, eq=False)
class Corrected:
    """Corrected quantiles [ticker, origin, horizon, level], and the state after the last origin of an adaptive one."""

    quantiles: Floats32
    state: CalibrationState | None = None


def correction_of(fold: Fold, spec: CalibrationSpec, state: CalibrationState | None = None) -> Correction:
    """Return the correction of a fold's fits; an adaptive one goes on from the state of the previous fold."""
    return Correction(spec, fold.calibration.first, fold.test.first, state)


def correction_after(
    trained_until: np.datetime64, folds: FoldSpec, spec: CalibrationSpec, state: CalibrationState | None = None
) -> Correction:
    """Return the correction of fits that saw nothing from `trained_until` on, the end of their fold's validation."""
    months = 0 if folds.train_end else folds.calibration_months  # a fixed split keeps no calibration range
    if not months:
        return Correction(spec, trained_until, trained_until, state)
    tested = (trained_until.astype("datetime64[M]") + np.timedelta64(months, "M")).astype("datetime64[D]")
    return Correction(spec, trained_until, tested, state)


def with_calibrated(forecasts: Mapping[str, Floats32], corrected: Corrected | None) -> dict[str, Floats32]:
    """Return forecasts with the calibrated network, where there is one, after the network itself."""
    if corrected is None:
        return dict(forecasts)
    return {NETWORK: forecasts[NETWORK], CALIBRATED: corrected.quantiles, **forecasts}


def calibrated_network(
    forecasts: Mapping[str, Floats32], fits: Sequence[Fitted], frames: Frames, start: int, correction: Correction
) -> Corrected | None:
    """Return the network's forecasts from session index `start` on corrected; None without network or calibration.

    Backtest and live forecasts both call this, so that an origin is corrected alike in both. It learns from outcomes of
    the tickers that the network was trained on, so that a ticker added later changes nothing for the others; where
    there is none, from those of all.
    """
    if correction.spec.method == "none" or NETWORK not in forecasts:
        return None
    network = [fitted for fitted in fits if fitted.forecaster.kind == NETWORK]
    if correction.spec.method == "split":
        return Corrected(_by_split(forecasts[NETWORK], network, frames, start, correction))
    return _by_state(forecasts[NETWORK], network, frames, start, correction)


def _by_split(
    quantiles: Floats32, network: Sequence[Fitted], frames: Frames, start: int, correction: Correction
) -> Floats32:
    """Return the forecasts from `start` on corrected by what their fold's calibration range requires.

    Origins before that range are not corrected.
    """
    stop = start + quantiles.shape[1]
    first, tested = correction.starts(frames.sessions[:stop])
    if first >= stop:
        return quantiles
    ranges = [slice(a, b) for a, b in ((first, tested), (tested, stop)) if a < b]
    parts = [forecasts_by_forecaster(network, frames, part)[NETWORK] for part in ranges]
    outcome = _learned_from(network, frames)[:, first:stop]
    corrected = calibrated(np.concatenate(parts, axis=1), outcome, correction.spec, tested - first)
    shown: Floats32 = corrected[:, max(start - first, 0) :]
    return np.concatenate([quantiles[:, : max(first - start, 0)], shown], axis=1)


def _by_state(
    quantiles: Floats32, network: Sequence[Fitted], frames: Frames, start: int, correction: Correction
) -> Corrected:
    """Return the forecasts from `start` on corrected session by session, and the state after the last.

    An origin up to the session of the state that the correction goes on from has what was issued then; where nothing
    was, or it was too long ago, the factors of the state.
    """
    stop, count = start + quantiles.shape[1], len(frames.tickers)
    state = correction.state or new_state(frames.tickers, frames.horizons)
    state = state.of((*frames.tickers, *_waiting_elsewhere(state, frames)))
    first = _first_after(state, frames.sessions[:stop], correction)
    corrected = stretched(quantiles, state.factors)
    for back in range(min(state.horizons, first - start)):
        issued = state.pending[:count, back]  # [ticker, horizon, level]
        at = first - 1 - back - start
        corrected[:, at] = np.where(np.isfinite(issued).all(axis=-1, keepdims=True), issued, corrected[:, at])
    if first < stop:
        new = quantiles[:, max(first - start, 0) :]
        if first < start:
            earlier = forecasts_by_forecaster(network, frames, slice(first, start))[NETWORK]
            new = np.concatenate([earlier, new], axis=1)
        known = outcomes_known_at(_learned_from(network, frames), slice(first, stop))
        absent = len(state.tickers) - count
        new, known = _with_absent(new, absent), _with_absent(known, absent)
        issued_since, state = followed(state, correction.spec, frames.sessions[first:stop], new, known)
        corrected[:, max(first - start, 0) :] = issued_since[:count, max(start - first, 0) :]
    elif count and stop > start:  # what was not issued at the state's session, as its bar came late, is issued now
        late = np.isnan(state.pending[:count, 0]) & np.isfinite(corrected[:, -1])
        pending = state.pending.copy()
        pending[:count, 0] = np.where(late, corrected[:, -1], pending[:count, 0])
        state = replace(state, pending=pending)
    return Corrected(corrected, state)


def _waiting_elsewhere(state: CalibrationState, frames: Frames) -> list[str]:
    """Return the tickers that the frames lack, with a forecast whose outcome the state waits for."""
    missing = [row for row, ticker in enumerate(state.tickers) if ticker not in frames.tickers]
    return [state.tickers[row] for row in missing if np.isfinite(state.pending[row]).any()]


def _with_absent(values: Floats32, absent: int) -> Floats32:
    """Return values [ticker, ...] with rows of NaN for absent tickers."""
    return np.concatenate([values, np.full((absent, *values.shape[1:]), np.nan, dtype=np.float32)])


def _first_after(state: CalibrationState, sessions: Sessions, correction: Correction) -> int:
    """Return the index of the first session that a state has not seen."""
    if np.isnat(state.session):
        return int(np.searchsorted(sessions, correction.first))
    return int(np.searchsorted(sessions, state.session, side="right"))


def _learned_from(network: Sequence[Fitted], frames: Frames) -> Floats32:
    """Return the outcomes [ticker, origin, horizon] that a correction may learn from, NaN elsewhere."""
    trained_on = np.isin(frames.tickers, [ticker for fitted in network for ticker in fitted.tickers])
    learned_from = (trained_on if trained_on.any() else ~trained_on)[:, None, None]
    outcome: Floats32 = np.where(learned_from, frames.future_return, np.float32(np.nan))
    return outcome


def silent_until(state: CalibrationState, spec: CalibrationSpec, frames: Frames, until: int) -> CalibrationState:
    """Return the state after sessions up to index `until` (excluded) at which nothing is issued."""
    first = int(np.searchsorted(frames.sessions, state.session, side="right"))
    if np.isnat(state.session) or first >= until:
        return state
    state = state.of(frames.tickers)
    nothing = np.full((len(frames.tickers), until - first, *state.pending.shape[2:]), np.nan, dtype=np.float32)
    known = outcomes_known_at(frames.future_return, slice(first, until))
    return followed(state, spec, frames.sessions[first:until], nothing, known)[1]


def over_folds(
    forecasts: Sequence[Mapping[str, Floats32]],
    fits: Sequence[Sequence[Fitted]],
    folds: Sequence[Fold],
    frames: Frames,
    spec: CalibrationSpec,
) -> tuple[list[dict[str, Floats32]], CalibrationState | None]:
    """Return each fold's test forecasts with the calibrated network, and an adaptive correction's state after them.

    The adaptive correction goes on over the folds, oldest first: a refitted network keeps its place. A fold that
    was excluded leaves silent sessions.
    """
    result, state = [], None
    for of_fold, of_fits, fold in zip(forecasts, fits, folds, strict=True):
        if state:
            state = silent_until(state, spec, frames, fold.test.start)
        corrected = calibrated_network(of_fold, of_fits, frames, fold.test.start, correction_of(fold, spec, state))
        state = corrected.state if corrected else None
        result.append(with_calibrated(of_fold, corrected))
    return result, state


def before(correction: Correction, session: np.datetime64) -> Correction:
    """Return the correction for a forecast of a session: without a state that has seen later ones."""
    known = correction.state is None or correction.state.session <= session
    return correction if known else replace(correction, state=None)
