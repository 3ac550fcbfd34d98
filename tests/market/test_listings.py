"""Ticker names, and the calendars and currencies that they stand for."""

import contextlib
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.market import calendars
from pipeline.market.exchanges import EXCHANGES
from pipeline.market.listings import INDICES, calendar_of, is_ticker, listing_of, printable, shortened

GOOD = ["AAPL", "BRK-B", "BF.B", "^GSPC", "EURUSD=X", "M&M.NS", "0700.HK", "BTC-USD", "a" * 32]
BAD = [
    "",
    " ",
    "../../x",
    "A/B",
    "A\\B",
    "..",
    ".hidden",
    "a" * 33,
    "A\n",
    "A\x1b[31m",
    "<b>AAPL</b>",
    "A B",
    "日経",
    "A;B",
    "A%2F",
]


@pytest.mark.parametrize("name", GOOD)
def test_real_names_are_tickers(name: str) -> None:
    assert is_ticker(name)


@pytest.mark.parametrize("name", BAD)
def test_paths_markup_and_control_characters_are_not(name: str) -> None:
    assert not is_ticker(name)


def test_any_name_can_be_shown_on_one_line() -> None:
    assert printable("A\x1b[31m\nB") == "A?[31m?B"
    assert len(printable("x" * 1000)) == 33


def test_long_lists_are_cut_and_counted() -> None:
    assert shortened([f"T{k:02d}" for k in range(100)]).endswith("T10, T11 and 88 more")
    assert shortened([]) == "none"


@pytest.mark.parametrize(
    ("ticker", "calendar", "currency"),
    [
        ("AAPL", "XNYS", "USD"),
        ("BRK-B", "XNYS", "USD"),
        ("BF.B", "XNYS", "USD"),
        ("BRK.A", "XNYS", "USD"),
        ("SYN001", "XNYS", "USD"),
        ("M&M.NS", "XBOM", "INR"),
        ("TCS.BO", "XBOM", "INR"),
        ("VOD.L", "XLON", "GBp"),
        ("sap.de", "XETR", "EUR"),
        ("MC.PA", "XPAR", "EUR"),
        ("RY.TO", "XTSE", "CAD"),
        ("0700.HK", "XHKG", "HKD"),
        ("7203.T", "XTKS", "JPY"),
        ("BHP.AX", "XASX", "AUD"),
        ("NESN.SW", "XSWX", "CHF"),
        ("NOVO-B.CO", "XCSE", "DKK"),
        ("PETR4.SA", "BVMF", "BRL"),
        ("005930.KS", "XKRX", "KRW"),
        ("600519.SS", "XSHG", "CNY"),
        ("NPN.JO", "XJSE", "ZAc"),
        ("TEVA.TA", "XTAE", "ILA"),
        ("BTC-USD", "24/7", "USD"),
        ("ETH-EUR", "24/7", "EUR"),
        ("EURUSD=X", "24/5", "USD"),
        ("JPY=X", "24/5", "JPY"),
        ("ES=F", "CMES", "USD"),
        ("ESZ26.CME", "CMES", "USD"),
        ("^GSPC", "XNYS", "USD"),
        ("^FTSE", "XLON", "GBP"),
        ("^GDAXI", "XETR", "EUR"),
        ("^FCHI", "XPAR", "EUR"),
        ("^N225", "XTKS", "JPY"),
        ("^HSI", "XHKG", "HKD"),
        ("^NSEI", "XBOM", "INR"),
        ("^BSESN", "XBOM", "INR"),
        ("^STOXX50E", "XETR", "EUR"),
        ("^TA125.TA", "XTAE", "ILA"),
    ],
)
def test_the_name_tells_calendar_and_currency(ticker: str, calendar: str, currency: str) -> None:
    listing = listing_of(ticker)
    assert (listing.ticker, listing.calendar, listing.currency) == (ticker, calendar, currency)
    assert calendar_of(ticker) == calendar
    assert calendars.listing_of(ticker) == listing  # the name others import


@pytest.mark.parametrize("ticker", ["XYZ.RO", "XYZ.CA", "xyz.foo", "A.B.LONDON"])
def test_an_unknown_suffix_is_reported_with_those_that_are_known(ticker: str) -> None:
    with pytest.raises(SourceError, match=r"found the suffix \.[A-Z]+ in") as raised:
        listing_of(ticker)
    assert all(suffix in str(raised.value) for suffix in EXCHANGES)


def test_an_unknown_index_is_reported() -> None:
    with pytest.raises(SourceError, match=r"found the index \^NOSUCH.*\^GSPC"):
        listing_of("^NOSUCH")


@pytest.mark.parametrize("calendar", sorted({code for code, _ in (*EXCHANGES.values(), *INDICES.values())}))
def test_every_calendar_named_here_exists_and_knows_a_year_of_sessions(calendar: str) -> None:
    sessions = calendars.sessions_between(calendar, date(2026, 1, 5), date(2026, 12, 31))
    assert 230 < len(sessions) < 270
    begin = date.fromisoformat(calendars.EARLIEST.get(calendar, calendars.FIRST_DAY))
    first = calendars.sessions_between(calendar, date(1980, 1, 1), date(2026, 12, 31))[0]
    assert 0 <= (first.item() - begin).days < 10


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=40) | st.from_regex(r"[A-Z^]{1,4}[.=-][A-Z]{0,4}", fullmatch=True))
def test_any_text_has_a_listing_or_is_reported(ticker: str) -> None:
    with contextlib.suppress(SourceError):
        assert listing_of(ticker).ticker == ticker
