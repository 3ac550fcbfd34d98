"""A batch of tickers, asked a few at once: tries and pauses are decided here, in one thread, one answer at a time."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.fetched import Fetched
from pipeline.market.yahoo.politeness import Circuit, Clock, Politeness, backoff_seconds

Answer = Fetched | SourceError


@dataclass(frozen=True, eq=False)
class Attempt:
    """What one request for a ticker brought; a refusal may tell how long to wait."""

    answer: Answer
    refused: bool = False
    told_wait_seconds: float = 0.0


Ask = Callable[[str, date | None], Attempt]


@dataclass(frozen=True)
class _Wanted:
    """A ticker without an answer so far: the tries that failed, the moment before which none is made."""

    ticker: str
    since: date | None
    failures: int = 0
    not_before: float = -np.inf
    is_trial: bool = False


@dataclass(eq=False)
class _Batch:
    """A batch under way. `waiting` is in the order of asking: what failed goes behind what was never asked."""

    waiting: list[_Wanted]
    total: int
    limits: Politeness
    clock: Clock
    jitter: np.random.Generator
    circuit: Circuit = field(default_factory=Circuit)
    refused: bool = False

    @property
    def given_up(self) -> bool:
        """Whether nothing more is asked."""
        return self.circuit.openings >= self.limits.openings_to_give_up


def answers(
    asked: Mapping[str, date | None], ask: Ask, limits: Politeness, clock: Clock, jitter: np.random.Generator
) -> Iterator[tuple[str, Answer]]:
    """Each ticker with its answer, or with the reason why there is none, as they arrive; `ask` runs in threads.

    Nothing new is asked while the caller holds an answer, and nothing more once the caller closes the iterator.
    """
    wanted = [_Wanted(ticker, since) for ticker, since in asked.items()]
    batch = _Batch(wanted, len(wanted), limits, clock, jitter)
    running: dict[Future[Attempt], _Wanted] = {}
    with ThreadPoolExecutor(limits.concurrency, "yahoo") as pool:
        while running or (batch.waiting and not batch.given_up):
            running |= {pool.submit(ask, one.ticker, one.since): one for one in _taken(batch, len(running))}
            if not running:
                _sleep_until_one_may_start(batch)
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield from _settled(batch, running.pop(future), future.result())
    yield from _never_answered(batch)


def _taken(batch: _Batch, running: int) -> list[_Wanted]:
    """Those that may be asked now, taken from the waiting; with the circuit open, after its pause, one alone."""
    now, until = batch.clock.monotonic(), batch.circuit.open_until
    if batch.given_up:
        return []
    if until is None:
        taken = [one for one in batch.waiting if one.not_before <= now][: batch.limits.concurrency - running]
    else:
        taken = batch.waiting[:1] if not running and now >= until else []
    batch.waiting = [one for one in batch.waiting if one not in taken]
    return [replace(one, is_trial=until is not None) for one in taken]


def _sleep_until_one_may_start(batch: _Batch) -> None:
    until = batch.circuit.open_until
    start = min(one.not_before for one in batch.waiting) if until is None else until
    batch.clock.sleep(max(0.0, start - batch.clock.monotonic()))


def _settled(batch: _Batch, one: _Wanted, attempt: Attempt) -> Iterator[tuple[str, Answer]]:
    """The ticker with its answer where that is the last word; otherwise nothing, and it waits again."""
    failed = isinstance(attempt.answer, SourceUnavailableError)
    # what was sent before the circuit opened says nothing about the time after it: only a trial does
    if one.is_trial or not batch.circuit.is_open:
        _tell_circuit(batch, one, attempt, failed)
    if failed and one.failures < batch.limits.retries:
        batch.waiting.append(_again(batch, one, attempt.told_wait_seconds))
    else:
        yield one.ticker, attempt.answer


def _tell_circuit(batch: _Batch, one: _Wanted, attempt: Attempt, failed: bool) -> None:
    limits, told = batch.limits, attempt.told_wait_seconds
    if not failed:
        batch.circuit = batch.circuit.answered()
        return
    pause = max(limits.cool_down_seconds, told) if attempt.refused else limits.reconnect_seconds
    batch.refused = attempt.refused
    batch.circuit = batch.circuit.unanswered(one.ticker, limits, batch.clock.monotonic(), pause)
    if told > limits.cool_down_seconds:
        # told to come back later than anyone waits here: that is an answer for all
        batch.circuit = replace(batch.circuit, openings=limits.openings_to_give_up)


def _again(batch: _Batch, one: _Wanted, told_wait_seconds: float) -> _Wanted:
    failures = one.failures + 1
    pause = max(backoff_seconds(failures, batch.limits, batch.jitter), told_wait_seconds)
    return replace(one, failures=failures, not_before=batch.clock.monotonic() + pause, is_trial=False)


def _never_answered(batch: _Batch) -> Iterator[tuple[str, Answer]]:
    found = "refuses for now (429)" if batch.refused else "does not answer for now"
    advice = "try again in an hour" if batch.refused else "check the network, or try again later"
    reason = f"Yahoo {found}: {len(batch.waiting)} of {batch.total} tickers got no answer; {advice}"
    for one in batch.waiting:
        yield one.ticker, SourceUnavailableError(reason)
