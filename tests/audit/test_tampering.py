"""Tampering: what is kept is the very same, what replaces the rest is valid, and all of it is replaced."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audit.tampering import (
    TAMPERINGS,
    Cut,
    Tampering,
    days_of,
    held_copy,
    tampered,
    tampered_given,
    with_holes,
)
from pipeline.dataset.covariates.exogenous import Given
from pipeline.dataset.covariates.known import KnownCovariate
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.market.canonical import canonical
from pipeline.market.door import Terms, admit
from pipeline.market.held import HeldPrices
from pipeline.market.source import open_source
from pipeline.market.specification import SampleSource
from tests.panels import NOW, random_market, sessions_to

ROWS = random_market(300, 4)
SESSIONS = sessions_to(np.datetime64("2023-12-29"), 300)


def held(rows: dict[str, pd.DataFrame] | None = None) -> HeldPrices:
    return HeldPrices(rows or ROWS, "as_traded", has_actions=True, returns_from="actions", note="made up")


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.sampled_from(TAMPERINGS), st.integers(1, 297), st.integers(0, 3))
def test_what_is_kept_is_the_same_and_every_later_row_is_another(how: Tampering, at: int, seed: int) -> None:
    cut = Cut("XNYS", SESSIONS[at])
    copy = tampered(held(), how, cut, seed)
    assert set(copy.frames) == set(ROWS)
    for ticker, rows in ROWS.items():
        spoilt, early, late = copy.frames[ticker], days_of(rows) <= cut.origin, days_of(rows) > cut.origin
        pd.testing.assert_frame_equal(spoilt[days_of(spoilt) <= cut.origin], rows[early], check_exact=True)
        later = spoilt[days_of(spoilt) > cut.origin]
        assert set(later["session"]) <= set(rows["session"][late])
        both = rows[late].merge(later, on="session")
        same = both["close_x"] == both["close_y"]
        assert len(both) >= 0.85 * late.sum()
        # of a few sessions a shuffled copy may leave one in its place
        assert same.sum() <= (0 if how == "garbage" else max(3, 0.1 * len(both)))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.integers(30, 250), st.integers(0, 5))
def test_garbage_passes_the_door(at: int, seed: int) -> None:
    copy = tampered(held(), "garbage", Cut("XNYS", SESSIONS[at]), seed)
    admitted = admit(copy.frames, Terms("actions", True, NOW, 20))
    assert admitted.left_out == ()
    rules = {problem.rule for problem in admitted.problems if problem.session > str(SESSIONS[at])}
    assert rules <= {"missing_sessions", "vendor_adjustment"}, admitted.problems


def test_garbage_acts_and_has_gaps() -> None:
    cut = Cut("XNYS", SESSIONS[30])
    copies = [tampered(held(), "garbage", cut, seed).frames for seed in range(4)]
    later = pd.concat([rows[days_of(rows) > cut.origin] for copy in copies for rows in copy.values()])
    assert (later["split"] != 1.0).sum() > 3
    assert (later["dividend"] > 0).sum() > 20
    original = sum(int((days_of(rows) > cut.origin).sum()) for rows in ROWS.values())
    assert len(later) < 4 * original
    assert later["adj_close"].notna().all()


def test_a_shuffled_copy_jumps_for_some_tickers_and_goes_on_for_the_others() -> None:
    cut = Cut("XNYS", SESSIONS[100])
    rows = {ticker: frame.copy() for ticker, frame in ROWS.items()}
    for frame in rows.values():  # sixfold within the later half, where no split tells of it
        frame.loc[days_of(frame) > SESSIONS[200], ["open", "high", "low", "close"]] *= 6.0
    copy = tampered(held(rows), "shuffled", cut, 0)
    ends = {}
    for ticker, frame in copy.frames.items():
        admitted = admit({ticker: frame}, Terms("close", False, NOW, 20))
        bars = admitted.bars.frame
        day = bars["session"].to_numpy().astype("datetime64[D]")
        at = int((day <= cut.origin).sum())
        move = abs(np.diff(np.log(bars["close"].to_numpy())))[at - 1 :]
        ends[ticker] = int((move > 1.0).sum())
    jumping = sorted(ticker for ticker, count in ends.items() if count > 10)
    assert len(jumping) == 2, ends
    assert all(count <= 1 for ticker, count in ends.items() if ticker not in jumping), ends


def test_text_and_whole_numbers_are_replaced_too() -> None:
    rows = ROWS["T0"].assign(volume=ROWS["T0"]["volume"].astype(int), close=ROWS["T0"]["close"].astype(str))
    rows["session"] = rows["session"].dt.strftime("%Y-%m-%d")
    cut = Cut("XNYS", SESSIONS[100])
    for how in TAMPERINGS:
        spoilt = tampered(held({"T0": rows}), how, cut, 0).frames["T0"]
        found = canonical("T0", spoilt).frame
        whole = canonical("T0", rows).frame
        assert (found["close"][:101] == whole["close"][:101]).all()
        assert (found["close"][101:].to_numpy() != whole["close"][101 : len(found)].to_numpy()).mean() > 0.9
        assert np.isfinite(found["close"]).all()


def test_a_ticker_of_another_exchange_is_cut_where_the_origin_closed() -> None:
    cut = Cut("XNYS", np.datetime64("2023-12-20"))
    assert cut.last_kept("AAPL") == np.datetime64("2023-12-20")
    assert cut.last_kept("SAP.DE") == np.datetime64("2023-12-20")  # Frankfurt closed before New York
    abroad = Cut("XETR", np.datetime64("2023-12-20"))
    assert abroad.last_kept("AAPL") == np.datetime64("2023-12-19")


def test_a_hole_is_made_where_a_ticker_trades_before_and_after_and_does_not_act() -> None:
    sessions = [SESSIONS[250], SESSIONS[260], SESSIONS[270]]
    holed = with_holes(held(), sessions)
    gone = {ticker: set(days_of(rows)) - set(days_of(holed.frames[ticker])) for ticker, rows in ROWS.items()}
    assert sorted(day for days in gone.values() for day in days) == sessions
    assert max(len(days) for days in gone.values()) == 1
    assert with_holes(held(), [np.datetime64("2023-12-24")]).frames.keys() == ROWS.keys()  # a Sunday: nothing there
    acting = {ticker: rows.assign(dividend=0.1) for ticker, rows in ROWS.items()}
    assert all(len(rows) == len(acting[t]) for t, rows in with_holes(held(acting), sessions).frames.items())


def test_series_of_files_are_other_ones_only_where_the_origin_could_not_know_them() -> None:
    days = np.arange(SESSIONS[0] - 10, SESSIONS[-1] + 30)
    origin = np.datetime64("2023-11-22")  # the next session is a half day, after a holiday
    close = np.datetime64(datetime(2023, 11, 22, 21, tzinfo=UTC).replace(tzinfo=None), "s")
    known_from = np.sort(np.concatenate([days.astype("datetime64[s]"), [close, close + 1]]))
    values = np.random.default_rng(0).normal(size=len(known_from))
    told = Given(
        past=(PastCovariate("vix", known_from, values, False, 9.0, "vix.csv"),),
        known=(KnownCovariate("fed", days, np.arange(len(days)) + 1.0, "fed.csv"),),
    )
    spoilt = tampered_given(told, Cut("XNYS", origin), 2, 0)
    past, known = spoilt.past[0], spoilt.known[0]
    changed = np.not_equal(past.values, values)
    assert changed[known_from > close].all()
    assert not changed[known_from <= close].any()
    moved = np.not_equal(known.values, np.arange(len(days)) + 1.0)
    last_target = np.datetime64("2023-11-27")  # over the weekend
    assert moved[days > last_target].all()
    assert not moved[days <= last_target].any()


@pytest.mark.parametrize("how", TAMPERINGS)
def test_the_bundled_sample_stays_valid(how: Tampering) -> None:
    source = held_copy(open_source(SampleSource()), ("AAPL", "GOOG", "NOPE"))
    assert list(source.refused) == ["NOPE"]
    copy = tampered(source, how, Cut("XNYS", np.datetime64("2009-06-30")), 0)
    admitted = admit(copy.frames, Terms("adj_close", False, NOW, 100))
    assert admitted.left_out == ()
    assert len(admitted.bars.frame) > 0.9 * sum(map(len, source.frames.values()))
