"""A batch of concurrent requests: tries and pauses are decided in one thread, one answer at a time."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.yahoo.rate_limit import CircuitBreaker, Clock, RequestLimits, backoff_seconds

Answer = FetchedRows | SourceError


@dataclass(frozen=True, eq=False)
class RequestAttempt:
    """The answer to one request for a ticker; a refusal may state how long to wait."""

    answer: Answer
    refused: bool = False
    retry_after_seconds: float = 0.0


SendRequest = Callable[[str, date | None], RequestAttempt]


@dataclass(frozen=True)
class _Pending:
    """A ticker without an answer so far: the tries that failed, and the moment before which none is made."""

    ticker: str
    since: date | None
    failures: int = 0
    not_before: float = -np.inf
    is_trial: bool = False


@dataclass(eq=False)
class _Batch:
    """A running batch. `waiting` is in the order of requests: failed tickers go behind those never requested."""

    waiting: list[_Pending]
    total: int
    limits: RequestLimits
    clock: Clock
    jitter: np.random.Generator
    circuit: CircuitBreaker = field(default_factory=CircuitBreaker)
    refused: bool = False

    @property
    def given_up(self) -> bool:
        """Whether no more requests are sent."""
        return self.circuit.openings >= self.limits.max_openings


def answers(
    first_days: Mapping[str, date | None],
    send: SendRequest,
    limits: RequestLimits,
    clock: Clock,
    jitter: np.random.Generator,
) -> Iterator[tuple[str, Answer]]:
    """Yield each ticker with its answer, or with the error, as they arrive; `send` runs in threads.

    No new request is sent while the caller processes an answer, and none after the caller closes the iterator.
    """
    pending = [_Pending(ticker, since) for ticker, since in first_days.items()]
    batch = _Batch(pending, len(pending), limits, clock, jitter)
    running: dict[Future[RequestAttempt], _Pending] = {}
    with ThreadPoolExecutor(limits.concurrency, "yahoo") as pool:
        while running or (batch.waiting and not batch.given_up):
            running |= {pool.submit(send, it.ticker, it.since): it for it in _taken(batch, len(running))}
            if not running:
                _sleep_until_one_may_start(batch)
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield from _settled(batch, running.pop(future), future.result())
    yield from _never_answered(batch)


def _taken(batch: _Batch, running: int) -> list[_Pending]:
    """Take from the waiting tickers those to request now; with the circuit open, after its pause, one alone."""
    now, until = batch.clock.monotonic(), batch.circuit.open_until
    if batch.given_up:
        return []
    if until is None:
        taken = [it for it in batch.waiting if it.not_before <= now][: batch.limits.concurrency - running]
    else:
        taken = batch.waiting[:1] if not running and now >= until else []
    batch.waiting = [it for it in batch.waiting if it not in taken]
    return [replace(it, is_trial=until is not None) for it in taken]


def _sleep_until_one_may_start(batch: _Batch) -> None:
    until = batch.circuit.open_until
    start = min(it.not_before for it in batch.waiting) if until is None else until
    batch.clock.sleep(max(0.0, start - batch.clock.monotonic()))


def _settled(batch: _Batch, pending: _Pending, attempt: RequestAttempt) -> Iterator[tuple[str, Answer]]:
    """Yield the ticker with its answer where that is final; otherwise nothing, and it waits for another try."""
    failed = isinstance(attempt.answer, SourceUnavailableError)
    # requests sent before the circuit opened say nothing about the time after it: only a trial does
    if pending.is_trial or not batch.circuit.is_open:
        _update_circuit(batch, pending, attempt, failed)
    if failed and pending.failures < batch.limits.retries:
        batch.waiting.append(_again(batch, pending, attempt.retry_after_seconds))
    else:
        yield pending.ticker, attempt.answer


def _update_circuit(batch: _Batch, pending: _Pending, attempt: RequestAttempt, failed: bool) -> None:
    limits, retry_after = batch.limits, attempt.retry_after_seconds
    if not failed:
        batch.circuit = batch.circuit.answered()
        return
    pause = max(limits.cool_down_seconds, retry_after) if attempt.refused else limits.reconnect_seconds
    batch.refused = attempt.refused
    batch.circuit = batch.circuit.unanswered(pending.ticker, limits, batch.clock.monotonic(), pause)
    if retry_after > limits.cool_down_seconds:
        # the requested wait is longer than any wait here, so no further ticker is requested
        batch.circuit = replace(batch.circuit, openings=limits.max_openings)


def _again(batch: _Batch, pending: _Pending, retry_after_seconds: float) -> _Pending:
    failures = pending.failures + 1
    pause = max(backoff_seconds(failures, batch.limits, batch.jitter), retry_after_seconds)
    return replace(pending, failures=failures, not_before=batch.clock.monotonic() + pause, is_trial=False)


def _never_answered(batch: _Batch) -> Iterator[tuple[str, Answer]]:
    found = "refuses for now (429)" if batch.refused else "does not answer for now"
    advice = "try again in an hour" if batch.refused else "check the network, or try again later"
    reason = f"Yahoo {found}: {len(batch.waiting)} of {batch.total} tickers got no answer; {advice}"
    for pending in batch.waiting:
        yield pending.ticker, SourceUnavailableError(reason)
