"""The limits themselves: their bounds, the rate between threads, the circuit's states."""

import threading
from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.market.yahoo.rate_limit import CircuitBreaker, RequestLimits, backoff_seconds, rate_limiter

from .clocks import MovedClock

LIMITS = RequestLimits(unanswered_tickers_to_open=2)


@pytest.mark.parametrize("name", [field.name for field in fields(RequestLimits)])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"found {name} = "):
        replace(RequestLimits(), **{name: value})


@pytest.mark.parametrize("name", ["concurrency", "requests_per_second", "timeout_seconds", "max_openings"])
def test_a_limit_of_zero_that_would_stop_everything_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected a number above 0"):
        replace(RequestLimits(), **{name: 0})


def test_turns_come_at_the_rate_whoever_asks() -> None:
    moved = MovedClock()
    wait_for_turn = rate_limiter(4.0, moved.clock())
    threads = [threading.Thread(target=lambda: [wait_for_turn() for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert moved.seconds >= 39 / 4.0 - 1e-9


def test_a_turn_that_nobody_took_is_not_saved_up() -> None:
    moved = MovedClock()
    wait_for_turn = rate_limiter(4.0, moved.clock())
    wait_for_turn()
    moved.sleep(100.0)
    for _ in range(5):
        wait_for_turn()
    assert moved.seconds == pytest.approx(101.0)


def test_the_same_generator_gives_the_same_waits() -> None:
    waits = [[backoff_seconds(n, LIMITS, np.random.default_rng(3)) for n in range(1, 9)] for _ in range(2)]
    assert waits[0] == waits[1]
    assert max(waits[0]) <= LIMITS.max_wait_seconds


def test_the_circuit_counts_tickers_and_not_tries() -> None:
    circuit = CircuitBreaker()
    for _ in range(9):
        circuit = circuit.unanswered("A", LIMITS, 0.0, 60.0)
    assert not circuit.is_open
    circuit = circuit.unanswered("B", LIMITS, 7.0, 60.0)
    assert (circuit.is_open, circuit.open_until, circuit.openings) == (True, 67.0, 1)
    assert circuit.unanswered("C", LIMITS, 70.0, 60.0).openings == 2
    assert circuit.answered() == CircuitBreaker(openings=1)
