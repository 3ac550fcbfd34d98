"""What is requested when: the batch alone, without a network, on a clock that tests move."""

import threading
from collections.abc import Iterator
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.yahoo.batch import Answer, RequestAttempt, answers
from pipeline.market.yahoo.rate_limit import Clock, RequestLimits

from .clocks import NOW, MovedClock

GOT = RequestAttempt(FetchedRows(pd.DataFrame(), None, "USD", NOW))
NONE = RequestAttempt(SourceError("no such ticker"))
SILENT = RequestAttempt(SourceUnavailableError("no answer"))
REFUSED = RequestAttempt(SourceUnavailableError("429"), refused=True)
KINDS = {"got": GOT, "none": NONE, "silent": SILENT, "refused": REFUSED}


class Script:
    """Attempts as written per ticker, the last one for ever; records what was requested when."""

    def __init__(self, written: dict[str, list[RequestAttempt]], moved: MovedClock) -> None:
        self.written = {ticker: list(attempts) for ticker, attempts in written.items()}
        self.moved = moved
        self.requested: list[tuple[str, float]] = []
        self.lock = threading.Lock()

    def __call__(self, ticker: str, _since: date | None) -> RequestAttempt:
        with self.lock:
            self.requested.append((ticker, self.moved.seconds))
            attempts = self.written[ticker]
            return attempts.pop(0) if len(attempts) > 1 else attempts[0]


def played(
    written: dict[str, list[RequestAttempt]], limits: RequestLimits | None = None
) -> tuple[list[tuple[str, Answer]], Script]:
    moved = MovedClock()
    script = Script(written, moved)
    answered = answers(
        dict.fromkeys(written), script, limits or RequestLimits(concurrency=1), moved.clock(), np.random.default_rng(0)
    )
    return list(answered), script


def test_an_unknown_ticker_is_requested_once_and_a_silent_one_four_times() -> None:
    answered, script = played({"A": [NONE], "B": [SILENT]})
    assert dict(answered) == {"A": NONE.answer, "B": SILENT.answer}
    assert [ticker for ticker, _ in script.requested] == ["A", "B", "B", "B", "B"]


def test_what_was_never_requested_goes_before_what_failed() -> None:
    _, script = played({"A": [SILENT, GOT], "B": [GOT], "C": [GOT]})
    assert [ticker for ticker, _ in script.requested] == ["A", "B", "C", "A"]


def test_the_waits_between_tries_stay_below_a_doubling_ceiling() -> None:
    tries = []
    for seed in range(50):
        moved = MovedClock()
        script = Script({"A": [SILENT]}, moved)
        limits = RequestLimits(retries=7, max_wait_seconds=30.0)
        list(answers({"A": None}, script, limits, moved.clock(), np.random.default_rng(seed)))
        tries.append(np.diff([at for _, at in script.requested]))
    ceiling = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    waits = np.array(tries)
    assert (waits <= ceiling).all()
    assert (waits.max(axis=0) > 0.8 * ceiling).all()
    assert (waits.min(axis=0) < 0.2 * ceiling).all()


def test_five_in_a_row_open_the_circuit_and_a_failed_trial_ends_it() -> None:
    answered, script = played({f"T{number}": [REFUSED] for number in range(30)})
    assert len(script.requested) == 6
    assert [at for _, at in script.requested] == [0.0] * 5 + [60.0]
    assert len({str(answer) for _, answer in answered}) == 1
    assert "30 of 30 tickers got no answer" in str(answered[0][1])


def test_an_answer_breaks_the_row() -> None:
    written = {f"T{number}": [GOT] if number % 5 == 4 else [SILENT, GOT] for number in range(30)}
    answered, script = played(written)
    assert [answer for _, answer in answered if isinstance(answer, SourceError)] == []
    assert script.moved.seconds < 5.0


def test_a_good_trial_closes_the_circuit() -> None:
    written = {f"T{number}": [REFUSED, GOT] if number < 5 else [GOT] for number in range(30)}
    answered, script = played(written)
    assert all(isinstance(answer, FetchedRows) for _, answer in answered)
    assert len(script.requested) == 35


def test_a_trial_goes_alone() -> None:
    moved, lock = MovedClock(), threading.Lock()
    under_way: list[str] = []
    most: list[tuple[int, float]] = []

    def ask(ticker: str, since: date | None) -> RequestAttempt:
        with lock:
            under_way.append(ticker)
            most.append((len(under_way), moved.seconds))
        threading.Event().wait(0.002)
        with lock:
            under_way.remove(ticker)
        return REFUSED

    limits = RequestLimits(max_openings=4)
    list(answers(dict.fromkeys(map(str, range(40))), ask, limits, moved.clock(), np.random.default_rng(0)))
    assert max(count for count, _ in most) <= 4
    assert [count for count, at in most if at >= 60.0] == [1, 1, 1]


def test_nothing_is_tried_while_an_older_request_is_still_under_way() -> None:
    seconds, ended = iter(range(0, 1_000_000, 10)), threading.Event()
    meanwhile: list[str] = []

    def ask(ticker: str, since: date | None) -> RequestAttempt:
        if ticker == "slow":
            ended.wait(0.3)
            ended.set()
            return GOT
        if not ended.is_set():
            meanwhile.append(ticker)
        return SILENT

    passing = Clock(lambda: float(next(seconds)), lambda _: None, lambda: NOW)
    requests = dict.fromkeys(["slow", *map(str, range(20))])
    list(answers(requests, ask, RequestLimits(concurrency=2), passing, np.random.default_rng(0)))
    assert len(meanwhile) == 5  # the circuit is open then, and its pause soon over by this clock


def test_without_a_network_the_pause_is_short() -> None:
    _, script = played({f"T{number}": [SILENT] for number in range(30)})
    assert script.requested[-1][1] == RequestLimits().reconnect_seconds


def test_a_fault_of_our_own_is_not_swallowed() -> None:
    def ask(ticker: str, since: date | None) -> RequestAttempt:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(answers({"A": None}, ask, RequestLimits(), MovedClock().clock(), np.random.default_rng(0)))


def test_a_closed_iterator_requests_no_more() -> None:
    moved = MovedClock()
    script = Script({f"T{number}": [GOT] for number in range(30)}, moved)
    answered = answers(dict.fromkeys(script.written), script, RequestLimits(), moved.clock(), np.random.default_rng(0))
    assert isinstance(answered, Iterator)
    next(answered)
    answered.close()  # type: ignore[attr-defined]
    n_requests = len(script.requested)
    threading.Event().wait(0.02)
    assert len(script.requested) == n_requests <= 8


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5), max_size=25),
    st.integers(1, 4),
)
def test_whatever_happens_each_ticker_gets_one_answer(fates: list[list[str]], concurrency: int) -> None:
    written = {f"T{number}": [KINDS[name] for name in fate] for number, fate in enumerate(fates)}
    limits = RequestLimits(concurrency=concurrency)
    answered, script = played(written, limits)
    assert sorted(ticker for ticker, _ in answered) == sorted(written)
    for ticker, fate in zip(written, fates, strict=True):
        tried = [name for name, _ in script.requested].count(ticker)
        assert tried <= 1 + limits.retries
        answer = dict(answered)[ticker]
        if isinstance(answer, FetchedRows):
            assert fate[min(tried, len(fate)) - 1] == "got"
