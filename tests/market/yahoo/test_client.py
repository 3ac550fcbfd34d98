"""The real yfinance client against a fake Yahoo on a loopback socket."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from curl_cffi import requests

from pipeline.errors import SourceError, SourceUnavailableError, UsageError
from pipeline.market.bars import COLUMNS, FetchedRows, Severity
from pipeline.market.sources import RemoteSource
from pipeline.market.yahoo.client import YahooClient
from tests.market.fake_yahoo import Chart, FakeYahoo, Quote
from tests.market.rows import as_yahoo_exports, good_rows

from .clocks import NOW, QUICK, MovedClock
from .conftest import START, MakeClient

NUMBERS = ("open", "high", "low", "close", "volume", "adj_close", "dividend", "split")


def one(client: YahooClient, ticker: str, since: date | None = None) -> FetchedRows:
    ((answered, answer),) = client.fetch({ticker: since})
    assert answered == ticker
    if isinstance(answer, SourceError):
        raise answer
    return answer


def without(*path: Any) -> Any:
    """A fault: the chart's result without what stands at the path."""

    def spoil(result: Chart) -> Chart:
        place = result
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
        return result

    return spoil


def test_the_client_is_a_remote(client: YahooClient) -> None:
    remote: RemoteSource = client
    assert [ticker for ticker, _ in remote.fetch({})] == []


def test_a_whole_history_is_rows_as_traded_across_a_split(client_with: MakeClient) -> None:
    got = one(client_with(clock=MovedClock().clock()), "AAPL")
    traded = good_rows()
    assert list(got.rows.columns) == list(COLUMNS[1:])
    assert got.rows["session"].dtype == "datetime64[s]"
    assert {str(got.rows[name].dtype) for name in NUMBERS} == {"float64"}
    assert (got.rows["session"].to_numpy() == traded["session"].to_numpy()).all()
    for name in NUMBERS:
        np.testing.assert_allclose(got.rows[name], traded[name], rtol=1e-12, err_msg=name)
    assert (got.since, got.currency, got.problems) == (None, "USD", ())
    assert NOW <= got.fetched_at.astimezone(UTC) < datetime(2025, 1, 1, tzinfo=UTC)


def test_a_ticker_costs_one_request_and_the_cookie_one_per_fetch(client: YahooClient, fake: FakeYahoo) -> None:
    assert len(dict(client.fetch({"AAPL": None, "MSFT": None}))) == 2
    assert sorted(fake.requested) == ["AAPL", "MSFT"]
    assert len(fake.log) == 4  # the cookie and the crumb too


def test_nothing_is_kept_in_files(client: YahooClient, tmp_path: Path) -> None:
    one(client, "AAPL")
    assert list((tmp_path / "cache").rglob("*")) == []  # yfinance's own store of cookies is a file with pickles


def test_a_tail_asks_for_the_days_since_only(client: YahooClient, fake: FakeYahoo) -> None:
    since = date(2024, 3, 1)
    got = one(client, "AAPL", since)
    first_requested = datetime.fromtimestamp(int(fake.charts[-1].query["period1"]), UTC).date()
    assert (since - first_requested).days == 1
    assert got.since == since
    assert got.rows["session"].iloc[0] == pd.Timestamp(since)
    traded = good_rows().set_index("session").loc["2024-03-01":]
    assert traded["split"].max() == 4.0  # the split lies within the tail
    for name in NUMBERS:
        np.testing.assert_allclose(got.rows[name], traded[name], rtol=1e-12, err_msg=name)


def test_a_tail_without_rows_is_a_failure_that_names_the_day(client: YahooClient) -> None:
    with pytest.raises(SourceUnavailableError, match=r"2024-1[12]-"):
        one(client, "AAPL", date(2024, 12, 1))


def test_rows_of_the_day_before_the_first_are_cut_off(client: YahooClient) -> None:
    # one day more than was wanted is requested; a Tuesday, as before a Monday there is no session to cut
    assert one(client, "AAPL", date(2024, 3, 5)).rows["session"].iloc[0] == pd.Timestamp("2024-03-05")


def test_an_unknown_ticker_is_reported_from_a_silent_source(client: YahooClient, fake: FakeYahoo) -> None:
    with pytest.raises(SourceError, match="Yahoo knows nothing of it") as caught:
        one(client, "NOSUCH")
    assert not isinstance(caught.value, SourceUnavailableError)
    assert fake.requested == ["NOSUCH"]  # once: trying again cannot help


HEALING = [429, 500, 503, "html", "page", "half", "cut", "reset", "empty", "nothing", "list"]


