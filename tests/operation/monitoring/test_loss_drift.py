"""Loss drift: the sum against Page's own definition, its states, its threshold, false alarms and delay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.errors import UsageError
from pipeline.operation.monitoring.loss_drift import (
    ALLOWANCE,
    START,
    CusumState,
    LossReference,
    advance,
    loss_drift,
    loss_reference,
)
from pipeline.operation.monitoring.stretches import Calibration, draw_stretches, joint_thresholds
from tests.benchmarks.monitoring import LOOKS, loss_alarms

REFERENCE = LossReference(mean=0.5, standard_deviation=2.0, threshold=3.0, sessions=500)
differences_of_any_kind = arrays(
    np.float64, array_shapes(max_dims=1, min_side=1, max_side=80), elements=st.floats(-9, 9) | st.just(np.nan)
)


def slow_path(differences: np.ndarray, reference: LossReference) -> list[float]:
    """The sum less its minimum so far (Page 1954, eq. 4.1): the largest sum of the last sessions, or zero."""
    steps = [
        0.0 if np.isnan(d) else (d - reference.mean) / reference.standard_deviation - ALLOWANCE for d in differences
    ]
    return [max(0.0, *(sum(steps[first : last + 1]) for first in range(last + 1))) for last in range(len(steps))]


@given(differences_of_any_kind)
def test_the_sum_is_the_largest_of_the_last_sessions(differences: np.ndarray) -> None:
    found = loss_drift(differences, REFERENCE)
    assert found.path.tolist() == pytest.approx(slow_path(differences, REFERENCE), abs=1e-9)
    above = found.path > REFERENCE.threshold
    assert (found.status == "drift") == bool(above[-1])
    since = len(above) - next((k for k, value in enumerate(above[::-1]) if not value), len(above))
    assert found.state.alarm_since == (since if above[-1] else -1)


@given(differences_of_any_kind, st.integers(0, 80))
def test_session_by_session_is_the_whole_series_bit_for_bit(differences: np.ndarray, cut: int) -> None:
    whole = loss_drift(differences, REFERENCE)
    state, path = START, []
    for difference in differences.tolist():
        state = advance(state, difference, REFERENCE)
        path.append(state.value)
    assert path == whole.path.tolist()
    assert state == whole.state
    earlier = loss_drift(differences[:cut], REFERENCE)
    later = loss_drift(differences[cut:], REFERENCE, earlier.state)
    assert [*earlier.path.tolist(), *later.path.tolist()] == path
    assert later.state == state


def test_it_says_since_when() -> None:
    """Three steady sessions, then six that lose a standard deviation more: each adds 0.75."""
    differences = np.array([0.5, 0.5, np.nan, *[2.5] * 6])
    found = loss_drift(differences, REFERENCE)
    assert found.path.tolist() == pytest.approx([0, 0, 0, 0.75, 1.5, 2.25, 3.0, 3.75, 4.5])
    assert found.state == CusumState(found.path[-1], sessions=9, rising_since=3, alarm_since=7)
    ended = loss_drift(np.array([-20.0]), REFERENCE, found.state)
    assert ended.status == "steady"
    assert ended.state == CusumState(0.0, sessions=10)


def test_the_threshold_is_above_that_of_a_single_look_and_grows_with_dependence() -> None:
    draws = np.random.default_rng(0).standard_normal(2000)
    one, many = (loss_reference(draws, 1, Calibration(looks=looks)).threshold for looks in (20, 250))
    assert 0 < one < many
    overlapping = np.convolve(draws, np.ones(5))[: len(draws)]
    assert loss_reference(overlapping, 5).threshold > 1.5 * many


def test_the_threshold_is_that_of_a_loop_over_drawn_sessions() -> None:
    differences = np.random.default_rng(4).exponential(size=150)
    calibration = Calibration(looks=30, replications=20, block_sessions=7)
    stretches = draw_stretches(150, 30, calibration)
    largest = []
    for counts, following in zip(stretches.reference, stretches.following, strict=True):
        drawn = np.repeat(differences, counts.astype(int))
        reference = LossReference(drawn.mean(), drawn.std(), np.inf, 150)
        largest.append(max(slow_path(differences[following], reference)))
    expected = np.expm1(joint_thresholds(np.log1p(largest)[:, None], 0.05)[0])
    assert loss_reference(differences, 1, calibration).threshold == pytest.approx(expected)


def test_blocks_are_two_horizons_long_at_least() -> None:
    """With blocks of one session the overlap of outcomes would be lost."""
    overlapping = np.convolve(np.random.default_rng(1).standard_normal(2000), np.ones(10))[:2000]
    alone, kept = (loss_reference(overlapping, h, Calibration(block_sessions=1)).threshold for h in (1, 10))
    assert kept > 1.5 * alone


def test_it_does_not_depend_on_the_unit_of_the_losses_or_on_sessions_without_outcomes() -> None:
    draws = np.random.default_rng(2).standard_normal(300)
    reference = loss_reference(draws, 1)
    scaled = loss_reference(3 + draws / 1024, 1)
    assert scaled.threshold == pytest.approx(reference.threshold)
    gaps = np.insert(draws, [5, 100, 300], np.nan)
    assert loss_reference(gaps, 1) == reference
    assert reference.sessions == 300


def test_too_short_or_constant_a_reference_raises_no_alarm() -> None:
    short = loss_reference(np.random.default_rng(3).standard_normal(119), 1)
    assert loss_drift(np.full(50, 1e6), short).status == "not enough sessions"
    for record in (np.zeros(500), np.full(500, 0.1)):
        constant = loss_reference(record, 1)
        assert loss_drift(np.full(50, 1e6), constant).status == "constant reference"
    for record in (np.empty(0), np.zeros(50)):
        assert loss_drift(np.full(9, 1e6), loss_reference(record, 1)).status == "not enough sessions"


def test_a_reference_of_one_outlier_has_a_threshold_of_its_size() -> None:
    record = np.full(500, 0.1)
    record[250] = 5.0
    assert 0 < loss_reference(record, 1).threshold < 1e3


def test_a_horizon_is_one_session_or_more() -> None:
    with pytest.raises(UsageError, match="found 0"):
        loss_reference(np.zeros(500), 0)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.sampled_from([1, 119, 130]), elements=st.floats(-9, 9) | st.just(np.nan), fill=st.just(0.5)),
    st.integers(1, 90),
)
def test_whatever_is_put_in_there_is_a_finite_threshold_or_none(record: np.ndarray, horizon: int) -> None:
    reference = loss_reference(record, horizon, Calibration(looks=20, replications=10))
    found = loss_drift(record, reference)
    assert np.isfinite(found.path).all()
    assert np.isfinite(reference.threshold) == (found.status in ("steady", "drift"))


def test_few_false_alarms_on_garch_and_a_rise_is_found() -> None:
    steady, risen = zip(*(loss_alarms(seed, 1) for seed in range(500, 530)), strict=True)
    assert sum(first <= LOOKS for first in steady) <= 4
    assert np.median(risen) <= 130
