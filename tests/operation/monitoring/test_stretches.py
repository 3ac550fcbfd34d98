"""Steady stretches: what is drawn, and thresholds that any of several statistics exceeds in a given share of draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import UsageError
from pipeline.evaluation.significance.resampling import resampled_counts, resampled_sessions
from pipeline.operation.monitoring.stretches import (
    MARGIN,
    Calibration,
    draw_stretches,
    enough_sessions,
    joint_thresholds,
    trailing_means,
)


def test_a_stretch_follows_the_sessions_of_the_reference_in_blocks() -> None:
    drawn = draw_stretches(500, 309, Calibration(block_sessions=50, replications=200))
    assert drawn.following.shape == (200, 309)
    assert (drawn.reference.sum(axis=1) == 500).all()
    follows = (np.diff(drawn.following, axis=1) % 500 == 1).mean()
    assert follows == pytest.approx(1 - 1 / 50, abs=0.005)


def test_reference_and_stretch_are_drawn_independently() -> None:
    drawn = draw_stretches(300, 300, Calibration(block_sessions=10, replications=400))
    counts = np.array([np.bincount(row, minlength=300) for row in drawn.following])
    assert abs(np.corrcoef(counts.ravel(), drawn.reference.ravel())[0, 1]) < 0.02


def test_counts_are_those_of_the_drawn_sessions() -> None:
    drawn = resampled_sessions(40, 5, 3, (20, 40))
    assert (resampled_counts(40, 5, 3, 20) == [np.bincount(row, minlength=40) for row in drawn]).all()
    assert (drawn == resampled_sessions(40, 5, 3, (20, 40))).all()
    with pytest.raises(UsageError, match="41 sessions cannot be drawn from 40"):
        resampled_sessions(40, 41, 3, (20, 40))


def test_any_statistic_exceeds_its_threshold_in_the_share_of_the_replications() -> None:
    maxima = np.random.default_rng(0).gumbel(size=(1000, 6)) * [1, 2, 3, 4, 5, 6]
    exceeded = maxima > joint_thresholds(maxima, 0.05, margin=1.0)
    assert exceeded.any(axis=1).mean() == pytest.approx(0.05, abs=0.002)
    assert exceeded.mean(axis=0) == pytest.approx(np.full(6, 0.05 / 6), abs=0.006)


def test_the_margin_is_put_on_the_excess_over_the_mean() -> None:
    maxima = np.random.default_rng(1).gumbel(size=(99, 1))
    mean, quantile = maxima.mean(), np.sort(maxima[:, 0])[94]  # 0.95 x 100 = 95th of 99
    assert joint_thresholds(maxima, 0.05)[0] == pytest.approx(mean + MARGIN * (quantile - mean))


def test_what_is_always_the_same_has_itself_as_threshold() -> None:
    maxima = np.column_stack([np.full(50, 2.0), np.arange(50.0)])
    assert joint_thresholds(maxima, 0.05)[0] == 2.0


@given(arrays(np.float64, (2, 30), elements=st.floats(-9, 9)), st.integers(1, 40), st.integers(0, 30))
def test_trailing_means_are_those_of_each_window_bit_for_bit(values: np.ndarray, window: int, first: int) -> None:
    found = trailing_means(values, window)
    assert found.shape == (2, max(30 - window + 1, 0))
    for look in range(found.shape[1]):
        assert found[:, look] == pytest.approx(values[:, look : look + window].mean(axis=1), abs=1e-9)
    later = trailing_means(values[:, first:], window)
    assert (later == found[:, found.shape[1] - later.shape[1] :]).all()


def test_a_reference_needs_half_a_year_and_two_windows() -> None:
    assert [enough_sessions(n) for n in (119, 120)] == [False, True]
    assert [enough_sessions(n, 100) for n in (199, 200)] == [False, True]
