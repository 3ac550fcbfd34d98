"""The calendar that bars do not fit: named where it is wrong, silent where the bars only have a few odd days."""

import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arrays import Sessions
from pipeline.market.bars import CalendarMismatch
from pipeline.market.calendars import sessions_between
from pipeline.market.files import open_files
from pipeline.market.in_memory import open_sample
from pipeline.market.validation.calendar_mismatch import TRIED_FIRST, calendar_mismatch
from pipeline.market.validation.validate import ValidationTerms, load_bars, validate
from tests.market.rows import NOW, SHARED, good_rows

FIRST, LAST = np.datetime64("2016-04-22"), np.datetime64("2021-04-21")
TODAY = np.datetime64("2024-12-30")

WITHOUT_SUFFIX = {
    "XBOM": (("INFY", "TCS", "M&M"), ("INFY.NS", "INFY.BO")),
    "XLON": (("VOD", "ULVR"), ("VOD.L", "VOD.IL")),
    "XTKS": (("7203", "6758"), ("7203.T",)),
    "XHKG": (("0700", "0005"), ("0700.HK",)),
    "XTSE": (("RY", "TD"), ("RY.V", "RY.TO", "RY.NE", "RY.CN")),
    "24/7": (("BTCUSDT", "ETHUSDT"), ("BTC-USDT",)),
}


def days_of(*texts: str) -> Sessions:
    return np.array(texts, "datetime64[D]")


def of(calendar: str, first: np.datetime64 = FIRST, last: np.datetime64 = LAST) -> Sessions:
    return sessions_between(calendar, first, last)


def with_days(days: Sessions, *added: str) -> Sessions:
    return np.union1d(days, days_of(*added))


def thinned(days: Sessions, share: float, seed: int) -> Sessions:
    """The days without a random share of them."""
    return days[np.random.default_rng(seed).uniform(size=len(days)) >= share]


def on_new_york(days: Mapping[str, Sessions]) -> CalendarMismatch | None:
    return calendar_mismatch("XNYS", days, TODAY)


# --- Wrong calendars ---


@pytest.mark.parametrize("calendar", WITHOUT_SUFFIX)
def test_tickers_without_their_suffix_are_found_and_their_exchange_is_named(calendar: str) -> None:
    names, spelled = WITHOUT_SUFFIX[calendar]
    found = on_new_york(dict.fromkeys(names, of(calendar)))
    assert found is not None
    assert (found.tickers, found.of_tickers) == (len(names), len(names))
    assert (found.looks_like, found.spellings) == (calendar, spelled)
    assert found.days == tuple(map(str, np.setdiff1d(of(calendar), of("XNYS"))))
    last = of(calendar)[-1]
    assert found.unused_sessions == tuple(map(str, np.setdiff1d(of("XNYS", FIRST, last), of(calendar))))
    assert f"{len(names)} of {len(names)} tickers read on XNYS have bars on {len(found.days)} days" in str(found)
    assert found.days[0] in str(found)
    assert f"These look like {calendar}: write {spelled[0]}" in str(found)
    assert f"`--exchange {calendar}`" in str(found)


@pytest.mark.parametrize("calendar", ["XBOM", "XLON"])
def test_gaps_odd_days_and_a_few_other_tickers_do_not_hide_it(calendar: str) -> None:
    days = {f"T{k}": thinned(of(calendar), 0.1, k) for k in range(8)}
    days["T0"] = with_days(days["T0"], "2018-03-03", "2019-07-06")  # two Saturdays of one ticker
    days |= {"AAPL": of("XNYS"), "MSFT": of("XNYS"), "NEW": of(calendar)[-40:]}
    found = on_new_york(days)
    assert found is not None
    assert found.looks_like == calendar
    assert (found.tickers, found.of_tickers) == (8, 11)  # the new one has no bar on such a day yet


def test_one_ticker_is_enough_where_another_calendar_explains_its_days() -> None:
    found = on_new_york({"INFY": of("XBOM")})
    assert found is not None
    assert found.looks_like == "XBOM"


def test_a_halt_of_months_does_not_hide_it() -> None:
    days = of("XBOM")
    found = on_new_york({"INFY": days[(days < np.datetime64("2018-03-01")) | (days > np.datetime64("2018-08-01"))]})
    assert found is not None
    assert found.looks_like == "XBOM"


@pytest.mark.parametrize(("calendar", "named"), [("XFRA", "XETR"), ("XAMS", "XPAR")])
def test_of_exchanges_with_the_same_sessions_one_is_named(calendar: str, named: str) -> None:
    found = on_new_york({"AAA": of(calendar), "BBB": of(calendar)})
    assert found is not None
    assert found.looks_like == named
    np.testing.assert_array_equal(of(named), of(calendar))


