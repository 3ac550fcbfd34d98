"""File names of tickers: one to one, also where case is ignored, and never outside the folder."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.market.store.names import file_name, ticker_of
from pipeline.market.tickers import is_ticker

FOLDER = Path("/store/prices/yahoo")
HOSTILE = (
    *("../../x", "..\\x", "A/B", "/etc/passwd", "%2e%2e%2f", "A%2FB", "", ".", "..", "-", ".AAPL", "~", "C:", "A:B"),
    *("A\0B", "A\nB", "A\n", "A B", " A", "$(id)", "A*", "A?", "<script>alert(1)</script>", "A&lt;"),
    *("ＡＡＰＬ", "\u202eLPAA", "A\u200b", "é", "x" * 10_000, "A" * 33),
)
DEVICES = ("CON", "con", "Con", "con.txt", "CON.DE", "NUL", "PRN.L", "AUX", "COM1", "com9.T", "LPT1", "LPT9.DE")
PLAIN = (
    "AAPL",
    "aapl",
    "BRK-B",
    "brk.b",
    "^GSPC",
    "M&M.NS",
    "GC=F",
    "BTC-USD",
    "A_B",
    "CONE",
    "COM10",
    "A.",
    "0700.HK",
)
NAMES = st.one_of(
    st.text(max_size=40),
    st.text("AaBb0.^-=&_%/\\ \0", max_size=6),
    st.from_regex(r"[A-Za-z0-9^][A-Za-z0-9.\-=&_]{0,31}", fullmatch=True),
    st.sampled_from(HOSTILE + DEVICES + PLAIN),
)
RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])", re.IGNORECASE)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(NAMES)
@example("../../x")
def test_a_file_lies_in_the_folder_or_the_name_is_refused(ticker: str) -> None:
    if not is_ticker(ticker):
        with pytest.raises(SourceError, match="as a ticker"):
            file_name(ticker)
        return
    name = file_name(ticker)
    assert (FOLDER / name).resolve().parent == FOLDER.resolve()
    assert re.fullmatch(r"[A-Z0-9.\-=&_^%]+\.parquet", name)
    assert not RESERVED.fullmatch(name.split(".")[0])
    assert not name.startswith(".")
    assert len(name) <= 255
    assert ticker_of(name) == ticker


@settings(max_examples=600, derandomize=True, deadline=None)
@given(NAMES.filter(is_ticker), NAMES.filter(is_ticker))
@example("AAPL", "aapl")
@example("CON", "con")
def test_two_tickers_never_share_a_file_even_where_case_is_ignored(one: str, other: str) -> None:
    assert (file_name(one).casefold() == file_name(other).casefold()) == (one == other)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(st.one_of(NAMES, NAMES.map("{}.parquet".format), st.text("%0123456789ABCDEFabcdef.parquet", max_size=20)))
def test_no_other_name_is_taken_for_a_tickers_file(name: str) -> None:
    ticker = ticker_of(name)
    assert ticker is None or file_name(ticker) == name


@pytest.mark.parametrize("ticker", HOSTILE)
def test_a_hostile_string_is_refused_in_one_printable_line(ticker: str) -> None:
    with pytest.raises(SourceError) as refused:
        file_name(ticker)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_the_names_are_those_that_people_would_look_for() -> None:
    assert [file_name(ticker) for ticker in ("AAPL", "^GSPC", "M&M.NS", "CON.DE", "ab")] == [
        "AAPL.parquet",
        "^GSPC.parquet",
        "M&M.NS.parquet",
        "%43ON.DE.parquet",
        "%61%62.parquet",
    ]


@pytest.mark.parametrize(
    "name",
    [".AAPL.parquet.draft", "AAPL.parquet.damaged-20240101T000000.000000Z", "aapl.parquet", "AAPL", "%41.parquet"],
)
def test_drafts_and_files_set_aside_are_nobodys(name: str) -> None:
    assert ticker_of(name) is None
