"""The real yfinance client against a fake Yahoo on a loopback socket."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yfinance.exceptions
from curl_cffi import requests

from pipeline.errors import SourceError, SourceUnavailableError, UsageError
from pipeline.market.door import load
from pipeline.market.yahoo import NO_ANSWER, UNREADABLE_ANSWER, YahooPrices, _normalised, translated

from .fake_yahoo import FakeYahoo
from .rows import NOW, as_yahoo_exports, good_rows

START = date(2024, 1, 1)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yahoo")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeYahoo]:
    with FakeYahoo(
        {"AAPL": as_yahoo_exports(good_rows()), "MSFT": as_yahoo_exports(good_rows(seed=1))}, tmp_path
    ) as it:
        yield it


@pytest.fixture
def yahoo(fake: FakeYahoo, cache_dir: Path) -> Iterator[YahooPrices]:
    with fake.session() as session:
        yield YahooPrices(START, session, cache_dir)


def test_a_normal_answer_is_rows_as_traded_across_a_split(yahoo: YahooPrices) -> None:
    traded, rows = good_rows(), yahoo.rows("AAPL")
    assert (rows["session"].to_numpy() == traded["session"].to_numpy()).all()
    for name in ("open", "high", "low", "close", "volume", "adj_close", "dividend", "split"):
        np.testing.assert_allclose(rows[name], traded[name], rtol=1e-12, err_msg=name)


def test_the_rows_pass_the_door(yahoo: YahooPrices) -> None:
    admitted = load(yahoo, ["AAPL", "MSFT"], NOW, minimum_sessions=40)
    assert admitted.bars.tickers == ("AAPL", "MSFT")
    assert admitted.problems == ()
    assert admitted.bars.returns_from == "actions"


def test_the_bar_of_a_session_that_is_not_over_is_put_aside(yahoo: YahooPrices) -> None:
    last = good_rows()["session"].iloc[-1]
    during = datetime(last.year, last.month, last.day, 18, tzinfo=UTC)
    bars = load(yahoo, ["AAPL"], during, minimum_sessions=40).bars.frame
    assert bars["session"].iloc[-1] < last
    assert len(bars) == 59


def test_an_unknown_ticker_is_told_from_a_silent_source(yahoo: YahooPrices) -> None:
    for _ in range(3):  # yfinance asks elsewhere for the first two of a process, and fails in another way
        with pytest.raises(SourceError, match="Yahoo has no prices") as caught:
            yahoo.rows("NOSUCH")
        assert not isinstance(caught.value, SourceUnavailableError)


@pytest.mark.parametrize("fault", [429, 500, 503, "html", "half", "cut"])
def test_an_answer_that_may_heal_says_so_and_heals(fault: int | str, fake: FakeYahoo, yahoo: YahooPrices) -> None:
    ticker = f"NEW{fault}".upper()  # one that yfinance has not yet cached the time zone of
    fake.frames[ticker] = fake.frames["AAPL"]
    fake.faults[ticker] = fault
    with pytest.raises(SourceUnavailableError, match="try again later"):
        yahoo.rows(ticker)
    del fake.faults[ticker]
    assert len(yahoo.rows(ticker)) == 60


@pytest.mark.parametrize("ticker", ["AAPL", "NEWEMPTY"])
def test_an_empty_answer_is_a_failure(ticker: str, fake: FakeYahoo, yahoo: YahooPrices) -> None:
    fake.faults[ticker] = "empty"
    with pytest.raises(SourceError, match="Yahoo"):
        yahoo.rows(ticker)


def test_no_rows_since_the_start_is_a_failure(fake: FakeYahoo, cache_dir: Path) -> None:
    with fake.session() as session, pytest.raises(SourceError, match="AAPL"):
        YahooPrices(date(2025, 1, 1), session, cache_dir).rows("AAPL")


def test_one_bad_ticker_does_not_stop_the_others(fake: FakeYahoo, yahoo: YahooPrices) -> None:
    fake.faults["AAPL"] = 429
    admitted = load(yahoo, ["AAPL", "MSFT"], NOW, minimum_sessions=40)
    assert admitted.bars.tickers == ("MSFT",)
    assert [out.ticker for out in admitted.left_out] == ["AAPL"]
    assert "YFRateLimitError" in admitted.left_out[0].reason


def test_no_network_is_an_unavailable_source(cache_dir: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with (
        requests.Session(proxies={"https": nowhere, "http": nowhere}) as session,
        pytest.raises(SourceUnavailableError, match="did not answer"),
    ):
        YahooPrices(START, session, cache_dir).rows("AAPL")


def test_a_bad_name_never_becomes_an_address(fake: FakeYahoo, yahoo: YahooPrices) -> None:
    with pytest.raises(SourceError, match="as a ticker"):
        yahoo.rows("../../v1/test")
    assert fake.asked == []


def test_without_names_there_is_nothing_to_load(yahoo: YahooPrices) -> None:
    with pytest.raises(UsageError, match="name the tickers"):
        load(yahoo, [], NOW, minimum_sessions=40)


def test_a_cache_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another"):
        YahooPrices(START, cache_dir=tmp_path / "file" / "cache")


def test_every_exception_of_yfinance_is_translated() -> None:
    own = [thing for thing in vars(yfinance.exceptions).values() if isinstance(thing, type)]
    assert len(own) > 5
    assert [kind for kind in own if not issubclass(kind, (*NO_ANSWER, *UNREADABLE_ANSWER))] == []
    missing = yfinance.exceptions.YFPricesMissingError("AAPL", "")
    assert type(translated(missing)) is SourceError
    assert type(translated(yfinance.exceptions.YFRateLimitError())) is SourceUnavailableError


def test_columns_that_yahoo_no_longer_sends_are_named() -> None:
    frame = pd.DataFrame({"Close": [1.0]}, index=pd.DatetimeIndex(["2024-01-02"], tz="America/New_York"))
    with pytest.raises(SourceUnavailableError, match="no open, high, low, volume, adj_close"):
        _normalised("AAPL", frame)
