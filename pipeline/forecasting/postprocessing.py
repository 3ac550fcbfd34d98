"""Post-processing: from the forecasters' quantiles to what is published, combined and calibrated on outcomes so far.

Backtest and live forecasts both call `postprocessed`, so that an origin gets the same in both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Floats32, Sessions
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.registry import COMBINED_KINDS
from pipeline.forecasting.calibration_state import (
    CalibrationState,
    corrected,
    followed,
    issued_late,
    new_calibration,
)
from pipeline.forecasting.combination import Combined, combined, combined_again
from pipeline.forecasting.combination_state import CombinationState, new_combination
from pipeline.forecasting.conformal import split_factors, stretched
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK, forecasts_by_forecaster, in_order
from pipeline.forecasting.postprocessing_state import PostprocessingState
from pipeline.forecasting.span import Span
from pipeline.forecasting.specification import PostprocessingSpec
from pipeline.forecasting.weights import Weights


@dataclass(frozen=True)
class Postprocessing:
    """A specification with the day at which it begins where there is no state to go on from.

    The split correction is learned on the calibration range, from `calibrated_from` to the first day of the test,
    `tested`.
    """

    spec: PostprocessingSpec
    begins: np.datetime64
    calibrated_from: np.datetime64
    tested: np.datetime64
    state: PostprocessingState | None = None


@dataclass(frozen=True, eq=False)
class Postprocessed:
    """The forecasts with what was made of them, the weights of the combination, and the state after them."""

    quantiles: dict[str, Floats32]  # forecaster -> [ticker, origin, horizon, level]
    weights: Weights
    state: PostprocessingState


def postprocessing_of(fold: Fold, spec: PostprocessingSpec, state: PostprocessingState | None = None) -> Postprocessing:
    """Return the post-processing of a fold's fits; it goes on from the state of the previous fold."""
    return Postprocessing(spec, fold.validation.first, fold.calibration.first, fold.test.first, state)


def postprocessing_after(
    trained_until: np.datetime64, folds: FoldSpec, spec: PostprocessingSpec, state: PostprocessingState | None = None
) -> Postprocessing:
    """Return the post-processing of fits that saw nothing from `trained_until` on, the end of their validation."""
    months = 0 if folds.train_end else folds.calibration_months  # a fixed split keeps no calibration range
    tested = trained_until
    if months:
        tested = (trained_until.astype("datetime64[M]") + np.timedelta64(months, "M")).astype("datetime64[D]")
    return Postprocessing(spec, trained_until, trained_until, tested, state)


def before(rule: Postprocessing, session: np.datetime64) -> Postprocessing:
    """Return the post-processing for a forecast of a session: without a state that has seen later ones."""
    known = rule.state is None or rule.state.session <= session
    return rule if known else replace(rule, state=None)