@pytest.mark.parametrize("fault", HEALING)
def test_an_answer_that_may_heal_says_so(fault: int | str, client: YahooClient, fake: FakeYahoo) -> None:
    fake.faults["AAPL"] = fault
    with pytest.raises(SourceUnavailableError, match="try again"):
        one(client, "AAPL")
    assert len(fake.requested) == 1 + QUICK.retries


@pytest.mark.parametrize("fault", HEALING)
def test_a_ticker_that_heals_within_the_retries_is_delivered(
    fault: int | str, client: YahooClient, fake: FakeYahoo
) -> None:
    fake.faults["AAPL"] = [fault] * QUICK.retries
    assert len(one(client, "AAPL").rows) == 60
    assert len(fake.requested) == 1 + QUICK.retries


def test_a_slow_answer_ends_at_the_timeout(client_with: MakeClient, fake: FakeYahoo) -> None:
    fake.faults["AAPL"] = "slow"
    with pytest.raises(SourceUnavailableError, match="Yahoo did not answer"):
        one(client_with(replace(QUICK, timeout_seconds=0.2, retries=0)), "AAPL")


def test_no_crumb_of_an_earlier_fetch_is_used(client: YahooClient, fake: FakeYahoo) -> None:
    one(client, "AAPL")
    fake.play.crumb = "aNoTheR"
    assert len(one(client, "MSFT").rows) == 60
    assert {request.status for request in fake.charts} == {200}


def test_a_crumb_that_is_lost_under_way_is_replaced(client_with: MakeClient, fake: FakeYahoo) -> None:
    arrived = client_with(replace(QUICK, concurrency=1)).fetch({"AAPL": None, "MSFT": None})
    next(arrived)
    fake.play.crumb = "aNoTheR"
    ((_, answer),) = arrived
    assert isinstance(answer, FetchedRows)
    assert 401 in [request.status for request in fake.charts]


def test_one_bad_ticker_does_not_stop_the_others(client: YahooClient, fake: FakeYahoo) -> None:
    fake.faults["AAPL"] = 500
    answers = dict(client.fetch({"AAPL": None, "../../x": None, "MSFT": None, "NOSUCH": None}))
    assert isinstance(answers["MSFT"], FetchedRows)
    assert [ticker for ticker, answer in answers.items() if isinstance(answer, SourceError)].count("AAPL") == 1
    assert set(answers) == {"AAPL", "../../x", "MSFT", "NOSUCH"}


@pytest.mark.parametrize("name", ["../../v1/test", "A/B", "<b>", "x" * 200, "", "US0378331005"])
def test_a_bad_name_never_becomes_an_address(name: str, client: YahooClient, fake: FakeYahoo) -> None:
    with pytest.raises(SourceError, match="expected"):
        one(client, name)
    assert fake.log == []


