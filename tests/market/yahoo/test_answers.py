"""Frames as yfinance returns them, in all observed shapes, parsed into rows."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.yahoo.actions import whole_dividend
from pipeline.market.yahoo.answers import YahooResponse, parse_response, wall_dates
from tests.market.rows import good_rows, split_adjusted

ZONE = "America/New_York"
META = {"currency": "USD", "exchangeTimezoneName": ZONE, "gmtoffset": -18000}
AT = datetime(2024, 12, 31, 12, tzinfo=UTC)
NAMES = {"adj_close": "Adj Close", "dividend": "Dividends", "split": "Stock Splits"}


def frame_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as traded in the shape that yfinance gives its frames."""
    reported = split_adjusted(rows)
    reported["split"] = reported["split"].where(reported["split"] != 1.0, 0.0)
    named = reported.rename(columns=lambda name: NAMES.get(name, name.title())).set_index("Session")
    return named.tz_localize(ZONE).rename_axis("Date")


def read(frame: pd.DataFrame, **metadata: Any) -> FetchedRows:
    return parse_response(YahooResponse("AAPL", frame, META | metadata, AT), date(2024, 1, 1), None)


def same_but(got: FetchedRows, *other: str) -> None:
    traded = good_rows()
    for name in {"close", "adj_close", "volume", "dividend", "split"} - set(other):
        np.testing.assert_allclose(got.rows[name], traded[name], rtol=1e-12, err_msg=name)


def test_a_plain_frame_is_read() -> None:
    same_but(read(frame_of(good_rows())))


@pytest.mark.parametrize("price_first", [True, False])
def test_columns_in_two_levels_are_read(price_first: bool) -> None:
    frame = frame_of(good_rows())
    pairs = [(name, "AAPL") if price_first else ("AAPL", name) for name in frame.columns]
    same_but(read(frame.set_axis(pd.MultiIndex.from_tuples(pairs), axis="columns")))


def test_two_tickers_in_one_frame_are_an_unreadable_answer() -> None:
    frame = pd.concat({"AAPL": frame_of(good_rows()), "MSFT": frame_of(good_rows(seed=1))}, axis="columns", sort=False)
    with pytest.raises(SourceUnavailableError, match="more than once"):
        read(frame)


def test_without_an_adjusted_close_it_is_no_number() -> None:
    got = read(frame_of(good_rows()).drop(columns="Adj Close"))
    assert got.rows["adj_close"].isna().all()
    same_but(got, "adj_close")


def test_the_close_in_place_of_the_adjusted_close_is_none_where_a_dividend_was_paid() -> None:
    frame = frame_of(good_rows()).assign(**{"Adj Close": lambda frame: frame["Close"]})
    assert read(frame).rows["adj_close"].isna().all()
    assert read(frame.assign(Dividends=0.0)).rows["adj_close"].notna().all()


def test_columns_that_are_gone_are_named() -> None:
    with pytest.raises(SourceUnavailableError, match="found no open, volume, split, expected these columns"):
        read(frame_of(good_rows()).drop(columns=["Open", "Volume", "Stock Splits"]))


@pytest.mark.parametrize("index_name", ["Date", "Datetime", None])
def test_the_name_of_the_index_does_not_matter(index_name: str | None) -> None:
    same_but(read(frame_of(good_rows()).rename_axis(index_name)))


def test_a_frame_without_a_zone_is_read_as_wall_dates() -> None:
    same_but(read(frame_of(good_rows()).tz_localize(None)))


def test_rows_out_of_order_are_sorted() -> None:
    same_but(read(frame_of(good_rows()).iloc[::-1]))


def test_a_row_reported_twice_alike_is_dropped_without_a_word() -> None:
    frame = frame_of(good_rows())
    got = read(pd.concat([frame, frame.iloc[[10]]]))
    assert got.problems == ()
    same_but(got)


@pytest.mark.parametrize("row", [10, 59])
def test_of_two_rows_for_a_session_the_first_stays_and_it_is_recorded(row: int) -> None:
    frame = frame_of(good_rows())
    got = read(pd.concat([frame, frame.iloc[[row]] * 1.01]))
    ((rule, session),) = [(problem.rule, problem.session) for problem in got.problems]
    assert (rule, session) == ("repeated_session", str(good_rows()["session"].iloc[row].date()))
    same_but(got)


def test_an_empty_frame_is_a_failure() -> None:
    with pytest.raises(SourceUnavailableError, match="no rows of AAPL since 2024-01-01"):
        read(frame_of(good_rows()).iloc[:0])


def test_rows_that_all_lie_before_the_first_day_are_a_failure() -> None:
    with pytest.raises(SourceUnavailableError, match="no rows of AAPL since 2025-01-01"):
        parse_response(YahooResponse("AAPL", frame_of(good_rows()), META, AT), date(2025, 1, 1), date(2025, 1, 1))