@pytest.mark.parametrize("calendar", ["XWAR", "XIDX", "XCSE"])
def test_a_less_likely_exchange_is_found_among_all_that_are_known(calendar: str) -> None:
    assert calendar not in TRIED_FIRST
    days = {f"T{k}": of(calendar) for k in range(3)}
    found = on_new_york(days)
    assert found is not None
    assert found.looks_like == calendar
    nearly = {ticker: with_days(found, "2019-12-25") for ticker, found in days.items()}  # contradicts it
    again = on_new_york(nearly)
    assert again is not None
    assert again.looks_like == calendar


def test_a_name_with_the_wrong_suffix_can_only_be_written_otherwise() -> None:
    found = calendar_mismatch("XBOM", {"AAPL.NS": of("XNYS"), "MSFT.NS": of("XNYS")}, TODAY)
    assert found is not None
    assert (found.looks_like, found.spellings) == ("XNYS", ("AAPL",))
    assert "write AAPL. Until then" in str(found)


def test_days_that_no_known_calendar_explains_are_reported_where_several_tickers_share_many() -> None:
    fridays = of("XNYS")[np.is_busday(of("XNYS"), weekmask="0000100")]
    closed = np.random.default_rng(3).choice(of("XNYS"), 60, replace=False)
    odd = np.setdiff1d(with_days(of("XNYS"), *map(str, fridays[::5] + 1)), closed)  # every fifth Saturday
    found = on_new_york({"AAA": odd, "BBB": odd})
    assert found is not None
    assert (found.looks_like, found.spellings) == (None, ())
    assert "No known calendar fits" in str(found)
    assert on_new_york({"AAA": odd}) is None  # one ticker's odd days are its own


def test_rows_filled_in_on_holidays_are_reported_as_such() -> None:
    weekdays = of("24/5")
    found = on_new_york({"AAA": weekdays, "BBB": weekdays})
    assert found is not None
    assert found.looks_like == "24/5"
    assert "rows filled in on days without trading look like this too" in str(found)


# --- Right calendars ---

LONG = of("XNYS", np.datetime64("2001-01-02"), LAST)
JANUARY = tuple(map(str, np.arange("2005-01", "2005-02", dtype="M8[D]")))
SATURDAYS = ("2017-05-06", "2018-06-09", "2019-08-10", "2020-02-08")


@pytest.mark.parametrize("calendar", ["XNYS", *WITHOUT_SUFFIX])
def test_bars_on_their_own_calendar_are_not_reported(calendar: str) -> None:
    days = {f"T{k}": thinned(of(calendar)[40 * k :], 0.02, k) for k in range(5)}
    assert calendar_mismatch(calendar, days, TODAY) is None
    assert calendar_mismatch(calendar, {"T": of(calendar)}, TODAY) is None


@pytest.mark.parametrize(
    "days",
    [
        {},
        {"AAA": days_of()},
        {"AAA": with_days(of("XNYS"), *SATURDAYS), "BBB": of("XNYS"), "CCC": of("XNYS")},
        {"AAA": with_days(of("XNYS"), *SATURDAYS, "2018-07-04", "2018-12-25")},
        dict.fromkeys("ABCDE", with_days(of("XNYS"), *SATURDAYS)),
        dict.fromkeys("ABCDE", with_days(of("XNYS"), "2019-11-28")),
        dict.fromkeys("ABCDE", with_days(of("XNYS"), "2019-11-28", "2020-01-20")),
        dict.fromkeys("ABC", with_days(of("XNYS")[:100], "2016-05-30", "2016-07-04")),
        dict.fromkeys("ABC", np.setdiff1d(of("XNYS"), of("XNYS")[100:180])),
        {"OLD": with_days(LONG, *JANUARY)} | dict.fromkeys("ABC", of("XNYS")),
        {"OLD": of("XBOM")} | dict.fromkeys("ABC", of("XNYS")[-20:]),
        dict.fromkeys("ABC", np.arange("1985-01-01", "1989-12-30", dtype="M8[D]")),
        dict.fromkeys("ABC", np.arange("2025-01-01", "2025-12-30", dtype="M8[D]")),
        {"US": of("XNYS"), "USA": of("XNYS"), "IN": of("XBOM")},
        dict.fromkeys("ABC", np.intersect1d(of("XNYS"), of("XLON"))),
        dict.fromkeys("ABC", of("XNYS")[::5]),
    ],
    ids=[
        "no ticker",
        "no bar",
        "odd days of one of three",
        "odd days of a single ticker",
        "a few weekend bars of all",
        "a bar on one holiday",
        "bars on two holidays",
        "bars on two holidays of a short history",
        "a gap in the whole file",
        "odd days while one ticker was alone",
        "one of four, long before the others",
        "before the calendar begins",
        "sessions that are not over",
        "a minority from elsewhere",
        "common sessions of two exchanges",
        "weekly bars",
    ],
)
def test_what_only_looks_odd_is_not_reported(days: dict[str, Sessions]) -> None:
    assert on_new_york(days) is None