def test_no_network_is_an_unavailable_source(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with requests.Session(proxies={"https": nowhere, "http": nowhere}) as session:
        client = YahooClient(START, session, tmp_path, replace(QUICK, retries=0))
        with pytest.raises(SourceUnavailableError, match="Yahoo did not answer"):
            one(client, "AAPL")


def test_a_cache_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another"):
        YahooClient(START, cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    "path",
    [("indicators", "quote", 0, "volume"), ("indicators", "quote", 0, "close"), ("meta", "exchangeTimezoneName")],
    ids=lambda path: path[-1],
)
def test_a_field_that_is_gone_is_an_unreadable_answer(path: Any, client: YahooClient, fake: FakeYahoo) -> None:
    fake.faults["AAPL"] = without(*path)
    with pytest.raises(SourceUnavailableError, match=f"cannot be read: found KeyError .*{path[-1]}"):
        one(client, "AAPL")


def test_a_field_under_another_name_is_an_unreadable_answer(client: YahooClient, fake: FakeYahoo) -> None:
    def renamed_close(result: Chart) -> Chart:
        quote = result["indicators"]["quote"][0]
        quote["last"] = quote.pop("close")
        return result

    fake.faults["AAPL"] = renamed_close
    with pytest.raises(SourceUnavailableError, match="cannot be read"):
        one(client, "AAPL")


def test_without_an_adjusted_close_all_else_is_there(client: YahooClient, fake: FakeYahoo) -> None:
    fake.faults["AAPL"] = without("indicators", "adjclose")
    rows, traded = one(client, "AAPL").rows, good_rows()
    assert rows["adj_close"].isna().all()
    np.testing.assert_allclose(rows["close"], traded["close"], rtol=1e-12)


def test_no_currency_is_an_unreadable_answer(client: YahooClient, fake: FakeYahoo) -> None:
    fake.play.quotes["AAPL"] = Quote(currency=None)
    with pytest.raises(SourceUnavailableError, match="None as the currency"):
        one(client, "AAPL")


def test_a_row_without_prices_keeps_its_dividend(client: YahooClient, fake: FakeYahoo) -> None:
    frame = fake.frames["AAPL"].copy()
    frame.loc[20, ["Open", "High", "Low", "Close", "Adj Close", "Volume"]] = np.nan  # the day of the dividend
    fake.frames["AAPL"] = frame
    row = one(client, "AAPL").rows.iloc[20]
    assert row["dividend"] == pytest.approx(0.5)
    assert row[["open", "high", "low", "close", "volume", "adj_close"]].isna().all()


def test_a_live_quote_and_the_daily_bar_are_one_session(client: YahooClient, fake: FakeYahoo) -> None:
    frame = fake.frames["AAPL"]
    live = frame.iloc[[-1]].assign(Close=frame["Close"].iloc[-1] * 1.001, Volume=frame["Volume"].iloc[-1] + 1)
    fake.frames["AAPL"] = pd.concat([frame, live], ignore_index=True)
    got = one(client, "AAPL")
    assert len(got.rows) == 60
    assert got.rows["session"].is_unique
    assert [(problem.rule, problem.severity) for problem in got.problems] == [("repeated_session", Severity.REPAIRED)]


def test_a_split_that_yahoo_has_not_applied_multiplies_nothing(client: YahooClient, fake: FakeYahoo) -> None:
    traded = good_rows()
    reported = as_yahoo_exports(traded.assign(split=1.0)).assign(**{"Stock Splits": traded["split"].replace(1.0, 0.0)})
    fake.frames["AAPL"] = reported
    got = one(client, "AAPL")
    np.testing.assert_allclose(got.rows["close"], traded["close"], rtol=1e-12)
    np.testing.assert_allclose(got.rows["volume"], traded["volume"], rtol=1e-12)
    np.testing.assert_array_equal(got.rows["split"], traded["split"])
    ((rule, session, rows),) = [(problem.rule, problem.session, problem.rows) for problem in got.problems]
    assert (rule, session, rows) == ("unapplied_split", str(traded["session"].iloc[30].date()), 30)


def test_once_yahoo_has_applied_it_the_rows_are_the_same(client: YahooClient, fake: FakeYahoo) -> None:
    traded, got = good_rows(), one(client, "AAPL")
    np.testing.assert_allclose(got.rows["close"], traded["close"], rtol=1e-12)
    assert got.problems == ()


def test_a_split_that_never_happened_is_reported_with_the_prices_that_it_bent(
    client: YahooClient, fake: FakeYahoo
) -> None:
    real = good_rows().assign(split=1.0)
    real["close"] = real["open"] = real["high"] = real["low"] = 50.0
    bent = real.assign(split=np.where(real.index == 30, 2.0, 1.0))
    fake.frames["AAPL"] = as_yahoo_exports(bent)  # the prices before it divided by 2
    got = one(client, "AAPL")
    assert got.problems == ()
    assert set(got.rows["close"]) == {50.0}  # as traded; an action without a jump is for validation to find
    assert got.rows["split"].iloc[30] == 2.0


def test_the_gains_of_a_fund_are_part_of_its_dividend(client: YahooClient, fake: FakeYahoo) -> None:
    rows = good_rows().assign(split=1.0, dividend=0.0)
    rows.loc[40, "dividend"] = 1.0
    gains = np.where(rows.index == 40, 6.0, 0.0)
    fake.frames["AAPL"] = as_yahoo_exports(rows).assign(**{"Capital Gains": gains})
    fake.play.quotes["AAPL"] = Quote(kind="MUTUALFUND")
    assert one(client, "AAPL").rows["dividend"].iloc[40] == pytest.approx(7.0)


def test_restated_history_is_reported_as_it_is_now(client: YahooClient, fake: FakeYahoo) -> None:
    before = one(client, "AAPL").rows
    fake.frames["AAPL"] = as_yahoo_exports(good_rows(seed=7))
    after = one(client, "AAPL").rows
    np.testing.assert_allclose(after["close"], good_rows(seed=7)["close"], rtol=1e-12)
    assert not np.allclose(before["close"], after["close"])


def test_no_thread_is_left_behind_when_the_iterator_is_closed(client: YahooClient, fake: FakeYahoo) -> None:
    tickers = {f"T{number}": None for number in range(30)}
    fake.frames.update(dict.fromkeys(tickers, fake.frames["AAPL"]))
    arrived = client.fetch(tickers)
    next(arrived)
    arrived.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("yahoo")] == []
    assert len(fake.requested) <= 2 * QUICK.concurrency
