"""Feature drift: look by look against windows taken one by one, thresholds, false alarms, and whatever is put in."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import UsageError
from pipeline.operation.monitoring.distribution_distances import counts_at_edges, ks_distance, stability_index
from pipeline.operation.monitoring.feature_drift import FeatureReference, drift_path, feature_drift, feature_reference
from pipeline.operation.monitoring.stretches import Calibration, draw_stretches, joint_thresholds
from tests.benchmarks.monitoring import LOOKS, NEVER, REFERENCE, WARM_UP, feature_alarms, garch_frames

NAMES = ("a", "b")
FEW = Calibration(replications=60)


def made(sessions: int, seed: int = 0, tickers: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Two features of dependent tickers, and usable rows with gaps."""
    draws = np.random.default_rng(seed)
    values = draws.standard_normal((tickers, sessions, 2)) + draws.standard_normal((1, sessions, 2))
    usable = draws.random((tickers, sessions)) < 0.9
    usable[:, 10] = False
    return values.astype(np.float32), usable


def reference_of(values: np.ndarray, usable: np.ndarray, window: int = 20) -> FeatureReference:
    return feature_reference(NAMES, values, usable, window, FEW)


def test_each_look_is_that_of_its_window_alone() -> None:
    values, usable = made(300)
    reference = reference_of(values, usable)
    later, rows = made(50, seed=1)
    psi, ks = drift_path(reference, later, rows)
    assert len(psi) == 30  # of 49 sessions with a usable row
    sessions = np.delete(np.arange(50), 10)
    for look in range(30):
        window = sessions[look : look + 20]
        for k, distribution in enumerate(reference.distributions):
            sample = later[:, window, k][rows[:, window]]
            share = counts_at_edges(sample, np.zeros(len(sample), dtype=int), 1, distribution.edges)[0] / len(sample)
            bounds = distribution.deciles
            assert psi[look, k] == pytest.approx(stability_index(distribution.share[bounds], share[bounds]))
            assert ks[look, k] == pytest.approx(ks_distance(distribution.share, share))


def test_later_sessions_change_nothing_bit_for_bit() -> None:
    values, usable = made(300)
    reference = reference_of(values, usable)
    psi, ks = drift_path(reference, values, usable)
    for stop in (40, 41, 150, 300):
        drift = feature_drift(reference, values[:, :stop], usable[:, :stop])
        assert [row.psi for row in drift] == psi[stop - 1 - 20].tolist()
        assert [row.ks for row in drift] == ks[stop - 1 - 20].tolist()


def test_sessions_without_a_usable_row_and_rows_that_are_not_usable_are_not_read() -> None:
    values, usable = made(300)
    reference = reference_of(values, usable)
    garbage = np.where(usable[..., None], values, np.float32(1e6))
    assert feature_drift(reference, garbage, usable) == feature_drift(reference, values, usable)
    assert reference.sessions == 299
    empty = np.zeros((4, 30), dtype=bool)
    with_gap = np.concatenate([values, values[:, :30]], axis=1), np.concatenate([usable, empty], axis=1)
    assert feature_drift(reference, *with_gap) == feature_drift(reference, values, usable)


def test_a_shift_of_one_feature_is_drift_of_that_feature() -> None:
    values, usable = made(400)
    reference = reference_of(values[:, :350], usable[:, :350])
    assert not any(row.drifted for row in feature_drift(reference, values[:, 350:], usable[:, 350:]))
    shifted = values[:, 350:] + np.array([0, 2], dtype=np.float32)
    assert [row.status for row in feature_drift(reference, shifted, usable[:, 350:])] == ["steady", "drift"]


@pytest.mark.parametrize("silent", ["psi_threshold", "ks_threshold"])
def test_either_distance_alone_is_drift(silent: str) -> None:
    values, usable = made(300)
    reference = replace(reference_of(values, usable), **{silent: np.full(2, np.inf)})
    assert [row.status for row in feature_drift(reference, values + np.float32(3), usable)] == ["drift", "drift"]
    none = replace(reference, psi_threshold=np.full(2, np.inf), ks_threshold=np.full(2, np.inf))
    assert [row.status for row in feature_drift(none, values + np.float32(3), usable)] == ["steady", "steady"]


def test_what_leaves_the_range_of_its_reference_has_drifted_whatever_the_threshold() -> None:
    """A feature that goes from one level to another once: its own stretches are as far apart as can be."""
    draws = np.random.default_rng(0)
    level = np.repeat([0.0, 10.0], 200)[None, :, None]
    values = (level + draws.standard_normal((3, 400, 2))).astype(np.float32)
    usable = np.ones((3, 400), dtype=bool)
    reference = reference_of(values, usable)
    for moved in (50, -50):
        assert all(row.ks == 1 and row.drifted for row in feature_drift(reference, values + np.float32(moved), usable))


def test_the_same_seed_gives_the_same_thresholds() -> None:
    values, usable = made(300)
    first, again = reference_of(values, usable), reference_of(values, usable)
    assert (first.psi_threshold == again.psi_threshold).all()
    assert (first.ks_threshold == again.ks_threshold).all()
    other = feature_reference(NAMES, values, usable, 20, Calibration(replications=60, seed=1))
    assert (first.psi_threshold != other.psi_threshold).all()


