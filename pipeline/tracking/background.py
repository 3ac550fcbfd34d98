"""Delivery to a store and questions to it: in a thread, waited for no longer than a stated time in all."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pipeline.errors import TapecastError, TrackingError
from pipeline.tracking.delivery import deliver, deliver_left
from pipeline.tracking.outbox import Journal
from pipeline.tracking.patience import Patience
from pipeline.tracking.store import Destination, Store, prepare_store, reason_of, without_password

T = TypeVar("T")

LOCKED_PAUSE_SECONDS = 0.5
LOOK_SECONDS = 0.02


class Delivery:
    """Delivers a record, and before it those that killed or cut off runs left, while the run goes on.

    Only silence is counted as waiting: a store that answers slowly is waited for, one that does not is given up.
    """

    def __init__(self, destination: Destination, outbox: Path, journal: Journal, patience: Patience) -> None:
        self._destination, self._outbox, self.journal, self._patience = destination, outbox, journal, patience
        self._address = without_password(destination.uri)
        self._thread: threading.Thread | None = None
        self._answered_at = time.monotonic()
        self._left_delivered = self._closed = False
        self._guard = threading.Lock()
        self.store: Store | None = None
        self.problem = ""

    def begin(self) -> None:
        """Deliver what there is, unless that is under way; does not wait."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = self._started(self._deliver)

    def completed(self) -> bool:
        """Wait, as long as patience lasts, and return whether all of the record is delivered."""
        while not self._has_everything():
            self.begin()
            if self._thread is None or not self._ended(self._thread):
                return False
            if self.problem and not self._pauses():
                return False
        return True

    def answer(self, question: Callable[[Store], T]) -> T:
        """Return what the store answers to a question; raises TrackingError where it does not."""
        if not self.completed() or self.store is None:
            raise TrackingError(self.problem)
        answers: list[T] = []
        failures: list[TapecastError] = []
        store = self.store

        def ask() -> None:
            try:
                answers.append(question(store))
            except TapecastError as error:
                failures.append(error)

        ended = self._ended(self._started(ask))
        if failures:
            raise failures[0]
        if not ended or not answers:
            raise TrackingError(self.problem)
        return answers[0]

    def hurry(self, seconds: float) -> None:
        """Wait from now on no longer than this."""
        self._patience.shorten(seconds)

    def close(self) -> None:
        """Remove the record where it is delivered or could not be kept, else leave it to a later run."""
        with self._guard:
            self._closed = True
            if not self.journal.kept or (self._has_everything() and self.journal.ended):
                self.journal.remove()
            elif self.store is None or self._thread is None or not self._thread.is_alive():
                self.journal.release()

    def _has_everything(self) -> bool:
        return self.store is not None and not self.journal.pending

    def _started(self, work: Callable[[], None]) -> threading.Thread:
        """Return a thread that the end of the process does not wait for."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _deliver(self) -> None:
        try:
            if self.store is None:
                store = prepare_store(self._destination)
                with self._guard:
                    if self._closed:
                        return
                    self.store = store
                self._answered()
            if not self._left_delivered:
                deliver_left(self.store, self._outbox, self._answered)
                self._left_delivered = True
            deliver(self.store, self.journal, self._answered)
            self.problem = ""
        except Exception as error:  # noqa: BLE001  a record never stops a run; its result names the problem
            self.problem = reason_of(error)

    def _answered(self) -> None:
        self._answered_at = time.monotonic()

    def _ended(self, thread: threading.Thread) -> bool:
        """Return whether a thread ended before patience did, which its silence uses up."""
        since = time.monotonic()
        while thread.is_alive():
            silent = time.monotonic() - max(since, self._answered_at)
            if silent > self._patience.seconds:
                self._patience.shorten(0.0)
                self.problem = self.problem or f"{self._address} did not answer in time"
                return False
            thread.join(LOOK_SECONDS)
        if self.problem:
            self._patience.spend(time.monotonic() - max(since, self._answered_at))
        return True

    def _pauses(self) -> bool:
        """Wait a moment and return True where another try can help: a database that is locked is free again soon."""
        if "database is locked" not in self.problem or self._patience.seconds < LOCKED_PAUSE_SECONDS:
            return False
        time.sleep(LOCKED_PAUSE_SECONDS)
        self._patience.spend(LOCKED_PAUSE_SECONDS)
        return True


def answered_within(seconds: float, uri: str, question: Callable[[], T]) -> T:
    """Return the answer of a store, which is asked in a thread that the end of the process does not wait for.

    Raises TrackingError where there is none within some seconds in all, and the TapecastError of the question.
    """
    answers: list[T] = []
    failures: list[TapecastError] = []

    def ask() -> None:
        try:
            answers.append(question())
        except TapecastError as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not answers:
        raise TrackingError(f"{without_password(uri)} did not answer within {seconds:g} s")
    return answers[0]


def delivered_within(destination: Destination, outbox: Path, seconds: float) -> int:
    """Return how many records that wait in the outbox were delivered; gives up after some seconds, and raises nothing.

    What stays is delivered by a later run.
    """

    def work() -> int:
        return deliver_left(prepare_store(destination), outbox, lambda: None)

    with suppress(TapecastError):
        return answered_within(seconds, destination.uri, work)
    return 0