def members_of(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the forecasters among these that are combined; all of them where none would be."""
    return tuple(kind for kind in kinds if kind in COMBINED_KINDS) or tuple(kinds)


def published(rule: Postprocessing, forecasts: Collection[str]) -> str:
    """Return the name of what is calibrated: the network where it is requested and among the forecasts."""
    return NETWORK if rule.spec.publish == NETWORK and NETWORK in forecasts else COMBINED


def postprocessed(
    forecasts: Mapping[str, Floats32], fits: Sequence[Fitted], frames: Frames, start: int, rule: Postprocessing
) -> Postprocessed:
    """Return forecasts of the origins from session index `start` on, combined and calibrated.

    An origin up to the session of the state has what was issued then; where nothing was, or it was too long ago, what
    the state would make of its forecasts. Both parts learn from outcomes of the tickers that the network was trained
    on, so that a ticker added later changes nothing for the others; where there is none, from those of all.
    """
    stop = start + next(iter(forecasts.values())).shape[1]
    members = members_of(tuple(forecasts))
    state = _state_before(rule.state, members, frames)
    first = _first_after(state.combination.session, frames.sessions[:stop], rule.begins)
    absent = len(state.combination.tickers) - len(frames.tickers)
    span = Span(frames, fits, members, absent, min(first, start), stop)
    read = span.read(forecasts, start)
    mixture = _combined(state.combination, rule, span, {name: read[name] for name in members})
    mixed = mixture.quantiles
    base = mixed if published(rule, read) == COMBINED else read[NETWORK]
    calibrated, calibration = _calibrated(state.calibration, rule, span, base)
    shown = slice(start - span.begin, None)
    made = {COMBINED: mixed} | ({} if calibrated is None else {CALIBRATED: calibrated})
    made = {name: values[: len(frames.tickers), shown] for name, values in made.items()}
    return Postprocessed(
        in_order({**forecasts, **made}),
        Weights(members, frames.sessions[start:stop], mixture.weights[shown], mixture.answered[shown]),
        PostprocessingState(mixture.state, calibration, "" if calibration is None else published(rule, read)),
    )


def _state_before(state: PostprocessingState | None, members: Sequence[str], frames: Frames) -> PostprocessingState:
    """Return the state to go on from, with these members and the frames' tickers first; a new one where there is none.

    It keeps tickers that the frames lack where an outcome of theirs is awaited.
    """
    if state is None:
        combination = new_combination(members, frames.tickers, frames.horizons)
        return PostprocessingState(combination, new_calibration(frames.tickers, frames.horizons))
    combination, calibration = state.combination, state.calibration or new_calibration((), state.horizons)
    awaited = {*combination.awaited, *calibration.awaited}
    tickers = (*frames.tickers, *sorted(awaited - {*frames.tickers}))
    return replace(state, combination=combination.of(tickers, members), calibration=calibration.of(tickers))


def _first_after(session: np.datetime64, sessions: Sessions, begins: np.datetime64) -> int:
    """Return the index of the first session that a state has not seen."""
    if np.isnat(session):
        return int(np.searchsorted(sessions, begins))
    return int(np.searchsorted(sessions, session, side="right"))


def _combined(state: CombinationState, rule: Postprocessing, span: Span, read: Mapping[str, Floats32]) -> Combined:
    """Return the combination of all sessions of the span."""
    first = _first_after(state.session, span.frames.sessions[: span.stop], rule.begins)
    seen = first - span.begin
    new = combined(
        state, span.origins(slice(first, span.stop)), {name: values[:, seen:] for name, values in read.items()}
    )
    volatility = span.wide(span.frames.volatility)[:, span.begin : first]
    again = combined_again(state, volatility, {name: values[:, :seen] for name, values in read.items()})
    found = np.concatenate([_as_issued(again.quantiles, state.issued), new.quantiles], axis=1)
    after = new.state
    if first == span.stop and not np.isnat(state.session):  # forecast now, as its bar came late; nothing is learned
        latest = np.where(np.isnan(after.combined[0]), found[:, -1].transpose(1, 2, 0), after.combined[0])
        after = replace(after, combined=np.concatenate([latest[None], after.combined[1:]]))
    weights, answered = (
        np.concatenate([getattr(part, name) for part in (again, new)]) for name in ("weights", "answered")
    )
    return Combined(found, weights, answered, after)


def _calibrated(
    state: CalibrationState | None, rule: Postprocessing, span: Span, base: Floats32
) -> tuple[Floats32 | None, CalibrationState | None]:
    """Return corrected quantiles of all sessions of the span, and an adaptive correction's state after them."""
    spec, sessions = rule.spec.calibration, span.frames.sessions[: span.stop]
    if spec.method == "none" or state is None:
        return None, None
    if spec.method == "split":
        return _by_split(rule, span, base), None
    first = max(_first_after(state.session, sessions, rule.begins), span.begin)
    seen = first - span.begin
    new, after = followed(state, spec, span.origins(slice(first, span.stop)), base[:, seen:])
    relative = span.origins(slice(span.begin, first)).relative_volatility
    again = corrected(state, spec, base[:, :seen], relative)
    found = np.concatenate([_as_issued(again, state.pending), new], axis=1)
    if first == span.stop and not np.isnat(state.session):
        after = issued_late(after, span.origins(slice(first - 1, first)), found[:, -1], base[:, -1])
    return found, after


def _as_issued(again: Floats32, issued: Floats32) -> Floats32:
    """Return quantiles [ticker, session, horizon, level] made again, but for those that were issued.

    `issued` has the last of these sessions first [ticker, session back, horizon, level], NaN where nothing was.
    """
    result = np.array(again)
    count = min(again.shape[1], issued.shape[1])
    last = issued[:, :count][:, ::-1]
    result[:, again.shape[1] - count :] = np.where(
        np.isfinite(last).all(axis=-1, keepdims=True), last, result[:, again.shape[1] - count :]
    )
    return result


def _by_split(rule: Postprocessing, span: Span, base: Floats32) -> Floats32:
    """Return quantiles corrected by what the fold's calibration range requires; origins before it are not.

    Its factors are learned on forecasts of that range by the fold's own fits, combined from its first session on.
    """
    sessions = span.frames.sessions[: span.stop]
    first, tested = (int(at) for at in np.searchsorted(sessions, np.array([rule.calibrated_from, rule.tested])))
    if first >= tested:
        return base
    learning = replace(span, begin=first, stop=tested)
    fits = [fitted for fitted in span.fits if fitted.forecaster.kind in (*span.members, NETWORK)]
    of_fits = forecasts_by_forecaster(fits, span.frames, slice(first, tested))
    read = {name: span.wide(values) for name, values in of_fits.items()}
    if published(rule, read) == COMBINED:
        tickers = [str(row) for row in range(len(base))]
        state = new_combination(span.members, tickers, span.frames.horizons)
        quantiles = combined(state, learning.origins(slice(first, tested)), read).quantiles
    else:
        quantiles = read[NETWORK]
    calibrated = stretched(base, split_factors(quantiles, span.outcome[:, first:tested]))
    before = first - span.begin
    return np.concatenate([base[:, :before], calibrated[:, before:]], axis=1) if before > 0 else calibrated


# --- Over the folds of a backtest ---


def over_folds(
    forecasts: Sequence[Mapping[str, Floats32]],
    fits: Sequence[Sequence[Fitted]],
    folds: Sequence[Fold],
    frames: Frames,
    spec: PostprocessingSpec,
) -> list[Postprocessed]:
    """Return each fold's test forecasts, combined and calibrated.

    Both parts go on over the folds, oldest first: a refitted forecaster keeps its place. A fold that was excluded
    leaves silent sessions.
    """
    result: list[Postprocessed] = []
    state, before = None, tuple[Fitted, ...]()
    for of_fold, of_fits, fold in zip(forecasts, fits, folds, strict=True):
        if state:
            state = silent_until(state, spec, frames, before, fold.test.start)
        rule = postprocessing_of(fold, spec, state)
        result.append(postprocessed(of_fold, of_fits, frames, fold.test.start, rule))
        state, before = result[-1].state, tuple(of_fits)
    return result


def silent_until(
    state: PostprocessingState, spec: PostprocessingSpec, frames: Frames, fits: Sequence[Fitted], until: int
) -> PostprocessingState:
    """Return the state after sessions up to index `until` (excluded) at which nothing is issued.

    `fits` are those that issued before: outcomes of the tickers that they learn from are learned from here too.
    """
    first = int(np.searchsorted(frames.sessions, state.session, side="right"))
    if np.isnat(state.session) or first >= until:
        return state
    combination, calibration = state.combination.of(frames.tickers, state.combination.forecasters), state.calibration
    shape = (len(frames.tickers), until - first, frames.horizons, len(LEVELS))
    nothing = np.full(shape, np.nan, dtype=np.float32)
    origins = Span(frames, fits, (), 0, first, until).origins(slice(first, until))
    combination = combined(combination, origins, dict.fromkeys(combination.forecasters, nothing)).state
    if calibration is not None:
        calibration = calibration.of(frames.tickers)
        calibration = followed(calibration, spec.calibration, origins, nothing)[1]
    return replace(state, combination=combination, calibration=calibration)