def test_rows_without_prices_are_no_bars() -> None:
    """A table over all exchanges has a row for every ticker on every day that any of them trades."""
    rows = good_rows(900, "2019-12-31")
    frame = rows.set_index("session").reindex(pd.date_range("2020-01-01", "2023-06-30", freq="B").astype("M8[s]"))
    frame = frame.rename_axis("session").reset_index()
    terms = ValidationTerms("close", True, NOW, 100)
    assert validate({"AAA": frame, "BBB": frame}, terms).calendar_mismatches == ()
    filled = frame.ffill().bfill()
    (found,) = validate({"AAA": filled, "BBB": filled}, terms).calendar_mismatches
    assert found.looks_like == "24/5"


def test_the_bars_are_seen_as_delivered_where_validation_ends_them_early() -> None:
    around_the_clock = good_rows(600, "2021-01-04").assign(
        session=pd.date_range("2021-01-01", periods=600).astype("M8[s]")
    )
    validated = validate(
        {"BTCUSDT": around_the_clock, "ETHUSDT": around_the_clock}, ValidationTerms("close", True, NOW, 100)
    )
    assert validated.bars.tickers == ()
    (found,) = validated.calendar_mismatches
    assert (found.looks_like, found.spellings) == ("24/7", ("BTC-USDT",))


def test_each_calendar_is_judged_by_its_own_tickers() -> None:
    def rows(calendar: str) -> pd.DataFrame:
        sessions = of(calendar)[-500:].astype("M8[s]")
        return good_rows(500).assign(session=sessions)

    names = {"AAPL": "XNYS", "INFY.NS": "XBOM", "TCS.NS": "XBOM", "VOD.L": "XTKS", "ULVR.L": "XTKS"}
    validated = validate(
        {name: rows(calendar) for name, calendar in names.items()}, ValidationTerms("close", True, NOW, 100)
    )
    assert [(one.calendar, one.looks_like) for one in validated.calendar_mismatches] == [("XLON", "XTKS")]


# --- Real bars ---


def test_the_bundled_sample_is_not_reported() -> None:
    assert load_bars(open_sample(), [], NOW, 40).calendar_mismatches == ()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the large real data is not next to this checkout")
def test_no_real_file_is_reported() -> None:
    paths = [path for path in SHARED.iterdir() if path.name.endswith((".parquet", ".csv.gz", ".csv"))]
    assert paths
    for path in paths:
        source = open_files(path)
        assert load_bars(source, (), NOW, 60).calendar_mismatches == (), path.name
        for ticker in source.tickers()[:10]:
            assert load_bars(source, (ticker,), NOW, 60).calendar_mismatches == (), ticker


# --- Any calendar, any range ---


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([*WITHOUT_SUFFIX, "XETR", "XASX"]),
    st.sampled_from(["XNYS", "XLON", "XBOM"]),
    st.integers(0, 4000),
    st.integers(30, 2000),
    st.integers(1, 4),
)
def test_it_is_reported_exactly_where_three_days_are_lost(
    true: str, read_on: str, start: int, length: int, tickers: int
) -> None:
    days = of(true, np.datetime64("2006-01-02"), TODAY)[start : start + length]
    found = calendar_mismatch(read_on, {f"T{k}": days for k in range(tickers)}, TODAY)
    lost = np.setdiff1d(days, of(read_on, days[0], days[-1])) if len(days) else days
    if true == read_on or len(lost) < 3:
        assert found is None
    else:
        assert found is not None
        assert found.looks_like is not None
        np.testing.assert_array_equal(of(found.looks_like, days[0], days[-1]), days)
        assert found.days == tuple(map(str, lost))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["XNYS", "XLON", "XBOM", "XTKS"]),
    st.integers(200, 2500),
    st.integers(1, 6),
    st.floats(0, 0.2),
    st.lists(st.integers(0, 3600), max_size=2),
    st.integers(0, 9),
)
def test_right_bars_with_gaps_and_two_odd_days_are_never_reported(
    calendar: str, length: int, tickers: int, gaps: float, odd: list[int], seed: int
) -> None:
    sessions = of(calendar, np.datetime64("2010-01-04"), TODAY)[:length]
    spurious = np.datetime64("2010-01-04") + np.array(odd, int)
    days = {f"T{k}": np.union1d(thinned(sessions, gaps, seed + k), spurious) for k in range(tickers)}
    assert calendar_mismatch(calendar, days, TODAY) is None


def test_five_hundred_tickers_take_a_fraction_of_a_second() -> None:
    sessions = of("XNYS", np.datetime64("2001-01-02"), TODAY)[:5000]
    days = {f"T{k:03d}": sessions for k in range(500)}
    on_new_york({"T": sessions})  # the calendar is built once for the process
    begun = time.process_time()
    assert on_new_york(days) is None
    assert time.process_time() - begun < 0.2