def test_thresholds_are_those_of_a_loop_over_drawn_windows() -> None:
    values, usable = made(130)
    calibration = Calibration(looks=4, replications=12, block_sessions=9)
    reference = feature_reference(NAMES, values, usable, 20, calibration)
    sessions = np.delete(np.arange(130), 10)
    stretches = draw_stretches(129, 23, calibration)
    maxima = np.empty((12, 4))
    for replication in range(12):
        times = np.repeat(sessions, stretches.reference[replication].astype(int))
        windows = [sessions[stretches.following[replication, look : look + 20]] for look in range(4)]
        for k, distribution in enumerate(reference.distributions):
            drawn, *looks = (shares_of(values[..., k], usable, at, distribution.edges) for at in (times, *windows))
            bounds = distribution.deciles
            psi = max(float(stability_index(drawn[bounds], share[bounds])) for share in looks)
            ks = max(float(ks_distance(drawn, share)) for share in looks)
            maxima[replication, [k, 2 + k]] = np.log(psi), np.log(ks / (1 - ks))
    expected = joint_thresholds(maxima, 0.05)
    assert np.log(reference.psi_threshold) == pytest.approx(expected[:2], abs=1e-4)
    assert reference.ks_threshold == pytest.approx(1 / (1 + np.exp(-expected[2:])), abs=1e-5)


def shares_of(values: np.ndarray, usable: np.ndarray, sessions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share at or below each edge of the usable rows of sessions, each as often as it is named."""
    sample = np.concatenate([values[usable[:, at], at] for at in sessions])
    return np.array([(sample <= edge).mean() for edge in edges])


def test_thresholds_rise_with_dependence() -> None:
    values, usable = made(600)
    alone = feature_reference(NAMES, values, usable, 20, Calibration(replications=200))
    slow = np.repeat(values[:, ::6], 6, axis=1)[:, :600]  # each session six times
    dependent = feature_reference(NAMES, slow, usable, 20, Calibration(replications=200))
    assert (alone.ks_threshold < dependent.ks_threshold).all()


def test_too_short_a_reference_or_window_raises_no_alarm() -> None:
    values, usable = made(300)
    short = reference_of(values[:, :119], usable[:, :119])
    assert np.isnan(short.psi_threshold).all()
    assert {row.status for row in feature_drift(short, values + 99, usable)} == {"not enough sessions"}
    reference = reference_of(values, usable)
    assert {row.status for row in feature_drift(reference, values[:, :19] + 99, usable[:, :19])} == {
        "not enough sessions"
    }
    assert {row.status for row in feature_drift(reference, values[:, :0], usable[:, :0])} == {"not enough sessions"}


def test_other_features_than_those_of_the_reference_are_refused() -> None:
    values, usable = made(300)
    reference = reference_of(values, usable)
    with pytest.raises(UsageError, match=r"2 features.*\(4, 300, 1\)"):
        feature_drift(reference, values[..., :1], usable)
    with pytest.raises(UsageError, match="one session or more, found 0"):
        reference_of(values, usable, 0)


numbers = st.floats(-5, 5, width=32) | st.sampled_from([0.0, np.nan, np.inf])
shapes = st.tuples(st.integers(1, 3), st.sampled_from([1, 30, 125, 140]), st.just(2))


@settings(max_examples=60, deadline=None)
@given(shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=numbers, fill=numbers)), st.booleans())
def test_whatever_is_put_in_the_numbers_fit_the_status(values: np.ndarray, usable: bool) -> None:
    rows = np.full(values.shape[:2], usable)
    reference = feature_reference(NAMES, values, rows, 60, Calibration(looks=5, replications=10))
    for row in feature_drift(reference, values, rows):
        if row.status == "not enough sessions":
            assert np.isnan(row.psi)
            continue
        assert reference.sessions >= 120
        assert 0 <= row.ks <= 1
        assert row.psi >= 0
        assert row.drifted == (row.psi > row.psi_threshold or row.ks > row.ks_threshold)


@pytest.mark.parametrize("constant", [0.0, -7.5])
def test_a_constant_feature_is_steady_until_it_changes(constant: float) -> None:
    values, usable = made(300)
    values[..., 0] = constant
    reference = reference_of(values, usable)
    assert feature_drift(reference, values, usable)[0].status == "steady"
    values[..., 0] += 1
    assert feature_drift(reference, values, usable)[0].status == "drift"


@pytest.mark.slow
def test_few_false_alarms_on_garch_and_a_tripled_volatility_is_found() -> None:
    steady, tripled = zip(*(feature_alarms(seed, 60) for seed in range(500, 512)), strict=True)
    assert sum(first <= LOOKS for first in steady) <= 2
    assert max(tripled) <= 75
    assert NEVER not in tripled


def test_one_garch_world_of_one_ticker() -> None:
    frames = garch_frames(3, 1, REFERENCE // 2)
    features, usable = frames.features[:, WARM_UP:], frames.usable[:, WARM_UP:]
    reference = feature_reference(frames.feature_names, features, usable)
    assert {row.status for row in feature_drift(reference, features, usable)} == {"steady"}
