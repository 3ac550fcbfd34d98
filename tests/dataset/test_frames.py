"""Frames: which origins are usable, what was known before a session, and the folder that workers open."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.frames import Frames, open_frames, save_frames
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.stages import frames_of
from tests.panels import TINY, bars_of, frames_from, random_market, random_rows

NAMES = ("tickers", "feature_names", "known_future_names")
ARRAYS = [field.name for field in fields(Frames) if field.name not in NAMES]
BY_TICKER = [name for name in ARRAYS if name not in ("sessions", "known_future")]
ASKING = TINY.model_copy(update={"calendar_covariates": ("day_of_week", "month_end")})


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(300, 4), ASKING)


def same(a: Frames, b: Frames) -> bool:
    names = all(getattr(a, name) == getattr(b, name) for name in NAMES)
    arrays = all(
        np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n not in ("sessions", "usable")) for n in ARRAYS
    )
    return names and arrays


def test_an_origin_is_usable_once_its_ticker_has_enough_own_sessions(frames: Frames) -> None:
    for i in range(len(frames.tickers)):
        n_sessions = 0
        for j in range(len(frames.sessions)):
            n_sessions += bool(np.isfinite(frames.reference_close[i, j]))
            expected = np.isfinite(frames.reference_close[i, j]) and n_sessions >= TINY.minimum_sessions
            assert frames.usable[i, j] == expected


def test_outside_its_membership_a_ticker_is_no_origin_and_nothing_else_changes(frames: Frames) -> None:
    sessions = frames.sessions
    spells = (
        *(MembershipPeriod(ticker, None, None) for ticker in ("T0", "T1", "T3")),
        MembershipPeriod("T2", sessions[100].item(), sessions[149].item()),
        MembershipPeriod("T2", sessions[200].item(), None),
    )
    bars = bars_of(random_market(300, 4))
    dated = frames_of(bars, TINY, ("T0", "T1", "T3"), universe=Universe("dated", ("T0", "T1", "T2", "T3"), spells))
    plain = frames_of(bars, TINY, ("T0", "T1", "T3"))
    inside = np.zeros(300, dtype=bool)
    inside[100:150] = inside[200:] = True
    np.testing.assert_array_equal(dated.usable[2], plain.usable[2] & inside)
    assert plain.usable[2, 80:100].all()
    assert same(replace(dated, usable=plain.usable), plain)
    np.testing.assert_array_equal(dated.usable[[0, 1, 3]], plain.usable[[0, 1, 3]])


def test_a_member_moves_the_market_only_while_it_belongs() -> None:
    bars = bars_of(random_market(300, 4))
    plain, fewer = frames_of(bars, TINY), frames_of(bars, TINY, ("T0", "T1", "T3"))
    last = plain.sessions[179].item()
    spells = tuple(MembershipPeriod(ticker, None, last if ticker == "T2" else None) for ticker in plain.tickers)
    dated = frames_of(bars, TINY, universe=Universe("dated", plain.tickers, spells))
    assert dated.features[:, :180].tobytes() == plain.features[:, :180].tobytes()
    assert dated.features[:, 180:].tobytes() == fewer.features[:, 180:].tobytes()
    assert not dated.usable[2, 180:].any()


def test_reading_begins_at_the_first_session_with_every_feature(frames: Frames) -> None:
    young = frames_from({"OLD": random_rows(100, 1), "YOUNG": random_rows(40, 2)})
    for some in (frames, young):
        for i, first in enumerate(some.first):
            whole = [j for j in range(len(some.sessions)) if all(np.isfinite(v) for v in some.features[i, j])]
            assert first == (whole[0] if whole else len(some.sessions))
            assert not whole or np.isfinite(some.reference_close[i, : first + 1]).sum() > 60  # the longest warm-up
    assert young.first[1] == 100


@pytest.mark.parametrize("stop", [1, 2, 150, 298, 299, 300])
def test_until_keeps_rows_before_the_stop_and_labels_known_before_it(frames: Frames, stop: int) -> None:
    cut = frames.until(stop)
    for name in set(BY_TICKER) - {"future_return"}:
        np.testing.assert_array_equal(getattr(cut, name), getattr(frames, name)[:, :stop])
    np.testing.assert_array_equal(cut.sessions, frames.sessions[:stop])
    np.testing.assert_array_equal(cut.known_future, frames.known_future[:stop])  # later targets stay known
    for t in range(stop):
        for h in range(1, frames.horizons + 1):
            expected = frames.future_return[:, t, h - 1] if t + h < stop else np.full(len(frames.tickers), np.nan)
            np.testing.assert_array_equal(cut.future_return[:, t, h - 1], expected)
    assert same(frames.until(len(frames.sessions)), frames)


def test_until_changes_nothing_of_the_whole(frames: Frames) -> None:
    before = frames.future_return.copy()
    frames.until(200)
    np.testing.assert_array_equal(frames.future_return, before)


def test_the_labels_of_a_cut_are_those_of_a_shorter_history() -> None:
    rows = random_market(200, 3)
    whole = frames_from(rows, ASKING)
    last = whole.sessions[150]
    shorter = frames_from(
        {ticker: frame[frame["session"].to_numpy() <= last] for ticker, frame in rows.items()}, ASKING
    )
    assert same(whole.until(151), shorter)


def test_tickers_and_features_are_selected_by_name(frames: Frames) -> None:
    chosen = frames.of(("T3", "T0")).with_features(("log_range", "log_return"))
    assert chosen.tickers == ("T3", "T0")
    assert chosen.feature_names == ("log_range", "log_return")
    columns = [frames.feature_names.index(name) for name in chosen.feature_names]
    np.testing.assert_array_equal(chosen.features, frames.features[[3, 0]][..., columns])
    np.testing.assert_array_equal(chosen.usable, frames.usable[[3, 0]])
    np.testing.assert_array_equal(chosen.known_future, frames.known_future)
    assert frames.of(frames.tickers) is frames
    with pytest.raises(ValueError, match="not in tuple"):
        frames.of(("NONE",))


def test_known_future_covariates_are_selected_by_name(frames: Frames) -> None:
    chosen = frames.with_known_future(("month_end", "weekday_cos_1"))
    assert chosen.known_future_names == ("month_end", "weekday_cos_1")
    np.testing.assert_array_equal(chosen.known_future, frames.known_future[..., [4, 1]])
    assert frames.with_known_future(frames.known_future_names) is frames
    assert frames.with_known_future(()).known_future.shape == (*frames.known_future.shape[:2], 0)
    with pytest.raises(ValueError, match="not in tuple"):
        frames.with_known_future(("moon",))


def test_frames_without_known_future_covariates_are_saved_and_opened(tmp_path: Path) -> None:
    plain = frames_from({"A": random_rows(80, 1), "B": random_rows(80, 2)})
    assert plain.known_future.shape == (80, TINY.horizons, 0)
    save_frames(plain, tmp_path)
    assert same(open_frames(tmp_path), plain)


def test_a_saved_folder_opens_memory_mapped_and_read_only(frames: Frames, tmp_path: Path) -> None:
    save_frames(frames, tmp_path / "deep" / "er")
    opened = open_frames(tmp_path / "deep" / "er")
    assert same(opened, frames)
    for name in ARRAYS:
        array = getattr(opened, name)
        assert isinstance(array, np.memmap)
        assert array.dtype == getattr(frames, name).dtype
        assert not array.flags.writeable
    assert same(opened.until(100).of(("T1",)), frames.until(100).of(("T1",)))


def test_a_folder_with_an_object_array_is_refused(frames: Frames, tmp_path: Path) -> None:
    save_frames(frames, tmp_path)
    np.save(tmp_path / "features.npy", np.array([{"code": "runs"}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        open_frames(tmp_path)
