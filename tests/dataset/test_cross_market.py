"""Returns of other calendars, joined by closing instant: by hand, by plain loops, independent of later closes."""

import itertools
import math
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.context import Context, MarketReturns, cross_market_returns, market_member_mask, market_returns
from pipeline.dataset.features import build_features, select_features
from pipeline.dataset.panel import Panel, build_panel
from pipeline.dataset.targets import origin_volatility
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars
from pipeline.market.calendars import closing_instants
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.stages import frames_of
from tests.dataset.calendar_bars import at, bars_on
from tests.panels import TINY

CROSS_MARKET = select_features(("cross_market_return",))


def panel_on(calendar: str, tickers: tuple[str, ...], seed: int) -> Panel:
    return build_panel(bars_on(calendar, tickers, seed))


def of_all(panel: Panel, minimum_sessions: int = 1) -> MarketReturns:
    return market_returns(panel, market_member_mask(panel, panel.tickers, minimum_sessions, None))


def slow_returns(panel: Panel, others: list[MarketReturns]) -> list[float]:
    """What closed since the previous session, by plain loops over instants."""
    ends = closing_instants(panel.calendar, panel.sessions)
    found = [math.nan]
    for previous, close in itertools.pairwise(ends):
        parts = []
        for other in others:
            known = [(end, r) for end, r in zip(other.closed_at, other.log_return, strict=True) if not math.isnan(r)]
            if any(end <= previous for end, _ in known):
                parts.append(sum(r for end, r in known if previous < end <= close))
        found.append(sum(parts) / len(parts) if parts else math.nan)
    return found


def own_returns(panel: Panel, *sessions: str) -> float:
    return sum(at(panel, np.clip(panel.log_return[0], -0.3, 0.3), session) for session in sessions)


def test_a_weekend_of_crypto_is_summed_into_monday_and_a_day_counts_once_it_is_over() -> None:
    us, coins = panel_on("XNYS", ("A",), 1), panel_on("24/7", ("BTC-USD",), 2)
    found = cross_market_returns(us, [of_all(coins)])
    # the coin's Friday ends at midnight UTC, after New York's close
    assert at(us, found, "2024-06-10") == pytest.approx(own_returns(coins, "2024-06-07", "2024-06-08", "2024-06-09"))
    assert at(us, found, "2024-06-11") == pytest.approx(own_returns(coins, "2024-06-10"))
    # Wednesday before Thanksgiving to the half day on Friday: two days of the coin
    assert at(us, found, "2024-11-29") == pytest.approx(own_returns(coins, "2024-11-27", "2024-11-28"))


def test_new_york_reaches_mumbai_the_next_day_and_mumbai_reaches_new_york_the_same_day() -> None:
    us, india = panel_on("XNYS", ("A",), 1), panel_on("XBOM", ("I.NS",), 2)
    in_mumbai, in_new_york = cross_market_returns(india, [of_all(us)]), cross_market_returns(us, [of_all(india)])
    assert at(india, in_mumbai, "2024-06-12") == pytest.approx(own_returns(us, "2024-06-11"))
    assert at(us, in_new_york, "2024-06-12") == pytest.approx(own_returns(india, "2024-06-12"))
    # Thursday's close in New York comes after Mumbai's half past three, and before Friday's evening hour of Diwali
    assert at(india, in_mumbai, "2024-11-01") == pytest.approx(own_returns(us, "2024-10-31"))
    # the half day in New York ends at 18:00 UTC: London, closed at 16:30, sees it on Monday
    london = panel_on("XLON", ("L.L",), 3)
    assert at(london, cross_market_returns(london, [of_all(us)]), "2024-12-02") == pytest.approx(
        own_returns(us, "2024-11-29")
    )
    # nothing closed in New York between London's close on Wednesday evening of Thanksgiving and on Friday but Wednesday
    assert at(london, cross_market_returns(london, [of_all(us)]), "2024-11-29") == 0.0


