"""Many tickers at once through the real client: how many requests, how fast, and what happens when Yahoo refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.yahoo.rate_limit import Clock, RequestLimits
from tests.market.fake_yahoo import FakeYahoo

from .clocks import QUICK, MovedClock
from .conftest import MakeClient

HUNDRED: dict[str, Any] = {f"T{number}": None for number in range(100)}


def most_in_vain(limits: RequestLimits) -> int:
    """Each answer still under way as the refusals begin may break their row once; then the trial."""
    return limits.unanswered_tickers_to_open * limits.concurrency + 1


@pytest.fixture
def crowd(fake: FakeYahoo) -> FakeYahoo:
    """A hundred tickers, each with another price: T7 closes at 107."""
    frame = fake.frames["AAPL"].iloc[:12]
    for number, ticker in enumerate(HUNDRED):
        fake.frames[ticker] = frame.assign(Open=100.0 + number, Close=100.0 + number)
    return fake


def test_eighty_of_a_hundred_refused_are_eighty_values_and_hardly_a_request(
    client_with: MakeClient, crowd: FakeYahoo
) -> None:
    crowd.play.refuse_after = 20
    moved = MovedClock()
    limits = RequestLimits()
    answers = dict(client_with(limits, moved.clock()).fetch(HUNDRED))
    assert len(answers) == 100
    answered = {ticker for ticker, answer in answers.items() if isinstance(answer, FetchedRows)}
    refused = [answer for answer in answers.values() if isinstance(answer, SourceUnavailableError)]
    assert (len(answered), len(refused)) == (20, 80)
    assert {str(error) for error in refused} == {
        "Yahoo refuses for now (429): 80 of 100 tickers got no answer; try again in an hour"
    }
    in_vain = len(crowd.requested) - 20
    assert in_vain <= most_in_vain(limits)
    assert limits.cool_down_seconds <= moved.seconds < 2 * limits.cool_down_seconds


def test_a_refusal_of_a_minute_costs_a_minute_and_no_ticker(client_with: MakeClient, crowd: FakeYahoo) -> None:
    moved = MovedClock()

    def sleep(seconds: float) -> None:
        moved.sleep(seconds)
        if seconds > 30:
            crowd.play.refuse_after = None

    crowd.play.refuse_after = 20
    answers = dict(client_with(RequestLimits(), Clock(moved.monotonic, sleep, moved.now)).fetch(HUNDRED))
    assert all(isinstance(answer, FetchedRows) for answer in answers.values())
    assert len(crowd.requested) <= 100 + most_in_vain(RequestLimits())


def test_a_long_retry_after_ends_the_batch(client_with: MakeClient, crowd: FakeYahoo) -> None:
    crowd.play.everything, crowd.play.retry_after = 429, "3600"
    answers = dict(client_with(RequestLimits(), MovedClock().clock()).fetch(HUNDRED))
    assert all(isinstance(answer, SourceUnavailableError) for answer in answers.values())
    assert len(crowd.requested) <= 4


def test_a_short_retry_after_is_waited_for(client_with: MakeClient, crowd: FakeYahoo) -> None:
    crowd.faults["T0"], crowd.play.retry_after = [429], "40"
    moved = MovedClock()
    answers = dict(client_with(RequestLimits(), moved.clock()).fetch({"T0": None}))
    assert isinstance(answers["T0"], FetchedRows)
    assert 40 <= moved.seconds < 45


def test_each_ticker_gets_its_own_prices_in_four_threads(client_with: MakeClient, crowd: FakeYahoo) -> None:
    answers = dict(client_with().fetch(HUNDRED))
    first = {ticker: got.rows["close"].iloc[0] for ticker, got in answers.items() if isinstance(got, FetchedRows)}
    assert first == {ticker: 100.0 + number for number, ticker in enumerate(HUNDRED)}
    assert len(crowd.log) == 102


def test_the_order_of_asking_is_the_order_given(client_with: MakeClient, crowd: FakeYahoo) -> None:
    dict(client_with(replace(QUICK, concurrency=1)).fetch(HUNDRED))
    assert crowd.requested == list(HUNDRED)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_requests_run_at_once_than_allowed(concurrency: int, client_with: MakeClient, crowd: FakeYahoo) -> None:
    crowd.play.answer_seconds = 0.02
    dict(client_with(replace(QUICK, concurrency=concurrency)).fetch(dict(list(HUNDRED.items())[:18])))
    assert crowd.most_at_once == concurrency


def test_the_rate_is_kept_on_a_real_clock(client_with: MakeClient, crowd: FakeYahoo) -> None:
    dict(client_with(replace(QUICK, requests_per_second=40)).fetch(dict(list(HUNDRED.items())[:30])))
    began = np.sort([request.began for request in crowd.log])
    spent = np.subtract.outer(began, began)
    apart = np.subtract.outer(np.arange(len(began)), np.arange(len(began)))
    assert (spent[apart >= 10] > (apart[apart >= 10] - 2) / 40).all()
    assert began[-1] - began[0] < 2 * 32 / 40


def test_the_rate_is_kept_on_a_moved_clock(client_with: MakeClient, crowd: FakeYahoo) -> None:
    moved = MovedClock()
    dict(client_with(RequestLimits(concurrency=1), moved.clock()).fetch(HUNDRED))
    assert moved.seconds == pytest.approx((len(crowd.log) - 1) / RequestLimits().requests_per_second)


def test_offline_a_crowd_is_soon_reported_so(tmp_path: Path, client_with: MakeClient, crowd: FakeYahoo) -> None:
    crowd.play.everything = "reset"
    moved = MovedClock()
    answers = dict(client_with(RequestLimits(), moved.clock()).fetch(HUNDRED))
    assert {str(answer) for answer in answers.values()} == {
        "Yahoo does not answer for now: 100 of 100 tickers got no answer; check the network, or try again later"
    }
    assert moved.seconds < 30