@pytest.mark.parametrize("currency", [None, "", 1])
def test_a_currency_that_is_none_is_unreadable(currency: object) -> None:
    with pytest.raises(SourceUnavailableError, match="as the currency"):
        read(frame_of(good_rows()), currency=currency)


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"exchangeTimezoneName": "Asia/Tokyo"}, "bars in the zone America/New_York"),
        ({"exchangeTimezoneName": None}, "bars in the zone America/New_York"),
        ({"gmtoffset": 32400}, r"a clock \+9 h from UTC"),
    ],
)
def test_metadata_that_contradict_the_bars_are_refused(metadata: dict[str, Any], found: str) -> None:
    with pytest.raises(SourceUnavailableError, match=found):
        read(frame_of(good_rows()), **metadata)


def test_summer_and_winter_time_are_both_the_zones_own() -> None:
    for offset in (-18000, -14400):
        same_but(read(frame_of(good_rows()), gmtoffset=offset))


def test_an_unknown_zone_is_unreadable() -> None:
    with pytest.raises(SourceUnavailableError, match="name of a time zone"):
        read(frame_of(good_rows()).tz_localize(None), exchangeTimezoneName="Mars/Base")


def test_bars_off_midnight_are_refused() -> None:
    frame = frame_of(good_rows())
    with pytest.raises(SourceUnavailableError, match="a bar stamped 2024-02-01 20:00:00"):
        read(frame.set_axis(frame.index + pd.Timedelta(hours=20)))


def days(first: str, weekmask: str, zone: str) -> list[object]:
    index = pd.bdate_range(first, periods=15, freq="C", weekmask=weekmask).tz_localize(zone)
    return list(wall_dates(index, {"exchangeTimezoneName": zone}, AT))


@pytest.mark.parametrize(
    ("weekmask", "zone"),
    [
        ("Mon Tue Wed Thu Fri", "America/New_York"),
        ("Sun Mon Tue Wed Thu", "Asia/Riyadh"),
        ("Sun Mon Tue Wed Thu", "Africa/Cairo"),
        ("Mon Tue Wed Thu Fri Sat", "Asia/Kolkata"),
        ("Mon Tue Wed Thu Fri Sat Sun", "UTC"),
    ],
)
def test_weeks_that_exist_are_believed(weekmask: str, zone: str) -> None:
    assert len(days("2024-02-01", weekmask, zone)) == 15


@pytest.mark.parametrize(
    ("weekmask", "zone"),
    [("Sun Mon Tue Wed Thu", "America/New_York"), ("Tue Wed Thu Fri Sat", "Asia/Tokyo")],
)
def test_weeks_that_are_shifted_by_a_day_are_refused(weekmask: str, zone: str) -> None:
    with pytest.raises(SourceUnavailableError, match="days on which there is trading"):
        days("2024-02-01", weekmask, zone)


def test_midnight_that_the_clocks_skip_is_still_that_day() -> None:
    index = pd.DatetimeIndex(["2018-11-01", "2018-11-04 01:00", "2018-11-05"]).tz_localize("America/Sao_Paulo")
    found = wall_dates(index, {"exchangeTimezoneName": "America/Sao_Paulo"}, AT)
    assert [str(day.date()) for day in found] == ["2018-11-01", "2018-11-04", "2018-11-05"]


@pytest.mark.parametrize(
    ("fall", "dividend", "gains", "paid"),
    [
        (7.0, 1.0, 6.0, 7.0),  # a dividend that is too small to contain the gains
        (7.0, 7.0, 6.0, 7.0),  # the price fell by the dividend alone: the gains are within it
        (13.0, 7.0, 6.0, 13.0),  # the price fell by both
        (0.0, 2.0, 0.0, 2.0),
    ],
)
def test_gains_are_counted_once(fall: float, dividend: float, gains: float, paid: float) -> None:
    close = np.array([100.0, 100.0 - fall])
    got = whole_dividend(close, np.array([0.0, dividend]), np.array([0.0, gains]))
    np.testing.assert_allclose(got, [0.0, paid])


def test_each_day_of_a_fund_is_judged_by_itself_and_nothing_later_changes_it() -> None:
    close = np.array([100.0, 93.0, 86.0, 73.0])  # twice by the dividend alone, once by both
    dividend, gains = np.array([0.0, 7.0, 7.0, 7.0]), np.array([0.0, 6.0, 6.0, 6.0])
    whole = whole_dividend(close, dividend, gains)
    np.testing.assert_allclose(whole, [0.0, 7.0, 7.0, 13.0])
    for known in range(1, 4):
        np.testing.assert_array_equal(whole_dividend(close[:known], dividend[:known], gains[:known]), whole[:known])