def test_the_other_calendars_are_averaged_over_those_that_have_begun() -> None:
    us, india, coins = (
        panel_on(c, (t,), k) for k, (c, t) in enumerate({"XNYS": "A", "XBOM": "B", "24/7": "C"}.items())
    )
    late = replace(of_all(coins), log_return=np.where(coins.sessions < np.datetime64("2024-07-01"), np.nan, 0.01))
    both, first, second = (cross_market_returns(us, o) for o in ([of_all(india), late], [of_all(india)], [late]))
    before, after = us.sessions <= np.datetime64("2024-07-02"), us.sessions > np.datetime64("2024-07-02")
    np.testing.assert_array_equal(both[before], first[before])
    np.testing.assert_allclose(both[after], (first[after] + second[after]) / 2, rtol=1e-12)
    assert np.isnan(second[before]).all()
    assert np.isfinite(second[after]).all()


@pytest.mark.parametrize("calendar", ["XNYS", "XBOM", "24/7", "XTKS"])
def test_real_calendars_join_like_a_plain_loop(calendar: str) -> None:
    panel = panel_on(calendar, ("A", "B"), 5)
    others = [
        of_all(panel_on(c, ("C", "D"), 6 + k), 10) for k, c in enumerate(("XNYS", "XLON", "24/7")) if c != calendar
    ]
    np.testing.assert_allclose(cross_market_returns(panel, others), slow_returns(panel, others), rtol=1e-10, atol=1e-14)


SECONDS = st.integers(-3 * 86400, 40 * 86400)
RETURNS = st.floats(-0.3, 0.3) | st.just(math.nan)
ONE_CALENDAR = st.lists(st.tuples(SECONDS, RETURNS), max_size=60, unique_by=lambda pair: pair[0])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.tuples(SECONDS, RETURNS), max_size=60, unique_by=lambda pair: pair[0]), min_size=1, max_size=3)
)
def test_any_closing_times_join_like_a_plain_loop(calendars: list[list[tuple[int, float]]]) -> None:
    panel = TINY_PANEL
    begin = np.datetime64("2024-01-02T21:00:00", "s")
    others = [
        MarketReturns(
            closed_at=np.array(
                [begin + np.timedelta64(second, "s") for second, _ in sorted(calendar)], "datetime64[s]"
            ),
            log_return=np.array([value for _, value in sorted(calendar)], np.float64),
        )
        for calendar in calendars
    ]
    np.testing.assert_allclose(cross_market_returns(panel, others), slow_returns(panel, others), rtol=1e-10, atol=1e-14)


TINY_PANEL = build_panel(bars_on("XNYS", ("A",), 1, date(2024, 2, 9)))


def test_a_close_at_the_same_second_counts_and_one_a_second_later_does_not() -> None:
    us, london = panel_on("XNYS", ("A",), 1), of_all(panel_on("XLON", ("L.L",), 2))
    end = closing_instants("XNYS", us.sessions)[100]
    k = int(np.searchsorted(london.closed_at, end, "right")) - 1  # London's last session before it
    whole = cross_market_returns(us, [london])

    def shifted(instant: np.datetime64) -> Floats:
        closed_at = london.closed_at.copy()
        closed_at[k] = instant
        return cross_market_returns(us, [replace(london, closed_at=closed_at)])

    np.testing.assert_array_equal(shifted(end), whole)
    late = shifted(end + np.timedelta64(1, "s"))
    assert late[100] == 0.0
    assert late[101] == pytest.approx(whole[100] + whole[101])


def garbage_from(other: MarketReturns, first: np.datetime64) -> MarketReturns:
    """Other returns in every session that ends at or after an instant."""
    wild = np.random.default_rng(9).uniform(-0.3, 0.3, len(other.log_return))
    return replace(other, log_return=np.where(other.closed_at >= first, wild, other.log_return))


