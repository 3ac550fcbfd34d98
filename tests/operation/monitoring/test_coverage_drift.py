"""Coverage drift: bands against a loop, bounds on both sides, false alarms, and whatever is put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import UsageError
from pipeline.operation.monitoring.coverage_drift import (
    coverage_drift,
    coverage_path,
    coverage_reference,
    session_coverage,
)
from pipeline.operation.monitoring.stretches import Calibration, draw_stretches, joint_thresholds
from tests.benchmarks.monitoring import LOOKS, coverage_alarms


def made(sessions: int, seed: int = 0, share: tuple[float, float] = (0.8, 0.9)) -> np.ndarray:
    """Coverage of ten independent tickers [band, session]."""
    return np.random.default_rng(seed).binomial(10, np.array(share)[:, None], (2, sessions)) / 10


def test_the_coverage_of_a_session_is_the_share_of_its_tickers_within_the_band() -> None:
    draws = np.random.default_rng(0)
    quantiles = np.sort(draws.standard_normal((5, 30, 7)), axis=-1)
    outcome = draws.standard_normal((5, 30))
    outcome[0, 3] = quantiles[0, 3, 5]  # on the edge: within
    outcome[:, 7], outcome[2, 9], quantiles[3, 9, 0] = np.nan, np.nan, np.nan
    found = session_coverage(quantiles, outcome)
    assert np.isnan(found[:, 7]).all()
    for session in np.delete(np.arange(30), 7):
        for band, (low, high) in enumerate(((1, 5), (0, 6))):
            hits = [
                quantiles[k, session, low] <= outcome[k, session] <= quantiles[k, session, high]
                for k in range(5)
                if np.isfinite(outcome[k, session]) and np.isfinite(quantiles[k, session]).all()
            ]
            assert found[band, session] == np.mean(hits)


def test_bounds_hold_the_reference_and_both_sides_are_seen() -> None:
    reference = coverage_reference(made(1000), 1)
    assert reference.coverage == pytest.approx([0.8, 0.9], abs=0.02)
    assert (reference.low < reference.coverage).all()
    assert (reference.coverage < reference.high).all()
    assert [row.status for row in coverage_drift(made(60, 1), reference)] == ["steady", "steady"]
    assert [row.status for row in coverage_drift(made(60, 1, (0.5, 0.9)), reference)] == ["too narrow", "steady"]
    assert [row.status for row in coverage_drift(made(60, 1, (0.8, 1.0)), reference)] == ["steady", "too wide"]


def test_later_sessions_change_nothing_bit_for_bit() -> None:
    coverage = made(400)
    coverage[:, 350] = np.nan
    reference = coverage_reference(coverage[:, :300], 1)
    path = coverage_path(coverage, reference)
    for stop in (60, 299, 350, 351, 400):
        looks = stop - 60 - (stop > 350)
        assert [row.coverage for row in coverage_drift(coverage[:, :stop], reference)] == path[:, looks].tolist()
    assert path[:, 100] == pytest.approx(coverage[:, 100:160].mean(axis=1))


def test_bounds_are_those_of_a_loop_over_drawn_windows() -> None:
    coverage = made(150)
    calibration = Calibration(looks=5, replications=20, block_sessions=7)
    stretches = draw_stretches(150, 24, calibration)
    maxima = []
    for counts, following in zip(stretches.reference, stretches.following, strict=True):
        mean = np.repeat(coverage, counts.astype(int), axis=1).mean(axis=1)
        windows = np.array([coverage[:, following[look : look + 20]].mean(axis=1) for look in range(5)])
        maxima.append(np.concatenate([(mean - windows).max(axis=0), (windows - mean).max(axis=0)]))
    below, above = np.split(joint_thresholds(np.array(maxima), 0.05), 2)
    reference = coverage_reference(coverage, 1, 20, calibration)
    assert reference.low == pytest.approx(coverage.mean(axis=1) - below)
    assert reference.high == pytest.approx(coverage.mean(axis=1) + above)


def test_bounds_are_wider_for_overlapping_outcomes() -> None:
    smooth = np.apply_along_axis(np.convolve, 1, made(1000), np.ones(10) / 10)[:, 20:1000] * 3 - 1.7
    alone, kept = (coverage_reference(smooth, h, 60, Calibration(block_sessions=1)) for h in (1, 10))
    assert (kept.high - kept.low > 1.5 * (alone.high - alone.low)).all()


def test_too_short_a_record_or_window_raises_no_alarm() -> None:
    short = coverage_reference(made(119), 1)
    assert {row.status for row in coverage_drift(np.zeros((2, 100)), short)} == {"not enough sessions"}
    reference = coverage_reference(made(300), 1)
    for sessions in (0, 1, 59):
        assert {row.status for row in coverage_drift(np.zeros((2, sessions)), reference)} == {"not enough sessions"}
    unknown = np.full((2, 500), np.nan)
    assert {row.status for row in coverage_drift(unknown, reference)} == {"not enough sessions"}


def test_what_is_not_coverage_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(80, 90\), found \(3, 500\)"):
        coverage_reference(np.zeros((3, 500)), 1)
    with pytest.raises(UsageError, match="found 0 and 60"):
        coverage_reference(made(500), 0)


def test_a_constant_reference_is_steady_until_it_changes() -> None:
    reference = coverage_reference(np.ones((2, 300)), 1)
    assert [row.status for row in coverage_drift(np.ones((2, 60)), reference)] == ["steady", "steady"]
    missed = np.ones((2, 60))
    missed[:, 3] = 0
    assert [row.status for row in coverage_drift(missed, reference)] == ["too narrow", "too narrow"]


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.just(2), st.sampled_from([1, 119, 130])),
        elements=st.floats(0, 1) | st.just(np.nan),
        fill=st.just(1.0),
    ),
    st.integers(1, 60),
)
def test_whatever_is_put_in_the_numbers_fit_the_status(coverage: np.ndarray, window: int) -> None:
    reference = coverage_reference(coverage, 1, window, Calibration(looks=20, replications=10))
    for row in coverage_drift(coverage, reference):
        if row.status == "not enough sessions":
            assert reference.sessions < 120
            continue
        assert row.status == (
            "too narrow" if row.coverage < row.low else "too wide" if row.coverage > row.high else "steady"
        )


def test_few_false_alarms_on_garch_and_bands_of_half_the_width_are_found() -> None:
    steady, narrow = zip(*(coverage_alarms(seed, 1) for seed in range(500, 520)), strict=True)
    assert sum(first <= LOOKS for first in steady) <= 3
    assert np.median(narrow) <= 35
