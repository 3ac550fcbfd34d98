"""Exchanges by code, by other names, and by the suffixes of their tickers."""

import pytest

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import Listing
from pipeline.market.calendars import sessions_between
from pipeline.market.exchanges import CURRENCIES, EXCHANGES, OTHER_NAMES, calendar_named, spellings, without_suffix
from pipeline.market.listings import listing_of, states_exchange


@pytest.mark.parametrize(
    ("name", "calendar"),
    [("XBOM", "XBOM"), ("xbom", "XBOM"), (" NSE ", "XBOM"), ("Nasdaq", "XNYS"), ("XSHE", "XSHG"), ("24/7", "24/7")],
)
def test_an_exchange_is_known_by_its_code_and_other_names(name: str, calendar: str) -> None:
    assert calendar_named(name) == calendar


def test_every_name_stands_for_a_calendar_with_a_currency() -> None:
    assert {code for code, _ in EXCHANGES.values()} | {"XNYS", "24/5", "24/7"} == set(CURRENCIES)
    assert set(OTHER_NAMES.values()) <= set(CURRENCIES)
    assert not set(OTHER_NAMES) & set(CURRENCIES)
    assert (CURRENCIES["XLON"], CURRENCIES["XBOM"], CURRENCIES["XTKS"]) == ("GBp", "INR", "JPY")
    first, last = "2026-02-02", "2026-02-27"
    for calendar in CURRENCIES:
        assert len(sessions_between(calendar, first, last)) > 10  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "near"), [("XBON", "XBOM"), ("NASDQ", "NASDAQ"), ("XTK", "XTKS")])
def test_an_unknown_exchange_is_refused_with_near_ones_and_the_list(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=rf"found '{name}' as an exchange, expected .*XBOM.*did you mean .*{near}"):
        calendar_named(name)


def test_what_is_near_to_none_is_refused_on_one_line() -> None:
    with pytest.raises(UsageError, match="as an exchange, expected one of 24/5, 24/7, BVMF") as caught:
        calendar_named("\x1b[31m\n" + "?" * 500)
    assert "\n" not in str(caught.value)
    assert "did you mean" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_named_exchange_gives_calendar_and_currency() -> None:
    assert listing_of("INFY", "XBOM") == Listing("INFY", "XBOM", "INR")
    assert listing_of("VOD", "lse") == Listing("VOD", "XLON", "GBp")
    assert listing_of("A.B.LONDON", "XLON") == Listing("A.B.LONDON", "XLON", "GBp")  # no suffix that is known
    assert listing_of("^NOSUCH", "XTKS") == Listing("^NOSUCH", "XTKS", "JPY")
    assert listing_of("BRK.B", "XNYS") == Listing("BRK.B", "XNYS", "USD")
    assert listing_of("TEVA.IL", "XLON") == Listing("TEVA.IL", "XLON", "USD")  # the name knows more


@pytest.mark.parametrize(
    ("ticker", "exchange"), [("INFY.NS", "XNYS"), ("^N225", "XNYS"), ("BTC-USD", "XBOM"), ("ES=F", "XLON")]
)
def test_another_exchange_than_that_of_the_name_is_refused(ticker: str, exchange: str) -> None:
    assert states_exchange(ticker)
    with pytest.raises(SourceError, match=f"found the exchange {exchange} for .*whose name stands for"):
        listing_of(ticker, exchange)


@pytest.mark.parametrize("ticker", ["AAPL", "INFY", "0700", "BRK.B", "BRK-B", "M&M", "A.B.LONDON"])
def test_a_plain_name_says_no_exchange(ticker: str) -> None:
    assert not states_exchange(ticker)


@pytest.mark.parametrize(
    ("ticker", "calendar", "written"),
    [
        ("INFY", "XBOM", ("INFY.NS", "INFY.BO")),
        ("INFY.L", "XBOM", ("INFY.NS", "INFY.BO")),
        ("AAPL.NS", "XNYS", ("AAPL",)),
        ("EURUSD", "24/5", ("EURUSD=X",)),
        ("ES", "CMES", ("ES=F",)),
        ("BTCUSDT", "24/7", ("BTC-USDT",)),
        ("ETHBTC", "24/7", ("ETH-BTC",)),
        ("BTC", "24/7", ("BTC-USD",)),
    ],
)
def test_a_ticker_is_written_as_on_an_exchange(ticker: str, calendar: str, written: tuple[str, ...]) -> None:
    assert spellings(ticker, calendar) == written
    assert {listing_of(name).calendar for name in written} == {calendar}


@pytest.mark.parametrize("calendar", sorted(CURRENCIES))
def test_every_spelling_stands_for_its_calendar(calendar: str) -> None:
    for name in spellings("ABC", calendar):
        assert listing_of(name).calendar == calendar
        assert without_suffix(name) == ("ABC" if "." in name else name)