@pytest.mark.parametrize("origin", [21, 60, 130, 230])
def test_what_closes_on_other_calendars_after_an_origin_changes_no_bit_at_it(origin: int) -> None:
    us = panel_on("XNYS", ("A", "B"), 1)
    others = [of_all(panel_on(calendar, ("C",), 7 + k)) for k, calendar in enumerate(("XBOM", "XLON", "24/7"))]
    end = closing_instants("XNYS", us.sessions)[origin]

    def values(first_garbage: np.datetime64) -> np.ndarray:
        context = Context(cross_market=tuple(garbage_from(other, first_garbage) for other in others))
        return build_features(us, CROSS_MARKET, us.tickers, 1, context)[..., 0]

    whole = build_features(us, CROSS_MARKET, us.tickers, 1, Context(cross_market=tuple(others)))[..., 0]
    later = values(end + np.timedelta64(1, "s"))
    assert (
        np.ascontiguousarray(later[:, : origin + 1]).tobytes() == np.ascontiguousarray(whole[:, : origin + 1]).tobytes()
    )
    assert (later[:, origin + 1 :] != whole[:, origin + 1 :]).all()
    newest = max(other.closed_at[other.closed_at <= end][-1] for other in others)
    assert (values(newest)[:, origin] != whole[:, origin]).all()


def test_bars_of_other_calendars_after_an_origin_change_no_bit_of_the_frames_at_it() -> None:
    """The same through bars, panels and frames: the other calendar goes on differently, or ends there."""
    us, coins = bars_on("XNYS", ("A", "B"), 1), bars_on("24/7", ("BTC-USD", "ETH-USD"), 5)
    origin, experiment = np.datetime64("2024-09-03"), experiment_with()
    ended = coins.frame["session"] <= pd.Timestamp("2024-09-02")  # the coin's day of the origin ends after it
    other = bars_on("24/7", ("BTC-USD", "ETH-USD"), 50).frame
    prices = ["open", "high", "low", "close", "volume", "dividend", "split"]
    mixed = coins.frame.copy()
    mixed.loc[~ended, prices] = other.loc[~ended, prices]
    whole = frames_of(us, experiment, others=[coins])
    place = int(np.flatnonzero(whole.sessions == origin)[0])
    for spoilt in (mixed, coins.frame[ended].reset_index(drop=True)):
        frames = frames_of(us, experiment, others=[replace(coins, frame=spoilt)])
        before, now = (np.ascontiguousarray(f.features[:, : place + 1]).tobytes() for f in (whole, frames))
        assert before == now
        assert (frames.features[:, place + 1] != whole.features[:, place + 1]).any()


def experiment_with(*more: str) -> Experiment:
    return TINY.model_copy(update={"features": ("log_return", "cross_market_return", *more)})


def test_the_feature_begins_right_after_its_warm_up_in_units_of_the_ticker_s_volatility() -> None:
    us, coins = panel_on("XNYS", ("A", "B"), 1), of_all(panel_on("24/7", ("BTC-USD",), 5))
    value = build_features(us, CROSS_MARKET, us.tickers, 1, Context(cross_market=(coins,)))[..., 0]
    assert np.isnan(value[:, : CROSS_MARKET[0].warm_up]).all()
    assert np.isfinite(value[:, CROSS_MARKET[0].warm_up :]).all()
    eager = build_features(us, (replace(CROSS_MARKET[0], warm_up=0),), us.tickers, 1, Context(cross_market=(coins,)))
    assert [int(np.flatnonzero(np.isfinite(row))[0]) for row in eager[..., 0]] == [CROSS_MARKET[0].warm_up] * 2
    expected = (cross_market_returns(us, [coins]) / origin_volatility(us))[:, CROSS_MARKET[0].warm_up :]
    np.testing.assert_allclose(value[:, CROSS_MARKET[0].warm_up :], expected, rtol=1e-6)


