"""Tampering: rows up to the cut are unchanged, and every later row is replaced by a valid one."""

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
    in_memory_copy,
    tampered,
    tampered_covariates,
    with_holes,
)
from pipeline.dataset.covariates.from_files import FileCovariates
from pipeline.dataset.covariates.known_future import KnownFutureCovariate
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.market.bars import Listing
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.sources import open_source
from pipeline.market.specification import SampleSource
from pipeline.market.validation.normalisation import normalise
from pipeline.market.validation.validate import ValidationTerms, validate
from tests.panels import NOW, random_market, sessions_to

ROWS = random_market(300, 4)
SESSIONS = sessions_to(np.datetime64("2023-12-29"), 300)


def prices(rows: dict[str, pd.DataFrame] | None = None) -> InMemoryPrices:
    return InMemoryPrices(rows or ROWS, "as_traded", has_actions=True, returns_from="actions", note="made up")


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.sampled_from(TAMPERINGS), st.integers(1, 297), st.integers(0, 3))
def test_rows_up_to_the_cut_are_unchanged_and_every_later_row_is_replaced(
    tampering: Tampering, at: int, seed: int
) -> None:
    cut = Cut("XNYS", SESSIONS[at])
    copy = tampered(prices(), tampering, cut, seed)
    assert set(copy.frames) == set(ROWS)
    for ticker, rows in ROWS.items():
        changed, early, late = copy.frames[ticker], days_of(rows) <= cut.origin, days_of(rows) > cut.origin
        pd.testing.assert_frame_equal(changed[days_of(changed) <= cut.origin], rows[early], check_exact=True)
        later = changed[days_of(changed) > cut.origin]
        assert set(later["session"]) <= set(rows["session"][late])
        both = rows[late].merge(later, on="session")
        same = both["close_x"] == both["close_y"]
        assert len(both) >= 0.85 * late.sum()
        # of a few sessions a shuffled copy may leave some in place
        assert same.sum() <= (0 if tampering == "garbage" else max(3, 0.1 * len(both)))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.integers(30, 250), st.integers(0, 5))
def test_garbage_passes_validation(at: int, seed: int) -> None:
    copy = tampered(prices(), "garbage", Cut("XNYS", SESSIONS[at]), seed)
    validated = validate(copy.frames, ValidationTerms("actions", True, NOW, 20))
    assert validated.excluded == ()
    rules = {problem.rule for problem in validated.problems if problem.session > str(SESSIONS[at])}
    assert rules <= {"missing_sessions", "vendor_adjustment"}, validated.problems


def test_garbage_has_actions_and_gaps() -> None:
    cut = Cut("XNYS", SESSIONS[30])
    copies = [tampered(prices(), "garbage", cut, seed).frames for seed in range(4)]
    later = pd.concat([rows[days_of(rows) > cut.origin] for copy in copies for rows in copy.values()])
    assert (later["split"] != 1.0).sum() > 3
    assert (later["dividend"] > 0).sum() > 20
    original = sum(int((days_of(rows) > cut.origin).sum()) for rows in ROWS.values())
    assert len(later) < 4 * original
    assert later["adj_close"].notna().all()


def test_a_shuffled_copy_jumps_for_some_tickers_and_continues_for_the_others() -> None:
    cut = Cut("XNYS", SESSIONS[100])
    rows = {ticker: frame.copy() for ticker, frame in ROWS.items()}
    for frame in rows.values():  # sixfold within the later half, without a split
        frame.loc[days_of(frame) > SESSIONS[200], ["open", "high", "low", "close"]] *= 6.0
    copy = tampered(prices(rows), "shuffled", cut, 0)
    ends = {}
    for ticker, frame in copy.frames.items():
        validated = validate({ticker: frame}, ValidationTerms("close", False, NOW, 20))
        bars = validated.bars.frame
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
    for tampering in TAMPERINGS:
        changed = normalise("T0", tampered(prices({"T0": rows}), tampering, cut, 0).frames["T0"]).frame
        whole = normalise("T0", rows).frame
        assert (changed["close"][:101] == whole["close"][:101]).all()
        assert (changed["close"][101:].to_numpy() != whole["close"][101 : len(changed)].to_numpy()).mean() > 0.9
        assert np.isfinite(changed["close"]).all()


