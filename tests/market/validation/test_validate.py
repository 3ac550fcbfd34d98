"""Validation as a whole: accepted tickers, exclusions with their reasons, stale tickers."""

import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.bars import COLUMNS, Listing, ValidatedBars
from pipeline.market.calendars import age_sessions
from pipeline.market.in_memory import open_sample
from pipeline.market.validation.normalisation import normalise
from pipeline.market.validation.validate import ValidationTerms, load_bars, validate
from tests.market.rows import NOW, good_rows

TERMS = ValidationTerms("close", has_actions=True, now=NOW, minimum_sessions=40)


def _validate(rows: pd.DataFrame, minimum_sessions: int = 40, max_age_sessions: int | None = None) -> ValidatedBars:
    return validate({"AAPL": rows}, ValidationTerms("adj_close", True, NOW, minimum_sessions, max_age_sessions))


def _unit_changed_at(row: int) -> pd.DataFrame:
    rows = good_rows()
    rows.loc[row:, ["open", "high", "low", "close", "adj_close"]] *= 100.0
    return rows


def test_the_rows_before_the_end_stay_and_the_ticker_is_not_forecast() -> None:
    validated = _validate(_unit_changed_at(40))
    assert len(validated.bars.frame) == 45
    assert validated.bars.tickers == ("AAPL",)
    assert validated.excluded[0].reason.startswith("bars end early: 2024-04-08: found close")
    assert validated.excluded[0].reason.endswith("(and 1 more problem)")


def test_an_early_end_leaves_too_few() -> None:
    validated = _validate(_unit_changed_at(10))
    assert validated.bars.tickers == ()
    assert validated.excluded[0].reason.startswith(
        "15 usable sessions, at least 40 are needed: 2024-02-23: found close"
    )


def test_too_few_sessions_say_the_minimum_and_why_where_rows_were_quarantined() -> None:
    validated = _validate(good_rows().head(39))
    assert validated.excluded[0].reason == "39 usable sessions, at least 40 are needed; ask for a longer history"
    assert _validate(good_rows().head(40)).excluded == ()
    assert "0 usable sessions" in _validate(good_rows().head(0)).excluded[0].reason
    spoilt = good_rows().head(45).assign(volume=lambda rows: rows["volume"].where(rows.index < 38, -1.0))
    assert (
        "38 usable sessions, at least 40 are needed: 2024-03-27: found volume -" in _validate(spoilt).excluded[0].reason
    )


def test_one_bad_ticker_does_not_touch_the_others() -> None:
    rows = {
        "AAPL": good_rows(),
        "BAD": good_rows().drop(columns="close"),
        "GONE": SourceError("unknown ticker"),
        "LATE": SourceUnavailableError("try again later"),
        "<b>": good_rows(),
        "../x": good_rows(),
        "X.NOWHERE": good_rows(),
        "TWICE": pd.concat([good_rows(), good_rows()[["close"]]], axis=1),
    }
    validated = validate(rows, TERMS)
    assert validated.bars.tickers == ("AAPL",)
    reasons = {out.ticker: out.reason for out in validated.excluded}
    assert "no column close" in reasons["BAD"]
    assert reasons["GONE"] == "unknown ticker"
    assert reasons["LATE"] == "try again later"
    assert "as a ticker, expected 1 to 32" in reasons["<b>"]
    assert "as a ticker" in reasons["../x"]
    assert ".NOWHERE" in reasons["X.NOWHERE"]
    assert "close more than once" in reasons["TWICE"]


def test_nothing_left_is_empty_bars_of_the_right_shape() -> None:
    validated = validate({"GONE": SourceError("unknown ticker")}, TERMS)
    whole = _validate(good_rows()).bars.frame
    assert validated.bars.frame.empty
    assert validated.bars.listings == ()
    assert validated.bars.frame.dtypes.equals(whole.dtypes)


