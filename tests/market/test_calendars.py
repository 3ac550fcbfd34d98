"""Sessions and closing times against what the exchanges really did."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import TapecastError
from pipeline.market import calendars
from pipeline.market.sample import open_sample


@pytest.mark.parametrize(
    ("ticker", "calendar", "currency"),
    [
        ("AAPL", "XNYS", "USD"),
        ("BRK-B", "XNYS", "USD"),
        ("BF.B", "XNYS", "USD"),
        ("^GSPC", "XNYS", "USD"),
        ("M&M.NS", "XBOM", "INR"),
        ("TCS.BO", "XBOM", "INR"),
        ("VOD.L", "XLON", "GBp"),
        ("sap.de", "XETR", "EUR"),
        ("MC.PA", "XPAR", "EUR"),
        ("RY.TO", "XTSE", "CAD"),
        ("0700.HK", "XHKG", "HKD"),
        ("7203.T", "XTKS", "JPY"),
        ("BHP.AX", "XASX", "AUD"),
        ("BTC-USD", "24/7", "USD"),
        ("ETH-EUR", "24/7", "EUR"),
    ],
)
def test_the_suffix_tells_calendar_and_currency(ticker: str, calendar: str, currency: str) -> None:
    listing = calendars.listing_of(ticker)
    assert (listing.ticker, listing.calendar, listing.currency) == (ticker, calendar, currency)
    assert calendars.calendar_of(ticker) == calendar


@pytest.mark.parametrize("calendar", sorted({code for code, _ in calendars.EXCHANGES.values()}))
def test_every_calendar_named_here_exists(calendar: str) -> None:
    assert len(calendars.sessions_between(calendar, date(2024, 1, 1), date(2024, 12, 31))) > 240


def test_the_next_session_before_thanksgiving_is_the_half_friday() -> None:
    coming = calendars.next_sessions("XNYS", date(2024, 11, 27), 3)
    assert [str(day) for day in coming] == ["2024-11-29", "2024-12-02", "2024-12-03"]


def test_a_half_day_closes_early_and_is_completed_then() -> None:
    assert calendars.closed_at("XNYS", date(2024, 11, 29)) == datetime(2024, 11, 29, 18, tzinfo=UTC)
    assert calendars.closed_at("XNYS", date(2024, 11, 27)) == datetime(2024, 11, 27, 21, tzinfo=UTC)
    before, after = datetime(2024, 11, 29, 17, 59, 59, tzinfo=UTC), datetime(2024, 11, 29, 18, tzinfo=UTC)
    assert str(calendars.last_completed_session("XNYS", before)) == "2024-11-27"
    assert str(calendars.last_completed_session("XNYS", after)) == "2024-11-29"


def test_age_counts_completed_sessions_only() -> None:
    saturday = datetime(2024, 11, 30, 12, tzinfo=UTC)
    ages = [calendars.age_sessions("XNYS", date(2024, 11, day), saturday) for day in (26, 27, 28, 29, 30)]
    assert ages == [2, 1, 1, 0, 0]


def test_a_naive_or_numpy_or_pandas_day_means_the_same() -> None:
    days = (date(2024, 7, 3), np.datetime64("2024-07-03"), pd.Timestamp("2024-07-03"))
    assert {calendars.closed_at("XNYS", day) for day in days} == {datetime(2024, 7, 3, 17, tzinfo=UTC)}


def test_crypto_trades_every_day_to_midnight() -> None:
    assert calendars.closed_at("24/7", date(2024, 12, 25)) == datetime(2024, 12, 26, tzinfo=UTC)


def test_the_sample_has_exactly_the_exchange_s_sessions() -> None:
    sample = open_sample()
    for ticker in sample.tickers():
        days = sample.rows(ticker)["session"].to_numpy("datetime64[D]")
        assert (days == calendars.sessions_between("XNYS", days[0], days[-1])).all()


def test_days_without_trading_are_unknown_but_days_out_of_range_are_not_judged() -> None:
    days = np.array(["1980-01-01", "2024-01-01", "2024-01-02"], "datetime64[D]")
    assert [str(day) for day in calendars.unknown_sessions("XNYS", days)] == ["2024-01-01"]


def test_what_a_calendar_does_not_know_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TapecastError, match="no session of XNYS"):
        calendars.closed_at("XNYS", date(2024, 11, 28))
    with pytest.raises(TapecastError, match="update exchange_calendars"):
        calendars.next_sessions("XNYS", date(2024, 11, 28), 99_999)
    with pytest.raises(TapecastError, match="update exchange_calendars"):
        calendars.last_completed_session("XNYS", datetime(2999, 1, 1, tzinfo=UTC))
    with pytest.raises(TapecastError, match="no calendar is called"):
        calendars.sessions_between("XXXX", date(2024, 1, 1), date(2024, 1, 2))
