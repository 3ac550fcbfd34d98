"""Which strings may be a ticker."""

import pytest

from pipeline.market.tickers import is_ticker, printable, shortened

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