def test_bars_are_sorted_and_typed() -> None:
    validated = validate({"MSFT": good_rows(seed=1), "AAPL": good_rows()}, TERMS)
    frame = validated.bars.frame
    assert tuple(frame.columns) == COLUMNS
    assert validated.bars.tickers == ("AAPL", "MSFT")
    assert frame.equals(frame.sort_values(["ticker", "session"], ignore_index=True))
    assert str(frame["session"].dtype) == "datetime64[s]"
    assert str(frame["ticker"].dtype) == "str"
    assert (frame.dtypes.iloc[2:] == "float64").all()
    ticker_rows = frame[frame["ticker"] == "MSFT"].drop(columns="ticker").reset_index(drop=True)
    pd.testing.assert_frame_equal(ticker_rows, good_rows(seed=1), check_like=True)


def test_missing_optional_columns_are_filled_and_others_ignored() -> None:
    rows = good_rows().drop(columns=["adj_close", "dividend", "split"]).assign(mood="good")
    frame = validate({"AAPL": rows}, ValidationTerms("close", False, NOW, 40)).bars.frame
    assert (frame["adj_close"] == frame["close"]).all()
    assert (frame["dividend"] == 0).all()
    assert (frame["split"] == 1).all()
    assert "mood" not in frame


def test_what_is_let_in_is_never_the_caller_s_own_memory() -> None:
    rows = normalise("AAPL", good_rows()).frame
    frame = _validate(rows).bars.frame
    assert not any(np.shares_memory(frame[name].to_numpy(), rows[name].to_numpy()) for name in COLUMNS[1:])


def test_a_session_that_is_not_over_is_quarantined_before_any_check() -> None:
    rows = good_rows()
    rows.loc[59, "close"] = -1.0
    day = rows["session"].iloc[-1]
    during = datetime(day.year, day.month, day.day, 19, 59, tzinfo=UTC)
    validated = validate({"AAPL": rows}, ValidationTerms("adj_close", True, during, 40))
    assert (len(validated.bars.frame), validated.excluded) == (59, ())
    assert [problem.rule for problem in validated.problems] == ["unfinished"]
    over = validate({"AAPL": rows}, ValidationTerms("adj_close", True, during.replace(hour=20, minute=0), 40))
    assert [problem.rule for problem in over.problems] == ["price"]


def test_bars_of_several_calendars_stand_side_by_side() -> None:
    around_the_clock = good_rows().assign(session=pd.date_range("2024-01-01", periods=60).astype("datetime64[s]"))
    validated = validate({"BTC-USD": around_the_clock, "AAPL": good_rows(), "VOD.L": good_rows()}, TERMS)
    assert validated.bars.tickers == ("AAPL", "BTC-USD", "VOD.L")
    assert validated.bars.calendars == ("24/7", "XLON", "XNYS")
    assert len(validated.bars.of_calendar("24/7").frame) == 60
    assert validated.excluded == ()


def test_a_currency_that_is_known_goes_before_the_one_by_name() -> None:
    terms = ValidationTerms("close", True, NOW, 40, listings={"VOD.L": Listing("VOD.L", "XLON", "GBP")})
    validated = validate({"VOD.L": good_rows(), "AAPL": good_rows()}, terms)
    assert validated.bars.listings == (Listing("AAPL", "XNYS", "USD"), Listing("VOD.L", "XLON", "GBP"))


@pytest.mark.parametrize(("age", "stale"), [(4, True), (5, False), (None, False)])
def test_an_old_last_bar_is_not_forecast(age: int | None, stale: bool) -> None:
    now = datetime(2024, 5, 3, 21, tzinfo=UTC)
    rows = good_rows()  # to 2024-04-26: five sessions are over since
    validated = validate({"AAPL": rows}, ValidationTerms("adj_close", True, now, 40, age))
    assert bool(validated.excluded) == stale
    assert len(validated.bars.frame) == 60
    assert [problem.rule for problem in validated.problems] == ["stale_tail"] * stale
    if stale:
        assert "a last bar 5 sessions old, at most 4 are allowed" in validated.excluded[0].reason


