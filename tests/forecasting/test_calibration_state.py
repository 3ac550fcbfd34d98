"""The state of the adaptive correction: the same in one walk or in two, and after it was written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FitError
from pipeline.forecasting.calibration_state import (
    CalibrationState,
    advanced,
    calibration_as_arrays,
    calibration_from_arrays,
    followed,
    new_calibration,
    outcomes_known_at,
    with_issued,
)
from pipeline.forecasting.specification import CalibrationSpec
from tests.forecasting.calibrating import calibrated

SPEC = CalibrationSpec()


def spoken(draws: np.random.Generator, tickers: int, sessions: int, horizons: int) -> tuple[np.ndarray, np.ndarray]:
    quantiles = np.sort(draws.normal(0, 0.02, (tickers, sessions, horizons, 7)), axis=-1).astype(np.float32)
    outcome = draws.normal(0, 0.04, (tickers, sessions, horizons)).astype(np.float32)
    outcome[draws.uniform(size=outcome.shape) < 0.1] = np.nan
    return quantiles, outcome


def bits(state: CalibrationState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in calibration_as_arrays(state).items()}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.integers(0, 12))
def test_a_walk_in_two_parts_is_the_whole_walk(seed: int, tickers: int, horizons: int, cut: int) -> None:
    quantiles, outcome = spoken(np.random.default_rng(seed), tickers, 12, horizons)
    names = tuple(f"T{k}" for k in range(tickers))
    days = np.datetime64("2024-01-01") + np.arange(12)
    known = outcomes_known_at(outcome, slice(0, 12))
    whole, end = followed(new_calibration(names, horizons), SPEC, days, quantiles, known)
    first, between = followed(new_calibration(names, horizons), SPEC, days[:cut], quantiles[:, :cut], known[:, :cut])
    stored = calibration_from_arrays({name: array.copy() for name, array in calibration_as_arrays(between).items()})
    assert bits(stored) == bits(between)
    second, last = followed(stored, SPEC, days[cut:], quantiles[:, cut:], known[:, cut:])
    assert np.concatenate([first, second], axis=1).tobytes() == whole.tobytes()
    assert bits(last) == bits(end)
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
    issued = with_issued(new_calibration(names, 2), days[0], quantiles[:, 0])
    silent = with_issued(advanced(issued, SPEC, none), days[1], np.full_like(quantiles[:, 0], np.nan))
    assert (silent.factors == 1).all()
    late = advanced(silent, SPEC, wild)  # horizon 2 of the first day; horizon 1 waits for nothing
    assert (late.factors[0] == 1).all()
    assert (late.factors[1] > 1).any()
    assert (with_issued(late, days[2], np.full_like(quantiles[:, 0], np.nan)).pending[:, 1] != quantiles[:, 0]).any()


def test_pending_forecasts_go_with_their_ticker() -> None:
    quantiles, outcome = spoken(np.random.default_rng(1), 3, 4, 2)
    days, known = np.datetime64("2024-01-02") + np.arange(4), outcomes_known_at(outcome, slice(0, 4))
    _, state = followed(new_calibration(("A", "B", "C"), 2), SPEC, days, quantiles, known)
    turned = state.of(("C", "NEW", "A"))
    np.testing.assert_array_equal(turned.pending[[0, 2]], state.pending[[2, 0]])
    assert np.isnan(turned.pending[1]).all()
    assert turned.scale is state.scale


def test_arrays_of_something_else_are_no_state() -> None:
    arrays = calibration_as_arrays(new_calibration(("A", "B"), 2))
    with pytest.raises(FitError, match=r"no calibration state.*publish"):
        calibration_from_arrays({name: array for name, array in arrays.items() if name != "level"})
    with pytest.raises(FitError, match=r"state of shapes .* expected"):
        calibration_from_arrays({**arrays, "pending": arrays["pending"][:1]})
