"""The state of the adaptive correction: day by day the same as in a backtest, and the same after it was written."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.calibration import CalibrationSpec
from pipeline.forecasting.calibration_state import (
    CalibrationState,
    advanced,
    calibrated,
    followed,
    new_state,
    outcomes_known_at,
    state_as_arrays,
    state_digest,
    state_from_arrays,
    with_issued,
)
from pipeline.forecasting.correction import Correction, before, silent_until
from pipeline.forecasting.forecasts import CALIBRATED, fits_of
from pipeline.forecasting.live import live_forecasts
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

SPEC = CalibrationSpec()
EVENING = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 60
Ready = tuple[Frames, Fold, list[FitResult]]


def spoken(draws: np.random.Generator, tickers: int, sessions: int, horizons: int) -> tuple[np.ndarray, np.ndarray]:
    quantiles = np.sort(draws.normal(0, 0.02, (tickers, sessions, horizons, 7)), axis=-1).astype(np.float32)
    outcome = draws.normal(0, 0.04, (tickers, sessions, horizons)).astype(np.float32)
    outcome[draws.uniform(size=outcome.shape) < 0.1] = np.nan
    return quantiles, outcome


def bits(state: CalibrationState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state_as_arrays(state).items()}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(0, 12))
def test_a_walk_in_two_parts_is_the_whole_walk(seed: int, tickers: int, horizons: int, cut: int) -> None:
    quantiles, outcome = spoken(np.random.default_rng(seed), tickers, 12, horizons)
    names = tuple(f"T{k}" for k in range(tickers))
    days = np.datetime64("2024-01-01") + np.arange(12)
    known = outcomes_known_at(outcome, slice(0, 12))
    whole, end = followed(new_state(names, horizons), SPEC, days, quantiles, known)
    first, between = followed(new_state(names, horizons), SPEC, days[:cut], quantiles[:, :cut], known[:, :cut])
    stored = state_from_arrays({name: array.copy() for name, array in state_as_arrays(between).items()})
    assert bits(stored) == bits(between)
    second, last = followed(stored, SPEC, days[cut:], quantiles[:, cut:], known[:, cut:])
    assert np.concatenate([first, second], axis=1).tobytes() == whole.tobytes()
    assert bits(last) == bits(end)
    assert state_digest(last) == state_digest(end)
    assert whole.tobytes() == calibrated(quantiles, outcome, SPEC).tobytes()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 9), st.integers(0, 11))
def test_an_outcome_is_known_its_horizon_after_its_origin(seed: int, horizons: int, sessions: int, start: int) -> None:
    outcome = np.random.default_rng(seed).normal(size=(2, 12, horizons)).astype(np.float32)
    stop = min(start + sessions, 12)
    found = outcomes_known_at(outcome, slice(start, stop))
    for at, h in np.ndindex(stop - start, horizons):
        origin = start + at - h - 1
        expected = outcome[:, origin, h] if origin >= 0 else np.full(2, np.nan, np.float32)
        np.testing.assert_array_equal(found[:, at, h], expected)


def test_a_silent_session_moves_no_factor_and_the_next_outcomes_still_count() -> None:
    quantiles, _ = spoken(np.random.default_rng(0), 3, 1, 2)
    names, days = ("A", "B", "C"), np.datetime64("2024-01-02") + np.arange(4)
    none, wild = np.full((3, 2), np.nan, np.float32), np.full((3, 2), 9.0, np.float32)
    issued = with_issued(new_state(names, 2), days[0], quantiles[:, 0])
    silent = with_issued(advanced(issued, SPEC, none), days[1], np.full_like(quantiles[:, 0], np.nan))
    assert (silent.factors == 1).all()
    late = advanced(silent, SPEC, wild)  # horizon 2 of the first day; horizon 1 waits for nothing
    assert (late.factors[0] == 1).all()
    assert (late.factors[1] > 1).any()
    assert (with_issued(late, days[2], np.full_like(quantiles[:, 0], np.nan)).pending[:, 1] != quantiles[:, 0]).any()


def test_pending_forecasts_go_with_their_ticker() -> None:
    quantiles, outcome = spoken(np.random.default_rng(1), 3, 4, 2)
    days, known = np.datetime64("2024-01-02") + np.arange(4), outcomes_known_at(outcome, slice(0, 4))
    _, state = followed(new_state(("A", "B", "C"), 2), SPEC, days, quantiles, known)
    turned = state.of(("C", "NEW", "A"))
    np.testing.assert_array_equal(turned.pending[[0, 2]], state.pending[[2, 0]])
    assert np.isnan(turned.pending[1]).all()
    assert turned.scale is state.scale


def test_arrays_of_something_else_are_no_state() -> None:
    arrays = state_as_arrays(new_state(("A", "B"), 2))
    with pytest.raises(FitError, match=r"no calibration state.*publish"):
        state_from_arrays({name: array for name, array in arrays.items() if name != "level"})
    with pytest.raises(FitError, match=r"state of shapes .* expected"):
        state_from_arrays({**arrays, "pending": arrays["pending"][:1]})


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    experiment = changed(TINY, horizons=3)
    frames = frames_from(random_market(700, 4), experiment)
    jobs, folds = jobs_for(frames, experiment, kinds=("network", "ewma"), folds=slice(-1, None))
    assert len(folds[-1].test) > DAYS + 20
    return frames, folds[-1], fit_jobs(jobs, frames, Path(tmp_path_factory.mktemp("state")))


def as_of(frames: Frames, fold: Fold, stop: int) -> tuple[Frames, Fold]:
    return frames.until(stop), replace(fold, test=replace(fold.test, stop=stop))


def test_sixty_days_one_by_one_are_the_backtest_of_those_days(ready: Ready) -> None:
    frames, fold, results = ready
    fits = fits_of(results, fold)
    start = fold.test.stop - DAYS
    correction = build_backtest(results, [as_of(frames, fold, start)[1]], frames.until(start), SPEC).correction
    assert correction is not None
    for stop in range(start + 1, fold.test.stop + 1):  # an evening each: nothing later exists
        lived, cut = as_of(frames, fold, stop)
        live = live_forecasts(fits, lived, "XNYS", EVENING, correction)
        assert live.state is not None
        whole = build_backtest(results, [cut], lived, SPEC)
        assert whole.correction is not None
        expected = whole.correction.state
        assert expected is not None
        assert live.state.session == lived.sessions[-1]
        assert live.state.scale.tobytes() == expected.scale.tobytes()
        assert live.state.level.tobytes() == expected.level.tobytes()
        np.testing.assert_allclose(live.state.pending, expected.pending, atol=1e-6)  # read in windows of another length
        ours = live.log_quantiles[(live.rows["forecaster"] == CALIBRATED).to_numpy()]
        np.testing.assert_allclose(ours.reshape(-1, 3, 7), whole.quantiles[CALIBRATED][:, -1], atol=1e-6)
        correction = replace(correction, state=live.state)
    assert (live.state.factors != 1).any()


def test_several_days_at_once_are_those_days_one_by_one(ready: Ready) -> None:
    frames, fold, results = ready
    fits, start = fits_of(results, fold), fold.test.stop - 20
    first = build_backtest(results, [as_of(frames, fold, start)[1]], frames.until(start), SPEC).correction
    assert first is not None
    at_once = live_forecasts(fits, frames.until(start + 15), "XNYS", EVENING, first).state
    one_by_one = first
    for stop in range(start + 1, start + 16):
        state = live_forecasts(fits, frames.until(stop), "XNYS", EVENING, one_by_one).state
        one_by_one = replace(one_by_one, state=state)
    assert at_once is not None
    assert one_by_one.state is not None
    assert at_once.scale.tobytes() == one_by_one.state.scale.tobytes()
    assert at_once.level.tobytes() == one_by_one.state.level.tobytes()


def test_a_ticker_that_is_absent_for_a_day_keeps_what_it_waits_for(ready: Ready) -> None:
    frames, fold, results = ready
    fits, start = fits_of(results, fold), fold.test.stop - 20
    first = build_backtest(results, [as_of(frames, fold, start)[1]], frames.until(start), SPEC).correction
    assert first is not None
    without = live_forecasts(fits, frames.until(start + 1).of(frames.tickers[1:]), "XNYS", EVENING, first).state
    assert without is not None
    absent = without.tickers.index(frames.tickers[0])
    assert first.state is not None
    np.testing.assert_array_equal(without.pending[absent, 1], first.state.pending[0, 0])
    assert np.isnan(without.pending[absent, 0]).all()


def test_a_stale_ticker_has_what_was_issued_on_its_last_day(ready: Ready) -> None:
    frames, fold, results = ready
    fits, start = fits_of(results, fold), fold.test.stop - 20
    usable = np.array(frames.usable)
    usable[0, start:] = False
    frames = replace(frames, usable=usable)
    first = build_backtest(results, [as_of(frames, fold, start)[1]], frames.until(start), SPEC).correction
    live = live_forecasts(fits, frames.until(start + 1), "XNYS", EVENING, first)
    of_stale = ((live.rows["ticker"] == frames.tickers[0]) & (live.rows["forecaster"] == CALIBRATED)).to_numpy()
    assert set(live.rows["as_of"][of_stale]) == {frames.sessions[start - 1]}
    assert first is not None
    assert first.state is not None
    np.testing.assert_array_equal(live.log_quantiles[of_stale], first.state.pending[0, 0])


def test_a_fold_that_was_excluded_leaves_silent_sessions(ready: Ready) -> None:
    frames, fold, results = ready
    start = fold.test.stop - 20
    correction = build_backtest(results, [as_of(frames, fold, start)[1]], frames.until(start), SPEC).correction
    assert correction is not None
    assert correction.state is not None
    later = silent_until(correction.state, SPEC, frames, start + 2)
    assert later.session == frames.sessions[start + 1]
    assert np.isnan(later.pending[:, :2]).all()
    np.testing.assert_array_equal(later.pending[:, 2], correction.state.pending[:, 0])
    assert later.scale.tobytes() != correction.state.scale.tobytes()
    assert silent_until(later, SPEC, frames, start) is later


def test_no_state_that_has_seen_later_sessions_corrects_an_earlier_forecast() -> None:
    state = with_issued(new_state(("A",), 1), np.datetime64("2024-05-10"), np.zeros((1, 1, 7), np.float32))
    correction = Correction(SPEC, np.datetime64("2024-01-01"), np.datetime64("2024-01-01"), state)
    assert before(correction, np.datetime64("2024-05-10")) is correction
    assert before(correction, np.datetime64("2024-05-09")).state is None
