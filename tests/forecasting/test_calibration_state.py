"""The state of the adaptive correction: the same in one walk or in two, and after it was written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FitError
from pipeline.forecasting.calibration_state import (
    AWAITED,
    LEARNED,
    CalibrationState,
    advanced,
    calibration_as_arrays,
    calibration_from_arrays,
    followed,
    new_calibration,
)
from pipeline.forecasting.span import outcomes_known_at
from pipeline.forecasting.specification import CalibrationSpec
from tests.forecasting.calibrating import calibrated, origins_of

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
    draws = np.random.default_rng(seed)
    relative, volatility = (draws.normal(size=(tickers, 12)).astype(np.float32) for _ in range(2))
    origins, new = origins_of(outcome, relative, np.exp(volatility)), new_calibration([*"TICK"[:tickers]], horizons)
    whole, end = followed(new, SPEC, origins, quantiles)
    first, between = followed(new, SPEC, origins.at(slice(0, cut)), quantiles[:, :cut])
    stored = calibration_from_arrays({name: array.copy() for name, array in calibration_as_arrays(between).items()})
    assert bits(stored) == bits(between)
    second, last = followed(stored, SPEC, origins.at(slice(cut, None)), quantiles[:, cut:])
    assert np.concatenate([first, second], axis=1).tobytes() == whole.tobytes()
    assert bits(last) == bits(end)
    assert whole.tobytes() == calibrated(quantiles, outcome, SPEC, origins=origins).tobytes()


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


def test_a_silent_session_moves_nothing_and_the_next_outcomes_still_count() -> None:
    quantiles, outcome = spoken(np.random.default_rng(0), 3, 3, 2)
    outcome[:, 0] = np.nan, 9.0  # horizon 1 of the first day stays unknown
    quantiles[:, 1:] = np.nan
    origins = origins_of(outcome, np.full((3, 3), 0.3, np.float32))
    new = new_calibration(("A", "B", "C"), 2)
    _, silent = followed(new, SPEC, origins.at(slice(0, 2)), quantiles[:, :2])
    for name in LEARNED:
        np.testing.assert_array_equal(getattr(silent, name), getattr(new, name))
    late = advanced(silent, SPEC, origins.outcome[:, 2])  # horizon 2 of the first day; horizon 1 waits for nothing
    for name in LEARNED:
        moved = getattr(late, name) != getattr(new, name)
        assert not moved[0].any()
        assert moved[1].any()


def test_pending_forecasts_go_with_their_ticker() -> None:
    quantiles, outcome = spoken(np.random.default_rng(1), 3, 4, 2)
    _, state = followed(new_calibration(("A", "B", "C"), 2), SPEC, origins_of(outcome), quantiles)
    turned = state.of(("C", "NEW", "A"))
    for name in AWAITED:
        found, before = getattr(turned, name), getattr(state, name)
        np.testing.assert_array_equal(found[[0, 2]], before[[2, 0]])
        assert np.isnan(found[1]).all()
        assert np.isfinite(before).any()
    assert turned.scale is state.scale


def test_arrays_of_something_else_are_no_state() -> None:
    arrays = calibration_as_arrays(new_calibration(("A", "B"), 2))
    with pytest.raises(FitError, match=r"no calibration state.*publish"):
        calibration_from_arrays({name: array for name, array in arrays.items() if name != "level"})
    with pytest.raises(FitError, match=r"state of shapes .* expected"):
        calibration_from_arrays({**arrays, "pending": arrays["pending"][:1]})
