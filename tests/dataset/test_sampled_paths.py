"""Sampled paths: true returns give the true features; levels are uniform, stratified and specific to an origin."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.features import FEATURES, select_features
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.sampled_paths import (
    RETURN_FEATURES,
    SampledPaths,
    advance_paths,
    origin_keys,
    path_features,
    path_levels,
    path_quantiles,
    path_volatility,
    refuse_unmodelled_features,
    return_histories,
    start_paths,
)
from pipeline.errors import UsageError
from tests.panels import Rows, panel_of, random_market, random_rows

NAMES = tuple(RETURN_FEATURES)
LONG = 70  # more steps than the longest window


def frames_of_returns(rows: Rows) -> Frames:
    panel = panel_of(rows)
    return build_frames(panel, select_features(NAMES), panel.tickers, 5, 61)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_of_returns(random_market(500, 4))


def wild_rows() -> Rows:
    """A constant price, jumps beyond the clipping limit, and a calm stretch after them."""
    rows = random_rows(300, 5)
    close = rows["close"].to_numpy().copy()
    rows["dividend"], rows["split"] = 0.0, 1.0
    close[90:150] = close[89]
    close[200] *= 1.5
    close[205:] *= 0.6
    prices = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "adj_close": close}
    return {"WILD": rows.assign(**prices)}


def walked(frames: Frames, ticker: int, session: int, steps: int) -> list[SampledPaths]:
    """The paths at each step along the true returns, two equal ones."""
    paths = start_paths(return_histories(frames), np.array([ticker]), np.array([session]))
    result = [paths]
    for target in range(session + 1, session + steps + 1):
        paths = advance_paths(paths, np.full((1, 2), float(frames.log_return[ticker, target])))
        result.append(paths)
    return result


@pytest.mark.parametrize("origin", [100, 199, 310])
def test_the_true_returns_carry_the_features_to_their_true_values(frames: Frames, origin: int) -> None:
    """Further than every window, and the volatility with them; a late ticker begins with its own sessions."""
    tried = []
    for ticker in range(4):
        without_gap = np.isfinite(frames.log_return[ticker, origin : origin + LONG]).all()
        if not (frames.usable[ticker, origin] and without_gap):
            continue
        tried.append(ticker)
        for step, paths in enumerate(walked(frames, ticker, origin, LONG)):
            volatility = path_volatility(paths)
            found = path_features(paths, NAMES, volatility)
            assert found.shape == (1, 1 if step == 0 else 2, len(NAMES))
            expected = frames.features[ticker, origin + step]
            np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(volatility, frames.volatility[ticker, origin + step], rtol=1e-6)
    assert len(tried) >= 2


def test_jumps_are_clipped_and_a_constant_price_has_the_minimum_volatility() -> None:
    frames = frames_of_returns(wild_rows())
    assert np.abs(frames.log_return[0, 1:]).max() > 0.3
    assert np.nanmin(frames.volatility_20) == np.float32(1e-3)
    for origin in (80, 140, 196):
        for step, paths in enumerate(walked(frames, 0, origin, 60)):
            volatility = path_volatility(paths)
            np.testing.assert_allclose(volatility, frames.volatility[0, origin + step], rtol=1e-5)
            found = path_features(paths, NAMES, volatility)[0, 0]
            np.testing.assert_allclose(found, frames.features[0, origin + step], rtol=1e-5, atol=1e-5)


def test_a_gap_before_the_origin_is_no_return() -> None:
    frames = frames_of_returns(random_market(500, 4))
    gap = int(np.flatnonzero(~np.isfinite(frames.log_return[1, 100:]))[0]) + 100
    for step, paths in enumerate(walked(frames, 1, gap + 4, 30)):
        found = path_features(paths, NAMES, path_volatility(paths))[0, 0]
        np.testing.assert_allclose(found, frames.features[1, gap + 4 + step], rtol=1e-6, atol=1e-6)


def test_paths_do_not_mix() -> None:
    frames = frames_of_returns(random_market(300, 3))
    ticker, session = np.array([0, 2, 1]), np.array([150, 260, 200])
    draws = 0.02 * np.random.default_rng(0).standard_normal((3, 4, 25))
    paths = start_paths(return_histories(frames), ticker, session)
    for step in range(25):
        paths = advance_paths(paths, draws[..., step])
    whole = path_features(paths, NAMES, path_volatility(paths))
    for i in range(3):
        for p in range(4):
            alone = start_paths(return_histories(frames), ticker[i : i + 1], session[i : i + 1])
            for step in range(25):
                alone = advance_paths(alone, draws[i : i + 1, p : p + 1, step])
            features = path_features(alone, NAMES, path_volatility(alone))
            np.testing.assert_allclose(features[0, 0], whole[i, p], rtol=1e-12)


@pytest.mark.parametrize("origin", [150, 250])
def test_paths_begin_from_nothing_after_their_origin(frames: Frames, origin: int) -> None:
    later = np.arange(len(frames.sessions)) > origin
    spoilt = replace(frames, log_return=np.where(later, np.float32(0.1), frames.log_return))
    before, after = (
        start_paths(return_histories(some_frames), np.arange(3), np.full(3, origin)) for some_frames in (frames, spoilt)
    )
    for name in ("past_returns", "sampled_returns", "squares", "weight"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    earlier = replace(frames, log_return=np.where(later, frames.log_return, frames.log_return * np.float32(1.1)))
    assert not np.array_equal(
        start_paths(return_histories(earlier), np.arange(3), np.full(3, origin)).past_returns, before.past_returns
    )


# --- Which features have a model of their own ---


def test_only_features_of_own_returns_are_accepted() -> None:
    refuse_unmodelled_features(NAMES)
    assert set(NAMES) <= {feature.name for feature in FEATURES}
    for feature in FEATURES:
        if feature.name not in NAMES:
            with pytest.raises(
                UsageError, match=f"found {feature.name} with recursive horizons, expected only"
            ) as refused:
                refuse_unmodelled_features(("log_return", feature.name))
            assert all(name in str(refused.value) for name in NAMES)


def test_an_accepted_feature_is_a_function_of_returns_alone() -> None:
    """Other opens, highs, lows, volumes and other tickers change none of their bits."""
    rows = random_market(300, 3)
    other = dict(rows)
    for name, ticker_rows in rows.items():
        body = ticker_rows[["open", "close"]]
        other[name] = ticker_rows.assign(
            open=ticker_rows["close"],
            high=body.max(axis=1) * 1.02,
            low=body.min(axis=1) * 0.97,
            volume=ticker_rows["volume"] * 2 + 7,
        )
    first, second = frames_of_returns(rows), frames_of_returns({"T0": other["T0"], "T2": other["T2"]})
    np.testing.assert_array_equal(first.of(("T0", "T2")).features[:, -200:], second.features[:, -200:])


# --- Draws ---


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(8, 300), st.integers(0, 59), st.integers(0, 2**32))
def test_every_slice_of_the_levels_holds_one_draw(paths: int, step: int, key: int) -> None:
    levels = path_levels(np.array([key, key + 1], dtype=np.uint64), step, paths)
    assert levels.shape == (2, paths)
    for sorted_levels in np.sort(levels, axis=1):
        assert (np.floor(sorted_levels * paths) == np.arange(paths)).all()


def test_draws_are_fair_and_steps_independent() -> None:
    keys = np.arange(4000, dtype=np.uint64)
    first, second = (path_levels(keys, step, 16) for step in (0, 1))
    place = [np.floor(levels * 16).astype(int) for levels in (first, second)]
    for bins in (*place, np.floor(first * 16 % 1 * 10).astype(int), np.floor(second * 16 % 1 * 10).astype(int)):
        for path in (0, 5, 15):
            counts = np.bincount(bins[:, path])
            assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 50  # chi squared, at most 15 degrees
    assert abs(np.corrcoef(first[:, 3], second[:, 3])[0, 1]) < 0.06
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < 0.06
    assert abs(np.corrcoef(first[:, 0] * 16 % 1, first[:, 0])[0, 1] - 0.0) < 0.12  # the place within a slice is free


def test_an_origin_has_its_own_draws_by_ticker_and_date(frames: Frames) -> None:
    ticker, session = np.array([0, 0, 1, 3]), np.array([100, 101, 100, 100])
    keys = origin_keys(frames, ticker, session)
    assert len(set(keys.tolist())) == 4
    for other in (frames.of(("T3", "T1", "T0")), frames.until(150)):
        rows = np.array([other.tickers.index(frames.tickers[row]) for row in ticker])
        assert origin_keys(other, rows, session).tolist() == keys.tolist()
    cut = replace(frames, sessions=frames.sessions[60:])
    assert origin_keys(cut, ticker, session - 60).tolist() == keys.tolist()  # by date, not by place
    assert origin_keys(replace(frames, tickers=("A", "B", "C", "D")), ticker, session).tolist() != keys.tolist()


def slow_mixed(number: int) -> int:
    """One step of splitmix64, with whole numbers."""
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)


@pytest.mark.parametrize("step", [0, 3])
def test_the_draws_of_an_origin_equal_a_plain_loop(step: int) -> None:
    """A change of these numbers would change every recursive forecast that was ever issued."""
    assert slow_mixed(0) == 0xE220A8397B1DCDAF  # the first number of splitmix64 with seed 0, as published
    key, paths = 12345, 8
    drawn = [slow_mixed(key ^ slow_mixed(2 * paths * step + place)) for place in range(2 * paths)]
    order = sorted(range(paths), key=lambda path: drawn[path])
    expected = [(order[path] + (drawn[paths + path] >> 11) / 2**53) / paths for path in range(paths)]
    found = path_levels(np.array([key], dtype=np.uint64), step, paths)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def slow_quantile(values: list[float], level: float) -> float:
    """Between the two sorted values whose levels (k - 1/2) / n lie around the level; the outermost beyond them."""
    ascending, count = sorted(values), len(values)
    place = min(max(level * count - 0.5, 0), count - 1)
    below = min(int(place), count - 2)
    return ascending[below] + (place - below) * (ascending[below + 1] - ascending[below])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(8, 400), st.integers(0, 2**31))
def test_quantiles_of_paths_against_a_plain_loop(paths: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((3, paths))
    levels = (0.001, 0.05, 0.25, 0.5, 0.9, 0.999)
    expected = [[slow_quantile(row, level) for level in levels] for row in values.tolist()]
    np.testing.assert_allclose(path_quantiles(values, levels), expected, atol=1e-12)


def test_the_quantiles_of_an_origin_are_the_same_bits_whatever_else_is_forecast() -> None:
    values, levels = np.random.default_rng(1).standard_normal((50, 64)), (0.05, 0.1, 0.5, 0.95)
    whole = path_quantiles(values, levels)
    for row in range(50):
        assert path_quantiles(values[row : row + 1], levels).tobytes() == whole[row].tobytes()
    assert (path_quantiles(8 * values, levels) / 8).tobytes() == whole.tobytes()


def test_the_middles_of_equal_slices_give_their_levels_back() -> None:
    values = np.random.default_rng(0).permutation((np.arange(64) + 0.5) / 64)[None]
    np.testing.assert_allclose(path_quantiles(values, (0.05, 0.5, 0.95)), [[0.05, 0.5, 0.95]], atol=1e-12)
