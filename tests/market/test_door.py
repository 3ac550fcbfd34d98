"""The door: each kind of bad row, and what becomes of its ticker and of the others."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.bars import COLUMNS, Admitted
from pipeline.market.door import SHOWN_PER_RULE, admit, load
from pipeline.market.sample import open_sample

from .rows import NOW, good_rows

BAD_ROW = 50


def _admit(rows: pd.DataFrame, minimum_sessions: int = 40) -> Admitted:
    return admit({"AAPL": rows}, "adj_close", NOW, minimum_sessions)


def _with(name: str, value: object, row: int = BAD_ROW) -> pd.DataFrame:
    rows = good_rows().astype({name: object}) if isinstance(value, str) else good_rows()
    rows.loc[row, name] = value
    return rows


def _swapped() -> pd.DataFrame:
    order = np.arange(60)
    order[[BAD_ROW - 1, BAD_ROW]] = BAD_ROW, BAD_ROW - 1
    return good_rows().iloc[order].reset_index(drop=True)


def _repeated() -> pd.DataFrame:
    return good_rows().iloc[[*range(BAD_ROW), *range(BAD_ROW - 1, 59)]].reset_index(drop=True)


def _low_above_high() -> pd.DataFrame:
    rows = good_rows()
    low, high = rows.loc[BAD_ROW, "low"], rows.loc[BAD_ROW, "high"]
    rows.loc[BAD_ROW, ["low", "high"]] = [high, low]
    return rows


def _written(offset: Callable[[int], str]) -> pd.DataFrame:
    rows = good_rows()
    days = rows["session"].dt.strftime("%Y-%m-%d")
    return rows.assign(session=[f"{day} 00:00:00{offset(row)}" for row, day in enumerate(days)])


@pytest.mark.parametrize(
    ("rows", "found", "expected"),
    [
        (_with("session", "2/1/2024"), "date '2/1/2024'", "a date such as"),
        (_with("session", pd.NaT), "date NaT", "a date such as"),
        (_with("session", pd.Timestamp("1823-01-01")), "date 1823-01-01", "a date such as"),
        (_swapped(), "2024-04-12 after 2024-04-15", "ascending order"),
        (_repeated(), "2024-04-12 a second time", "one row per session"),
        (_written(lambda row: "-05:00" if row < BAD_ROW else ""), "without a time zone", "all dates with a time zone"),
        (_written(lambda row: "" if row < BAD_ROW else "Z"), "with a time zone", "all dates without a time zone"),
        (_written(lambda row: "-05:00" if row != BAD_ROW else "+05:30"), r"offset \+5\.5 h", "at most an hour"),
        (_with("open", np.nan), "open nan", "a positive number"),
        (_with("high", np.inf), "high inf", "a positive number"),
        (_with("low", "n/a"), "low 'n/a'", "a positive number"),
        (_with("close", -5.0), r"close -5\.0", "a positive number"),
        (_with("close", 0.0), r"close 0\.0", "a positive number"),
        (_with("volume", np.nan), "volume nan", "not below 0"),
        (_with("volume", -1.0), r"volume -1\.0", "not below 0"),
        (_with("adj_close", 0.0), r"adj_close 0\.0", "a positive number"),
        (_with("dividend", -0.1), r"dividend -0\.1", "not below 0"),
        (_with("split", 0.0), r"split 0\.0", "a positive number"),
        (_low_above_high(), r"high \S+ below", "high not below"),
        (_with("low", 999.0), r"high \S+ below 999", "high not below"),
        (_with("low", 107.0), "low 107 above", "low not above"),
        (_with("close", 999.0), r"high \S+ below 999", "high not below"),
    ],
)
def test_a_bad_row_ends_its_ticker_there(rows: pd.DataFrame, found: str, expected: str) -> None:
    admitted = _admit(rows)
    fields = list(COLUMNS[2:])
    pd.testing.assert_frame_equal(admitted.bars.frame[fields], rows.head(BAD_ROW)[fields].astype(float))
    first = next(problem for problem in admitted.problems if problem.fatal)
    assert re.search(found, first.found)
    assert expected in first.expected
    (out,) = admitted.left_out
    assert out.ticker == "AAPL"
    assert first.found in out.reason
    assert "bars end early" in out.reason


def test_a_bad_row_among_the_first_leaves_too_few() -> None:
    admitted = _admit(_with("close", -5.0, row=10))
    assert admitted.bars.tickers == ()
    assert admitted.left_out[0].reason.startswith("10 usable sessions, at least 40 are needed: 2024-02-15: found close")


def test_too_few_sessions_say_the_minimum() -> None:
    admitted = _admit(good_rows().head(39))
    assert admitted.left_out[0].reason == "39 usable sessions, at least 40 are needed; ask for a longer history"
    assert _admit(good_rows().head(40)).left_out == ()
    assert "0 usable sessions" in _admit(good_rows().head(0)).left_out[0].reason


def test_every_problem_is_listed_and_many_are_counted() -> None:
    rows = good_rows()
    rows.loc[45:, "close"] = np.nan
    rows.loc[47, "volume"] = -1.0
    admitted = _admit(rows)
    assert len(admitted.problems) == 16
    assert "(16 problems in all)" in admitted.left_out[0].reason
    rows.loc[20:, "open"] = 0.0
    opens = [problem.found for problem in _admit(rows, 10).problems if problem.expected.endswith("open")]
    assert opens == ["open 0.0"] * SHOWN_PER_RULE + ["20 more such rows"]


def test_rounding_of_prices_is_no_fault() -> None:
    rows = good_rows()
    rows["low"] = rows[["open", "close"]].min(axis=1) * (1 + 5e-7)
    rows["high"] = rows[["open", "close"]].max(axis=1) * (1 - 5e-7)
    assert _admit(rows).left_out == ()


def test_one_bad_ticker_does_not_touch_the_others() -> None:
    rows = {
        "AAPL": good_rows(),
        "BAD": good_rows().drop(columns="close"),
        "GONE": SourceError("unknown ticker"),
        "LATE": SourceUnavailableError("try again later"),
        "<b>": good_rows(),
        "../x": good_rows(),
        "TWICE": pd.concat([good_rows(), good_rows()[["close"]]], axis=1),
    }
    admitted = admit(rows, "close", NOW, 40)
    assert admitted.bars.tickers == ("AAPL",)
    reasons = {out.ticker: out.reason for out in admitted.left_out}
    assert "no column close" in reasons["BAD"]
    assert reasons["GONE"] == "unknown ticker"
    assert reasons["LATE"] == "try again later"
    assert "as a ticker, expected 1 to 32" in reasons["<b>"]
    assert "as a ticker" in reasons["../x"]
    assert "close more than once" in reasons["TWICE"]


def test_nothing_left_is_empty_bars_of_the_right_shape() -> None:
    admitted = admit({"GONE": SourceError("unknown ticker")}, "close", NOW, 40)
    whole = _admit(good_rows()).bars.frame
    assert admitted.bars.frame.empty
    assert admitted.bars.listings == ()
    assert admitted.bars.frame.dtypes.equals(whole.dtypes)


def test_bars_are_sorted_and_typed() -> None:
    admitted = admit({"MSFT": good_rows(seed=1), "AAPL": good_rows()}, "adj_close", NOW, 40)
    frame = admitted.bars.frame
    assert tuple(frame.columns) == COLUMNS
    assert admitted.bars.tickers == ("AAPL", "MSFT")
    assert frame.equals(frame.sort_values(["ticker", "session"], ignore_index=True))
    assert str(frame["session"].dtype) == "datetime64[s]"
    assert str(frame["ticker"].dtype) == "str"
    assert (frame.dtypes.iloc[2:] == "float64").all()


def test_missing_optional_columns_are_filled_and_others_ignored() -> None:
    rows = good_rows().drop(columns=["adj_close", "dividend", "split"]).assign(mood="good")
    frame = _admit(rows).bars.frame
    assert (frame["adj_close"] == frame["close"]).all()
    assert (frame["dividend"] == 0).all()
    assert (frame["split"] == 1).all()
    assert "mood" not in frame


def test_a_session_that_is_not_over_is_put_aside_before_any_check() -> None:
    rows = good_rows()
    rows.loc[59, ["open", "high", "low", "close"]] = np.nan
    day = rows["session"].iloc[-1]
    during = datetime(day.year, day.month, day.day, 19, 59, tzinfo=UTC)
    admitted = admit({"AAPL": rows}, "adj_close", during, 40)
    assert admitted.left_out == ()
    assert len(admitted.bars.frame) == 59
    (note,) = admitted.problems
    assert not note.fatal
    assert "not over" in note.found
    assert admit({"AAPL": rows}, "adj_close", during.replace(hour=20, minute=0), 40).left_out != ()


def test_a_day_without_trading_is_put_aside_and_mentioned() -> None:
    rows = good_rows()
    rows.loc[0, "session"] = pd.Timestamp("2024-01-01")
    admitted = _admit(rows)
    assert (len(admitted.bars.frame), admitted.left_out) == (59, ())
    (note,) = admitted.problems
    assert (note.session, note.fatal) == ("2024-01-01", False)
    assert "XNYS" in note.found


def test_the_calendar_of_most_tickers_is_kept() -> None:
    names = ["VOD.L", "AAPL", "MSFT", "BTC-USD", "BAD.L"]
    rows: dict[str, pd.DataFrame | SourceError] = {name: good_rows() for name in names}
    rows["BAD.L"] = SourceError("unknown ticker")
    admitted = admit(rows, "close", NOW, 40)
    assert admitted.bars.tickers == ("AAPL", "MSFT")
    reasons = {out.ticker: out.reason for out in admitted.left_out}
    assert "calendar XLON, this run on XNYS with 2 of 4 tickers" in reasons["VOD.L"]
    assert "24/7" in reasons["BTC-USD"]
    assert reasons["BAD.L"] == "unknown ticker"
    tied = admit({"VOD.L": good_rows(), "AAPL": good_rows()}, "close", NOW, 40)
    assert tied.bars.tickers == ("VOD.L",)


def test_a_time_that_the_calendar_does_not_know_is_each_ticker_s_reason() -> None:
    admitted = admit({"AAPL": good_rows()}, "close", datetime(2999, 1, 1, tzinfo=UTC), 40)
    assert "update exchange_calendars" in admitted.left_out[0].reason


def test_load_asks_for_what_is_named_and_for_all_where_nothing_is() -> None:
    assert load(open_sample(), ["FB", "FB", "IBM"], NOW, 40).bars.tickers == ("FB", "IBM")
    assert len(load(open_sample(), [], NOW, 40).bars.tickers) == 5
    partial = load(open_sample(), ["AAPL", "APPL"], NOW, 40)
    assert partial.bars.tickers == ("AAPL",)
    assert "did you mean AAPL" in partial.left_out[0].reason


def test_a_hundred_tickers_of_twenty_years_take_well_under_two_seconds() -> None:
    long = good_rows(5400, after="2003-01-01")
    begun = time.perf_counter()
    admitted = admit({f"T{k:03d}": long for k in range(100)}, "close", NOW, 40)
    assert time.perf_counter() - begun < 2.0
    assert len(admitted.bars.tickers) == 100
