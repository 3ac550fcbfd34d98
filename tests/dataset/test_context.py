"""The context of features: the market's members, means over them and over sectors, and the index."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.dataset.context import (
    Context,
    index_among,
    index_series,
    market_mean,
    market_member_mask,
    sector_mean,
    session_mean,
)
from pipeline.dataset.features import build_features, select_features
from pipeline.dataset.panel import Panel, build_panel
from pipeline.dataset.targets import origin_volatility
from pipeline.dataset.ticker_features import RETURN_LIMIT, clip_returns
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from tests.dataset.calendar_bars import at, bars_on
from tests.panels import panel_of, random_market

SHAPE = (4, 6)
VALUES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(np.float64, SHAPE, elements=VALUES), arrays(np.bool_, SHAPE))
def test_means_are_over_the_members_that_have_a_value(values: np.ndarray, members: np.ndarray) -> None:
    found, everywhere = session_mean(values, members), market_mean(values, members)
    for session in range(SHAPE[1]):
        known = [
            values[k, session] for k in range(SHAPE[0]) if members[k, session] and math.isfinite(values[k, session])
        ]
        expected = sum(known) / len(known) if known else math.nan
        assert found[session] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
        for k in range(SHAPE[0]):
            there = found[session] if math.isfinite(values[k, session]) else math.nan
            np.testing.assert_equal(everywhere[k, session], there)


@pytest.mark.parametrize("minimum", [1, 5, 31, 61])
def test_a_member_is_named_has_enough_own_sessions_and_belongs(minimum: int) -> None:
    panel = panel_of(random_market(60, 4))
    membership = np.random.default_rng(1).uniform(size=panel.present.shape) < 0.7
    always = market_member_mask(panel, ("T0", "T1", "T3", "ABSENT"), minimum, None)
    found = market_member_mask(panel, ("T0", "T1", "T3", "ABSENT"), minimum, membership)
    for k, ticker in enumerate(panel.tickers):
        n_sessions = 0
        for session in range(len(panel.sessions)):
            n_sessions += bool(panel.present[k, session])
            expected = ticker in ("T0", "T1", "T3") and n_sessions >= minimum
            assert always[k, session] == expected
            assert found[k, session] == (expected and membership[k, session])


def test_returns_are_clipped_on_both_sides() -> None:
    returns = np.array([-2.0, -0.1, 0.0, 0.2, 5.0])
    np.testing.assert_array_equal(clip_returns(returns), [-RETURN_LIMIT, -0.1, 0.0, 0.2, RETURN_LIMIT])


SECTOR_SHAPE = (5, 6)
SECTOR_VALUES = st.floats(-1e6, 1e6) | st.just(math.nan)
SECTORS = st.lists(st.sampled_from(["tech", "banks", None]), min_size=5, max_size=5)


def mean_of(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(np.float64, SECTOR_SHAPE, elements=SECTOR_VALUES), arrays(np.bool_, SECTOR_SHAPE), SECTORS)
def test_a_sector_s_mean_is_over_its_members_or_else_over_the_market(
    values: np.ndarray, members: np.ndarray, sectors: list[str | None]
) -> None:
    found = sector_mean(values, members, sectors)
    for j in range(SECTOR_SHAPE[1]):
        with_value = [k for k in range(SECTOR_SHAPE[0]) if members[k, j] and math.isfinite(values[k, j])]
        for i in range(SECTOR_SHAPE[0]):
            sector_values = [values[k, j] for k in with_value if sectors[i] is not None and sectors[k] == sectors[i]]
            expected = mean_of(sector_values or [values[k, j] for k in with_value])
            expected = expected if math.isfinite(values[i, j]) else math.nan
            assert found[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_the_own_ticker_is_among_the_members_of_its_sector() -> None:
    values = np.array([[1.0], [3.0], [50.0]])
    found = sector_mean(values, np.ones((3, 1), dtype=bool), ("tech", "tech", "banks"))
    assert found.ravel().tolist() == [2.0, 2.0, 50.0]


# --- The index: one ticker of the run, of the own calendar or of another ---

LAST = date(2024, 3, 28)
INDEX = select_features(("index_return", "index_log_range"))


def bars(calendar: str, tickers: tuple[str, ...], seed: int) -> Bars:
    return bars_on(calendar, tickers, seed, LAST)


def index_values(panel: Panel, every: tuple[Bars, ...], ticker: str, minimum_sessions: int = 1) -> np.ndarray:
    context = Context(index=index_among(every, ticker, minimum_sessions))
    return build_features(panel, INDEX, panel.tickers, context=context)


def test_an_index_of_the_own_calendar_is_read_at_the_same_session() -> None:
    us = bars("XNYS", ("A", "SPY"), 1)
    panel = build_panel(us)
    found = index_values(panel, (us,), "SPY")
    features = build_features(panel, select_features(("log_return", "log_range")), panel.tickers)
    unit = origin_volatility(panel)
    np.testing.assert_allclose(found[0, 20:, 0], (features[1, :, 0] * unit[1] / unit[0])[20:], rtol=1e-6)
    np.testing.assert_array_equal(found[0, :, 1], features[1, :, 1])
    np.testing.assert_array_equal(found[1, :, 1], features[1, :, 1])


def test_an_index_of_another_calendar_is_joined_by_closing_instant() -> None:
    us, india = bars("XNYS", ("SPY",), 1), bars("XBOM", ("I.NS",), 2)
    panel, in_us = build_panel(india), build_panel(us)
    found = index_values(panel, (india, us), "SPY")[0]
    index_range = build_features(in_us, select_features(("log_range",)), in_us.tickers)[0, :, 0]
    # Mumbai closes at 10:00 UTC: it knows New York's session of the day before
    assert at(panel, found[:, 1], "2024-02-14") == at(in_us, index_range, "2024-02-13")
    expected = at(in_us, in_us.log_return[0], "2024-02-13") / at(panel, origin_volatility(panel)[0], "2024-02-14")
    assert at(panel, found[:, 0], "2024-02-14") == pytest.approx(expected, rel=1e-6)


def test_a_gap_of_the_index_has_return_zero_and_its_range_is_carried_forward() -> None:
    us = bars("XNYS", ("A", "SPY"), 1)
    gone = (us.frame["ticker"] == "SPY") & (us.frame["session"] == np.datetime64("2024-02-14"))
    holed = replace(us, frame=us.frame[~gone].reset_index(drop=True))
    panel = build_panel(holed)
    found = index_values(panel, (holed,), "SPY")[0]
    assert at(panel, found[:, 0], "2024-02-14") == 0
    assert at(panel, found[:, 1], "2024-02-14") == at(panel, found[:, 1], "2024-02-13")


def test_an_index_counts_once_it_has_enough_sessions_and_must_be_among_the_tickers() -> None:
    us = bars("XNYS", ("A", "SPY"), 1)
    panel = build_panel(us)
    found = index_values(panel, (us,), "SPY", 30)[0]
    assert np.isnan(found[:29, 1]).all()
    assert np.isfinite(found[29:, 1]).all()
    assert np.isfinite(found[30:, 0]).all()
    assert len(index_series(panel, "SPY", 30).returns.closed_at) == len(panel.sessions) - 29
    with pytest.raises(UsageError, match=r"no bars of the index \^GSPC, expected it among the run's tickers"):
        index_among((us,), "^GSPC", 1)


def test_an_index_that_ended_is_reported() -> None:
    us = bars("XNYS", ("A", "SPY"), 1)
    over = (us.frame["ticker"] == "SPY") & (us.frame["session"] > np.datetime64("2024-02-14"))
    ended = replace(us, frame=us.frame[~over].reset_index(drop=True))
    with pytest.raises(
        UsageError, match=r"the index SPY: at the close of 2024-02-29T21.* since 2024-02-14T21.*14 days"
    ):
        index_values(build_panel(ended), (ended,), "SPY")