def test_a_member_of_another_calendar_counts_once_it_has_enough_sessions_and_while_it_belongs() -> None:
    us, coins = bars_on("XNYS", ("A",), 1), bars_on("24/7", ("BTC-USD", "ETH-USD"), 5)
    alone = replace(coins.of_calendar("24/7"), listings=coins.listings[:1])
    alone = replace(alone, frame=alone.frame[alone.frame["ticker"] == "BTC-USD"].reset_index(drop=True))
    spells = (
        MembershipPeriod("A", None, None),
        MembershipPeriod("BTC-USD", None, None),
        MembershipPeriod("ETH-USD", date(2024, 7, 1), None),
    )
    universe = Universe("dated", ("A", "BTC-USD", "ETH-USD"), spells)

    def values(market_members: tuple[str, ...] | None, other: Bars, known: Universe | None = None) -> Floats32:
        return (
            frames_of(us, experiment_with(), market_members, [other], known)
            .with_features(("cross_market_return",))
            .features[0, :, 0]
        )

    dated, both, one = values(None, coins, universe), values(None, coins), values(None, alone)
    july = int(np.flatnonzero(frames_of(us, TINY).sessions == np.datetime64("2024-07-02"))[0])
    np.testing.assert_array_equal(dated[:july], one[:july])
    np.testing.assert_array_equal(dated[july + 1 :], both[july + 1 :])
    assert (dated[july + 1 :] != one[july + 1 :]).all()
    np.testing.assert_array_equal(values(("A", "BTC-USD"), coins), one)  # only those named count
    np.testing.assert_array_equal(values(("A",), coins), both)  # all of them, where none is named
    first = int(np.flatnonzero(np.isfinite(one))[0])
    closed = (
        coins.frame["session"]
        .drop_duplicates()
        .to_numpy()
        .astype("datetime64[D]")[experiment_with().minimum_sessions - 1]
    )
    sessions = frames_of(us, TINY).sessions
    assert sessions[first - 2] <= closed < sessions[first]  # known at the previous session's close


def test_the_feature_without_another_calendar_is_refused() -> None:
    with pytest.raises(
        UsageError, match="cross_market_return needs tickers of other calendars, found only those of XNYS"
    ):
        frames_of(bars_on("XNYS", ("A",), 1), experiment_with())


def test_other_calendars_change_nothing_where_no_feature_asks_for_them() -> None:
    us, coins = bars_on("XNYS", ("A",), 1), bars_on("24/7", ("BTC-USD",), 5)
    unread = Bars(coins.frame.iloc[:0], (), "actions")  # no panel could be made of it
    alone, with_others = frames_of(us, TINY), frames_of(us, TINY, others=[coins, unread])
    assert alone.features.tobytes() == with_others.features.tobytes()
    assert np.array_equal(alone.usable, with_others.usable)


def test_days_that_the_own_calendar_does_not_have_have_no_value() -> None:
    us, coins = panel_on("XNYS", ("A",), 1), of_all(panel_on("24/7", ("C",), 2))
    stray = replace(
        us, sessions=np.where(us.sessions == np.datetime64("2024-06-07"), np.datetime64("2024-06-08"), us.sessions)
    )
    found, whole = cross_market_returns(stray, [coins]), cross_market_returns(us, [coins])
    place = int(np.flatnonzero(us.sessions == np.datetime64("2024-06-07"))[0])
    assert np.isnan(found[place])
    assert found[place + 1] == pytest.approx(whole[place] + whole[place + 1])


def test_a_calendar_without_a_single_return_has_no_part() -> None:
    us, coins = panel_on("XNYS", ("A",), 1), of_all(panel_on("24/7", ("C",), 2))
    empty = replace(coins, log_return=np.full(len(coins.log_return), np.nan))
    np.testing.assert_array_equal(cross_market_returns(us, [coins, empty]), cross_market_returns(us, [coins]))
    assert np.isnan(cross_market_returns(us, [empty])).all()
    assert np.isnan(cross_market_returns(us, [])).all()
