"""Manners towards a source that owes us nothing: how fast, how many at once, when to try again, when to stop asking."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from pipeline.errors import UsageError


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """How time is told and passed: seconds that only grow, a sleep of so many seconds, and the UTC instant."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = _utc_now


@dataclass(frozen=True)
class Politeness:
    """The limits that a batch of requests keeps.

    Yahoo tells no limit. Its users report refusals after some hundreds of requests in a row, for minutes to hours
    (yfinance #2128, #2614), so the defaults are modest. A ticker costs one request where nothing goes wrong.
    """

    concurrency: int = 4
    requests_per_second: float = 2.0
    timeout_seconds: float = 20.0
    retries: int = 3
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 30.0
    silent_tickers_to_open: int = 5
    cool_down_seconds: float = 60.0
    reconnect_seconds: float = 5.0
    openings_to_give_up: int = 2

    def __post_init__(self) -> None:
        counts = ("concurrency", "silent_tickers_to_open", "openings_to_give_up")
        positive = (*counts, "requests_per_second", "timeout_seconds")
        waits = ("retries", "first_wait_seconds", "longest_wait_seconds", "cool_down_seconds", "reconnect_seconds")
        for name in (*positive, *waits):
            _refuse_beyond(name, getattr(self, name), name in positive)


def _refuse_beyond(name: str, value: float, positive: bool) -> None:
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UsageError(f"found {name} = {value:g}, expected a number {'above' if positive else 'not below'} 0")


@dataclass(frozen=True)
class Circuit:
    """Whether a batch still asks: closed it does; open it pauses, then tries one ticker alone.

    `silent` are the tickers in a row that got no answer since the last one that did; `open_until` is on the clock's
    monotonic seconds, None where the circuit is closed.
    """

    silent: frozenset[str] = frozenset()
    openings: int = 0
    open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing but a trial may be asked."""
        return self.open_until is not None

    def answered(self) -> "Circuit":
        """The circuit closed, after an answer of whatever kind."""
        return Circuit(openings=self.openings)

    def unanswered(self, ticker: str, limits: Politeness, now: float, pause_seconds: float) -> "Circuit":
        """The circuit after one more ticker without an answer: open, once more after a trial, where these are many."""
        silent = self.silent | {ticker}
        if len(silent) < limits.silent_tickers_to_open:
            return replace(self, silent=silent)
        return Circuit(silent, self.openings + 1, now + pause_seconds)


def backoff_seconds(failures: int, limits: Politeness, jitter: np.random.Generator) -> float:
    """The wait before the next try after so many failures: anything up to a ceiling that doubles each time.

    Full jitter: uniform between 0 and min(longest, first x 2^(failures - 1)), so that clients that were refused
    together do not come back together.
    """
    ceiling = min(limits.longest_wait_seconds, limits.first_wait_seconds * 2.0 ** (failures - 1))
    return float(jitter.uniform(0.0, ceiling))


def turns(per_second: float, clock: Clock) -> Callable[[], None]:
    """A function that returns when its caller's turn has come; all threads that call it share one rate."""
    lock = threading.Lock()
    free_at = -math.inf

    def wait_for_turn() -> None:
        nonlocal free_at
        with lock:
            now = clock.monotonic()
            turn = max(now, free_at)
            free_at = turn + 1.0 / per_second
        if turn > now:
            clock.sleep(turn - now)

    return wait_for_turn