def test_a_ticker_of_another_exchange_is_cut_when_the_origin_closed() -> None:
    cut = Cut("XNYS", np.datetime64("2023-12-20"))
    assert cut.last_kept("AAPL") == np.datetime64("2023-12-20")
    assert cut.last_kept("SAP.DE") == np.datetime64("2023-12-20")  # Frankfurt closed before New York
    named = {"SAP": Listing("SAP", "XETR", "EUR"), "7203": Listing("7203", "XTKS", "JPY")}  # by the source
    tokyo = Cut("XTKS", np.datetime64("2023-12-20"), named)
    assert (tokyo.last_kept("SAP"), tokyo.last_kept("7203")) == (np.datetime64("2023-12-19"), tokyo.origin)
    frankfurt = Cut("XETR", np.datetime64("2023-12-20"))
    assert frankfurt.last_kept("AAPL") == np.datetime64("2023-12-19")


def test_a_hole_is_made_where_a_ticker_trades_before_and_after_without_an_action() -> None:
    sessions = [SESSIONS[250], SESSIONS[260], SESSIONS[270]]
    holed = with_holes(prices(), sessions)
    removed = {ticker: set(days_of(rows)) - set(days_of(holed.frames[ticker])) for ticker, rows in ROWS.items()}
    assert sorted(day for days in removed.values() for day in days) == sessions
    assert max(len(days) for days in removed.values()) == 1
    assert with_holes(prices(), [np.datetime64("2023-12-24")]).frames.keys() == ROWS.keys()  # a Sunday: nothing there
    with_actions = {ticker: rows.assign(dividend=0.1) for ticker, rows in ROWS.items()}
    assert all(
        len(rows) == len(with_actions[t]) for t, rows in with_holes(prices(with_actions), sessions).frames.items()
    )


def test_covariates_from_files_change_only_where_they_were_not_known_at_the_origin() -> None:
    days = np.arange(SESSIONS[0] - 10, SESSIONS[-1] + 30)
    origin = np.datetime64("2023-11-22")  # the next session is a half day, after a holiday
    close = np.datetime64(datetime(2023, 11, 22, 21, tzinfo=UTC).replace(tzinfo=None), "s")
    known_from = np.sort(np.concatenate([days.astype("datetime64[s]"), [close, close + 1]]))
    values = np.random.default_rng(0).normal(size=len(known_from))
    covariates = FileCovariates(
        past=(PastCovariate("vix", known_from, values, False, 9.0, "vix.csv"),),
        known_future=(KnownFutureCovariate("fed", days, np.arange(len(days)) + 1.0, "fed.csv"),),
    )
    changed_covariates = tampered_covariates(covariates, Cut("XNYS", origin), 2, 0)
    past, known = changed_covariates.past[0], changed_covariates.known_future[0]
    changed = np.not_equal(past.values, values)
    assert changed[known_from > close].all()
    assert not changed[known_from <= close].any()
    moved = np.not_equal(known.values, np.arange(len(days)) + 1.0)
    last_target = np.datetime64("2023-11-27")  # over the weekend
    assert moved[days > last_target].all()
    assert not moved[days <= last_target].any()


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_the_bundled_sample_stays_valid(tampering: Tampering) -> None:
    source = in_memory_copy(open_source(SampleSource()), ("AAPL", "GOOG", "NOPE"))
    assert list(source.refused) == ["NOPE"]
    copy = tampered(source, tampering, Cut("XNYS", np.datetime64("2009-06-30")), 0)
    validated = validate(copy.frames, ValidationTerms("adj_close", False, NOW, 100))
    assert validated.excluded == ()
    assert len(validated.bars.frame) > 0.9 * sum(map(len, source.frames.values()))