def test_a_dead_ticker_goes_stale_though_its_rows_go_on() -> None:
    rows = good_rows()
    rows.loc[40:, ["open", "high", "low", "close"]] = rows.loc[40, "close"]
    validated = validate({"AAPL": rows}, ValidationTerms("close", False, datetime(2024, 4, 27, tzinfo=UTC), 40, 5))
    assert "a last bar 10 sessions old" in validated.excluded[0].reason


def _blank_tail(count: int) -> pd.DataFrame:
    rows = good_rows()
    rows.loc[rows.index >= len(rows) - count, ["open", "high", "low", "close"]] = np.nan
    return rows


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_ticker_without_its_last_rows_is_reported_as_stale(count: int) -> None:
    validated = _validate(_blank_tail(count))
    last = str(good_rows()["session"].iloc[-1 - count].date())
    assert validated.excluded == ()
    assert [(stale.ticker, stale.last_session) for stale in validated.stale] == ([("AAPL", last)] if count else [])
    assert all(f"its rows after {last} were quarantined" in stale.reason for stale in validated.stale)
    assert all("expected four prices" in stale.reason for stale in validated.stale)
    ages = [stale.age_sessions for stale in _validate(_blank_tail(0).iloc[:-1]).stale + validated.stale]
    assert ages == ([age_sessions("XNYS", np.datetime64(last), NOW)] if count else [])


def test_two_different_last_rows_are_no_last_row() -> None:
    rows = good_rows()
    twice = pd.concat([rows, rows.tail(1).assign(close=rows["low"].iloc[-1])], ignore_index=True)
    (stale,) = _validate(twice).stale
    assert stale.last_session == str(rows["session"].iloc[-2].date())


def test_what_is_quarantined_amid_the_rows_or_is_no_bar_makes_nothing_stale() -> None:
    amid = good_rows()
    amid.loc[50, "close"] = np.nan
    saturday = good_rows().tail(1).assign(session=pd.Timestamp("2024-05-04"))
    assert _validate(amid).stale == ()
    assert _validate(pd.concat([good_rows(), saturday], ignore_index=True)).stale == ()


def test_an_early_end_is_not_reported_as_age_too() -> None:
    assert "stale_tail" not in {problem.rule for problem in _validate(_unit_changed_at(40), 40, 5).problems}


def test_a_time_that_the_calendar_does_not_know_is_each_ticker_s_reason() -> None:
    validated = validate({"AAPL": good_rows()}, ValidationTerms("close", True, datetime(2999, 1, 1, tzinfo=UTC), 40))
    assert "update exchange_calendars" in validated.excluded[0].reason


def test_load_asks_for_what_is_named_and_for_all_where_nothing_is() -> None:
    assert load_bars(open_sample(), ["FB", "FB", "IBM"], NOW, 40).bars.tickers == ("FB", "IBM")
    assert len(load_bars(open_sample(), [], NOW, 40).bars.tickers) == 5
    partial = load_bars(open_sample(), ["AAPL", "APPL"], NOW, 40)
    assert partial.bars.tickers == ("AAPL",)
    assert "did you mean AAPL" in partial.excluded[0].reason
    old = load_bars(open_sample(), ["AAPL"], NOW, 40, max_age_sessions=5)
    assert "sessions old" in old.excluded[0].reason


def test_a_hundred_tickers_of_twenty_years_take_a_fraction_of_a_second() -> None:
    long = normalise("T", good_rows(5400, after="2003-01-01")).frame
    rows = {f"T{k:03d}": long for k in range(100)}
    validate({"T": long}, TERMS)  # the calendar is built once for the process
    begun = time.perf_counter()
    validated = validate(rows, TERMS)
    assert time.perf_counter() - begun < 0.6
    assert len(validated.bars.tickers) == 100
