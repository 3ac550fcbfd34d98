"""The scaler: training rows only, and bounded values."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import SCALED_LIMIT, fit_scaler
from tests.panels import frames_from, random_market, random_rows


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(300, 4))


def range_of(start: int, stop: int) -> Range:
    return Range(np.datetime64("2023-01-01"), np.datetime64("2023-01-01"), start, stop)


def test_mean_and_deviation_are_those_of_the_usable_training_rows(frames: Frames) -> None:
    scaler = fit_scaler(frames, range_of(50, 200))
    rows = [frames.features[i, j].tolist() for i in range(4) for j in range(50, 200) if frames.usable[i, j]]
    for column in range(len(frames.feature_names)):
        values = [row[column] for row in rows]
        mean = sum(values) / len(values)
        std = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        assert scaler.mean[column] == pytest.approx(mean, rel=1e-5, abs=1e-6)
        assert scaler.std[column] == pytest.approx(std, rel=1e-5)


def test_nothing_outside_the_training_rows_is_seen(frames: Frames) -> None:
    part = range_of(50, 200)
    inside = np.zeros(frames.usable.shape, dtype=bool)
    inside[:, part.start : part.stop] = True
    inside &= frames.usable
    spoilt = np.where(inside[..., None], frames.features, np.float32(1e6))
    noise = np.where(inside, frames.future_return[..., 0], np.nan)
    other = replace(frames, features=spoilt, future_return=np.stack([noise, noise], axis=2))
    expected, found = fit_scaler(frames, part), fit_scaler(other, part)
    assert (found.mean.tobytes(), found.std.tobytes()) == (expected.mean.tobytes(), expected.std.tobytes())
    moved = np.array(frames.features)
    moved[np.nonzero(inside)[0][0], np.nonzero(inside)[1][0]] += 1.0  # one training row does matter
    assert fit_scaler(replace(frames, features=moved), part).mean.tobytes() != expected.mean.tobytes()


def test_scaled_values_are_centred_clipped_and_zero_where_unknown(frames: Frames) -> None:
    part = range_of(0, 300)
    scaler = fit_scaler(frames, part)
    scaled = scaler.apply(frames.features)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() <= SCALED_LIMIT
    assert (scaled[~np.isfinite(frames.features)] == 0).all()
    rows = scaled[frames.usable]
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(rows.std(axis=0), 1, atol=0.05)
    wild = scaler.apply(np.float32([[1e9] * rows.shape[1], [-1e9] * rows.shape[1]]))
    assert set(wild.ravel().tolist()) == {SCALED_LIMIT, -SCALED_LIMIT}


def test_a_feature_that_never_moves_does_not_divide_by_zero() -> None:
    frames = frames_from({"A": random_rows(200, 1)})
    still = replace(frames, features=np.where(np.isfinite(frames.features), np.float32(2.5), np.nan))
    scaled = fit_scaler(still, range_of(0, 200)).apply(still.features)
    assert (scaled == 0).all()
