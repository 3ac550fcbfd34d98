"""Rate limit, retries and circuit breaker of requests to Yahoo."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from curl_cffi.requests import Cookies, Response, Session
from curl_cffi.requests.exceptions import HTTPError
from yfinance.exceptions import YFRateLimitError

from pipeline.errors import UsageError

PRICES_PATH = "/v8/finance/chart/"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """The functions of time: monotonic seconds, a sleep in seconds, and the present UTC instant."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = _utc_now


@dataclass(frozen=True)
class RequestLimits:
    """The limits of a batch of requests.

    Yahoo states no limit. Its users report refusals after some hundreds of requests in a row, for minutes to hours
    (yfinance #2128, #2614), so the defaults are modest. A ticker costs one request where nothing goes wrong.
    """

    concurrency: int = 4
    requests_per_second: float = 2.0
    timeout_seconds: float = 20.0
    retries: int = 3
    first_wait_seconds: float = 1.0
    max_wait_seconds: float = 30.0
    unanswered_tickers_to_open: int = 5
    cool_down_seconds: float = 60.0
    reconnect_seconds: float = 5.0
    max_openings: int = 2

    def __post_init__(self) -> None:
        counts = ("concurrency", "unanswered_tickers_to_open", "max_openings")
        positive = (*counts, "requests_per_second", "timeout_seconds")
        waits = ("retries", "first_wait_seconds", "max_wait_seconds", "cool_down_seconds", "reconnect_seconds")
        for name in (*positive, *waits):
            _refuse_beyond(name, getattr(self, name), name in positive)


def _refuse_beyond(name: str, value: float, positive: bool) -> None:
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UsageError(f"found {name} = {value:g}, expected a number {'above' if positive else 'not below'} 0")


@dataclass(frozen=True)
class CircuitBreaker:
    """Whether a batch sends requests: closed it does; open it pauses, then tries one ticker alone.

    `failed` are the tickers without an answer since the last one with an answer; `open_until` is in monotonic seconds,
    None where the circuit is closed.
    """

    failed: frozenset[str] = frozenset()
    openings: int = 0
    open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether no request but a trial may be sent."""
        return self.open_until is not None

    def answered(self) -> "CircuitBreaker":
        """Return the circuit closed, after any answer."""
        return CircuitBreaker(openings=self.openings)

    def unanswered(self, ticker: str, limits: RequestLimits, now: float, pause_seconds: float) -> "CircuitBreaker":
        """Return the circuit after one more ticker without an answer: open, or open again, where there are many."""
        failed = self.failed | {ticker}
        if len(failed) < limits.unanswered_tickers_to_open:
            return replace(self, failed=failed)
        return CircuitBreaker(failed, self.openings + 1, now + pause_seconds)


def backoff_seconds(failures: int, limits: RequestLimits, jitter: np.random.Generator) -> float:
    """Return the wait before the next try after a number of failures: exponential backoff with full jitter.

    Uniform between 0 and min(max_wait, first_wait x 2^(failures - 1)), so that clients that were refused together do
    not try again together.
    """
    ceiling = min(limits.max_wait_seconds, limits.first_wait_seconds * 2.0 ** (failures - 1))
    return float(jitter.uniform(0.0, ceiling))


def rate_limiter(per_second: float, clock: Clock) -> Callable[[], None]:
    """Return a function that waits until its caller may send a request; all threads that call it share one rate."""
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


class RateLimitedSession(Session):  # type: ignore[misc]  # yfinance takes nothing but a curl_cffi session
    """A session that sends through another one, at the rate of `wait_for_turn`.

    yfinance by itself answers every refusal with three to five more requests (another cookie, another crumb, the same
    request again), and keeps the text of a refusal as its crumb. Here a 429, and for prices a 404 or a 5xx, is raised
    at once; only a 401 is passed to yfinance, which then requests a new crumb as it should.
    """

    def __init__(self, sender: Session, wait_for_turn: Callable[[], None]) -> None:
        super().__init__()
        self._sender = sender
        self._wait_for_turn = wait_for_turn

    @property
    def cookies(self) -> Cookies:
        """The cookies of the sending session."""
        return self._sender.cookies

    def request(self, method: str, url: str, **options: Any) -> Response:
        """Return the response; raises YFRateLimitError where Yahoo refuses, HTTPError where it has no prices."""
        self._wait_for_turn()
        response = self._sender.request(method, url, **options)
        if response.status_code == 429:
            raise YFRateLimitError from _http_error(response)
        if PRICES_PATH in url and (response.status_code == 404 or response.status_code >= 500):
            raise _http_error(response)
        return response


def _http_error(response: Response) -> HTTPError:
    return HTTPError(f"HTTP status {response.status_code}", 0, response)
