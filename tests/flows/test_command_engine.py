"""A command whose Prefect server fails at some moment: its result, its own error or an interrupt comes first."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectException

from flows.command_engine import INTERRUPTED_SECONDS, Patience, UnansweredError, surviving
from pipeline.errors import NothingUsableError

NEVER = 60.0
Body = Callable[[], str]


@pytest.fixture
def given_up() -> list[str]:
    return []


@pytest.fixture
def patience(given_up: list[str]) -> Iterator[Patience]:
    patience = Patience(0.1, lambda _: given_up.append("said"))
    yield patience
    patience.pause()


def refused() -> None:
    raise httpx.ConnectError("refused")


def silent() -> None:
    time.sleep(NEVER)


def in_error() -> None:
    raise PrefectException("500")


def flow_that(before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> Any:
    """Return what stands for Prefect's decorator: it calls its server before and after the use case, whatever comes."""

    def decorate(function: Body) -> Body:
        def call() -> str:
            before()
            try:
                return function()
            finally:
                after()

        return call

    return decorate


FAULTS = [refused, silent, in_error]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_before_the_use_case_leaves_it_to_be_called_plainly(
    fault: Callable[[], None], patience: Patience, given_up: list[str]
) -> None:
    calls: list[str] = []

    def use_case() -> str:
        calls.append("called")
        return "result"

    began = time.monotonic()
    assert surviving(use_case, flow_that(before=fault), patience)() == "result"
    assert (calls, given_up) == (["called"], ["said"])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_after_the_use_case_costs_no_result(
    fault: Callable[[], None], patience: Patience, given_up: list[str]
) -> None:
    calls: list[str] = []

    def use_case() -> str:
        calls.append("called")
        return "result"

    assert surviving(use_case, flow_that(after=fault), patience)() == "result"
    assert (calls, given_up) == (["called"], ["said"])


@pytest.mark.parametrize("fault", [lambda: None, *FAULTS])
@pytest.mark.parametrize("error", [NothingUsableError("no ticker"), ZeroDivisionError("a bug"), KeyboardInterrupt()])
def test_the_error_of_the_use_case_is_what_is_raised(
    error: BaseException, fault: Callable[[], None], patience: Patience
) -> None:
    def use_case() -> str:
        raise error

    with pytest.raises(type(error)) as raised:
        surviving(use_case, flow_that(after=fault), patience)()
    assert raised.value is error


def test_a_fault_of_ours_in_the_making_of_a_flow_is_not_hidden(patience: Patience, given_up: list[str]) -> None:
    def wrong() -> None:
        raise TypeError("a parameter of another type")

    with pytest.raises(TypeError):
        surviving(lambda: "result", flow_that(before=wrong), patience)()
    assert not given_up


def test_the_time_of_the_use_case_does_not_count(patience: Patience, given_up: list[str]) -> None:
    def long() -> str:
        time.sleep(0.8)
        return "result"

    assert surviving(long, flow_that(), patience)() == "result"
    assert not given_up


def test_all_calls_together_have_the_seconds_and_none_is_made_after_they_are_spent(given_up: list[str]) -> None:
    patience, calls = Patience(1.0, lambda _: given_up.append("said")), []

    def slow() -> None:
        calls.append("called")
        time.sleep(0.4)

    began = time.monotonic()
    for _ in range(9):
        patience.spend(slow)
    assert 2 <= len(calls) <= 4
    assert given_up == ["said"]
    assert time.monotonic() - began < 3


def test_after_an_interrupt_little_time_is_left() -> None:
    patience = Patience(NEVER, lambda _: None)

    def interrupted() -> str:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        surviving(interrupted, flow_that(after=silent), patience)()
    assert time.monotonic() - began < INTERRUPTED_SECONDS + 2


def test_the_error_passes_through_prefect_without_another_call() -> None:
    """Prefect handles every Exception by telling its server; this one it lets pass."""
    assert not issubclass(UnansweredError, Exception)
